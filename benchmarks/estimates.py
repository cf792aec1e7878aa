"""Estimated and measured time and memory of a whole command with one participant.

usage: python -m benchmarks.estimates [number of regions ...: 20 100 400 1000] [-- OPTION ...]

CPU seconds of all processes (the machine may be busy with other things), and the largest sum of
their memory, in which shared pages count once. Goal: within a factor of 2 in time and 1.5 in
memory. Options after -- are those of npi-bids.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.table import save, show
from npi_bids.cli.estimates import JobEstimate, estimate, estimate_job
from npi_bids.cli.machine import find_speed
from npi_bids.cli.parser import parse
from npi_bids.cli.participant import make_plan
from npi_bids.cli.run import prepare_workers

_TICKS = os.sysconf("SC_CLK_TCK")
_PAUSE = 0.2  # seconds between looks at the processes
_SAMPLES, _TR = 600, 1.0


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds of all processes, and their largest memory (GB)."""

    seconds: float
    memory_gb: float


def make_dataset(folder: Path, n_regions: int) -> Path:
    """Write series of a sparse VAR, blurred by a slow response, with noise."""
    rng = np.random.default_rng(n_regions)
    links = rng.random((n_regions, n_regions)) < min(1.0, 8 / n_regions)
    weights = np.where(links, rng.normal(0, 0.25, links.shape), 0.0)
    np.fill_diagonal(weights, 0.5)
    weights *= 0.9 / np.abs(np.linalg.eigvals(weights)).max()
    signals = np.zeros((_SAMPLES + 100, n_regions))
    for now in range(1, len(signals)):
        signals[now] = signals[now - 1] @ weights + rng.standard_normal(n_regions)
    response = np.array([0.1, 0.4, 0.3, 0.2])
    blurred = [weight * signals[lag : lag + _SAMPLES] for lag, weight in enumerate(response)]
    signals = np.sum(blurred, axis=0)
    signals += 0.3 * rng.standard_normal(signals.shape)
    func = folder / "sub-01" / "func"
    func.mkdir(parents=True)
    description = {"Name": "estimates", "BIDSVersion": "1.10.0", "DatasetType": "derivative",
                   "GeneratedBy": [{"Name": "benchmarks.estimates"}]}  # fmt: skip
    (folder / "dataset_description.json").write_text(json.dumps(description))
    stem = func / "sub-01_task-rest_atlas-X_desc-simulated_timeseries"
    names = "\t".join(f"R{number}" for number in range(n_regions))
    np.savetxt(f"{stem}.tsv", signals, "%.5f", "\t", header=names, comments="")
    Path(f"{stem}.json").write_text(json.dumps({"RepetitionTime": _TR}))
    return folder


def predict(words: Sequence[str]) -> JobEstimate:
    """Return the estimate for a command line."""
    request = parse(words)
    request = replace(request, output=replace(request.output, dry_run=True))
    work_dir = Path(request.output.work_dir)
    prepare_workers(work_dir, 1)
    plan = make_plan(request, work_dir)
    speed = find_speed(work_dir)
    models = [estimate(task, request.analysis, speed) for task in plan.tasks]
    return estimate_job({"01": models}, machine=speed)


def measure(words: Sequence[str]) -> Used:
    """Run a command and return what it used.

    Raises
    ------
    RuntimeError
        It failed; the message is its output.
    """
    command = [sys.executable, "-m", "npi_bids", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, start_new_session=True)  # fmt: skip
    seconds: dict[int, float] = {}
    memory = 0.0
    while process.poll() is None:
        pids = _processes(process.pid)
        seconds.update({pid: used for pid, used in pids.items() if used >= seconds.get(pid, 0.0)})
        memory = max(memory, sum(_memory(pid) for pid in pids))
        time.sleep(_PAUSE)
    text = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(text)
    return Used(sum(seconds.values()), memory)


def _processes(session: int) -> dict[int, float]:
    """Return the CPU seconds of each process of a session."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(folder.name)] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def _memory(pid: int) -> float:
    """Return the proportional memory of a process (GB)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e6 for line in lines if line.startswith("Pss:")), 0.0)


def main() -> int:
    """Run the benchmark; return 1 where an estimate is off by more than the goal."""
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    own, options = sys.argv[1:end], sys.argv[end + 1 :]
    rows = {}
    base = tempfile.gettempdir()  # which the preparation of a run changes
    for n_regions in map(int, own or (20, 100, 400, 1000)):
        with tempfile.TemporaryDirectory(dir=base) as name:
            dataset = make_dataset(Path(name) / "data", n_regions)
            words = [str(dataset), f"{name}/out", "participant", "--n-procs", "1",
                     "-w", f"{name}/work", *options]  # fmt: skip
            expected, used = predict(words), measure(words)
        seconds = expected.seconds or float("nan")
        rows[f"{n_regions} regions"] = (
            *(seconds, used.seconds, seconds / used.seconds),
            *(expected.memory_gb, used.memory_gb, expected.memory_gb / used.memory_gb),
        )
        print(n_regions, rows[f"{n_regions} regions"], flush=True)
    columns = ("estimate (s)", "used (s)", "ratio", "estimate (GB)", "used (GB)", "ratio ")
    show("One participant, series of 600 samples, one process", columns, rows)
    print(f"written to {save('estimates', rows)}")
    good = all(0.5 <= row[2] <= 2 and 1 / 1.5 <= row[5] <= 1.5 for row in rows.values())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
