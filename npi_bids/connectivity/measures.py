"""Relations between regions that need no surrogate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from npi_bids.errors import (
    NoUsableDataError,
)
from npi_bids.matrices import correlation
from npi_bids.records import Array, RegionSeries, Windows
from npi_bids.settings import check_options, option
from npi_bids.surrogates.ridge import fit_ridge

# The name on the command line of each matrix that can be written beside the map, and its own.
MEASURE_NAMES = {
    "npi": "npi",
    "jacobian": "jacobian",
    "fc": "pearsoncorrelation",
    "modelfc": "modelfc",
    "partial": "partialcorrelation",
    "lagged": "laggedcorrelation",
    "var": "ridgevar",
    "oriented": "oriented",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSettings:
    """Which matrices are written, and how their uncertainty is estimated."""

    measures: tuple[str, ...] = option(
        ("npi", "jacobian", "fc", "modelfc"),
        f"matrices to write besides npi: {', '.join(MEASURE_NAMES)}",
        choices=tuple(MEASURE_NAMES),
        metavar="NAME",
    )
    n_bootstrap: int = option(
        0,
        "bootstrap samples for the standard errors of the map; 0: closed form for linear "
        "surrogates, none for others",
        at_least=0,
        metavar="N",
    )
    null: int = option(
        2000,
        "draws from the null distribution of the time-reversal test of direction",
        at_least=99,
        metavar="N",
    )

    def __post_init__(self) -> None:
        check_options(self)


def functional_connectivity(runs: Sequence[RegionSeries]) -> Array:
    """Return the Pearson correlation of the regions over the kept samples of all runs.

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
        Fewer than three samples are kept.
    """
    kept = kept_samples(runs)
    if len(kept) < 3:
        raise NoUsableDataError(f"{len(kept)} kept samples are too few for a correlation.")
    return correlation(kept)


def kept_samples(runs: Sequence[RegionSeries]) -> Array:
    """Return the kept samples of all runs, one run after the other."""
    return np.concatenate([run.data[run.keep] for run in runs])


def partial_correlation(kept: Array) -> Array:
    """Return the correlation of each pair of regions with all others held fixed.

    The covariance is shrunk towards equal variances without correlation by the rule of Ledoit and
    Wolf (2004, doi:10.1016/S0047-259X(03)00096-4), which makes it invertible with fewer samples
    than regions.

    Parameters
    ----------
    kept
        Signals, shape (n_samples, n_regions), normalised run by run.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), symmetric, 1 on the diagonal.
    """
    centred = kept - kept.mean(axis=0)
    n_samples, n_regions = centred.shape
    covariance = centred.T @ centred / n_samples
    level = float(np.trace(covariance)) / n_regions
    apart = float(np.sum((covariance - level * np.eye(n_regions)) ** 2))
    lengths = (centred**2).sum(axis=1)
    noise = (float(np.sum(lengths**2)) / n_samples - float(np.sum(covariance**2))) / n_samples
    share = min(1.0, noise / apart) if apart > 0 else 1.0
    shrunk = (1 - share) * covariance + share * level * np.eye(n_regions)
    precision = np.linalg.inv(shrunk)
    scale = np.sqrt(np.diag(precision))
    partial: Array = -precision / np.outer(scale, scale)
    np.fill_diagonal(partial, 1.0)
    return partial


def lagged_correlation(windows: Windows) -> Array:
    """Return the correlation of each source with each target one sample later."""
    n_regions = windows.target.shape[1]
    both = np.concatenate([windows.history[:, -1], windows.target], axis=1)
    return correlation(both)[:n_regions, n_regions:]


def ridge_var_weights(windows: Windows) -> Array:
    """Return the weights of a VAR of one lag by ridge regression, ``[source, target]``."""
    return fit_ridge(windows.history[:, -1], windows.target).weights


def oriented_correlation(kept: Array) -> Array:
    """Return partial correlations, each in the direction that non-Gaussianity gives it.

    The strength is the partial correlation; the direction that of the robust skewness of
    Hyvarinen and Smith (2013, JMLR 14:111-152, equation 33): where inputs are skewed, the sender's
    large values are seen in the receiver more than vice versa. Needs no lag, and holds
    only where regions are skewed.

    Parameters
    ----------
    kept
        Signals, shape (n_samples, n_regions), normalised run by run.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), ``[source, target]``; one of each pair of entries is 0.
    """
    centred = (kept - kept.mean(axis=0)) / np.maximum(kept.std(axis=0), 1e-12)
    upright = centred * np.where((centred**3).mean(axis=0) < 0, -1.0, 1.0)
    bent = np.log(np.cosh(np.maximum(upright, 0)))
    crossed = bent.T @ upright / len(upright)
    sends: Array = correlation(upright) * (crossed - crossed.T) > 0
    oriented: Array = np.where(sends, partial_correlation(kept), 0.0)
    np.fill_diagonal(oriented, 1.0)
    return oriented


MeasureFunction = Callable[[Sequence[RegionSeries], Windows], Array]


def model_free_measures() -> dict[str, MeasureFunction]:
    """Return what is worked out on request alone, by its name on the command line."""
    return {
        "partial": lambda runs, _: partial_correlation(kept_samples(runs)),
        "lagged": lambda _, windows: lagged_correlation(windows),
        "var": lambda _, windows: ridge_var_weights(windows),
        "oriented": lambda runs, _: oriented_correlation(kept_samples(runs)),
    }
