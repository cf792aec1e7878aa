from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import periodogram

from npi_bids.errors import SettingsError
from npi_bids.simulate.haemodynamics import spm_response
from npi_bids.simulate.observation import ObserveSettings, state_grid
from npi_bids.simulate.recording import record_system
from npi_bids.simulate.systems import SYSTEMS, SystemSettings, simulate, simulate_state


def record(system, tr=None, n_samples=100, **effects):
    settings = SystemSettings(n_regions=6, seed=1, tr=tr)
    observation = ObserveSettings(**effects)
    rng = np.random.default_rng(5)
    return record_system(system, settings, observation, rng, n_runs=2, n_samples=n_samples)


@pytest.mark.parametrize(("system", "tr"), [("rnn", 1.5), ("ou", 2.0), ("wbm", 0.72)])
def test_signals_are_the_state_convolved_with_responses_that_have_the_delays_of_the_truth(
    system, tr
):
    """Compare with a sum over the response at the time since each step of the state."""
    simulation, observed = record(system, tr, n_samples=20, hrf="spm", hrf_delay_sd=1.0)
    step = tr / simulation.n_fine
    assert step <= 0.1
    first = state_grid(ObserveSettings(hrf="spm", hrf_delay_sd=1.0), tr).n_before * tr
    past = np.arange(simulation.series.shape[1]) * step
    for sample in (0, 7, 19):
        since = first + sample * tr - past
        for region, delay in enumerate(observed.haemodynamics.delay):
            expected = simulation.series[1, :, region] @ spm_response(since - delay) * step
            scale = observed.series[1, :, region].std()
            assert observed.series[1, sample, region] == pytest.approx(expected, abs=1e-3 * scale)
    assert np.abs(observed.haemodynamics.delay).max() > 0.3


@pytest.mark.parametrize("system", ["rnn", "ou", "wbm", "var", "neuromatch"])
def test_recording_with_a_response_has_the_samples_and_truth_of_the_recording_without(system):
    plain, direct = record(system, n_samples=60)
    simulation, observed = record(system, n_samples=60, hrf="spm")
    assert observed.series.shape == direct.series.shape
    assert (observed.tr, simulation.tr) == (direct.tr, plain.tr)
    off = ~np.eye(6, dtype=bool)
    assert np.corrcoef(simulation.truth[off], plain.truth[off])[0, 1] > 0.9
    if system != "wbm":  # its truth is in units of BOLD, whose responses have different areas
        slope = np.polyfit(plain.truth[off], simulation.truth[off], 1)[0]
        assert slope == pytest.approx(1, abs=0.15)
    hz, power = periodogram(observed.series, 1 / observed.tr, axis=1)
    assert power[:, hz > 0.3].sum() < 0.05 * power.sum()


@pytest.mark.parametrize(("system", "after_a_second"), [("rnn", np.exp(-1)), ("ou", 0.5)])
def test_state_on_the_finer_grid_has_the_time_constant_of_the_system(system, after_a_second):
    """Without coupling, a region is an Ornstein-Uhlenbeck process."""
    settings = SystemSettings(n_regions=20, coupling=0.0, tr=1.5)
    simulation = simulate_state(system, settings, 2, 400)
    state = simulation.series - simulation.series.mean(axis=1, keepdims=True)
    assert state.shape[1] == 400 * simulation.n_fine
    lagged = (state[:, simulation.n_fine :] * state[:, : -simulation.n_fine]).mean()
    assert lagged / state.var() == pytest.approx(after_a_second**1.5, abs=0.04)


def test_recording_begins_without_a_transient():
    _, observed = record("wbm", n_samples=150, hrf="spm")
    start, remaining = observed.series[:, :10].mean(), observed.series[:, 40:].mean()
    assert start == pytest.approx(remaining, rel=0.2)


def test_without_a_response_a_system_is_recorded_as_it_is():
    simulation, observed = record("ou")
    alone = simulate("ou", SystemSettings(n_regions=6, seed=1), 2, 100)
    np.testing.assert_array_equal(observed.series, alone.series)
    np.testing.assert_array_equal(simulation.truth, alone.truth)
    np.testing.assert_array_equal(observed.haemodynamics.delay, 0)
    assert np.isnan(observed.haemodynamics.dispersion).all()


def test_noise_is_a_part_of_the_signals_and_not_of_the_state():
    _, clean = record("rnn", n_samples=400, hrf="spm")
    _, noisy = record("rnn", n_samples=400, hrf="spm", measurement_noise=0.5)
    ratio = (noisy.series - clean.series).std(axis=1) / clean.series.std(axis=1)
    np.testing.assert_allclose(ratio, 0.5, rtol=0.15)


def test_delays_are_those_of_the_recorded_regions():
    _, everything = record("rnn", hrf="spm", hrf_delay_sd=1.0, hrf_dispersion_sd=0.2)
    _, half = record("rnn", hrf="spm", hrf_delay_sd=1.0, hrf_dispersion_sd=0.2, unobserved=0.5)
    for name in ("delay", "dispersion"):
        whole = getattr(everything.haemodynamics, name)
        np.testing.assert_array_equal(getattr(half.haemodynamics, name), whole[half.recorded])


def test_bold_is_not_convolved_with_a_second_response():
    assert "aln" in SYSTEMS
    with pytest.raises(SettingsError, match="aln are the BOLD of neurolib's balloon model"):
        record("aln", hrf="spm")


def test_dispersion_without_a_response_is_refused():
    with pytest.raises(SettingsError, match="requires --hrf spm"):
        ObserveSettings(hrf_dispersion_sd=0.1)
