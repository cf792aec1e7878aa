"""Many tiny subjects over several tasks that share an output dataset and a work folder.

usage: python -m benchmarks.array_tasks [number of subjects: 2000] [number of tasks: 8]

Tasks are those of ``npi-bids-slurm --scheduler loop``, all at once. Told are updates that were
lost (a subject that is missing from a file that every task rewrites), the time per fit and per
page in the first and in the last tenth, that of the group level, and the number of files and
folders per subject.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.table import save, show
from npi_bids.bids.derivatives import DONE, find_statuses
from npi_bids.bids.outputs import GROUP_TABLE, MADE, QUALITY_TABLE
from npi_bids.io.files import read_json


def main() -> int:
    """Run the benchmark; return 1 where an update was lost or files are too many."""
    n_subjects, n_tasks = (
        int(word) for word in (*sys.argv[1:], *("2000", "8")[len(sys.argv) - 1 :])
    )
    with tempfile.TemporaryDirectory() as name:
        figures = run(Path(name), n_subjects, n_tasks)
    rows = {name: (value,) for name, value in figures.items()}
    show(f"{n_subjects} subjects, {n_tasks} tasks at once", ("",), rows)
    print(f"written to {save('array_tasks', figures)}")
    lost = sum(value for name, value in figures.items() if name.startswith("lost"))
    return 1 if lost or figures["files per subject"] >= 120 else 0


def run(folder: Path, n_subjects: int, n_tasks: int) -> dict[str, float]:
    """Run all tasks and the group, and return what is told."""
    _call("simulate", "var", folder / "sim", "--n-subjects", n_subjects, "--n-runs", 1,
          "--n-regions", 5, "--minutes", 5, "--series-only")  # fmt: skip
    per_task = -(-n_subjects // n_tasks)
    started = time.time()
    _call("cluster", folder / "sim/dataset", folder / "out", "participant", "group",
          "--surrogate", "var", "-w", folder / "work", "--scheduler", "loop", "--submit",
          "--per-task", per_task, "--at-once", n_tasks)  # fmt: skip
    ended = time.time()
    out = folder / "out"
    tasks_ended = max(path.stat().st_mtime for path in out.glob("logs/jobs/*/participant_*.log"))
    fits = [out / status.path for status in find_statuses(out) if status.status == DONE]
    pages = [name for name in read_json(out / MADE) if name.startswith("sub-")]
    return {
        "lost results": float(n_subjects - len(fits)),
        "lost from the table of quality": float(n_subjects - _count_rows(out / QUALITY_TABLE)),
        "lost from the record of pages": float(n_subjects - len(pages)),
        "lost from the group": float(n_subjects - _count_rows(out / GROUP_TABLE)),
        "seconds, tasks": tasks_ended - started,
        "seconds, group": ended - tasks_ended,
        **_describe_pace("fit", fits),
        **_describe_pace("page", list(out.glob("sub-*.html"))),
        "files per subject": sum(1 for root in (out, folder / "work") for _ in root.rglob("*"))
        / n_subjects,
    }


def _describe_pace(what: str, paths: Sequence[Path]) -> dict[str, float]:
    """Return the seconds between two files in the first and in the last tenth."""
    times = np.sort([path.stat().st_mtime for path in paths])
    tenth = max(1, len(times) // 10)
    return {
        f"seconds per {what}, first tenth": float(times[tenth] - times[0]) / tenth,
        f"seconds per {what}, last tenth": float(times[-1] - times[-1 - tenth]) / tenth,
    }


def _count_rows(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines()) - 1


def _call(module: str, *words: object) -> None:
    command = [sys.executable, "-m", f"npi_bids.cli.{module}", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


if __name__ == "__main__":
    sys.exit(main())
