"""Grades of a result: which statements about data, connections and direction hold.

Each grade of the connections and of the direction is a promise, kept by nine of ten simulated
maps, and by nine of ten of almost every type of system, even where the expected accuracy was not
fitted to that type (``python -m benchmarks.expected fit`` makes the table).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from npi_bids.assessment.settings import HIGH_FREQUENCY, VerdictSettings
from npi_bids.assessment.verdict import FAIL, may_be_delays
from npi_bids.records import Grades, Quality, Verdict
from npi_bids.surrogates.selection_criteria import DELAY_EVIDENCE, MIN_OBSERVATION_REGIONS
from npi_bids.wording import fill_in

GOOD, LIMITED, POOR = "good", "limited", "poor"
# Nothing is below its target, but not every criterion could be rated.
AS_FAR_AS_KNOWN = "good as far as known"
SINGLE, STRENGTHS, AVERAGES, NOTHING = (
    "single connections",
    "strengths and networks",
    "group averages",
    "nothing",
)
NOT_RATED, NOT_SUPPORTED = "not rated", "not supported"
# Ratio of the time-reversal test that single maps need: whole-brain models without direction
# reach 1.2 in one of seven cases.
_CLEAR_DIRECTION = 1.5
# Least correlation of the antisymmetric part of a map with that of the map without delays, from
# which a map with modelled delays may be averaged: errors of delays do not average out over
# subjects. Of 19 simulated maps below it, eight correlated less than .25 with the truth.
_MIN_UNDELAYED = 0.5
# Least evidence (nats) that delays of SD 0.5 s would have to have for their absence to count: odds
# of 20 to 1. In simulations with such delays, maps below it broke their promise in half of the
# cases (python -m benchmarks.delay_grades).
_MIN_EXPECTED_EVIDENCE = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLimits:
    """Limits of the grade of the data: up to ``good_...`` data are good, beyond the other poor.

    Attributes
    ----------
    min_samples
        Effective samples per parameter below which a map is mostly its prior; the target is that
        of the verdict.
    min_minutes
        Minutes that are kept; below 4 subjects are commonly excluded (Satterthwaite et al. 2013,
        doi:10.1016/j.neuroimage.2012.08.052; Parkes et al. 2018,
        doi:10.1016/j.neuroimage.2017.12.073).
    good_fd, max_fd
        Mean framewise displacement (mm): the strict and the lenient threshold at which Power et
        al. (2014, doi:10.1016/j.neuroimage.2013.08.048; 2012,
        doi:10.1016/j.neuroimage.2011.10.018) censor samples. Parkes et al. exclude subjects from
        0.25 mm (strict) or 0.55 mm (lenient) on.
    good_censored, max_censored
        Share of censored samples: above a fifth Parkes et al. (strict) exclude subjects; above a
        half most of the scan is lost.
    good_covered, min_covered
        Share of the regions that are covered. Regions that are not in the model act as common
        causes of those that are; these two are conventions.
    good_coverage
        Coverage of the least covered region in the model, the default of ``--min-coverage``.
    good_band
        Share of the frequencies up to the Nyquist frequency that the map is fitted to. A band
        holds information in proportion to its width: in simulations band-pass filtered at 0.01 to
        0.1 Hz, 400 samples reached r = .74 instead of .80.
    """

    min_samples: float = 0.5
    min_minutes: float = 4.0
    good_fd: float = 0.2
    max_fd: float = 0.5
    good_censored: float = 0.2
    max_censored: float = 0.5
    good_covered: float = 0.95
    min_covered: float = 0.8
    good_coverage: float = 0.5
    good_band: float = 0.5


DATA_LIMITS = DataLimits()


@dataclass(frozen=True, slots=True)
class Promise:
    """What a grade of the connections promises.

    Attributes
    ----------
    grade
        Name of the grade.
    min_expected
        Least expected correlation with the truth.
    min_expected_antisymmetric, min_direction_split
        Least expected correlation of the antisymmetric part with the truth, and least correlation
        of the antisymmetric parts of the maps of both halves. Below the second, delays that are
        not modelled, or are modelled wrongly, account for most direction of simulated whole-brain
        models, whose lags hold none. Averages require both for their direction only.
    reached
        Correlation with the truth that such a map reaches, and its antisymmetric part where
        direction may be read.
    meaning
        What may be read from the map.
    """

    grade: str
    min_expected: float
    min_expected_antisymmetric: float
    min_direction_split: float
    reached: float
    meaning: str


PROMISES = (
    Promise(SINGLE, 0.88, 0.86, 0.3, 0.8, "Single connections may be read."),
    Promise(
        STRENGTHS, 0.60, 0.60, 0.3, 0.5,
        "Strong connections, absolute regional strengths and means over networks may be read; "
        "weak connections may not.",
    ),
    Promise(
        AVERAGES, 0.42, 0.40, 0.2, 0.25,
        "Only averages over many subjects may be read; this map alone shows little.",
    ),
)  # fmt: skip
_NOTHING_MEANING = "Nothing may be read from this map alone."
_NOT_RATED_MEANING = "No comparable simulation says how accurate such a map is."
_DIRECTION_MEANING = {
    SINGLE: "The direction of single connections may be read.",
    STRENGTHS: "The direction of strong connections and between networks may be read with care.",
    AVERAGES: "Direction may be read from averages over many subjects.",
    NOT_RATED: "The signals support direction, but no comparable simulation says how accurate "
    "that of the map is.",
    NOT_SUPPORTED: "Direction may not be read: read the map as undirected.",
}
_DATA_MEANING = {
    GOOD: "Length, motion, coverage and spectrum meet their targets.",
    NOT_RATED: "The length of the scan is not compared with the number of free parameters.",
}
_NOT_KNOWN = "not known"

DataRule = tuple[str, Callable[[Quality, VerdictSettings], bool], str]

# Grade, condition, and text, which takes its numbers from quality (q), verdict settings (s) and
# limits (d). A comparison with NaN is False, so that each criterion that may be NaN has a rule for
# that.
_DATA_RULES: tuple[DataRule, ...] = (
    (
        POOR,
        lambda q, _: q.samples_per_parameter < DATA_LIMITS.min_samples,
        "the scan is far too short for its number of regions ({q.samples_per_parameter!n} "
        "effective samples per parameter; target: at least {s.good_samples:g}, poor below "
        "{d.min_samples:g})",
    ),
    (
        POOR,
        lambda q, _: q.minutes_kept < DATA_LIMITS.min_minutes,
        "the scan is too short ({q.minutes_kept:.1f} min are kept; target: at least "
        "{d.min_minutes:g})",
    ),
    (
        POOR,
        lambda q, _: q.mean_fd > DATA_LIMITS.max_fd,
        "head motion is high (mean framewise displacement {q.mean_fd!n} mm; target: at most "
        "{d.good_fd:g} mm, poor above {d.max_fd:g} mm)",
    ),
    (
        POOR,
        lambda q, _: q.censored_share > DATA_LIMITS.max_censored,
        "most samples are censored ({q.censored_share:.0%}; target: at most "
        "{d.good_censored:.0%}, poor above {d.max_censored:.0%})",
    ),
    (
        POOR,
        lambda q, _: q.covered_share < DATA_LIMITS.min_covered,
        "many regions are not covered ({q.covered_share:.0%} are; target: at least "
        "{d.good_covered:.0%}, poor below {d.min_covered:.0%})",
    ),
    (
        POOR,
        lambda q, s: q.high_frequency_share < s.min_high_frequency and not q.common_gain,
        "the signals are low-passed, and the map does not account for it "
        "({q.high_frequency_share:.1%} of the power above {f:g} Hz; target: at least "
        "{s.min_high_frequency:.0%})",
    ),
    (
        LIMITED,
        lambda q, s: DATA_LIMITS.min_samples <= q.samples_per_parameter < s.good_samples,
        "the scan is short for its number of regions ({q.samples_per_parameter!n} effective "
        "samples per parameter; target: at least {s.good_samples:g})",
    ),
    (
        LIMITED,
        lambda q, _: DATA_LIMITS.good_fd < q.mean_fd <= DATA_LIMITS.max_fd,
        "the head moved (mean framewise displacement {q.mean_fd!n} mm; target: at most "
        "{d.good_fd:g} mm)",
    ),
    (
        LIMITED,
        lambda q, _: DATA_LIMITS.good_censored < q.censored_share <= DATA_LIMITS.max_censored,
        "many samples are censored ({q.censored_share:.0%}; target: at most "
        "{d.good_censored:.0%})",
    ),
    (
        LIMITED,
        lambda q, _: DATA_LIMITS.min_covered <= q.covered_share < DATA_LIMITS.good_covered,
        "some regions are not covered ({q.covered_share:.0%} are; target: at least "
        "{d.good_covered:.0%})",
    ),
    (
        LIMITED,
        lambda q, _: q.lowest_coverage < DATA_LIMITS.good_coverage,
        "a region in the model has signal in only {q.lowest_coverage:.0%} of its voxels (target: "
        "at least {d.good_coverage:.0%})",
    ),
    (
        LIMITED,
        lambda q, s: q.high_frequency_share < s.min_high_frequency and q.common_gain,
        "the signals are low-passed, which the map accounts for ({q.high_frequency_share:.1%} of "
        "the power above {f:g} Hz; target: at least {s.min_high_frequency:.0%})",
    ),
    (
        LIMITED,
        lambda q, _: q.band_share < DATA_LIMITS.good_band,
        "only {q.band_share:.0%} of the frequencies are left (target: at least {d.good_band:.0%})",
    ),
    (
        _NOT_KNOWN,
        lambda q, _: np.isnan(q.mean_fd),
        "head motion is not known (no framewise displacement)",
    ),
    (
        _NOT_KNOWN,
        lambda q, _: np.isnan(q.censored_share),
        "the share of censored samples is not known",
    ),
    (
        _NOT_KNOWN,
        lambda q, _: np.isnan(q.covered_share),
        "the share of covered regions is not known",
    ),
    (
        _NOT_KNOWN,
        lambda q, _: np.isnan(q.high_frequency_share),
        "whether the signals are low-passed is not known (no power above {f:g} Hz can be seen at "
        "this TR, or no stretch without a gap is long enough)",
    ),
)


def grade(quality: Quality, verdict: Verdict, settings: VerdictSettings) -> Grades:
    """Grade data, connections and direction of a result.

    Parameters
    ----------
    quality
        Quality metrics.
    verdict
        Verdict; a map that fails is graded as nothing.
    settings
        Thresholds of the verdict.

    Returns
    -------
    Grades
        Grades by name; :func:`describe_grades` states what they mean.
    """
    connections = _grade_connections(quality, verdict, settings)
    data, data_reasons = _grade_data(quality, settings)
    return Grades(
        data=data,
        connections=connections,
        direction=_grade_direction(quality, connections, settings),
        data_reasons=data_reasons,
    )


def describe_grades(grades: Grades) -> tuple[tuple[str, str, str], ...]:
    """Return subject, grade and meaning of each grade, for pages and tables."""
    meanings = {promise.grade: promise.meaning for promise in PROMISES}
    meanings |= {NOTHING: _NOTHING_MEANING, NOT_RATED: _NOT_RATED_MEANING}
    return (
        ("data", grades.data, _describe_data(grades)),
        ("connections", grades.connections, meanings[grades.connections]),
        ("direction", grades.direction, _DIRECTION_MEANING[grades.direction]),
    )


def grade_letter(connections: str) -> str:
    """Return the letter of a grade of connections, A to D; a dash where it is not rated.

    >>> grade_letter(SINGLE), grade_letter(NOTHING)
    ('A', 'D')
    """
    return dict(zip((SINGLE, STRENGTHS, AVERAGES, NOTHING), "ABCD", strict=True)).get(
        connections, "\u2013"
    )


def explain_undirected(quality: Quality, grades: Grades, settings: VerdictSettings) -> str:
    """Return why direction may not be read from a map; empty if it may, or is not rated."""
    if grades.direction != NOT_SUPPORTED:
        return ""
    if not quality.direction_supported:
        return "the signals do not support direction"
    if may_be_delays(quality, settings):
        return "delays between regions may explain the direction of the signals"
    if grades.connections == NOTHING and _depends_on_delays(quality):
        return "the modelled delays decide which region leads"
    if grades.connections == NOTHING:
        return "too little of it can be trusted for its direction to be read"
    return _doubt_direction(quality, PROMISES[-1], settings)


def _describe_data(grades: Grades) -> str:
    """Return the meaning of the grade of the data: what it rests on."""
    stated = [_DATA_MEANING[grades.data]] if grades.data in _DATA_MEANING else []
    if grades.data == AS_FAR_AS_KNOWN:
        stated = ["Everything that is known meets its target"]
    text = "; ".join([*(part.rstrip(".") for part in stated), *grades.data_reasons])
    return f"{text[:1].upper()}{text[1:]}."


def _grade_data(quality: Quality, settings: VerdictSettings) -> tuple[str, tuple[str, ...]]:
    """Return the grade of the data, the lowest of its criteria, and what lowers it."""
    reasons = [
        (level, fill_in(text, q=quality, s=settings, d=DATA_LIMITS, f=HIGH_FREQUENCY))
        for level, applies, text in _DATA_RULES
        if applies(quality, settings)
    ]
    levels = {level for level, _ in reasons}
    texts = tuple(text for _, text in reasons)
    if np.isnan(quality.samples_per_parameter):
        return NOT_RATED, texts
    for level, label in ((POOR, POOR), (LIMITED, LIMITED), (_NOT_KNOWN, AS_FAR_AS_KNOWN)):
        if level in levels:
            return label, texts
    return GOOD, ()


def _grade_connections(quality: Quality, verdict: Verdict, settings: VerdictSettings) -> str:
    if verdict.label == FAIL:
        return NOTHING
    if np.isnan(quality.expected_r):
        return NOT_RATED
    for promise in PROMISES:
        if promise.grade == AVERAGES:
            may_be_read = not _depends_on_delays(quality)
        else:
            may_be_read = not _doubt_direction(quality, promise, settings)
        if may_be_read and quality.expected_r >= promise.min_expected:
            return promise.grade
    return NOTHING


def _depends_on_delays(quality: Quality) -> bool:
    """Return whether modelled delays decide which region leads."""
    undelayed = quality.r_undelayed_antisymmetric
    return quality.removed_delay_sd > 0 and not undelayed >= _MIN_UNDELAYED


def _doubt_direction(quality: Quality, promise: Promise, settings: VerdictSettings) -> str:
    """Return why the direction of a map does not meet a promise; empty if it does.

    Delays count however small their spread appears: simulated whole-brain models whose regions are
    delayed by SD 0.6 s seem to be delayed by 0.2 to 0.4 s.
    """
    halves = quality.r_halves_antisymmetric if quality.shrunk else quality.r_split_antisymmetric
    expected = quality.expected_r_antisymmetric
    doubts = (
        (not quality.direction_supported, "the signals do not support direction"),
        (
            not quality.removed_delay_sd > 0 and quality.delay_share > settings.max_delay_share,
            "delays between regions may explain the direction of the signals",
        ),
        *_doubt_absence_of_delays(quality),
        (
            not quality.direction_ratio >= _CLEAR_DIRECTION,
            "the direction of the signals is weak",
        ),
        (
            not halves >= promise.min_direction_split,
            "the two halves of the data do not agree on the direction",
        ),
        (
            not expected >= promise.min_expected_antisymmetric,
            "too little of its direction is expected to hold",
        ),
    )
    return next((reason for is_doubtful, reason in doubts if is_doubtful), "")


def _doubt_absence_of_delays(quality: Quality) -> tuple[tuple[bool, str], ...]:
    """Return whether regions may have delays that the map does not allow for, and why.

    Where delays were not looked for, as with a surrogate that has none, their evidence is NaN, and
    only the number of regions counts.
    """
    if quality.removed_delay_sd > 0:
        return ()
    shows_delays = quality.delay_evidence >= DELAY_EVIDENCE
    return (
        (
            quality.n_regions < MIN_OBSERVATION_REGIONS,
            f"with fewer than {MIN_OBSERVATION_REGIONS} regions, delays between them cannot be "
            "told from connections (use an atlas with more regions)",
        ),
        (
            quality.expected_delay_evidence < _MIN_EXPECTED_EVIDENCE,
            "delays of half a second between regions could not have been found in these signals, "
            "and may explain their direction (more data, or a shorter TR, would tell)",
        ),
        (
            shows_delays and quality.delay_benefit > 0,
            "the signals show delays between regions that the map does not allow for",
        ),
        (
            # The one-step prediction and held-out stretches can miss delays of smooth signals.
            shows_delays and not quality.delay_benefit > 0,
            "delays between regions explain the signals as well as directed connections do, and "
            "the two cannot be told apart here (a map of delays, --delay-map, may tell)",
        ),
        (
            # Below what the map would need to allow for delays, which short scans cannot reach.
            quality.delay_evidence >= quality.expected_delay_evidence,
            "the signals give as much evidence for delays between regions as delays of half a "
            "second would, which is too little for the map to allow for them (more data, or a map "
            "of delays, --delay-map, may tell)",
        ),
    )


def _grade_direction(quality: Quality, connections: str, settings: VerdictSettings) -> str:
    if not quality.direction_supported or connections == NOTHING:
        return NOT_SUPPORTED
    if may_be_delays(quality, settings):
        return NOT_SUPPORTED
    if connections == AVERAGES and _doubt_direction(quality, PROMISES[-1], settings):
        return NOT_SUPPORTED
    return connections
