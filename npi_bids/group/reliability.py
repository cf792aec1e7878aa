"""Reliability of maps over visits: of edges, of subjects, and as a fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npi_bids.bids.sidecars import Heterogeneity, MapReliability
from npi_bids.group.map_stack import split_edges
from npi_bids.matrices import antisymmetric
from npi_bids.records import Array, Mask

_SPLITS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Agreement of the visits of the same subjects.

    Attributes
    ----------
    icc_agreement, icc_consistency
        Shape (n_edges,): ICC(2,1) and ICC(3,1) of Shrout and Fleiss 1979
        (doi:10.1037/0033-2909.86.2.420), over the subjects with all visits.
    identification
        Share of the maps that are most like another visit of the same subject (Finn et al. 2015,
        doi:10.1038/nn.4135), over the first two visits and both ways.
    r_within, r_between
        Mean correlation of two visits of one subject, and of visits of two subjects.
    n_subjects, n_visits
        Number of subjects, and of visits of each, in these figures.
    """

    icc_agreement: Array
    icc_consistency: Array
    identification: float
    r_within: float
    r_between: float
    n_subjects: int
    n_visits: int


def reliability(maps: Array, owner: NDArray[np.int64]) -> Reliability | None:
    """Measure how well maps repeat; None where fewer than two subjects have two visits.

    Every subject contributes as many visits as the subject with the fewest, but at least two.

    Parameters
    ----------
    maps
        Shape (n_maps, n_edges), visits of a subject in the order of time; may be memory-mapped.
    owner
        Shape (n_maps,); index of the subject.
    """
    rows = [np.flatnonzero(owner == subject) for subject in np.unique(owner)]
    repeated_rows = [visits for visits in rows if len(visits) > 1]
    if len(repeated_rows) < 2:
        return None
    n_visits = min(map(len, repeated_rows))
    order = np.array([visits[:n_visits] for visits in repeated_rows])
    agreement, consistency = (np.full(maps.shape[1], np.nan) for _ in range(2))
    for edges in split_edges(order.size, maps.shape[1]):
        block = np.asarray(maps[:, edges], dtype=np.float64)[order]
        agreement[edges], consistency[edges] = icc(block)
    similarity = _similarity(maps, order[:, :2].T.ravel())
    n = len(order)
    across = similarity[:n, n:]  # first visits in rows, second in columns
    hits = [across.argmax(axis=axis) == np.arange(n) for axis in (0, 1)]
    off = ~np.eye(n, dtype=bool)
    return Reliability(
        agreement,
        consistency,
        float(np.mean(hits)),
        float(np.mean(np.diag(across))),
        float(np.mean(across[off])),
        n,
        n_visits,
    )


def icc(values: Array) -> tuple[Array, Array]:
    """Return ICC(2,1) and ICC(3,1) of values of shape (n_subjects, n_visits, n_edges).

    An edge that a visit lacks, or that does not vary, is NaN.
    """
    n, k = values.shape[:2]
    grand = values.mean(axis=(0, 1))
    subjects, visits = values.mean(axis=1), values.mean(axis=0)
    of_subjects = k * ((subjects - grand) ** 2).sum(axis=0) / (n - 1)
    of_visits = n * ((visits - grand) ** 2).sum(axis=0) / (k - 1)
    residuals = values - subjects[:, None] - visits[None] + grand
    error = (residuals**2).sum(axis=(0, 1)) / ((n - 1) * (k - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = of_subjects + (k - 1) * error
        agreement: Array = (of_subjects - error) / (spread + k * (of_visits - error) / n)
        consistency: Array = (of_subjects - error) / spread
    flat = ~(of_subjects + error > 0)
    agreement[flat], consistency[flat] = np.nan, np.nan
    return agreement, consistency


def _similarity(maps: Array, rows: NDArray[np.int64]) -> Array:
    """Return the correlations of some maps over the edges that all of them have."""
    gram = np.zeros((rows.size, rows.size))
    sums, count = np.zeros(rows.size), 0
    for edges in split_edges(*maps.shape):
        block = np.asarray(maps[:, edges], dtype=np.float64)[rows]
        block = block[:, np.isfinite(block).all(axis=0)]
        gram += block @ block.T
        sums += block.sum(axis=1)
        count += block.shape[1]
    covariance = gram - np.outer(sums, sums) / max(count, 1)
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    similarity: Array = covariance / np.outer(scale, scale)
    return similarity


def map_reliability(maps: Array) -> MapReliability | None:
    """Return the reliability of the mean map over subjects, and that of its parts.

    ``1 - mean(s^2 / n) / var(mean)`` over the entries off the diagonal that all subjects have: the
    share of the variance of the mean map that is not sampling error. It equals the agreement of
    the mean maps of random halves after the correction of Spearman and Brown, and estimates the
    squared correlation with the mean of the population. For maps without prior only, because what
    a prior adds to all of them counts as reliable.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_regions^2), may be memory-mapped.

    Returns
    -------
    MapReliability or None
        None for a single subject.
    """
    n, n_regions = len(maps), round(maps.shape[1] ** 0.5)
    if n < 2:
        return None
    off = ~np.eye(n_regions, dtype=bool)
    sums, squares = np.zeros((3, n_regions, n_regions)), np.zeros((3, n_regions, n_regions))
    for row in range(n):
        matrix = np.asarray(maps[row], dtype=np.float64).reshape(n_regions, n_regions)
        odd = antisymmetric(matrix)
        parts = np.array([matrix, matrix - odd, odd])
        if row == 0:
            origin = parts.copy()  # deviations from it lose no digits
        sums += parts - origin
        squares += (parts - origin) ** 2
    means = sums / n
    variances = (squares - n * means**2) / (n - 1)
    shares = []
    for mean, variance in zip(means + origin, variances, strict=True):
        covered = off & np.isfinite(variance)
        spread = mean[covered].var() if covered.any() else 0.0
        share = 1 - variance[covered].mean() / n / spread if spread > 0 else np.nan
        shares.append(float(share))
    return MapReliability(all=shares[0], symmetric=shares[1], antisymmetric=shares[2])


def predict_reliability(reliability: float, n_subjects: int, n_new: ArrayLike) -> Array:
    """Return the reliability of mean maps of other numbers of subjects.

    By the formula of Spearman (1910, doi:10.1111/j.2044-8295.1910.tb00206.x) and Brown (1910,
    doi:10.1111/j.2044-8295.1910.tb00207.x); a reliability below 0 counts as 0.

    Parameters
    ----------
    reliability
        Reliability of the mean map of ``n_subjects``, at most 1.
    n_subjects
        Number of subjects of that map.
    n_new
        Numbers of subjects.

    Examples
    --------
    >>> predict_reliability(0.5, 8, [4, 8, 16]).round(3).tolist()
    [0.333, 0.5, 0.667]
    """
    ratio = np.asarray(n_new, dtype=np.float64) / n_subjects
    share = max(reliability, 0.0)
    predicted: Array = ratio * share / (1 + (ratio - 1) * share)
    return predicted


def measure_heterogeneity(
    maps: Array, subjects: Sequence[str], is_outlier: Mask
) -> Heterogeneity | None:
    """Measure how subjects differ from the mean of a group, and name those that differ most.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_edges), may be memory-mapped; edges that a subject lacks are left out.
    subjects, is_outlier
        Labels of the subjects, and whether their maps are outliers.

    Returns
    -------
    Heterogeneity or None
        None for a single subject, or where the mean map is 0.
    """
    n = len(maps)
    squared, of_mean = np.zeros(n), 0.0
    for edges in split_edges(*maps.shape):
        block = np.asarray(maps[:, edges], dtype=np.float64)
        block = block[:, np.isfinite(block).all(axis=0)]
        mean = block.mean(axis=0)
        squared += ((block - mean) ** 2).sum(axis=1)
        of_mean += float((mean**2).sum())
    if n < 2 or of_mean == 0:
        return None
    total = float(squared.sum())
    names_one = n > 2 and total > 0  # two subjects differ from their mean alike
    return Heterogeneity(
        relative_sd=float(np.sqrt(total / (n - 1) / of_mean)),
        most_different=subjects[int(squared.argmax())] if names_one else "",
        largest_share=float(squared.max()) / total if names_one else float("nan"),
        outliers=tuple(name for name, out in zip(subjects, is_outlier, strict=True) if out),
    )


def expected_group_r(
    expected_r: Array, maps: Array, unshrunk: MapReliability | None = None
) -> float:
    """Return the expected correlation of the mean map with the truth.

    By the correction for attenuation of classical test theory (Spearman, 1904): sampling error
    alone is averaged out, so that the correlation of one map grows by the square root of the ratio
    of the reliabilities of the mean map and of a single one. What all maps have wrong stays. No
    map correlates with anything by more than the square root of its reliability.

    Parameters
    ----------
    expected_r
        Expected accuracy of the map of each subject; NaN where it is not known.
    maps
        Shape (n_subjects, n_regions^2); those maps, may be memory-mapped.
    unshrunk
        Reliability of the mean of their maps without prior, if it is known: without any, subjects
        share nothing but their prior.

    Returns
    -------
    float
        At most the square root of the reliability of the mean map, 0 where it has none; NaN for a
        single subject, or where no subject has an expectation or no connection is in all maps.
    """
    finite = expected_r[np.isfinite(expected_r)]
    reliability = map_reliability(maps)
    if not finite.size or reliability is None or not np.isfinite(reliability.all):
        return float("nan")
    if unshrunk is not None and unshrunk.all <= 0:
        return 0.0
    n, share = len(maps), max(reliability.all, 0.0)
    # Spearman and Brown: the reliability of one map is rho / (n - (n - 1) rho).
    gain = np.sqrt(n - (n - 1) * share)
    return float(min(np.sqrt(share), finite.mean() * gain))


def split_half_of_group(maps: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Return how the mean maps of random halves of the subjects agree: mean and SD of r.

    NaN for fewer than four subjects.
    """
    n = len(maps)
    if n < 4:
        return float("nan"), float("nan")
    halves = np.stack([_half(n, rng) for _ in range(_SPLITS)])
    sums = np.zeros((6, _SPLITS))
    for edges in split_edges(n, maps.shape[1]):
        block = np.asarray(maps[:, edges], dtype=np.float64)
        block = block[:, np.isfinite(block).all(axis=0)]
        a, b = halves @ block, (1 - halves) @ block
        a, b = a / halves.sum(axis=1)[:, None], b / (n - halves.sum(axis=1))[:, None]
        ones = np.ones_like(a)
        sums += np.array([part.sum(axis=1) for part in (ones, a, b, a * a, b * b, a * b)])
    count, a, b, aa, bb, ab = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (count * ab - a * b) / np.sqrt((count * aa - a * a) * (count * bb - b * b))
    return float(np.mean(r)), float(np.std(r))


def _half(n: int, rng: np.random.Generator) -> Array:
    chosen = np.zeros(n)
    chosen[rng.permutation(n)[: n // 2]] = 1
    return chosen
