from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from npi_bids.errors import NoUsableDataError, SettingsError
from npi_bids.group.design import (
    build_design,
    build_model,
    check_columns,
    check_formula,
    describe_columns,
    select_maps,
    subject_frame,
)
from npi_bids.group.glm import estimate
from npi_bids.group.settings import ModelSettings
from tests.group.participants import MANY, MAP, ROWS, TABLE, N

PARTS = (
    *("age", "dose", "group", "sex", "site", "C(site)", "+", "-", "*", ":", "**", "2", "0", "1"),
    *("(", ")", "C(", "I(", "log(", "`", ".", "{", "|", "~", "/", "'x'", ",", "Treatment("),
    *("nobody", "3.5", "1e9", " ", "\n", "é", "[", "]", "T.", "patient", "control", "Intercept"),
)


def test_numbers_are_numbers_and_words_are_words():
    assert TABLE["age"].dtype == np.float64
    assert not pd.api.types.is_numeric_dtype(TABLE["group"])


def test_motion_is_a_covariate_by_default_and_not_tested():
    built = build_design(TABLE, "group + age")
    assert built.formula == "group + age + mean_fd"
    assert built.design.columns == ("Intercept", "group[T.patient]", "age", "mean_fd")
    assert [c.name for c in built.design.contrasts] == ["group[T.patient]", "age"]
    assert [c.matrix.tolist() for c in built.design.contrasts] == [[[0, 1, 0, 0]], [[0, 0, 1, 0]]]
    assert build_design(TABLE, "group", motion=False).formula == "group"
    assert build_design(TABLE, "age + mean_fd").design.contrasts[1].name == "mean_fd"


def test_numbers_are_centred_so_that_the_constant_is_the_mean():
    built = build_design(TABLE, "1")
    np.testing.assert_allclose(built.design.matrix.mean(axis=0), [1, 0], atol=1e-12)
    assert built.design.contrasts[0].matrix.tolist() == [[1, 0]]


def test_who_lacks_a_covariate_is_left_out_with_the_reason():
    rows = [{**row, "age": "n/a"} if n == 4 else row for n, row in enumerate(ROWS)]
    built = build_design(subject_frame(rows), "group + age")
    assert built.reasons == {4: "no age for --model"}
    assert built.rows.sum() == len(built.design.matrix) == 11


def test_subjects_are_exchanged_within_sites():
    blocks = build_design(TABLE, "age", blocks="site").design.blocks
    assert len(set(blocks)) == 3
    assert blocks[0] == blocks[3] != blocks[1]


@pytest.mark.parametrize(
    ("formula", "contrasts", "message"),
    [
        ("group + (", (), "cannot be read"),
        ("diagnosis", (), "no column diagnosis; participants.tsv and the results have"),
        ("group", ("nobody",), "'nobody' is no column"),
        ("group", ("patient - patient",), "tests nothing"),
        ("group + copy", (), "depend on each other"),
    ],
)
def test_what_cannot_be_tested_is_said(formula, contrasts, message):
    table = TABLE.assign(copy=[{"patient": "ill", "control": "well"}[g] for g in TABLE["group"]])
    with pytest.raises(SettingsError, match=message):
        build_design(table, formula, contrasts)


def test_maps_of_those_who_are_in_are_copied_row_by_row(tmp_path):
    maps = np.arange(12.0).reshape(4, 3)
    keep = np.array([True, False, True, True])
    selected = select_maps(maps, keep, tmp_path / "some.npy")
    np.testing.assert_array_equal(selected, maps[keep])
    assert select_maps(maps, np.ones(4, dtype=bool), tmp_path / "none.npy") is maps


def fitted(formula, contrast):
    """Return effect, statistic and p of one contrast of an edge."""
    design = build_design(MANY, formula, [contrast], motion=False).design
    result = estimate(MAP.to_numpy()[:, None], design, design.contrasts[0])
    return result.effect[0], result.statistic[0], result.p[0]


def fit_statsmodels(formula):
    table = MANY.assign(map=MAP, age_c=MANY["age"] - MANY["age"].mean(),
                        dose_c=MANY["dose"] - MANY["dose"].mean())  # fmt: skip
    return smf.ols(f"map ~ {formula}", table).fit()


@pytest.mark.parametrize(
    ("formula", "contrast", "name"),
    [
        ("age*group", "age:group", "age:group[T.patient]"),
        ("age*group", "group:age", "age:group[T.patient]"),
        ("age*dose", "age:dose", "age:dose"),
        ("age*dose*group", "age:dose:group", "age:dose:group[T.patient]"),
        ("group*sex", "group:sex", "group[T.patient]:sex[T.M]"),
        ("I(1/age) + group", "I(1 / age)", "I(1 / age)"),
        ("log(age) + group", "log(age)", "np.log(age)"),
        ("age + I(age**2)", "I(age**2)", "I(age ** 2)"),
    ],
)
def test_the_highest_terms_are_those_of_statsmodels_on_the_data_as_they_are(
    formula, contrast, name
):
    other = fit_statsmodels(formula.replace("log", "np.log"))
    effect, statistic, p = fitted(formula, contrast)
    assert effect == pytest.approx(other.params[name], rel=1e-6)
    assert statistic == pytest.approx(other.tvalues[name], rel=1e-6)
    assert p == pytest.approx(other.pvalues[name], rel=1e-6)


@pytest.mark.parametrize("formula", ["age*group", "age*dose*group", "group*C(site) + log(age)"])
def test_the_columns_span_those_of_statsmodels_on_the_data_as_they_are(formula):
    matrix = build_design(MANY, formula, motion=False).design.matrix
    other = fit_statsmodels(formula.replace("log", "np.log")).model.exog
    residuals = other - matrix @ np.linalg.lstsq(matrix, other, rcond=None)[0]
    assert matrix.shape == other.shape
    assert np.abs(residuals).max() < 1e-9 * np.abs(other).max()


@pytest.mark.parametrize(
    ("formula", "contrast", "other", "name"),
    [
        ("age*dose", "age", "age_c*dose_c", "age_c"),
        ("age*group", "group", "age_c*group", "group[T.patient]"),
        # The slope over both groups, whichever comes first: sums are coded -1 and 1.
        ("age*group", "age", "age_c*C(group, Sum)", "age_c"),
        ("group*sex", "sex", "C(group, Sum)*sex", "sex[T.M]"),
        ("age*group*sex", "group", "age_c*group*C(sex, Sum)", "group[T.patient]"),
    ],
)
def test_main_effects_are_those_at_the_mean_of_what_they_interact_with(
    formula, contrast, other, name
):
    effect, statistic, _ = fitted(formula, contrast)
    result = fit_statsmodels(other)
    assert effect == pytest.approx(result.params[name], rel=1e-6)
    assert statistic == pytest.approx(result.tvalues[name], rel=1e-6)


def test_no_result_depends_on_which_level_is_the_reference():
    for contrast in ("age", "C(group):age", "sex"):
        one = fitted("age*C(group) + sex*C(group)", contrast)[1:]
        two = fitted('age*C(group, Treatment("patient")) + sex*C(group, Treatment("patient"))',
                     contrast)[1:]  # fmt: skip
        np.testing.assert_allclose(np.abs(one), np.abs(two), rtol=1e-8)


def test_an_interaction_with_several_levels_is_an_f_test_of_all_of_them():
    _, statistic, p = fitted("age*C(site)", "age:C(site)")
    weights = np.eye(6)[[4, 5]]
    result = fit_statsmodels("age*C(site)")
    names = [name for name in result.params.index if ":" in name]
    assert names == list(result.params.index[[4, 5]])
    expected = result.f_test(weights)
    assert statistic == pytest.approx(float(expected.fvalue), rel=1e-6)
    assert p == pytest.approx(float(expected.pvalue), rel=1e-6)


def test_every_term_is_tested_unless_something_else_is_asked_for():
    design = build_design(MANY, "age*group + C(site)", motion=False).design
    assert [c.name for c in design.contrasts] == [
        "age", "group[T.patient]", "C(site)", "age:group[T.patient]",
    ]  # fmt: skip


def test_without_a_constant_a_factor_is_still_the_difference_of_its_levels():
    effect, statistic, _ = fitted("0 + group", "group")
    result = fit_statsmodels("group")
    assert effect == pytest.approx(result.params["group[T.patient]"])
    assert statistic == pytest.approx(result.tvalues["group[T.patient]"])


def test_columns_may_have_the_names_of_functions_and_of_modules():
    table = MANY.rename(columns={"age": "C", "dose": "np", "site": "age at scan"})
    table["log"] = table["C"] ** 2
    design = build_design(table, "C + np + `age at scan` + log + C(group)", motion=False).design
    assert design.columns[1:] == ("C", "np", "`age at scan`", "log", "C(group)[T.patient]")


@pytest.mark.parametrize(
    ("column", "formula", "message"),
    [
        ({"age": [np.inf, *MANY["age"][1:]]}, "age", r"age is not finite .* \(inf of sub-00\)"),
        ({"age": [0.0, *MANY["age"][1:]]}, "log(age)", r"-inf of sub-00"),
        ({"age": 30.0}, "age", "age is 30 for all 40 subjects"),
        ({"sex": "F"}, "sex", "sex has only one level, 'F'"),
        ({"sex": ["X", *MANY["sex"][1:]]}, "sex", "have a single subject \\('X': sub-00\\)"),
        ({"INTERCEPT": MANY["age"]}, "INTERCEPT", "a column cannot be called 'INTERCEPT'"),
        ({"Intercept": MANY["age"]}, "age + Intercept", "a column cannot be called 'Intercept'"),
        ({"copy": 2 * MANY["age"]}, "age + copy", "depend on each other"),
        ({"sex": ["M", *["F"] * 9, *MANY["sex"][10:]]}, "sex*participant_id", "single subject"),
        ({}, 'C(group, Treatment("nobody"))', "group has no level 'nobody'"),
        ({}, "age:group", "contains age:group without (age|group)"),
        ({}, "0 + age", "has no constant"),
        ({}, "log(group)", "log\\(group\\) needs numbers, and the column group holds words"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_words(column, formula, message):
    with pytest.raises(SettingsError, match=message):
        build_design(MANY.assign(**column), formula, motion=False)


def test_subjects_that_are_alone_with_their_levels_are_named():
    table = MANY[:9].assign(
        group=["a", "b", "a", "b", "a", "b", "a", "a", "b"],
        sex=["F", "M", "F", "F", "M", "F", "M", "M", "F"],
    )
    with pytest.raises(SettingsError, match=r"fits 1 of 9 subjects exactly \(sub-01\)"):
        build_design(table, "group*sex", motion=False)


def test_too_few_subjects_are_told_before_columns_that_depend():
    with pytest.raises(NoUsableDataError, match="2 subjects are too few"):
        build_design(MANY[:2], "age + dose", motion=False)


def test_sites_that_tell_the_groups_are_not_taken_out():
    rows = [{**row, "scanner": {"patient": "X", "control": "Y"}[row["group"]]} for row in ROWS]
    with pytest.raises(SettingsError, match=r"--harmonize 'scanner' removes effects that --model"):
        build_model(rows, ModelSettings(formula="group", harmonize="scanner"))
    built = build_model(rows, ModelSettings(formula="group", harmonize="site"))
    assert len(set(built.design.blocks)) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ModelSettings(formula="age + nobody"), "no column nobody; participants.tsv"),
        (ModelSettings(formula="age", harmonize="scanner"), "no column scanner"),
        (ModelSettings(formula="age", exchange_within="scanner"), "no column scanner"),
        (ModelSettings(formula="{age}"), "cannot be read: at '{'"),
    ],
)
def test_formula_and_columns_can_be_checked_before_there_are_maps(settings, message):
    check_formula(ModelSettings(formula="log(age) + mean_fd"), ["age", "mean_fd"])
    with pytest.raises(SettingsError, match=message):
        check_formula(settings, ["age", "mean_fd"])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("error")
def test_any_words_are_a_model_or_are_refused_in_ours(seed):
    rng = np.random.default_rng(seed)

    def words():
        return "".join(rng.choice(PARTS, rng.integers(1, 9)))

    refused = 0
    for _ in range(150):
        for formula, contrast in ((words(), ()), ("age*group + sex + C(site)", [words()])):
            try:
                assert build_design(MANY, formula, contrast).design.contrasts
            except (SettingsError, NoUsableDataError):
                refused += 1
    assert 0 < refused < 300


@pytest.mark.parametrize("word", ["NA", "NaN", "N/A", "None"])
def test_a_word_for_a_missing_value_makes_no_factor(word):
    rows = [{"age": str(20 + n)} for n in range(9)] + [{"age": word}]
    with pytest.raises(SettingsError, match=f"age of participants.tsv holds '{word}'; write n/a"):
        check_columns(subject_frame(rows), ["age"])


@pytest.mark.parametrize(
    ("word", "message"),
    [('"patient"', '"patient" in quotation marks'), ("Patient", "differ only in capital letters")],
)
def test_a_level_that_is_spelt_in_two_ways_is_refused(word, message):
    rows = [{"group": level} for level in ("patient", "control", "patient", word)]
    with pytest.raises(SettingsError, match=message):
        check_columns(subject_frame(rows), ["group"])


def test_a_column_that_is_half_numbers_is_refused_with_its_words():
    rows = [{"age": str(20 + n)} for n in range(9)] + [{"age": "25y"}]
    with pytest.raises(SettingsError, match=r"9 numbers and 1 words \(25y\).*write C\(age\)"):
        check_columns(subject_frame(rows), ["age"])
    check_columns(TABLE, ["age", "sex", "group"])


def test_it_is_told_how_each_column_is_used():
    assert describe_columns(TABLE, ["sex", "mean_fd"]) == [
        "sex: factor with the levels F (6), M (6)", "mean_fd: numeric, 0 to 1.1",
    ]  # fmt: skip


def test_words_among_numbers_are_a_factor_where_the_formula_says_so():
    table = MANY.assign(dose=[str(n % 3) if n % 4 else "high" for n in range(N)])
    with pytest.raises(SettingsError, match=r"numbers and 10 words \(high\).*write C\(dose\)"):
        build_design(table, "dose", motion=False)
    built = build_design(table, "C(dose)", motion=False)
    assert built.design.columns[1:] == ("C(dose)[T.1]", "C(dose)[T.2]", "C(dose)[T.high]")
    assert built.columns[0].startswith("dose: factor with the levels 0 (")
    numbers = build_design(MANY, "C(site)", motion=False).columns
    assert numbers[0].startswith("site: factor with the levels 1 (")
