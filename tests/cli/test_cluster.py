"""Submissions: what is in them, and what their state is."""

import json
import shutil
import subprocess
from dataclasses import asdict

import pytest

from npi_bids.bids.derivatives import DONE, EXCLUDED, FAILED, UnitStatus
from npi_bids.bids.outputs import parse_name
from npi_bids.cli import cluster
from npi_bids.cli.parser import parse
from npi_bids.cli.submissions import (
    MISSING,
    Submission,
    find_submissions,
    parse_queue,
    read_states,
)
from npi_bids.io.files import write_json
from tests.conftest import make_tiny

OPTIONS = ("--surrogate", "var", "--min-time", "100", "--strength", "0.5")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("three"), n_subjects=3, n_runs=1)


@pytest.fixture
def write(three, tmp_path, monkeypatch, capsys):
    """Return a function that writes the jobs of three participants, and returns their folder."""
    monkeypatch.setattr("npi_bids.cli.run.prepare_workers", lambda *_: None)

    def write_jobs(*words, code=0):
        start = (three.root, tmp_path / "out", "participant", "group", "--atlas", three.atlas,
                 "-w", tmp_path / "work", *OPTIONS)  # fmt: skip
        assert cluster.main([*map(str, start), *words]) == code
        return list(find_submissions(tmp_path / "out"))[-1]

    return write_jobs


def record(out_dir, status, label, **fields):
    entities = {"sub": label, "task": "rest", "atlas": "X"}
    unit = UnitStatus(entities, "simple", status, "abc", **fields)
    write_json(out_dir / unit.path, asdict(unit))
    return unit.name


def test_the_jobs_have_the_settings_of_the_command_line(write, three, tmp_path):
    folder, submission = write()
    words = [str(three.root), str(tmp_path / "out"), "participant",
             "--config-file", str(folder / "settings.toml")]  # fmt: skip
    request = parse(words)
    assert request.analysis.configuration == submission.configuration
    assert request.analysis.perturb.strength == 0.5
    assert request.output.work_dir == str(tmp_path / "work")
    assert not request.output.dry_run
    assert submission.participants == ("01", "02", "03")
    assert set(submission.models) == {"01", "02", "03"}
    for script in folder.glob("*.sh"):
        subprocess.run(["bash", "-n", script], check=True)


def test_a_model_that_would_fail_again_is_named_and_keeps_the_group_waiting(
    write, tmp_path, monkeypatch, capsys
):
    folder, submission = write()
    names = (folder / "models.txt").read_text()
    entities = parse_name(f"{submission.models['02'][0]}_unit").entities
    unit = UnitStatus(
        {key: label for key, label in entities.items() if key != "desc"}, entities["desc"],
        FAILED, submission.configuration, reason="bad input", inputs="unchanged",
    )  # fmt: skip
    write_json(tmp_path / "out" / unit.path, asdict(unit))
    monkeypatch.setattr("npi_bids.cli.participant._digest_inputs", lambda _: "unchanged")
    capsys.readouterr()
    (folder / "submission.json").unlink()  # its time may be that of the next
    folder, submission = write()
    assert set(submission.models) == {"01", "03"}
    assert (folder / "models.txt").read_text() == names
    said = capsys.readouterr().out
    assert "1 model that failed before" in said
    assert "--retry-failed" in said
    (folder / "submission.json").unlink()
    assert set(write("--retry-failed")[1].models) == {"01", "02", "03"}


def test_what_tasks_cannot_decide_is_said(write, capsys):
    write()
    assert "fits those of other kinds again" in capsys.readouterr().out
    write("--fit-kind", "subject")
    assert "of other kinds" not in capsys.readouterr().out


def test_participants_share_tasks_where_there_are_many(write):
    folder, submission = write("--per-task", "2")
    assert submission.n_tasks == 2
    assert [submission.task(label) for label in submission.participants] == [1, 1, 2]
    assert "--array=1-2" in (folder / "participant.sh").read_text()


def test_a_job_asks_for_what_it_was_told(write):
    words = ["--job-mem", "3G", "--job-time", "2:05", "--n-procs", "4"]
    words += ["--directive=--partition=long", "--before", "module load python"]
    folder, _ = write(*words)
    text = (folder / "participant.sh").read_text()
    for part in ("--mem=3000M", "--time=02:05:00", "--cpus-per-task=4", "--n-procs 4",
                 "#SBATCH --partition=long", "\nmodule load python\n"):  # fmt: skip
        assert part in text


def test_estimates_are_multiplied_by_their_margin(write):
    text = (write()[0] / "participant.sh").read_text()
    assert "--time=00:15:00" in text  # the shortest
    megabytes = int(text.partition("--mem=")[2].partition("M")[0])
    assert 800 < megabytes < 3000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--dry-run",), "need no jobs"),
        (("--job-time", "90"), "hours and minutes"),
        (("--job-mem", "4"), "a number and a unit"),
        (("--at-once", "0"), "above 0"),
        (("--submit", "--scheduler", "pbs"), "qsub, which is not here"),
    ],
)
def test_what_cannot_be_submitted_is_refused(write, capsys, words, message, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises((AssertionError, SystemExit), match="2"):
        write(*words)
    assert message in capsys.readouterr().err


def make_submission(out_dir, name, labels, models):
    folder = out_dir / "logs/jobs" / name
    folder.mkdir(parents=True)
    Submission(scheduler="pbs", configuration="abc", participants=tuple(labels), per_task=1,
               models=models, has_group=False).write(folder)  # fmt: skip
    return folder


def test_the_state_tells_what_is_missing_and_why(tmp_path):
    known = (("01", DONE, ""), ("02", FAILED, "bad input"), ("03", EXCLUDED, "too short"))
    names = {
        label: [record(tmp_path, status, label, reason=reason)] for label, status, reason in known
    }
    names["04"] = ["sub-04_task-rest_atlas-X_desc-simple"]
    folder = make_submission(tmp_path, "1", names, names)
    (folder / "participant_4.log").write_text("one\nnpi-bids: ended by SIGUSR1\n\n")
    states = {state.label: state for state in read_states(tmp_path)}
    assert [states[label].is_complete for label in names] == [True, False, True, False]
    assert states["02"].reason == "bad input"
    assert states["04"].reason == "npi-bids: ended by SIGUSR1"
    assert list(states["04"].models.values()) == [MISSING]


def test_a_later_submission_takes_the_place_of_an_earlier_one(tmp_path, capsys):
    name = "sub-02_task-rest_atlas-X_desc-simple"
    make_submission(
        tmp_path, "1", ["01", "02"], {"01": [record(tmp_path, DONE, "01")], "02": [name]}
    )
    folder = make_submission(tmp_path, "2", ["02"], {"02": [name]})
    states = read_states(tmp_path)
    assert states[1].log == folder / "participant_1.log"
    assert cluster.main(["status", str(tmp_path)]) == 1
    assert "1 of 2 participants complete" in capsys.readouterr().out
    record(tmp_path, DONE, "02")
    assert cluster.main(["status", str(tmp_path)]) == 0


def test_a_folder_without_submission_is_named(tmp_path, capsys):
    assert cluster.main(["status", str(tmp_path)]) == 3
    assert "holds no submission" in capsys.readouterr().err


def test_lines_of_the_queue_are_read():
    lines = ["17_1|RUNNING", "17_20|OUT_OF_MEMORY", "", "slurm_load_jobs error"]
    assert parse_queue(lines) == {1: "RUNNING", 20: "OUT_OF_MEMORY"}


def test_the_record_is_plain_json(tmp_path):
    folder = make_submission(tmp_path, "1", ["01"], {"01": ["a"]})
    assert json.loads((folder / "submission.json").read_text())["participants"] == ["01"]
    assert Submission.read(folder).participants == ("01",)
