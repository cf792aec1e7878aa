"""Time and memory to find the runs of 10, 72 and 1000 subjects (empty files with realistic names).

Each figure is of a process of its own: CPU seconds, imports included, for the index and the query
alone, and with masks, confounds and repetition times; the same from a database of pybids.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPACES = ("space-MNI152NLin2009cAsym_res-2", "space-T1w")
# Limits in CPU seconds (MB for memory) that a release has to keep, on one core of a server.
LIMITS = {
    "1000, index and query": 2.0,
    "1000, all": 3.5,
    "1000, database, index and query": 1.0,
    "10 of 1000, all": 0.7,
}
MEMORY_MB = 120


def main() -> int:
    """Run the benchmark; ``--child`` is one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=4, metavar=("ROOT", "STEP", "N", "DATABASE"))
    args = parser.parse_args()
    if args.child:
        root, step, n_labels, database = args.child
        return measure(Path(root), step, int(n_labels), database)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for n_subjects in (72, 1000):
            root = Path(folder) / f"n{n_subjects}"
            make(root, n_subjects)
            for step in ("index and query", "all"):
                results[f"{n_subjects}, {step}"] = run_child(root, step)
        results["10 of 1000, all"] = run_child(root, "all", 10)
        database = str(Path(folder) / "database")
        results["1000, database made, all"] = run_child(root, "all", 0, database)
        for step in ("index and query", "all"):
            results[f"1000, database, {step}"] = run_child(root, step, 0, database)
    for name, figures in results.items():
        limit = f" (limit {LIMITS[name]} s)" if name in LIMITS else ""
        print(f"{name}: {figures['cpu']:.2f} s CPU, {figures['wall']:.2f} s, "
              f"{figures['mb']:.0f} MB{limit}")  # fmt: skip
    path = Path(__file__).parent / "results"
    path.mkdir(exist_ok=True)
    (path / "finding.json").write_text(json.dumps(results, indent=2))
    return 0


def run_child(root: Path, step: str, n_labels: int = 0, database: str = "") -> dict[str, float]:
    """Return the figures of one measurement, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.finding", "--child", root, step, str(n_labels),
               database]  # fmt: skip
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(output))


def measure(root: Path, step: str, n_labels: int, database: str) -> int:
    """Find runs and print CPU seconds, seconds and memory of this process."""
    started = time.perf_counter()
    from npi_bids.bids import layout

    if step == "index and query":
        layout.complete_run = lambda run, *_: run
    labels = tuple(f"{number:04d}" for number in range(n_labels))
    query = layout.QuerySettings(participant_label=labels, bids_database_dir=database)
    runs = layout.find_runs(layout.find_datasets(root, {}), query)
    print(json.dumps({
        "n_runs": len(runs), "wall": time.perf_counter() - started,
        "cpu": sum(os.times()[:2]),
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))  # fmt: skip
    return 0


def make(root: Path, n_subjects: int, n_runs: int = 4) -> None:
    """Create a dataset of empty files."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"DatasetType": "derivative"}')
    for subject in range(n_subjects):
        func = root / f"sub-{subject:04d}" / "func"
        func.mkdir(parents=True)
        for run in range(1, n_runs + 1):
            stem = f"sub-{subject:04d}_task-rest_run-{run}"
            (func / f"{stem}_desc-confounds_timeseries.tsv").touch()
            for space in SPACES:
                (func / f"{stem}_{space}_desc-preproc_bold.nii.gz").touch()
                (func / f"{stem}_{space}_desc-brain_mask.nii.gz").touch()
                (func / f"{stem}_{space}_desc-preproc_bold.json").write_text(
                    '{"RepetitionTime": 2.0}'
                )


if __name__ == "__main__":
    sys.exit(main())
