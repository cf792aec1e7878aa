"""Posterior variances of the transition of an Ornstein-Uhlenbeck process.

In closed form for each pair of regions, and, for how much the rest of the posterior adds, by
conjugate gradients on the objective of the fit: where regions influence each other strongly within
a sample, rates, noise and other pairs are far from known.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import solve_continuous_lyapunov
from scipy.sparse.linalg import LinearOperator, cg

from npi_bids.records import Array
from npi_bids.surrogates.devices import objective_on_device
from npi_bids.surrogates.ou_gradient import transition
from npi_bids.surrogates.ou_process import OU, Moments, Problem
from npi_bids.surrogates.quasi_newton import Evaluate

_TINY = 1e-6
# Entries over which the ratio of variances is averaged at least (its error is the root of 2 over
# them), and the largest number of random vectors that are spent on it.
_ENTRIES, _MOST_VECTORS = 2000, 16
_MOST_ITERATIONS, _RESIDUAL = 40, 0.01
_STEP = 1e-3  # of a central difference, in coordinates of about unit curvature


def mean_exponential(one: Array, other: Array) -> Array:
    """Return ``(e^a - e^b) / (a - b)``: how the transition depends on an entry of the drift."""
    half = (one - other) / 2
    ratio = np.where(np.abs(half) > 1e-6, np.sinh(half) / np.where(half == 0, 1, half), 1.0)
    slope: Array = np.exp((one + other) / 2) * ratio
    return slope


def innovation_slope(rate: Array) -> Array:
    """Return ``int_0^1 s e^(rate s) ds``: how the innovations depend on an entry of the drift."""
    slope: Array = (np.exp(rate) * (rate - 1) + 1) / rate**2
    return slope


def transition_errors(
    process: OU,
    moments: Moments,
    precision: tuple[float, float],
    variances: Array | None = None,
    *,
    around_group: bool = False,
    delay_doubt: float = 0.0,
) -> Array:
    """Return the posterior standard deviations of the transition.

    Lagged products and innovations inform each pair of entries of the drift, and the prior adds
    its precision; regions outside the pair are treated as known. Where this leaves out more than
    it should, all variances are enlarged by the same factor, the ratio of the traces of the
    covariance of the posterior (Laplace) and of its closed form.

    Parameters
    ----------
    process
        The fit.
    moments, precision, variances
        As it was fitted to (:func:`~npi_bids.surrogates.ou_process.fit_ou`).
    around_group
        Whether its prior was centred at another process, self-connections included. How far the
        process is from it does not matter for the errors.
    delay_doubt
        Root mean square of the delays of the regions, in samples, that the data do not exclude
        and the process does not model; their variance is added.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``, in units of the moments.
    """
    variance = _pair_variances(process, moments, precision, variances)
    mean = process.drift if around_group else None
    problem = Problem(moments, precision, mean, variances)
    ratio = variance_ratio(problem, process, variance)
    total = variance * max(1.0, ratio)
    if delay_doubt:
        without_prior = _pair_variances(process, moments, (_TINY, _TINY), variances)
        data_share = variance / without_prior
        total = total + (delay_doubt * data_share) ** 2 * delay_sensitivity(process)
    errors: Array = np.sqrt(total)
    return errors


def delay_sensitivity(process: OU) -> Array:
    """Return how much delays of the regions change a regression of samples on the last ones.

    A delay of region k shifts its row and its column of the lagged covariances in opposite
    directions: to first order their change is ``d_k`` times row k of their derivative by the lag
    minus its column k, at lag 1 and, in the mean of both sides, at lag 0.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``; sum over the regions of the
        squared derivative of the transition by their delays, per squared sample.
    """
    drift, weights = process.drift, process.transition
    covariance = solve_continuous_lyapunov(drift.T, -np.diag(process.diffusion))
    inverse = np.linalg.inv(covariance)
    at_once = covariance @ drift
    at_once = (at_once - at_once.T) / 2
    lagged = covariance @ weights @ drift
    # With P the inverse covariance, region k changes entry (s, t) of the transition by
    # P_sk B_kt + (P S)_sk W_kt - (P R)_sk [k = t], where R and S are the derivatives of the
    # covariances at lags 1 and 0, and B = R - S W.
    rows = lagged - at_once @ weights
    by_lag, by_covariance = inverse @ lagged, inverse @ at_once
    crossed = inverse * np.diag(rows) + by_covariance * np.diag(weights)
    sensitivity: Array = (
        inverse**2 @ rows**2
        + by_covariance**2 @ weights**2
        + 2 * (inverse * by_covariance) @ (rows * weights)
        + by_lag**2
        - 2 * by_lag * crossed
    )
    return np.maximum(sensitivity, 0.0)


def _pair_variances(
    process: OU, moments: Moments, precision: tuple[float, float], variances: Array | None
) -> Array:
    """Return the variances of the transition as if regions outside a pair were known."""
    inverse_moment = np.linalg.inv(moments.past + _TINY * np.eye(len(process.drift)))
    relative = np.ones_like(process.drift) if variances is None else variances
    even, odd = precision
    return closed_form_variances(
        process,
        np.diag(inverse_moment),
        np.diag(moments.residual(process.transition)),
        moments.n_windows,
        (even / relative, odd / relative),
    )


def closed_form_variances(
    process: OU,
    conditional_precision: Array,
    noise_variances: Array,
    n_samples: float,
    precision: tuple[Array, Array],
) -> Array:
    """Return the variances of the transition as if regions outside a pair were known.

    Parameters
    ----------
    process
        The fit.
    conditional_precision, noise_variances
        Shape (n_regions,); precision of each region given all others at the same time, and
        variance of its one-step errors.
    n_samples
        Number of samples that inform the process.
    precision
        Prior precision of each entry of the symmetric and of the antisymmetric part of the drift,
        shape (n_regions, n_regions).
    """
    self_connections = np.diag(process.drift)
    slope = mean_exponential(self_connections[:, None], self_connections[None, :])
    lagged = n_samples * slope**2 / np.outer(conditional_precision, noise_variances)
    rates = self_connections[:, None] + self_connections[None, :]
    shared_slope = innovation_slope(rates) * process.diffusion[:, None]
    shared = n_samples / np.outer(noise_variances, noise_variances)
    even, odd = precision
    information = lagged + shared * shared_slope**2 + (even + odd) / 2
    crossed = shared * shared_slope * shared_slope.T + (even - odd) / 2
    variance: Array = slope**2 * information.T / (information * information.T - crossed**2)
    return variance


def variance_ratio(problem: Problem, process: OU, variance: Array) -> float:
    """Return the posterior variance of the transition over an approximation of it.

    The trace over all connections, from random signs (Hutchinson 1990,
    doi:10.1080/03610919008812866): the covariance of the posterior is applied by conjugate
    gradients, whose products with the Hessian are differences of the gradient.

    Parameters
    ----------
    problem
        The objective of the fit.
    process
        Its minimum.
    variance
        Shape (n_regions, n_regions); the approximation.

    Returns
    -------
    float
        The ratio; 1 where the objective has no minimum at the process.
    """
    n = problem.n
    connections = ~np.eye(n, dtype=bool)
    optimum = problem.pack(process)
    step = transition(process.drift, process.diffusion, problem.n_halvings)
    evaluate = objective_on_device(problem, problem.ARRAYS, n)
    rng = np.random.default_rng(0)
    n_vectors = min(_MOST_VECTORS, math.ceil(_ENTRIES / connections.sum()))
    traces = []
    for _ in range(n_vectors):
        signs = np.where(connections, rng.choice([-1.0, 1.0], (n, n)), 0.0)
        by_drift, by_diffusion = step.gradient(signs, np.zeros((n, n)))
        slope = problem.gradient_of_coordinates(process, by_drift, by_diffusion)
        trace = _apply_covariance(evaluate, optimum, slope)
        if trace is None:
            return 1.0
        traces.append(trace / problem.n_windows)
    return float(np.mean(traces) / variance[connections].sum())


def _apply_covariance(evaluate: Evaluate, optimum: Array, slope: Array) -> float | None:
    """Return ``slope' H^-1 slope``, H the matrix of second derivatives; None if not positive."""
    curvatures = []

    def apply_hessian(direction: Array) -> Array:
        step = _STEP / float(np.abs(direction).max())
        ahead, behind = (evaluate(optimum + side * step * direction)[1] for side in (1, -1))
        curved: Array = (ahead - behind) / (2 * step)
        curvatures.append(float(direction @ curved))
        return curved

    hessian = LinearOperator((len(slope), len(slope)), matvec=apply_hessian, dtype=np.float64)
    solution, _ = cg(hessian, slope, rtol=_RESIDUAL, maxiter=_MOST_ITERATIONS)
    return float(slope @ solution) if all(curved > 0 for curved in curvatures) else None
