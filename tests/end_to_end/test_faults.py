"""Full disks, slow file systems, clocks that go wrong: a clear end, and a rerun that completes."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from npi_bids.bids.derivatives import DONE, find_statuses
from tests.conftest import make_tiny
from tests.end_to_end.test_interrupted import contents

pytestmark = [pytest.mark.slow, pytest.mark.alone]
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


def can_mount():
    """Tell whether a small file system can be mounted in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(
        [*NAMESPACE, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False
    ).returncode == 0  # fmt: skip


NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
SMALL = 'mount -t tmpfs -o size="$0" tmpfs "$1"; shift; exec "$@"'


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted without rights here")
@pytest.mark.parametrize(("full", "size"), [("work", "200k"), ("work", "400k"), ("out", "300k")])
def test_a_file_system_that_is_full_ends_in_words_and_the_next_run_completes(
    three, undisturbed, tmp_path, full, size
):
    (tmp_path / full).mkdir()
    command = [*NAMESPACE, SMALL, size, str(tmp_path / full), *words(three, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert "No space left on device" in said
    # Where out_dir is full, the reason itself cannot be written.
    assert ("No space left on device; make room" if full == "work" else "or make room") in said
    assert not [s for s in find_statuses(tmp_path / "out") if s.status == DONE]
    finish(three, tmp_path, undisturbed)


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


@pytest.fixture(scope="module")
def late_files(tmp_path_factory):
    """Return the stand-in for network file systems on which files are seen late."""
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("the stand-in for slow file systems needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("late") / "stale_files.so"
    source = Path(__file__).with_name("stale_files.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def on_a_machine(late_files, folder, client="", seconds=3):
    """Return the environment of a client of a slow file system; without a name, of many."""
    marks = folder.with_name(f"{folder.name}_marks")
    marks.mkdir(exist_ok=True)
    return {
        **os.environ, "LD_PRELOAD": str(late_files), "STALE_ROOT": str(folder),
        "STALE_MARKS": str(marks), "STALE_CLIENT": client, "STALE_SECONDS": str(seconds),
        "STALE_DELAY": "1",
    }  # fmt: skip


def test_the_stand_in_shows_the_files_of_others_late(late_files, tmp_path):
    def run_python(program, seconds=1000):
        done = subprocess.run(
            [sys.executable, "-S", "-c", f"import os; {program}"], cwd=tmp_path, check=True,
            capture_output=True, text=True,
            env=on_a_machine(late_files, tmp_path, seconds=seconds),
        )  # fmt: skip
        return done.stdout.strip()

    look = "print(os.listdir(), os.path.exists('a') and open('a').read())"
    assert run_python(f"open('a', 'w').write('1'); {look}") == "['a'] 1"
    assert run_python(look) == "[] False"
    assert run_python(look, seconds=0) == "['a'] 1"
    assert run_python(f"open('b', 'w').write('2'); os.replace('b', 'a'); {look}") == "['a'] 2"
    assert run_python(look) == "['a'] 1"  # what it was before it was replaced
    assert run_python(look, seconds=0) == "['a'] 2"


def test_machines_that_see_each_others_files_late_do_no_harm(
    late_files, three, undisturbed, tmp_path
):
    """As tasks of an array do, in one output and one work folder; two have the same subject."""
    labels = {"a": ("01", "02"), "b": ("02", "03"), "c": ("03",)}
    runs = [
        subprocess.Popen(
            [*words(three, tmp_path), "--participant-label", *labels[name]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=on_a_machine(late_files, tmp_path, name),
        )
        for name in labels
    ]  # fmt: skip
    for run_ in runs:
        said, _ = run_.communicate(timeout=900)
        assert run_.returncode in (0, 6), said  # 6: a page, whose subject was just replaced
        assert "Traceback" not in said
    finish(three, tmp_path, undisturbed)


def test_processes_that_do_not_see_each_others_files_end_in_words(
    late_files, three, undisturbed, tmp_path
):
    done = subprocess.run(
        [*words(three, tmp_path), "--participant-label", "01"], capture_output=True, text=True,
        check=False, timeout=900, env=on_a_machine(late_files, tmp_path),
    )  # fmt: skip
    said = " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in said
    assert "memory" not in said
    assert done.returncode in (0, 1, 6), said
    if done.returncode == 1:
        assert "run the same command again" in said
    finish(three, tmp_path, undisturbed)
