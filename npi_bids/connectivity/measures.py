"""Measures of connectivity that need no surrogate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from npi_bids.errors import (
    NoUsableDataError,
)
from npi_bids.matrices import correlation, partial_correlations
from npi_bids.records import Array, RegionSeries, Windows
from npi_bids.surrogates.ridge import fit_ridge


def functional_connectivity(runs: Sequence[RegionSeries]) -> Array:
    """Return the Pearson correlation of the regions over the uncensored samples of all runs.

    Parameters
    ----------
    runs
        Series that share their regions, all covered, normalised run by run.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), symmetric, 1 on the diagonal.

    Raises
    ------
    NoUsableDataError
        If fewer than three samples are uncensored.
    """
    samples = uncensored_samples(runs)
    if len(samples) < 3:
        raise NoUsableDataError(
            f"{len(samples)} uncensored samples are too few for a correlation."
        )
    return correlation(samples)


def uncensored_samples(runs: Sequence[RegionSeries]) -> Array:
    """Return the uncensored samples of all runs, concatenated over runs."""
    return np.concatenate([run.data[run.keep] for run in runs])


def partial_correlation(samples: Array) -> Array:
    """Return the correlation of each pair of regions conditional on all others.

    The covariance is shrunk towards equal variances without correlation by the rule of Ledoit and
    Wolf (2004, doi:10.1016/S0047-259X(03)00096-4), which makes it invertible with fewer samples
    than regions.

    Parameters
    ----------
    samples
        Signals, shape (n_samples, n_regions), normalised run by run.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), symmetric, 1 on the diagonal.
    """
    centred = samples - samples.mean(axis=0)
    n_samples, n_regions = centred.shape
    covariance = centred.T @ centred / n_samples
    mean_variance = float(np.trace(covariance)) / n_regions
    distance = float(np.sum((covariance - mean_variance * np.eye(n_regions)) ** 2))
    squared_norms = (centred**2).sum(axis=1)
    noise = (
        float(np.sum(squared_norms**2)) / n_samples - float(np.sum(covariance**2))
    ) / n_samples
    share = min(1.0, noise / distance) if distance > 0 else 1.0
    shrunk = (1 - share) * covariance + share * mean_variance * np.eye(n_regions)
    return partial_correlations(np.linalg.inv(shrunk))


def lagged_correlation(windows: Windows) -> Array:
    """Return the correlation of each source with each target one sample later."""
    n_regions = windows.target.shape[1]
    joined = np.concatenate([windows.history[:, -1], windows.target], axis=1)
    return correlation(joined)[:n_regions, n_regions:]


def ridge_var_weights(windows: Windows) -> Array:
    """Return the weights of a one-lag VAR by ridge regression, indexed ``[source, target]``."""
    return fit_ridge(windows.history[:, -1], windows.target).weights


def oriented_correlation(samples: Array) -> Array:
    """Return partial correlations, each oriented by the non-Gaussianity of the signals.

    The strength is the partial correlation; the direction follows from the robust skewness of
    Hyvarinen and Smith (2013, JMLR 14:111-152, equation 33): if inputs are skewed, large values of
    the source appear in the target more than vice versa. It needs no lag, and is valid only for
    skewed signals.

    Parameters
    ----------
    samples
        Signals, shape (n_samples, n_regions), normalised run by run.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), ``[source, target]``; one of each pair of entries is 0.
    """
    centred = (samples - samples.mean(axis=0)) / np.maximum(samples.std(axis=0), 1e-12)
    flipped = centred * np.where((centred**3).mean(axis=0) < 0, -1.0, 1.0)
    transformed = np.log(np.cosh(np.maximum(flipped, 0)))
    crossed = transformed.T @ flipped / len(flipped)
    is_source: Array = correlation(flipped) * (crossed - crossed.T) > 0
    oriented: Array = np.where(is_source, partial_correlation(samples), 0.0)
    np.fill_diagonal(oriented, 1.0)
    return oriented


MeasureFunction = Callable[[Sequence[RegionSeries], Windows], Array]


def model_free_measures() -> dict[str, MeasureFunction]:
    """Return the measures that are computed only on request, by their command-line names."""
    return {
        "partial": lambda runs, _: partial_correlation(uncensored_samples(runs)),
        "lagged": lambda _, windows: lagged_correlation(windows),
        "var": lambda _, windows: ridge_var_weights(windows),
        "oriented": lambda runs, _: oriented_correlation(uncensored_samples(runs)),
    }
