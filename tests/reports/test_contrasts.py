"""Contrasts in words."""

import pytest

from npi_bids.reports.contrasts import describe_contrast

COLUMNS = (
    "Intercept",
    "group[T.patient]",
    "age",
    "group[T.patient]:age",
    "site[T.b]",
    "site[T.c]",
)
LEVELS = {"group": ["patient", "control"], "site": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("contrast", "words"),
    [
        ("group[T.patient]", "patient minus control (group)"),
        ("site[T.c]", "c minus a (site)"),  # not minus b, which has a column too
        ("age", "the effect of age"),
        ("group[T.patient]:age", "the interaction of patient minus control (group) and age"),
        ("site[T.b] - site[T.c]", "site[T.b] - site[T.c]"),
    ],
)
def test_a_contrast_names_what_is_compared(contrast, words):
    assert describe_contrast(contrast, COLUMNS, LEVELS) == words


def test_an_unknown_reference_is_called_so():
    words = describe_contrast("group[T.patient]", COLUMNS, {})
    assert words == "patient minus the reference (group)"
