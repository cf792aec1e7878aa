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
from scipy.special import stdtrit

from npi_bids.assessment.uncertainty import fdr_q_values
from npi_bids.bids.outputs import CATALOGUE, GROUP_OUTPUTS
from npi_bids.bids.sidecars import ReliabilitySummary, SplitHalf
from npi_bids.connectivity.network_measures import (
    OF_MAGNITUDE,
    flow_stack,
    groupings,
    network_stack,
)
from npi_bids.group.glm import Contrast, Design, estimate
from npi_bids.group.map_stack import split_edges
from npi_bids.group.reliability import Reliability, reliability, split_half_of_group
from npi_bids.matrices import SD_PER_MAD
from npi_bids.records import Array, Mask

# Robust standard deviations below the median at which a map is an outlier: the 95th percentile, by
# number of subjects, of how far the lowest of so many values of a normal distribution lies (20 000
# to 400 000 draws). A fixed 3 (Leys et al. 2013, doi:10.1016/j.jesp.2013.03.013) would name one by
# chance in 12 % of groups of 10, and in 74 % of groups of 1000.
_OUTLIER_SD = {
    5: 5.78, 6: 4.37, 7: 4.67, 8: 4.06, 9: 4.22, 10: 3.88, 12: 3.77, 15: 3.74, 20: 3.57, 30: 3.49,
    50: 3.47, 100: 3.52, 200: 3.61, 500: 3.78, 1000: 3.92,
}  # fmt: skip
FEWEST_FOR_OUTLIERS = 5  # subjects; the spread of fewer tells nothing of a single one
# Fields that assume independent subjects, and those among them that test a mean of 0.
INFERENCE = (
    *("tested_mean", "standard_error", "t", "p", "q", "lower", "upper", "sign_consistency"),
)
TESTS_OF_ZERO = ("t", "p", "q", "sign_consistency")


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """Statistics over subjects; arrays have shape (n_edges,), NaN where too few have the edge.

    Attributes
    ----------
    mean, sd, n
        Mean, sample standard deviation, and number of subjects that have the edge.
    tested_mean
        Mean of the tested maps, with the weights of the test.
    standard_error, t, p, q
        Its standard error and t, two-sided p of a mean of 0, and Benjamini-Hochberg q over all
        edges (NaN for fewer than eight subjects).
    lower, upper
        Ends of its 95 % interval.
    sign_consistency
        Share of the subjects whose tested entry has the sign of the tested mean.
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
    tested_mean: Array
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
    tested: Array | None = None,
    weights: Array | None = None,
    test_weights: Array | None = None,
    trim: float = 0.1,
    min_subjects: int = 2,
) -> Description:
    """Describe maps edge by edge, over the subjects that have the edge.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_edges); NaN where a subject lacks the edge.
    tested
        Maps whose mean is tested, same shape; ``maps`` if None.
    weights
        Shape (n_subjects,), not negative; weights of mean and SD, equal if None.
    test_weights
        Shape (n_subjects,); weights of the test, in proportion to the inverse variance of the
        subjects' maps; equal if None.
    trim
        Share of the subjects that the trimmed mean leaves out on either side.
    min_subjects
        Number of subjects that an edge needs.

    Examples
    --------
    >>> description = describe(np.array([[1.0, 0.0], [2.0, 1.0], [3.0, -1.0]]))
    >>> description.mean, description.sd, description.n
    (array([2., 0.]), array([1., 1.]), array([3., 3.]))
    """
    weight = np.ones(len(maps)) if weights is None else weights
    parts = [
        _describe_block(np.asarray(maps[:, edges], dtype=np.float64), weight, trim, min_subjects)
        for edges in split_edges(*maps.shape)
    ]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    joined |= _test_mean(maps if tested is None else tested, test_weights, min_subjects)
    return Description(**joined)


def _test_mean(maps: Array, weights: Array | None, min_subjects: int) -> dict[str, Array]:
    """Test the mean of every edge against 0, with moderated variances."""
    n_rows, n_edges = maps.shape
    if n_rows < 2:
        return {name: np.full(n_edges, np.nan) for name in INFERENCE}
    contrast = Contrast("mean", np.ones((1, 1)))
    design = Design(np.ones((n_rows, 1)), ("mean",), (contrast,), np.zeros(n_rows), weights)
    fit = estimate(maps, design, contrast)
    same = np.full(n_edges, np.nan)
    for edges in split_edges(n_rows, n_edges):
        agrees = np.sign(maps[:, edges]) == np.sign(fit.effect[edges])
        n_agree = np.where(np.isfinite(maps[:, edges]), agrees, 0).sum(axis=0)
        same[edges] = n_agree / np.maximum(fit.n[edges], 1)
    margin = stdtrit(fit.df, 0.975) * fit.standard_error
    enough = fit.n >= max(min_subjects, 2)
    q = fdr_q_values(np.where(enough, fit.p, np.nan))
    tests = {
        "tested_mean": fit.effect, "standard_error": fit.standard_error, "t": fit.statistic,
        "p": fit.p, "q": np.where(np.isfinite(fit.q), q, np.nan), "lower": fit.effect - margin,
        "upper": fit.effect + margin, "sign_consistency": same,
    }  # fmt: skip
    return {name: np.where(enough, values, np.nan) for name, values in tests.items()}


def _describe_block(x: Array, weight: Array, trim: float, min_subjects: int) -> dict[str, Array]:
    present = np.isfinite(x) & (np.isfinite(weight) & (weight > 0))[:, None]
    is_complete = bool(present.all())
    n = present.sum(axis=0).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        if is_complete:
            # The sum in the order of the rows, as that of the columns of a table.
            w = (weight / np.cumsum(weight)[-1])[:, None]
            mean = (w * x).sum(axis=0)
            deviation = x - mean
        else:
            w = np.where(present, weight[:, None], 0.0)
            w = w / w.sum(axis=0)
            mean = np.where(present, w * x, 0.0).sum(axis=0)
            deviation = np.where(present, x - mean, 0.0)
        unbiased = n / (n - 1)
        squares = deviation**2
        sd = np.sqrt((w * squares).sum(axis=0) * unbiased)
        error = np.sqrt(np.multiply(w**2, squares, out=squares).sum(axis=0) * unbiased)
        change = np.multiply(w, deviation, out=deviation)
        change = np.abs(change, out=change)
        change /= 1 - w
        influence = np.where(error > 0, change.max(axis=0) / error, np.nan)
        median, trimmed = (
            _complete_order_statistics(x, trim)
            if is_complete
            else _order_statistics(np.where(present, x, np.nan), n, trim)
        )
    enough, two = n >= min_subjects, n >= max(min_subjects, 2)
    return {
        "mean": np.where(enough, mean, np.nan),
        "sd": np.where(two, sd, np.nan),
        "n": n,
        "influence": np.where(two, influence, np.nan),
        "influential": (change if is_complete else np.where(present, change, -1)).argmax(axis=0),
        "median": np.where(enough, median, np.nan),
        "trimmed": np.where(enough, trimmed, np.nan),
    }


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


def _complete_order_statistics(x: Array, trim: float) -> tuple[Array, Array]:
    """Return median and trimmed mean of columns without missing values."""
    n = len(x)
    ordered = np.sort(x, axis=0)
    left_out = int(np.floor(trim * n))
    inner = ordered[left_out : n - left_out]
    trimmed: Array = (inner.sum(axis=0) + 0.0) / len(inner)
    median: Array = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
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
        if n_rows > 1 and present.all():
            mean = (x.sum(axis=0) - x) / (n_rows - 1)
            number = np.full(n_rows, float(x.shape[1]))
        else:
            filled = np.where(present, x, 0.0)
            n_other = present.sum(axis=0) - present
            use = present & (n_other > 0)
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = np.where(use, (filled.sum(axis=0) - filled) / n_other, 0.0)
            x, number = np.where(use, filled, 0.0), use.astype(float).sum(axis=1)
        pairs = (x, x), (mean, mean), (x, mean)
        products = [np.multiply(*pair).sum(axis=1) for pair in pairs]
        sums += np.array([number, x.sum(axis=1), mean.sum(axis=1), *products])
    n, a, b, aa, bb, ab = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        r: Array = (n * ab - a * b) / np.sqrt((n * aa - a * a) * (n * bb - b * b))
    return r


def outlier_limit(n_subjects: int) -> float:
    """Return the robust standard deviations below the median at which a map is an outlier.

    In 5 % of groups of so many subjects that do not differ one is named by chance.

    >>> round(outlier_limit(8), 2), round(outlier_limit(40), 2)
    (4.06, 3.48)
    """
    sizes = np.log(list(_OUTLIER_SD))
    return float(np.interp(np.log(n_subjects), sizes, list(_OUTLIER_SD.values())))


def find_outliers(correlations: Array) -> Mask:
    """Return which subjects have maps that are outliers.

    Their Fisher-transformed correlation with the others is more than so many robust standard
    deviations below the median that one is named by chance in 5 % of groups. Among fewer than
    FEWEST_FOR_OUTLIERS subjects there are none.

    >>> find_outliers(np.array([0.8, 0.82, 0.79, 0.81, 0.1])).tolist()
    [False, False, False, False, True]
    """
    z = np.arctanh(np.clip(correlations, -0.999999, 0.999999))
    n_subjects = int(np.isfinite(z).sum())
    if n_subjects < FEWEST_FOR_OUTLIERS:
        return np.zeros(z.shape, dtype=bool)
    centre = np.nanmedian(z)
    spread = SD_PER_MAD * np.nanmedian(np.abs(z - centre))
    with np.errstate(invalid="ignore"):
        is_outlier: Mask = z < centre - outlier_limit(n_subjects) * max(float(spread), 1e-12)
    return is_outlier


@dataclass(frozen=True, slots=True, eq=False)
class Weighing:
    """How subjects are weighted.

    Attributes
    ----------
    quality
        Shape (n_subjects,), from 0 to 1; equal where None. Unknown quality counts as the mean.
        Weighs subjects in the mean and the SD that are shown.
    test_weights
        Shape (n_subjects,); weights of the tests.
    trim, min_subjects
        As in :func:`~npi_bids.group.description.describe`.
    """

    quality: Array | None
    test_weights: Array | None
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

    def describe(self, maps: Array, tested: Array) -> Description:
        """Describe values of subjects, and test the mean of others."""
        return describe(
            maps,
            tested=tested,
            weights=self.weights,
            test_weights=self.test_weights,
            trim=self.trim,
            min_subjects=self.min_subjects,
        )


@dataclass(frozen=True, slots=True, eq=False)
class MapDescription(Description):
    """A description of maps."""

    def edge_values(self) -> dict[str, Array]:
        """Return what is written as a matrix, by the kind of its file."""
        outputs = map(CATALOGUE.__getitem__, GROUP_OUTPUTS)
        return {output.name: getattr(self, output.value) for output in outputs if output.value}


def describe_maps(maps: Array, tested: Array, weighing: Weighing) -> MapDescription:
    """Describe the edges of a group; the diagonal, which is no connection, is not tested."""
    description = weighing.describe(maps, tested)
    return MapDescription(
        *(getattr(description, name) for name in Description.__dataclass_fields__)
    )


def describe_regions(
    maps: Array, tested: Array, n_regions: int, weighing: Weighing
) -> dict[str, Description]:
    """Describe the figures of regions over subjects, by figure.

    Figures that are made of absolute values are not tested against 0.
    """
    of_tested = flow_stack(tested, n_regions)
    described = {
        figure: weighing.describe(values, of_tested[figure])
        for figure, values in flow_stack(maps, n_regions).items()
    }
    return {
        figure: blank_fields(description, TESTS_OF_ZERO) if figure in OF_MAGNITUDE else description
        for figure, description in described.items()
    }


def describe_networks(
    maps: tuple[Array, Array],
    labels: tuple[str, ...],
    columns: Mapping[str, Sequence[str]],
    weighing: Weighing,
) -> Iterator[tuple[str, tuple[str, ...], Description]]:
    """Yield each grouping of the regions, its networks, and the description of their pairs.

    ``maps`` are those that are shown, and those that are tested.
    """
    for grouping, networks in groupings(labels, columns).items():
        (displayed, names), (tested, _) = (network_stack(each, labels, networks) for each in maps)
        yield grouping, names, weighing.describe(displayed, tested)


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
