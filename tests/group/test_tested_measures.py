from __future__ import annotations

import pytest

from npi_bids.bids.sidecars import PretrainedOrigin
from npi_bids.group.tested_measures import (
    DIFFERENT,
    PROPORTIONAL,
    SAME,
    UNKNOWN,
    UNSHRUNK,
    describe_tested,
    pretrained_on,
    why_not_tested,
)


@pytest.mark.parametrize(
    ("origins", "on"),
    [
        ([None, None], ""),
        ([PretrainedOrigin(subject_included=False)] * 2, DIFFERENT),
        ([PretrainedOrigin(subject_included=i) for i in (False, True)], SAME),
        # Sidecars of before this was written down.
        ([PretrainedOrigin(subject_left_out=True)], SAME),
        ([PretrainedOrigin(subject_left_out=False)], UNKNOWN),
        ([PretrainedOrigin(subject_included=False), PretrainedOrigin()], UNKNOWN),
    ],
)
def test_subjects_count_as_the_same_unless_it_is_known_that_they_are_not(origins, on):
    assert pretrained_on(origins) == on
    assert bool(why_not_tested(on, "npi", mean=True)) == bool(on)
    assert bool(why_not_tested(on, "npi", mean=False)) == (on in (SAME, UNKNOWN))


@pytest.mark.parametrize("on", [SAME, DIFFERENT, UNKNOWN, ""])
def test_maps_without_prior_may_be_tested_whoever_the_surrogates_were_pretrained_on(on):
    assert why_not_tested(on, UNSHRUNK, mean=True) == ""
    assert why_not_tested(on, PROPORTIONAL, mean=False) == ""


def test_the_reason_is_told_where_other_maps_than_those_that_should_be_are_tested():
    assert describe_tested(UNSHRUNK, mean=True) == describe_tested(PROPORTIONAL, mean=False) == ""
    assert "no map with a prior in proportion" in describe_tested(UNSHRUNK, mean=False)
    assert all("as they are" in describe_tested("npi", mean=mean) for mean in (True, False))
