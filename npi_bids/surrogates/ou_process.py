"""The Ornstein-Uhlenbeck process seen at regular intervals: transition, likelihood, MAP fit.

``dx = x F dt + dB`` with row vectors x, drift ``F[source, target]`` and noise of diagonal
covariance D per sample. Over one sample the exact transition is ``W = e^F`` and the innovation
covariance ``Q = int_0^1 e^{F's} D e^{Fs} ds`` (Van Loan 1978, doi:10.1109/TAC.1978.1101743).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import expm
from scipy.optimize import minimize
from torch import Tensor

from npi_bids.errors import (
    SurrogateError,
)
from npi_bids.records import Array

# Added to the variances (of z-scored signals), so that covariances that are close to singular
# (global signal regression, about as many regions as samples) stay well behaved.
_RIDGE = 0.01
_ORDER = 6  # of the Taylor series of a step whose norm is below about a half: error 1e-6
_MAX_ITERATIONS = 150  # beyond them the transition changes by less than its standard error


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Second moments of samples and the samples that follow them; all that a fit needs.

    Attributes
    ----------
    past, cross, future
        Shape (n_regions, n_regions): mean products of past with past, of past (rows) with future
        (columns), of future with future.
    n_windows
        How many went in.
    """

    past: Array
    cross: Array
    future: Array
    n_windows: int

    def error(self, transition: Array) -> float:
        """Return the mean squared one-step error of a transition, mean over regions."""
        return float(np.trace(self._residual(transition))) / len(self.past)

    def _residual(self, transition: Array) -> Array:
        crossed = transition.T @ self.cross
        residual: Array = self.future - crossed - crossed.T + transition.T @ self.past @ transition
        return residual


@dataclass(frozen=True, slots=True, eq=False)
class OU:
    """A fitted process.

    Attributes
    ----------
    drift
        Shape (n_regions, n_regions), indexed ``[source, target]``, per sample.
    diffusion
        Shape (n_regions,); variance of the noise per sample.
    """

    drift: Array
    diffusion: Array

    @property
    def transition(self) -> Array:
        """``e^drift``, indexed ``[source, target]``."""
        matrix: Array = expm(self.drift)
        return matrix

    @property
    def innovation(self) -> Array:
        """Covariance of the noise over one sample.

        Van Loan's block exponential over a short step, doubled until it is a sample long: the
        block holds the exponential of minus the drift too, which would drown all else where a
        region forgets within a sample.
        """
        n = len(self.drift)
        size = float(np.linalg.norm(self.drift, 1))
        n_doublings = max(0, math.ceil(math.log2(size))) if size > 0 else 0
        step = 0.5**n_doublings
        block = np.zeros((2 * n, 2 * n))
        block[:n, :n], block[n:, n:] = -step * self.drift.T, step * self.drift
        block[:n, n:] = step * np.diag(self.diffusion)
        whole = expm(block)
        transition = whole[n:, n:]
        covariance: Array = transition.T @ whole[:n, n:]
        for _ in range(n_doublings):
            covariance = covariance + transition.T @ covariance @ transition
            transition = transition @ transition
        return (covariance + covariance.T) / 2


def second_moments(past: Array, future: Array) -> Moments:
    """Return the second moments of pairs of samples, each of shape (n_windows, n_regions)."""
    n = len(past)
    return Moments(past.T @ past / n, past.T @ future / n, future.T @ future / n, n)


def pool(parts: list[Moments]) -> Moments:
    """Return the moments of all windows of several parts together."""
    n = sum(part.n_windows for part in parts)
    past, cross, future = (
        np.sum([getattr(part, name) * (part.n_windows / n) for part in parts], axis=0)
        for name in ("past", "cross", "future")
    )
    return Moments(past, cross, future, n)


def fit_ou(
    moments: Moments,
    precision: tuple[float, float],
    start: OU | None = None,
    max_iterations: int = _MAX_ITERATIONS,
    mean: Array | None = None,
) -> OU:
    """Fit drift and diffusion by maximum a posteriori.

    Gaussian likelihood of the innovations, which uses their covariance as well as the lagged
    products; Gaussian prior on the off-diagonal of the drift, with one precision for its
    symmetric and one for its antisymmetric part. Minimised by L-BFGS in the eigenbases of the
    past and of the residual covariance, where the problem is nearly round.

    Parameters
    ----------
    moments
        Of signals with a variance of about 1.
    precision
        Of the symmetric and the antisymmetric part: one over the variance of an entry.
    start
        Where to start; uncoupled regions by default.
    max_iterations
        Steps at most; few do where only the prediction error is wanted.
    mean
        Drift that the prior is centred on, its diagonal included; where None the prior is centred
        on uncoupled regions and says nothing of the diagonal.

    Returns
    -------
    OU
        The process of highest posterior density.

    Raises
    ------
    SurrogateError
        The moments are not finite.
    """
    if not all(np.isfinite(part).all() for part in (moments.past, moments.cross, moments.future)):
        raise SurrogateError("The second moments of the signals are not finite.")
    problem = _Problem(moments, precision, mean)
    first = problem.pack(start or problem.uncoupled())
    found = minimize(
        problem.value_and_gradient,
        first,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations, "maxcor": 20, "ftol": 1e-7, "gtol": 1e-6},
    )
    return problem.unpack(found.x)


class _Problem:
    """The objective in coordinates in which it is nearly round.

    With U and V the eigenbases of the past and of the residual covariance, the curvature of the
    lagged part by ``U' F V`` is ``c^2 past_i / residual_j``; entries are divided by its root, with
    the precision of the prior added.
    """

    def __init__(
        self, moments: Moments, precision: tuple[float, float], mean: Array | None = None
    ) -> None:
        self.mean = None if mean is None else torch.from_numpy(mean)
        n = self.n = len(moments.past)
        ridge = _RIDGE * np.eye(n)
        past, future = moments.past + ridge, moments.future + ridge
        self.n_windows = moments.n_windows
        self.moments = [torch.from_numpy(part) for part in (past, moments.cross, future)]
        self.precision = precision
        self.own = np.clip(np.diag(moments.cross) / np.diag(past), 0.02, 0.98)
        self.own_noise = np.maximum(np.diag(future) - self.own**2 * np.diag(past), 1e-3)
        self.n_halvings = max(1, int(np.ceil(np.log2((1 - np.log(self.own.min())) / 0.5))))
        weights = np.linalg.solve(past + ridge, moments.cross)
        residual = future - weights.T @ moments.cross
        noise, to_target = np.linalg.eigh((residual + residual.T) / 2 + ridge)
        spread, to_source = np.linalg.eigh(past)
        curvature = np.exp(2 * np.mean(np.log(self.own))) * np.maximum(spread, 1e-3)[:, None]
        curvature = curvature / np.maximum(noise, 1e-3)
        curvature += np.sqrt(precision[0] * precision[1]) / self.n_windows
        self.scale = torch.from_numpy(1 / np.sqrt(curvature))
        self.bases = torch.from_numpy(to_source), torch.from_numpy(to_target)

    def uncoupled(self) -> OU:
        """Return regions that follow their own past alone."""
        rate = -2 * np.log(self.own)
        return OU(np.diag(np.log(self.own)), self.own_noise * rate / (1 - self.own**2))

    def pack(self, process: OU) -> Array:
        source, target = self.bases
        turned = source.T @ torch.from_numpy(process.drift) @ target / self.scale
        return np.concatenate([turned.numpy().ravel(), np.log(process.diffusion)])

    def unpack(self, packed: Array) -> OU:
        turned, noise = self._split(torch.from_numpy(packed))
        return OU(self._drift(turned).numpy(), torch.exp(noise).numpy())

    def value_and_gradient(self, packed: Array) -> tuple[float, Array]:
        variables = torch.tensor(packed, requires_grad=True)
        turned, noise = self._split(variables)
        value = self._objective(self._drift(turned), torch.exp(noise))
        if value is None:
            return 1e10, np.zeros_like(packed)
        (gradient,) = torch.autograd.grad(value, variables)
        return float(value.detach()), gradient.numpy()

    def _split(self, variables: Tensor) -> tuple[Tensor, Tensor]:
        return variables[: self.n**2].view(self.n, self.n), variables[self.n**2 :]

    def _drift(self, turned: Tensor) -> Tensor:
        source, target = self.bases
        return source @ (turned * self.scale) @ target.T

    def _objective(self, drift: Tensor, diffusion: Tensor) -> Tensor | None:
        """Return the negative log posterior per window, or None outside of where it is defined."""
        past, cross, future = self.moments
        transition, innovation = _transition(drift, diffusion, self.n_halvings)
        factor, failed = torch.linalg.cholesky_ex(innovation)
        if failed:
            return None
        crossed = transition.T @ cross
        residual = future - crossed - crossed.T + transition.T @ past @ transition
        likelihood = torch.log(torch.diagonal(factor)).sum()
        likelihood = likelihood + torch.trace(torch.cholesky_solve(residual, factor)) / 2
        if self.mean is None:
            between = drift - torch.diag(torch.diagonal(drift))
        else:
            between = drift - self.mean
        even, odd = (between + between.T) / 2, (between - between.T) / 2
        prior = self.precision[0] * (even**2).sum() + self.precision[1] * (odd**2).sum()
        return likelihood + prior / (2 * self.n_windows)


def _transition(drift: Tensor, diffusion: Tensor, n_halvings: int) -> tuple[Tensor, Tensor]:
    """Return transition and innovation covariance: a Taylor series, then doublings."""
    step = 0.5**n_halvings
    small = drift * step
    identity = torch.eye(len(drift), dtype=drift.dtype)
    transition = identity + small / _ORDER
    for power in range(_ORDER - 1, 0, -1):
        transition = identity + (small @ transition) / power
    term = torch.diag(diffusion) * step
    innovation = term
    for power in range(2, _ORDER + 1):
        half = small.T @ term
        term = (half + half.T) / power
        innovation = innovation + term
    for _ in range(n_halvings):
        innovation = innovation + transition.T @ innovation @ transition
        transition = transition @ transition
    return transition, innovation
