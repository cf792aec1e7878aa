"""Stationary correlations agree with long runs of the same surrogates."""

from __future__ import annotations

import numpy as np
import pytest

from npi_bids.connectivity.simulation import free_run, model_fc
from npi_bids.matrices import correlation, pearson
from npi_bids.surrogates.lagged_evidence import LaggedEvidence
from npi_bids.surrogates.ou import MOU, unroll
from npi_bids.surrogates.ou_model_selection import Choices
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.stationary import companion_correlation, filtered_correlation

N_LAGS = 5
# A directed chain, and a region that varies more.
DRIFT = np.array([[-0.5, 0.4, 0.0, 0.0], [0.0, -0.6, 0.3, 0.0], [0.0, 0.0, -0.35, -0.2],
                  [0.0, 0.0, 0.1, -0.8]])  # fmt: skip
DIFFUSION = np.array([1.0, 0.5, 2.0, 1.0])


def make_surrogate(whitening=(), memory=()):
    process = OU(DRIFT, DIFFUSION)
    choices = Choices(whitening, memory, (1.0, 1.0), LaggedEvidence(np.nan, np.nan))
    weights = unroll(process.transition, choices, N_LAGS)
    return MOU(weights, np.zeros(4), process, choices, np.ones(4))


@pytest.mark.parametrize(
    ("whitening", "memory"), [((), ()), ((0.9, -0.4), ()), ((), (0.15, -0.1))]
)
def test_both_closed_forms_equal_a_long_run(whitening, memory):
    surrogate = make_surrogate(whitening, memory)
    by_modes = surrogate.stationary_correlation()
    by_doubling = companion_correlation(surrogate.weights, surrogate.noise_covariance())
    np.testing.assert_allclose(by_modes, by_doubling, atol=1e-9)
    run = free_run(surrogate, 40_000, np.random.default_rng(0))
    np.testing.assert_allclose(by_modes, correlation(run), atol=0.03)


def test_orientation_matters():
    transition, noise = OU(DRIFT, DIFFUSION).transition, np.diag(DIFFUSION)
    forward = filtered_correlation(transition, noise, whitening=(), memory=())
    backward = filtered_correlation(transition.T, noise, whitening=(), memory=())
    assert np.abs(forward - backward).max() > 0.05


def test_whitening_is_put_back_into_the_correlations():
    # The common filter changes how lagged and simultaneous influences add up.
    plain = make_surrogate().stationary_correlation()
    filtered = make_surrogate(whitening=(0.9, -0.4)).stationary_correlation()
    assert np.abs(plain - filtered).max() > 0.02


@pytest.mark.parametrize("radius", [1.0, 1.2])
def test_an_unstable_process_has_no_correlations(radius):
    weights = np.array([[radius, 0.1], [0.0, 0.5]])
    assert companion_correlation(weights[None], np.eye(2)) is None
    assert filtered_correlation(weights, np.eye(2), whitening=(), memory=()) is None


def test_a_process_that_hardly_forgets_is_left_to_the_joint_state():
    # Sums over frequencies would count its slowest mode several times.
    slow = np.array([[0.99999, 0.0], [0.1, 0.5]])
    assert filtered_correlation(slow, np.eye(2), whitening=(), memory=()) is None
    faster = np.array([[0.999, 0.0], [0.1, 0.5]])
    np.testing.assert_allclose(
        filtered_correlation(faster, np.eye(2), whitening=(), memory=()),
        companion_correlation(faster[None], np.eye(2)),
        atol=1e-8,
    )
    assert companion_correlation(slow[None], np.eye(2)) is not None


def test_a_state_that_is_too_large_has_to_be_run():
    assert companion_correlation(np.zeros((1, 1201, 1201)), np.eye(1201)) is None


def test_equal_eigenvectors_fall_back_to_the_joint_state():
    # A defective transition: one eigenvector for two eigenvalues.
    chain = np.array([[0.5, 0.4], [0.0, 0.5]])
    assert filtered_correlation(chain, np.eye(2), whitening=(), memory=()) is None
    assert companion_correlation(chain[None], np.eye(2)) is not None


def test_weak_influences_are_not_lost_in_sampling_noise():
    weak = OU(np.where(np.eye(4, dtype=bool), DRIFT, 1e-3 * DRIFT), DIFFUSION)
    choices = Choices((), (), (1.0, 1.0), LaggedEvidence(np.nan, np.nan))
    surrogate = MOU(unroll(weak.transition, choices, 1), np.zeros(4), weak, choices, np.ones(4))
    found = model_fc(surrogate, np.random.default_rng(0))
    assert pearson(found, make_surrogate().stationary_correlation()) > 0.9
