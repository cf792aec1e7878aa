"""Grades promise what comparable simulations keep, and nothing that direction forbids."""

from dataclasses import replace

import pytest

from npi_bids.assessment.grades import (
    AVERAGES,
    GOOD,
    LIMITED,
    NOT_RATED,
    NOT_SUPPORTED,
    NOTHING,
    POOR,
    SINGLE,
    STRENGTHS,
    describe_grades,
    grade,
)
from npi_bids.assessment.verdict import VerdictSettings
from npi_bids.records import Verdict

PASS, FAIL = Verdict("pass", ()), Verdict("fail", ("low-passed",))


@pytest.fixture
def graded(result):
    def make(verdict=PASS, **changes):
        best = {"direction_ratio": 3.0, "direction_supported": True, "expected_r": 0.95}
        return grade(replace(result.quality, **(best | changes)), verdict, VerdictSettings())

    return make


@pytest.mark.parametrize(
    ("expected_r", "connections"),
    [(0.95, SINGLE), (0.88, SINGLE), (0.87, STRENGTHS), (0.6, STRENGTHS), (0.5, AVERAGES),
     (0.41, NOTHING), (float("nan"), NOT_RATED)],
)  # fmt: skip
def test_connections_are_graded_by_the_expected_accuracy(graded, expected_r, connections):
    grades = graded(expected_r=expected_r)
    assert grades.connections == connections
    readable = connections in {SINGLE, STRENGTHS, AVERAGES}
    assert grades.direction == (connections if readable else NOT_SUPPORTED)


@pytest.mark.parametrize(
    "changes",
    [{"direction_ratio": 1.3}, {"delay_share": 0.6, "delay_sd": 1.0, "removed_delay_sd": 0.0}],
)
def test_without_clear_direction_only_averages_may_be_read(graded, changes):
    assert graded(**changes).connections == AVERAGES


def test_direction_that_may_be_delays_is_not_read_from_averages_either(graded):
    grades = graded(delay_share=0.6, delay_sd=1.0, removed_delay_sd=0.0)
    assert grades.direction == NOT_SUPPORTED


def test_delays_that_are_modelled_do_not_lower_the_grade(graded):
    grades = graded(delay_share=0.6, delay_sd=1.0, removed_delay_sd=1.0)
    assert grades.connections == SINGLE


def test_no_direction_is_read_where_the_signals_do_not_support_it(graded):
    assert graded(direction_supported=False).direction == NOT_SUPPORTED


def test_a_map_that_fails_promises_nothing(graded):
    grades = graded(FAIL)
    assert (grades.connections, grades.direction) == (NOTHING, NOT_SUPPORTED)


@pytest.mark.parametrize(
    ("changes", "data"),
    [({}, GOOD), ({"samples_per_parameter": 1.0}, LIMITED),
     ({"samples_per_parameter": 0.3}, POOR),
     ({"high_frequency_share": 0.001, "common_gain": True}, LIMITED),
     ({"high_frequency_share": 0.001, "common_gain": False}, POOR)],
)  # fmt: skip
def test_data_are_graded_by_length_and_spectrum(graded, changes, data):
    assert graded(**({"samples_per_parameter": 10.0} | changes)).data == data


def test_every_grade_has_a_meaning(graded):
    for verdict in (PASS, FAIL):
        for expected_r in (0.95, 0.7, 0.5, 0.1, float("nan")):
            for _, _, meaning in describe_grades(graded(verdict, expected_r=expected_r)):
                assert meaning.endswith(".")
