from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from npi_bids.errors import NoUsableDataError
from npi_bids.group.glm import Contrast, Design, estimate
from npi_bids.group.permutation import components, permute, threshold_free
from npi_bids.group.settings import PermuteSettings

N, SUBJECTS = 10, 24
GROUP = np.repeat([0.0, 1.0], SUBJECTS // 2)
PLANTED = ((0, 1), (1, 2), (2, 3), (0, 5), (0, 6))

SETTINGS = PermuteSettings(n_permutations=99, network_statistic="both", nbs_threshold=2.5)


def two_groups(blocks=None):
    age = np.random.default_rng(1).standard_normal(SUBJECTS)
    matrix = np.column_stack([np.ones(SUBJECTS), GROUP, age])
    contrast = Contrast("group", np.array([[0.0, 1.0, 0.0]]))
    blocks = np.zeros(SUBJECTS) if blocks is None else blocks
    return Design(matrix, ("one", "group", "age"), (contrast,), blocks)


def one_sample():
    contrast = Contrast("mean", np.array([[1.0]]))
    return Design(np.ones((SUBJECTS, 1)), ("one",), (contrast,), np.zeros(SUBJECTS))


def noise(seed):
    return np.random.default_rng(seed).standard_normal((SUBJECTS, N * N))


def planted(seed=0, effect=2.5):
    maps = noise(seed)
    for source, target in PLANTED:
        maps[:, source * N + target] += effect * GROUP
    return maps


def run(maps, design=None, settings=SETTINGS):
    design = design or two_groups()
    return permute(maps, N, design, design.contrasts[0], settings)


def test_the_planted_network_is_found_and_its_reverse_is_not():
    result = run(planted())
    is_planted = np.zeros((N, N), dtype=bool)
    is_planted[tuple(np.array(PLANTED).T)] = True
    for name in ("p_fwe", "p_nbs", "p_tfnbs"):
        p = getattr(result, name)
        assert (p[is_planted] <= 0.05).mean() >= 0.8, name
        assert (p[is_planted.T] > 0.05).all(), name
    first = result.components[0]
    assert first.sign == 1
    assert set(PLANTED) <= {tuple(edge) for edge in first.edges.tolist()}
    assert first.p <= 0.02


@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 1.5, SUBJECTS)])
def test_networks_are_formed_by_the_moderated_and_weighted_statistic(weights):
    maps = planted(effect=1.0)
    maps[:, ::7] *= 0.2  # little variance by chance: large t without moderation
    design = replace(two_groups(), weights=weights)
    fit = estimate(np.where(np.eye(N).ravel() > 0, np.nan, maps), design, design.contrasts[0])
    found = run(maps, design).components
    edges = {source * N + target for part in found for source, target in part.edges.tolist()}
    assert edges == set(np.flatnonzero(np.abs(fit.statistic) > SETTINGS.nbs_threshold).tolist())
    assert len(edges) > 3


def test_several_rows_of_a_contrast_give_the_same_f_as_a_fit():
    level = np.arange(SUBJECTS) % 3
    matrix = np.column_stack([np.ones(SUBJECTS), level == 1, level == 2]).astype(float)
    contrast = Contrast("levels", np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    weights = np.linspace(0.5, 1.5, SUBJECTS)
    design = Design(matrix, ("one", "b", "c"), (contrast,), np.zeros(SUBJECTS), weights)
    maps = noise(3)
    maps[:, 1] += 2.0 * (level == 2)  # region 0 drives region 1 in one level
    fit = estimate(np.where(np.eye(N).ravel() > 0, np.nan, maps), design, contrast)
    settings = PermuteSettings(n_permutations=19, nbs_threshold=float(fit.statistic[1]) - 1e-6)
    result = permute(maps, N, design, contrast, settings)
    assert [part.edges.tolist() for part in result.components] == [[[0, 1]]]
    settings = PermuteSettings(n_permutations=19, nbs_threshold=float(fit.statistic[1]) + 1e-6)
    assert not permute(maps, N, design, contrast, settings).components


def test_a_weaker_group_gives_a_negative_network():
    maps = -planted()
    assert run(maps).components[0].sign == -1


def test_the_diagonal_and_missing_edges_are_not_tested():
    maps = planted()
    maps[3, 17] = np.nan
    result = run(maps)
    assert np.isnan(np.diag(result.p_fwe)).all()
    assert np.isnan(result.p_fwe.ravel()[17])
    assert result.n_tested == N * N - N - 1
    with pytest.raises(NoUsableDataError, match="No edge is present in all subjects"):
        run(np.full((SUBJECTS, N * N), np.nan))


def test_permutation_p_resembles_parametric_p_where_that_is_right():
    settings = PermuteSettings(n_permutations=400, network_statistic="none")
    maps = noise(5)[:, :9]  # of three regions: too few edges to moderate their variances
    for design in (two_groups(), one_sample()):
        permuted = permute(maps, 3, design, design.contrasts[0], settings).p.ravel()
        parametric = estimate(maps, design, design.contrasts[0]).p
        tested = np.isfinite(permuted)
        assert np.abs(permuted - parametric)[tested].max() < 0.12


def test_signs_are_turned_where_only_the_mean_is_tested():
    maps = noise(2)
    maps[:, 7] += 1.5
    result = run(maps, one_sample())
    assert result.p_fwe.ravel()[7] <= 0.02
    assert np.nanmin(np.delete(result.p_fwe.ravel(), 7)) > 0.02


def test_sites_that_differ_are_no_finding_when_exchanged_within():
    """All of the difference is one between sites, and groups are unevenly spread over them."""
    site = np.r_[np.zeros(9), np.ones(3), np.zeros(3), np.ones(9)]
    matrix = np.column_stack([np.ones(SUBJECTS), GROUP])
    contrast = Contrast("group", np.array([[0.0, 1.0]]))
    maps = noise(3)
    maps += 2 * site[:, None]
    free = Design(matrix, ("one", "group"), (contrast,), np.zeros(SUBJECTS))
    within = Design(matrix, ("one", "group"), (contrast,), site)
    settings = PermuteSettings(n_permutations=199, network_statistic="none")
    free_p, within_p = (run(maps, design, settings).p.ravel() for design in (free, within))
    tested = np.isfinite(free_p)
    assert (free_p[tested] <= 0.05).mean() > 0.25
    assert (within_p[tested] <= 0.05).mean() < 0.12


def test_same_seed_same_result_and_another_one_not():
    one, same = run(noise(4)), run(noise(4))
    np.testing.assert_array_equal(one.p, same.p)
    other = run(noise(4), settings=PermuteSettings(n_permutations=99, group_seed=1))
    assert (one.p != other.p)[np.isfinite(one.p)].any()


@pytest.mark.slow
def test_false_positives_stay_at_their_level():
    """60 null data sets: 5 % of them, and by sampling up to 8, may have a finding."""
    significant = np.array([
        [np.nanmin(getattr(result, name)) <= 0.05 for name in ("p_fwe", "p_nbs", "p_tfnbs")]
        for result in (
            run(noise(100 + seed), settings=PermuteSettings(
                n_permutations=99, network_statistic="both", nbs_threshold=2.5, group_seed=seed
            )) for seed in range(60)
        )
    ])  # fmt: skip
    assert significant.sum(axis=0).max() <= 8


def test_edges_of_a_network_stay_directed():
    edges = np.array([0 * 5 + 1, 1 * 5 + 0, 3 * 5 + 1, 2 * 5 + 4])
    parts = sorted(components(edges, 5), key=len)
    assert parts[0].tolist() == [[2, 4]]
    assert sorted(map(tuple, parts[1].tolist())) == [(0, 1), (1, 0), (3, 1)]
    assert components(np.array([], dtype=int), 5) == []


def test_threshold_free_scores_are_sums_over_heights():
    """Edges 0->1 (t 0.35) and 1->2 (t 0.15) hang together; 3->4 (t 0.15) is alone."""
    edges = np.array([0 * 5 + 1, 1 * 5 + 2, 3 * 5 + 4])
    scores = threshold_free(np.array([0.35, 0.15, 0.15]), edges, 5)
    low = 0.1**3 * 0.1
    high = (0.2**3 + 0.3**3) * 0.1
    np.testing.assert_allclose(scores, [2**0.4 * low + high, 2**0.4 * low, low], rtol=1e-6)
    assert (threshold_free(np.array([-1.0, 0, 0.05]), edges, 5) == 0).all()


def test_threshold_free_scores_are_those_of_each_height_alone():
    rng = np.random.default_rng(0)
    edges = np.flatnonzero(~np.eye(9, dtype=bool).ravel())
    statistic = np.round(2 * rng.standard_normal(edges.size), 1) + 0.05
    expected = np.zeros(edges.size)
    for height in 0.1 * np.arange(1, 1 + int(10 * statistic.max())):
        above = edges[statistic >= height]
        for part in components(above, 9):
            inside = np.isin(edges, part @ [9, 1])
            expected[inside] += len(part) ** 0.4 * height**3 * 0.1
    np.testing.assert_allclose(threshold_free(statistic, edges, 9), expected, rtol=1e-6)


def test_a_mean_beside_a_covariate_is_tested_by_changes_of_sign():
    """Exchanging residuals would leave the mean of all subjects as it is."""
    rng = np.random.default_rng(0)
    age = rng.standard_normal(24)
    matrix = np.column_stack([np.ones(24), age - age.mean()])
    mean = Contrast("Intercept", np.array([[1.0, 0.0]]))
    design = Design(matrix, ("Intercept", "age"), (mean,), np.zeros(24))
    maps = rng.standard_normal((24, 9))
    maps[:, 1] += 2.0  # from the first region to the second, and not back
    settings = PermuteSettings(n_permutations=499, network_statistic="none")
    result = permute(maps, 3, design, mean, settings)
    assert result.p_fwe[0, 1] == pytest.approx(1 / 500)
    assert result.p_fwe[1, 0] > 0.05


def test_p_is_uniform_without_effect_beside_many_nuisance_columns():
    """Residuals vary less than errors: moderation in each shuffle anew keeps up with them."""
    rng = np.random.default_rng(7)
    matrix = np.column_stack([np.ones(12), rng.standard_normal((12, 5))])
    contrast = Contrast("last", np.eye(6)[5:])
    design = Design(matrix, tuple("abcdef"), (contrast,), np.zeros(12))
    settings = PermuteSettings(n_permutations=199, network_statistic="none")
    p = permute(rng.standard_normal((12, 30 * 30)), 30, design, contrast, settings).p
    assert np.mean(p[np.isfinite(p)] <= 0.1) == pytest.approx(0.1, abs=0.035)
