"""The group level writes the most frequent choices of all fits."""

import tomllib
from types import SimpleNamespace

from npi_bids.bids.outputs import KINDS_FILE
from npi_bids.cli.group import _write_kinds
from npi_bids.cli.parser import read_config
from npi_bids.surrogates.base import TrainSettings


def cohort_of(*trainings):
    models = [
        (SimpleNamespace(fit=SimpleNamespace(surrogate="hybrid", training=training)),)
        for training in trainings
    ]
    return SimpleNamespace(subjects=dict(enumerate(models)))


def test_a_second_run_reads_the_most_frequent_choices(tmp_path):
    process, var = {"whitening_order": 1.0}, {"linear_is_var": 1.0, "residual_networks": 4.0}
    _write_kinds([cohort_of(process, process, var)], tmp_path)
    written = tomllib.loads((tmp_path / KINDS_FILE).read_text())
    assert written["linear_part"] == "process"
    assert written["whitening"] == "on"
    problems = []
    options = read_config(tmp_path / KINDS_FILE, [TrainSettings], problems)
    assert problems == []
    assert TrainSettings(**options[TrainSettings]).residual == "none"


def test_choices_of_one_kind_leave_no_file(tmp_path):
    _write_kinds([cohort_of({}, {"linear_is_var": 1.0})], tmp_path)
    assert (tmp_path / KINDS_FILE).is_file()
    _write_kinds([cohort_of({}, {})], tmp_path)
    assert not (tmp_path / KINDS_FILE).exists()
