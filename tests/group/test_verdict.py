from __future__ import annotations

import pytest

from npi_bids.bids.sidecars import (
    DirectionSummary,
    GroupFields,
    Heterogeneity,
    MapReliability,
)
from npi_bids.group.verdict import describe_group, state_verdict

RELIABLE = MapReliability(all=0.5, symmetric=0.6, antisymmetric=-0.1)


def group(n, **fields):
    return GroupFields(
        subjects=tuple(f"{number:02d}" for number in range(n)), number_of_subjects=n, **fields
    )


def direction(p):
    return DirectionSummary(
        p_together=p, pairs_significant=3, pairs_tested=28, sign_changes=999, seed=0
    )


def test_reliability_is_told_with_what_twice_the_subjects_would_bring():
    text = describe_group(group(8, map_reliability=RELIABLE))
    assert "8 subjects has a reliability of 0.50" in text
    assert "symmetric part 0.60, antisymmetric part 0.00" in text
    assert "twice as many subjects it would be 0.67" in text  # 2 * .5 / 1.5


def test_subjects_that_agree_no_better_than_noise_are_said_to():
    unreliable = MapReliability(all=-0.2, symmetric=-0.2, antisymmetric=0.1)
    assert "agree no better than noise" in describe_group(group(8, map_reliability=unreliable))
    assert "than noise" not in describe_group(group(8, map_reliability=RELIABLE))


def test_accuracy_is_told_where_it_is_known():
    assert "true connectivity is 0.93" in describe_group(group(8, expected_r=0.93))
    assert "true connectivity" not in describe_group(group(8))


def test_direction_is_claimed_only_where_all_pairs_together_show_it():
    supported, unsupported = (
        describe_group(group(8, direction=direction(p))) for p in (0.01, 0.2)
    )
    assert "The group has a direction (p = 0.01" in supported
    assert "3 of 28 pairs" in supported
    assert "delays" in supported
    assert "A direction of the group is not supported: p = 0.2" in unsupported


def test_direction_is_not_judged_with_so_few_subjects_that_no_p_could_be_low():
    five, six = (describe_group(group(n, direction=direction(0.01))) for n in (5, 6))
    assert "cannot be tested with 5 subjects (smallest possible p: 0.062)" in five
    assert "The group has a direction" in six


def test_direction_that_was_not_tested_is_not_supported():
    for untested in (None, direction(float("nan"))):
        text = describe_group(group(8, direction=untested))
        assert "A direction of the group is not supported: it was not tested" in text


def test_subjects_whose_own_signals_have_a_direction_are_counted_where_the_group_has_none():
    text = describe_group(group(3, direction=direction(0.25), subjects_with_direction=2))
    assert "The signals of 2 of 3 subjects pass the test of direction on their own" in text
    for n, p in ((0, 0.25), (None, 0.25), (8, 0.01)):
        fields = {"direction": direction(p), "subjects_with_direction": n}
        assert "on their own" not in describe_group(group(8, **fields))


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        ({"connections_tested": 56}, "none differs from zero"),
        (
            {"connections_tested": 56, "connections_significant": 3},
            "3 of 56 differ from zero",
        ),
        ({"not_tested": "Pre-trained on the same subjects."}, "not tested"),
    ],
)
def test_connections_come_first(fields, finding):
    first = state_verdict(group(8, map_reliability=RELIABLE, **fields))[0]
    assert (first.topic, first.finding) == ("connections", finding)


def test_so_few_subjects_that_no_q_is_given_are_named():
    assert state_verdict(group(7))[0].text.startswith("With 7 subjects, no connection can be")
    assert state_verdict(group(8))[0].topic != "connections"


def test_who_differs_most_is_named():
    found = Heterogeneity(
        relative_sd=1.3, most_different="05", largest_share=0.4, outliers=("02", "05")
    )
    text = describe_group(group(8, heterogeneity=found))
    assert "1.30 times the mean connection" in text
    assert "sub-05 differs most from the mean, with 40% of all squared differences (12%" in text
    assert "sub-02, sub-05" in text


def test_nothing_is_said_of_what_is_not_known():
    nan = float("nan")
    unknown = MapReliability(all=nan, symmetric=nan, antisymmetric=nan)
    assert describe_group(group(1, map_reliability=unknown)) == describe_group(group(1)) == ""
