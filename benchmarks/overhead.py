"""Overhead of scheduling: many tiny models through Nipype's MultiProc.

Prints wall time, the time that the nodes' own work takes, and what is left per node.
The figures to stay under are 30 ms per node, and 60 s beside the work for 1000 units; the memory
of the scheduling process must not grow with what is done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs
from npi_bids.bids.runs import CombineSettings, group_runs
from npi_bids.cli.run import prepare_workers
from npi_bids.parcellation.parcellation import Parcellation, label_image, save_parcellation
from npi_bids.simulate.dataset import SimulatedRun, write_description, write_run

N_REGIONS, N_SAMPLES = 8, 60


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-units", type=int, default=200)
    parser.add_argument("--n-procs", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), args.n_units, args.n_procs)
    print(json.dumps(found, indent=2))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "overhead.json").write_text(json.dumps(found, indent=2))
    return 0 if found["overhead_ms_per_node"] < 30 else 1


def make_dataset(root: Path, n_units: int) -> Parcellation:
    """Write one tiny run per subject."""
    rng = np.random.default_rng(0)
    data = np.zeros((8, 8, 8), dtype=np.int32)
    data[1:7, 1:7, 1:7] = np.repeat(np.arange(1, N_REGIONS + 1), 27).reshape(6, 6, 6)
    labels = tuple(f"R{n}" for n in range(N_REGIONS))
    values = tuple(range(1, N_REGIONS + 1))
    image = label_image(data, np.diag([4.0, 4, 4, 1]))
    atlas = Parcellation("Tiny", labels, values, "MNI152NLin6Asym", image)
    write_description(root, "tiny")
    for unit in range(n_units):
        signals = rng.standard_normal((N_SAMPLES, N_REGIONS))
        entities = {"sub": f"{unit:04d}", "task": "rest"}
        write_run(
            root,
            SimulatedRun(entities, signals, 2.0, np.isin(np.arange(N_SAMPLES), (5, 6))),
            atlas,
            rng,
        )
    return atlas


def measure(folder: Path, n_units: int, n_procs: int) -> dict[str, float]:
    """Time the workflow of the participant level, and the work in its nodes."""
    prepare_workers(folder / "work", 1)
    from npi_bids.analysis import AnalysisSettings
    from npi_bids.cli.execution import Plugin, run_workflow
    from npi_bids.cli.participant import AT_ONCE
    from npi_bids.parcellation.denoising import DenoiseSettings
    from npi_bids.surrogates.base import TrainSettings
    from npi_bids.workflows.participant import init_participant_wf
    from npi_bids.workflows.subject import PreparedAtlas, Task

    atlas = make_dataset(folder / "data", n_units)
    save_parcellation(atlas, folder / "atlas")
    nib.save(atlas.image, folder / "atlas.nii.gz")
    started = time.perf_counter()
    runs = find_runs(find_datasets(folder / "data", {}), QuerySettings())
    units = group_runs(runs, CombineSettings())
    finding = time.perf_counter() - started
    prepared = PreparedAtlas({"atlas": "Tiny"}, folder / "atlas", "atlas.tsv", N_REGIONS)
    args = {"n_procs": n_procs, "mp_context": "forkserver", "scheduler": "mem_thread"}
    memory: dict[str, float] = {}

    def notice(node: Any, status: str) -> None:
        if status == "end":
            memory[node.fullname] = resident_mb()

    building, well = 0.0, True
    started = time.perf_counter()
    for first in range(0, n_units, AT_ONCE):  # as the participant level gives them to Nipype
        before = time.perf_counter()
        workflow = init_participant_wf(
            tasks=[Task(unit, prepared, "simple") for unit in units[first : first + AT_ONCE]],
            settings=AnalysisSettings(
                denoise=DenoiseSettings(denoise="none", min_time=0),
                train=TrainSettings(surrogate="var"),
            ),
            out_dir=folder / "out",
            work_dir=folder / "work",
        )
        building += time.perf_counter() - before
        well &= run_workflow(workflow, Plugin("MultiProc", args), folder, notice)
    wall = time.perf_counter() - started - building
    work = sum(_durations(folder / "work"))
    return {
        "n_units": n_units,
        "n_nodes": len(memory),
        "all_well": well,
        "finding_s": round(finding, 3),
        "building_s": round(building, 2),
        "wall_s": round(wall, 2),
        "work_s": round(work, 2),
        "beside_the_work_s": round(finding + building + wall - work / n_procs, 1),
        "parent_mb_after_a_tenth": list(memory.values())[len(memory) // 10],
        "parent_mb_at_the_end": list(memory.values())[-1],
        "overhead_ms_per_node": round(1000 * (wall - work / n_procs) / len(memory), 2),
    }


def resident_mb() -> float:
    """Return the memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def _durations(work: Path) -> list[float]:
    """Return the time that each node's interface took, from its stored result."""
    from nipype.utils.filemanip import loadpkl

    return [float(loadpkl(path).runtime.duration or 0) for path in work.rglob("result_*.pklz")]


if __name__ == "__main__":
    sys.exit(main())
