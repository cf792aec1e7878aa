"""Run the real command on a tiny dataset."""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from npi_bids.cli.run import main
from tests.conftest import SHARED


class Command:
    """The command line in this process, with Nipype's Linear plugin: quick, and easy to watch."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder, capsys
        (folder / "linear.yml").write_text("plugin: Linear\n")

    def __call__(self, *words):
        """Run, and return exit code, standard output and standard error."""
        options = ["-w", self.folder / "work", "--nipype-plugin-file", self.folder / "linear.yml"]
        code = main([str(word) for word in (*words, *options)])
        return code, *self.capsys.readouterr()


@pytest.fixture
def npi_bids(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        *("NIPYPE_CONFIG_DIR", "NIPYPE_NO_ET", "MPLCONFIGDIR", "TMPDIR"),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    ):
        if name in os.environ or name not in ("MPLCONFIGDIR", "TMPDIR"):
            monkeypatch.setenv(name, os.environ.get(name, "1"))
        else:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", tempfile.tempdir)
    yield Command(tmp_path, capsys)
    logger = logging.getLogger("npi_bids")  # as a new process would find it
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True


def run_command(*words, prefix=(), **options):
    """Run npi-bids in a process of its own, behind the words of another command."""
    return subprocess.run(
        [*prefix, sys.executable, "-m", "npi_bids", *map(str, words)],
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


ANOTHER_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def another_user_starts_workers():
    """Tell whether a process of another user can start Python, which may be in root's home."""
    if os.geteuid() != 0:
        return True
    again = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    return shutil.which("setpriv") is not None and not subprocess.run(
        [*ANOTHER_USER, sys.executable, "-c", again], capture_output=True, check=False
    ).returncode  # fmt: skip


@contextmanager
def as_another_user(folder, locked):
    """Yield the words that run a command to which a folder of the test is locked.

    As root nothing is unreadable, so the command runs as another user, who has all other files.
    """
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    above = [path for path in folder.parents if path.name.startswith(("pytest-", "popen-"))]
    for parent in above:
        parent.chmod(0o755)
    locked.chmod(0)
    try:
        yield ANOTHER_USER if os.geteuid() == 0 else []
    finally:
        locked.chmod(0o755)


@pytest.fixture(scope="session")
def results(tiny, tmp_path_factory):
    """Return the outputs of both levels on the tiny dataset, run by MultiProc."""
    folder = tmp_path_factory.mktemp("results")
    done = run_command(
        tiny.root, folder / "out", "participant", "group", "--atlas", tiny.atlas,
        "--fd-thresh", "0.5", "--n-procs", "2", "-w", folder / "work", "--offline",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "out" / "stdout.txt").write_text(done.stdout)
    shutil.move(folder / "out" / "stdout.txt", folder / "stdout.txt")
    return folder / "out"


def validate(dataset):
    """Validate a dataset in both stages where the tools stand beside the project, else in one."""
    bin_ = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
    script = SHARED / "tools" / "validate.sh"
    words = ["bids-validator-deno", dataset, "--datasetTypes", "derivative", "--max-rows", "-1"]
    words = ["bash", script, dataset] if script.is_file() else words
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout, done.stdout
    assert "ERROR" not in done.stdout, done.stdout
