"""Speed of the fast perturbation, compared with one plain pass per region.

usage: python -m benchmarks.perturbation [--n-regions N] [--n-windows T]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from npi_bids.connectivity.perturbation import infer_ec, mean_jacobian, perturb_each
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import preset
from npi_bids.surrogates.families import families
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.training import threads


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-regions", type=int, default=100)
    parser.add_argument("--n-windows", type=int, default=1000)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    history = rng.standard_normal((args.n_windows, 3, args.n_regions))
    windows = Windows(history, history[:, -1], np.arange(args.n_windows))
    table = {}
    print(f"{'surrogate':<10} {'plain s':>9} {'fast s':>9} {'ratio':>7} {'Jacobian s':>11}")
    for name in families():
        settings = preset("luo2025", surrogate=name, epochs=1, device="cpu")
        with threads(1):
            model, _ = fit_surrogate(windows, windows, settings)
            plain = _seconds(lambda m=model: perturb_each(m, history, 1.0))
            fast = _seconds(lambda m=model: infer_ec(m, history, PerturbSettings()))
            jacobian = _seconds(lambda m=model: mean_jacobian(m, history))
        table[name] = {"plain_s": plain, "fast_s": fast, "jacobian_s": jacobian}
        print(f"{name:<10} {plain:>9.3f} {fast:>9.3f} {plain / fast:>7.1f} {jacobian:>11.4f}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "perturbation.json").write_text(json.dumps(table, indent=2))
    return 0


def _seconds(work: Callable[[], Array]) -> float:
    """Return the shortest of three run times."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    sys.exit(main())
