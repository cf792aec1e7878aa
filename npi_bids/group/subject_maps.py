"""Maps of subjects that gain from their group: best linear unbiased predictors (BLUP).

A map is ``theta + k_s (y_s - theta)``, where ``y_s`` is the subject's map without prior, ``theta =
sum w_s y_s / sum w_s`` the mean of all subjects, itself included, ``w_s = 1 / (tau^2 + v_s)``, and
``k_s = tau^2 w_s`` the weight of the subject's own data (Robinson 1991, doi:10.1214/ss/1177011926).
The variance between subjects ``tau^2`` is the covariance over subjects of two halves of their data,
mean over pairs of regions. The error ``v_s`` is in proportion to 1 over the number of windows,
scaled so that ``tau^2 + mean v`` is the observed variance. All of it separately for the symmetric
and the antisymmetric part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from npi_bids.matrices import antisymmetric, symmetric
from npi_bids.records import Array
from npi_bids.surrogates.between_subjects import OwnShare, Parts, SubjectMoments, own_share

_PARTS = (symmetric, antisymmetric)


@dataclass(frozen=True, slots=True, eq=False)
class Shrinkage:
    """How the maps of a group are shrunk towards its mean.

    Attributes
    ----------
    mean
        Shape (n_regions, n_regions), indexed ``[source, target]``: theta.
    between, error
        Variance between subjects, and the mean error variance, of both parts.
    own
        Shape (n_subjects, 2): weight of a subject's own data in both parts.
    """

    mean: Array
    between: Parts
    error: Parts
    own: Array


@dataclass(frozen=True, slots=True, eq=False)
class ShrunkenMap:
    """The map of a subject, and the weight of its own data in it."""

    matrix: Array
    share: OwnShare


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
        Weights are 0 in a part whose variance between subjects is estimated as 0 or below.
    """
    n_regions = round(maps.shape[1] ** 0.5)
    observed, split = SubjectMoments(n_regions), SubjectMoments(n_regions)
    for row in range(len(maps)):
        observed.add(*[_matrix_of(maps, row)] * 2)
    for first, second in halves:
        split.add(first, second)
    total, between = observed.covariance(), split.covariance()
    errors = Parts(*(
        max(whole - max(own, 0.0), 0.0)
        for whole, own in zip(_values(total), _values(between), strict=True)
    ))  # fmt: skip
    weights, own_weights = _weigh(between, errors, _relative_error(n_windows, len(maps)))
    return Shrinkage(_weighted_mean(maps, weights), between, errors, own_weights)


def shrink(unshrunk: Array, shrinkage: Shrinkage, row: int) -> ShrunkenMap:
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
    >>> shrinkage = Shrinkage(np.zeros((2, 2)), Parts(1.0, 1.0), Parts(1.0, 3.0),
    ...                       np.array([[0.5, 0.25]]))
    >>> shrink(np.array([[0.0, 1.0], [0.0, 0.0]]), shrinkage, 0).matrix
    array([[0.   , 0.375],
           [0.125, 0.   ]])
    """
    deviation = unshrunk - shrinkage.mean
    kept = [
        weight * part(deviation) for weight, part in zip(shrinkage.own[row], _PARTS, strict=True)
    ]
    matrix = shrinkage.mean + kept[0] + kept[1]
    return ShrunkenMap(matrix, own_share(matrix, unshrunk, shrinkage.mean))


def _values(parts: Parts) -> tuple[float, float]:
    return parts.symmetric, parts.antisymmetric


def _matrix_of(maps: Array, row: int) -> Array:
    n_regions = round(maps.shape[1] ** 0.5)
    return np.asarray(maps[row], dtype=np.float64).reshape(n_regions, n_regions)


def _relative_error(n_windows: Array, n_subjects: int) -> Array:
    """Return the error variance of each subject over the mean one."""
    known = np.isfinite(n_windows).all() and (n_windows > 0).all()
    inverse = 1 / n_windows if known else np.ones(n_subjects)
    relative: Array = inverse / inverse.mean()
    return relative


def _weigh(between: Parts, errors: Parts, relative: Array) -> tuple[Array, Array]:
    """Return weights in the mean and weights of own data, shape (n_subjects, 2)."""
    weights, own = np.ones((relative.size, 2)), np.zeros((relative.size, 2))
    for part, (variance, error) in enumerate(zip(_values(between), _values(errors), strict=True)):
        spread = max(variance, 0.0) + error * relative
        if not (np.isfinite(spread).all() and (spread > 0).all()):  # all maps are the same
            continue
        weights[:, part] = 1 / spread
        own[:, part] = max(variance, 0.0) / spread
    return weights, own


def _weighted_mean(maps: Array, weights: Array) -> Array:
    """Return the mean over the subjects that have an entry, each part with weights of its own."""
    n_regions = round(maps.shape[1] ** 0.5)
    sums, totals = (np.zeros((2, n_regions, n_regions)) for _ in range(2))
    for row, pair in enumerate(weights):
        matrix = _matrix_of(maps, row)
        for part, (take, weight) in enumerate(zip(_PARTS, pair, strict=True)):
            values = take(matrix)
            present = np.isfinite(values)
            sums[part] += np.where(present, weight * values, 0.0)
            totals[part] += weight * present
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Array = (sums / totals).sum(axis=0)
    return mean
