"""One subject that cannot be read stops no other, and a dry run finds what a run finds."""

import json
import os
import shutil

import pytest

from npi_bids.bids.derivatives import find_statuses
from tests.conftest import var_run
from tests.end_to_end.conftest import as_another_user, run_command

VAR = ("--surrogate", "var")
STEM = "task-rest_space-MNI152NLin6Asym_seg-4S4Parcels_stat-mean_timeseries"


def write_subject(root, weights, subject):
    func = root / f"sub-{subject}" / "func"
    func.mkdir(parents=True)
    data = var_run(weights, 260, seed=int(subject)).data
    lines = ["A\tB\tC\tD", *("\t".join(f"{value:.6f}" for value in row) for row in data)]
    (func / f"sub-{subject}_{STEM}.tsv").write_text("\n".join(lines) + "\n")
    (func / f"sub-{subject}_{STEM}.json").write_text('{"RepetitionTime": 2.0}')


@pytest.fixture
def series(tmp_path, weights):
    """Return a dataset of regional series of three subjects; sub-2 is for the test to damage."""
    root = tmp_path / "xcp_d"
    for subject in "123":
        write_subject(root, weights, subject)
    description = {"Name": "x", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return root


def table(root, subject="2"):
    return root / f"sub-{subject}/func/sub-{subject}_{STEM}.tsv"


def renamed(old, new):
    def damage(root):
        table(root).rename(table(root).with_name(table(root).name.replace(old, new)))

    return damage


def folder_like_a_run(root):
    table(root).unlink()
    table(root).mkdir()


def second_run(number, repetition_time=2.0):
    """Add a run beside the first one, which gets the number 1."""

    def damage(root):
        first = table(root)
        second = first.with_name(first.name.replace("_space", f"_run-{number}_space"))
        shutil.copy(first, second)
        second.with_suffix(".json").write_text(json.dumps({"RepetitionTime": repetition_time}))
        renamed("_space", "_run-1_space")(root)
        first.with_suffix(".json").rename(
            first.with_name(first.name.replace("_space", "_run-1_space")).with_suffix(".json")
        )

    return damage


def deep_json(root):
    table(root).with_suffix(".json").write_text('{"a":' * 100_000)


def list_as_json(root):
    table(root).with_suffix(".json").write_text("[1]")


def of_another_subject(root):
    renamed("sub-2", "sub-3")(root)


def no_folder(root):
    shutil.rmtree(root / "sub-2" / "func")
    (root / "sub-2" / "func").symlink_to("../.git/annex/missing")


DAMAGE = {
    "a dot in a label": (renamed("task-rest", "task-rest_run-1.5"), "run-1.5"),
    "a plus in a label": (renamed("rest", "re+st"), "task-re+st"),
    "no ASCII in a label": (renamed("rest", "čas"), "task-čas"),
    "a folder called like a run": (folder_like_a_run, "is a folder"),
    "JSON nested too deeply": (deep_json, "nested too deeply"),
    "JSON that is a list": (list_as_json, "expected a JSON object"),
    "a file of another subject": (of_another_subject, "has sub-3 in its name but lies in sub-2"),
    "a folder that is not here": (no_folder, "link to a folder that is not here"),
    "the same run twice": (second_run("01"), "are the same run"),
    "mixed sampling periods": (second_run("2", 1.0), "of different TR are never pooled"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_a_dry_run_names_the_subject_and_writes_nothing(npi_bids, series, tmp_path, damage, words):
    damage(series)
    before = sorted(series.rglob("*"))
    code, out, err = npi_bids(series, tmp_path / "out", "participant", *VAR, "--dry-run")
    assert code == 1
    assert "2 models to fit" in out
    (line,) = [line for line in out.splitlines() if line.startswith("  sub-2_")]
    assert words in line
    assert "Traceback" not in out + err
    assert "object at" not in out
    assert not (tmp_path / "out").exists()
    assert sorted(series.rglob("*")) == before


@pytest.mark.parametrize("name", ["a dot in a label", "a folder called like a run",
                                  "a folder that is not here"])  # fmt: skip
def test_a_run_fits_the_others_and_says_which_one_not(npi_bids, series, tmp_path, name):
    damage, words = DAMAGE[name]
    damage(series)
    code, out, err = npi_bids(series, tmp_path / "out", "participant", *VAR)
    assert code == 1
    statuses = {status.entities["sub"]: status for status in find_statuses(tmp_path / "out")}
    assert [statuses[sub].status for sub in "123"] == ["done", "failed", "done"]
    assert words in statuses["2"].reason
    row = next(line for line in out.splitlines() if line.startswith("sub-2"))
    assert "failed" in row
    assert "ERROR" in err
    assert "some models failed" in out
    log = next((tmp_path / "out" / "logs").glob("*/npi-bids.log")).read_text()
    assert words in log
    assert (tmp_path / "out" / "sub-2.html").is_file()


def test_a_subject_whose_label_is_none_has_a_row_and_a_page(npi_bids, series, tmp_path):
    func = series / "sub-Žofie" / "func"
    func.mkdir(parents=True)
    shutil.copy(table(series), func / f"sub-Žofie_{STEM}.tsv")
    code, out, err = npi_bids(series, tmp_path / "out", "participant", *VAR)
    assert code == 1, out + err
    assert "sub-Žofie is no BIDS label" in " ".join(out.split()) or "sub-Žofie, which" in out
    assert (tmp_path / "out" / "sub-Žofie.html").is_file()
    shutil.rmtree(series / "sub-Žofie")
    assert npi_bids(series, tmp_path / "out", "participant", *VAR)[0] == 0
    assert len(find_statuses(tmp_path / "out")) == 3


def test_a_refusal_is_forgotten_when_its_file_is_mended(npi_bids, series, tmp_path):
    path = table(series)
    broken = path.with_name(path.name.replace("task-rest", "task-rest_acq-1.5"))
    path.rename(broken)
    assert npi_bids(series, tmp_path / "out", "participant", *VAR)[0] == 1
    mended = broken.with_name(broken.name.replace("acq-1.5", "acq-15"))
    broken.rename(mended)
    code, out, err = npi_bids(series, tmp_path / "out", "participant", *VAR)
    assert code == 0, out + err
    assert [status.status for status in find_statuses(tmp_path / "out")] == ["done"] * 3


def test_where_nobody_can_be_read_the_table_says_why(npi_bids, series, tmp_path):
    for subject in "123":
        path = table(series, subject)
        path.rename(path.with_name(path.name.replace("rest", "re+st")))
    code, out, _ = npi_bids(series, tmp_path / "out", "participant", *VAR)
    assert code == 3
    assert sum(line.startswith("sub-") for line in out.splitlines()) == 3
    assert "no model could be fitted, because the input cannot be used" in out


def test_nobody_can_be_pretrained_on(npi_bids, series, tmp_path):
    for subject in "123":
        table(series, subject).with_suffix(".json").write_text("{")
    code, out, err = npi_bids(series, tmp_path / "out", "pretrain", *VAR)
    assert code == 3
    assert "the pre-training failed" in out
    assert err.count("Left out") == 3


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="needs setpriv")
def test_a_folder_without_permission_is_a_row(series, tmp_path):
    folder = series / "sub-2" / "func"
    with as_another_user(tmp_path, folder) as prefix:
        done = run_command(
            series, tmp_path / "out", "participant", *VAR, "--dry-run", "-w", tmp_path / "work",
            prefix=prefix, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "2 models to fit" in done.stdout
    assert f"{folder}> cannot be read: Permission denied" in done.stdout


def test_a_group_that_fails_after_its_models_is_what_the_last_line_says(
    npi_bids, series, tmp_path
):
    words = (*VAR, "--min-subjects", "9")
    code, out, _ = npi_bids(series, tmp_path / "out", "participant", "group", *words)
    last = out.splitlines()[-1]
    assert code == 4
    assert "the group level failed, because no usable data" in last
    assert "models" not in last


def test_output_in_the_input_is_refused_before_anything_is_written(npi_bids, series, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for out in (series / "sub-1", series / "sub-1/func/new", tmp_path, table(series)):
        code, _, err = npi_bids(series, out, "participant", *VAR, "--dry-run")
        assert code == 2
        assert err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plugin: Linear\nplugin_args: [1, 2]\n", "'plugin_args' must hold names with values"),
        ("plugin: Nothing\n", "there is no plugin Nothing; choose from"),
        ("plugin: [Linear]\n", "there is no plugin"),
        ("- plugin\n", "must name a 'plugin'"),
        ("plugin: {{", "cannot be read"),
    ],
)
def test_a_plugin_file_is_checked_before_anything_is_written(
    series, tmp_path, capsys, text, words
):
    from npi_bids.cli.run import main

    (tmp_path / "plugin.yml").write_text(text)
    options = ["--nipype-plugin-file", str(tmp_path / "plugin.yml"), "-w", str(tmp_path / "work")]
    assert main([str(series), str(tmp_path / "out"), "participant", *VAR, *options]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_description_of_the_input_must_be_an_object(npi_bids, series, tmp_path):
    (series / "dataset_description.json").write_text("[]")
    code, _, err = npi_bids(series, tmp_path / "out", "participant", *VAR, "--dry-run")
    assert code == 3
    assert "dataset_description.json> holds a list; expected a JSON object" in err


def test_files_with_a_byte_order_mark_are_read(npi_bids, series, tmp_path):
    for path in [*series.rglob("*.json"), *series.rglob("*.tsv")]:
        path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    (series / "participants.tsv").write_text(
        "\ufeffparticipant_id\tage\n" + "".join(f"sub-{s}\t{s}0\n" for s in "123"),
        encoding="utf-8",
    )
    (tmp_path / "mine.toml").write_text('\ufeffsurrogate = "var"\n', encoding="utf-8")
    words = ("--config-file", tmp_path / "mine.toml")
    code, out, err = npi_bids(series, tmp_path / "out", "participant", *words)
    assert code == 0, out + err
    assert (tmp_path / "out/participants.tsv").read_text().startswith("participant_id\tage")
