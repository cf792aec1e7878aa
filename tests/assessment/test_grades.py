"""Grades promise what comparable simulations keep, and nothing that direction forbids."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from npi_bids.assessment.grades import (
    AS_FAR_AS_KNOWN,
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
    explain_undirected,
    grade,
)
from npi_bids.assessment.settings import VerdictSettings
from npi_bids.records import Verdict

PASS, FAIL = Verdict("pass", ()), Verdict("fail", ("low-passed",))
NAN = float("nan")


BEST = {
    "direction_ratio": 3.0, "direction_supported": True, "expected_r": 0.95,
    "expected_r_antisymmetric": 0.95, "r_split_antisymmetric": 0.8, "n_regions": 20,
}  # fmt: skip


@pytest.fixture
def graded(result):
    def make(verdict=PASS, **changes):
        return grade(replace(result.quality, **(BEST | changes)), verdict, VerdictSettings())

    return make


@pytest.mark.parametrize(
    ("expected_r", "connections"),
    [(0.95, SINGLE), (0.88, SINGLE), (0.87, STRENGTHS), (0.6, STRENGTHS), (0.5, AVERAGES),
     (0.41, NOTHING), (float("nan"), NOT_RATED)],
)  # fmt: skip
def test_connections_are_graded_by_the_expected_accuracy(graded, expected_r, connections):
    grades = graded(expected_r=expected_r)
    assert grades.connections == connections
    assert grades.direction == (NOT_SUPPORTED if connections == NOTHING else connections)


@pytest.mark.parametrize(
    "changes",
    [{"direction_ratio": 1.3}, {"r_split_antisymmetric": 0.25}, {"expected_r_antisymmetric": 0.55},
     {"r_split_antisymmetric": float("nan")},
     {"delay_share": 0.6, "delay_sd": 1.0, "removed_delay_sd": 0.0},
     {"delay_share": 0.6, "delay_sd": 0.2, "removed_delay_sd": 0.0}],
)  # fmt: skip
def test_without_clear_direction_only_averages_may_be_read(graded, changes):
    assert graded(**changes).connections == AVERAGES


@pytest.mark.parametrize(
    ("expected_r_antisymmetric", "grade_name"),
    [(0.86, SINGLE), (0.85, STRENGTHS), (0.60, STRENGTHS), (0.59, AVERAGES)],
)
def test_a_grade_requires_its_direction_to_be_expected(
    graded, expected_r_antisymmetric, grade_name
):
    grades = graded(expected_r_antisymmetric=expected_r_antisymmetric)
    assert (grades.connections, grades.direction) == (grade_name, grade_name)


@pytest.mark.parametrize(
    ("changes", "direction"),
    [({}, AVERAGES), ({"expected_r_antisymmetric": 0.39}, NOT_SUPPORTED),
     ({"r_split_antisymmetric": 0.2}, AVERAGES),
     ({"r_split_antisymmetric": 0.19}, NOT_SUPPORTED),
     ({"direction_ratio": 1.4}, NOT_SUPPORTED),
     ({"delay_share": 0.4, "delay_sd": 0.2, "removed_delay_sd": 0.0}, NOT_SUPPORTED),
     ({"r_split_antisymmetric": float("nan")}, NOT_SUPPORTED),
     ({"removed_delay_sd": 1.0, "r_undelayed_antisymmetric": 0.6}, AVERAGES)],
)  # fmt: skip
def test_direction_is_averaged_where_it_is_expected_and_halves_agree(graded, changes, direction):
    grades = graded(**({"expected_r": 0.5, "expected_r_antisymmetric": 0.4} | changes))
    assert (grades.connections, grades.direction) == (AVERAGES, direction)


@pytest.mark.parametrize(
    ("undelayed", "connections"), [(0.6, AVERAGES), (0.4, NOTHING), (float("nan"), NOTHING)]
)
def test_a_map_that_modelled_delays_overturn_is_not_averaged(graded, undelayed, connections):
    delays = {"removed_delay_sd": 1.0, "r_undelayed_antisymmetric": undelayed}
    assert graded(expected_r=0.5, **delays).connections == connections
    # Where much of it is expected to hold, the delays are right.
    assert graded(**delays).connections == SINGLE


@pytest.mark.parametrize(("halves", "connections"), [(0.5, SINGLE), (0.2, AVERAGES)])
def test_halves_of_a_shrunken_map_are_compared_without_the_prior(graded, halves, connections):
    # The deviations of a subject like its group agree little.
    grades = graded(shrunk=True, r_split_antisymmetric=0.0, r_halves_antisymmetric=halves)
    assert grades.connections == connections


def test_direction_that_may_be_delays_is_not_read_from_averages_either(graded):
    grades = graded(delay_share=0.6, delay_sd=1.0, removed_delay_sd=0.0)
    assert grades.direction == NOT_SUPPORTED


def test_delays_that_are_modelled_do_not_lower_the_grade(graded):
    grades = graded(delay_share=0.6, delay_sd=1.0, removed_delay_sd=1.0)
    assert grades.connections == SINGLE


UNKNOWN_DELAYS = [
    {"n_regions": 9},
    {"expected_delay_evidence": 2.9},
    {"delay_evidence": 13.0, "delay_benefit": 5.0, "expected_delay_evidence": 20.0},
    {"delay_evidence": 13.0, "delay_benefit": -5.0, "expected_delay_evidence": 20.0},
    {"delay_evidence": 13.0, "delay_benefit": NAN, "expected_delay_evidence": 20.0},
    {"delay_evidence": 6.0, "delay_benefit": NAN, "expected_delay_evidence": 4.5},
]


@pytest.mark.parametrize("changes", UNKNOWN_DELAYS)
def test_only_undirected_averages_are_read_where_delays_cannot_be_excluded(graded, changes):
    grades = graded(**changes)
    assert (grades.connections, grades.direction) == (AVERAGES, NOT_SUPPORTED)
    # Delays that are modelled are known.
    assert graded(removed_delay_sd=1.0, **changes).connections == SINGLE


@pytest.mark.parametrize(
    "changes",
    [{"n_regions": 10}, {"expected_delay_evidence": 3.0}, {"expected_delay_evidence": NAN},
     {"delay_evidence": 11.0, "delay_benefit": NAN, "expected_delay_evidence": 20.0}],
)  # fmt: skip
def test_delays_that_would_have_shown_and_did_not_are_excluded(graded, changes):
    assert graded(removed_delay_sd=0.0, **changes).direction == SINGLE


def test_no_direction_is_read_where_the_signals_do_not_support_it(graded):
    assert graded(direction_supported=False).direction == NOT_SUPPORTED


def test_a_map_that_fails_promises_nothing(graded):
    grades = graded(FAIL)
    assert (grades.connections, grades.direction) == (NOTHING, NOT_SUPPORTED)


# A scan that meets every target.
SOUND = {
    "samples_per_parameter": 10.0, "minutes_kept": 20.0, "mean_fd": 0.1, "censored_share": 0.05,
    "covered_share": 1.0, "lowest_coverage": 0.7, "high_frequency_share": 0.3, "band_share": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "data", "reason"),
    [({"samples_per_parameter": 1.0}, LIMITED, "short for its number of regions (1.00 effective"),
     ({"samples_per_parameter": 0.3}, POOR, "far too short for its number of regions"),
     ({"minutes_kept": 3.0}, POOR, "too short (3.0 min are kept; target: at least 4)"),
     ({"mean_fd": 0.3}, LIMITED, "mean framewise displacement 0.30 mm; target: at most 0.2 mm"),
     ({"mean_fd": 0.6}, POOR, "head motion is high"),
     ({"censored_share": 0.3}, LIMITED, "many samples are censored (30%"),
     ({"censored_share": 0.6}, POOR, "most samples are censored (60%"),
     ({"covered_share": 0.9}, LIMITED, "some regions are not covered (90%"),
     ({"covered_share": 0.5}, POOR, "many regions are not covered (50%"),
     ({"lowest_coverage": 0.2}, LIMITED, "only 20% of its voxels"),
     ({"high_frequency_share": 0.001, "common_gain": True}, LIMITED, "the map accounts for"),
     ({"high_frequency_share": 0.001, "common_gain": False}, POOR, "does not account for it"),
     ({"band_share": 0.18}, LIMITED, "only 18% of the frequencies are left")],
)  # fmt: skip
def test_each_criterion_lowers_the_grade_of_the_data_and_is_named(graded, changes, data, reason):
    grades = graded(**(SOUND | changes))
    assert grades.data == data
    assert len(grades.data_reasons) == 1
    assert reason in grades.data_reasons[0]
    (_, _, meaning), *_ = describe_grades(grades)
    assert reason in meaning[0].lower() + meaning[1:]


def test_data_that_meet_every_target_are_good(graded):
    grades = graded(**SOUND)
    assert (grades.data, grades.data_reasons) == (GOOD, ())
    assert describe_grades(grades)[0][2] == (
        "Length, motion, coverage and spectrum meet their targets."
    )


@pytest.mark.parametrize("limit", [{"mean_fd": 0.2}, {"censored_share": 0.2},
                                   {"covered_share": 0.95}, {"minutes_kept": 4.0}])  # fmt: skip
def test_a_value_at_its_target_is_good(graded, limit):
    assert graded(**(SOUND | limit)).data == GOOD


@pytest.mark.parametrize(
    ("unknown", "said"),
    [("mean_fd", "head motion is not known"), ("censored_share", "censored samples is not known"),
     ("covered_share", "covered regions is not known"),
     ("high_frequency_share", "low-passed is not known")],
)  # fmt: skip
def test_what_is_not_known_is_said_and_not_called_good(graded, unknown, said):
    grades = graded(**(SOUND | {unknown: NAN}))
    assert grades.data == AS_FAR_AS_KNOWN
    assert said in describe_grades(grades)[0][2]


def test_the_lowest_criterion_counts_and_its_reason_comes_first(graded):
    grades = graded(**(SOUND | {"samples_per_parameter": 1.0, "mean_fd": 0.6}))
    assert grades.data == POOR
    assert "head motion" in grades.data_reasons[0]
    assert "short" in grades.data_reasons[1]


def test_motion_that_is_not_known_is_said_beside_other_limits(graded):
    grades = graded(**(SOUND | {"samples_per_parameter": 1.0, "mean_fd": NAN}))
    assert grades.data == LIMITED
    assert "head motion is not known" in grades.data_reasons[-1]


def test_every_grade_has_a_meaning(graded):
    for verdict in (PASS, FAIL):
        for expected_r in (0.95, 0.7, 0.5, 0.1, float("nan")):
            for _, _, meaning in describe_grades(graded(verdict, expected_r=expected_r)):
                assert meaning.endswith(".")


@pytest.mark.parametrize(
    ("verdict", "changes", "reason"),
    [(PASS, {}, ""), (PASS, {"expected_r": NAN}, ""),
     (PASS, {"expected_r_antisymmetric": 0.3}, "too little of its direction"),
     (PASS, {"direction_ratio": 1.4}, "the direction of the signals is weak"),
     (PASS, {"r_split_antisymmetric": 0.1}, "the two halves of the data do not agree"),
     (PASS, {"delay_share": 0.6, "delay_sd": 0.2, "removed_delay_sd": 0.0}, "delays between"),
     (PASS, {"direction_supported": False}, "the signals do not support direction"),
     (PASS, {"n_regions": 9}, "with fewer than 10 regions"),
     (PASS, {"expected_delay_evidence": 1.0}, "delays of half a second between regions could not"),
     (PASS, {"delay_evidence": 20.0, "delay_benefit": 5.0}, "the signals show delays"),
     (PASS, {"delay_evidence": 20.0, "delay_benefit": -5.0}, "delays between regions explain"),
     (PASS, {"delay_evidence": 6.0, "expected_delay_evidence": 4.5}, "the signals give"),
     (PASS, {"delay_share": 0.6, "delay_sd": 1.0, "removed_delay_sd": 0.0}, "delays between"),
     (PASS, {"expected_r": 0.45, "removed_delay_sd": 1.0, "r_undelayed_antisymmetric": 0.1},
      "the modelled delays decide which region leads"),
     (FAIL, {}, "too little of it can be trusted")],
)  # fmt: skip
def test_why_a_map_is_undirected_is_said(result, verdict, changes, reason):
    quality, settings = replace(result.quality, **(BEST | changes)), VerdictSettings()
    found = explain_undirected(quality, grade(quality, verdict, settings), settings)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_promises_are_counted_on_types_that_the_expectation_does_not_know(result):
    from benchmarks.expected import TableOfRows, check_grades, expect_unseen

    rng = np.random.default_rng(0)
    reached = {"ou": [0.95] * 20, "rnn": [0.95] * 20, "wbm": [0.6, 0.6, 0.9, 0.6]}
    rows = [
        {
            "kind": system_type,
            "quality": asdict(result.quality) | BEST | {"fc_r": rng.random(), "r2": rng.random()},
            "seen": {},
            "r": r,
            "r_antisymmetric": r,
        }
        for system_type, values in reached.items()
        for r in values
    ]
    table = TableOfRows(rows, lambda quality: np.array([quality["fc_r"], quality["r2"]]))
    expected = expect_unseen(table, table)
    assert expected["r"][table.system_types == "wbm"] == pytest.approx(0.95)
    found = check_grades(table, expected)["direction"][SINGLE]
    assert found["by type"]["wbm"] == [1, 4]
