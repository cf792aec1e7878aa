from __future__ import annotations

import logging

import pytest

from npi_bids.bids.derivatives import Model
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.group.selection import (
    SelectionSettings,
    read_exclusions,
    read_participants,
    select_models,
)
from tests.sidecars import model_sidecar


def exclusions(tmp_path, text):
    (tmp_path / "exclude.tsv").write_text(text)
    return read_exclusions(tmp_path / "exclude.tsv")


def participants(tmp_path, text):
    (tmp_path / "participants.tsv").write_text(text)
    return read_participants(tmp_path)


def choose(tmp_path, text, labels=("01", "02")):
    (tmp_path / "exclude.tsv").write_text(text)
    models = [Model(tmp_path, {"sub": label}, "x", model_sidecar()) for label in labels]
    settings = SelectionSettings(exclude_file=str(tmp_path / "exclude.tsv"))
    return {m.model.entities["sub"]: m.reason for m in select_models(models, tmp_path, settings)}


def test_blanks_around_a_label_exclude_all_the_same(tmp_path):
    text = "participant_id\treason\n# a comment\nsub-01 \tmotion\n 02\t withdrew \r\n\nsub-03\n"
    assert exclusions(tmp_path, text) == {
        "01": "motion", "02": "withdrew", "03": "in the file of exclusions",
    }  # fmt: skip
    assert choose(tmp_path, text) == {"01": "motion", "02": "withdrew"}


@pytest.mark.parametrize("line", ["sub-04,reason", "sub-04 reason", "sub-", "sub-Ž"])
def test_a_line_that_begins_with_no_label_is_refused(tmp_path, line):
    with pytest.raises(SettingsError, match=r"line 2: .* is no label"):
        exclusions(tmp_path, f"sub-01\n{line}\n")


def test_labels_that_exclude_nobody_are_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "npi_bids"):
        assert choose(tmp_path, "sub-99\nsub-01\n")["02"] == ""
    assert "have no map, so that nobody is excluded: sub-99" in caplog.text


@pytest.mark.parametrize(("written", "meant"), [("1", "01"), ("001", "01"), ("AB", "ab")])
def test_a_label_that_is_nearly_one_of_the_dataset_is_refused(tmp_path, written, meant):
    with pytest.raises(SettingsError, match=f"no sub-{written}, but a sub-{meant}"):
        choose(tmp_path, written, labels=(meant, "07"))


def test_quotes_of_participants_are_characters(tmp_path):
    rows = participants(
        tmp_path, 'participant_id\tnote\tage\nsub-01\t"left\t20\nsub-02\tok"\t30\n'
    )
    assert {label: row["age"] for label, row in rows.items()} == {"01": "20", "02": "30"}


def test_blanks_around_cells_of_participants_are_removed(tmp_path):
    rows = participants(tmp_path, "participant_id\tgroup\n sub-01 \ta \n02\t a\n")
    assert {label: row["group"] for label, row in rows.items()} == {"01": "a", "02": "a"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("participant_id\tage\nsub-01\t20\n01\t30\n", "several rows of sub-01"),
        ("participant_id\tage\tage\nsub-01\t20\t30\n", "several columns of the same name: age"),
        ("age\tparticipant_id\n20\n", "1 cells in line 2"),
        ("participant_id\tage\nsub-01\t20\t3\n", "3 cells in line 2"),
        ("participant_id\tage\nn/a\t20\n", "no participant_id in line 2"),
        ("id\tage\n1\t20\n", "has the columns id, age; expected a participant_id"),
    ],
)
def test_a_table_that_is_not_one_row_per_participant_is_refused(tmp_path, text, message):
    with pytest.raises(InputDataError, match=message):
        participants(tmp_path, text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("a", "A"), "'a' and 'A' make the label 'a'"),
        (("healthy control", "healthycontrol"), "make the label 'healthycontrol'"),
        (("+", "a"), r"'\+' makes the label ''"),
    ],
)
def test_groups_whose_labels_would_be_one_are_refused(tmp_path, values, message):
    rows = "".join(f"sub-{n:02d}\t{value}\n" for n, value in enumerate(values))
    (tmp_path / "participants.tsv").write_text(f"participant_id\tarm\n{rows}")
    with pytest.raises(SettingsError, match=message):
        select_models([], tmp_path, SelectionSettings(group_by="arm"))


def test_of_the_ratings_that_pages_export_only_exclude_excludes(tmp_path):
    text = (
        "participant_id\trating\treason\nsub-01\texclude\tspikes at the end\n"
        "sub-02\tdoubtful\tmotion\nsub-03\tinclude\tn/a\nsub-04\texclude\tn/a\n"
    )
    assert exclusions(tmp_path, text) == {
        "01": "rated exclude: spikes at the end", "04": "rated exclude",
    }  # fmt: skip
