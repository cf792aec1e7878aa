"""Sites, visits and motion: what else is known of a group of maps."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pandas as pd
import pytest
from neuroCombat import neuroCombat
from scipy.stats import pearsonr, trim_mean, ttest_1samp

from npi_bids.assessment.uncertainty import fdr_q_values
from npi_bids.connectivity.network_measures import ONE_SIGNED, flow_stack
from npi_bids.errors import NoUsableDataError
from npi_bids.group import map_stack
from npi_bids.group.description import (
    Weighing,
    describe,
    describe_regions,
    likeness,
    outliers,
)
from npi_bids.group.harmonization import harmonise
from npi_bids.group.motion import motion_effect
from npi_bids.group.reliability import icc, reliability, split_half_of_group

RNG = np.random.default_rng(3)
MAPS = RNG.standard_normal((11, 30)) + 0.3
COHORT_RNG = np.random.default_rng(0)
SITES = ["b"] * 12 + ["a"] * 9


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


def test_q_ignores_what_was_not_tested():
    q = fdr_q_values(np.array([0.01, np.nan, 0.04]))
    np.testing.assert_allclose(q, [0.02, np.nan, 0.04])


def two_sites():
    maps = COHORT_RNG.standard_normal((21, 60))
    maps[:12] = 1.8 * maps[:12] + 0.7 + 0.3 * COHORT_RNG.standard_normal(60)
    return maps, COHORT_RNG.standard_normal(21)


def test_sites_are_taken_out_as_neurocombat_does():
    maps, age = two_sites()
    table = pd.DataFrame({"batch": SITES, "age": age})
    with contextlib.redirect_stdout(io.StringIO()):
        known = neuroCombat(maps.T, table, "batch", continuous_cols=["age"])["data"].T
    out = np.empty_like(maps)
    harmonise(maps, SITES, age[:, None], out)
    np.testing.assert_allclose(out, known, atol=2e-4)


def test_harmonised_edges_do_not_depend_on_their_neighbours_in_memory(monkeypatch):
    maps, age = two_sites()
    whole, parts = np.empty_like(maps), np.empty_like(maps)
    harmonise(maps, SITES, age[:, None], whole)
    monkeypatch.setattr(map_stack, "_NUMBERS_AT_ONCE", 100)
    harmonise(maps, SITES, age[:, None], parts)
    np.testing.assert_allclose(parts, whole, atol=1e-9)


def test_what_some_subject_lacks_is_left_as_it_is():
    maps, age = two_sites()
    maps[2, 5], maps[:, 6] = np.nan, 0.0
    out = np.empty_like(maps)
    harmonise(maps, SITES, age[:, None], out)
    np.testing.assert_array_equal(out[:, 5:7], maps[:, 5:7])


def test_one_site_cannot_be_taken_out():
    with pytest.raises(NoUsableDataError, match=r"Sites have {'a': 21} subjects"):
        harmonise(two_sites()[0], ["a"] * 21, np.zeros((21, 0)), np.empty((21, 60)))


def test_icc_is_that_of_shrout_and_fleiss():
    """Their table 2: six targets, four judges; ICC(2,1) .29, ICC(3,1) .71."""
    ratings = np.array([
        [9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7],
    ], dtype=float)  # fmt: skip
    agreement, consistency = icc(ratings[:, :, None])
    assert agreement[0] == pytest.approx(0.29, abs=0.005)
    assert consistency[0] == pytest.approx(0.71, abs=0.005)


def test_a_subject_is_known_again_by_its_map():
    own = COHORT_RNG.standard_normal((8, 1, 300))
    visits = (own + 0.3 * COHORT_RNG.standard_normal((8, 2, 300))).reshape(16, 300)
    found = reliability(visits, np.repeat(np.arange(8), 2))
    assert found.identification == 1.0
    assert found.r_within > 0.8
    assert abs(found.r_between) < 0.3
    assert np.median(found.icc_agreement) > 0.8
    strangers = reliability(COHORT_RNG.standard_normal((16, 300)), np.repeat(np.arange(8), 2))
    assert strangers.identification < 0.5


def test_single_visits_say_nothing_of_reliability():
    assert reliability(COHORT_RNG.standard_normal((5, 10)), np.arange(5)) is None
    assert reliability(COHORT_RNG.standard_normal((4, 10)), np.array([0, 0, 1, 2])) is None


def test_halves_of_a_group_agree_where_subjects_share_something():
    shared = COHORT_RNG.standard_normal(500)
    alike, _ = split_half_of_group(shared + COHORT_RNG.standard_normal((20, 500)), COHORT_RNG)
    unlike, _ = split_half_of_group(COHORT_RNG.standard_normal((20, 500)), COHORT_RNG)
    assert alike > 0.8
    assert abs(unlike) < 0.2
    assert np.isnan(split_half_of_group(COHORT_RNG.standard_normal((3, 5)), COHORT_RNG)[0])


def test_motion_shows_in_the_edges_that_it_moves():
    moved = COHORT_RNG.random(30)
    maps = COHORT_RNG.standard_normal((30, 16))
    maps[:, 3] += 20 * moved
    found = motion_effect(maps, moved, None)
    known = pearsonr(moved, maps[:, 3])
    assert found.r[3] == pytest.approx(known.statistic)
    assert found.p[3] == pytest.approx(known.pvalue)
    assert found.share_significant == pytest.approx(1 / 16)
    assert np.isnan(found.distance_r)


def test_motion_that_falls_with_distance_is_seen():
    centres = COHORT_RNG.standard_normal((6, 3)) * 40
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2).ravel()
    moved = COHORT_RNG.random(40)
    maps = COHORT_RNG.standard_normal((40, 36)) - np.outer(moved, apart) / 5
    maps[:, ::7] = 0.0  # the diagonal
    found = motion_effect(maps, moved, centres)
    assert found.distance_r < -0.7
    assert np.isnan(found.r[::7]).all()


def test_unknown_or_equal_motion_gives_no_figure():
    maps = COHORT_RNG.standard_normal((6, 4))
    assert motion_effect(maps, np.full(6, np.nan), None) is None
    assert motion_effect(maps, np.ones(6), None) is None


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


def test_every_figure_that_cannot_change_its_sign_is_known_as_such():
    maps = COHORT_RNG.standard_normal((40, 36))
    for figure, values in flow_stack(maps, 6).items():
        one_signed = (values >= 0).all() or (values <= 0).all()
        assert one_signed == (figure in ONE_SIGNED), figure
