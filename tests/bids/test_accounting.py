"""Every participant, session, task and run that was requested is accounted for."""

from __future__ import annotations

import json

import pytest

from npi_bids.bids.accounting import Account
from npi_bids.bids.datasets import find_datasets
from npi_bids.bids.layout import QuerySettings, select_runs
from npi_bids.bids.runs import BoldRun
from npi_bids.errors import InputDataError
from tests.bids.conftest import STEM
from tests.conftest import touch


def select(root, **query):
    return select_runs(find_datasets(root, {}), QuerySettings(**query))


def absent(selection):
    return {"_".join(f"{key}-{label}" for key, label in absence.entities.items()): absence.reason
            for absence in selection.absences}  # fmt: skip


def subjects(selection):
    return sorted({run.entities["sub"] for run in selection.runs})


def test_nothing_is_absent_where_all_is_there(root):
    assert select(root, session_label=("a", "b"), run_id=("1", "2")).absences == []


def test_a_participant_without_runs_is_named_and_stops_no_other(root, caplog):
    touch(root, "sub-03/anat/sub-03_T1w.nii.gz")
    selection = select(root)
    assert absent(selection) == {"sub-03": "no preprocessed run"}
    assert subjects(selection) == ["01", "02"]
    assert "Left out, no preprocessed run: sub-03" in caplog.text


def test_a_participant_without_runs_that_is_requested_by_its_label_is_an_error(root):
    touch(root, "sub-03/anat/sub-03_T1w.nii.gz")
    with pytest.raises(InputDataError, match=r"--participant-label 03: no .*1 participant"):
        select(root, participant_label=("01", "03"))


def test_a_session_that_one_participant_lacks_is_named(root):
    for path in list(root.glob("sub-02/ses-b/func/*")):
        path.unlink()
    selection = select(root, session_label=("a", "b"))
    assert absent(selection) == {"sub-02_ses-b": "no preprocessed run"}
    assert len(selection.runs) == 6
    selection = select(root, session_label=("b",))
    assert absent(selection) == {
        "sub-02": "no run matches --session-label b",
        "sub-02_ses-b": "no preprocessed run",
    }
    assert subjects(selection) == ["01"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"session_label": ("a", "c")}, "--session-label c: no run matches; found ses: a, b"),
        ({"run_id": ("1", "7", "8")}, "--run-id 7 8: no run matches; found run: 1, 2"),
        ({"task_id": ("rest", "x"), "session_label": ("c",)}, "ses: a, b. --task-id x: no run"),
        ({"participant_label": ("01", "5")}, "--participant-label 5: no such subject"),
    ],
)
def test_a_label_that_nothing_has_is_an_error_although_others_match(root, query, words):
    with pytest.raises(InputDataError) as error:
        select(root, **query)
    assert words in str(error.value)
    assert error.value.exit_code == 3


def test_labels_are_equal_as_text_and_runs_as_numbers(tmp_path):
    for ses in ("1", "01"):
        touch(tmp_path, f"sub-1/ses-{ses}/func/sub-1_ses-{ses}_{STEM}.nii.gz")
    (run,) = select(tmp_path, session_label=("1",), run_id=("001",)).runs
    assert run.entities["ses"] == "1"
    with pytest.raises(InputDataError, match="no such subject"):
        select(tmp_path, participant_label=("01",))


def test_a_participant_in_another_format_or_space_is_named(root):
    touch(root, "sub-03/func/sub-03_task-rest_space-fsLR_den-91k_bold.dtseries.nii",
          f"sub-04/func/sub-04_{STEM}.nii.gz".replace("6Asym", "2"))  # fmt: skip
    assert absent(select(root)) == {
        "sub-03": "no run in the format nifti",
        "sub-04_task-rest_run-1_space-MNI152NLin2":
            "not available in space MNI152NLin2009cAsym",
        "sub-04": "no run in space MNI152NLin2009cAsym",
    }  # fmt: skip


def test_a_run_that_is_not_available_in_the_space_is_named(root):
    next(root.rglob("sub-02_ses-b*run-2_space-MNI*bold.nii.gz")).unlink()
    selection = select(root, space="MNI152NLin2009cAsym")
    assert list(absent(selection).values()) == ["not available in space MNI152NLin2009cAsym"]


def test_a_damaged_name_or_folder_is_no_absence(three_subjects):
    path = three_subjects / f"sub-02/func/sub-02_{STEM}.nii.gz"
    path.rename(path.with_name(path.name.replace("run-1", "run-1.5")))
    (three_subjects / "sub-03/func").rename(three_subjects / "elsewhere")
    (three_subjects / "sub-03/func").symlink_to("missing")
    selection = select(three_subjects, run_id=("1",))
    assert selection.absences == []
    assert subjects(selection) == ["01", "02", "03"]


def test_what_a_filter_takes_of_a_requested_session_is_named(root, tmp_path_factory):
    touch(root, "sub-01/ses-a/func/sub-01_ses-a_task-x_space-T1w_desc-preproc_bold.nii.gz")
    path = tmp_path_factory.mktemp("filter") / "filters.json"
    path.write_text(json.dumps({"bold": {"task": "x"}}))
    selection = select(root, bids_filter_file=str(path), session_label=("a", "b"))
    reason = f"no run matches --bids-filter-file <{path}>"
    assert absent(selection) == {"sub-02": reason, "sub-01_ses-b": reason}


def test_parts_of_a_participant_that_is_lost_are_not_named_again(tmp_path):
    account = Account(["1", "2"], {"ses": ["a", "b"]})
    runs = [BoldRun(tmp_path / "x", {"sub": "1", "ses": ses}, tmp_path, "") for ses in "ab"]
    account.keep(runs, "why")
    assert [absence.entities for absence in account.absences] == [{"sub": "2"}]
    account.keep(runs[:1], "then")
    assert account.absences[1].entities == {"sub": "1", "ses": "b"}
    account.keep([], "at last")
    assert [absence.entities for absence in account.absences[2:]] == [{"sub": "1"}]
