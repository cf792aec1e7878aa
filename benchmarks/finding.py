"""Time to find the runs of 72 and of 1000 subjects (empty files with realistic names)."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs

SPACES = ("space-MNI152NLin2009cAsym_res-2", "space-MNI152NLin6Asym_res-2", "space-T1w")


def main() -> int:
    """Run the benchmark."""
    seconds = {}
    for n_subjects in (72, 1000):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make(root, n_subjects)
            started = time.perf_counter()
            runs = find_runs(find_datasets(root, {}), QuerySettings())
            seconds[n_subjects] = time.perf_counter() - started
        print(f"{n_subjects} subjects, {len(runs)} runs: {seconds[n_subjects]:.2f} s")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "finding.json").write_text(json.dumps(seconds, indent=2))
    return 0


def make(root: Path, n_subjects: int, n_runs: int = 4) -> None:
    """Create a dataset of empty files."""
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
