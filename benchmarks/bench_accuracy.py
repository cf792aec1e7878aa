"""Accuracy on the released RNN benchmark: the published surrogates and the default.

Prints the mean correlation of the map with the true EC over the packaged seeds, by perturbation
and by Jacobian, and the time of one fit relative to the ridge VAR.

usage: bench_accuracy.py [FOLDER]    (FOLDER holds rnn_n20_T8000_seed*.npz)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from npi_bids.core.measures import antisymmetric, pearson
from npi_bids.core.perturb import PerturbSettings
from npi_bids.core.pipeline import ec_of_runs
from npi_bids.core.records import RegionSeries
from npi_bids.core.surrogate import TrainSettings, preset
from npi_bids.core.train import threads

DATA = Path(__file__).parents[2] / "shared" / "data" / "npi_rnn_sim"
METHODS = {
    "var (default, ridge)": TrainSettings(device="cpu"),
    **{
        f"luo2025 {name}": preset("luo2025", surrogate=name, device="cpu")
        for name in ("mlp", "cnn", "rnn", "var")
    },
}


def main() -> int:
    """Run the benchmark."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    files = sorted(folder.glob("rnn_n20_T8000_seed*.npz"))
    if not files:
        print(f"no benchmark data in {folder}")
        return 0
    table = {}
    print(f"{'method':<22} {'r':>7} {'r Jacobian':>11} {'r direction':>12} {'seconds':>8}")
    for name, settings in METHODS.items():
        rows, seconds = [], []
        for path in files:
            started = time.perf_counter()
            rows.append(_measure(path, settings))
            seconds.append(time.perf_counter() - started)
        r, jacobian, direction = np.mean(rows, axis=0)
        table[name] = {"r": r, "r_jacobian": jacobian, "r_antisymmetric": direction}
        print(
            f"{name:<22} {r:>7.4f} {jacobian:>11.4f} {direction:>12.4f} {np.mean(seconds):>8.2f}"
        )
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "accuracy.json").write_text(json.dumps(table, indent=2))
    return 0


def _measure(path: Path, settings: TrainSettings) -> tuple[float, float, float]:
    stored = np.load(path)
    series, truth = stored["ts"].astype(float), stored["real_EC_src_row"].astype(float)
    labels = tuple(f"R{n}" for n in range(series.shape[1]))
    run = RegionSeries(series, labels, 1.0, np.ones(len(series), dtype=bool))
    with threads(1):
        found = ec_of_runs([run], train=settings, perturb=PerturbSettings()).measures
    ec = found["npi"].matrix
    return (
        pearson(ec, truth),
        pearson(found["jacobian"].matrix, truth),
        pearson(antisymmetric(ec), antisymmetric(truth)),
    )


if __name__ == "__main__":
    sys.exit(main())
