"""Records that travel between the stages; each is checked when it is created."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import InputDataError
from npi_bids.wording import count_noun, join_items

# Standard errors on either side of an estimate in a normal 95 % interval.
INTERVAL_QUANTILE = 1.96
_ONE_LINE = re.compile(r"[^\t\n\r\v\f\x00-\x1f\x7f\u2028\u2029]+")

# Columns of a table by name.
Table = Mapping[str, Sequence[Any]]

Array = NDArray[np.float64]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class RegionSeries:
    """Regional signals of one run, with all regions of the atlas in atlas order.

    Attributes
    ----------
    data
        Signals, shape (n_samples, n_regions); time runs down the rows, as in the TSV file.
        A column of NaN is a region that is not covered; a row of NaN is a censored sample.
    labels
        Region names, in column order.
    tr
        Sampling period in seconds.
    keep
        Shape (n_samples,); False where the sample was censored.
    """

    data: Array
    labels: tuple[str, ...]
    tr: float
    keep: Mask

    def __post_init__(self) -> None:
        if self.data.ndim != 2 or self.data.shape[1] != len(self.labels):
            raise InputDataError(
                f"Signals have shape {self.data.shape} but there are {len(self.labels)} labels; "
                "expected (n_samples, n_regions)."
            )
        if self.keep.shape != self.data.shape[:1]:
            raise InputDataError(
                f"The censoring mask has shape {self.keep.shape} for {len(self.data)} samples."
            )
        check_region_names(self.labels, "A table of signals")
        if not self.tr > 0:
            raise InputDataError(f"The sampling period must be above 0 s, not {self.tr}.")
        partly: Mask = np.logical_and(~np.isfinite(self.data[self.keep]).all(axis=0), self.covered)
        if partly.any():
            names = [self.labels[region] for region in np.flatnonzero(partly)]
            raise InputDataError(
                f"Non-finite values in uncensored samples of {count_noun(len(names), 'region')} "
                f"({join_items(names, most=5)}); expected a whole column of n/a (not covered) or "
                "none."
            )

    @property
    def covered(self) -> Mask:
        """Shape (n_regions,); False where the region has no signal at all."""
        covered: Mask = np.logical_not(np.isnan(self.data[self.keep]).all(axis=0))
        return covered


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Training pairs: ``n_lags`` past samples and the sample that follows them.

    Attributes
    ----------
    history
        Shape (n_windows, n_lags, n_regions); the most recent sample is last.
    target
        Shape (n_windows, n_regions).
    position
        Shape (n_windows,); index of the target sample, counted through all runs.
    tr
        Sampling period (s).
    """

    history: Array
    target: Array
    position: NDArray[np.int64]
    tr: float = 1.0

    def __len__(self) -> int:
        return len(self.target)

    @property
    def n_lags(self) -> int:
        """Number of past samples in a window."""
        return int(self.history.shape[1])

    def take(self, chosen: Mask | slice) -> Windows:
        """Return the chosen windows."""
        return Windows(self.history[chosen], self.target[chosen], self.position[chosen], self.tr)


@dataclass(frozen=True, slots=True, eq=False)
class ECResult:
    """A relation between regions: effective connectivity, a Jacobian, a correlation.

    Attributes
    ----------
    matrix
        Shape (n_regions, n_regions); ``matrix[source, target]`` is the mean change of *target*
        one step after *source* was perturbed. This is the only orientation used in the code.
        Rows and columns of NaN belong to regions that are not covered.
    labels
        Region names of rows and columns.
    """

    matrix: Array
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.matrix.shape != (len(self.labels), len(self.labels)):
            raise InputDataError(
                f"The matrix has shape {self.matrix.shape} but there are {len(self.labels)} "
                "labels; expected (n_regions, n_regions)."
            )
        check_region_names(self.labels, "A matrix")


@dataclass(frozen=True, slots=True, eq=False)
class GroupEC:
    """Mean and spread of the maps of a group of subjects, edge by edge.

    Attributes
    ----------
    mean, sd, n_subjects
        Shape (n_regions, n_regions), indexed ``[source, target]``: mean, sample standard
        deviation (n - 1), and the number of subjects with the edge. Edges of fewer subjects than
        required are NaN in ``mean`` and ``sd``.
    labels
        Region names.
    """

    mean: Array
    sd: Array
    n_subjects: NDArray[np.int64]
    labels: tuple[str, ...]


class ObservationFields(TypedDict):
    """The fields of :class:`Observation` as stored in JSON."""

    gain: bool
    gain_evidence: float
    delay_sd: float
    delay_evidence: float
    precision: Sequence[float]
    band: Sequence[float] | None
    own: float
    delay_benefit: float
    delay_over_var: float
    noise: float
    noise_evidence: float
    delays: Mapping[str, Sequence[float]] | None
    map_spread: float
    map_coefficients: Sequence[float]
    log_widths: Sequence[float]
    width_evidence: float
    delay_doubt: float
    expected_delay_evidence: float


@dataclass(frozen=True, slots=True)
class DelayPrior:
    """Normal prior of the delays of regions, in samples.

    Attributes
    ----------
    mean, sd
        Mean and standard deviation of each region.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Sequence[float]] | None) -> DelayPrior | None:
        """Return the prior from its fields, as stored in JSON; None where there is none."""
        return None if fields is None else cls(tuple(fields["mean"]), tuple(fields["sd"]))

    @property
    def spread(self) -> float:
        """Root mean square deviation of the delays from their mean over regions."""
        return float(np.sqrt(np.var(self.mean) + np.mean(np.square(self.sd))))


@dataclass(frozen=True, slots=True)
class Observation:
    """How the signals depend on the state, as chosen from the data; a refit takes it over.

    Attributes
    ----------
    gain
        Whether all regions share an unknown gain.
    gain_evidence
        Log likelihood that the free gain adds, less the penalty for its parameters (nats).
    delay_sd
        Spread of the delays, in samples; 0 where there are none.
    delay_evidence
        Log evidence for delays against no delays (nats); NaN where delays were not tested.
    precision
        Precision of the symmetric and of the antisymmetric part of the relative drift.
    band
        Passband in radians per sample; None where all frequencies have power.
    own
        Autoregression of the process whose spectrum a fit with a free gain starts from.
    delay_benefit, delay_over_var
        Log likelihood of held-out stretches with delays over that without, and over that of a VAR
        of one lag (nats); NaN where it was not asked.
    noise
        Variance of white measurement noise over that of the signals in the band.
    noise_evidence
        Log likelihood that the noise adds (nats); NaN without a common gain.
    delays
        Prior of the delays from a map of delays; None if all regions share one, of mean 0.
    map_spread, map_coefficients
        Spread of the delays about the map, and change with one standard deviation of each of its
        covariates (s); NaN and empty without a map.
    log_widths
        Logarithm of the width of the haemodynamic response of each region, relative to the common
        one; empty if responses have equal widths.
    width_evidence
        Log posterior that these widths add (nats); NaN where they were not tested.
    delay_doubt
        Root mean square of the delays that cannot be excluded, in samples, where there are none in
        the model; 0 where they were not tested.
    expected_delay_evidence
        Log evidence (nats) that delays of SD 0.5 s would be expected to have; NaN where delays
        were not tested.
    """

    gain: bool
    gain_evidence: float
    delay_sd: float
    delay_evidence: float
    precision: tuple[float, float]
    band: tuple[float, float] | None
    own: float
    delay_benefit: float = float("nan")
    delay_over_var: float = float("nan")
    noise: float = 0.0
    noise_evidence: float = float("nan")
    delays: DelayPrior | None = None
    map_spread: float = float("nan")
    map_coefficients: tuple[float, ...] = ()
    log_widths: tuple[float, ...] = ()
    width_evidence: float = float("nan")
    delay_doubt: float = 0.0
    expected_delay_evidence: float = float("nan")

    @property
    def is_plain(self) -> bool:
        """Whether the signals are treated as the state itself."""
        return not self.gain and self.delay_sd == 0

    @classmethod
    def from_fields(cls, fields: ObservationFields) -> Observation:
        """Return the observation model from its fields, as stored in JSON."""
        band = fields["band"]
        return cls(
            gain=bool(fields["gain"]),
            gain_evidence=float(fields["gain_evidence"]),
            delay_sd=float(fields["delay_sd"]),
            delay_evidence=float(fields["delay_evidence"]),
            precision=(float(fields["precision"][0]), float(fields["precision"][1])),
            band=None if band is None else (float(band[0]), float(band[1])),
            own=float(fields["own"]),
            delay_benefit=float(fields["delay_benefit"]),
            delay_over_var=float(fields["delay_over_var"]),
            noise=float(fields["noise"]),
            noise_evidence=float(fields["noise_evidence"]),
            delays=DelayPrior.from_fields(fields.get("delays")),
            map_spread=float(fields.get("map_spread", float("nan"))),
            map_coefficients=tuple(fields.get("map_coefficients", ())),
            log_widths=tuple(fields.get("log_widths", ())),
            width_evidence=float(fields.get("width_evidence", float("nan"))),
            delay_doubt=float(fields.get("delay_doubt", 0.0)),
            expected_delay_evidence=float(fields.get("expected_delay_evidence", float("nan"))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Quality metrics of a result; NaN where one is not available.

    Attributes
    ----------
    r2, r2_persistence, r2_own_history, r2_ridge_var
        R2 of one-step prediction of held-out samples, mean over regions: by the surrogate, by
        the last sample repeated, by each region's own last three samples, and by a ridge VAR of
        one lag.
    skill_persistence, skill_own_history, skill_ridge_var
        Share by which the surrogate's squared error is below that of each of the three.
    model_fc_r
        Correlation of the free-running surrogate's functional connectivity with the data's.
    free_run_diverged
        Whether the free run grew without bound, so that there is no such correlation.
    model_fc_r_held_out, fc_r_held_out
        The same for held-out samples alone, and the correlation of the functional connectivity
        of the training samples with theirs as a yardstick.
    model_fc_ratio
        SD over pairs of the surrogate's functional connectivity over that of the data's: how
        much of its strength the surrogate explains, whatever the correlation.
    spectral_radius
        Spectral radius of the linear dynamics with all lags, or of the mean Jacobian; stable
        below 1.
    fc_r
        Correlation of the EC with functional connectivity, off the diagonal.
    antisymmetric_share
        Share of the energy of the EC (off the diagonal) that lies in ``(E - E') / 2``.
    r_split, r_split_symmetric, r_split_antisymmetric
        Agreement of the maps of the first and the second half: of all entries, and of the parts.
        Where ``shrunk``, the deviations from the group's map are compared.
    shrunk
        Whether the map is shrunk towards that of a group.
    own_share, own_share_symmetric, own_share_antisymmetric
        Weight of the subject's own data in a map that is shrunk towards that of a group, and in
        its parts; NaN without such a prior, and where no map without prior can be compared with.
    r_others, r_others_antisymmetric
        Correlation of the map without prior with the map of the group without the subject, and of
        their antisymmetric parts; NaN without such a prior, and where there is no map without
        prior.
    r_group, r_group_antisymmetric
        Correlation of the map with that of the group without the subject, and of their
        antisymmetric parts; NaN without such a prior.
    r_halves, r_halves_antisymmetric
        Correlation of the maps without prior of both halves, and of their antisymmetric parts; NaN
        where there are none.
    r_split_oriented
        Agreement of the antisymmetric part of the oriented map; NaN where it was not requested.
    r_seed, r_seed_symmetric, r_seed_antisymmetric
        Mean agreement of the maps of the members of an ensemble.
    direction_ratio, direction_p, direction_supported
        Energy of the antisymmetric lagged covariance over that of the same data with blocks of
        time reversed at random, its p value, and whether both pass their thresholds.
    delay_share, delay_sd
        Share of that antisymmetric part which a fixed delay of each region would explain, beyond
        what as many free parameters explain by chance, and the spread of the delays in seconds.
    common_gain
        Whether the map allows for an unknown gain over frequency that all regions share (a filter,
        the haemodynamic response).
    removed_delay_sd
        Spread of the regional delays that the map allows for (s); 0 where it allows for none, NaN
        where the surrogate has no delays.
    delay_evidence, delay_benefit
        Log evidence for regional delays, and the log likelihood of held-out stretches with them
        over that without (nats), whether the map allows for them or not; NaN where they were not
        looked for, and the second where the evidence is too low.
    expected_delay_evidence
        Log evidence (nats) that delays of SD 0.5 s would be expected to have in such data: near 0
        where delays cannot be told from connections, so that none could have been found; NaN where
        none were looked for.
    stripe_share
        Share of the variance of the map (off the diagonal) that the means of its rows or of its
        columns explain, whichever explain more.
    r_split_delays
        Correlation of the delays of regions that the two halves of the data show, each without a
        map of delays; NaN where the map allows for none, or for those of a group.
    r_undelayed_antisymmetric
        Correlation of the antisymmetric part of the map with that of the map without delays; NaN
        where the map allows for none.
    r_unshrunk, r_unshrunk_antisymmetric
        Correlation of the map with that of the same fit almost without prior, and of their
        antisymmetric parts: low where most of what the data say was taken for noise; NaN where
        there is no such map.
    antisymmetric_share_unshrunk
        Share of the energy of the map almost without prior that lies in its antisymmetric part.
        Noise divides its energy equally between both parts, so that a share near one half means
        noise or a strongly directed map; NaN where there is no such map.
    high_frequency_share
        Share of the signals' power above HIGH_FREQUENCY; NaN where sampling is too slow to tell.
    n_windows, n_train, n_valid, n_regions
        Number of windows in total, for training and held out; number of regions in the model.
    effective_windows, samples_per_parameter
        Number of windows with the same information if the signals were white (windows divided by
        the correlation time of the signals), and this number over that of the linear weights that
        predict one region: regions times lags with fitted weights between regions. It is the same
        as the samples of all regions over all weights. Weights of networks are not counted.
    minutes
        Time that the windows cover (min).
    expected_r, expected_r_lower, expected_r_upper
        Correlation with the truth of simulated maps of comparable quality, and its 90 %
        interval; NaN where no comparable data were simulated with this surrogate.
    expected_r_antisymmetric, expected_r_antisymmetric_lower, expected_r_antisymmetric_upper
        The same for the antisymmetric part.
    minutes_kept
        Minutes of uncensored samples of all runs.
    mean_fd, censored_share
        Mean framewise displacement (mm) over runs, and share of the samples that are censored.
    covered_share, lowest_coverage
        Share of the regions of the atlas that every run covers, and the lowest coverage (share of
        voxels with signal) of a region in the model.
    band_share
        Share of the frequencies up to the Nyquist frequency that the map is fitted to.
    """

    r2: float
    r2_persistence: float
    r2_own_history: float
    r2_ridge_var: float
    skill_persistence: float
    skill_own_history: float
    skill_ridge_var: float
    model_fc_r: float
    model_fc_r_held_out: float
    fc_r_held_out: float
    model_fc_ratio: float
    spectral_radius: float
    fc_r: float
    antisymmetric_share: float
    r_split: float
    r_split_symmetric: float
    r_split_antisymmetric: float
    shrunk: bool = False
    own_share: float = float("nan")
    own_share_symmetric: float = float("nan")
    own_share_antisymmetric: float = float("nan")
    r_others: float = float("nan")
    r_others_antisymmetric: float = float("nan")
    r_group: float = float("nan")
    r_group_antisymmetric: float = float("nan")
    r_halves: float = float("nan")
    r_halves_antisymmetric: float = float("nan")
    r_split_oriented: float = float("nan")
    r_seed: float
    r_seed_symmetric: float
    r_seed_antisymmetric: float
    direction_ratio: float
    direction_p: float
    direction_supported: bool
    delay_share: float
    delay_sd: float
    high_frequency_share: float
    free_run_diverged: bool = False
    common_gain: bool = False
    removed_delay_sd: float = float("nan")
    delay_evidence: float = float("nan")
    delay_benefit: float = float("nan")
    expected_delay_evidence: float = float("nan")
    r_split_delays: float = float("nan")
    r_undelayed_antisymmetric: float = float("nan")
    r_unshrunk: float = float("nan")
    r_unshrunk_antisymmetric: float = float("nan")
    antisymmetric_share_unshrunk: float = float("nan")
    stripe_share: float = float("nan")
    n_windows: int
    n_train: int
    n_valid: int
    n_regions: int
    effective_windows: float
    samples_per_parameter: float
    minutes: float
    expected_r: float = float("nan")
    expected_r_lower: float = float("nan")
    expected_r_upper: float = float("nan")
    expected_r_antisymmetric: float = float("nan")
    expected_r_antisymmetric_lower: float = float("nan")
    expected_r_antisymmetric_upper: float = float("nan")
    minutes_kept: float = float("nan")
    mean_fd: float = float("nan")
    censored_share: float = float("nan")
    covered_share: float = float("nan")
    lowest_coverage: float = float("nan")
    band_share: float = float("nan")

    @property
    def expected_r_interval(self) -> tuple[float, float]:
        """The 90 % interval of the expected accuracy."""
        return self.expected_r_lower, self.expected_r_upper


@dataclass(frozen=True, slots=True)
class Grades:
    """Which statements about a result hold (:mod:`npi_bids.assessment.grades`).

    Attributes
    ----------
    data
        ``good``, ``good as far as known``, ``limited`` or ``poor``: the lowest of length, motion,
        coverage and spectrum.
    connections
        What may be read of the map: ``single connections``, ``strengths and networks``,
        ``group averages`` or ``nothing``; ``not rated`` where nothing comparable was simulated.
    direction
        The same for which region influences which; or ``not supported``, where the map is to be
        read as undirected.
    data_reasons
        What lowers the grade of the data, and what of it is not known; one phrase each, the most
        serious first.
    """

    data: str
    connections: str
    direction: str
    data_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far a result can be trusted.

    Attributes
    ----------
    label
        ``pass``, ``caution`` or ``fail``.
    reasons
        One phrase each, with the metric and its threshold; the most serious first. Empty for
        ``pass``.
    """

    label: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Uncertainty:
    """Uncertainty of every entry of a map; all matrices are indexed ``[source, target]``.

    Attributes
    ----------
    standard_error
        Shape (n_regions, n_regions), in the unit of the map.
    lower, upper
        Ends of the 95 % interval.
    p, q
        Two-sided p value against an entry of 0, and the same after Benjamini-Hochberg over all
        entries off the diagonal.
    method
        ``posterior`` (closed form) or ``bootstrap``.
    """

    standard_error: Array
    lower: Array
    upper: Array
    p: Array
    q: Array
    method: str


def check_region_names(labels: Sequence[str], owner: str) -> None:
    """Refuse names of regions that no table can hold, or that repeat.

    Parameters
    ----------
    labels
        The names.
    owner
        What the names belong to; begins the message.

    Raises
    ------
    InputDataError
        A name is empty, ``n/a`` (which stands for a missing value), holds a tab or a line break,
        begins or ends with a blank, or repeats.
    """
    _check_region_names(tuple(labels), owner)


@lru_cache(maxsize=16)  # the matrices of a group, thousands of them, have the same names
def _check_region_names(labels: tuple[str, ...], owner: str) -> None:
    for number, label in enumerate(labels, start=1):
        if label in ("", "n/a") or label != label.strip() or not _ONE_LINE.fullmatch(label):
            raise InputDataError(
                f"{owner} calls region {number} {label!r}; expected a name of one line, without "
                "tabs and without blanks at its ends, that is not n/a."
            )
    counts = Counter(labels)
    if repeated := [label for label, count in counts.items() if count > 1][:5]:
        raise InputDataError(f"{owner} has region names that repeat: {', '.join(repeated)}.")
