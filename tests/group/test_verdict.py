from __future__ import annotations

from npi_bids.bids.sidecars import DirectionSummary, MapReliability
from npi_bids.group.verdict import describe_group

RELIABLE = MapReliability(all=0.5, symmetric=0.6, antisymmetric=-0.1)


def direction(p):
    return DirectionSummary(
        p_together=p, pairs_significant=3, pairs_tested=28, sign_changes=999, seed=0
    )


def test_reliability_is_told_with_what_twice_the_subjects_would_bring():
    text = describe_group(8, RELIABLE, None)
    assert "8 subjects has a reliability of 0.50" in text
    assert "symmetric part 0.60, antisymmetric part 0.00" in text
    assert "twice as many subjects it would be 0.67" in text  # 2 * .5 / 1.5


def test_accuracy_is_told_where_it_is_known():
    assert "true connectivity is 0.93" in describe_group(8, RELIABLE, None, 0.93)
    assert "true connectivity" not in describe_group(8, RELIABLE, None)


def test_direction_is_claimed_only_where_all_pairs_together_show_it():
    supported, unsupported = (describe_group(8, RELIABLE, direction(p)) for p in (0.01, 0.2))
    assert "The group has a direction (p = 0.01" in supported
    assert "3 of 28 pairs" in supported
    assert "delays" in supported
    assert "A direction of the group is not supported (p = 0.2" in unsupported


def test_direction_is_not_judged_with_so_few_subjects_that_no_p_could_be_low():
    five, six = (describe_group(n, RELIABLE, direction(0.2)) for n in (5, 6))
    assert "cannot be tested with 5 subjects: the smallest possible p is 0.062" in five
    assert "not supported" in six


def test_nothing_is_said_of_what_is_not_known():
    nan = float("nan")
    unknown = MapReliability(all=nan, symmetric=nan, antisymmetric=nan)
    assert describe_group(1, unknown, direction(nan)) == describe_group(1, None, None) == ""
