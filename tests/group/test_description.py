"""What is known of each edge over a group of maps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import trim_mean, ttest_1samp

from npi_bids.group import map_stack
from npi_bids.group.description import (
    Weighing,
    describe,
    describe_regions,
    find_outliers,
    leave_one_out_correlation,
)

RNG = np.random.default_rng(3)
MAPS = RNG.standard_normal((11, 30)) + 0.3
COHORT_RNG = np.random.default_rng(0)


def test_numbers_of_few_edges_are_those_of_numpy_and_scipy():
    maps = MAPS[:, :9]  # too few edges to moderate their variances
    description, expected = describe(maps), ttest_1samp(maps, 0)
    np.testing.assert_allclose(description.mean, maps.mean(axis=0))
    np.testing.assert_allclose(description.sd, maps.std(axis=0, ddof=1))
    np.testing.assert_allclose(description.t, expected.statistic)
    np.testing.assert_allclose(description.p, expected.pvalue)
    interval = expected.confidence_interval(0.95)
    np.testing.assert_allclose(description.lower, interval.low)
    np.testing.assert_allclose(description.upper, interval.high)
    np.testing.assert_allclose(description.median, np.median(maps, axis=0))
    np.testing.assert_allclose(description.trimmed, trim_mean(maps, 0.1))


def test_influence_is_that_of_leaving_each_subject_out():
    description = describe(MAPS)
    left_out = np.array([np.delete(MAPS, row, axis=0).mean(axis=0) for row in range(len(MAPS))])
    change = np.abs(left_out - MAPS.mean(axis=0))
    error = MAPS.std(axis=0, ddof=1) / np.sqrt(len(MAPS))
    np.testing.assert_allclose(description.influence * error, change.max(axis=0))
    np.testing.assert_array_equal(description.influential, change.argmax(axis=0))


def test_missing_edges_count_the_subjects_that_have_them():
    maps = MAPS[:, :9].copy()
    maps[:4, 0], maps[:, 1], maps[1:, 2] = np.nan, np.nan, np.nan
    description = describe(maps)
    assert description.mean[0] == pytest.approx(MAPS[4:, 0].mean())
    assert description.t[0] == pytest.approx(ttest_1samp(MAPS[4:, 0], 0).statistic)
    assert description.median[0] == pytest.approx(np.median(MAPS[4:, 0]))
    assert description.n[:3].tolist() == [7, 0, 1]
    for name in ("mean", "sd", "t", "p", "median", "trimmed", "sign_consistency", "influence"):
        assert np.isnan(getattr(description, name)[1:3]).all(), name


def test_equal_weights_change_nothing_and_subjects_of_quality_count_more():
    plain = describe(MAPS)
    same = describe(MAPS, weights=np.full(11, 0.3), test_weights=np.full(11, 0.3))
    np.testing.assert_allclose(same.mean, plain.mean)
    np.testing.assert_allclose(same.t, plain.t)
    weights = np.r_[1.0, np.full(10, 1e-6)]
    np.testing.assert_allclose(describe(MAPS, weights=weights).mean, MAPS[0], atol=1e-4)


def test_the_tested_maps_are_tested_and_the_others_shown():
    shrunken = 0.1 * MAPS + 0.9 * MAPS.mean(axis=0)
    description, alone = describe(shrunken, tested=MAPS), describe(MAPS)
    np.testing.assert_allclose(description.sd, 0.1 * alone.sd)
    for name in ("tested_mean", "t", "p", "q", "lower", "upper", "sign_consistency"):
        np.testing.assert_array_equal(getattr(description, name), getattr(alone, name))


def test_interval_contains_the_mean_of_the_population_as_often_as_it_says():
    rng = np.random.default_rng(4)
    spread = np.sqrt(5 / rng.chisquare(5, 5000))
    description = describe(0.7 + spread * rng.standard_normal((8, 5000)))
    inside = (description.lower < 0.7) & (description.upper > 0.7)
    assert inside.mean() == pytest.approx(0.95, abs=0.012)


def test_a_weighted_mean_is_the_one_of_least_variance():
    errors = np.repeat([1.0, 2.0], [4, 7])
    maps = RNG.standard_normal((11, 40)) * errors[:, None]
    description = describe(maps, test_weights=errors**-2.0)
    expected = np.average(maps, axis=0, weights=errors**-2.0)
    np.testing.assert_allclose(description.tested_mean, expected)
    np.testing.assert_allclose(description.mean, maps.mean(axis=0))


def test_an_edge_that_never_varies_is_not_tested():
    maps = MAPS.copy()
    maps[:, 0] = 0.0
    description = describe(maps)
    assert np.isnan(
        [description.t[0], description.p[0], description.q[0], description.influence[0]]
    ).all()
    assert description.mean[0] == 0.0


def test_results_do_not_depend_on_how_many_edges_are_held_at_once(monkeypatch):
    description, correlations = describe(MAPS), leave_one_out_correlation(MAPS)
    monkeypatch.setattr(map_stack, "_NUMBERS_AT_ONCE", 40)
    np.testing.assert_allclose(describe(MAPS).t, description.t, rtol=1e-12)
    np.testing.assert_allclose(leave_one_out_correlation(MAPS), correlations)


def test_each_map_is_correlated_with_the_mean_of_all_other_maps():
    maps = MAPS.copy()
    maps[2, 5] = np.nan
    for row, correlation in enumerate(leave_one_out_correlation(maps)):
        mean_map = np.nanmean(np.delete(maps, row, axis=0), axis=0)
        common = np.isfinite(maps[row])
        assert correlation == pytest.approx(np.corrcoef(maps[row][common], mean_map[common])[0, 1])


def test_a_map_of_noise_among_like_ones_is_an_outlier():
    shared = RNG.standard_normal(400)
    maps = shared + 0.5 * RNG.standard_normal((12, 400))
    maps[7] = RNG.standard_normal(400)
    assert np.flatnonzero(find_outliers(leave_one_out_correlation(maps))).tolist() == [7]
    assert not find_outliers(leave_one_out_correlation(maps[:1])).any()


def test_the_spread_of_three_or_four_subjects_makes_no_outlier():
    assert not find_outliers(np.array([0.9, 0.901, 0.1])).any()
    assert not find_outliers(np.array([0.9, 0.901, 0.902, 0.1])).any()


def test_figures_of_magnitudes_are_not_tested_against_zero():
    """Noise has an asymmetry, too: its mean always differs from 0."""
    maps = COHORT_RNG.standard_normal((12, 36))
    descriptions = describe_regions(maps, maps, 6, Weighing(None, None, 0.1, 2))
    magnitudes = {"out_positive", "out_negative", "in_positive", "in_negative", "asymmetry",
                  "net_flow", "hierarchy"}  # fmt: skip
    for figure, description in descriptions.items():
        assert np.isfinite(description.mean).all()
        assert np.isfinite(description.lower).all()
        for name in ("t", "p", "q", "sign_consistency"):
            finite = np.isfinite(getattr(description, name))
            assert finite.all() if figure not in magnitudes else not finite.any(), (figure, name)


@pytest.mark.parametrize("n_subjects", [5, 8, 12, 40])
def test_an_outlier_is_named_by_chance_in_five_percent_of_groups(n_subjects):
    rng = np.random.default_rng(n_subjects)
    shared = rng.standard_normal(150)
    named = [
        find_outliers(
            leave_one_out_correlation(shared + rng.standard_normal((n_subjects, 150)))
        ).any()
        for _ in range(400)
    ]
    assert 0.02 < np.mean(named) < 0.085  # three standard errors
