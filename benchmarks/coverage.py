"""Coverage of 95 % intervals, and level of p values in systems without connections.

usage: python -m benchmarks.coverage [--quick]
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.calibration import unconnected
from benchmarks.systems import fresh_rnn
from benchmarks.table import save, show
from npi_bids.assessment.settings import AssessSettings
from npi_bids.connectivity.settings import MeasureSettings, PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.matrices import off_diagonal
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.training import threads


def main() -> int:
    """Run the benchmark."""
    quick = "--quick" in sys.argv
    seeds = range(4000, 4003 if quick else 4020)
    tried = {
        "hybrid, posterior": ("hybrid", 0),
        "var, posterior": ("var", 0),
        "hybrid, bootstrap": ("hybrid", 20 if quick else 40),
        "var, bootstrap": ("var", 20 if quick else 40),
    }
    rows: dict[str, list[float]] = {}
    for name, (surrogate, n_bootstrap) in tried.items():
        settings = TrainSettings(surrogate=surrogate, device="cpu")
        assess = AssessSettings(measures=MeasureSettings(n_bootstrap=n_bootstrap))
        rows[name] = []
        for n_samples in (400, 1600, 8000, 0):
            if n_bootstrap and n_samples > 400:
                rows[name].append(float("nan"))  # minutes per seed, without new information
                continue
            shares = []
            for seed in seeds:
                system = fresh_rnn(seed, n_samples) if n_samples else unconnected(seed)
                with threads(1):
                    matrices = ec_of_runs(
                        system.runs, train=settings, perturb=PerturbSettings(), assess=assess
                    ).measures
                if n_samples:
                    lower, upper = (matrices[f"npi{end}"].matrix for end in ("lower", "upper"))
                    is_covered = (lower <= system.truth) & (system.truth <= upper)
                    shares.append(float(np.mean(off_diagonal(is_covered.astype(float)))))
                else:
                    shares.append(float(np.mean(off_diagonal(matrices["npip"].matrix) < 0.05)))
            rows[name].append(float(np.mean(shares)))
    columns = ("400", "1600", "8000", "p < .05, none")
    show(f"Coverage of 95 % intervals by samples, RNN, {len(seeds)} seeds", columns, rows)
    print(f"written to {save('coverage', {**rows, 'n_seeds': len(seeds)})}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
