from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from npi_bids.group.motion import motion_effect

COHORT_RNG = np.random.default_rng(0)


def test_motion_shows_in_the_edges_that_it_moves():
    mean_fd = COHORT_RNG.random(30)
    maps = COHORT_RNG.standard_normal((30, 16))
    maps[:, 3] += 20 * mean_fd
    effect = motion_effect(maps, mean_fd, None)
    expected = pearsonr(mean_fd, maps[:, 3])
    assert effect.r[3] == pytest.approx(expected.statistic)
    assert effect.p[3] == pytest.approx(expected.pvalue)
    assert effect.share_significant == pytest.approx(1 / 16)
    assert np.isnan(effect.distance_r)


def test_motion_that_falls_with_distance_is_seen():
    centres = COHORT_RNG.standard_normal((6, 3)) * 40
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=2).ravel()
    mean_fd = COHORT_RNG.random(40)
    maps = COHORT_RNG.standard_normal((40, 36)) - np.outer(mean_fd, distance) / 5
    maps[:, ::7] = 0.0  # the diagonal
    effect = motion_effect(maps, mean_fd, centres)
    assert effect.distance_r < -0.7
    assert np.isnan(effect.r[::7]).all()


def test_unknown_or_equal_motion_gives_no_figure():
    maps = COHORT_RNG.standard_normal((6, 4))
    assert motion_effect(maps, np.full(6, np.nan), None) is None
    assert motion_effect(maps, np.ones(6), None) is None
