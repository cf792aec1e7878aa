"""What is known of each edge over a group of maps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import trim_mean, ttest_1samp

from npi_bids.group import map_stack
from npi_bids.group.description import Weighing, describe, describe_regions, likeness, outliers

RNG = np.random.default_rng(3)
MAPS = RNG.standard_normal((11, 30)) + 0.3
COHORT_RNG = np.random.default_rng(0)


def test_numbers_are_those_of_numpy_and_scipy():
    found, known = describe(MAPS), ttest_1samp(MAPS, 0)
    np.testing.assert_allclose(found.mean, MAPS.mean(axis=0))
    np.testing.assert_allclose(found.sd, MAPS.std(axis=0, ddof=1))
    np.testing.assert_allclose(found.t, known.statistic)
    np.testing.assert_allclose(found.p, known.pvalue)
    interval = known.confidence_interval(0.95)
    np.testing.assert_allclose(found.lower, interval.low)
    np.testing.assert_allclose(found.upper, interval.high)
    np.testing.assert_allclose(found.median, np.median(MAPS, axis=0))
    np.testing.assert_allclose(found.trimmed, trim_mean(MAPS, 0.1))


def test_influence_is_that_of_leaving_each_subject_out():
    found = describe(MAPS)
    left_out = np.array([np.delete(MAPS, row, axis=0).mean(axis=0) for row in range(len(MAPS))])
    moved = np.abs(left_out - MAPS.mean(axis=0))
    np.testing.assert_allclose(found.influence * found.standard_error, moved.max(axis=0))
    np.testing.assert_array_equal(found.influential, moved.argmax(axis=0))


def test_missing_edges_count_the_subjects_that_have_them():
    maps = MAPS.copy()
    maps[:4, 0], maps[:, 1], maps[1:, 2] = np.nan, np.nan, np.nan
    found = describe(maps)
    assert found.mean[0] == pytest.approx(MAPS[4:, 0].mean())
    assert found.t[0] == pytest.approx(ttest_1samp(MAPS[4:, 0], 0).statistic)
    assert found.median[0] == pytest.approx(np.median(MAPS[4:, 0]))
    assert found.n[:3].tolist() == [7, 0, 1]
    for name in ("mean", "sd", "t", "p", "median", "trimmed", "sign_consistency", "influence"):
        assert np.isnan(getattr(found, name)[1:3]).all(), name


def test_equal_weights_change_nothing_and_precise_entries_count_more():
    plain = describe(MAPS)
    same = describe(MAPS, weights=np.full(11, 0.3), errors=np.full(MAPS.shape, 2.0))
    np.testing.assert_allclose(same.t, plain.t)
    errors = np.ones(MAPS.shape)
    errors[0] = 1e-3
    np.testing.assert_allclose(describe(MAPS, errors=errors).mean, MAPS[0], atol=1e-4)


def test_an_edge_that_never_varies_is_not_tested():
    maps = MAPS.copy()
    maps[:, 0] = 0.0
    found = describe(maps)
    assert np.isnan([found.t[0], found.p[0], found.q[0], found.influence[0]]).all()
    assert found.mean[0] == 0.0


def test_results_do_not_depend_on_how_many_edges_are_held_at_once(monkeypatch):
    whole, alike = describe(MAPS), likeness(MAPS)
    monkeypatch.setattr(map_stack, "_NUMBERS_AT_ONCE", 40)
    np.testing.assert_array_equal(describe(MAPS).t, whole.t)
    np.testing.assert_allclose(likeness(MAPS), alike)


def test_likeness_is_the_correlation_with_the_mean_of_the_others():
    maps = MAPS.copy()
    maps[2, 5] = np.nan
    for row, found in enumerate(likeness(maps)):
        others = np.nanmean(np.delete(maps, row, axis=0), axis=0)
        both = np.isfinite(maps[row])
        assert found == pytest.approx(np.corrcoef(maps[row][both], others[both])[0, 1])


def test_a_map_of_noise_among_like_ones_is_an_outlier():
    shared = RNG.standard_normal(400)
    maps = shared + 0.5 * RNG.standard_normal((12, 400))
    maps[7] = RNG.standard_normal(400)
    assert np.flatnonzero(outliers(likeness(maps))).tolist() == [7]
    assert not outliers(likeness(maps[:1])).any()


def test_figures_of_one_sign_are_not_tested_against_zero():
    """Noise has an asymmetry, too: its mean always differs from 0."""
    maps = COHORT_RNG.standard_normal((12, 36))
    described = describe_regions(maps, 6, Weighing(None, None, 0.1, 2))
    one_signed = {"out_positive", "out_negative", "in_positive", "in_negative", "asymmetry"}
    for figure, found in described.items():
        assert np.isfinite(found.mean).all()
        assert np.isfinite(found.lower).all()
        for name in ("t", "p", "q", "sign_consistency"):
            known = np.isfinite(getattr(found, name))
            assert known.all() if figure not in one_signed else not known.any(), (figure, name)
