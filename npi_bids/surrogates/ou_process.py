"""The Ornstein-Uhlenbeck process sampled at regular intervals: transition, likelihood, MAP fit.

``dx = x F dt + dB`` with row vectors x, drift ``F[source, target]`` and noise of diagonal
covariance D per sample. Over one sample the exact transition is ``W = e^F`` and the innovation
covariance ``Q = int_0^1 e^{F's} D e^{Fs} ds`` (Van Loan 1978, doi:10.1109/TAC.1978.1101743).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm

from npi_bids.errors import SurrogateError
from npi_bids.records import Array
from npi_bids.surrogates.devices import (
    array_module,
    in_single_precision,
    objective_on_device,
)
from npi_bids.surrogates.ou_gradient import invert_covariance, transition
from npi_bids.surrogates.quasi_newton import Stage, minimise
from npi_bids.surrogates.selection_criteria import COMPARISON_ITERATIONS

# Added to the variances (of z-scored signals), so that covariances that are close to singular
# (global signal regression, about as many regions as samples) remain well-conditioned.
_RIDGE = 0.01
_INFEASIBLE = 1e10
# Decrease of the negative log posterior by an iteration, per parameter, that ends a slow fit.
# Samples of the posterior lie half a nat per parameter above its minimum, such fits a thousandth.
_LATE_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """When a fit ends.

    Attributes
    ----------
    max_iterations
        Number of iterations at most.
    tolerance
        Decrease of the negative log posterior by an iteration, per parameter, that ends the fit.
    exact
        Whether it ends in double precision; otherwise, single precision suffices where there are
        so many regions that it is faster.
    """

    max_iterations: int = 150
    tolerance: float = 1e-6
    exact: bool = True


FULL = Effort()
# For weak priors, which leave directions of the drift to noise: maps do not agree better with the
# truth after further iterations. With fewer than 1.5 samples per region, fits end at this
# limit; all others converge earlier.
ROUGH = Effort(max_iterations=60, tolerance=1e-5, exact=False)
# For the comparison of choices by held-out errors, which may be so flat that rough fits choose
# wrongly.
COMPARISON = Effort(max_iterations=COMPARISON_ITERATIONS)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Second moments of consecutive samples, the sufficient statistics of a fit.

    Attributes
    ----------
    past, cross, future
        Shape (n_regions, n_regions): mean products of past with past, of past (rows) with future
        (columns), of future with future.
    n_windows
        Number of windows.
    """

    past: Array
    cross: Array
    future: Array
    n_windows: int

    def error(self, transition: Array) -> float:
        """Return the mean squared one-step error of a transition, mean over regions."""
        return float(np.trace(self.residual(transition))) / len(self.past)

    def negative_log_likelihood(self, transition: Array, innovation: Array) -> float:
        """Return that of the next sample given the last one, mean over windows."""
        inverted = invert_covariance(innovation)
        if inverted is None:
            return math.inf
        half_log_determinant, inverse = inverted
        return half_log_determinant + float((inverse * self.residual(transition)).sum()) / 2

    def residual(self, transition: Array) -> Array:
        """Return the covariance of the one-step errors of a transition."""
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

        Van Loan's block exponential over a short step, doubled until it is one sample long: the
        block also contains the exponential of minus the drift, which would dominate if a region
        decayed within a sample.
        """
        n = len(self.drift)
        norm = float(np.linalg.norm(self.drift, 1))
        n_doublings = max(0, math.ceil(math.log2(norm))) if norm > 0 else 0
        step = 0.5**n_doublings
        block = np.zeros((2 * n, 2 * n))
        block[:n, :n], block[n:, n:] = -step * self.drift.T, step * self.drift
        block[:n, n:] = step * np.diag(self.diffusion)
        exponential = expm(block)
        transition = exponential[n:, n:]
        covariance: Array = transition.T @ exponential[:n, n:]
        for _ in range(n_doublings):
            covariance = covariance + transition.T @ covariance @ transition
            transition = transition @ transition
        return (covariance + covariance.T) / 2


def second_moments(past: Array, future: Array) -> Moments:
    """Return the second moments of pairs of samples, each of shape (n_windows, n_regions)."""
    n = len(past)
    return Moments(past.T @ past / n, past.T @ future / n, future.T @ future / n, n)


def pool(parts: list[Moments]) -> Moments:
    """Return the moments pooled over several parts."""
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
    effort: Effort = FULL,
    mean: Array | None = None,
    variances: Array | None = None,
) -> OU:
    """Fit drift and diffusion by maximum a posteriori.

    Gaussian likelihood of the innovations, which uses their covariance as well as the lagged
    products; Gaussian prior on the off-diagonal of the drift, with one precision for its
    symmetric and one for its antisymmetric part. Minimised by L-BFGS in the eigenbases of the
    past and of the residual covariance, in which the objective is nearly isotropic.

    Parameters
    ----------
    moments
        Moments of signals with a variance of about 1.
    precision
        Precision (inverse variance) of an entry of the symmetric and the antisymmetric part.
    start
        Initial process; uncoupled regions by default.
    effort
        When the fit ends.
    mean
        Drift at which the prior is centred, including its diagonal; if None, the prior is centred
        on uncoupled regions and does not constrain the diagonal.
    variances
        Shape (n_regions, n_regions), symmetric; prior variance of each pair of regions relative to
        the inverse of the precision (:mod:`~npi_bids.surrogates.pair_prior`); if None, 1.

    Returns
    -------
    OU
        The process of highest posterior density.

    Raises
    ------
    SurrogateError
        If the moments are not finite.
    """
    if not all(np.isfinite(part).all() for part in (moments.past, moments.cross, moments.future)):
        raise SurrogateError("The second moments of the signals are not finite.")
    problem = Problem(moments, precision, mean, variances)
    packed = problem.pack(start or problem.uncoupled())
    unit = len(packed) / moments.n_windows  # the objective is that of a window
    tolerances = effort.tolerance * unit, max(effort.tolerance, _LATE_TOLERANCE) * unit
    stages = [Stage(objective_on_device(problem, problem.ARRAYS, problem.n), *tolerances)]
    single = in_single_precision(problem, problem.ARRAYS, problem.n)
    if single is not None:
        rounding = float(np.finfo(np.float32).eps)
        stages = [Stage(single, *tolerances, rounding), *(stages if effort.exact else ())]
    return problem.unpack(minimise(stages, packed, effort.max_iterations))


class Problem:
    """The objective of a fit, in coordinates in which it is nearly isotropic.

    With U and V the eigenbases of the past and of the residual covariance, the curvature of the
    lagged part by ``U' F V`` is ``c^2 past_i / residual_j``; entries are divided by its root, with
    the precision of the prior added.
    """

    ARRAYS = ("past", "cross", "future", "scale", "to_source", "to_target", "mean", "variances")

    def __init__(
        self,
        moments: Moments,
        precision: tuple[float, float],
        mean: Array | None = None,
        variances: Array | None = None,
    ) -> None:
        self.mean, self.variances = mean, variances
        n = self.n = len(moments.past)
        ridge = _RIDGE * np.eye(n)
        past, future = moments.past + ridge, moments.future + ridge
        self.n_windows = moments.n_windows
        self.past, self.cross, self.future = past, moments.cross, future
        self.precision = precision
        self.autoregression = np.clip(np.diag(moments.cross) / np.diag(past), 0.02, 0.98)
        self.innovation_variance = np.maximum(
            np.diag(future) - self.autoregression**2 * np.diag(past), 1e-3
        )
        self.n_halvings = max(
            1, int(np.ceil(np.log2((1 - np.log(self.autoregression.min())) / 0.5)))
        )
        weights = np.linalg.solve(past + ridge, moments.cross)
        residual = future - weights.T @ moments.cross
        noise_variances, to_target = np.linalg.eigh((residual + residual.T) / 2 + ridge)
        variances, to_source = np.linalg.eigh(past)
        curvature = (
            np.exp(2 * np.mean(np.log(self.autoregression))) * np.maximum(variances, 1e-3)[:, None]
        )
        curvature = curvature / np.maximum(noise_variances, 1e-3)
        curvature += np.sqrt(precision[0] * precision[1]) / self.n_windows
        self.scale: Array = 1 / np.sqrt(curvature)
        self.to_source: Array = to_source
        self.to_target: Array = to_target

    def uncoupled(self) -> OU:
        """Return uncoupled regions, each with its own autoregression."""
        rate = -2 * np.log(self.autoregression)
        return OU(
            np.diag(np.log(self.autoregression)),
            self.innovation_variance * rate / (1 - self.autoregression**2),
        )

    def pack(self, process: OU) -> Array:
        """Return the coordinates of a process: of its drift, then the log of its diffusion."""
        coordinates = self.to_source.T @ process.drift @ self.to_target / self.scale
        return np.concatenate([coordinates.ravel(), np.log(process.diffusion)])

    def unpack(self, packed: Array) -> OU:
        """Return the process with these coordinates."""
        coordinates = packed[: self.n**2].reshape(self.n, self.n)
        drift = self.to_source @ (coordinates * self.scale) @ self.to_target.T
        return OU(drift, array_module(packed).exp(packed[self.n**2 :]))

    def value_and_gradient(self, packed: Array) -> tuple[float, Array]:
        """Return the negative log posterior per window and its gradient.

        A line search may try a process that grows beyond double precision. It is infeasible then,
        as is one without a covariance of the noise, so that the search takes a shorter step.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            value, gradient = self._evaluate(packed)
        xp = array_module(packed)
        if not (math.isfinite(value) and xp.isfinite(gradient).all()):
            return _INFEASIBLE, xp.zeros_like(packed)
        return value, gradient

    def _evaluate(self, packed: Array) -> tuple[float, Array]:
        """Return value and gradient, which are not finite where the process grows too fast."""
        xp, process = array_module(packed), self.unpack(packed)
        step = transition(process.drift, process.diffusion, self.n_halvings)
        inverted = invert_covariance(step.innovation)
        if inverted is None:
            return _INFEASIBLE, xp.zeros_like(packed)
        half_log_determinant, inverse = inverted
        predicted = self.past @ step.matrix
        half = step.matrix.T @ (predicted - 2 * self.cross)
        residual = self.future + (half + half.T) / 2
        whitened = inverse @ residual
        value = half_log_determinant + float(xp.trace(whitened)) / 2
        by_w = (predicted - self.cross) @ inverse
        by_q = (inverse - whitened @ inverse) / 2
        by_drift, by_diffusion = step.gradient(by_w, (by_q + by_q.T) / 2)
        penalty, by_penalty = self._penalty(process.drift)
        gradient = self.gradient_of_coordinates(process, by_drift + by_penalty, by_diffusion)
        return value + penalty, gradient

    def gradient_of_coordinates(self, process: OU, by_drift: Array, by_diffusion: Array) -> Array:
        """Return the gradient by the coordinates from those by drift and diffusion."""
        by_coordinates = self.to_source.T @ by_drift @ self.to_target * self.scale
        gradient: Array = array_module(by_drift).concatenate(
            [by_coordinates.ravel(), by_diffusion * process.diffusion]
        )
        return gradient

    def _penalty(self, drift: Array) -> tuple[float, Array]:
        """Return the negative log prior per window and its gradient by the drift."""
        xp = array_module(drift)
        deviation = drift - (xp.diag(xp.diag(drift)) if self.mean is None else self.mean)
        even, odd = (deviation + deviation.T) / 2, (deviation - deviation.T) / 2
        by_drift = (self.precision[0] * even + self.precision[1] * odd) / self.n_windows
        if self.variances is not None:  # equal for both parts, as they are symmetric
            by_drift = by_drift / self.variances
        return float((by_drift * deviation).sum()) / 2, by_drift
