"""Whatever ends a run, the next one ends in the same outputs, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from npi_bids.bids.derivatives import find_statuses
from tests.conftest import make_tiny
from tests.end_to_end.conftest import validate

pytestmark = [pytest.mark.slow, pytest.mark.alone]
OPTIONS = ("--surrogate", "mlp", "--epochs", "3", "--n-procs", "2")


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Return six subjects."""
    return make_tiny(tmp_path_factory.mktemp("six"), n_subjects=6, n_runs=1)


def command(six, out, work, *words):
    words = (six.root, out, "participant", "--atlas", six.atlas, *OPTIONS, "-w", work, *words)
    return [sys.executable, "-m", "npi_bids", *map(str, words)]


def start(six, out, work, *words):
    return subprocess.Popen(
        command(six, out, work, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip


def finish(six, out, work, *words):
    done = subprocess.run(
        command(six, out, work, *words), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished successfully" in done.stdout
    return done


def contents(out):
    """Return every file but logs, which hold times."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and "logs" not in path.parts and path.suffix != ".html"
    }


@pytest.fixture(scope="module")
def undisturbed(six, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(six, folder / "out", folder / "work")
    return contents(folder / "out")


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def children(pid):
    """Return the processes below a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(child)]
    return found


def an_atlas(folder):
    return list(folder.glob("work/atlases/*"))


def a_series(folder):
    return list(folder.glob("out/sub-*/func/*_timeseries.tsv"))


def most_maps(folder):
    return len(list(folder.glob("out/logs/units/*.json"))) >= 4


@pytest.mark.parametrize("moment", [an_atlas, a_series, most_maps])
def test_a_run_that_was_killed_goes_on(six, undisturbed, tmp_path, moment):
    run = start(six, tmp_path / "out", tmp_path / "work")
    wait_for(lambda: moment(tmp_path) or run.poll() is not None)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    finish(six, tmp_path / "out", tmp_path / "work")
    assert contents(tmp_path / "out") == undisturbed
    if moment is a_series:
        validate(tmp_path / "out")


def test_a_worker_that_was_killed_is_replaced(six, undisturbed, tmp_path):
    run = start(six, tmp_path / "out", tmp_path / "work")
    wait_for(lambda: a_series(tmp_path) or run.poll() is not None)
    workers = [
        pid for pid in children(run.pid)
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        or b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]  # fmt: skip
    os.kill(workers[-1], signal.SIGKILL)
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said
    assert contents(tmp_path / "out") == undisturbed


def cut(paths):
    cut_off = 0
    for path in paths:
        if path.is_file() and path.stat().st_size > 1:
            os.truncate(path, path.stat().st_size // 2)
            cut_off += 1
    return cut_off


def test_files_that_a_power_cut_left_in_half_are_made_anew(six, undisturbed, tmp_path):
    finish(six, tmp_path / "out", tmp_path / "work", "--participant-label", "01", "02", "03")
    assert cut(p for p in (tmp_path / "work").rglob("*") if p.name != "nipype.cfg") > 15
    (tmp_path / "out/logs/units").joinpath(
        find_statuses(tmp_path / "out")[2].path.name
    ).unlink()  # this one is in the work folder alone, the others in both
    assert cut((tmp_path / "out").rglob("sub-0[12]_*")) > 20
    finish(six, tmp_path / "out", tmp_path / "work")
    assert contents(tmp_path / "out") == undisturbed


def test_eight_at_once_do_not_harm_each_other(six, undisturbed, tmp_path):
    """As an array job does, in one output and one work folder; three have the same subject."""
    labels = ["01", "01", "01", "02", "03", "04", "05", "06"]
    runs = [
        start(six, tmp_path / "out", tmp_path / "work", "--participant-label", label,
              "--n-procs", "1")
        for label in labels
    ]  # fmt: skip
    said = [run.communicate(timeout=500)[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 8, "\n".join(said)
    assert contents(tmp_path / "out") == undisturbed
    assert not list((tmp_path / "out").rglob(".partial_*"))
    assert len(find_statuses(tmp_path / "out")) == 6
