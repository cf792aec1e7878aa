"""Transition and innovation covariance of an Ornstein-Uhlenbeck process, with their gradient.

The forward pass is a Taylor series over a short step, doubled until the step is one sample long.
The backward pass is the same in reverse order (reverse-mode differentiation written out), which is
several times faster than automatic differentiation. All arrays may be those of numpy, or tensors
of torch on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import get_lapack_funcs

from npi_bids.records import Array
from npi_bids.surrogates.devices import array_module

# Both series end with the sixth power of the step; for steps with norm below about a half the
# error is 1e-6. Coefficients of the exponential, and of ``A'^a D A^b + A'^b D A^a`` in the
# covariance of the noise, ``(a + b choose a) / (a + b + 1)!``, halved where a = b, by a and b.
_EXPONENTIAL = (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720)
_NOISE = (
    (1 / 2, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720),
    (0.0, 1 / 6, 1 / 8, 1 / 30, 1 / 144),
    (0.0, 0.0, 1 / 40, 1 / 72),
)


@dataclass(frozen=True, slots=True, eq=False)
class _ShortStep:
    """Transition and innovation covariance of a short step, by as few products as possible.

    Of ``e^A``, powers above the third are the cube times a remainder. The covariance is ``M + M'``
    with ``M = A'DA / 6 + A^2' X + G A^3`` and a part that needs no product; X and G are sums of
    products with the diagonal D, and of ``A'DA``.

    Attributes
    ----------
    step
        Length of the step, in samples.
    noise
        Diagonal of D.
    short, square, cube, remainder, by_square, by_cube
        A, its powers, the remainder, X and G.
    """

    step: float
    noise: Array
    short: Array
    square: Array
    cube: Array
    remainder: Array
    by_square: Array
    by_cube: Array

    def gradient(self, by_w: Array, by_q: Array) -> tuple[Array, Array]:
        """Return the gradient by drift and diffusion from those by W and by Q (symmetric)."""
        by_remainder = self.cube.T @ by_w
        by_short = by_w + _EXPONENTIAL[4] * by_remainder
        by_square = _EXPONENTIAL[2] * by_w + _EXPONENTIAL[5] * by_remainder
        by_cube = by_w @ self.remainder.T + _EXPONENTIAL[6] * by_remainder
        *by_powers, by_noise = self._differentiate_noise(2 * by_q)
        by_cube += by_powers[2]
        by_square += by_powers[1] + by_cube @ self.short.T
        by_short += by_powers[0] + self.square.T @ by_cube
        by_short += by_square @ self.short.T
        by_short += self.short.T @ by_square
        return by_short * self.step, by_noise * self.step

    def _differentiate_noise(self, by_m: Array) -> tuple[Array, Array, Array, Array]:
        """Return the gradient by A, its square, its cube, and D."""
        (c00, c01, c02, c03, c04, c05), (_, c11, c12, c13, c14), (*_, c22, c23) = _NOISE
        by_g, by_x = by_m @ self.cube.T, self.square @ by_m
        by_middle = c11 * by_m + c14 * by_g
        middle = self.short @ (by_middle + by_middle.T)
        by_short = c01 * by_m + c04 * by_g + c12 * by_x + c13 * by_g.T + middle
        by_square = c02 * by_m + c05 * by_g + c22 * by_x + c23 * by_g.T
        diagonal = array_module(by_m).diag
        by_noise = c00 * diagonal(by_m) + c03 * diagonal(by_g)
        by_noise += ((by_short - middle / 2) * self.short + by_square * self.square).sum(1)
        noise = self.noise[:, None]
        by_square = noise * by_square + self.by_square @ by_m
        return noise * by_short, by_square, self.by_cube.T @ by_m, by_noise


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
    _short: _ShortStep
    _chain: tuple[tuple[Array, Array], ...]

    def gradient(self, by_matrix: Array, by_innovation: Array) -> tuple[Array, Array]:
        """Return the gradient by drift and diffusion from those by W and by Q (symmetric)."""
        by_w, by_q = by_matrix, by_innovation
        for w, qw in reversed(self._chain):
            w_by_q = w @ by_q
            by_w = w.T @ by_w + by_w @ w.T
            by_w += 2 * (qw @ by_q)
            by_q = by_q + w_by_q @ w.T
        return self._short.gradient(by_w, by_q)


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
    matrix, innovation, short = _take_short_step(drift, diffusion, 0.5**n_halvings)
    chain = []
    for _ in range(n_halvings):
        innovation_by_matrix = innovation @ matrix
        chain.append((matrix, innovation_by_matrix))
        innovation = innovation + matrix.T @ innovation_by_matrix
        matrix = matrix @ matrix
    return Transition(matrix, innovation, short, tuple(chain))


def _take_short_step(
    drift: Array, diffusion: Array, step: float
) -> tuple[Array, Array, _ShortStep]:
    """Return the transition and the innovation covariance of a short step."""
    (c00, c01, c02, c03, c04, c05), (_, c11, c12, c13, c14), (*_, c22, c23) = _NOISE
    short, noise, diagonal = drift * step, diffusion * step, array_module(drift).diag
    identity, column = diagonal(array_module(drift).ones_like(noise)), noise[:, None]
    square = short @ short
    cube = square @ short
    remainder = _EXPONENTIAL[3] * identity + _EXPONENTIAL[4] * short
    remainder += _EXPONENTIAL[5] * square + _EXPONENTIAL[6] * cube
    matrix = identity + short + _EXPONENTIAL[2] * square + cube @ remainder
    middle = short.T @ (column * short)
    by_square = column * (c12 * short + c22 * square)
    by_cube = c03 * diagonal(noise) + column * (c04 * short + c05 * square)
    by_cube += (column * (c13 * short + c23 * square)).T + c14 * middle
    half = c00 * diagonal(noise) + column * (c01 * short + c02 * square) + c11 * middle
    half += square.T @ by_square
    half += by_cube @ cube
    powers = _ShortStep(step, noise, short, square, cube, remainder, by_square, by_cube)
    return matrix, half + half.T, powers


def invert_covariance(covariance: Array) -> tuple[float, Array] | None:
    """Return half the log determinant and the inverse of a covariance; None if it is none.

    Parameters
    ----------
    covariance
        Shape (n_regions, n_regions), of numpy or torch; only its lower triangle is read.
    """
    if isinstance(covariance, np.ndarray):
        factorise, invert = get_lapack_funcs(("potrf", "potri"), (covariance,))
        factor, failed = factorise(covariance, lower=1, clean=1)
        if failed:
            return None
        inverse, _ = invert(factor, lower=1)  # the upper triangle stays 0
        inverse = inverse + inverse.T
        np.einsum("ii->i", inverse)[:] /= 2  # a view, unlike that of np.diag
        return float(np.log(np.einsum("ii->i", factor)).sum()), inverse
    xp = array_module(covariance)
    factor, failed = xp.linalg.cholesky_ex(covariance)
    if failed:
        return None
    return float(xp.log(xp.diag(factor)).sum()), xp.cholesky_inverse(factor)
