"""Many subjects, with random kills of the command and its workers every few seconds until done.

usage: python -m benchmarks.soak [number of subjects: 200] [seed: 0] [longest seconds: 3600]

The result must be that of an undisturbed run, file by file, with no process, unfinished file, or
lock that holds anybody back. Beside the signals, one in five disturbances fills the scratch folder
(a small file system cannot be mounted without rights: the size of files is limited instead), which
ends the run with an error; the next one goes on.
"""

from __future__ import annotations

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
    n_differences,
    remaining_processes,
    send,
)
from benchmarks.table import save
from npi_bids.bids.derivatives import DONE, find_statuses

_VICTIMS = ("command", "worker", "fork server", "all")
# Share of disturbances by a full disk, and the largest file in bytes that it leaves room for.
_DISK_SHARE, _LARGEST_FILE = 0.2, 2000
_PAUSES = (3.0, 30.0)  # seconds between disturbances, as the machine is fast or busy


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
                "last runs that failed", "tracebacks")  # fmt: skip
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
    _simulate(folder, n_subjects)
    started = time.monotonic()
    undisturbed = _start(folder, "whole", uuid4().hex)
    _, err = undisturbed.communicate()
    if undisturbed.returncode:
        raise RuntimeError(err)
    counts["seconds, undisturbed"] = round(time.monotonic() - started)
    started = time.monotonic()
    while time.monotonic() - started < longest:
        ended = _disturb_once(folder, rng, counts)
        print(f"{time.monotonic() - started:.0f} s: {dict(counts)}", flush=True)
        if ended:
            break
    counts["seconds, disturbed"] = round(time.monotonic() - started)
    last = _start(folder, "killed", uuid4().hex)
    _, err = last.communicate()
    counts["last runs that failed"] = int(last.returncode != 0)
    done = [status for status in find_statuses(folder / "killed/out") if status.status == DONE]
    counts["subjects lost"] = n_subjects - len(done)
    whole, killed = contents(folder / "whole"), contents(folder / "killed")
    counts["files"], counts["files that differ"] = len(whole), n_differences(whole, killed)
    counts["unfinished files"] = len(list((folder / "killed").rglob(".partial_*")))
    return counts


def _simulate(folder: Path, n_subjects: int) -> None:
    words = ("var", folder / "sim", "--n-subjects", n_subjects, "--n-runs", 1, "--n-regions", 5,
             "--minutes", 5, "--series-only")  # fmt: skip
    command = [sys.executable, "-m", "npi_bids.cli.simulate", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)


def _start(
    folder: Path, name: str, mark: str, *, full_disk: bool = False
) -> subprocess.Popen[str]:
    words = (folder / "sim" / "dataset", folder / name / "out", "participant", "--surrogate",
             "var", "--n-procs", 2, "-w", folder / name / "work")  # fmt: skip

    def fill_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing fails instead, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))

    return subprocess.Popen(
        [sys.executable, "-m", "npi_bids", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, MARK: mark}, preexec_fn=fill_disk if full_disk else None,
    )  # fmt: skip


def _disturb_once(folder: Path, rng: np.random.Generator, counts: Counter[str]) -> bool:
    """Start a run and disturb it; return whether it ended by itself before that, in order."""
    mark, full_disk = uuid4().hex, rng.random() < _DISK_SHARE
    process = _start(folder, "killed", mark, full_disk=full_disk)
    name, victim = str(rng.choice(SIGNALS)), str(rng.choice(_VICTIMS))
    try:
        process.wait(timeout=rng.uniform(*_PAUSES))
        completed = process.returncode == 0
    except subprocess.TimeoutExpired:
        completed = False
        hit = send(getattr(signal, name), victim, process.pid, mark)
        counts[f"{name} to {victim}" if hit else "came too early"] += 1
        counts["disturbances"] += hit
    if full_disk:
        counts["disks that were full"] += 1
    _, err = process.communicate(timeout=900)
    if "Traceback" in err:
        counts["tracebacks"] += 1
        print(err)
    counts["processes left"] += len(remaining_processes(mark))
    return completed and not full_disk


if __name__ == "__main__":
    sys.exit(main())
