"""Names that cannot be used: a problem of their subject alone."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npi_bids.bids.derivatives import UnitStatus
from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs
from npi_bids.bids.runs import FOLDER, CombineSettings, group_runs
from npi_bids.errors import InputDataError

STEM = "task-rest_run-1_space-MNI152NLin6Asym_desc-preproc_bold"


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if name.endswith(".json") else "")


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


def runs_of(root, **query):
    return find_runs(find_datasets(root, {}), QuerySettings(**query))


@pytest.fixture
def root(tmp_path):
    """Return a dataset with three subjects of one run; sub-02 is for the test to damage."""
    for sub in ("01", "02", "03"):
        touch(tmp_path, f"sub-{sub}/func/sub-{sub}_{STEM}.nii.gz")
    touch(tmp_path, "task-rest_bold.json")
    return tmp_path


def rename(root, name):
    path = root / f"sub-02/func/sub-02_{STEM}.nii.gz"
    path.rename(path.with_name(name))


DAMAGED = [
    (f"sub-02_{STEM.replace('run-1', 'run-1.5')}.nii.gz", "has run-1.5, which is no BIDS label"),
    (f"sub-02_{STEM.replace('rest', 're+st')}.nii.gz", "has task-re+st, which is no BIDS label"),
    (f"sub-02_{STEM.replace('run-1', 'proc-x')}.nii.gz", "has the unknown entity 'proc'"),
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


@pytest.mark.parametrize(("name", "words"), DAMAGED)
def test_a_name_that_cannot_be_used_is_a_problem_of_its_subject_alone(root, name, words):
    rename(root, name)
    runs = {run.entities["sub"]: run for run in runs_of(root)}
    assert words in runs["02"].problem
    assert name in runs["02"].problem
    assert (runs["01"].problem, runs["03"].problem) == ("", "")
    assert len(runs_of(root)) == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
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


def test_what_lies_in_another_session_is_refused(root):
    touch(root, f"sub-02/ses-1/func/sub-02_ses-2_{STEM}.nii.gz")
    problems = [run.problem for run in runs_of(root) if run.problem]
    assert len(problems) == 1
    assert "has ses-2 in its name but lies in ses-1" in problems[0]


def test_a_damaged_run_spoils_the_model_it_would_be_pooled_into(root):
    name = f"sub-02_{STEM.replace('run-1', 'run-1.5')}.nii.gz"
    touch(root, f"sub-02/func/{name}")
    pooled = group_runs(runs_of(root), CombineSettings(combine="runs"))
    assert [bool(unit.problems) for unit in pooled] == [False, True, False]
    single = group_runs(runs_of(root), CombineSettings(combine="none"))
    assert sorted(bool(unit.problems) for unit in single) == [False, False, False, True]


def test_a_damaged_confounds_name_harms_nobody_else(root):
    touch(root, "sub-02/func/sub-02_task-rest_run-1.5_desc-confounds_timeseries.tsv")
    assert not any(run.problem for run in runs_of(root))


def test_a_damaged_subject_decides_nothing_for_others(root):
    """Its space is not that of the others, and it has more of it."""
    for number in "23456":
        stem = STEM.replace("run-1", f"run-{number}.5").replace("6Asym", "2009cAsym")
        touch(root, f"sub-02/func/sub-02_{stem}.nii.gz")
    spaces = {run.entities["space"] for run in runs_of(root) if not run.problem}
    assert spaces == {"MNI152NLin6Asym"}


def test_a_label_of_a_subject_that_is_none_is_reported(root):
    touch(root, f"sub-Žofie/func/sub-Žofie_{STEM}.nii.gz")
    runs = [run for run in runs_of(root) if run.problem]
    assert [run.entities["sub"] for run in runs] == ["Žofie"]
    status = UnitStatus(runs[0].entities, "simple", "failed", "abc")
    assert status.path.name.startswith("sub-%C5%BDofie_task-rest")


@pytest.mark.parametrize("other", [".nii", "_run-01"])
def test_the_same_run_twice_is_a_problem_of_its_subject(root, other):
    stem = STEM.replace("run-1", "run-01") if other.startswith("_") else STEM
    name = f"sub-02_{stem}" + (".nii" if other == ".nii" else ".nii.gz")
    touch(root, f"sub-02/func/{name}")
    runs = runs_of(root)
    assert [run.entities["sub"] for run in runs if run.problem] == ["02", "02"]
    problem = next(run.problem for run in runs if run.problem)
    assert "are the same run" in problem
    assert name in problem
    assert f"sub-02_{STEM}.nii.gz" in problem


def test_labels_that_differ_in_case_alone_are_refused_for_both(root):
    if (root / "SUB-01").exists():
        pytest.skip("the file system ignores case")
    for sub in "pP":
        touch(root, f"sub-{sub}/func/sub-{sub}_{STEM}.nii.gz")
    touch(root, f"sub-02/func/sub-02_{STEM.replace('rest', 'Rest')}.nii.gz")
    refused = {run.entities["sub"]: run.problem for run in runs_of(root) if run.problem}
    assert set(refused) == {"p", "P", "02"}
    assert "sub-P and sub-p differ only in upper and lower case" in refused["p"]
    assert "differ only in upper and lower case" in refused["02"]


@pytest.mark.parametrize("suffix", ["desc-preproc_bold.nii.gz", "desc-brain_mask.nii.gz"])
def test_a_folder_in_the_place_of_a_file_is_named(root, suffix):
    name = f"sub-02_{STEM}.nii.gz".replace("desc-preproc_bold.nii.gz", suffix)
    (root / "sub-02/func" / name).unlink(missing_ok=True)
    (root / "sub-02/func" / name).mkdir()
    runs = [run for run in runs_of(root) if run.problem]
    assert [run.entities["sub"] for run in runs] == ["02"]
    assert f"{name}> is a folder" in runs[0].problem


def test_a_field_that_json_says_twice_is_named(root):
    path = next(root.glob("sub-02/func/*.json"), root / f"sub-02/func/sub-02_{STEM}.json")
    path.write_text('{"RepetitionTime": 2, "RepetitionTime": 3}')
    (run,) = [run for run in runs_of(root) if run.entities["sub"] == "02"]
    assert "holds the field 'RepetitionTime' 2 times" in run.problem


def test_json_that_is_nested_too_deeply_is_named(root):
    (root / f"sub-02/func/sub-02_{STEM}.json").write_text("[" * 100_000)
    problems = {run.entities["sub"]: run.problem for run in runs_of(root)}
    assert "nested too deeply" in problems.pop("02")
    assert not any(problems.values())


@pytest.mark.parametrize("links", ["sub-02", "sub-02/func", "sub-02/ses-1"])
def test_a_link_to_a_folder_that_is_not_here_is_named(root, links):
    path = root / links
    if links != "sub-02/ses-1":
        path.rename(root / "elsewhere")
    path.symlink_to("../.git/annex/missing")
    runs = [run for run in runs_of(root) if run.kind == FOLDER]
    assert [run.entities["sub"] for run in runs] == ["02"]
    assert "link to a folder that is not here" in runs[0].problem


def test_a_link_to_itself_is_named(root):
    (root / "sub-02" / "func").rename(root / "elsewhere")
    (root / "sub-02" / "func").symlink_to("func")
    runs = [run for run in runs_of(root) if run.problem]
    assert [run.entities["sub"] for run in runs] == ["02"]
    assert "cannot be read" in runs[0].problem


def test_links_of_reports_are_no_subjects(root):
    (root / "sub-02.html").symlink_to(".git/annex/missing")
    assert len(runs_of(root)) == 3


def test_an_unreadable_session_spoils_what_pools_it(root):
    touch(root, f"sub-02/ses-1/func/sub-02_ses-1_{STEM}.nii.gz")
    (root / "sub-02/ses-2").symlink_to("missing")
    (root / f"sub-02/func/sub-02_{STEM}.nii.gz").unlink()
    runs = runs_of(root)
    for combine, spoilt in (("none", 1), ("runs", 1), ("sessions", 1)):
        units = group_runs(runs, CombineSettings(combine=combine))
        usable = [unit for unit in units if not unit.problems]
        assert len(units) - len(usable) == spoilt
        assert len(usable) == (2 if combine == "sessions" else 3)


def test_only_phase_images_are_refused_in_words(tmp_path):
    touch(tmp_path, "sub-1/func/sub-1_task-x_part-phase_desc-preproc_bold.nii.gz")
    with pytest.raises(InputDataError, match="No magnitude images among 1 run"):
        runs_of(tmp_path)


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2.0, 2.1)])
def test_runs_of_different_tr_are_never_pooled(root, first, second):
    other = STEM.replace("run-1", "run-2")
    touch(root, f"sub-02/func/sub-02_{other}.nii.gz")
    for stem, tr in ((STEM, first), (other, second)):
        (root / f"sub-02/func/sub-02_{stem}.json").write_text(f'{{"RepetitionTime": {tr}}}')
    units = group_runs(runs_of(root), CombineSettings())
    (problem,) = next(unit.problems for unit in units if unit.entities["sub"] == "02")
    assert f"{first:g} s of" in problem
    assert f"{second:g} s of" in problem
    assert all(not u.problems for u in group_runs(runs_of(root), CombineSettings(combine="none")))


def test_true_is_no_repetition_time(root):
    (root / f"sub-02/func/sub-02_{STEM}.json").write_text('{"RepetitionTime": true}')
    assert [run.entities["sub"] for run in runs_of(root) if run.problem] == ["02"]


@pytest.mark.skipif(os.name != "posix", reason="names of bytes are a matter of POSIX")
def test_names_that_are_no_text_can_be_shown(root):
    folder = os.fsencode(root) + b"/sub-\xff/func"
    try:
        os.makedirs(folder)  # noqa: PTH103 (a name of bytes)
    except OSError:
        pytest.skip("the file system takes text alone")
    os.close(os.open(folder + b"/sub-\xff_" + STEM.encode() + b".nii.gz", os.O_CREAT))
    (run,) = [run for run in runs_of(root) if run.problem]
    assert run.problem.encode()
    assert run.entities["sub"] == "\\udcff"
