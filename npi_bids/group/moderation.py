"""Variances of edges over subjects, moderated by those of all edges (empirical Bayes).

With few subjects, the variance of a single edge is poorly known, and that of a typical edge well:
variances follow a scaled inverse chi-squared distribution, whose two parameters come from all
edges, and each is replaced by its posterior mean (Smyth 2004, doi:10.2202/1544-6115.1027; limma).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma

from npi_bids.records import Array

_FEWEST_EDGES = 10  # with fewer, the spread of their variances is not known
_MAX_DF = 1e6  # variances that do not differ by more than chance


@dataclass(frozen=True, slots=True)
class VariancePrior:
    """Distribution of the variances of edges.

    Attributes
    ----------
    df
        Degrees of freedom that it is worth; 0 if it says nothing.
    variance
        Typical variance.
    df_available
        Degrees of freedom of all edges together, which no moderated variance exceeds.
    """

    df: float = 0.0
    variance: float = 1.0
    df_available: float = np.inf


def prior_variance(variances: Array, df: Array | float) -> VariancePrior:
    """Estimate the distribution of variances from mean and variance of their logarithms.

    Parameters
    ----------
    variances
        Shape (n_edges,); residual variance of each edge. Those that are NaN or 0 are left out.
    df
        Their degrees of freedom, one for all or one each.

    Returns
    -------
    VariancePrior
        Worth 0 degrees of freedom for fewer than ten edges.

    Notes
    -----
    With ``e = log s^2 - digamma(d/2) + log(d/2)``: ``trigamma(d0/2)`` is the variance of e minus
    the mean of ``trigamma(d/2)``, and ``log s0^2 = mean(e) + digamma(d0/2) - log(d0/2)``.
    """
    usable = np.isfinite(variances) & (variances > 0) & (np.asarray(df) > 0)
    n_usable = int(usable.sum())
    if n_usable < _FEWEST_EDGES:
        return VariancePrior()
    half = np.asarray(df, dtype=np.float64) / 2
    half = half if half.ndim == 0 else half[usable]
    df_available = float(2 * half.mean() * n_usable)
    e = np.log(variances[usable]) - digamma(half) + np.log(half)
    excess = float(e.var(ddof=1) - polygamma(1, half).mean())
    half_df = invert_trigamma(excess) if excess > 0 else np.inf
    if not half_df < _MAX_DF / 2:
        return VariancePrior(_MAX_DF, float(np.exp(e.mean())), df_available)
    log_variance = e.mean() + digamma(half_df) - np.log(half_df)
    return VariancePrior(2 * half_df, float(np.exp(log_variance)), df_available)


def moderate(
    variances: Array, df: Array | float, prior: VariancePrior
) -> tuple[Array, Array | float]:
    """Return posterior means of variances, and their degrees of freedom.

    >>> moderated, df = moderate(np.array([1.0, 4.0]), 3.0, VariancePrior(df=1.0, variance=2.0))
    >>> moderated, float(df)
    (array([1.25, 3.5 ]), 4.0)
    """
    moderated: Array = (prior.df * prior.variance + df * variances) / (prior.df + df)
    return moderated, np.minimum(prior.df + df, prior.df_available)


def invert_trigamma(value: float) -> float:
    """Return x with ``trigamma(x) = value`` for a positive value, by Newton's steps.

    >>> round(invert_trigamma(float(polygamma(1, 2.5))), 6)
    2.5
    """
    if value < 1e-6:  # trigamma(x) tends to 1/x
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-9 * x:
            break
    return x
