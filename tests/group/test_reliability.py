from __future__ import annotations

import numpy as np
import pytest

from npi_bids.bids.sidecars import MapReliability
from npi_bids.group.reliability import (
    expected_group_r,
    icc,
    map_reliability,
    measure_heterogeneity,
    predict_reliability,
    reliability,
    split_half_of_group,
)
from npi_bids.matrices import pearson

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


def directed_maps(n_subjects, noise, rng, n_regions=40):
    """Draw a common map, mostly symmetric, and subjects about it."""
    common = rng.standard_normal((n_regions, n_regions))
    common = common + common.T + 0.5 * rng.standard_normal((n_regions, n_regions))
    maps = common + noise * rng.standard_normal((n_subjects, n_regions, n_regions))
    maps[:, np.arange(n_regions), np.arange(n_regions)] = 0.0
    return common, maps.reshape(n_subjects, -1)


def test_reliability_of_the_mean_map_is_the_squared_correlation_with_the_population():
    common, maps = directed_maps(8, 4.0, np.random.default_rng(0))
    mean = maps.mean(axis=0).reshape(common.shape)
    found = map_reliability(maps)
    off = ~np.eye(len(common), dtype=bool)
    parts = {
        "all": lambda m: m,
        "symmetric": lambda m: (m + m.T) / 2,
        "antisymmetric": lambda m: (m - m.T) / 2,
    }
    for name, part in parts.items():
        r = np.corrcoef(part(mean)[off], part(common)[off])[0, 1]
        assert getattr(found, name) == pytest.approx(r**2, abs=0.05), name
    assert found.antisymmetric < found.symmetric - 0.2


def test_reliability_of_the_mean_map_equals_halves_corrected_by_spearman_and_brown():
    _, maps = directed_maps(16, 4.0, np.random.default_rng(1))
    off = ~np.eye(40, dtype=bool).ravel()
    r, _ = split_half_of_group(maps[:, off], np.random.default_rng(0))
    assert map_reliability(maps).all == pytest.approx(2 * r / (1 + r), abs=0.03)


def test_noise_has_no_reliability_and_missing_regions_do_not_count():
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((10, 40, 40))
    noise[3, 5], noise[3, :, 5] = np.nan, np.nan
    found = map_reliability(noise.reshape(10, -1))
    assert abs(found.all) < 0.15
    assert abs(found.antisymmetric) < 0.15
    assert map_reliability(noise[:1].reshape(1, -1)) is None


def test_expected_accuracy_of_a_mean_map_is_reached():
    # Maps that share a bias of a third of the variance of the truth, with noise of their own.
    rng = np.random.default_rng(3)
    n, n_regions = 8, 30
    truth, bias = rng.standard_normal((2, n_regions, n_regions))
    maps = truth + bias / np.sqrt(3) + 1.5 * rng.standard_normal((n, n_regions, n_regions))
    single = np.array([pearson(one, truth) for one in maps])
    expected = expected_group_r(single, maps.reshape(n, -1))
    assert expected == pytest.approx(pearson(maps.mean(axis=0), truth), abs=0.02)
    assert expected > single.mean() + 0.2
    assert np.isnan(expected_group_r(np.full(n, np.nan), maps.reshape(n, -1)))
    assert np.isnan(expected_group_r(single[:1], maps[:1].reshape(1, -1)))
    # Never more than maps that agree so little can reach, whatever is expected of the subjects.
    most = map_reliability(maps.reshape(n, -1)).all ** 0.5
    assert expected_group_r(np.ones(n), maps.reshape(n, -1)) == pytest.approx(most)


def test_no_accuracy_is_expected_of_a_mean_of_noise():
    noise = np.random.default_rng(7).standard_normal((8, 30 * 30))
    assert expected_group_r(np.full(8, 0.2), noise) < 0.2
    shared = noise + np.random.default_rng(8).standard_normal(30 * 30)  # by their prior
    nothing = MapReliability(all=-0.1, symmetric=0.1, antisymmetric=-0.2)
    assert expected_group_r(np.full(8, 0.2), shared) > 0.25
    assert expected_group_r(np.full(8, 0.2), shared, nothing) == 0


def test_more_subjects_bring_what_the_reliability_of_their_own_mean_map_shows():
    _, maps = directed_maps(64, 4.0, np.random.default_rng(4))
    small, large = map_reliability(maps[:16]).all, map_reliability(maps).all
    assert predict_reliability(small, 16, 64) == pytest.approx(large, abs=0.03)
    assert predict_reliability(small, 16, [16]).tolist() == pytest.approx([small])
    assert predict_reliability(-0.3, 8, [1, 8, 80]).tolist() == [0, 0, 0]


def test_differences_between_subjects_are_relative_to_the_mean_map():
    rng = np.random.default_rng(5)
    common = rng.standard_normal(2500)
    maps = common + 1.5 * rng.standard_normal((20, 2500))
    maps[3] += 3 * rng.standard_normal(2500)
    maps[5, :50] = np.nan  # a region that it lacks
    names = [f"{row:02d}" for row in range(20)]
    found = measure_heterogeneity(maps, names, np.arange(20) == 7)
    # The mean map has variance 1, and 1/20 of the mean variance of the subjects.
    variance = 1.5**2 + 9 / 20
    assert found.relative_sd == pytest.approx((variance / (1 + variance / 20)) ** 0.5, rel=0.05)
    assert found.most_different == "03"
    assert found.largest_share == pytest.approx((1.5**2 + 9) / (20 * variance), abs=0.03)
    assert found.outliers == ("07",)


def test_nobody_differs_most_of_two_and_one_subject_does_not_differ():
    maps = np.random.default_rng(6).standard_normal((2, 25))
    two = measure_heterogeneity(maps, ["a", "b"], np.zeros(2, dtype=bool))
    assert two.most_different == ""
    assert np.isnan(two.largest_share)
    assert measure_heterogeneity(maps[:1], ["a"], np.zeros(1, dtype=bool)) is None


def test_an_unreliable_mean_map_is_not_expected_to_be_accurate():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((24, 20, 20)).reshape(24, -1)
    limit = max(map_reliability(noise).all, 0.0) ** 0.5
    assert limit < 0.5
    # However accurate the maps of the subjects are said to be.
    for expected in (0.3, 1.0):
        assert expected_group_r(np.full(24, expected), noise) == pytest.approx(limit)
    opposite = np.array([noise[0], 0.1 * noise[1] - noise[0]])  # a reliability below 0
    assert expected_group_r(np.full(2, 0.5), opposite) == 0.0
    nowhere = noise.copy()
    nowhere[np.arange(400) % 24, np.arange(400)] = np.nan  # no connection is in all maps
    assert np.isnan(expected_group_r(np.full(24, 0.5), nowhere))
