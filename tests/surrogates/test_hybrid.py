"""The hybrid on systems whose EC is known: which linear part it takes, and when networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import gamma

from npi_bids.connectivity.perturbation import infer_ec
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.matrices import pearson
from npi_bids.simulate.haemodynamics import shift_regions
from npi_bids.simulate.rnn import RNNSystem, random_network, simulate_rnn, true_ec
from npi_bids.surrogates.choices import FitChoices, imposing_settings
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.hybrid import Hybrid
from npi_bids.surrogates.observed import restore_runs
from npi_bids.surrogates.ou import MOU
from npi_bids.surrogates.selection_criteria import DELAY_EVIDENCE
from npi_bids.surrogates.spectral_selection import refit_observation
from npi_bids.surrogates.storage import load_surrogate, save_surrogate
from npi_bids.surrogates.var import VAR
from npi_bids.surrogates.windows import cut_windows
from tests.conftest import var_run
from tests.surrogates.ou_signals import HYBRID, fast_process, fit, off, run_of, sampled


def test_hybrid_takes_the_var_where_dynamics_are_discrete(weights):
    model, details, _ = fit(var_run(weights, 1200, seed=1).data, HYBRID)
    assert type(model) is VAR
    assert details["linear_is_var"] == 1
    np.testing.assert_allclose(off(model.weights[-1]), off(weights), atol=0.08)


def test_hybrid_keeps_the_process_and_no_network_where_dynamics_are_linear(process):
    model, details, _ = fit(sampled(process, 2000, 3), HYBRID)
    assert type(model) is MOU
    assert details["residual_networks"] == 0
    assert details["residual_gain"] < 0.005


def test_hybrid_fits_no_network_where_nothing_can_be_held_out(process):
    windows = cut_windows([run_of(sampled(process, 11, 3))], 4)  # 7 windows: a fifth spans 5
    model, log = fit_surrogate(windows, windows.take(slice(0, 0)), HYBRID)
    assert not isinstance(model, Hybrid)
    assert "residual_networks" not in dict(log.details)


@pytest.mark.slow
def test_hybrid_adds_networks_where_dynamics_are_not_linear():
    rng = np.random.default_rng(3)
    system = RNNSystem(2.5 * random_network(8, rng).weights, sigma=0.3)
    series = simulate_rnn(system, n_runs=1, n_samples=6000, rng=rng)
    truth = true_ec(system, series, rng)
    model, details, windows = fit(series[0], HYBRID)
    assert isinstance(model, Hybrid)
    assert details["residual_gain"] > 0.005
    linear = pearson(model.linear.weights[-1], truth)
    found = pearson(infer_ec(model, windows.history, PerturbSettings()), truth)
    assert found > linear


def test_regions_without_memory_are_fitted_by_the_var():
    # Influences of one sample on the next, and no self-connections: nothing is continuous.
    weights = np.zeros((12, 12))
    weights[np.arange(11), np.arange(1, 12)] = 0.15  # a chain, from each region to the next
    model, details, _ = fit(var_run(weights, 400, 0, labels=tuple("ABCDEFGHIJKL")).data, HYBRID)
    assert details["linear_is_var"] == 1
    matrix = model.linear_weights[-1]
    assert pearson(matrix, weights) > 0.5
    assert abs(pearson(matrix, weights.T)) < 0.2


def test_hybrid_keeps_the_process_where_little_is_predicted_unless_the_var_is_clear():
    _, details, _ = fit(sampled(fast_process(3.0, 12), 800, 2), HYBRID)
    assert details["linear_is_var"] == 0
    rng = np.random.default_rng(1)
    weights = 0.3 * rng.standard_normal((12, 12)) * (rng.random((12, 12)) < 0.12)
    np.fill_diagonal(weights, 0.15)
    discrete = np.zeros((800, 12))
    for now in range(1, 800):
        discrete[now] = discrete[now - 1] @ weights + rng.standard_normal(12)
    _, details, _ = fit(discrete, HYBRID)
    assert details["linear_is_var"] == 1


def test_delays_that_are_not_found_widen_the_intervals():
    model, details, windows = fit(sampled(fast_process(0.5, 12), 300, 1), HYBRID)
    assert isinstance(model, MOU)
    assert 0.1 < model.choices.delay_doubt < 1
    assert details["possible_delay_sd"] == pytest.approx(model.choices.delay_doubt)  # TR 1 s
    certain = replace(model, choices=replace(model.choices, delay_doubt=0.0))
    assert np.all(off(model.weight_errors(windows)) > off(certain.weight_errors(windows)))


def test_delays_that_the_user_excludes_widen_nothing():
    model, _, _ = fit(sampled(fast_process(0.5, 12), 300, 1), replace(HYBRID, delays="none"))
    assert isinstance(model, MOU)
    assert model.choices.delay_doubt == 0


def test_a_kind_without_delays_that_the_dataset_decides_excludes_none():
    series = sampled(fast_process(0.5, 12), 300, 1)
    own, _, _ = fit(series, HYBRID)
    kind = imposing_settings(FitChoices("process", delays=False))
    imposed, _, _ = fit(series, HYBRID.with_kind(kind))
    assert imposed.choices.delay_doubt == pytest.approx(own.choices.delay_doubt, rel=1e-6)


def test_a_kind_of_those_who_exclude_delays_excludes_them():
    kind = imposing_settings(FitChoices("process"), excludes_delays=True)
    model, _, _ = fit(sampled(fast_process(0.5, 12), 300, 1), HYBRID.with_kind(kind))
    assert model.choices.delay_doubt == 0


def test_possible_delays_widen_the_intervals_beside_an_imposed_gain():
    series = sampled(fast_process(0.5, 12), 300, 1)
    kind = imposing_settings(FitChoices("process", gain=True))
    model, _, windows = fit(series, HYBRID.with_kind(kind))
    assert model.region_delays is None
    assert model.observation.delay_doubt > 0
    possible, certain = (
        refit_observation(
            restore_runs(windows), 1.0, replace(model.observation, delay_doubt=doubt)
        )
        for doubt in (model.observation.delay_doubt, 0.0)
    )
    wider = off(possible.transition_errors) / off(certain.transition_errors)
    assert wider.mean() > 1.03


@pytest.mark.parametrize("gain", ["none", "on"])
def test_possible_delays_are_never_taken_however_clear_they_are(gain):
    series = sampled(fast_process(0.3, 12), 1200, 1)
    series = shift_regions(series[None], np.linspace(-1.5, 1.5, 12))[0]
    _, details, _ = fit(series, replace(HYBRID, gain=gain))
    assert details["delay_sd"] > 0.5
    model, details, _ = fit(series, replace(HYBRID, gain=gain, delays="possible"))
    assert model.region_delays is None
    assert details["possible_delay_sd"] > 0.5
    # So the grade of direction can say that the map does not allow for delays that are there.
    assert details["delay_evidence"] >= DELAY_EVIDENCE
    assert details["delay_benefit"] > 0


def test_a_trace_of_white_noise_does_not_hide_the_haemodynamic_response():
    process = fast_process(0.3, 12)
    state = sampled(process, 840, 1)
    time = np.arange(32)
    response = gamma.pdf(time, 6) - gamma.pdf(time, 16) / 6
    signals = np.apply_along_axis(np.convolve, 0, state, response)[40:840]
    signals /= signals.std(axis=0)
    # Its power is below that of frequencies that are fitted, and above that of the signals there.
    signals += 0.01 * np.random.default_rng(0).standard_normal(signals.shape)
    model, details, _ = fit(signals, HYBRID)
    assert details["common_gain"] == 1
    assert pearson(model.process.transition, process.transition) > 0.75
    assert pearson(model.process.transition.T, process.transition) < 0.5


def test_possible_delays_are_saved_with_the_surrogate(tmp_path):
    model, _, windows = fit(sampled(fast_process(0.5, 12), 300, 1), HYBRID)
    errors = model.weight_errors(windows)
    path = tmp_path / "model.safetensors"
    save_surrogate(model, path, family="hybrid", labels="ABCDEFGHIJKL", tr=1.0)
    restored = load_surrogate(path)
    np.testing.assert_allclose(restored.weight_errors(windows), errors)
