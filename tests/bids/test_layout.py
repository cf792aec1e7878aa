from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs
from npi_bids.bids.runs import CombineSettings, group_runs
from npi_bids.errors import ConfigurationError, InputDataError, NoUsableDataError, SettingsError
from npi_bids.group.cohorts import find_cohorts
from npi_bids.group.selection import SelectionSettings
from tests.sidecars import model_sidecar


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if name.endswith(".json") else "")


def runs_of(root, **query):
    return find_runs(find_datasets(root, {}), QuerySettings(**query))


def names(runs):
    return [run.path.name for run in runs]


@pytest.fixture
def root(tmp_path):
    """Return a dataset with two subjects, sessions, runs and spaces; no image holds anything."""
    for sub in ("01", "02"):
        for ses in ("a", "b"):
            for run in ("1", "2"):
                stem = f"sub-{sub}/ses-{ses}/func/sub-{sub}_ses-{ses}_task-rest_run-{run}"
                touch(tmp_path, f"{stem}_desc-confounds_timeseries.tsv")
                for space in ("space-MNI152NLin2009cAsym_res-2", "space-T1w"):
                    touch(tmp_path, f"{stem}_{space}_desc-preproc_bold.nii.gz",
                          f"{stem}_{space}_desc-brain_mask.nii.gz")  # fmt: skip
    (tmp_path / "task-rest_bold.json").write_text('{"RepetitionTime": 1.5}')
    (tmp_path / "dataset_description.json").write_text('{"DatasetType": "derivative"}')
    return tmp_path


def test_runs_come_with_mask_confounds_and_inherited_tr(root):
    runs = runs_of(root)
    assert len(runs) == 8
    for run in runs:
        assert run.entities["space"] == "MNI152NLin2009cAsym"
        assert run.mask.name.endswith("res-2_desc-brain_mask.nii.gz")
        assert run.confounds.name.endswith(
            f"run-{run.entities['run']}_desc-confounds_timeseries.tsv"
        )
        assert run.tr == 1.5
        assert not run.problem
    assert runs[0].uri(runs[0].path).startswith("bids:preprocessed:sub-01/ses-a/func/sub-01")


def test_nearer_sidecar_goes_before_a_farther_one(root):
    stem = "sub-01/ses-a/func/sub-01_ses-a_task-rest_run-1_space-T1w_desc-preproc_bold.json"
    (root / stem).write_text('{"RepetitionTime": 0.8}')
    trs = [run.tr for run in runs_of(root, space="T1w")]
    assert trs == [0.8] + [1.5] * 7


@pytest.mark.parametrize(
    ("query", "n_runs"),
    [
        ({"participant_label": ("sub-01",)}, 4),
        ({"participant_label": ("01", "02")}, 8),
        ({"session_label": ("a",)}, 4),
        ({"session_label": ("ses-b",), "run_id": ("02",)}, 2),
        ({"task_id": ("rest",)}, 8),
        ({"run_id": ("1",)}, 4),
        ({"space": "T1w"}, 8),
        ({"res": "2"}, 8),
    ],
)
def test_queries(root, query, n_runs):
    assert len(runs_of(root, **query)) == n_runs


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"participant_label": ("03",)}, r"--participant-label 03: no such subject.*2: 01, 02"),
        ({"session_label": ("c",)}, "--session-label c: no run matches; found ses: a, b"),
        ({"task_id": ("nback",)}, "found task: rest"),
        ({"run_id": ("9",)}, "found run: 1, 2"),
        ({"space": "MNI152NLin6Asym"}, "found MNI152NLin2009cAsym, T1w"),
    ],
)
def test_a_query_without_a_match_says_what_there_is(root, query, message):
    with pytest.raises(InputDataError, match=message):
        runs_of(root, **query)


@pytest.mark.parametrize(
    ("filters", "n_runs"),
    [({"session": "a"}, 4), ({"ses": ["a", "b"], "run": 1}, 4), ({"acquisition": None}, 8),
     ({"run": "Query.ANY", "suffix": "bold"}, 8)],
)  # fmt: skip
def test_filter_file(root, tmp_path_factory, filters, n_runs):
    path = tmp_path_factory.mktemp("filter") / "filter.json"
    path.write_text(json.dumps({"bold": filters}))
    assert len(runs_of(root, bids_filter_file=str(path))) == n_runs


def test_filter_file_that_is_none(root, tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        runs_of(root, bids_filter_file=str(tmp_path / "nothing.json"))
    (tmp_path / "f.json").write_text("[1]")
    with pytest.raises(SettingsError, match="must hold an object"):
        runs_of(root, bids_filter_file=str(tmp_path / "f.json"))


def test_several_resolutions_ask_for_a_choice(root):
    for path in list(root.rglob("*res-2_desc-preproc_bold.nii.gz")):
        shutil.copy(path, path.with_name(path.name.replace("res-2", "res-1")))
    with pytest.raises(InputDataError, match="1, 2; choose with --res"):
        runs_of(root)
    assert len(runs_of(root, res="1")) == 8


def test_single_echoes_and_phase_images_are_left_out(tmp_path):
    touch(
        tmp_path,
        *(f"sub-1/func/sub-1_task-x_{part}desc-preproc_bold.nii.gz"
          for part in ("", "echo-1_", "echo-2_", "part-phase_")),
    )  # fmt: skip
    assert names(runs_of(tmp_path)) == ["sub-1_task-x_desc-preproc_bold.nii.gz"]


def test_derivatives_below_a_raw_root_and_named_ones(root, tmp_path_factory):
    raw = tmp_path_factory.mktemp("raw")
    (raw / "dataset_description.json").write_text('{"DatasetType": "raw"}')
    touch(raw, "sub-01/func/sub-01_task-rest_bold.nii.gz")
    with pytest.raises(
        InputDataError, match=r"not a dataset of fMRIPrep derivatives.*-d fmriprep="
    ):
        find_datasets(raw, {})
    (named,) = find_datasets(raw, {"mine": root})
    assert (named.link, len(find_runs([named], QuerySettings()))) == ("mine", 8)
    shutil.copytree(root, raw / "derivatives" / "fmriprep-23")
    (found,) = find_datasets(raw, {})
    assert found.root == (raw / "derivatives" / "fmriprep-23").resolve()


def test_several_derivatives_ask_for_a_choice(root, tmp_path_factory):
    raw = tmp_path_factory.mktemp("raw")
    for name in ("fmriprep-20", "fmriprep-23"):
        shutil.copytree(root, raw / "derivatives" / name)
    with pytest.raises(InputDataError, match="fmriprep-20, fmriprep-23; choose with -d"):
        find_datasets(raw, {})


def test_the_same_run_twice_is_refused(root, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy") / "b"
    shutil.copytree(root, copy)
    with pytest.raises(InputDataError, match="are the same run"):
        find_runs(find_datasets(root, {"a": root, "b": copy}), QuerySettings())


def test_runs_that_the_space_leaves_out_are_named(root, caplog):
    next(root.rglob("sub-02_ses-b*run-2_space-MNI*bold.nii.gz")).unlink()
    assert len(runs_of(root, space="MNI152NLin2009cAsym")) == 7
    assert "Not available in space MNI152NLin2009cAsym and left out: 1 run (" in caplog.text
    assert "sub-02_ses-b_task-rest_run-2" in caplog.text


def test_a_dangling_link_is_a_problem_of_its_run_alone(root):
    path = next(root.rglob("sub-02*run-2_space-MNI*bold.nii.gz"))
    path.unlink()
    path.symlink_to("../../.git/annex/objects/xx/MISSING")
    problems = [run.problem for run in runs_of(root) if run.problem]
    assert len(problems) == 1
    assert "datalad get" in problems[0]
    assert path.name in problems[0]


@pytest.mark.parametrize("tr", [0, -1, 2000, "two", True, False, 20.5])
def test_a_tr_that_cannot_be_is_a_problem(root, tr):
    (root / "task-rest_bold.json").write_text(json.dumps({"RepetitionTime": tr}))
    assert all(f"RepetitionTime {tr!r}" in run.problem for run in runs_of(root))
    assert all(run.tr is None for run in runs_of(root))


def test_a_tr_in_milliseconds_is_told_as_such(root):
    (root / "task-rest_bold.json").write_text('{"RepetitionTime": 2000}')
    words = "must be in seconds, not milliseconds, and at most 20, not 2000 (2000 ms are 2 s)."
    assert all(words in run.problem for run in runs_of(root))


def test_damaged_sidecar_is_named(root):
    (root / "task-rest_bold.json").write_text("{")
    runs = runs_of(root)
    assert all("task-rest_bold.json> cannot be read as JSON" in run.problem for run in runs)


@pytest.mark.parametrize(("combine", "n_units"), [("none", 8), ("runs", 4), ("sessions", 2)])
def test_runs_are_pooled_into_units(root, combine, n_units):
    units = group_runs(runs_of(root), CombineSettings(combine=combine))
    assert len(units) == n_units
    assert sum(len(unit.runs) for unit in units) == 8
    dropped = {"none": set(), "runs": {"run"}, "sessions": {"run", "ses"}}[combine]
    assert not dropped & set(units[0].entities)


@pytest.mark.parametrize(
    ("name", "n_runs", "n_subjects"), [("ds002748", 72, 72), ("ds000001", 48, 16)]
)
def test_real_trees(shared_data, tmp_path, name, n_runs, n_subjects):
    script = shared_data / "openneuro_skeletons" / "materialize.py"
    out = tmp_path / name
    subprocess.run(
        [sys.executable, script, f"{name}-fmriprep", out, "--subjects", "100", "--vols", "3"],
        check=True,
    )
    runs = runs_of(out)
    assert len(runs) == n_runs
    assert len({run.entities["sub"] for run in runs}) == n_subjects
    assert all(run.mask and run.confounds and run.tr and not run.problem for run in runs)


@pytest.mark.parametrize(("name", "n_runs"), [("synthetic", 6), ("ds000001-fmriprep", 3)])
def test_real_examples(shared_data, name, n_runs):
    runs = runs_of(shared_data / "bids_examples" / name)
    assert len(runs) == n_runs
    assert all(run.tr for run in runs)


def model(root, sub, task="rest", configuration="abc", tr=2.0, ses=None):
    stem = f"sub-{sub}/" + (f"ses-{ses}/" if ses else "") + f"func/sub-{sub}"
    stem += (f"_ses-{ses}" if ses else "") + f"_task-{task}_atlas-X_meas-npi_desc-simple_relmat"
    touch(root, f"{stem}.tsv")
    sidecar = model_sidecar(ConfigurationHash=configuration, RepetitionTime=tr)
    sidecar.write(root / f"{stem}.json")


def test_groups_by_task_with_sessions_within_subjects(tmp_path):
    for sub in ("1", "2"):
        for ses in ("a", "b"):
            model(tmp_path, sub, ses=ses)
        model(tmp_path, sub, task="nback")
    cohorts = {
        cohort.entities["task"]: cohort
        for cohort in find_cohorts(tmp_path, SelectionSettings(), 2)[0]
    }
    assert {key: len(c.subjects) for key, c in cohorts.items()} == {"rest": 2, "nback": 2}
    assert len(cohorts["rest"].subjects["1"]) == 2


def test_settings_are_never_mixed(tmp_path):
    model(tmp_path, "1")
    model(tmp_path, "2", configuration="xyz")
    with pytest.raises(ConfigurationError, match=r"configuration.*abc: sub-1; xyz: sub-2"):
        find_cohorts(tmp_path, SelectionSettings(), 2)


def test_sampling_periods_are_never_mixed(tmp_path):
    model(tmp_path, "1")
    model(tmp_path, "2", tr=0.8)
    with pytest.raises(InputDataError, match=r"sampling period.*2.0: sub-1; 0.8: sub-2"):
        find_cohorts(tmp_path, SelectionSettings(), 2)


def test_no_group_says_why(tmp_path):
    with pytest.raises(NoUsableDataError, match="participant level"):
        find_cohorts(tmp_path, SelectionSettings(), 2)
    model(tmp_path, "1")
    with pytest.raises(NoUsableDataError, match="No group has 2 subjects"):
        find_cohorts(tmp_path, SelectionSettings(), 2)


def test_names_of_the_first_versions_are_found(tmp_path):
    """Those of fMRIPrep 1.0, whose suffix stood before the space."""
    stem = "sub-1/func/sub-1_task-rest_run-1_bold"
    touch(tmp_path, f"{stem}_space-MNI152NLin2009cAsym_preproc.nii.gz",
          f"{stem}_space-MNI152NLin2009cAsym_brainmask.nii.gz", f"{stem}_confounds.tsv",
          f"{stem}_space-T1w_preproc.nii.gz")  # fmt: skip
    (run,) = runs_of(tmp_path)
    assert run.entities == {
        "sub": "1", "task": "rest", "run": "1", "space": "MNI152NLin2009cAsym",
    }  # fmt: skip
    assert run.path.name.endswith("_space-MNI152NLin2009cAsym_preproc.nii.gz")
    assert run.mask.name.endswith("_brainmask.nii.gz")
    assert run.confounds.name.endswith("_bold_confounds.tsv")
