"""Kill the command at random moments, and count its processes that are alive ten seconds later.

usage: python -m benchmarks.orphans [number of kills: 50] [seed: 0]

Only the command itself is hit, by each of its signals in turn and at any moment of its run; its
fork server and its workers have to notice. Each run starts in an empty folder.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import numpy as np

from benchmarks.attack_kills import SIGNALS, n_processes, remaining_processes, send
from benchmarks.soak import simulate, start
from benchmarks.table import save

_N_SUBJECTS = 4


def main() -> int:
    """Kill runs, print the counts, and return 1 where a process was left."""
    n_kills, seed = (int(word) for word in (*sys.argv[1:], *("50", "0")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as name:
        counts = kill_runs(Path(name), n_kills, seed)
    for what, number in sorted(counts.items()):
        print(f"{what:<36} {number}")
    print(f"written to {save('orphans', dict(counts))}")
    return 1 if counts["processes left"] else 0


def kill_runs(folder: Path, n_kills: int, seed: int) -> Counter[str]:
    """Kill runs until enough kills have hit a running command.

    Parameters
    ----------
    folder
        Folder of all files.
    n_kills
        Number of kills.
    seed
        Seed of the moments.
    """
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    simulate(folder, _N_SUBJECTS)
    started = time.monotonic()
    start(folder, "whole", uuid4().hex).communicate()
    duration = time.monotonic() - started
    while counts["kills"] < n_kills:
        name, mark = SIGNALS[counts["kills"] % len(SIGNALS)], uuid4().hex
        process = start(folder, f"run_{counts['runs']}", mark)
        counts["runs"] += 1
        time.sleep(rng.uniform(0.0, duration))
        n_alive = n_processes(mark)
        if process.poll() is None and send(getattr(signal, name), "command", process.pid, mark):
            counts["kills"] += 1
            counts[name] += 1
            counts["processes that ran"] += n_alive
        n_left = len(remaining_processes(mark))
        counts["processes left"] += n_left
        process.communicate()
        print(f"{counts['kills']}: {name}, {n_alive} processes, {n_left} left", flush=True)
    return counts


if __name__ == "__main__":
    sys.exit(main())
