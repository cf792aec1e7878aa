"""Grades of a result: which statements about data, connections and direction hold.

Each grade of the connections is a promise, kept by nine of ten simulated maps of systems that the
expected accuracy was not fitted to (``python -m benchmarks.expected fit`` prints the table).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npi_bids.assessment.verdict import FAIL, VerdictSettings, may_be_delays
from npi_bids.records import Grades, Quality, Verdict

GOOD, LIMITED, POOR = "good", "limited", "poor"
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
# Effective samples per parameter below which a map is mostly its prior.
_MIN_SAMPLES = 0.5


@dataclass(frozen=True, slots=True)
class Promise:
    """What a grade of the connections promises.

    Attributes
    ----------
    grade
        Name of the grade.
    min_expected
        Least expected correlation with the truth.
    reached
        Correlation with the truth that such a map reaches.
    meaning
        What may be read from the map.
    """

    grade: str
    min_expected: float
    reached: float
    meaning: str


PROMISES = (
    Promise(SINGLE, 0.88, 0.8, "Single connections may be read."),
    Promise(
        STRENGTHS, 0.60, 0.5,
        "Strong connections, absolute regional strengths and means over networks may be read; "
        "weak connections may not.",
    ),
    Promise(
        AVERAGES, 0.42, 0.25,
        "Only averages over many subjects may be read; this map alone shows little.",
    ),
)  # fmt: skip
_NOTHING_MEANING = "Nothing may be read from this map alone."
_NOT_RATED_MEANING = "No comparable simulation says how accurate such a map is."
_DIRECTION_MEANING = {
    SINGLE: "The direction of single connections may be read.",
    STRENGTHS: "The direction of strong connections and between networks may be read with care.",
    AVERAGES: "Direction may be read from averages over many subjects.",
    NOT_SUPPORTED: "Direction may not be read: read the map as undirected.",
}
_DATA_MEANING = {
    GOOD: "The scan is long enough for its number of regions, and its spectrum is complete.",
    LIMITED: "The scan is short for its number of regions, or a filter took part of its spectrum.",
    POOR: "The scan is far too short for its number of regions, or a filter was not allowed for.",
    NOT_RATED: "The length of the scan is not compared with the number of free parameters.",
}


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
    return Grades(
        data=_grade_data(quality, settings),
        connections=connections,
        direction=_grade_direction(quality, connections, settings),
    )


def describe_grades(grades: Grades) -> tuple[tuple[str, str, str], ...]:
    """Return subject, grade and meaning of each grade, for pages and tables."""
    meanings = {promise.grade: promise.meaning for promise in PROMISES}
    meanings |= {NOTHING: _NOTHING_MEANING, NOT_RATED: _NOT_RATED_MEANING}
    return (
        ("data", grades.data, _DATA_MEANING[grades.data]),
        ("connections", grades.connections, meanings[grades.connections]),
        ("direction", grades.direction, _DIRECTION_MEANING[grades.direction]),
    )


def _grade_data(quality: Quality, settings: VerdictSettings) -> str:
    if np.isnan(quality.samples_per_parameter):
        return NOT_RATED
    filtered = quality.high_frequency_share < settings.min_high_frequency
    if quality.samples_per_parameter < _MIN_SAMPLES or (filtered and not quality.common_gain):
        return POOR
    if quality.samples_per_parameter < settings.good_samples or filtered:
        return LIMITED
    return GOOD


def _grade_connections(quality: Quality, verdict: Verdict, settings: VerdictSettings) -> str:
    if verdict.label == FAIL:
        return NOTHING
    if np.isnan(quality.expected_r):
        return NOT_RATED
    clear = _direction_is_clear(quality) and not may_be_delays(quality, settings)
    for promise in PROMISES:
        if quality.expected_r >= promise.min_expected and (clear or promise.grade == AVERAGES):
            return promise.grade
    return NOTHING


def _direction_is_clear(quality: Quality) -> bool:
    return quality.direction_supported and quality.direction_ratio >= _CLEAR_DIRECTION


def _grade_direction(quality: Quality, connections: str, settings: VerdictSettings) -> str:
    if not quality.direction_supported or connections in {NOTHING, NOT_RATED}:
        return NOT_SUPPORTED
    if may_be_delays(quality, settings):  # which do not average out over subjects
        return NOT_SUPPORTED
    return connections
