"""The Ornstein-Uhlenbeck process against theory and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad_vec
from scipy.linalg import expm, solve_continuous_lyapunov

from npi_bids.errors import SurrogateError
from npi_bids.surrogates.ou_gradient import transition
from npi_bids.surrogates.ou_process import OU, Problem, fit_ou, pool, second_moments
from tests.surrogates.ou_signals import sampled

DRIFT = np.array([[-1.0, 0.8, 0.0], [0.0, -0.7, -0.6], [0.3, 0.0, -0.9]])
DIFFUSION = np.array([1.0, 0.5, 2.0])


@pytest.fixture
def process():
    return OU(DRIFT, DIFFUSION)


def moments_of(path):
    return second_moments(path[:-1], path[1:])


def test_innovation_is_the_integral_over_one_sample(process):
    def integrand(s):
        return expm(DRIFT.T * s) @ np.diag(DIFFUSION) @ expm(DRIFT * s)

    np.testing.assert_allclose(process.innovation, quad_vec(integrand, 0, 1)[0], atol=1e-9)


def test_stationary_covariance_is_kept_by_one_step(process):
    stationary = solve_continuous_lyapunov(DRIFT.T, -np.diag(DIFFUSION))
    after = process.transition.T @ stationary @ process.transition + process.innovation
    np.testing.assert_allclose(after, stationary, atol=1e-9)


def test_series_and_doublings_equal_the_matrix_exponential(process):
    step = transition(DRIFT, DIFFUSION, 2)
    np.testing.assert_allclose(step.matrix, process.transition, atol=1e-5)
    np.testing.assert_allclose(step.innovation, process.innovation, atol=1e-5)


def test_gradient_is_that_of_the_objective(process):
    problem = Problem(moments_of(sampled(process, 500, 0)), (5.0, 20.0))
    at = problem.pack(problem.uncoupled()) + 0.01
    _, gradient = problem.value_and_gradient(at)
    for place in (0, 4, 5, 10):
        step = np.zeros_like(at)
        step[place] = 1e-5
        slope = problem.value_and_gradient(at + step)[0] - problem.value_and_gradient(at - step)[0]
        assert gradient[place] == pytest.approx(slope / 2e-5, rel=1e-4, abs=1e-7)


def test_drift_is_recovered_with_its_direction(process):
    path = sampled(process, 40_000, 1)
    scale = path.std(axis=0)
    fitted = fit_ou(moments_of(path / scale), (1.0, 1.0))
    found = fitted.drift * scale[None, :] / scale[:, None]
    np.testing.assert_allclose(found, DRIFT, atol=0.08)
    assert np.abs(found.T - DRIFT).max() > 0.5


def test_strong_precision_of_the_antisymmetric_part_takes_direction_away(process):
    path = sampled(process, 5000, 2)
    drift = fit_ou(moments_of(path / path.std(axis=0)), (1.0, 1e7)).drift
    between = drift - np.diag(np.diag(drift))
    np.testing.assert_allclose(between, between.T, atol=1e-2)


def test_cost_hangs_on_the_moments_alone(process):
    parts = [sampled(process, 400, seed) for seed in (3, 4)]
    pooled = pool([moments_of(part) for part in parts])
    together = second_moments(
        np.concatenate([part[:-1] for part in parts]), np.concatenate([part[1:] for part in parts])
    )
    np.testing.assert_allclose(pooled.cross, together.cross, atol=1e-12)
    assert pooled.n_windows == 798


def test_fewer_samples_than_regions_are_survived():
    path = np.random.default_rng(0).standard_normal((15, 30))
    fitted = fit_ou(moments_of(path - path.mean(axis=0)), (10.0, 10.0))
    assert np.isfinite(fitted.drift).all()
    assert np.abs(np.linalg.eigvals(fitted.transition)).max() < 1


def test_global_signal_regression_is_survived():
    path = np.random.default_rng(0).standard_normal((300, 10))
    path -= path.mean(axis=1, keepdims=True)  # the covariance is singular now
    fitted = fit_ou(moments_of(path), (10.0, 10.0))
    assert np.isfinite(fitted.transition).all()


def test_moments_that_are_not_finite_are_refused():
    with pytest.raises(SurrogateError, match="not finite"):
        fit_ou(moments_of(np.full((5, 2), np.nan)), (1.0, 1.0))


def test_innovation_of_a_region_that_forgets_within_a_sample_is_its_stationary_covariance():
    """The plain block exponential loses all digits here."""
    drift = np.diag([-45.0, -0.5, -30.0])
    drift[1, 0], drift[0, 2] = 3.0, -2.0
    process = OU(drift, np.array([80.0, 1.0, 60.0]))
    stationary = solve_continuous_lyapunov(drift.T, -np.diag(process.diffusion))
    expected = stationary - process.transition.T @ stationary @ process.transition
    np.testing.assert_allclose(process.innovation, expected, rtol=1e-9, atol=1e-12)
    np.linalg.cholesky(process.innovation)


def test_a_step_beyond_double_precision_is_infeasible_and_warns_nobody(process, recwarn):
    problem = Problem(moments_of(sampled(process, 300, seed=3)), (0.1, 0.1))
    packed = problem.pack(process)
    packed[: problem.n**2] *= 1e80
    value, gradient = problem.value_and_gradient(packed)
    assert value > problem.value_and_gradient(problem.pack(process))[0]
    assert np.isfinite(value)
    assert not gradient.any()
    assert not recwarn.list
