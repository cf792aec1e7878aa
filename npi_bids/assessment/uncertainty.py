"""Standard errors, intervals, p and q values of the entries of a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from npi_bids.errors import SurrogateError
from npi_bids.records import INTERVAL_QUANTILE, Array, Uncertainty, Windows
from npi_bids.surrogates.lagged_evidence import time_blocks


def compute_intervals(matrix: Array, standard_error: Array, method: str) -> Uncertainty:
    """Return normal 95 % intervals, p and q of every entry off the diagonal.

    Parameters
    ----------
    matrix, standard_error
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    method
        Origin of the standard errors.

    Returns
    -------
    Uncertainty
        NaN on the diagonal, which contains no connections.
    """
    error = standard_error.copy()
    np.fill_diagonal(error, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * ndtr(-np.abs(matrix / error))
    p[error == 0] = np.nan
    half = INTERVAL_QUANTILE * error
    return Uncertainty(error, matrix - half, matrix + half, p, fdr_q_values(p), method)


def fdr_q_values(p: Array) -> Array:
    """Return the q values of Benjamini and Hochberg; NaN stays NaN and is not a test."""
    from scipy.stats import false_discovery_control  # takes a second to load

    q = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return q


def bootstrap_error(
    windows: Windows,
    make_map: Callable[[Windows], Array],
    n_bootstrap: int,
    rng: np.random.Generator,
) -> Array:
    """Return the standard deviation of maps over circular moving-block resamples of the windows.

    Blocks preserve the dependence of neighbouring windows (Künsch 1989,
    doi:10.1214/aos/1176347265; circular: Politis and Romano 1992). A window contains its own
    history, so none spans a gap.

    Parameters
    ----------
    windows
        Windows to resample.
    make_map
        Fits a map to resampled windows.
    n_bootstrap
        Number of resamples, at least two.
    rng
        Source of the resamples.

    Returns
    -------
    Array
        Shape (n_regions, n_regions).

    Raises
    ------
    SurrogateError
        If fits to resamples diverge.
    """
    lengths = [rows.stop - rows.start for rows in time_blocks(windows.target, windows.position)]
    mean, squares = np.zeros((2, windows.target.shape[1], windows.target.shape[1]))
    for number in range(1, n_bootstrap + 1):
        rows = draw_circular_blocks(len(windows), max(lengths), rng)
        try:
            resample = replace(windows, history=windows.history[rows], target=windows.target[rows])
            matrix = make_map(resample)
        except SurrogateError as error:
            raise SurrogateError(f"Resample {number} of --n-bootstrap: {error}") from error
        change = matrix - mean
        mean = mean + change / number
        squares = squares + change * (matrix - mean)
    spread: Array = np.sqrt(squares / max(n_bootstrap - 1, 1))
    return spread


def draw_circular_blocks(
    n_windows: int, length: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw circular blocks of consecutive windows, as many windows as there are.

    >>> draw_circular_blocks(5, 3, np.random.default_rng(0)).shape
    (5,)
    """
    starts = rng.integers(0, n_windows, size=-(-n_windows // length))
    rows: NDArray[np.int64] = (starts[:, None] + np.arange(length)).ravel()[:n_windows]
    return rows % n_windows
