"""Transition and innovation covariance of an Ornstein-Uhlenbeck process, with their gradient.

The forward pass is a Taylor series over a short step, doubled until the step is one sample long.
The backward pass is the same in reverse order (reverse-mode differentiation written out), which is
several times faster than automatic differentiation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npi_bids.records import Array

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
        short = self._short
        by_short, by_term = np.zeros_like(short), by_q.copy()
        for power in range(_ORDER, 1, -1):
            by_short += self._terms[power - 2] @ by_term * (2 / power)
            product = short @ by_term
            by_term = by_q + (product + product.T) / power
        by_diffusion: Array = np.diag(by_term) * self._step
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
    step = 0.5**n_halvings
    short, identity = drift * step, np.eye(len(drift))
    power = identity + short / _ORDER
    powers = [power]
    for order in range(_ORDER - 1, 0, -1):
        power = identity + short @ power / order
        powers.append(power)
    term = np.diag(diffusion * step)
    terms, innovation = [term], term.copy()
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
