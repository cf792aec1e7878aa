"""Matrices of several subjects, aligned by label and averaged."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from npi_bids.errors import InputDataError, NoUsableDataError
from npi_bids.group.settings import GroupSettings
from npi_bids.records import Array, ECResult, GroupEC
from npi_bids.wording import count_noun, join_items


def average(results: Iterable[ECResult], settings: GroupSettings) -> GroupEC:
    """Average the matrices of subjects, edge by edge, over the subjects that have the edge.

    Streams over the subjects (Welford's update), so memory does not grow with their number.

    Parameters
    ----------
    results
        One per subject; the order of the regions may differ, their names may not.
    settings
        Settings with the number of subjects that an edge needs.

    Returns
    -------
    GroupEC
        In the order of the first subject's regions.

    Raises
    ------
    InputDataError
        Subjects differ in their regions.
    NoUsableDataError
        There are no subjects, or fewer than ``min_subjects``.
    """
    labels: tuple[str, ...] = ()
    count = mean = squares = np.zeros((0, 0))
    n_results = 0
    for result in results:
        if not n_results:
            labels = result.labels
            count, mean, squares = (np.zeros((len(labels),) * 2) for _ in range(3))
        matrix = align(result, labels).matrix
        finite = np.isfinite(matrix)
        count = count + finite
        step = np.where(finite, matrix - mean, 0.0)
        mean = mean + step / np.maximum(count, 1)
        squares = squares + step * np.where(finite, matrix - mean, 0.0)
        n_results += 1
    if n_results < settings.min_subjects:
        raise NoUsableDataError(
            f"The group has {count_noun(n_results, 'subject')}; --min-subjects requires "
            f"{settings.min_subjects}."
        )
    enough = count >= settings.min_subjects
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.where(count > 1, np.sqrt(squares / (count - 1)), np.nan)
    return GroupEC(
        mean=np.where(enough, mean, np.nan),
        sd=np.where(enough, sd, np.nan),
        n_subjects=count.astype(np.int64),
        labels=labels,
    )


def align(result: ECResult, labels: tuple[str, ...]) -> ECResult:
    """Return the matrix with its regions in the order of ``labels``.

    Raises
    ------
    InputDataError
        The two sets of regions differ.
    """
    if result.labels == labels:
        return result
    if set(result.labels) != set(labels):
        differing = sorted(set(result.labels) ^ set(labels))
        raise InputDataError(
            f"Subjects differ in {count_noun(len(differing), 'region')} "
            f"({join_items(differing, most=5)}); results of different atlases cannot be averaged."
        )
    index = {label: number for number, label in enumerate(result.labels)}
    order = [index[label] for label in labels]
    return ECResult(result.matrix[np.ix_(order, order)], labels)


def scale_to_strongest(matrix: Array) -> Array:
    """Divide by the largest absolute value off the diagonal: the published form of group maps.

    >>> scale_to_strongest(np.array([[9.0, -4.0], [2.0, 9.0]]))
    array([[ 2.25, -1.  ],
           [ 0.5 ,  2.25]])
    """
    off = np.where(np.eye(len(matrix), dtype=bool), np.nan, np.abs(matrix))
    if not np.isfinite(off).any() or np.nanmax(off) == 0:
        return np.full_like(matrix, np.nan)
    scaled: Array = matrix / np.nanmax(off)
    return scaled
