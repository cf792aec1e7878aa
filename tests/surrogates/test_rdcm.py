from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.linalg import expm, logm
from scipy.special import gammaln, psi
from scipy.stats import gamma, multivariate_normal

import npi_bids
from npi_bids.connectivity.simulation import free_run
from npi_bids.errors import SettingsError, SurrogateError
from npi_bids.matrices import off_diagonal, pearson
from npi_bids.records import RegionSeries, Windows
from npi_bids.surrogates.fixed_precision import PROPORTIONAL, WEAK
from npi_bids.surrogates.rdcm import fit_model
from npi_bids.surrogates.rdcm_posterior import (
    infer_posterior,
    infer_sparse_posterior,
    regression_moments,
)
from npi_bids.surrogates.var import ridge_var
from npi_bids.surrogates.windows import cut_windows, reverse_time
from tests.conftest import var_run

TR = 0.5
# A DCM in Hz, [target, source] as in SPM: the first region drives the second, this one the third.
A = np.array([[-0.5, 0.0, 0.1], [0.6, -0.4, 0.0], [0.0, -0.3, -0.6]])


def as_run(data, tr=TR, keep=None):
    keep = np.ones(len(data), dtype=bool) if keep is None else keep
    return RegionSeries(data, tuple("ABC"[: data.shape[1]]), tr=tr, keep=keep)


def transients(transition, n_runs=150, n_samples=12, response=(1.0,)):
    """Return runs without noise that start at random states, seen through a filter."""
    rng = np.random.default_rng(0)
    runs = []
    for start in rng.standard_normal((n_runs, len(transition))):
        path = [start]
        while len(path) < n_samples:
            path.append(path[-1] @ transition)
        filtered = [np.convolve(column, response, mode="valid") for column in np.array(path).T]
        runs.append(as_run(np.stack(filtered, axis=1)))
    return runs


def noisy_run(n_samples=300, seed=0):
    transition = np.eye(3) + TR * A.T
    return as_run(var_run(transition, n_samples, seed, TR, tuple("ABC")).data)


def standardised_pairs(windows):
    past, future = windows.history[:, -1], windows.target
    scale = future.std(axis=0)
    return (past - past.mean(axis=0)) / scale, (future - future.mean(axis=0)) / scale


def update_one_target(design, derivative, target, n_iterations):
    """Return posterior and free energies by the updates as published, with plain matrices."""
    n_rows, n = design.shape
    prior = np.full(n, n / 8)
    prior[target] = 8 * n
    prior_mean = np.where(np.arange(n) == target, -0.5, 0.0)
    a0, b0 = 2.0, 1.0
    n_rows -= 1  # the mean is known
    shape, precision, energies = a0 + n_rows / 2, a0 / b0, []
    for _ in range(n_iterations):
        covariance = np.linalg.inv(precision * design.T @ design + np.diag(prior))
        mean = covariance @ (precision * design.T @ derivative + prior * prior_mean)
        residual = derivative - design @ mean
        misfit = residual @ residual / 2 + np.trace(design.T @ design @ covariance) / 2
        rate = b0 + misfit
        precision = shape / rate
        expected_log = psi(shape) - np.log(rate)
        likelihood = n_rows * (expected_log - np.log(2 * np.pi)) / 2 - precision * misfit
        deviation = mean - prior_mean
        connections = (np.log(prior).sum() - n * np.log(2 * np.pi)) / 2
        connections -= (
            deviation @ (prior * deviation) / 2 + (prior * np.diag(covariance)).sum() / 2
        )
        noise = a0 * np.log(b0) - gammaln(a0) + (a0 - 1) * expected_log - b0 * precision
        entropy = np.linalg.slogdet(covariance)[1] / 2 + n * (1 + np.log(2 * np.pi)) / 2
        entropy += shape - np.log(rate) + gammaln(shape) + (1 - shape) * psi(shape)
        energies.append(likelihood + connections + noise + entropy)
    return mean, covariance, rate, energies


def test_a_linear_dcm_without_noise_is_recovered():
    transition = np.eye(3) + TR * A.T
    model, posterior = fit_model(cut_windows(transients(transition), 1), (1e-6, 1e-6))
    found = posterior.drift * model.scale[None, :] / model.scale[:, None]
    np.testing.assert_allclose(found, A.T, atol=1e-6)
    assert np.abs(found - A).max() > 0.5


def test_the_prior_hardly_moves_a_dcm_without_noise():
    transition = np.eye(3) + TR * A.T
    model, _ = fit_model(cut_windows(transients(transition), 1))
    np.testing.assert_allclose(model.weights[0], transition, atol=2e-3)


def test_the_transition_of_a_dcm_in_continuous_time_is_exact():
    model, _ = fit_model(cut_windows(transients(expm(TR * A.T)), 1), (1e-6, 1e-6))
    np.testing.assert_allclose(logm(model.weights[0]) / TR, A.T, atol=1e-5)


def test_a_response_that_all_regions_share_cancels():
    transition, response = np.eye(3) + TR * A.T, [0.1, 0.6, 1.0, 0.5, -0.2]
    runs = transients(transition, response=response)
    model, _ = fit_model(cut_windows(runs, 1), (1e-6, 1e-6))
    np.testing.assert_allclose(model.weights[0], transition, atol=1e-5)


def test_updates_are_those_of_one_regression_per_target():
    past, future = standardised_pairs(cut_windows([noisy_run(60)], 1))
    posterior = infer_posterior(regression_moments(past, future, TR))
    n_iterations = len(posterior.free_energy)
    assert n_iterations > 2
    for target in range(3):
        mean, covariance, rate, energies = update_one_target(
            past, (future[:, target] - past[:, target]) / TR, target, n_iterations
        )
        np.testing.assert_allclose(posterior.drift[:, target], mean, rtol=1e-9)
        errors = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(posterior.drift_error[:, target], errors, rtol=1e-9)
        assert posterior.noise_rate[target] == pytest.approx(rate, rel=1e-9)
        np.testing.assert_allclose(posterior.free_energy[:, target], energies, rtol=1e-9)


def test_posterior_is_the_conjugate_one_at_its_own_noise_precision():
    past, future = standardised_pairs(cut_windows([noisy_run()], 1))
    posterior = infer_posterior(regression_moments(past, future, TR))
    for target, precision in enumerate(posterior.noise_precision):
        prior = np.full(3, 3 / 8)
        prior[target] = 24
        covariance = np.linalg.inv(precision * past.T @ past + np.diag(prior))
        evidence = precision * past.T @ (future - past)[:, target] / TR
        evidence[target] += 24 * -0.5
        np.testing.assert_allclose(posterior.drift[:, target], covariance @ evidence, atol=1e-6)
        errors = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(posterior.drift_error[:, target], errors, rtol=1e-4)


@pytest.mark.parametrize("n_samples", [8, 40, 1000])
@pytest.mark.parametrize("prior", [(0.01, 0.02), (3.0, 0.5), None])
def test_free_energy_never_decreases(n_samples, prior):
    past, future = standardised_pairs(cut_windows([noisy_run(n_samples)], 1))
    posterior = infer_posterior(regression_moments(past, future, TR), prior)
    assert len(posterior.free_energy) > 2
    assert np.diff(posterior.free_energy, axis=0).min() > -1e-9


def test_regression_equals_that_of_fourier_transforms():
    """The design of the toolbox: all frequencies of a periodic signal, and its derivative."""
    signals = np.random.default_rng(0).standard_normal((40, 3)).cumsum(axis=0)
    transformed = np.fft.fft(signals, axis=0, norm="ortho")[1:]  # without the mean
    factor = (np.exp(2j * np.pi * np.arange(1, 40) / 40) - 1) / TR
    derivative = factor[:, None] * transformed
    moments = regression_moments(signals, np.roll(signals, -1, axis=0), TR)
    np.testing.assert_allclose((transformed.conj().T @ transformed).real, moments.signals)
    np.testing.assert_allclose((transformed.conj().T @ derivative).real, moments.cross)
    power = (np.abs(derivative) ** 2).sum(axis=0)
    np.testing.assert_allclose(power, moments.derivatives)
    assert moments.n_observations == len(transformed)


def test_no_derivative_spans_a_gap_or_two_runs():
    first, second = noisy_run(60, seed=1).data, noisy_run(60, seed=2).data
    gap = np.full((5, 3), 1e3)
    joined = np.concatenate([first, gap, second])
    keep = np.abs(joined).max(axis=1) < 1e3
    fits = [
        fit_model(cut_windows(runs, 1))[0]
        for runs in ([as_run(joined, keep=keep)], [as_run(first), as_run(second)])
    ]
    np.testing.assert_allclose(fits[0].weights, fits[1].weights, rtol=1e-12)


def test_map_has_the_direction_of_the_system(run, weights):
    model, _ = fit_model(cut_windows([run], 1))
    scale = model.scale[None, :] / model.scale[:, None]
    np.testing.assert_allclose(model.weights[0], weights, atol=0.1)
    np.testing.assert_allclose(model.weights[0] / scale - np.eye(4), 2.0 * model.drift)
    assert pearson(model.weights[0], weights) > 0.95
    assert pearson(model.weights[0], weights.T) < 0.2


def test_units_of_the_signals_do_not_matter():
    run = noisy_run()
    size, shift = np.array([1.0, 100.0, 0.01]), np.array([0.0, 1e3, -5.0])
    plain, scaled = (
        fit_model(cut_windows([as_run(data)], 1))[0]
        for data in (run.data, run.data * size + shift)
    )
    np.testing.assert_allclose(scaled.drift, plain.drift, rtol=1e-6)
    expected = plain.weights[0] * size[None, :] / size[:, None]
    np.testing.assert_allclose(scaled.weights[0], expected, rtol=1e-6)
    windows = cut_windows([run], 1)
    np.testing.assert_allclose(
        scaled.weight_errors(windows), plain.weight_errors(windows) * size[None] / size[:, None]
    )
    states = np.ones((1, 1, 3))
    np.testing.assert_allclose(
        scaled.step(states * size + shift), plain.step(states) * size + shift, rtol=1e-6
    )


def test_noise_is_that_of_the_predictions():
    size = np.array([1.0, 3.0, 0.2])
    run = as_run(noisy_run(4000).data * size)
    model, _ = fit_model(cut_windows([run], 1))
    np.testing.assert_allclose(np.diag(model.noise_covariance()), size**2, rtol=0.1)
    assert np.count_nonzero(model.noise_covariance()) == 3


def test_free_run_has_the_correlations_of_the_signals():
    run = as_run(noisy_run(6000).data * [1.0, 3.0, 0.2])
    model, _ = fit_model(cut_windows([run], 2))
    expected = np.corrcoef(run.data.T)
    assert np.abs(expected - np.eye(3)).max() > 0.3
    np.testing.assert_allclose(model.stationary_correlation(), expected, atol=0.05)
    simulated = free_run(model, 6000, np.random.default_rng(0))
    np.testing.assert_allclose(np.corrcoef(simulated.T), expected, atol=0.08)
    np.testing.assert_allclose(simulated.std(axis=0), run.data.std(axis=0), rtol=0.1)


def test_intervals_hold_the_truth_and_noise_is_rarely_significant():
    transition = np.eye(3) + TR * A.T
    off_diagonal = ~np.eye(3, dtype=bool)
    truth = transition[off_diagonal]
    z = []
    for seed in range(60):
        windows = cut_windows([noisy_run(400, seed)], 1)
        model, _ = fit_model(windows)
        z.append(
            (model.weights[0][off_diagonal] - truth) / model.weight_errors(windows)[off_diagonal]
        )
    z = np.array(z)
    assert 0.92 < np.mean(np.abs(z) < 1.96) < 0.98
    absent = truth == 0
    assert absent.sum() == 3
    assert np.mean(np.abs(z[:, absent]) > 1.96) < 0.09  # 180 tests; .082 is the upper 2.5 %


def test_fit_without_prior_is_close_to_least_squares():
    windows = cut_windows([noisy_run(80)], 1)
    model, _ = fit_model(windows)
    expected = ridge_var(windows, 1e-9)[0].weights
    distance = [
        np.abs(some.weights - expected).max() for some in (model.without_prior(windows), model)
    ]
    assert distance[0] < 0.03 < distance[1]


def test_a_prior_in_proportion_to_the_samples_shrinks_long_and_short_runs_alike():
    shares = []
    for n_samples in (300, 1200):
        windows = cut_windows([noisy_run(n_samples)], 1)
        model, _ = fit_model(windows)
        weak, shrunk = (
            off_diagonal(model.with_precision(windows, fixed).weights[-1])
            for fixed in (WEAK, PROPORTIONAL)
        )
        shares.append(float(shrunk @ weak / (weak @ weak)))
    assert shares[0] == pytest.approx(shares[1], abs=0.04)
    assert shares[0] < 0.97


def test_fit_without_prior_reverses_time():
    windows = cut_windows([noisy_run()], 1)
    model, _ = fit_model(windows)
    reversed_ = model.without_prior(windows, reverse=True).weights
    expected = model.without_prior(reverse_time(windows)).weights
    np.testing.assert_array_equal(reversed_, expected)
    assert np.abs(reversed_ - model.without_prior(windows).weights).max() > 0.1


@pytest.mark.parametrize(
    "windows",
    [
        Windows(np.ones((2, 1, 3)), np.eye(3)[:2], np.arange(2)),
        Windows(np.ones((9, 1, 3)), np.ones((9, 3)), np.arange(9)),
        Windows(np.ones((9, 1, 3)), np.full((9, 3), np.nan), np.arange(9)),
    ],
    ids=["short", "constant", "not finite"],
)
def test_what_cannot_be_fitted_is_refused(windows):
    with pytest.raises(SurrogateError, match="at least 3 pairs of consecutive uncensored samples"):
        fit_model(windows)


def test_more_regions_than_windows_can_be_fitted():
    rng = np.random.default_rng(0)
    signals = rng.standard_normal((2, 20, 50))
    windows = Windows(signals[0][:, None], signals[1], np.arange(20), 2.0)
    model, posterior = fit_model(windows)
    assert np.isfinite(model.weights).all()
    assert (posterior.drift_error > 0).all()
    assert (posterior.drift_error <= np.sqrt(8 / 50)).all()


def test_sparse_posterior_tends_to_the_full_one():
    past, future = standardised_pairs(cut_windows([noisy_run(100)], 1))
    moments = regression_moments(past, future, TR)
    full, nearly = infer_posterior(moments), infer_sparse_posterior(moments, 1 - 1e-9)
    for name in ("drift", "drift_error", "inclusion", "noise_rate"):
        np.testing.assert_allclose(getattr(nearly, name), getattr(full, name), rtol=1e-4)
    np.testing.assert_allclose(nearly.free_energy[-1], full.free_energy[-1], atol=1e-4)


@pytest.mark.parametrize("density", [0.05, 0.5, 0.9])
def test_sparse_free_energy_never_decreases(density):
    rng = np.random.default_rng(1)
    # Regions are alike, so that each could stand for the others in driving all of them.
    past = 0.3 * rng.standard_normal((200, 20)) + rng.standard_normal((200, 1))
    future = past + TR * (past.mean(axis=1, keepdims=True) - past)
    future += 0.1 * rng.standard_normal(past.shape)
    posterior = infer_sparse_posterior(regression_moments(past, future, TR), density)
    assert len(posterior.free_energy) > 2
    assert np.diff(posterior.free_energy, axis=0).min() > -1e-9


def enumerated_bound(moments, target, inclusion, density, precision):
    """Return the bound of one target, its likelihood summed over all sets of connections.

    Strengths and noise precision have their best distributions for the given indicators.
    """
    n = len(inclusion)
    sets = [np.array(chosen) for chosen in itertools.product([0.0, 1.0], repeat=n)]
    odds = [np.prod(np.where(chosen > 0, inclusion, 1 - inclusion)) for chosen in sets]
    prior, prior_mean = np.full(n, n / 8), np.zeros(n)
    prior[target], prior_mean[target] = 8 * n, -0.5
    cross, shape = moments.cross[:, target], 2 + moments.n_observations / 2
    masked = [np.outer(chosen, chosen) * moments.signals for chosen in sets]
    expected = sum(p * some for p, some in zip(odds, masked, strict=True))
    covariance = np.linalg.inv(precision * expected + np.diag(prior))
    evidence = sum(p * chosen for p, chosen in zip(odds, sets, strict=True)) * cross * precision
    mean = covariance @ (evidence + prior * prior_mean)
    second = covariance + np.outer(mean, mean)
    squares = sum(
        p * (moments.derivatives[target] - 2 * mean @ (chosen * cross) + np.sum(some * second))
        for p, chosen, some in zip(odds, sets, masked, strict=True)
    )
    rate = 1 + squares / 2
    log = psi(shape) - np.log(rate)
    bound = moments.n_observations * (log - np.log(2 * np.pi)) / 2 - squares / 2 * shape / rate
    normal = multivariate_normal(mean, covariance)
    bound += (np.log(prior).sum() - n * np.log(2 * np.pi)) / 2 + normal.entropy()
    bound -= np.sum(prior * ((mean - prior_mean) ** 2 + np.diag(covariance))) / 2
    bound += log - shape / rate + gamma(shape, scale=1 / rate).entropy()  # the prior is (2, 1)
    for region in set(range(n)) - {target}:
        prior_share = np.array([density, 1 - density])
        share = np.array([inclusion[region], 1 - inclusion[region]])
        bound -= np.sum(share * np.log(share / prior_share))
    return bound


@pytest.mark.parametrize("density", [0.2, 0.7])
def test_sparse_posterior_maximises_the_bound_over_all_sets_of_connections(density):
    past, future = standardised_pairs(cut_windows([noisy_run(150)], 1))
    moments = regression_moments(past, future, TR)
    posterior = infer_sparse_posterior(moments, density)
    for target, precision in enumerate(posterior.noise_precision):
        best = posterior.inclusion[:, target]
        bound = enumerated_bound(moments, target, best, density, precision)
        assert bound == pytest.approx(posterior.free_energy[-1, target], abs=1e-3)
        for region in set(range(3)) - {target}:
            for shift in (-0.05, 0.05):
                other = best.copy()
                other[region] = np.clip(best[region] + shift, 1e-12, 1 - 1e-12)
                changed = enumerated_bound(moments, target, other, density, precision)
                assert changed < bound + 1e-6


def test_sparse_fit_switches_absent_connections_off():
    windows = cut_windows([noisy_run(2000)], 1)
    model, _ = fit_model(windows, density=0.5)
    present = A.T != 0
    assert model.inclusion[present].min() > 0.85
    assert model.inclusion[~present].max() < 0.3
    full, _ = fit_model(windows)
    assert np.abs(model.drift[~present]).max() < np.abs(full.drift[~present]).max() / 3
    assert model.drift_error[~present].max() < full.drift_error[~present].min() * 0.7
    np.testing.assert_allclose(model.drift[present], full.drift[present], atol=0.05)


def test_density_is_a_setting():
    signals = noisy_run(200).data
    sparse = npi_bids.ec(signals, tr=TR, surrogate="rdcm", rdcm_density=0.2)
    assert (sparse.surrogate.inclusion < 0.5).any()
    with pytest.raises(SettingsError, match="--rdcm-density"):
        npi_bids.ec(signals, tr=TR, surrogate="rdcm", rdcm_density=0.0)


def test_subject_level_gives_map_intervals_and_free_run():
    result = npi_bids.ec(noisy_run(600).data, tr=TR, surrogate="rdcm")
    truth = np.eye(3) + TR * A.T
    assert pearson(result.ec, truth) > 0.9
    assert pearson(result.ec, truth.T) < 0.5
    lower, upper = (result.measures[name].matrix for name in ("npilower", "npiupper"))
    assert (lower < result.ec)[~np.eye(3, dtype=bool)].all()
    assert (result.ec < upper)[~np.eye(3, dtype=bool)].all()
    assert np.isfinite(result.measures["npiunshrunk"].matrix[~np.eye(3, dtype=bool)]).all()
