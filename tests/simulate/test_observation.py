from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import periodogram

from npi_bids.errors import SettingsError
from npi_bids.simulate.observation import ObserveSettings, as_runs, observe


@pytest.fixture
def smooth():
    """Make two runs of four smooth regions, TR 1 s."""
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((2, 620, 4))
    return np.apply_along_axis(lambda x: np.convolve(x, np.ones(21) / 21, "valid"), 1, raw)


def seen(series, seed=1, **settings):
    return observe(series, 1.0, ObserveSettings(**settings), np.random.default_rng(seed))


def test_nothing_happens_by_default(smooth):
    found = seen(smooth)
    np.testing.assert_array_equal(found.series, smooth)
    assert found.tr == 1.0
    assert found.keep.all()
    assert found.recorded.all()


def test_delays_shift_regions_by_what_was_drawn(smooth):
    found = seen(smooth, hrf_delay_sd=3.0)
    delays = np.random.default_rng(1).standard_normal(4) * 3.0
    lags = np.arange(-15, 16)
    for region in range(4):
        late, early = found.series[0, 50:550, region], smooth[0, :, region]
        match = [np.corrcoef(late, early[50 - lag : 550 - lag])[0, 1] for lag in lags]
        assert abs(lags[int(np.argmax(match))] - delays[region]) < 1


def test_noise_has_the_size_that_was_asked_for(smooth):
    for name in ("measurement_noise", "drift", "global_noise"):
        added = seen(smooth, **{name: 0.5}).series - smooth
        ratio = added.std(axis=1) / smooth.std(axis=1)
        np.testing.assert_allclose(ratio, 0.5, rtol=0.25)
    shared = (seen(smooth, global_noise=1.0).series - smooth) / smooth.std(axis=1, keepdims=True)
    np.testing.assert_allclose(shared, shared[:, :, :1].repeat(4, axis=2))


def test_decimation_keeps_every_second_sample_and_doubles_the_tr(smooth):
    found = seen(smooth, decimate=2)
    np.testing.assert_array_equal(found.series, smooth[:, ::2])
    assert found.tr == 2.0


def test_filter_takes_out_what_is_outside_the_band():
    noise = np.random.default_rng(0).standard_normal((1, 2000, 3))
    found = seen(noise, filter_low=0.05, filter_high=0.2).series
    frequency, power = periodogram(found[0], axis=0)
    share = power.sum(axis=1) / power.sum()
    assert share[(frequency > 0.04) & (frequency < 0.23)].sum() > 0.95


def test_unobserved_regions_leave_and_lost_samples_are_marked(smooth):
    found = seen(smooth, unobserved=0.5, missing=0.2)
    assert found.series.shape[-1] == 2 == found.recorded.sum()
    np.testing.assert_array_equal(found.series, smooth[:, :, found.recorded])
    assert found.keep.mean() == pytest.approx(0.8, abs=0.02)
    assert not (found.keep[0] == found.keep[1]).all()


def test_runs_are_z_scored_over_what_is_kept(smooth):
    runs = as_runs(seen(smooth, missing=0.3), tuple("ABCD"))
    for run in runs:
        np.testing.assert_allclose(run.data[run.keep].mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(run.data[run.keep].std(axis=0), 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"filter_low": 0.2, "filter_high": 0.1}, "above --filter-low"),
        ({"unobserved": 0.9}, "at least 2"),
        ({"decimate": 0}, "--decimate must be above 0"),
        ({"filter_high": 0.1, "decimate": 30}, "too few to filter"),
    ],
)
def test_what_cannot_be_is_refused(smooth, settings, words):
    with pytest.raises(SettingsError, match=words):
        observe(smooth, 0.1, ObserveSettings(**settings), np.random.default_rng(0))
