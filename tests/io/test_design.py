import numpy as np
import pandas as pd
import pytest

from npi_bids.errors import SettingsError
from npi_bids.io.design import (
    build_design,
    check_columns,
    describe_columns,
    rows_of,
    subject_frame,
)

ROWS = [
    {"participant_id": f"sub-{n}", "mean_fd": 0.1 * n, "group": "patient" if n % 2 else "control",
     "age": str(20 + n * n), "sex": "MFFM"[n % 4], "site": "abc"[n % 3]}
    for n in range(12)
]  # fmt: skip
TABLE = subject_frame(ROWS)


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


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("patient - control", [[0, 1, 0, 0, 0]]),
        ("control - patient", [[0, -1, 0, 0, 0]]),
        ("group[patient]", [[0, 1, 0, 0, 0]]),
        ("group", [[0, 1, 0, 0, 0]]),
        ("site", [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]),
        ("b - c", [[0, 0, 1, -1, 0]]),
        ("2*age - b", [[0, 0, -1, 0, 2]]),
    ],
)
def test_contrasts_say_what_they_test(text, rows):
    built = build_design(TABLE, "group + site + age", [text], motion=False)
    assert built.design.columns[-1] == "age"
    assert built.design.contrasts[0].matrix.tolist() == rows


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
    found = rows_of(maps, keep, tmp_path / "some.npy")
    np.testing.assert_array_equal(found, maps[keep])
    assert rows_of(maps, np.ones(4, dtype=bool), tmp_path / "none.npy") is maps


@pytest.mark.parametrize("word", ["NA", "NaN", "N/A", "None"])
def test_a_word_for_a_missing_value_makes_no_factor(word):
    rows = [{"age": str(20 + n)} for n in range(9)] + [{"age": word}]
    with pytest.raises(SettingsError, match=f"age of participants.tsv holds {word}; write n/a"):
        check_columns(subject_frame(rows), ["age"])


def test_a_column_that_is_half_numbers_is_refused_with_its_words():
    rows = [{"age": str(20 + n)} for n in range(9)] + [{"age": "25y"}]
    with pytest.raises(SettingsError, match=r"9 numbers and 1 words \(25y\).*write C\(age\)"):
        check_columns(subject_frame(rows), ["age"])
    check_columns(TABLE, ["age", "sex", "group"])


def test_it_is_told_how_each_column_is_used():
    assert describe_columns(TABLE, ["sex", "mean_fd"]) == [
        "sex: factor with the levels F (6), M (6)", "mean_fd: numeric, 0 to 1.1",
    ]  # fmt: skip
