import pytest

from npi_bids.bids.derivatives import DONE, EXCLUDED, FAILED, UnitStatus
from npi_bids.cli.participant import choose_exit_code


def status(fate, error=""):
    return UnitStatus({"sub": "01"}, "simple", fate, "x", error=error)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 0),
        ([status(DONE), status(EXCLUDED, "NoUsableDataError")], 0),
        ([status(EXCLUDED, "NoUsableDataError")], 4),
        ([status(FAILED, "InputDataError")], 3),
        ([status(FAILED, "InputDataError"), status(FAILED, "NoUsableDataError")], 3),
        ([status(FAILED, "SettingsError")], 2),
        ([status(FAILED, "InputDataError"), status(FAILED, "KeyError")], 1),
        ([status(FAILED, "InputDataError"), status(DONE)], 1),
        ([status(FAILED)], 1),
    ],
)
def test_the_fate_of_all_models_is_one_exit_code(statuses, code):
    assert choose_exit_code(statuses) == code
