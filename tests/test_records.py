from __future__ import annotations

import numpy as np
import pytest

from npi_bids.errors import InputDataError
from npi_bids.records import ECResult, RegionSeries

KEEP = np.ones(3, dtype=bool)


def test_an_uncovered_region_is_a_whole_column():
    data = np.array([[1, np.nan], [2, np.nan], [3, np.nan]])
    np.testing.assert_array_equal(RegionSeries(data, ("A", "B"), 1.0, KEEP).covered, [True, False])


def test_a_gap_in_a_covered_region_is_refused():
    data = np.array([[1.0, 2], [np.nan, 3], [3, 4]])
    with pytest.raises(
        InputDataError, match=r"Non-finite values in uncensored samples of 1 region \(A\)"
    ):
        RegionSeries(data, ("A", "B"), 1.0, KEEP)


@pytest.mark.parametrize(
    ("labels", "tr", "message"),
    [
        (("A",), 1.0, "1 labels"),
        (("A", "A"), 1.0, "names that repeat: A"),
        (("A", "B"), 0.0, "above 0 s"),
    ],
)
def test_records_that_do_not_fit_are_refused(labels, tr, message):
    with pytest.raises(InputDataError, match=message):
        RegionSeries(np.zeros((3, 2)), labels, tr, KEEP)


def test_matrix_must_fit_its_labels():
    with pytest.raises(InputDataError, match=r"shape \(2, 3\)"):
        ECResult(np.zeros((2, 3)), ("A", "B"))
