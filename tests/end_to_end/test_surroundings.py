"""Where the program may run, and what it leaves there."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from npi_bids.cli.run import prepare_workers
from tests.end_to_end.conftest import run_command
from tests.end_to_end.test_behaviour import relmats

ALLOCATION = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
VAR = ("--surrogate", "var", "--n-procs", "2")
NOBODY = ("setpriv", "--reuid=65533", "--regid=65533", "--clear-groups")


@pytest.fixture
def short():
    """Return a folder with a short name, which anybody may write to."""
    folder = Path(tempfile.mkdtemp(prefix="n_", dir="/var/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def snapshot(folder):
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
    }


def test_threads_go_to_torch_alone(tmp_path, monkeypatch):
    """Two pools that wait for each other took twice the time of one thread."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TMPDIR",
             "MPLCONFIGDIR", "NIPYPE_NO_ET", "NIPYPE_CONFIG_DIR", *ALLOCATION)  # fmt: skip
    for name in names:
        monkeypatch.setenv(name, "x")
    monkeypatch.setattr("tempfile.tempdir", None)
    prepare_workers(tmp_path, 3)
    assert [os.environ[name] for name in names[:3]] == ["3", "1", "1"]
    assert [os.environ[name] for name in ALLOCATION] == ["x", "x"]  # the user decides


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc")
def test_workers_reuse_the_memory_of_arrays(tmp_path, monkeypatch):
    """Pages that were returned and requested again took half of the time of operations."""
    for name in ("TMPDIR", "MPLCONFIGDIR", "NIPYPE_NO_ET", "NIPYPE_CONFIG_DIR", *ALLOCATION):
        monkeypatch.setenv(name, "x")
    for name in ALLOCATION:
        monkeypatch.delenv(name)
    monkeypatch.setattr("tempfile.tempdir", None)
    prepare_workers(tmp_path, 1)
    code = """if True:
        import resource, numpy as np
        for number in range(60):
            if number == 10:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            a = np.ones(1 << 18); b = a + a; c = b * a; del a, b, c
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    faults = int(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert faults < 1000  # 512 for each array that is not reused


def can_unshare():
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return False
    words = ["unshare", "-m", "mount", "-o", "remount,bind,ro", "/"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def stranger():
    """Return words that make a command one of a user without a name, where Python lets them."""
    again = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', '']))"
    words = [*NOBODY, sys.executable, "-c", again]
    done = subprocess.run(words, capture_output=True, check=False)
    return NOBODY if done.returncode == 0 else ()


@pytest.mark.skipif(not can_unshare(), reason="needs rights to mount")
def test_a_stranger_without_home_on_a_read_only_system(tiny, results, short):
    """As a container of a cluster: all but one folder is read-only, the user has no name."""
    data = tiny.copy(short)
    for path in [short, *short.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    before = snapshot(data.root)
    program = [sys.executable, "-m", "npi_bids", data.root, short / "out", "participant",
               "--atlas", data.atlas, "--fd-thresh", "0.5", "--n-procs", "2", "-w", short / "w",
               "--offline"]  # fmt: skip
    words = " ".join(["env", "-i", "PATH=/usr/bin:/bin", *stranger(), *map(str, program)])
    script = (
        f"mount --bind {short} {short} && mount -t tmpfs none /dev/shm && chmod 777 /dev/shm && "
        f"mount -o remount,bind,ro / && cd {short} && exec {words}"
    )
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert relmats(short / "out") == {
        name: content for name, content in relmats(results).items() if name.parts[0] != "tpl"
    }
    assert snapshot(data.root) == before
    assert {path.name for path in short.iterdir()} - {path.name for path in data.atlas.parent.glob(
        "atlas-*")} == {"data", "out", "w"}  # fmt: skip


def test_strays(tiny, tmp_path):
    """Nothing is written beside output and work; the name is short because of those of sockets."""
    home, scratch, cwd = (tmp_path / name for name in ("home", "scratch", "cwd"))
    for folder in (home, scratch, cwd):
        folder.mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(scratch)}
    done = run_command(
        tiny.root, tmp_path / "o ü", "participant", "group", "--atlas", tiny.atlas, *VAR,
        "-w", tmp_path / "w", cwd=cwd, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [list(folder.iterdir()) for folder in (home, scratch, cwd)] == [[], [], []]


def test_output_through_a_link_on_another_file_system(tiny, results, tmp_path):
    memory = Path("/dev", "shm")
    if not os.access(memory, os.W_OK):
        pytest.skip("there is no other file system")
    with tempfile.TemporaryDirectory(dir=memory) as other:
        (tmp_path / "link").symlink_to(other)
        (tmp_path / "in").symlink_to(tiny.root)
        done = run_command(
            tmp_path / "in", tmp_path / "link" / "out", "participant", "--atlas", tiny.atlas,
            "--fd-thresh", "0.5", "-w", tmp_path / "w", "--n-procs", "1", cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert relmats(Path(other) / "out") == relmats(results)
