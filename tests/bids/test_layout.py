from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npi_bids.bids.derivatives import UnitStatus
from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs
from npi_bids.bids.runs import FOLDER, CombineSettings, group_runs
from npi_bids.errors import InputDataError, SettingsError
from tests.bids.conftest import STEM, runs_of
from tests.conftest import touch

PARTS = st.sampled_from(
    [*("sub-02", "sub-03", "task-rest", "run-1", "run-01", "run-²", "ses-1", "acq-1.5", "proc-x"),
     *("space-MNI152NLin6Asym", "space-T1w", "space-a.b", "desc-preproc", "desc-a.b", "hemi-L"),
     *("atlas-A", "seg-B+", "res-2", "part-phase", "echo-1", "x", "", "-", "a-", "-b", "task-"),
     *("Run-1", "sub-", "..", "\n", "run-1-2", "stat-mean", "stat-a.b", "task-čas")]
)  # fmt: skip
ENDINGS = st.sampled_from(
    ["_bold.nii.gz", "_bold.nii", "_timeseries.tsv", "_bold.dtseries.nii", "_bold.func.gii",
     "_mask.nii.gz", "_bold.json"]
)  # fmt: skip
NAMES = st.lists(
    st.tuples(st.lists(PARTS, max_size=6), ENDINGS, st.sampled_from(["", "{", "[1]", "{}"])),
    max_size=4,
)

DAMAGED = [
    (f"sub-02_{STEM.replace('run-1', 'run-1.5')}.nii.gz", "has run-1.5, which is no BIDS label"),
    (f"sub-02_{STEM.replace('rest', 're+st')}.nii.gz", "has task-re+st, which is no BIDS label"),
    (
        f"sub-02_{STEM.replace('run-1', 'taks-x')}.nii.gz",
        "'taks', which BIDS does not define; did",
    ),
    (f"sub-02_{STEM.replace('run-1', 'acq-..')}.nii.gz", "has acq-.., which is no BIDS label"),
    (f"sub-02_{STEM.replace('rest', 'čas')}.nii.gz", "has task-čas, which is no BIDS label"),
    (f"sub-02_{STEM.replace('run-1', 'first')}.nii.gz", "has the part 'first'; expected pairs"),
    (f"sub-02_{STEM.replace('run-1', 'task-a')}.nii.gz", "has the entity task twice"),
    (f"sub-02_{STEM.replace('6Asym', '6.1')}.nii.gz", "has space-MNI152NLin6.1, which is no"),
    (f"sub-02_{STEM.replace('MNI152NLin6Asym', '')}.nii.gz", "has space-, which is no BIDS label"),
    (f"sub-02_{STEM.replace('space', 'Space')}.nii.gz", "has the unknown entity 'Space'"),
    (f"sub-03_{STEM}.nii.gz", "has sub-03 in its name but lies in sub-02"),
    (f"sub-02_ses-1_{STEM}.nii.gz", "has ses-1 in its name but lies in a folder without ses-"),
]


def names(runs):
    return [run.path.name for run in runs]


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


def rename(root, name):
    path = root / f"sub-02/func/sub-02_{STEM}.nii.gz"
    path.rename(path.with_name(name))


@pytest.mark.parametrize(("name", "words"), DAMAGED)
def test_a_name_that_cannot_be_used_is_a_problem_of_its_subject_alone(three_subjects, name, words):
    rename(three_subjects, name)
    runs = {run.entities["sub"]: run for run in runs_of(three_subjects)}
    assert words in runs["02"].problem
    assert name in runs["02"].problem
    assert (runs["01"].problem, runs["03"].problem) == ("", "")
    assert len(runs_of(three_subjects)) == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None,
          max_examples=30)  # fmt: skip
@given(NAMES)
def test_no_name_in_one_folder_stops_another_subject(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("names")
    touch(root, *(f"sub-{sub}/func/sub-{sub}_{STEM}.nii.gz" for sub in ("01", "03")))
    touch(root, "sub-02/func/README")
    for parts, ending, content in names:
        path = root / "sub-02/func" / ("_".join(["sub-02", *parts]) + ending)
        path.write_text(content)
    runs = runs_of(root)
    assert {run.entities["sub"] for run in runs if not run.problem} >= {"01", "03"}
    for combine in ("none", "runs", "sessions"):
        for unit in group_runs(runs, CombineSettings(combine=combine)):
            assert UnitStatus(unit.entities, "simple", "failed", "x").path.name
            assert not unit.problems or unit.entities["sub"] == "02"


def test_what_lies_in_another_session_is_refused(three_subjects):
    touch(three_subjects, f"sub-02/ses-1/func/sub-02_ses-2_{STEM}.nii.gz")
    problems = [run.problem for run in runs_of(three_subjects) if run.problem]
    assert len(problems) == 1
    assert "has ses-2 in its name but lies in ses-1" in problems[0]


def test_a_damaged_confounds_name_harms_nobody_else(three_subjects):
    touch(three_subjects, "sub-02/func/sub-02_task-rest_run-1.5_desc-confounds_timeseries.tsv")
    assert not any(run.problem for run in runs_of(three_subjects))


def test_a_damaged_subject_decides_nothing_for_others(three_subjects):
    """Its space is not that of the others, and it has more of it."""
    for number in "23456":
        stem = STEM.replace("run-1", f"run-{number}.5").replace("6Asym", "2009cAsym")
        touch(three_subjects, f"sub-02/func/sub-02_{stem}.nii.gz")
    spaces = {run.entities["space"] for run in runs_of(three_subjects) if not run.problem}
    assert spaces == {"MNI152NLin6Asym"}


def test_a_label_of_a_subject_that_is_none_is_reported(three_subjects):
    touch(three_subjects, f"sub-Žofie/func/sub-Žofie_{STEM}.nii.gz")
    runs = [run for run in runs_of(three_subjects) if run.problem]
    assert [run.entities["sub"] for run in runs] == ["Žofie"]
    status = UnitStatus(runs[0].entities, "simple", "failed", "abc")
    assert status.path.name.startswith("sub-%C5%BDofie_task-rest")


@pytest.mark.parametrize("other", [".nii", "_run-01"])
def test_the_same_run_twice_is_a_problem_of_its_subject(three_subjects, other):
    stem = STEM.replace("run-1", "run-01") if other.startswith("_") else STEM
    name = f"sub-02_{stem}" + (".nii" if other == ".nii" else ".nii.gz")
    touch(three_subjects, f"sub-02/func/{name}")
    runs = runs_of(three_subjects)
    assert [run.entities["sub"] for run in runs if run.problem] == ["02", "02"]
    problem = next(run.problem for run in runs if run.problem)
    assert "are the same run" in problem
    assert name in problem
    assert f"sub-02_{STEM}.nii.gz" in problem


def test_labels_that_differ_in_case_alone_are_refused_for_both(three_subjects):
    if (three_subjects / "SUB-01").exists():
        pytest.skip("the file system ignores case")
    for sub in "pP":
        touch(three_subjects, f"sub-{sub}/func/sub-{sub}_{STEM}.nii.gz")
    touch(three_subjects, f"sub-02/func/sub-02_{STEM.replace('rest', 'Rest')}.nii.gz")
    refused = {run.entities["sub"]: run.problem for run in runs_of(three_subjects) if run.problem}
    assert set(refused) == {"p", "P", "02"}
    assert "sub-P and sub-p differ only in upper and lower case" in refused["p"]
    assert "differ only in upper and lower case" in refused["02"]


@pytest.mark.parametrize("suffix", ["desc-preproc_bold.nii.gz", "desc-brain_mask.nii.gz"])
def test_a_folder_in_the_place_of_a_file_is_named(three_subjects, suffix):
    name = f"sub-02_{STEM}.nii.gz".replace("desc-preproc_bold.nii.gz", suffix)
    (three_subjects / "sub-02/func" / name).unlink(missing_ok=True)
    (three_subjects / "sub-02/func" / name).mkdir()
    runs = [run for run in runs_of(three_subjects) if run.problem]
    assert [run.entities["sub"] for run in runs] == ["02"]
    assert f"{name}> is a folder" in runs[0].problem


def test_a_field_that_json_says_twice_is_named(three_subjects):
    path = next(
        three_subjects.glob("sub-02/func/*.json"),
        three_subjects / f"sub-02/func/sub-02_{STEM}.json",
    )
    path.write_text('{"RepetitionTime": 2, "RepetitionTime": 3}')
    (run,) = [run for run in runs_of(three_subjects) if run.entities["sub"] == "02"]
    assert "holds the field 'RepetitionTime' 2 times" in run.problem


def test_json_that_is_nested_too_deeply_is_named(three_subjects):
    (three_subjects / f"sub-02/func/sub-02_{STEM}.json").write_text("[" * 100_000)
    problems = {run.entities["sub"]: run.problem for run in runs_of(three_subjects)}
    assert "nested too deeply" in problems.pop("02")
    assert not any(problems.values())


@pytest.mark.parametrize("links", ["sub-02", "sub-02/func", "sub-02/ses-1"])
def test_a_link_to_a_folder_that_is_not_here_is_named(three_subjects, links):
    path = three_subjects / links
    if links != "sub-02/ses-1":
        path.rename(three_subjects / "elsewhere")
    path.symlink_to("../.git/annex/missing")
    runs = [run for run in runs_of(three_subjects) if run.input_format == FOLDER]
    assert [run.entities["sub"] for run in runs] == ["02"]
    assert "link to a folder that is not here" in runs[0].problem


def test_a_link_to_itself_is_named(three_subjects):
    (three_subjects / "sub-02" / "func").rename(three_subjects / "elsewhere")
    (three_subjects / "sub-02" / "func").symlink_to("func")
    runs = [run for run in runs_of(three_subjects) if run.problem]
    assert [run.entities["sub"] for run in runs] == ["02"]
    assert "cannot be read" in runs[0].problem


def test_links_of_reports_are_no_subjects(three_subjects):
    (three_subjects / "sub-02.html").symlink_to(".git/annex/missing")
    assert len(runs_of(three_subjects)) == 3


def test_only_phase_images_are_refused_in_words(tmp_path):
    touch(tmp_path, "sub-1/func/sub-1_task-x_part-phase_desc-preproc_bold.nii.gz")
    with pytest.raises(InputDataError, match="No magnitude images among 1 run"):
        runs_of(tmp_path)


def test_true_is_no_repetition_time(three_subjects):
    (three_subjects / f"sub-02/func/sub-02_{STEM}.json").write_text('{"RepetitionTime": true}')
    assert [run.entities["sub"] for run in runs_of(three_subjects) if run.problem] == ["02"]


@pytest.mark.skipif(os.name != "posix", reason="names of bytes are a matter of POSIX")
def test_names_that_are_no_text_can_be_shown(three_subjects):
    folder = os.fsencode(three_subjects) + b"/sub-\xff/func"
    try:
        os.makedirs(folder)  # noqa: PTH103 (a name of bytes)
    except OSError:
        pytest.skip("the file system takes text alone")
    os.close(os.open(folder + b"/sub-\xff_" + STEM.encode() + b".nii.gz", os.O_CREAT))
    (run,) = [run for run in runs_of(three_subjects) if run.problem]
    assert run.problem.encode()
    assert run.entities["sub"] == "\\udcff"
