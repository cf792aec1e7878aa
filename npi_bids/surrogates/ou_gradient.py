"""Transition and innovation covariance of an Ornstein-Uhlenbeck process, with their gradient.

The forward pass is a Taylor series over a short step, doubled until the step is one sample long.
The backward pass is the same in reverse order (reverse-mode differentiation written out), which is
several times faster than automatic differentiation. All arrays may be those of numpy, or tensors
of torch on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from npi_bids.records import Array
from npi_bids.surrogates.devices import array_module

_ORDER = 6  # order of the Taylor series; for steps with norm below about a half the error is 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Transition:
    """``W = e^F`` and ``Q = int_0^1 e^{F's} D e^{Fs} ds``, and what their gradient needs.

    Attributes
    ----------
    matrix, innovation
        W and Q, shape (n_regions, n_regions); W is indexed ``[source, target]``.
    """

    matrix: Array
    innovation: Array
    _short: Array
    _step: float
    _powers: tuple[Array, ...]
    _terms: tuple[Array, ...]
    _chain: tuple[tuple[Array, Array, Array], ...]

    def gradient(self, by_matrix: Array, by_innovation: Array) -> tuple[Array, Array]:
        """Return the gradient by drift and diffusion from those by W and by Q (symmetric)."""
        by_w, by_q = by_matrix, by_innovation
        for w, _, qw in reversed(self._chain):
            w_by_q = w @ by_q
            by_w = w.T @ by_w + by_w @ w.T + 2 * (qw @ by_q)
            by_q = by_q + w_by_q @ w.T
        short, xp = self._short, array_module(self._short)
        by_short, by_term = xp.zeros_like(short), by_q
        for power in range(_ORDER, 1, -1):
            by_short += self._terms[power - 2] @ by_term * (2 / power)
            product = short @ by_term
            by_term = by_q + (product + product.T) / power
        by_diffusion: Array = xp.diag(by_term) * self._step
        by_power = by_w
        for power, next_power in zip(range(1, _ORDER), reversed(self._powers[:-1]), strict=True):
            by_short += by_power @ next_power.T / power
            by_power = short.T @ by_power / power
        by_short += by_power / _ORDER
        return by_short * self._step, by_diffusion


def transition(drift: Array, diffusion: Array, n_halvings: int) -> Transition:
    """Return the transition and the innovation covariance.

    Parameters
    ----------
    drift
        Shape (n_regions, n_regions), indexed ``[source, target]``, per sample.
    diffusion
        Shape (n_regions,); variance of the noise per sample.
    n_halvings
        How often the sampling period is halved; the norm of the drift over the resulting step
        should be below a half.
    """
    xp = array_module(drift)
    step = 0.5**n_halvings
    short, identity = drift * step, xp.diag(xp.ones_like(diffusion))
    power = identity + short / _ORDER
    powers = [power]
    for order in range(_ORDER - 1, 0, -1):
        power = identity + short @ power / order
        powers.append(power)
    term = xp.diag(diffusion * step)
    terms, innovation = [term], term
    for order in range(2, _ORDER + 1):
        product = short.T @ term
        term = (product + product.T) / order
        terms.append(term)
        innovation = innovation + term
    chain, matrix = [], power
    for _ in range(n_halvings):
        innovation_by_matrix = innovation @ matrix
        chain.append((matrix, innovation, innovation_by_matrix))
        innovation = innovation + matrix.T @ innovation_by_matrix
        matrix = matrix @ matrix
    return Transition(matrix, innovation, short, step, tuple(powers), tuple(terms), tuple(chain))


def invert_covariance(covariance: Array) -> tuple[float, Array] | None:
    """Return half the log determinant and the inverse of a covariance; None if it is none.

    Parameters
    ----------
    covariance
        Shape (n_regions, n_regions), of numpy or torch; only its lower triangle is read.
    """
    if isinstance(covariance, np.ndarray):
        factor, failed = lapack.dpotrf(covariance, lower=1, clean=1)
        if failed:
            return None
        inverse, _ = lapack.dpotri(factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        return float(np.log(np.diag(factor)).sum()), inverse
    xp = array_module(covariance)
    factor, failed = xp.linalg.cholesky_ex(covariance)
    if failed:
        return None
    return float(xp.log(xp.diag(factor)).sum()), xp.cholesky_inverse(factor)
