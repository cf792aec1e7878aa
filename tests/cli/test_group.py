"""The group level writes how to decide one kind of fit, where subjects differ in it."""

import tomllib
from types import SimpleNamespace

from npi_bids.bids.derivatives import Model
from npi_bids.bids.outputs import KINDS_FILE
from npi_bids.cli.group import _write_kinds
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
    assert (settings.delays, settings.residual) == ("none", "none")


def test_choices_of_one_kind_leave_no_file(tmp_path):
    _write_kinds([cohort_of({}, {"linear_is_var": 1.0})], tmp_path)
    assert (tmp_path / KINDS_FILE).is_file()
    _write_kinds([cohort_of({}, {})], tmp_path)
    assert not (tmp_path / KINDS_FILE).exists()
