"""Which models are fitted again, so that all are of one kind."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from npi_bids.bids.derivatives import DONE, FAILED, Model, UnitStatus
from npi_bids.cli import fit_kinds
from npi_bids.cli.fit_kinds import (
    CAREFUL,
    DATASET,
    SUBJECT,
    UNDECIDED,
    find_refits,
    who_decides,
)
from npi_bids.surrogates.base import TrainSettings

PROCESS, WHITENED = {"linear_is_var": 0.0}, {"whitening_order": 1.0}


@dataclass(frozen=True)
class Task:
    """What is fitted again, as far as the decision reads it."""

    name: str
    kind: object = None


class Dataset:
    """Models of an output dataset by subject, and tasks to fit them again."""

    def __init__(self, monkeypatch, trainings, **train):
        self.trainings, self.decisions = trainings, {}
        analysis = SimpleNamespace(configuration="c", train=TrainSettings(**train))
        query = SimpleNamespace(labels=lambda _: ())
        self.request = SimpleNamespace(out_dir=Path("out"), analysis=analysis, query=query)
        monkeypatch.setattr(fit_kinds, "find_models", self.find_models)

    def find_models(self, *_, **__):
        for sub, training in self.trainings.items():
            fit = SimpleNamespace(
                surrogate="hybrid", training=training, kind_decision=self.decisions.get(sub)
            )
            links = SimpleNamespace(configuration_hash="c")
            yield Model(Path("out"), {"sub": sub, "task": "rest"}, "simple",
                        SimpleNamespace(fit=fit, links=links))  # fmt: skip

    def refits(self, decider=DATASET, failed=()):
        """Return the imposed settings by subject of what is fitted again, and note them."""
        names = {sub: f"sub-{sub}_task-rest_desc-simple" for sub in self.trainings}
        tasks = [Task(name) for name in names.values()]
        statuses = [
            UnitStatus(
                {"sub": sub, "task": "rest"}, "simple", FAILED if sub in failed else DONE, "c"
            )
            for sub in self.trainings
        ]
        refits = {task.name[4:6]: task.kind
                  for task in find_refits(tasks, statuses, self.request, decider)}  # fmt: skip
        self.decisions |= refits
        return {sub: kind and kind.settings["whitening"] for sub, kind in refits.items()}


def test_those_of_another_kind_are_fitted_again_once(monkeypatch):
    dataset = Dataset(monkeypatch, {"01": PROCESS, "02": WHITENED, "03": PROCESS})
    assert dataset.refits() == {"02": "off"}
    assert dataset.decisions["02"].own_kind == "process, whitened"
    assert dataset.decisions["02"].subjects_of_kind == {"process": 2, "process, whitened": 1}
    assert dataset.refits() == {}


def test_a_majority_that_changes_with_further_subjects_is_decided_anew(monkeypatch):
    dataset = Dataset(monkeypatch, {"01": PROCESS, "02": WHITENED, "03": PROCESS})
    dataset.refits()
    dataset.trainings |= {"02": PROCESS, "04": WHITENED, "05": WHITENED}  # 02 is fitted as process
    # Subject 02 goes back to what its own data chose, and the others follow.
    assert dataset.refits() == {"01": "on", "02": None, "03": "on"}


def test_delays_that_few_show_are_taken_away_on_request_alone(monkeypatch, caplog):
    delayed = {"delay_sd": 0.5, "common_gain": 0.0, "whitening_order": 0.0}
    dataset = Dataset(monkeypatch, {"01": PROCESS, "02": delayed, "03": PROCESS, "04": WHITENED})
    with caplog.at_level("INFO"):
        assert dataset.refits(CAREFUL) == {"04": "off"}
    assert "are kept in 1 model: sub-02" in caplog.text
    assert dataset.refits(DATASET) == {"02": "off"}
    assert dataset.refits(CAREFUL) == {"02": None}
    # What most subjects show is imposed on the others in any case.
    others = Dataset(monkeypatch, {"01": PROCESS, "02": delayed, "03": delayed})
    assert others.refits(CAREFUL) == {"01": "off"}
    assert others.decisions["01"].settings["delays"] == "on"


def test_subjects_can_go_back_to_their_own_kind(monkeypatch):
    dataset = Dataset(monkeypatch, {"01": PROCESS, "02": WHITENED, "03": PROCESS})
    dataset.refits()
    assert dataset.refits(UNDECIDED) == {}
    assert dataset.refits(SUBJECT) == {"02": None}


def test_what_failed_is_not_fitted_again(monkeypatch):
    dataset = Dataset(monkeypatch, {"01": PROCESS, "02": WHITENED, "03": PROCESS})
    assert dataset.refits(failed=["02"]) == {}


def test_one_subject_decides_nothing(monkeypatch):
    assert Dataset(monkeypatch, {"01": WHITENED}).refits() == {}


def test_a_kind_that_the_options_exclude_is_not_imposed_and_the_log_says_so(monkeypatch, caplog):
    dataset = Dataset(
        monkeypatch,
        {"01": PROCESS, "02": {"common_gain": 1.0, "passband": [0.01, 0.1]}, "03": PROCESS},
        passband=("0.01", "0.1"),
    )
    with caplog.at_level("WARNING"):
        assert dataset.refits() == {}
    assert "cannot be imposed with these options" in caplog.text


@pytest.mark.parametrize(
    ("option", "labels", "decider"),
    [("auto", (), CAREFUL), ("auto", ("sub-01",), UNDECIDED), ("auto", ("02", "01"), CAREFUL),
     ("dataset", ("01",), DATASET), ("subject", (), SUBJECT)],
)  # fmt: skip
def test_the_dataset_decides_where_all_its_subjects_are_run(tmp_path, option, labels, decider):
    for sub in ("01", "02"):
        (tmp_path / f"sub-{sub}").mkdir()
    request = SimpleNamespace(
        analysis=SimpleNamespace(kinds=SimpleNamespace(fit_kind=option)),
        query=SimpleNamespace(participant_label=labels),
    )
    assert who_decides(request, [SimpleNamespace(root=tmp_path)]) == decider
