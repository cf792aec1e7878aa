"""Series moved back by the delays of their regions; gaps stay gaps."""

import numpy as np
import pytest

from npi_bids.records import RegionSeries
from npi_bids.surrogates.delays import without_delays

T, TR = 400, 2.0
LABELS = ("A", "B", "C")


@pytest.fixture
def smooth():
    """Return slow signals as functions of time, and their values at the samples."""
    rng = np.random.default_rng(0)
    hz, phase = rng.uniform(0.01, 0.15, (3, 8)), rng.uniform(0, 6, (3, 8))

    def at(seconds):
        waves = np.sin(2 * np.pi * hz[:, :, None] * seconds[:, None, :] + phase[:, :, None])
        return waves.sum(axis=1).T

    return at


def seen(at, delays, keep):
    time = TR * np.arange(T)
    data = at(time[None, :] - delays[:, None])
    return RegionSeries(np.where(keep[:, None], data, np.nan), LABELS, TR, keep)


DELAYS = np.array([-1.3, 0.0, 2.1])


def test_signals_are_what_they_were_without_delays(smooth):
    keep = np.ones(T, dtype=bool)
    (moved,) = without_delays([seen(smooth, DELAYS, keep)], DELAYS)
    true = seen(smooth, np.zeros(3), keep).data
    inside = slice(20, T - 20)
    r = np.diag(np.corrcoef(moved.data[inside].T, true[inside].T)[:3, 3:])
    assert r.min() > 0.999
    assert moved.keep[inside].all()
    assert not moved.keep[0]  # A would need what was before the run
    np.testing.assert_allclose(np.nanmean(moved.data, axis=0), 0, atol=1e-9)


def test_a_shift_that_all_share_changes_nothing(smooth):
    run = seen(smooth, DELAYS, np.ones(T, dtype=bool))
    one, other = (without_delays([run], DELAYS + shift)[0] for shift in (0.0, 5.0))
    np.testing.assert_allclose(one.data, other.data, atol=1e-9)


def test_what_rests_on_a_censored_sample_is_censored_and_nothing_smears(smooth):
    keep = np.ones(T, dtype=bool)
    keep[200:203] = False
    run = seen(smooth, DELAYS, keep)
    (moved,) = without_delays([run], DELAYS)
    (whole,) = without_delays([seen(smooth, DELAYS, np.ones(T, dtype=bool))], DELAYS)
    assert not moved.keep[199:204].any()
    assert moved.keep[:197].sum() >= 195
    assert moved.keep[207:380].all()
    near = np.r_[180:198, 206:220]
    near = near[moved.keep[near]]
    scale = np.nanstd(whole.data[moved.keep], axis=0) / np.nanstd(moved.data, axis=0)
    assert np.abs(moved.data[near] * scale - whole.data[near]).max() < 0.15
    spoilt = run.data.copy()
    spoilt[200:203] = 1e6
    (again,) = without_delays([RegionSeries(spoilt, LABELS, TR, keep)], DELAYS)
    np.testing.assert_array_equal(again.data, moved.data)


def test_no_delays_leave_a_run_as_it_is(smooth):
    keep = np.ones(T, dtype=bool)
    keep[50] = False
    run = seen(smooth, DELAYS, keep)
    (same,) = without_delays([run], np.zeros(3))
    np.testing.assert_array_equal(same.keep, keep)
