"""Full disks, slow file systems, clocks that go wrong: a clear end, and a rerun that completes."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from npi_bids.bids.derivatives import DONE, find_statuses
from tests.conftest import make_tiny
from tests.end_to_end.test_interrupted import contents

pytestmark = pytest.mark.slow
OPTIONS = ("--surrogate", "var", "--n-procs", "2")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("three"), n_subjects=3, n_runs=1)


@pytest.fixture(scope="module")
def undisturbed(three, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run(three, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return contents(folder / "out")


def words(three, folder):
    return [
        sys.executable, "-m", "npi_bids", str(three.root), str(folder / "out"), "participant",
        "--atlas", str(three.atlas), *OPTIONS, "-w", str(folder / "work"),
    ]  # fmt: skip


def run(three, folder, *, prepare=None, **environment):
    return subprocess.run(
        words(three, folder), capture_output=True, text=True, check=False, timeout=600,
        preexec_fn=prepare, env={**os.environ, **environment},
    )  # fmt: skip


def finish(three, folder, undisturbed):
    done = run(three, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(folder / "out") == undisturbed
    assert not list((folder / "out").rglob(".partial_*"))


def fill_disk():
    """Let no file grow beyond some kB, as on a disk that is almost full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))


def test_a_full_disk_ends_in_words_and_the_next_run_completes(three, undisturbed, tmp_path):
    done = run(three, tmp_path, prepare=fill_disk)
    assert done.returncode not in (0, 130)
    assert "Traceback" not in done.stdout + done.stderr
    assert "File too large" in done.stdout + done.stderr  # EFBIG where a full disk has ENOSPC
    assert not [s for s in find_statuses(tmp_path / "out") if s.status == DONE]
    finish(three, tmp_path, undisturbed)


def limit_memory():
    """As a cluster does it whose limit is far too low."""
    resource.setrlimit(resource.RLIMIT_AS, (700 * 2**20, 700 * 2**20))


def test_too_little_memory_ends_in_words_and_the_next_run_completes(three, undisturbed, tmp_path):
    done = run(three, tmp_path, prepare=limit_memory, OPENBLAS_NUM_THREADS="1")
    assert done.returncode not in (0, 130)
    assert "finished successfully" not in done.stdout
    finish(three, tmp_path, undisturbed)


@pytest.mark.parametrize("hours", [-48, 48])
def test_files_with_times_of_another_clock_do_no_harm(three, undisturbed, tmp_path, hours):
    """Times of files lie in the future, or long ago, as where two machines disagree."""
    assert run(three, tmp_path).returncode == 0
    then = time.time() + 3600 * hours
    for path in (*(tmp_path / "out").rglob("*"), *(tmp_path / "work").rglob("*")):
        os.utime(path, (then, then))
    (tmp_path / "out" / "logs" / "units").joinpath(
        find_statuses(tmp_path / "out")[1].path.name
    ).unlink()
    finish(three, tmp_path, undisturbed)


def test_the_walltime_of_a_job_ends_in_words_and_the_next_run_completes(
    three, undisturbed, tmp_path
):
    """With coreutils' timeout, which warns with SIGUSR1 as Slurm does."""
    command = ["timeout", "--signal=USR1", "--kill-after=10", "6", *words(three, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode in (124, 128 + signal.SIGUSR1)
    assert "ended by SIGUSR1; run the same command again to go on." in done.stderr
    finish(three, tmp_path, undisturbed)


def test_a_participant_needs_fewer_than_120_files(three, tmp_path):
    assert run(three, tmp_path).returncode == 0
    n_files = sum(1 for _ in (tmp_path / "out").rglob("*sub-01*"))
    n_work = sum(1 for _ in (tmp_path / "work/npi_bids_wf/sub_01_wf").rglob("*"))
    assert 40 < n_files + n_work < 120
    shutil.rmtree(tmp_path / "work")
