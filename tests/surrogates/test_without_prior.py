"""Fits without the prior: unbiased, independent of a group, and reversed in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov

from npi_bids.errors import SurrogateError
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.surrogates import observed
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.corrected import fit_corrected
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.fixed_precision import PROPORTIONAL, WEAK
from npi_bids.surrogates.group_prior import GroupPrior
from npi_bids.surrogates.hybrid import Hybrid, zero_mlp
from npi_bids.surrogates.lagged_evidence import LaggedEvidence
from npi_bids.surrogates.networks import fit_network
from npi_bids.surrogates.observed import fit_observed
from npi_bids.surrogates.ou import MOU
from npi_bids.surrogates.ou_model_selection import Choices
from npi_bids.surrogates.ou_process import OU, Moments, fit_ou
from npi_bids.surrogates.spectral_selection import ObservationParts
from npi_bids.surrogates.windows import cut_windows, reverse_time
from tests.surrogates.ou_signals import MOU_SETTINGS, fit, off, run_of, sampled

# 0 drives 1 and 1 drives 2; nothing goes back.
DIRECTED = OU(np.array([[-0.7, 0.4, 0.0], [0.0, -0.7, 0.3], [0.0, 0.0, -0.7]]), np.ones(3))
# Equal noise and symmetric connections: the process is the same forwards and backwards.
REVERSIBLE = OU(np.array([[-0.7, 0.3, 0.0], [0.3, -0.7, 0.2], [0.0, 0.2, -0.7]]), np.ones(3))


def transition(surrogate):
    return surrogate.linear_weights[-1]


@pytest.mark.parametrize("name", ["mou", "var"])
def test_map_without_prior_is_not_biased_towards_zero(name):
    estimates, shrunken = [], []
    for seed in range(20):
        series = sampled(DIRECTED, 150, seed)
        model, _, windows = fit(series, TrainSettings(surrogate=name, device="cpu"), 1)
        scale = windows.target.std(axis=0)
        units = scale[:, None] / scale
        estimates.append(transition(model.without_prior(windows))[0, 1] * units[0, 1])
        shrunken.append(transition(model)[0, 1] * units[0, 1])
    scale_of_truth = np.mean([sampled(DIRECTED, 150, s).std(axis=0) for s in range(20)], axis=0)
    truth = DIRECTED.transition[0, 1] * scale_of_truth[0] / scale_of_truth[1]
    assert np.mean(estimates) == pytest.approx(truth, abs=0.05)
    assert np.mean(estimates) > np.mean(shrunken)


def test_prior_takes_the_same_small_share_of_maps_of_long_and_short_scans():
    """With one precision for all, 20 % of connections at 100 windows and 5 % at 500 were lost."""
    means = []
    for n_samples, n_subjects in ((100, 120), (500, 40)):
        maps = []
        for seed in range(n_subjects):
            series = sampled(DIRECTED, n_samples, seed)
            windows = cut_windows([run_of(series / series.std(axis=0))], 1)
            choices = Choices((), (), (1.0, 1.0), LaggedEvidence(2.0, 2.0))
            process = MOU(np.zeros((1, 3, 3)), np.zeros(3), DIRECTED, choices, np.ones(3))
            maps.append(transition(process.without_prior(windows)))
        means.append(np.mean(maps, axis=0))
    assert means[0][0, 1] == pytest.approx(means[1][0, 1], abs=0.015)


def test_a_fixed_prior_takes_the_same_share_of_maps_of_long_and_short_scans():
    """Of exact moments the share is ``P / (P + T h)``: one map for any number of windows T."""
    past = solve_continuous_lyapunov(DIRECTED.drift.T, -np.diag(DIRECTED.diffusion))
    cross = past @ DIRECTED.transition
    maps = {
        (precision, n): fit_ou(Moments(past, cross, past, n), precision.of_drift(n)).transition
        for precision in (WEAK, PROPORTIONAL)
        for n in (150, 400)
    }
    for precision in (WEAK, PROPORTIONAL):
        np.testing.assert_allclose(maps[precision, 150], maps[precision, 400], atol=1e-4)
    kept = {each: off(maps[each, 150]).sum() for each in (WEAK, PROPORTIONAL)}
    assert (
        kept[PROPORTIONAL] < 0.9 * kept[WEAK] < kept[WEAK] < 1.02 * off(DIRECTED.transition).sum()
    )
    one_for_all = [
        off(fit_ou(Moments(past, cross, past, n), (80.0, 80.0)).transition).sum()
        for n in (150, 400)
    ]
    assert one_for_all[0] < 0.9 * one_for_all[1]


@pytest.mark.parametrize("name", ["mou", "var"])
def test_map_in_proportion_to_windows_is_the_same_for_scans_of_any_length(name):
    """The means over subjects agree; a precision that the subject chooses makes them differ."""
    settings = TrainSettings(surrogate=name, device="cpu")
    means, chosen = [], []
    for n_samples, n_subjects in ((100, 40), (400, 15)):
        maps, of_subjects = [], []
        for seed in range(n_subjects):
            series = sampled(DIRECTED, n_samples, seed)
            model, _, windows = fit(series / series.std(axis=0), settings, 1)
            maps.append(transition(model.with_precision(windows, PROPORTIONAL)))
            of_subjects.append(transition(model))
        means.append(np.mean(maps, axis=0))
        chosen.append(np.mean(of_subjects, axis=0))
    assert means[0][0, 1] == pytest.approx(means[1][0, 1], abs=0.02)
    assert means[1][0, 1] > 0.1
    assert abs(means[1][1, 0]) < 0.03
    if name == "mou":
        assert chosen[1][0, 1] - chosen[0][0, 1] > 2 * abs(means[1][0, 1] - means[0][0, 1])


def test_map_without_prior_does_not_depend_on_the_prior_of_a_group():
    from npi_bids.surrogates.group_prior import fit_shrunk

    series = sampled(DIRECTED, 150, 0)
    alone, _, windows = fit(series, MOU_SETTINGS)
    elsewhere = OU(np.array([[-0.5, 0.0, 0.6], [0.4, -0.5, 0.0], [0.0, -0.5, -0.5]]), np.ones(3))
    prior = GroupPrior(elsewhere, alone.choices, np.zeros((3, 3)), 1.0, linear_is_var=False)
    settings = resolve(MOU_SETTINGS)
    shrunken, _ = fit_shrunk(windows, windows.take(slice(0, 0)), settings, prior)
    assert np.abs(transition(shrunken) - transition(alone)).max() > 0.01
    np.testing.assert_array_equal(
        transition(shrunken.without_prior(windows)), transition(alone.without_prior(windows))
    )


@pytest.mark.parametrize("name", ["mou", "var"])
def test_reversed_time_reverses_the_direction_of_connections(name):
    series = sampled(DIRECTED, 3000, 0)
    model, _, windows = fit(series, TrainSettings(surrogate=name, device="cpu"), 1)
    forward, backward = (
        antisymmetric(transition(model.without_prior(windows, reverse=reverse)))
        for reverse in (False, True)
    )
    assert forward[0, 1] > 0.1
    assert backward[0, 1] < -0.1
    assert forward[1, 2] > 0.05 > -0.05 > backward[1, 2]


@pytest.mark.parametrize("name", ["mou", "var"])
def test_map_of_reversed_time_is_that_of_the_series_read_backwards(name):
    settings = TrainSettings(surrogate=name, device="cpu")
    model, _, windows = fit(sampled(DIRECTED, 400, 0), settings)
    backwards = cut_windows([run_of(sampled(DIRECTED, 400, 0)[::-1])], 4)
    np.testing.assert_allclose(
        transition(model.without_prior(windows, reverse=True)),
        transition(model.without_prior(backwards)),
        atol=1e-8,
    )


def test_a_reversible_process_has_the_same_map_in_reversed_time():
    model, _, windows = fit(sampled(REVERSIBLE, 20_000, 0), MOU_SETTINGS, 1)
    forward, backward = (
        transition(model.without_prior(windows, reverse=reverse)) for reverse in (False, True)
    )
    np.testing.assert_allclose(off(forward), off(backward), atol=0.03)


def test_whitening_and_memory_are_kept():
    model, _, windows = fit(sampled(DIRECTED, 400, 0), MOU_SETTINGS)
    choices = model.without_prior(windows).choices
    assert (choices.whitening, choices.memory) == (model.choices.whitening, model.choices.memory)
    assert choices.precision == (0.02 * len(windows), 0.02 * len(windows))


def test_a_narrow_var_keeps_its_single_lag_between_regions():
    from npi_bids.surrogates.var import fit_narrow_var

    windows = cut_windows([run_of(sampled(DIRECTED, 400, 0))], 4)
    penalty = WEAK.penalty * windows.target.var(axis=0).mean() * len(windows)
    narrow, _ = fit_narrow_var(windows, 1, penalty)
    refit = narrow.without_prior(windows)
    assert refit.free_lags == 1
    np.testing.assert_allclose(refit.weights, narrow.weights)


def test_networks_of_a_hybrid_do_not_enter():
    process, _, windows = fit(sampled(DIRECTED, 200, 0), MOU_SETTINGS)
    settings = resolve(TrainSettings(surrogate="hybrid", device="cpu", epochs=2, n_seeds=1))
    networks, _ = fit_network(zero_mlp, windows, windows, settings)
    np.testing.assert_array_equal(
        transition(Hybrid(process, networks).without_prior(windows)),
        transition(process.without_prior(windows)),
    )


def test_the_correction_of_a_linear_part_does_not_enter():
    process, _, windows = fit(sampled(DIRECTED, 200, 0), MOU_SETTINGS)
    corrected = fit_corrected(process, windows, 5.0)
    assert not np.array_equal(transition(corrected), transition(process))
    np.testing.assert_array_equal(
        transition(corrected.without_prior(windows)), transition(process.without_prior(windows))
    )


def test_a_network_alone_has_no_such_fit():
    windows = cut_windows([run_of(sampled(DIRECTED, 100, 0))], 3)
    settings = TrainSettings(surrogate="mlp", epochs=1, n_seeds=1, device="cpu")
    network, _ = fit_surrogate(windows, windows, settings)
    assert network.without_prior(windows) is None


class TestObserved:
    """Regions 0 to 11 in a directed ring, seen through delays and a common filter."""

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls):
        n = 12
        drift = -0.7 * np.eye(n) + 0.35 * np.roll(np.eye(n), 1, axis=1)
        process = OU(drift, np.ones(n))
        rng = np.random.default_rng(3)
        path = np.zeros((1200, n))
        root = np.linalg.cholesky(process.innovation)
        for now in range(1, len(path)):
            path[now] = path[now - 1] @ process.transition + root @ rng.standard_normal(n)
        frequency = 2 * np.pi * np.fft.rfftfreq(len(path))[:, None]
        delays = np.linspace(-0.6, 0.6, n)[rng.permutation(n)]
        spectrum = np.fft.rfft(path, axis=0) * np.exp(-1j * frequency * delays)
        signals = np.fft.irfft(spectrum / (1 + frequency**2), len(path), axis=0)
        signals += 0.02 * rng.standard_normal(signals.shape)
        windows = cut_windows([run_of(signals / signals.std(axis=0))], 4)
        model = fit_observed(windows, ObservationParts(gain=True))
        observation = replace(model.observation, delay_sd=0.4)
        model = replace(model, delays=delays, observation=observation)  # whatever was chosen
        return model, windows, process.transition

    def test_delays_gain_and_noise_are_kept(self, fitted):
        model, windows, _ = fitted
        refit = model.without_prior(windows)
        assert refit.observation.gain == model.observation.gain
        assert refit.observation.noise == model.observation.noise
        assert max(refit.observation.precision) < max(model.observation.precision)
        np.testing.assert_array_equal(refit.delays, model.delays)

    def test_delays_change_their_sign_in_reversed_time_and_so_does_the_direction(self, fitted):
        model, windows, truth = fitted
        forward, backward = (model.without_prior(windows, reverse=each) for each in (False, True))
        np.testing.assert_array_equal(forward.delays, model.delays)
        np.testing.assert_array_equal(backward.delays, -model.delays)
        assert pearson(antisymmetric(transition(forward)), antisymmetric(truth)) > 0.8
        assert pearson(antisymmetric(transition(backward)), antisymmetric(truth)) < -0.8

    def test_reversed_windows_have_conjugate_spectra(self, fitted):
        from npi_bids.surrogates.cross_spectra import cross_spectra
        from npi_bids.surrogates.observed import restore_runs

        _, windows, _ = fitted
        forward, backward = (
            cross_spectra(restore_runs(each)).power for each in (windows, reverse_time(windows))
        )
        np.testing.assert_allclose(backward, forward.conj(), atol=1e-10)

    def test_a_prior_that_had_to_be_stronger_is_told(self, fitted, monkeypatch, caplog):
        model, windows, _ = fitted
        fit_with_delays, precisions = observed.refit_with_delays, []

        def fail_from_both_starts(runs, tr, choice, start):
            precisions.append(choice.precision)
            if len(precisions) <= 2:
                raise SurrogateError("no stable process")
            return fit_with_delays(runs, tr, choice, start)

        monkeypatch.setattr(observed, "refit_with_delays", fail_from_both_starts)
        model.with_precision(windows, WEAK)
        assert max(precisions[2]) > max(precisions[1]) == max(precisions[0])
        assert "shrunk more than those of others" in caplog.text
        assert f"{precisions[2][0]:.3g}" in caplog.text
        caplog.clear()
        model.with_precision(windows, WEAK)
        assert not caplog.text
