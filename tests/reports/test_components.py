import pytest

from npi_bids.reports.components import number


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "n/a"), (float("nan"), "n/a"), (3, "3"), (0.12345, "0.123"), (-1e-9, "-1e-09")],
)
def test_numbers(value, text):
    assert number(value) == text
