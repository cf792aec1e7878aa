"""Many subjects, with random kills of the command and its workers every few seconds until done.

usage: python -m benchmarks.soak [number of subjects: 200] [seed: 0] [longest seconds: 3600]

The result must be that of an undisturbed run, file by file, with no process, unfinished file, or
lock that holds anybody back. Beside the signals, one in five disturbances fills the scratch folder
(a small file system cannot be mounted without rights: the size of files is limited instead), which
ends the run with an error; the next one goes on.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import numpy as np

from benchmarks.attack_kills import (
    MARK,
    SIGNALS,
    contents,
    heed_signals,
    n_differences,
    remaining_processes,
    send,
)
from benchmarks.table import save
from npi_bids.bids.derivatives import DONE, find_statuses
from npi_bids.bids.outputs import CLAIM

_VICTIMS = ("command", "worker", "fork server", "all")
# Share of disturbances by a full disk, and the largest file in bytes that it leaves room for.
_DISK_SHARE, _LARGEST_FILE = 0.2, 2000
# Pauses between disturbances as shares of the duration of an undisturbed run.
_PAUSES = (0.02, 0.3)


def main() -> int:
    """Run the soak, print its counts, and return 1 where anything was lost or left."""
    n_subjects, seed, longest = (
        int(word) for word in (*sys.argv[1:], *("200", "0", "3600")[len(sys.argv) - 1 :])
    )
    with tempfile.TemporaryDirectory() as name:
        counts = soak(Path(name), n_subjects, seed, longest)
    for what, number in sorted(counts.items()):
        print(f"{what:<36} {number}")
    print(f"written to {save('soak', dict(counts))}")
    failures = ("subjects lost", "files that differ", "processes left", "unfinished files",
                "locks held", "last runs that failed", "tracebacks")  # fmt: skip
    return 1 if any(counts[what] for what in failures) else 0


def soak(folder: Path, n_subjects: int, seed: int, longest: float) -> Counter[str]:
    """Disturb runs until one ends by itself, and compare its results with undisturbed ones.

    Parameters
    ----------
    folder
        Folder of all files.
    n_subjects
        Number of subjects.
    seed
        Seed of moments, signals and victims.
    longest
        Seconds after which nothing is disturbed any more.
    """
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    simulate(folder, n_subjects)
    started = time.monotonic()
    undisturbed = start(folder, "whole", uuid4().hex)
    _, err = undisturbed.communicate()
    if undisturbed.returncode:
        raise RuntimeError(err)
    duration = time.monotonic() - started
    counts["seconds, undisturbed"] = round(duration)
    pauses = _PAUSES[0] * duration, _PAUSES[1] * duration
    started = time.monotonic()
    while time.monotonic() - started < longest:
        ended = _disturb_once(folder, rng, counts, pauses)
        print(f"{time.monotonic() - started:.0f} s: {dict(counts)}", flush=True)
        if ended:
            break
    counts["seconds, disturbed"] = round(time.monotonic() - started)
    last = start(folder, "killed", uuid4().hex)
    _, err = last.communicate()
    counts["last runs that failed"] = int(last.returncode != 0)
    done = [status for status in find_statuses(folder / "killed/out") if status.status == DONE]
    counts["subjects lost"] = n_subjects - len(done)
    whole, killed = contents(folder / "whole"), contents(folder / "killed")
    counts["files"], counts["files that differ"] = len(whole), n_differences(whole, killed)
    counts["unfinished files"] = len(list((folder / "killed").rglob(".partial_*")))
    counts["locks held"] = sum(
        not _can_lock(folder / "killed" / name) for name in (Path("out", CLAIM), "work/units.lock")
    )
    return counts


def _can_lock(path: Path) -> bool:
    """Tell whether nobody holds a file, with either of the two types of locks."""
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def simulate(folder: Path, n_subjects: int) -> None:
    """Simulate short series of few regions."""
    words = ("var", folder / "sim", "--n-subjects", n_subjects, "--n-runs", 1, "--n-regions", 5,
             "--minutes", 5, "--series-only")  # fmt: skip
    command = [sys.executable, "-m", "npi_bids.cli.simulate", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)


def start(folder: Path, name: str, mark: str, *, full_disk: bool = False) -> subprocess.Popen[str]:
    """Start the participant level in a folder of this name; a mark tells its processes."""
    words = (folder / "sim" / "dataset", folder / name / "out", "participant", "--surrogate",
             "var", "--n-procs", 2, "-w", folder / name / "work")  # fmt: skip

    def prepare() -> None:
        heed_signals()
        if full_disk:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing fails instead
            resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))

    return subprocess.Popen(
        [sys.executable, "-m", "npi_bids", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, MARK: mark}, preexec_fn=prepare,
    )  # fmt: skip


def _disturb_once(
    folder: Path, rng: np.random.Generator, counts: Counter[str], pauses: tuple[float, float]
) -> bool:
    """Start a run and disturb it until it ends; return whether that was by itself and in order."""
    mark, full_disk = uuid4().hex, rng.random() < _DISK_SHARE
    process = start(folder, "killed", mark, full_disk=full_disk)
    counts["runs"] += 1
    counts["disks that were full"] += full_disk
    err = None
    while err is None:
        try:
            _, err = process.communicate(timeout=rng.uniform(*pauses))
        except subprocess.TimeoutExpired:
            name, victim = str(rng.choice(SIGNALS)), str(rng.choice(_VICTIMS))
            if send(getattr(signal, name), victim, process.pid, mark):
                counts["disturbances"] += 1
                counts[f"{name} to {victim}"] += 1
    if "Traceback" in err:
        counts["tracebacks"] += 1
        print(err)
    counts["processes left"] += len(remaining_processes(mark))
    return process.returncode == 0 and not full_disk


if __name__ == "__main__":
    sys.exit(main())
