"""Maps of subjects that gain from their group: best linear unbiased predictors (BLUP).

A map is ``theta + k_s (y_s - theta)``, where ``y_s`` is the subject's map without prior,
``theta = sum w_s y_s / sum w_s`` the mean of all subjects, itself included,
``w_s = 1 / (tau^2 + v_s)``, and ``k_s = tau^2 w_s`` the weight of the subject's own data (Robinson
1991, doi:10.1214/ss/1177011926). The variance between subjects ``tau^2`` is the covariance over
subjects of two halves of their data, mean over all connections, or slightly more where that is
uncertain. The error ``v_s`` is in proportion to 1 over the number of windows, scaled so that
``tau^2 + mean v`` is the observed variance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from npi_bids.records import Array
from npi_bids.surrogates.between_subjects import SubjectMoments


@dataclass(frozen=True, slots=True, eq=False)
class Shrinkage:
    """How the maps of a group are shrunk towards its mean.

    Attributes
    ----------
    mean
        Shape (n_regions, n_regions), indexed ``[source, target]``: theta.
    between, error
        Variance between subjects of a connection, and its mean error variance.
    own_shares
        Shape (n_subjects,): weight of each subject's own data.
    """

    mean: Array
    between: float
    error: float
    own_shares: Array


def fit_shrinkage(
    maps: Array, halves: Iterable[tuple[Array, Array]], n_windows: Array
) -> Shrinkage:
    """Fit mean and weights in two passes over the subjects; memory is that of some matrices.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_regions^2), may be memory-mapped: maps without prior.
    halves
        Yields the two maps without prior of each subject that has them, of halves of its scan or
        of two visits, each of shape (n_regions, n_regions).
    n_windows
        Shape (n_subjects,); number of windows of each subject. Where one is not known, all count
        as equal.

    Returns
    -------
    Shrinkage
    """
    n_regions = round(maps.shape[1] ** 0.5)
    observed, split = SubjectMoments(n_regions), SubjectMoments(n_regions)
    for row in range(len(maps)):
        observed.add(*[_matrix_of(maps, row)] * 2)
    for first, second in halves:
        split.add(first, second)
    between = split.variance_between()
    error = max(observed.covariance().of_entry - between, 0.0)
    spread = between + error * _relative_error(n_windows, len(maps))
    if not (np.isfinite(spread).all() and (spread > 0).all()):  # all maps are the same
        spread = np.ones(len(maps))
    mean = _weighted_mean(maps, 1 / spread)
    return Shrinkage(mean, between, error, between / spread)


def shrink(unshrunk: Array, shrinkage: Shrinkage, row: int) -> Array:
    """Return the map of a subject, shape (n_regions, n_regions), shrunk towards the group.

    Parameters
    ----------
    unshrunk
        Its map without prior; NaN stays NaN.
    shrinkage
        From :func:`fit_shrinkage`.
    row
        Row of the subject in the maps of the group.

    Examples
    --------
    >>> shrinkage = Shrinkage(np.ones((2, 2)), 1.0, 3.0, np.array([0.25]))
    >>> shrink(np.array([[1.0, 3.0], [1.0, 1.0]]), shrinkage, 0)
    array([[1. , 1.5],
           [1. , 1. ]])
    """
    matrix: Array = shrinkage.mean + shrinkage.own_shares[row] * (unshrunk - shrinkage.mean)
    return matrix


def _matrix_of(maps: Array, row: int) -> Array:
    n_regions = round(maps.shape[1] ** 0.5)
    return np.asarray(maps[row], dtype=np.float64).reshape(n_regions, n_regions)


def _relative_error(n_windows: Array, n_subjects: int) -> Array:
    """Return the error variance of each subject over the mean one."""
    known = np.isfinite(n_windows).all() and (n_windows > 0).all()
    inverse = 1 / n_windows if known else np.ones(n_subjects)
    relative: Array = inverse / inverse.mean()
    return relative


def _weighted_mean(maps: Array, weights: Array) -> Array:
    """Return the mean, shape (n_regions, n_regions), over the subjects that have an entry."""
    n_regions = round(maps.shape[1] ** 0.5)
    sums, totals = np.zeros((n_regions, n_regions)), np.zeros((n_regions, n_regions))
    for row, weight in enumerate(weights):
        matrix = _matrix_of(maps, row)
        present = np.isfinite(matrix)
        sums += np.where(present, weight * matrix, 0.0)
        totals += weight * present
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Array = sums / totals
    return mean
