"""Prior variances that follow partial correlations, on graphs where those are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from npi_bids.matrices import antisymmetric, off_diagonal, pearson
from npi_bids.surrogates.fixed_precision import WEAK
from npi_bids.surrogates.ou import load_mou
from npi_bids.surrogates.ou_model_selection import choose_model
from npi_bids.surrogates.ou_process import OU, Problem, fit_ou, second_moments
from npi_bids.surrogates.pair_prior import pair_variances
from npi_bids.surrogates.windows import cut_windows, standardise
from tests.surrogates.ou_signals import MOU_SETTINGS, fit, run_of

N_REGIONS = 12


def chain_covariance(n):
    """Return the covariance of a chain, whose ends correlate but are not partially correlated."""
    precision = 2 * np.eye(n) - 0.9 * (np.eye(n, k=1) + np.eye(n, k=-1))
    return np.linalg.inv(precision)


def draw(process, n_samples, seed):
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(process.innovation)
    path = np.zeros((n_samples + 50, len(process.drift)))
    for now in range(1, len(path)):
        noise = root @ rng.standard_normal(len(root))
        path[now] = path[now - 1] @ process.transition + noise
    return path[50:]


def random_process(seed, share):
    """Return a process in which a share of the ordered pairs has connections of equal size."""
    rng = np.random.default_rng(seed)
    drift = rng.choice([-1.0, 1.0], (N_REGIONS, N_REGIONS))
    drift *= rng.random(drift.shape) < share
    np.fill_diagonal(drift, 0.0)
    drift /= np.linalg.norm(drift, 2)
    return OU(drift - np.eye(N_REGIONS), np.ones(N_REGIONS))


def test_variance_goes_to_neighbours_in_a_chain_and_not_to_regions_that_only_correlate():
    covariance = chain_covariance(6) * np.outer(np.arange(1, 7), np.arange(1, 7))  # other units
    variances = pair_variances(covariance, 100_000, 0.9)
    near = np.abs(np.subtract.outer(np.arange(6), np.arange(6))) == 1
    far = ~near & ~np.eye(6, dtype=bool)
    assert variances[near].min() > 10 * variances[far].max()
    np.testing.assert_allclose(variances[far], 0.1, atol=0.01)
    assert off_diagonal(variances).mean() == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(variances, variances.T)


def test_no_concentration_and_no_correlation_are_equal_variances():
    assert pair_variances(chain_covariance(6), 1000, 0.0) is None
    assert pair_variances(np.eye(6), 1000, 0.9) is None


def test_no_pair_is_ruled_out():
    assert pair_variances(chain_covariance(6), 10**5, 0.99).min() >= 0.01


def test_region_without_variance_leaves_the_others_as_they_are():
    covariance = np.zeros((7, 7))
    covariance[:6, :6] = chain_covariance(6)
    variances = pair_variances(covariance, 10**5, 0.9)
    assert np.isfinite(variances).all()
    assert variances[0, 1] > variances[0, 2]


def test_gradient_with_variances_is_that_of_the_objective():
    path = draw(random_process(0, 0.3), 300, 1)
    moments = second_moments(path[:-1], path[1:])
    variances = pair_variances(moments.past, 300, 0.9)
    problem = Problem(moments, (500.0, 2000.0), variances=variances)
    at = problem.pack(problem.uncoupled()) + 0.01
    _, gradient = problem.value_and_gradient(at)
    for place in (1, N_REGIONS, 40):
        step = np.zeros_like(at)
        step[place] = 1e-5
        slope = problem.value_and_gradient(at + step)[0] - problem.value_and_gradient(at - step)[0]
        assert gradient[place] == pytest.approx(slope / 2e-5, rel=1e-4, abs=1e-7)


def test_variances_divide_the_precisions():
    path = draw(random_process(0, 1.0), 400, 2)
    moments = second_moments(path[:-1], path[1:])
    quadruple = np.full((N_REGIONS, N_REGIONS), 4.0)
    found = fit_ou(moments, (80.0, 240.0), variances=quadruple).drift
    np.testing.assert_allclose(found, fit_ou(moments, (20.0, 60.0)).drift, atol=2e-3)
    assert np.abs(found - fit_ou(moments, (80.0, 240.0)).drift).max() > 0.02


def test_sparse_systems_gain_and_dense_ones_keep_equal_variances():
    gains = []
    for seed in range(3):
        process = random_process(seed, 0.12)
        model, details, windows = fit(draw(process, 600, seed), MOU_SETTINGS)
        assert details["prior_concentration"] >= 0.5
        plain = model.with_precision(windows, WEAK)
        chosen, truth = model.process.transition, process.transition
        assert pearson(chosen.T, truth) < pearson(chosen, truth)
        gains.append(
            pearson(antisymmetric(chosen), antisymmetric(truth))
            - pearson(antisymmetric(plain.process.transition), antisymmetric(truth))
        )
        dense, details, _ = fit(draw(random_process(seed, 1.0), 600, seed), MOU_SETTINGS)
        assert details["prior_concentration"] == 0
        assert dense.choices.concentration == 0
    assert np.mean(gains) > 0.02


def test_all_windows_may_show_what_part_of_them_does_not():
    path = draw(random_process(1, 0.12), 300, 1)
    windows = standardise(cut_windows([run_of(path)], 1))
    chosen = choose_model(windows, "auto")
    unseen = replace(chosen, concentration=0.0)
    assert choose_model(windows, "auto", unseen).concentration == chosen.concentration > 0


def test_intervals_are_narrower_where_the_prior_expects_no_connection():
    process = random_process(1, 0.12)
    model, _, windows = fit(draw(process, 300, 1), MOU_SETTINGS)
    errors = model.weight_errors(windows)
    absent = (process.drift == 0) & (process.drift.T == 0)
    present = ~absent & ~np.eye(N_REGIONS, dtype=bool)
    assert np.median(errors[absent]) < 0.8 * np.median(errors[present])


def test_prior_of_a_fixed_precision_is_the_same_for_all_pairs():
    model, _, windows = fit(draw(random_process(1, 0.12), 300, 1), MOU_SETTINGS)
    assert model.choices.concentration > 0
    assert model.with_precision(windows, WEAK).choices.concentration == 0


def test_concentration_is_stored_and_absent_in_older_models():
    model, _, _ = fit(draw(random_process(1, 0.12), 300, 1), MOU_SETTINGS)
    fields = model.fields()
    assert load_mou(model.tensors(), fields).choices == model.choices
    del fields["choices"]["concentration"]
    assert load_mou(model.tensors(), fields).choices.concentration == 0
