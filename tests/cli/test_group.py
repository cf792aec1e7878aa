"""The group level writes how to decide one kind of fit, where subjects differ in it."""

import tomllib
from types import SimpleNamespace

import pytest

from npi_bids.bids.derivatives import Model
from npi_bids.bids.outputs import KINDS_FILE
from npi_bids.cli.group import _find_people, _write_kinds
from npi_bids.cli.parser import read_config
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.settings import KindSettings


def cohort_of(*trainings):
    models = [
        (Model(None, {}, "", SimpleNamespace(
            fit=SimpleNamespace(surrogate="hybrid", training=training, kind_decision=None)
        )),)
        for training in trainings
    ]  # fmt: skip
    return SimpleNamespace(name="group", subjects=dict(enumerate(models)))


def test_the_next_run_reads_that_the_dataset_decides(tmp_path):
    process, var = {"whitening_order": 1.0}, {"linear_is_var": 1.0, "residual_networks": 4.0}
    _write_kinds([cohort_of(process, process, var)], tmp_path)
    problems = []
    options = read_config(tmp_path / KINDS_FILE, [KindSettings, TrainSettings], problems)
    assert problems == []
    assert KindSettings(**options[KindSettings]).fit_kind == "dataset"
    assert options[TrainSettings] == {}  # which would be another configuration


def test_comments_hold_the_options_for_another_dataset(tmp_path):
    process, var = {"whitening_order": 1.0}, {"linear_is_var": 1.0, "residual_networks": 4.0}
    _write_kinds([cohort_of(process, process, var)], tmp_path)
    text = (tmp_path / KINDS_FILE).read_text()
    commented = [line[2:] for line in text.splitlines() if line.startswith("# ") and "=" in line]
    settings = TrainSettings(**tomllib.loads("\n".join(commented)))
    assert (settings.linear_part, settings.whitening) == ("process", "on")
    assert (settings.delays, settings.residual) == ("possible", "none")


def test_choices_of_one_kind_leave_no_file(tmp_path):
    _write_kinds([cohort_of({}, {"linear_is_var": 1.0})], tmp_path)
    assert (tmp_path / KINDS_FILE).is_file()
    _write_kinds([cohort_of({}, {})], tmp_path)
    assert not (tmp_path / KINDS_FILE).exists()


@pytest.mark.parametrize(
    ("levels", "own", "read"),
    [
        (("group",), "participant_id\tage\nsub-01\t1\n", "out"),
        (("participant", "group"), "participant_id\tage\nsub-01\t1\n", "in"),
        (("participant", "group"), "participant_id\tage\tscore\nsub-01\t1\t5\n", "out"),
        (("participant", "group"), None, "in"),
        (("group",), None, "in"),
    ],
)
def test_a_model_is_checked_with_the_table_that_the_group_will_have(tmp_path, levels, own, read):
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "in/participants.tsv").write_text("participant_id\tage\nsub-01\t2\n")
    if own:
        (tmp_path / "out/participants.tsv").write_text(own)
    request = SimpleNamespace(out_dir=tmp_path / "out", levels=levels)
    people = _find_people(request, [tmp_path / "in", tmp_path / "out"])
    assert people["01"]["age"] == {"in": "2", "out": "1"}[read]


def test_no_table_of_participants_is_no_error(tmp_path):
    request = SimpleNamespace(out_dir=tmp_path, levels=("participant", "group"))
    assert _find_people(request, [tmp_path]) == {}
