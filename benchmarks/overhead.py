"""Scheduling overhead of many tiny models with Nipype's MultiProc.

Prints the wall time, the computing time of the nodes, and the difference per node. The limits are
30 ms per node, and an overhead of 60 s for 1000 units; the memory of the scheduling process must
not grow with the number of completed nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs
from npi_bids.bids.runs import CombineSettings, group_runs
from npi_bids.bids.writing import save_atlas
from npi_bids.cli.run import prepare_workers
from npi_bids.parcellation.parcellation import Parcellation, label_image, save_parcellation
from npi_bids.simulate.dataset import SimulatedRun, write_description, write_run

if TYPE_CHECKING:
    from npi_bids.analysis import PreparedAtlas

N_REGIONS, N_SAMPLES = 8, 60


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-units", type=int, default=200)
    parser.add_argument("--n-procs", type=int, default=2)
    args = parser.parse_args()
    # A separate process removes its scratch files when it ends, before the folder is deleted.
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, get_context("spawn")) as executor,
    ):
        timing = executor.submit(measure, Path(folder), args.n_units, args.n_procs).result()
    print(json.dumps(timing, indent=2))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "overhead.json").write_text(json.dumps(timing, indent=2))
    return 0 if timing["all_well"] and timing["overhead_ms_per_node"] < 30 else 1


def make_dataset(folder: Path, n_units: int) -> PreparedAtlas:
    """Write one tiny run per subject, and their atlas; return the prepared atlas."""
    from npi_bids.analysis import PreparedAtlas

    rng = np.random.default_rng(0)
    data = np.zeros((8, 8, 8), dtype=np.int32)
    data[1:7, 1:7, 1:7] = np.repeat(np.arange(1, N_REGIONS + 1), 27).reshape(6, 6, 6)
    labels = tuple(f"R{n}" for n in range(N_REGIONS))
    values = tuple(range(1, N_REGIONS + 1))
    image = label_image(data, np.diag([4.0, 4, 4, 1]))
    atlas = Parcellation("Tiny", labels, values, "MNI152NLin6Asym", image)
    write_description(folder / "data", "tiny")
    for unit in range(n_units):
        signals = rng.standard_normal((N_SAMPLES, N_REGIONS))
        entities = {"sub": f"{unit:04d}", "task": "rest"}
        write_run(
            folder / "data",
            SimulatedRun(entities, signals, 2.0, np.isin(np.arange(N_SAMPLES), (5, 6))),
            atlas,
            rng,
        )
    save_parcellation(atlas, folder / "atlas")
    named = {"atlas": "Tiny"}
    table = save_atlas(atlas, folder / "out", "MNI152NLin6Asym", named)
    return PreparedAtlas(named, folder / "atlas", table, N_REGIONS)


def measure(folder: Path, n_units: int, n_procs: int) -> dict[str, float]:
    """Time the workflow of the participant level, and the computation in its nodes."""
    prepare_workers(folder / "work", 1)
    from npi_bids.analysis import AnalysisSettings, Task
    from npi_bids.cli.execution import Plugin, run_workflow
    from npi_bids.cli.participant import BATCH_SIZE
    from npi_bids.parcellation.denoising import DenoiseSettings
    from npi_bids.surrogates.base import TrainSettings
    from npi_bids.workflows.participant import init_participant_wf

    prepared = make_dataset(folder, n_units)
    started = time.perf_counter()
    runs = find_runs(find_datasets(folder / "data", {}), QuerySettings())
    units = group_runs(runs, CombineSettings())
    finding = time.perf_counter() - started
    args = {"n_procs": n_procs, "mp_context": "forkserver", "scheduler": "mem_thread"}
    memory: dict[str, float] = {}

    def notice(node: Any, status: str) -> None:
        if status == "end":
            memory[node.fullname] = resident_mb()

    building, well = 0.0, True
    started = time.perf_counter()
    for first in range(0, n_units, BATCH_SIZE):  # in batches, as the participant level does
        before = time.perf_counter()
        workflow = init_participant_wf(
            tasks=[Task(unit, prepared, "simple") for unit in units[first : first + BATCH_SIZE]],
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
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def _durations(work: Path) -> list[float]:
    """Return the run time of each node's interface, from its stored result."""
    from nipype.utils.filemanip import loadpkl

    return [float(loadpkl(path).runtime.duration or 0) for path in work.rglob("result_*.pklz")]


if __name__ == "__main__":
    sys.exit(main())
