from __future__ import annotations

import numpy as np
import pytest

from npi_bids.group.reliability import icc, reliability, split_half_of_group

COHORT_RNG = np.random.default_rng(0)


def test_icc_is_that_of_shrout_and_fleiss():
    """Their table 2: six targets, four judges; ICC(2,1) .29, ICC(3,1) .71."""
    ratings = np.array([
        [9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7],
    ], dtype=float)  # fmt: skip
    agreement, consistency = icc(ratings[:, :, None])
    assert agreement[0] == pytest.approx(0.29, abs=0.005)
    assert consistency[0] == pytest.approx(0.71, abs=0.005)


def test_a_subject_is_known_again_by_its_map():
    subject_maps = COHORT_RNG.standard_normal((8, 1, 300))
    visits = (subject_maps + 0.3 * COHORT_RNG.standard_normal((8, 2, 300))).reshape(16, 300)
    result = reliability(visits, np.repeat(np.arange(8), 2))
    assert result.identification == 1.0
    assert result.r_within > 0.8
    assert abs(result.r_between) < 0.3
    assert np.median(result.icc_agreement) > 0.8
    strangers = reliability(COHORT_RNG.standard_normal((16, 300)), np.repeat(np.arange(8), 2))
    assert strangers.identification < 0.5


def test_single_visits_say_nothing_of_reliability():
    assert reliability(COHORT_RNG.standard_normal((5, 10)), np.arange(5)) is None
    assert reliability(COHORT_RNG.standard_normal((4, 10)), np.array([0, 0, 1, 2])) is None


def test_halves_of_a_group_agree_where_subjects_share_something():
    shared = COHORT_RNG.standard_normal(500)
    similar, _ = split_half_of_group(shared + COHORT_RNG.standard_normal((20, 500)), COHORT_RNG)
    unrelated, _ = split_half_of_group(COHORT_RNG.standard_normal((20, 500)), COHORT_RNG)
    assert similar > 0.8
    assert abs(unrelated) < 0.2
    assert np.isnan(split_half_of_group(COHORT_RNG.standard_normal((3, 5)), COHORT_RNG)[0])
