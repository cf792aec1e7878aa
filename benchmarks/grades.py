"""Grades of realistic designs: which grade scans of some length get, and what they reach.

usage: python -m benchmarks.grades [--regions N ...] [--minutes M ...] [--n-seeds N]
                                   [--n-procs P] [--device NAME]

Simulated RNN and Ornstein-Uhlenbeck systems with measurement noise of half an SD, one run, with
the default settings; seeds from 900.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product

import numpy as np

from benchmarks.table import save
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.simulate.observation import ObserveSettings, as_runs, observe
from npi_bids.simulate.systems import SystemSettings, simulate
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.training import threads

SEED = 900
SYSTEMS, TRS = ("rnn", "ou"), (0.8, 2.0)
COLUMNS = ("system", "regions", "TR", "minutes", "seed", "r", "r antisymmetric", "expected r",
           "data", "connections", "direction")  # fmt: skip
Row = tuple[str | float, ...]


def main() -> int:
    """Run the benchmark, and print one line for each result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--minutes", type=float, nargs="+", default=[6, 12, 30, 60])
    parser.add_argument("--n-seeds", type=int, default=1)
    parser.add_argument("--n-procs", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    seeds = range(SEED, SEED + args.n_seeds)
    print("| " + " | ".join(COLUMNS) + " |")
    designs = list(product(SYSTEMS, args.regions, TRS, args.minutes, seeds))
    rows = []
    with ProcessPoolExecutor(args.n_procs, multiprocessing.get_context("spawn")) as executor:
        waiting = [executor.submit(grade_design, *design, args.device) for design in designs]
        for future in as_completed(waiting):
            rows.append(future.result())
            texts = (f"{x:.2f}" if isinstance(x, float) else str(x) for x in rows[-1])
            print("| " + " | ".join(texts) + " |", flush=True)
    rows.sort()
    save("grades", {"columns": list(COLUMNS), "rows": [list(row) for row in rows]})
    return 0


def grade_design(
    system: str, n_regions: int, tr: float, minutes: float, seed: int, device: str = "cpu"
) -> Row:
    """Simulate and infer one design; return its settings, accuracy and grades."""
    n_samples = round(minutes * 60 / tr)
    settings = SystemSettings(n_regions=n_regions, tr=tr, seed=seed)
    simulation = simulate(system, settings, 1, n_samples)
    noise = ObserveSettings(measurement_noise=0.5)
    observed = observe(simulation.series, simulation.tr, noise, np.random.default_rng(seed))
    with threads(1):
        result = ec_of_runs(
            as_runs(observed, simulation.labels),
            train=TrainSettings(device=device),
            perturb=PerturbSettings(),
        )
    matrix, truth, grades = result.measures["npi"].matrix, simulation.truth, result.grades
    return (
        system, n_regions, tr, float(minutes), seed, pearson(matrix, truth),
        pearson(antisymmetric(matrix), antisymmetric(truth)), float(result.quality.expected_r),
        grades.data, grades.connections, grades.direction,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
