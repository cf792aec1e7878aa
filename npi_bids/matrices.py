"""Parts of a square matrix, correlations, and the constant for robust standard deviations."""

from __future__ import annotations

import numpy as np

from npi_bids.records import Array

# SD of a normal distribution over its median absolute deviation, 1 / Phi^-1(3/4).
SD_PER_MAD = 1.4826


def correlation(data: Array) -> Array:
    """Return the Pearson correlation of the columns, NaN where a column does not vary."""
    centred = data - data.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(length > 0, centred / length, np.nan)
    matrix: Array = np.clip(unit.T @ unit, -1, 1)
    return matrix


def scale_covariance(covariance: Array) -> Array:
    """Return the correlations of a covariance matrix; NaN where a variance is not positive.

    >>> scale_covariance(np.array([[4.0, 1.0], [1.0, 1.0]])).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    variance = np.diag(covariance)
    scale = np.sqrt(np.where(variance > 0, variance, np.nan))
    result: Array = covariance / np.outer(scale, scale)
    np.fill_diagonal(result, np.where(np.isfinite(scale), 1.0, np.nan))
    return result


def partial_correlations(precision: Array) -> Array:
    """Return the partial correlations of a precision matrix, with 1 on the diagonal.

    >>> partial_correlations(np.array([[4.0, -1.0], [-1.0, 1.0]])).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    scale = np.sqrt(np.diag(precision))
    partial: Array = -precision / np.outer(scale, scale)
    np.fill_diagonal(partial, 1.0)
    return partial


def off_diagonal(matrix: Array) -> Array:
    """Return the entries off the diagonal as one vector, row by row."""
    entries: Array = matrix[~np.eye(len(matrix), dtype=bool)]
    return entries


def pearson(one: Array, other: Array) -> float:
    """Correlate two matrices off their diagonals, over the entries that are finite in both.

    Returns NaN where fewer than three such entries exist or one matrix is constant.
    """
    a, b = off_diagonal(one), off_diagonal(other)
    finite = np.isfinite(a) & np.isfinite(b)
    if finite.sum() < 3 or np.ptp(a[finite]) == 0 or np.ptp(b[finite]) == 0:
        return float("nan")
    return float(np.corrcoef(a[finite], b[finite])[0, 1])


def antisymmetric(matrix: Array) -> Array:
    """Return ``(E - E') / 2``, the part of a matrix that has a direction."""
    part: Array = (matrix - matrix.T) / 2
    return part


def symmetric(matrix: Array) -> Array:
    """Return ``(E + E') / 2``, the part of a matrix that has no direction."""
    part: Array = (matrix + matrix.T) / 2
    return part
