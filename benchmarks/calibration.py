"""Verdicts of maps whose accuracy is known, from which the thresholds of the verdict derive.

usage: python -m benchmarks.calibration [--quick]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from benchmarks.systems import (
    System,
    as_runs,
    band_passed,
    fresh_rnn,
    sanchez_romero,
    wbm,
    with_delays,
)
from benchmarks.table import save, show
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.training import threads

_FIGURES = (
    *("skill_own_history", "r_split", "r_split_antisymmetric", "direction_ratio", "direction_p"),
    *("model_fc_r", "high_frequency_share", "samples_per_parameter", "spectral_radius"),
)


def systems(quick: bool) -> Iterator[tuple[str, System]]:
    """Yield systems with the names of their groups."""
    seeds = range(100, 102 if quick else 106)
    for n_samples in (75, 150, 300, 600, 1200, 4800):
        yield from ((f"rnn {n_samples}", fresh_rnn(seed, n_samples)) for seed in seeds)
    for seed in seeds:
        system = fresh_rnn(seed, 4800)
        yield "rnn 4800 band-passed", band_passed(system)
        yield "rnn 4800 delays 0.5 s", with_delays(system, 0.5, seed)
        yield "rnn 4800 delays 1 s", with_delays(system, 1.0, seed)
        yield "rnn 4800 strong", fresh_rnn(seed, 4800, scale=2.5)
        yield "rnn 600, 100 regions", fresh_rnn(seed, 600, n_regions=100, n_truth=4000)
        yield "nothing connected", unconnected(seed)
    for system in wbm(2 if quick else 5):
        yield "wbm", system
        yield "wbm band-passed", band_passed(system)
    for system in sanchez_romero(10, 1):
        yield "sanchez-romero", system


def unconnected(seed: int) -> System:
    """Return autocorrelated signals of mutually independent regions."""
    rng = np.random.default_rng(seed)
    series = rng.standard_normal((1200, 20))
    for now in range(1, len(series)):
        series[now] += 0.6 * series[now - 1]
    return System(f"seed {seed}", as_runs([series], 1.0), np.full((20, 20), np.nan))


def main() -> int:
    """Run the benchmark."""
    quick = "--quick" in sys.argv[1:]
    rows: dict[str, list[dict[str, float]]] = {}
    verdicts: dict[str, list[str]] = {}
    for name, system in systems(quick):
        with threads(1):
            result = ec_of_runs(
                system.runs, train=TrainSettings(device="cpu"), perturb=PerturbSettings()
            )
        matrix = result.measures["npi"].matrix
        rows.setdefault(name, []).append(
            {
                "r": pearson(matrix, system.truth),
                "r_anti": pearson(antisymmetric(matrix), antisymmetric(system.truth)),
                **{key: float(value) for key, value in asdict(result.quality).items()},
            }
        )
        verdicts.setdefault(name, []).append(result.verdict.label)
        print(
            f"{name}: {result.verdict.label} {'; '.join(result.verdict.reasons)}", file=sys.stderr
        )
    table = {
        name: [
            *(float(np.mean([row[key] for row in results])) for key in ("r", "r_anti", *_FIGURES)),
            f"{np.mean([row['direction_supported'] for row in results]):.0%}",
            "/".join(str(verdicts[name].count(v)) for v in ("pass", "caution", "fail")),
        ]
        for name, results in rows.items()
    }
    short = ("r", "r_anti", "skill", "split", "split anti", "dir ratio", "dir p", "model FC", "HF")
    show(
        "Calibration (means; verdicts pass/caution/fail)",
        (*short, "samples/par", "radius", "direction", "verdicts"),
        table,
    )
    print(f"written to {save('calibration', {'rows': rows, 'verdicts': verdicts})}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
