"""Time and memory of the group level: 1000 subjects of 400 regions.

Writes an output dataset with maps and sidecars of that many subjects (40 distinct maps, hard-
linked repeatedly), runs the command on it in a separate process, and prints the elapsed time, the
processor time of all processes, and the largest memory of all of them together, without the
arrays on disk. The limits are five minutes and 4 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from benchmarks.table import save
from npi_bids.assessment.settings import VerdictSettings
from npi_bids.bids.sidecars import (
    FittedModel,
    Links,
    ModelSidecar,
    Perturbation,
    RunSidecar,
    SpatialGrid,
    UncertaintySource,
    matrix_fields,
)
from npi_bids.io.tables import write_matrix
from npi_bids.records import ECResult, Quality

_DIFFERENT = 40
_MEASURES = ("npi", "npiunshrunk", "npireversed", "npiproportional", "pearsoncorrelation")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-subjects", type=int, default=1000)
    parser.add_argument("--n-regions", type=int, default=400)
    args, options = parser.parse_known_args()  # other options are passed on to npi-bids
    with tempfile.TemporaryDirectory() as folder:
        write_results(Path(folder) / "out", args.n_subjects, args.n_regions)
        command = [sys.executable, "-m", "npi_bids", "nothing", "out", "group", "--n-procs", "2",
                 *options]  # fmt: skip
        started = time.perf_counter()
        log = Path(folder) / "log.txt"
        with log.open("w") as file:
            process = psutil.Popen(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT)
            memory, processor = watch(process)
        seconds = time.perf_counter() - started
        print(log.read_text()[-300:])
        page_mb = (Path(folder) / "out" / "group.html").stat().st_size / 1e6
    summary = {"subjects": args.n_subjects, "regions": args.n_regions, "options": options,
             "seconds": round(seconds, 1), "processor_seconds": round(processor, 1),
             "largest_gb": round(memory, 2), "page_mb": round(page_mb, 2),
             "code": process.returncode}  # fmt: skip
    print(json.dumps(summary, indent=1))
    save("group_size" + ("_tested" if options else ""), summary)
    return 0 if process.returncode == 0 and seconds < 300 and memory < 4 else 1


def watch(process: psutil.Popen) -> tuple[float, float]:
    """Return the largest memory (GB) and the processor time (s) of a process and its children."""
    largest, seconds = 0.0, {}
    while process.poll() is None:
        memory = 0.0
        for each in (process, *process.children(recursive=True)):
            try:
                usage, times = each.memory_info(), each.cpu_times()
            except psutil.Error:  # it has ended
                continue
            memory += (usage.rss - usage.shared) / 1e9
            seconds[each.pid] = times.user + times.system
        largest = max(largest, memory)
        time.sleep(0.2)
    return largest, sum(seconds.values())


def write_results(out: Path, n_subjects: int, n_regions: int) -> None:
    """Write the results of the participant level for the given number of subjects."""
    rng = np.random.default_rng(0)
    labels = tuple(f"7Networks_{'LH' if n < n_regions // 2 else 'RH'}_N{n % 7}_{n}"
                   for n in range(n_regions))  # fmt: skip
    regions = "tpl-MNI152NLin6Asym/anat/tpl-MNI152NLin6Asym_atlas-Sim_dseg.tsv"
    (out / regions).parent.mkdir(parents=True)
    table = pd.DataFrame({"index": range(1, n_regions + 1), "name": labels,
                          "network": [f"N{n % 7}" for n in range(n_regions)]})  # fmt: skip
    table[["x", "y", "z"]] = rng.standard_normal((n_regions, 3)) * [35, 45, 30]
    table.to_csv(out / regions, sep="\t", index=False)
    description = {"Name": "x", "BIDSVersion": "1.11.1", "DatasetType": "derivative",
             "GeneratedBy": [{"Name": "npi-bids"}]}  # fmt: skip
    (out / "dataset_description.json").write_text(json.dumps(description))
    (out / "logs" / "units").mkdir(parents=True)
    shared = rng.standard_normal((n_regions, n_regions)) * 0.01
    for subject in range(n_subjects):
        _write_subject(out, subject, labels, regions, shared, rng)
    people = {"participant_id": [f"sub-{n:04d}" for n in range(n_subjects)],
              "group": ["ab"[n % 2] for n in range(n_subjects)],
              "age": [20 + n % 50 for n in range(n_subjects)]}  # fmt: skip
    pd.DataFrame(people).to_csv(out / "participants.tsv", sep="\t", index=False)


def _write_subject(
    out: Path,
    subject: int,
    labels: tuple[str, ...],
    regions: str,
    shared: np.ndarray,
    rng: np.random.Generator,
) -> None:
    sub = f"sub-{subject:04d}"
    func = out / sub / "func"
    func.mkdir(parents=True)
    stem = f"{sub}_task-rest_space-MNI152NLin6Asym_atlas-Sim"
    for measure in _MEASURES:
        path = func / f"{stem}_meas-{measure}_desc-simple_relmat.tsv"
        if subject < _DIFFERENT:
            map_of_subject = shared + 0.01 * rng.standard_normal(shared.shape)
            np.fill_diagonal(map_of_subject, 0.0)
            write_matrix(ECResult(map_of_subject, labels), path)
        else:
            os.link(str(path).replace(sub, f"sub-{subject % _DIFFERENT:04d}"), path)
    series = f"{sub}/func/{stem}_desc-simple_timeseries"
    _of_run(rng).write(out / f"{series}.json")
    sidecar = _of_map(regions, f"{series}.tsv", rng)
    sidecar.write(func / f"{stem}_meas-npi_desc-simple_relmat.json")
    entities = {"sub": sub[4:], "task": "rest", "space": "MNI152NLin6Asym", "atlas": "Sim"}
    status = {"entities": entities, "desc": "simple", "status": "done", "configuration": "x"}
    (out / "logs" / "units" / f"{stem}_desc-simple.json").write_text(json.dumps(status))


def _of_run(rng: np.random.Generator) -> RunSidecar:
    return RunSidecar(
        repetition_time=2.0,
        grid=SpatialGrid(),
        links=Links(),
        number_of_samples=420,
        samples_kept=400,
        samples_censored=20,
        mean_framewise_displacement=float(rng.random() / 4),
        denoising="simple",
        regressors=("x",),
        standardize="zscore",
        minimum_coverage=0.5,
    )


def _of_map(regions: str, series: str, rng: np.random.Generator) -> ModelSidecar:
    figures: dict[str, Any] = {
        field.name: float(rng.random()) for field in fields(Quality) if field.type == "float"
    }
    counts: dict[str, Any] = dict.fromkeys(("n_windows", "n_train", "n_valid", "n_regions"), 400)
    sources = {"node_files": (f"bids::{regions}",), "sources": (f"bids::{series}",)}
    return ModelSidecar(
        matrix=matrix_fields("npi"),
        grid=SpatialGrid(),
        links=Links(**sources, configuration_hash="x"),
        fit=FittedModel(
            repetition_time=2.0,
            surrogate="hybrid",
            training={"n_lags": 4, "epochs": 200},
            perturbation=Perturbation(strength=1.0, sign="positive"),
            verdict="caution",
            verdict_reasons=(),
            verdict_thresholds=VerdictSettings(),
            direction_supported=True,
            uncertainty=UncertaintySource(method="posterior"),
            quality=Quality(**figures, **counts, direction_supported=True),
            regions_in_model=400,
            seed=0,
            software_versions={"nipype": "1", "nilearn": "1"},
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
