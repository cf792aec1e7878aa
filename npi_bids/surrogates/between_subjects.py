"""Differences between subjects: their variance from halves of scans, and the subject's own share.

Two halves of a scan have independent errors, so that the covariance over subjects of the maps of
the first and of the second half is the variance between subjects, free of any standard error. What
differs between the halves in truth counts as error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from npi_bids.matrices import antisymmetric, off_diagonal, symmetric
from npi_bids.records import Array


@dataclass(frozen=True, slots=True)
class Parts:
    """One number for the symmetric, and one for the antisymmetric part of matrices."""

    symmetric: float
    antisymmetric: float

    @property
    def of_entry(self) -> float:
        """Variance of an entry, which is the sum of its two parts."""
        return self.symmetric + self.antisymmetric


class SubjectMoments:
    """Moments over subjects of two matrices of each, entry by entry, for both parts.

    Matrices are added one subject at a time, so that memory does not grow with their number.
    """

    def __init__(self, n_regions: int) -> None:
        self.origin = np.zeros((2, n_regions, n_regions))
        self.counts = np.zeros((n_regions, n_regions))
        # Of both parts: sums of the first, of the second, of their product, and of their squares.
        self.sums = np.zeros((5, 2, n_regions, n_regions))

    def add(self, first: Array, second: Array) -> None:
        """Add the two matrices of a subject, shape (n_regions, n_regions); NaN where it has none.

        A pair of regions counts if both matrices have it in both directions.
        """
        if not self.counts.any():  # deviations from one subject lose no digits
            self.origin = np.nan_to_num(_split(first))
        one, other = _split(first) - self.origin, _split(second) - self.origin
        present = np.isfinite(one).all(axis=0) & np.isfinite(other).all(axis=0)
        self.counts += present
        for total, part in zip(
            self.sums, (one, other, one * other, one * one, other * other), strict=True
        ):
            total += np.where(present, part, 0.0)

    def covariance(self) -> Parts:
        """Return the covariance over subjects of the two matrices, mean over pairs of regions.

        NaN where no pair of regions has two subjects. It is the variance if the two are the same.
        """
        off = ~np.eye(len(self.counts), dtype=bool) & (self.counts > 1)
        if not off.any():
            return Parts(float("nan"), float("nan"))
        first, second, products = self.sums[:3]
        return Parts(*self._pool(products, first, second))

    def variance_between(self) -> float:
        """Return the variance between subjects of a connection, which is above 0.

        The mean of a normal distribution around the covariance of the two matrices, cut off at 0:
        the posterior mean under a flat prior on a variance (Morris 1983,
        doi:10.1080/01621459.1983.10477920). An estimate of 0, which is frequent in small groups,
        would make the maps of all subjects the same. Its standard error counts pairs of regions
        as independent. NaN where no pair of regions has two subjects.
        """
        first, second, _, squares, other_squares = self.sums
        covariance = self.covariance().of_entry
        if np.isnan(covariance):
            return covariance
        variances = [
            sum(self._pool(squared, total, total))
            for squared, total in ((squares, first), (other_squares, second))
        ]
        n_pairs = (self.counts > 1).sum() / 2 - np.count_nonzero(np.diag(self.counts) > 1) / 2
        df = n_pairs * (self.counts.max() - 1)
        error = float(np.sqrt((variances[0] * variances[1] + covariance**2) / df))
        if not error > 0:
            return covariance
        z = covariance / error
        log_density = -(z**2) / 2 - math.log(2 * math.pi) / 2
        return float(covariance + error * np.exp(log_density - log_ndtr(z)))

    def _pool(self, products: Array, first: Array, second: Array) -> tuple[float, float]:
        """Return the mean over pairs of regions of the covariance, for both parts."""
        off = ~np.eye(len(self.counts), dtype=bool) & (self.counts > 1)
        deviations = products - first * second / np.maximum(self.counts, 1)
        df = float((self.counts[off] - 1).sum())
        even, odd = (float(part[off].sum()) / df for part in deviations)
        return even, odd


def _split(matrix: Array) -> Array:
    """Return the symmetric and the antisymmetric part, shape (2, n_regions, n_regions)."""
    return np.stack([symmetric(matrix), antisymmetric(matrix)])


@dataclass(frozen=True, slots=True)
class OwnShare:
    """Weight of a subject's own data in its map; the rest is the mean of the group.

    Attributes
    ----------
    all
        Over all connections.
    symmetric, antisymmetric
        In the two parts of the map.
    """

    all: float
    symmetric: float
    antisymmetric: float


def own_share(shrunken: Array, unshrunk: Array, group: Array) -> OwnShare:
    """Return how much of a subject's deviations from its group a shrunken map keeps.

    The slope, through 0, of the deviations of the shrunken map on those of the map without prior.

    Parameters
    ----------
    shrunken, unshrunk, group
        Maps of the subject and of the group, shape (n_regions, n_regions); the diagonal is not
        used.

    Examples
    --------
    >>> group, unshrunk = np.zeros((2, 2)), np.array([[0.0, 1.0], [0.2, 0.0]])
    >>> shares = own_share(0.25 * unshrunk, unshrunk, group)
    >>> round(shares.all, 6), round(shares.antisymmetric, 6)
    (0.25, 0.25)
    """
    slopes = []
    for part in (np.asarray, symmetric, antisymmetric):
        after, before = (off_diagonal(part(matrix - group)) for matrix in (shrunken, unshrunk))
        finite = np.isfinite(after) & np.isfinite(before)
        after, before = after[finite], before[finite]
        energy = float(before @ before)
        slopes.append(float(after @ before) / energy if energy > 0 else float("nan"))
    return OwnShare(*slopes)
