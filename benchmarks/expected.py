"""What the quality figures of a result say about its accuracy: simulate, learn, check, ship.

usage: python -m benchmarks.expected simulate [N] [--n-procs P]
       python -m benchmarks.expected fit

``simulate`` draws N systems at random (kind, size, length, TR, coupling, and what stands between
a system and its signals), infers their EC with the default settings, and keeps figures and true
accuracy in ``benchmarks/results/expected.jsonl``; it goes on where it was stopped. ``fit`` checks
the prediction on kinds of systems that it did not see and writes ``npi_bids/data/expected.json``.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.table import RESULTS
from npi_bids.core.measures import antisymmetric, pearson
from npi_bids.core.perturb import PerturbSettings
from npi_bids.core.pipeline import ec_of_runs
from npi_bids.core.surrogate import TrainSettings
from npi_bids.core.train import threads
from npi_bids.errors import NPIError
from npi_bids.simulate.observe import ObserveSettings, as_runs, observe
from npi_bids.simulate.systems import SystemSettings, simulate

ROWS = RESULTS / "expected.jsonl"
_KINDS = ("rnn", "rnn", "rnn", "var", "ou", "ou", "neuromatch", "wbm", "wbm")
# Weakest and strongest coupling of each kind, times its own.
_COUPLING = {
    "rnn": (0.2, 2.5),
    "var": (0.15, 1.3),
    "ou": (0.15, 1.3),
    "neuromatch": (0.5, 4.0),
    "wbm": (0.3, 1.1),
}
_MOST = 60_000  # samples times regions, so that one draw takes seconds


def draw(number: int) -> tuple[str, SystemSettings, ObserveSettings, int, int]:
    """Return kind, size, what is seen, runs and samples per run of one draw."""
    rng = np.random.default_rng([2026, number])
    kind = _KINDS[number % len(_KINDS)]
    n_regions = int(rng.choice([10, 15, 20, 20, 30, 50]))
    n_samples = int(min(np.exp(rng.uniform(np.log(120), np.log(6000))), _MOST / n_regions))
    n_runs = int(rng.integers(1, 5)) if n_samples > 600 else 1
    low, high = _COUPLING[kind]
    tr = {"rnn": np.exp(rng.uniform(np.log(0.4), np.log(3))), "wbm": rng.choice([0.72, 1.0, 2.0])}
    system = SystemSettings(
        n_regions=n_regions,
        coupling=float(np.exp(rng.uniform(np.log(low), np.log(high)))),
        tr=round(float(tr.get(kind, np.exp(rng.uniform(np.log(0.5), np.log(2.5))))), 2),
        seed=number,
    )
    seen = ObserveSettings(**_effects(rng, n_samples // n_runs)) if rng.random() < 0.6 else (
        ObserveSettings()
    )  # fmt: skip
    return kind, system, seen, n_runs, n_samples // n_runs


def _effects(rng: np.random.Generator, n_samples: int) -> dict[str, Any]:
    """Return some effects, each with its own chance."""
    effects: dict[str, Any] = {}
    for name, chance, most in (
        ("hrf_delay_sd", 0.3, 1.5),
        ("measurement_noise", 0.4, 1.5),
        ("drift", 0.15, 0.5),
        ("global_noise", 0.25, 1.0),
        ("unobserved", 0.25, 0.5),
        ("missing", 0.2, 0.4),
    ):
        size = float(rng.uniform(0, most))
        if rng.random() < chance:
            effects[name] = size
    if rng.random() < 0.2 and n_samples > 300:
        effects["decimate"] = int(rng.integers(2, 4))
    if rng.random() < 0.25:
        effects |= {"filter_low": 0.01, "filter_high": float(rng.choice([0.1, 0.15, 0.25]))}
    return effects


def one(number: int) -> dict[str, Any]:
    """Simulate and infer one draw; return what is known and what was found."""
    kind, system, seen, n_runs, n_samples = draw(number)
    row: dict[str, Any] = {"number": number, "kind": kind, "system": asdict(system)}
    row |= {"seen": asdict(seen), "n_runs": n_runs, "n_samples": n_samples}
    started = time.monotonic()
    with threads(1):
        try:
            made = simulate(kind, system, n_runs, n_samples)
            rng = np.random.default_rng([2027, number])
            observed = observe(made.series, made.tr, seen, rng)
            truth = made.truth[np.ix_(observed.seen, observed.seen)]
            labels = tuple(np.array(made.labels)[observed.seen])
            result = ec_of_runs(
                as_runs(observed, labels),
                train=TrainSettings(device="cpu"),
                perturb=PerturbSettings(),
            )
        except NPIError as error:
            return row | {"error": str(error)}
    matrix = result.measures["npi"].matrix
    return row | {
        "r": pearson(matrix, truth),
        "r_antisymmetric": pearson(antisymmetric(matrix), antisymmetric(truth)),
        "verdict": result.verdict.label,
        "quality": {key: float(value) for key, value in asdict(result.quality).items()},
        "seconds": round(time.monotonic() - started, 1),
    }


def read_rows() -> list[dict[str, Any]]:
    """Return what was simulated so far."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def simulate_all(n_wanted: int, n_procs: int) -> None:
    """Simulate the draws that are missing, and keep each as it comes."""
    done = {row["number"] for row in read_rows()}
    todo = [number for number in range(n_wanted) if number not in done]
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(n_procs) as pool, ROWS.open("a") as file:
        waiting = [pool.submit(one, number) for number in todo]
        for count, future in enumerate(as_completed(waiting), start=1):
            file.write(json.dumps(future.result()) + "\n")
            file.flush()
            sys.stderr.write(f"\r{count} of {len(todo)}")


def main() -> int:
    """Run what was asked for."""
    words = sys.argv[1:]
    if words[:1] == ["simulate"]:
        n_procs = int(words[words.index("--n-procs") + 1]) if "--n-procs" in words else 1
        simulate_all(int(words[1]) if len(words) > 1 and words[1].isdigit() else 900, n_procs)
        return 0
    sys.stderr.write(f"{__doc__}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
