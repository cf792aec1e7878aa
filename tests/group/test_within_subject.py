"""Models over visits: what is tested within subjects, what between them, and at what rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f as fisher
from scipy.stats import ttest_1samp, ttest_ind

from npi_bids.errors import NoUsableDataError, SettingsError
from npi_bids.group.glm import estimate
from npi_bids.group.permutation import permute
from npi_bids.group.sessions import build_visit_model
from npi_bids.group.settings import ModelSettings, PermuteSettings
from npi_bids.group.within_subject import BETWEEN, WITHIN

FEW_EDGES = 9  # too few to moderate their variances, so that tests are the classical ones


def visits(n_subjects=8, sessions=("01", "02", "03"), drop=(), **columns):
    """Return rows of visits; columns are functions of subject and session."""
    return [
        {
            "participant_id": f"sub-{subject:02d}", "session": session, "n_windows": 100,
            "group": "patient" if subject % 2 else "control",
            **{name: function(subject, place) for name, function in columns.items()},
        }
        for subject in range(n_subjects)
        for place, session in enumerate(sessions)
        if (subject, session) not in drop
    ]  # fmt: skip


def build(rows, formula, *contrasts):
    settings = ModelSettings(formula=formula, contrast=contrasts, motion_covariate=False)
    return build_visit_model(rows, settings)


def the_test(rows, formula, *contrasts):
    model = build(rows, formula, *contrasts)
    return model.test(model.built.design.contrasts[0])


def fit(rows, maps, formula, *contrasts):
    prepared, design = (tested := the_test(rows, formula, *contrasts)).prepare(maps)
    return estimate(prepared, design, tested.contrast), tested


def noise(rows, n_edges, seed=0):
    """Return maps whose visits are correlated within subjects, and of unequal variance."""
    rng = np.random.default_rng(seed)
    scale = {"01": 0.5, "02": 1.0, "03": 3.0}
    trait = {row["participant_id"]: 2 * rng.standard_normal(n_edges) for row in rows}
    drift = {row["participant_id"]: rng.standard_normal(n_edges) for row in rows}
    return np.array([
        trait[row["participant_id"]]
        + drift[row["participant_id"]] * (row["session"] != "01")
        + scale.get(row["session"], 1.0) * rng.standard_normal(n_edges)
        for row in rows
    ])  # fmt: skip


def test_a_difference_of_two_sessions_is_the_paired_test():
    rows = visits(sessions=("01", "02"))
    maps = noise(rows, FEW_EDGES)
    result, tested = fit(rows, maps, "session")
    expected = ttest_1samp(maps[1::2] - maps[::2], 0)
    assert tested.stratum == WITHIN
    assert result.statistic == pytest.approx(expected.statistic)
    assert result.p == pytest.approx(expected.pvalue)
    assert result.effect == pytest.approx((maps[1::2] - maps[::2]).mean(axis=0))


def test_one_comparison_of_three_sessions_reads_its_sessions_alone():
    rows = visits(drop={(0, "02"), (1, "03")})
    maps = noise(rows, FEW_EDGES)
    result, tested = fit(rows, maps, "session", "03 - 01")
    names = [(row["participant_id"], row["session"]) for row in rows]
    pairs = [
        maps[names.index((who, "03"))] - maps[names.index((who, "01"))] for who in tested.subjects
    ]
    assert len(pairs) == 7
    assert list(tested.left_out) == ["sub-01"]
    assert result.statistic == pytest.approx(ttest_1samp(pairs, 0).statistic)


def test_the_change_of_two_groups_is_compared_between_subjects():
    rows = visits(sessions=("01", "02"))
    maps = noise(rows, FEW_EDGES)
    change = maps[1::2] - maps[::2]
    result, tested = fit(rows, maps, "session*group", "session:group")
    expected = ttest_ind(change[1::2], change[::2])
    assert tested.stratum == WITHIN
    assert result.statistic == pytest.approx(expected.statistic)
    assert result.effect == pytest.approx(change[1::2].mean(axis=0) - change[::2].mean(axis=0))


def test_groups_are_compared_by_the_means_of_subjects():
    rows = visits()
    maps = noise(rows, FEW_EDGES)
    means = maps.reshape(8, 3, -1).mean(axis=1)
    expected = ttest_ind(means[1::2], means[::2])
    for formula in ("session + group", "session*group"):
        result, tested = fit(rows, maps, formula, "group")
        assert tested.stratum == BETWEEN
        assert result.statistic == pytest.approx(expected.statistic)
        assert result.effect == pytest.approx(means[1::2].mean(axis=0) - means[::2].mean(axis=0))


def test_a_slope_is_fitted_in_every_subject():
    rng = np.random.default_rng(4)
    times = {(s, p): 6 * p + rng.uniform(0, 2) for s in range(8) for p in range(3)}
    rows = visits(drop={(2, "03")}, months=lambda subject, place: times[subject, place])
    maps = noise(rows, FEW_EDGES)
    result, tested = fit(rows, maps, "months", "months")
    slopes = []
    for who in tested.subjects:
        inside = [index for index, row in enumerate(rows) if row["participant_id"] == who]
        months = [rows[index]["months"] for index in inside]
        slopes.append(np.polyfit(months, maps[inside], 1)[0])
    assert tested.contrast.statistic == "t"
    assert len(slopes) == 8
    # The subject with two visits counts less: weights come from the number of windows.
    assert tested.information.argmin() == 2
    assert result.effect == pytest.approx(np.mean(slopes, axis=0))


def test_the_f_test_of_sessions_is_that_of_hotelling_for_one_covariance():
    """With its own covariance for one edge, F is Hotelling's T^2 / (n - 1) with pooled noise."""
    rows = visits(n_subjects=10)
    one = noise(rows, 1)
    result, tested = fit(rows, np.repeat(one, FEW_EDGES, axis=1), "session")
    cells = one.reshape(10, 3)
    contrasts = np.column_stack([cells[:, 1] - cells[:, 0], cells[:, 2] - cells[:, 0]])
    second_moment = contrasts.T @ contrasts / 10
    mean = contrasts.mean(axis=0)
    share = mean @ np.linalg.solve(second_moment, mean)  # of the whitened sum of squares
    expected = (10 * share / 2) / ((20 - 10 * share) / 18)
    assert tested.design.n_components == 2
    assert result.statistic == pytest.approx(np.full(FEW_EDGES, expected))
    assert result.n == pytest.approx(np.full(FEW_EDGES, 10))


def test_a_sphere_of_noise_gives_the_classical_f():
    rows = visits(n_subjects=12)
    rng = np.random.default_rng(2)
    maps = rng.standard_normal((len(rows), 4000)) + np.repeat(
        rng.standard_normal((12, 4000)), 3, axis=0
    )
    result, _ = fit(rows, maps, "session")
    cells = maps.reshape(12, 3, -1)
    means = cells - cells.mean(axis=1, keepdims=True)
    effect = 12 * (means.mean(axis=0) ** 2).sum(axis=0)
    left = ((means - means.mean(axis=0)) ** 2).sum(axis=(0, 1))
    classical = fisher.sf((effect / 2) / (left / 22), 2, 22)
    assert (result.p < 0.05).mean() == pytest.approx((classical < 0.05).mean(), abs=0.012)


def test_subjects_with_one_session_are_named():
    rows = visits(drop={(3, "01"), (3, "02"), (5, "03")})
    tested = the_test(rows, "session")
    assert tested.left_out["sub-03"].startswith("one session only (03)")
    assert "sessions 01, 02 do not determine session" in tested.left_out["sub-05"]
    assert tested.n_visits == 18


def test_motion_of_visits_is_a_covariate_of_their_differences():
    rng = np.random.default_rng(0)
    motion = rng.uniform(0.1, 0.4, (8, 2))
    rows = visits(sessions=("01", "02"), mean_fd=lambda s, p: motion[s, p])
    maps = noise(rows, FEW_EDGES)
    result, tested = fit(rows, maps, "session + mean_fd", "session")
    change = maps[1::2] - maps[::2]
    x = np.column_stack([np.ones(8), motion[:, 1] - motion[:, 0]])
    assert tested.design.columns == ("Intercept", "change of mean_fd")
    assert result.effect == pytest.approx(np.linalg.lstsq(x, change, rcond=None)[0][0])


def test_what_varies_within_and_between_is_tested_within_and_named():
    rows = visits(age=lambda subject, place: 30 + 5 * subject + place)
    model = build(rows, "age + group", "age", "group")
    assert model.mixed_names == ("age",)
    within, between = map(model.test, model.built.design.contrasts)
    assert within.stratum == WITHIN
    assert between.stratum == BETWEEN
    assert "age" in between.design.columns


def test_what_is_not_one_effect_is_refused():
    rows = visits(n_subjects=12, months=lambda subject, place: subject * (place == 1) + 3 * place)
    with pytest.raises(SettingsError, match="name one term"):
        the_test(rows, "session*group + months", "session[T.02]:group[T.patient] + months")
    with pytest.raises(SettingsError, match="no constant"):
        build(rows, "0 + session")
    with pytest.raises(NoUsableDataError, match="no subject has two"):
        build([row for row in rows if (row["session"] == "01") == (row["group"] == "patient")
               and row["session"] != "03"], "session")  # fmt: skip


def test_a_subject_that_changes_its_block_of_exchange_is_named():
    rows = visits(site=lambda subject, place: "ab"[subject == 3 and place == 2])
    settings = ModelSettings(formula="session", exchange_within="site", motion_covariate=False)
    with pytest.raises(SettingsError, match="site differs between the sessions of sub-03"):
        build_visit_model(rows, settings)
    same = visits(site=lambda subject, place: "ab"[subject > 3])
    assert np.ptp(build_visit_model(same, settings).built.design.blocks) > 0


def false_alarms(formula, contrast, n_subjects, n_sets=200, drop=()):
    """Return the rates of data sets with any finding at family-wise p, and of p below .05."""
    rows = visits(n_subjects=n_subjects, drop=drop)
    settings = PermuteSettings(n_permutations=99, network_statistic="none")
    found, rate = 0, []
    tested = the_test(rows, formula, contrast)
    for seed in range(n_sets):
        prepared, design = tested.prepare(noise(rows, 36, seed))
        result = permute(prepared, 6, design, tested.contrast, settings)
        found += np.nanmin(result.p_fwe) <= 0.05
        rate.append((estimate(prepared, design, tested.contrast).p < 0.05).mean())
    return found / n_sets, float(np.mean(rate))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formula", "contrast", "n_subjects"),
    [
        ("session", "session", 8),
        ("session", "03 - 01", 8),
        ("session*group", "session:group", 8),
        ("session*group", "session", 12),
    ],
)
def test_visits_of_unequal_variance_give_no_more_false_findings_than_stated(
    formula, contrast, n_subjects
):
    family_wise, single = false_alarms(formula, contrast, n_subjects, n_sets=200)
    assert family_wise <= 0.09  # .05 by sampling of 200: 2.6 standard errors
    assert single <= 0.065


def test_an_effect_of_a_session_is_found_and_its_reverse_is_not():
    rows = visits(n_subjects=10)
    maps = noise(rows, 36)
    for row, entries in zip(rows, maps, strict=True):
        entries[1] += 4.0 * (row["session"] == "02")  # region 0 to region 1
    tested = the_test(rows, "session")
    prepared, design = tested.prepare(maps)
    settings = PermuteSettings(n_permutations=499, network_statistic="none")
    p = permute(prepared, 6, design, tested.contrast, settings).p_fwe
    assert p[0, 1] <= 0.05
    assert p[1, 0] > 0.05


def test_a_missing_edge_is_missing_in_its_subject_alone():
    rows = visits()
    maps = noise(rows, 36)
    maps[4, 7] = np.nan  # sub-01
    result, _ = fit(rows, maps, "session")
    assert result.n[7] == 7
    assert result.n[8] == 8
    assert np.isfinite(result.p).all()
