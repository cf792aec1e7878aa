from __future__ import annotations

import numpy as np
import pytest

from npi_bids.errors import InputDataError, NoUsableDataError
from npi_bids.records import RegionSeries
from npi_bids.surrogates.windows import (
    check_time,
    cut_windows,
    reverse_time,
    shared_regions,
    split_windows,
)


def ramp(n_samples, censored=(), label="A", start=0, tr=1.0):
    keep = np.ones(n_samples, dtype=bool)
    keep[list(censored)] = False
    data = start + np.arange(n_samples, dtype=float)[:, None]
    return RegionSeries(data, (label,), tr=tr, keep=keep)


def test_target_follows_history():
    windows = cut_windows([ramp(5)], n_lags=2)
    np.testing.assert_array_equal(windows.history[:, :, 0], [[0, 1], [1, 2], [2, 3]])
    np.testing.assert_array_equal(windows.target[:, 0], [2, 3, 4])


def test_no_window_holds_a_censored_sample():
    windows = cut_windows([ramp(7, censored=[3])], n_lags=2)
    np.testing.assert_array_equal(windows.target[:, 0], [2, 6])


def test_no_window_spans_two_runs():
    windows = cut_windows([ramp(4), ramp(4, start=100)], n_lags=2)
    np.testing.assert_array_equal(windows.target[:, 0], [2, 3, 102, 103])
    assert (np.diff(windows.history[:, :, 0], axis=1) == 1).all()


def test_a_run_shorter_than_the_lags_gives_no_window():
    assert len(cut_windows([ramp(2), ramp(4)], n_lags=2)) == 2


@pytest.mark.parametrize("n_lags", [1, 3])
@pytest.mark.parametrize("fraction", [0.5, 0.8])
def test_split_shares_no_sample(n_lags, fraction):
    runs = [ramp(40, censored=[9, 25]), ramp(30, censored=[3], start=1000)]
    train, valid = split_windows(cut_windows(runs, n_lags), fraction)
    seen = {*train.target.ravel(), *train.history.ravel()}
    assert not seen & {*valid.target.ravel(), *valid.history.ravel()}


def test_split_is_in_the_order_of_time():
    train, valid = split_windows(cut_windows([ramp(50)], n_lags=3), 0.8)
    assert train.target.max() < valid.history.min()


def test_split_that_leaves_one_side_empty_is_refused():
    with pytest.raises(NoUsableDataError, match="too few to hold out"):
        split_windows(cut_windows([ramp(5)], n_lags=3), 0.8)


def test_nothing_left_says_what_to_change():
    with pytest.raises(NoUsableDataError, match="lower the number of lags or loosen"):
        cut_windows([ramp(4, censored=[1])], n_lags=3)


def test_runs_with_other_regions_are_refused():
    with pytest.raises(InputDataError, match="differ in their regions: A, B"):
        cut_windows([ramp(9), ramp(9, label="B")], n_lags=2)


def test_runs_of_different_tr_are_refused():
    with pytest.raises(InputDataError, match=r"sampling period: 1 s and 2 s"):
        cut_windows([ramp(9), ramp(9, tr=2.0)], n_lags=2)


def two_regions(uncovered=None, n_samples=6):
    data = np.arange(3.0 * n_samples).reshape(n_samples, 3)
    if uncovered is not None:
        data[:, uncovered] = np.nan
    return RegionSeries(data, ("A", "B", "C"), tr=1.0, keep=np.ones(n_samples, dtype=bool))


def test_a_region_that_one_run_does_not_cover_leaves_all_runs():
    shared, covered = shared_regions([two_regions(), two_regions(uncovered=1)])
    np.testing.assert_array_equal(covered, [True, False, True])
    assert [run.labels for run in shared] == [("A", "C"), ("A", "C")]


def test_too_few_covered_regions_name_the_remedy():
    with pytest.raises(NoUsableDataError, match="--min-coverage"):
        shared_regions([two_regions(uncovered=[0, 1])])


def test_all_samples_censored_is_too_little_data():
    run = RegionSeries(np.full((4, 2), np.nan), ("A", "B"), 1.0, np.zeros(4, dtype=bool))
    with pytest.raises(NoUsableDataError, match="no uncensored sample in 1 run"):
        shared_regions([run])


def test_min_time_counts_kept_samples_of_all_runs():
    check_time([ramp(10, censored=[0], tr=2.0), ramp(5, tr=2.0)], 28)
    with pytest.raises(NoUsableDataError, match=r"28 s of 30 s .* requires 29 s"):
        check_time([ramp(10, censored=[0], tr=2.0), ramp(5, tr=2.0)], 29)


def test_reversed_windows_are_those_of_the_runs_read_backwards_and_twice_is_none():
    rng = np.random.default_rng(0)
    keep = np.ones(12, dtype=bool)
    keep[5] = False
    runs = [
        RegionSeries(rng.standard_normal((12, 2)), ("A", "B"), 1.0, keep),
        RegionSeries(rng.standard_normal((6, 2)), ("A", "B"), 1.0, np.ones(6, dtype=bool)),
    ]
    backwards = [
        RegionSeries(run.data[::-1], run.labels, run.tr, run.keep[::-1]) for run in runs[::-1]
    ]
    windows = cut_windows(runs, 3)
    reversed_windows = reverse_time(windows)
    expected = cut_windows(backwards, 3)
    np.testing.assert_array_equal(reversed_windows.history, expected.history)
    np.testing.assert_array_equal(reversed_windows.target, expected.target)
    np.testing.assert_array_equal(reversed_windows.position, expected.position)
    np.testing.assert_array_equal(reverse_time(reversed_windows).history, windows.history)
