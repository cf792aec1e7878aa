"""A study on a real Slurm: what failed, was cancelled or ran out of time is completed later."""

import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from npi_bids.bids.derivatives import DONE, FAILED, find_group_maps, find_statuses
from npi_bids.cli.submissions import find_submissions, query_tasks, read_id
from tests.end_to_end.test_interrupted import contents

OPTIONS = ("--surrogate", "mlp", "--epochs", "700", "--min-time", "60")
LONG = 10000  # samples of the subject that runs out of time
BAD, CANCELLED, SLOW = "02", "04", "05"


def has_slurm():
    if shutil.which("sinfo") is None:
        return False
    done = subprocess.run(["sinfo"], capture_output=True, check=False, timeout=30)
    return done.returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_slurm(), reason="no Slurm answers on this machine"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return six subjects, of which one has far more samples than the others."""
    folder = tmp_path_factory.mktemp("study")
    words = ("var", folder / "sim", "--n-subjects", 6, "--n-runs", 1, "--n-regions", 6,
             "--minutes", 5, "--series-only")  # fmt: skip
    npi("npi_bids.cli.simulate", *words)
    path = series(folder, SLOW)
    names, rows = read(path)
    rng = np.random.default_rng(0)
    write(path, names, np.vstack([rows, rng.standard_normal((LONG, len(names)))]))
    return folder


def npi(module, *words, code=0, timeout=300):
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def series(folder, label):
    return next((folder / "sim/dataset" / f"sub-{label}").rglob("*_timeseries.tsv"))


def read(path):
    lines = path.read_text().splitlines()
    return lines[0].split("\t"), np.array([line.split("\t") for line in lines[1:]], dtype=float)


def write(path, names, rows):
    np.savetxt(path, rows, delimiter="\t", header="\t".join(names), comments="", fmt="%.6f")


def submit(folder, *words):
    out = npi(
        "npi_bids.cli.cluster", folder / "sim/dataset", folder / "out", "participant", "group",
        *OPTIONS, "-w", folder / "work", "--submit", "--job-mem", "2G", "--group-mem", "2G",
        *words,
    )  # fmt: skip
    return out, list(find_submissions(folder / "out"))[-1]


def wait_until_ended(job, seconds=900):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        states = query_tasks("slurm", job)
        if states and not set(states.values()) & {"PENDING", "RUNNING", "COMPLETING"}:
            return states
        time.sleep(1)
    raise AssertionError(f"job {job} has not ended: {states}")


def wait_for_start(job, task):
    while query_tasks("slurm", job).get(task) != "RUNNING":
        time.sleep(0.3)


def enough_minutes(study):
    """Return a walltime in which most subjects end, two at once, but not one 60 times as long."""
    started = time.monotonic()
    npi("npi_bids", study / "sim/dataset", study / "timed", "participant", *OPTIONS,
        "--participant-label", "01", "-w", study / "work_of_timed", "--n-procs", 1)  # fmt: skip
    return 1 + math.ceil(2 * (time.monotonic() - started) / 60)  # the last minute is the warning's


def submit_and_disturb(study):
    """Submit, cancel one task, and wait for the end of all; another one runs out of time."""
    _, (folder, first) = submit(study, "--job-time", f"0:{enough_minutes(study):02d}")
    job = read_id(folder / "participant.id")
    assert first.participants == tuple(f"{n:02d}" for n in range(1, 7))
    wait_for_start(job, first.task(CANCELLED))
    subprocess.run(["scancel", f"{job}_{first.task(CANCELLED)}"], check=True)
    states = wait_until_ended(job)
    assert states[first.task(BAD)] == "FAILED"
    assert states[first.task(CANCELLED)] == "CANCELLED"
    assert states[first.task(SLOW)] in ("TIMEOUT", "FAILED")  # warned by SIGUSR1
    wait_until_ended(read_id(folder / "group.id"))
    return folder


def test_a_resubmission_completes_exactly_what_is_missing(study):
    whole = series(study, BAD).read_text()
    series(study, BAD).write_text(whole[: len(whole) // 2] + "\tnot a number\n")
    folder = submit_and_disturb(study)
    said = npi("npi_bids.cli.cluster", "status", study / "out", code=1)
    assert "3 of 6 participants complete" in said
    for label in (BAD, CANCELLED, SLOW):
        assert f"sub-{label}" in said
    assert "sub-01" not in said
    assert "3 models have no result" in (folder / "group.log").read_text()
    assert not list((study / "out").glob("*group*"))
    statuses = {s.entities["sub"]: s.status for s in find_statuses(study / "out")}
    assert statuses == {"01": DONE, "03": DONE, "06": DONE, BAD: FAILED}

    series(study, BAD).write_text(whole)
    times = {path: path.stat().st_mtime_ns for path in (study / "out").glob("sub-0[136]/func/*")}
    _, (folder, second) = submit(study, "--job-time", "0:30")
    assert second.participants == (BAD, CANCELLED, SLOW)
    wait_until_ended(read_id(folder / "participant.id"))
    wait_until_ended(read_id(folder / "group.id"))
    said = npi("npi_bids.cli.cluster", "status", study / "out")
    assert "6 of 6 participants complete" in said
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert len(find_group_maps(study / "out")) == 1
    subjects = (study / "out/logs/group.tsv").read_text().splitlines()[1:]
    assert len(subjects) == 6


def test_the_result_is_that_of_one_command(study):
    npi("npi_bids", study / "sim/dataset", study / "one", "participant", "group", *OPTIONS,
        "-w", study / "work_of_one", "--n-procs", "2", timeout=1800)  # fmt: skip
    one, cluster = contents(study / "one"), contents(study / "out")
    differ = [name for name in one if one[name] != cluster.get(name)]
    assert not [name for name in differ if not name.endswith(".svg")]


def test_what_is_in_the_queue_is_not_submitted_again(study):
    words = ("--surrogate", "var", "--min-time", "60", "-w", study / "work2")
    start = ("npi_bids.cli.cluster", study / "sim/dataset", study / "queued", "participant",
             "group", *words, "--submit", "--directive=--hold", "--group-mem", "1G")  # fmt: skip
    npi(*start)
    first = read_id(next(find_submissions(study / "queued"))[0] / "participant.id")
    said = npi(*start)
    assert "6 participants of earlier submissions still in the queue" in said
    folder, second = list(find_submissions(study / "queued"))[-1]
    assert second.participants == ()
    assert f"afterany:{first}" in (folder / "submit.sh").read_text()
    subprocess.run(["scancel", "-u", str(os.getuid())], check=True)


def test_every_step_as_a_job_gives_the_same(study):
    words = (study / "sim/dataset", "participant", "--participant-label", "01", "02",
             "--surrogate", "var", "--min-time", "60")  # fmt: skip
    example = Path(__file__).parents[2] / "docs/examples/slurm.yml"
    for name, how in (("steps", ("--nipype-plugin-file", example)), ("plain", ("--n-procs", 1))):
        out = npi("npi_bids", words[0], study / name, *words[1:], *how,
                  "-w", study / f"work_of_{name}", timeout=900)  # fmt: skip
        assert "finished successfully" in out
    logs = list((study / "work_of_steps").rglob("batch/slurm-*"))
    assert len(logs) >= 2 * 5  # a job for each step of each participant
    assert contents(study / "steps") == contents(study / "plain")
