"""Description of a group of maps: edges, regions, networks, and outlying subjects.

Maps come as one array with a row per subject, which may be memory-mapped: it is read in blocks of
edges, so that memory does not grow with the number of subjects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from npi_bids.assessment.uncertainty import fdr_q_values
from npi_bids.bids.outputs import CATALOGUE, GROUP_OUTPUTS
from npi_bids.bids.sidecars import ReliabilitySummary, SplitHalf
from npi_bids.connectivity.network_measures import (
    ONE_SIGNED,
    flow_stack,
    groupings,
    network_stack,
)
from npi_bids.group.map_stack import split_edges
from npi_bids.group.reliability import Reliability, reliability, split_half_of_group
from npi_bids.matrices import SD_PER_MAD
from npi_bids.records import Array, Mask

# Robust standard deviations below the median at which a map is an outlier (Leys et al. 2013,
# doi:10.1016/j.jesp.2013.03.013: "very conservative").
OUTLIER_SD = 3.0
# Fields that assume independent subjects, and those among them that test a mean of 0.
INFERENCE = ("standard_error", "t", "p", "q", "lower", "upper", "sign_consistency")
TESTS_OF_ZERO = ("t", "p", "q", "sign_consistency")


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """Statistics over subjects; arrays have shape (n_edges,), NaN where too few have the edge.

    Attributes
    ----------
    mean, sd, n
        Mean, sample standard deviation, and number of subjects that have the edge.
    standard_error, t, p, q
        Standard error and t of the mean, two-sided p of a mean of 0, and its Benjamini-Hochberg q
        over all edges.
    lower, upper
        Ends of the 95 % interval of the mean.
    sign_consistency
        Share of the subjects whose entry has the sign of the mean.
    influence
        Largest change of the mean when one subject is left out, in standard errors.
    influential
        Row of that subject.
    median, trimmed
        Median, and mean without the lowest and highest share of the subjects.
    """

    mean: Array
    sd: Array
    n: Array
    standard_error: Array
    t: Array
    p: Array
    q: Array
    lower: Array
    upper: Array
    sign_consistency: Array
    influence: Array
    influential: NDArray[np.int64]
    median: Array
    trimmed: Array


DescriptionT = TypeVar("DescriptionT", bound=Description)


def blank_fields(description: DescriptionT, names: Sequence[str]) -> DescriptionT:
    """Return a description in which some fields are NaN, because they are not valid."""
    return replace(
        description, **{name: np.full(description.mean.shape, np.nan) for name in names}
    )


def describe(
    maps: Array,
    *,
    weights: Array | None = None,
    errors: Array | None = None,
    trim: float = 0.1,
    min_subjects: int = 2,
) -> Description:
    """Describe maps edge by edge, over the subjects that have the edge.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_edges); NaN where a subject lacks the edge.
    weights
        Shape (n_subjects,), not negative; equal where None.
    errors
        Shape (n_subjects, n_edges); standard errors of the entries. If present, entries
        are weighted by their inverse square, times ``weights``.
    trim
        Share of the subjects that the trimmed mean leaves out on either side.
    min_subjects
        Number of subjects that an edge needs.

    Notes
    -----
    The standard error of a weighted mean is that of the weighted deviations,
    ``sqrt(sum w^2 (x - m)^2) / sum w``, times ``sqrt(n / (n - 1))``, which is the usual one where
    weights are equal.

    Examples
    --------
    >>> description = describe(np.array([[1.0, 0.0], [2.0, 1.0], [3.0, -1.0]]))
    >>> description.mean, description.sd, description.n
    (array([2., 0.]), array([1., 1.]), array([3., 3.]))
    """
    n_rows, n_edges = maps.shape
    parts = []
    for edges in split_edges(n_rows, n_edges):
        weight = np.ones(n_rows) if weights is None else weights
        block = np.asarray(maps[:, edges], dtype=np.float64)
        spread = weight[:, None] * np.ones(block.shape[1])
        if errors is not None:
            spread = spread / np.asarray(errors[:, edges], dtype=np.float64) ** 2
        parts.append(_describe_block(block, spread, trim, min_subjects))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Description(q=fdr_q_values(joined["p"]), **joined)


def _describe_block(x: Array, weight: Array, trim: float, min_subjects: int) -> dict[str, Array]:
    present = np.isfinite(x) & np.isfinite(weight) & (weight > 0)
    n = present.sum(axis=0).astype(float)
    enough = n >= min_subjects
    w = np.where(present, weight, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        w = w / w.sum(axis=0)
        mean = np.where(present, w * x, 0.0).sum(axis=0)
        deviation = np.where(present, x - mean, 0.0)
        unbiased = n / (n - 1)
        sd = np.sqrt((w * deviation**2).sum(axis=0) * unbiased)
        error = np.sqrt((w**2 * deviation**2).sum(axis=0) * unbiased)
        t = mean / error
        p = 2 * student.sf(np.abs(t), n - 1)
        change = np.abs(w * deviation) / (1 - w)
        same = (np.sign(x) == np.sign(mean)) & present
        median, trimmed = _order_statistics(np.where(present, x, np.nan), n, trim)
        margin = student.ppf(0.975, np.maximum(n - 1, 1)) * error
        statistics = {
            "mean": mean, "sd": sd, "standard_error": error, "t": t, "p": p,
            "lower": mean - margin, "upper": mean + margin, "median": median, "trimmed": trimmed,
            "sign_consistency": same.sum(axis=0) / n, "influence": change.max(axis=0) / error,
        }  # fmt: skip
    single = n < 2
    need_two = ("sd", "standard_error", "t", "p", "lower", "upper", "influence")
    reported = {
        name: np.where(enough & ~(single if name in need_two else ~enough), value, np.nan)
        for name, value in statistics.items()
    }
    # Without spread there is no test: 0 over 0 on the diagonal is no finding.
    for name in ("t", "p", "influence"):
        reported[name] = np.where(error > 0, reported[name], np.nan)
    return {**reported, "n": n, "influential": np.where(present, change, -1).argmax(axis=0)}


def _order_statistics(x: Array, n: Array, trim: float) -> tuple[Array, Array]:
    """Return median and trimmed mean of the columns; missing values are ignored."""
    ordered = np.sort(x, axis=0)  # NaN last
    rank = np.arange(len(x))[:, None]
    left_out = np.floor(trim * n)
    inner = (rank >= left_out) & (rank < n - left_out)
    trimmed: Array = np.where(inner, ordered, 0.0).sum(axis=0) / inner.sum(axis=0)
    low, high = ((n - 1) // 2).astype(int), (n // 2).astype(int)
    columns = np.arange(x.shape[1])
    low, high = np.maximum(low, 0), np.minimum(high, len(x) - 1)
    median: Array = (ordered[low, columns] + ordered[high, columns]) / 2
    return median, trimmed


def leave_one_out_correlation(maps: Array) -> Array:
    """Return the correlation of each subject's map with the mean of all other maps.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_edges); edges that a subject lacks are left out for it.

    Returns
    -------
    Array
        Shape (n_subjects,); NaN where there is no other subject.
    """
    n_rows, n_edges = maps.shape
    sums = np.zeros((6, n_rows))
    for edges in split_edges(n_rows, n_edges):
        x = np.asarray(maps[:, edges], dtype=np.float64)
        present = np.isfinite(x)
        filled = np.where(present, x, 0.0)
        n_other = present.sum(axis=0) - present
        use = present & (n_other > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(use, (filled.sum(axis=0) - filled) / n_other, 0.0)
        x = np.where(use, filled, 0.0)
        products = use.astype(float), x, mean, x * x, mean * mean, x * mean
        sums += np.array([product.sum(axis=1) for product in products])
    n, a, b, aa, bb, ab = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        r: Array = (n * ab - a * b) / np.sqrt((n * aa - a * a) * (n * bb - b * b))
    return r


def find_outliers(correlations: Array) -> Mask:
    """Return which subjects have maps that are outliers.

    Their Fisher-transformed correlation with the others is more than OUTLIER_SD robust standard
    deviations below the median.

    >>> find_outliers(np.array([0.8, 0.82, 0.79, 0.81, 0.1])).tolist()
    [False, False, False, False, True]
    """
    z = np.arctanh(np.clip(correlations, -0.999999, 0.999999))
    if not np.isfinite(z).any():
        return np.zeros(z.shape, dtype=bool)
    centre = np.nanmedian(z)
    spread = SD_PER_MAD * np.nanmedian(np.abs(z - centre))
    with np.errstate(invalid="ignore"):
        is_outlier: Mask = z < centre - OUTLIER_SD * max(float(spread), 1e-12)
    return is_outlier


@dataclass(frozen=True, slots=True, eq=False)
class Weighing:
    """How subjects are weighted.

    Attributes
    ----------
    quality
        Shape (n_subjects,), from 0 to 1; equal where None. Unknown quality counts as the mean.
    errors
        Standard errors of the entries, shape of the maps, or None.
    trim, min_subjects
        As in :func:`~npi_bids.group.description.describe`.
    """

    quality: Array | None
    errors: Array | None
    trim: float
    min_subjects: int

    @property
    def weights(self) -> Array | None:
        """Weights of the subjects, at least 0.01."""
        if self.quality is None:
            return None
        clipped = np.clip(self.quality, 0.01, 1.0)
        mean = float(np.nanmean(clipped)) if np.isfinite(clipped).any() else 1.0
        weights: Array = np.where(np.isfinite(clipped), clipped, mean)
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class MapDescription(Description):
    """A description of maps."""

    def edge_values(self) -> dict[str, Array]:
        """Return what is written as a matrix, by the kind of its file."""
        outputs = map(CATALOGUE.__getitem__, GROUP_OUTPUTS)
        return {output.name: getattr(self, output.value) for output in outputs if output.value}


def describe_maps(maps: Array, weighing: Weighing) -> MapDescription:
    """Describe the edges of a group; the diagonal, which is no connection, is not tested."""
    description = describe(
        maps,
        weights=weighing.weights,
        errors=weighing.errors,
        trim=weighing.trim,
        min_subjects=weighing.min_subjects,
    )
    return MapDescription(
        *(getattr(description, name) for name in Description.__dataclass_fields__)
    )


def describe_regions(maps: Array, n_regions: int, weighing: Weighing) -> dict[str, Description]:
    """Describe the figures of regions over subjects, by figure.

    Figures that have the same sign for every map are not tested against 0.
    """
    described = {
        figure: describe(
            values,
            weights=weighing.weights,
            trim=weighing.trim,
            min_subjects=weighing.min_subjects,
        )
        for figure, values in flow_stack(maps, n_regions).items()
    }
    return {
        figure: blank_fields(description, TESTS_OF_ZERO) if figure in ONE_SIGNED else description
        for figure, description in described.items()
    }


def describe_networks(
    maps: Array,
    labels: tuple[str, ...],
    columns: Mapping[str, Sequence[str]],
    weighing: Weighing,
) -> Iterator[tuple[str, tuple[str, ...], Description]]:
    """Yield each grouping of the regions, its networks, and the description of their pairs."""
    for grouping, networks in groupings(labels, columns).items():
        pairs, names = network_stack(maps, labels, networks)
        yield (
            grouping,
            names,
            describe(
                pairs,
                weights=weighing.weights,
                trim=weighing.trim,
                min_subjects=weighing.min_subjects,
            ),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Repeatability:
    """Repeatability of a group: over visits of its subjects, and over halves of its subjects."""

    visits: Reliability | None
    halves: tuple[float, float]

    @property
    def split_half(self) -> SplitHalf:
        """Fields of a sidecar on the halves of the subjects."""
        return SplitHalf(mean=self.halves[0], sd=self.halves[1])

    @property
    def summary(self) -> ReliabilitySummary | None:
        """Fields of a sidecar on the visits; None where subjects have one visit."""
        if self.visits is None:
            return None
        return ReliabilitySummary(
            subjects=self.visits.n_subjects,
            visits=self.visits.n_visits,
            median_icc_21=_median(self.visits.icc_agreement),
            median_icc_31=_median(self.visits.icc_consistency),
            identification_rate=self.visits.identification,
            mean_r_within=self.visits.r_within,
            mean_r_between=self.visits.r_between,
        )

    def edge_values(self) -> dict[str, Array]:
        """Return what is written as a matrix, by the kind of its file."""
        return {} if self.visits is None else {"groupicc": self.visits.icc_agreement}


def measure_repeatability(maps: Array, visits: Array, owner: NDArray[np.int64]) -> Repeatability:
    """Measure the repeatability of a group.

    Parameters
    ----------
    maps
        One per subject, shape (n_subjects, n_edges).
    visits, owner
        All maps, and the index of the subject of each.
    """
    between_visits = reliability(visits, owner) if len(visits) > len(maps) else None
    return Repeatability(between_visits, split_half_of_group(maps, np.random.default_rng(0)))


def _median(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
