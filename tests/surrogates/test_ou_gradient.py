"""The transition with its gradient, against the matrix exponential and finite differences."""

import numpy as np
import pytest

from npi_bids.surrogates.ou_gradient import transition
from npi_bids.surrogates.ou_process import OU

N = 5


@pytest.fixture
def process():
    rng = np.random.default_rng(0)
    drift = -np.diag(rng.uniform(0.3, 3, N)) + 0.3 * rng.standard_normal((N, N))
    return OU(drift, rng.uniform(0.5, 2, N))


def test_it_is_the_exponential_and_van_loans_integral(process):
    found = transition(process.drift, process.diffusion, 5)
    np.testing.assert_allclose(found.matrix, process.transition, atol=1e-8)
    np.testing.assert_allclose(found.innovation, process.innovation, atol=1e-8)


def test_it_is_the_series_up_to_the_sixth_power(process):
    """Term by term: ``A^k / k!``, and ``L^(k-1)(D) / k!`` with ``L(X) = A'X + XA``."""
    step = 0.25
    short, term = process.drift * step, np.diag(process.diffusion * step)
    matrix, innovation, power = np.eye(N), term, np.eye(N)
    for order in range(1, 7):
        power = power @ short / order
        matrix = matrix + power
        if order > 1:
            term = (short.T @ term + term @ short) / order
            innovation = innovation + term
    for _ in range(2):
        innovation = innovation + matrix.T @ innovation @ matrix
        matrix = matrix @ matrix
    found = transition(process.drift, process.diffusion, 2)
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-13)
    np.testing.assert_allclose(found.innovation, innovation, atol=1e-13)


def test_its_gradient_is_that_of_finite_differences(process):
    rng = np.random.default_rng(1)
    by_w, by_q = rng.standard_normal((2, N, N))
    by_q = by_q + by_q.T

    def value(drift, diffusion):
        found = transition(drift, diffusion, 4)
        return np.sum(by_w * found.matrix) + np.sum(by_q * found.innovation)

    by_drift, by_diffusion = transition(process.drift, process.diffusion, 4).gradient(by_w, by_q)
    step = 1e-6
    for place in np.ndindex(N, N):
        moved = np.zeros((N, N))
        moved[place] = step
        up, down = (value(process.drift + s * moved, process.diffusion) for s in (1, -1))
        assert by_drift[place] == pytest.approx((up - down) / (2 * step), abs=1e-6)
    for place in range(N):
        moved = np.zeros(N)
        moved[place] = step
        up, down = (value(process.drift, process.diffusion + s * moved) for s in (1, -1))
        assert by_diffusion[place] == pytest.approx((up - down) / (2 * step), abs=1e-6)
