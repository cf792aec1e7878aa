"""Significant digits of maps, p values and choices under rounding of the input.

usage: python -m benchmarks.stability [--quick]

Every input value moves by one unit in the last place, ten times, as in
:mod:`npi_bids.validate.stability`. Also printed: the largest change of what decides a
choice, which the tolerance of near ties (:mod:`npi_bids.assessment.near_ties`) must exceed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

import npi_bids
from benchmarks.table import save, show
from npi_bids.assessment.near_ties import CHOICE_TOLERANCE
from npi_bids.records import Array
from npi_bids.simulate.rnn import random_network, simulate_rnn
from npi_bids.validate.stability import Outcome, measure_stability

_DECISIVE = ("var_gain", "evidence_symmetric", "evidence_antisymmetric", "gain_evidence",
             "noise_evidence", "delay_evidence", "delay_benefit", "residual_gain")  # fmt: skip
_CHOICES = ("linear_is_var", "whitening_order", "memory_order", "common_gain",
            "residual_networks", "linear_correction")  # fmt: skip


def make_runs(n_regions: int, n_samples: int, *, blurred: bool) -> list[Array]:
    """Return two runs of the RNN benchmark; blurred ones have a slow response and delays."""
    rng = np.random.default_rng(n_regions)
    system = random_network(n_regions, rng)
    runs = list(simulate_rnn(system, n_runs=2, n_samples=n_samples, rng=rng))
    if not blurred:
        return runs
    kernels = [np.exp(-0.5 * ((np.arange(8) - 2 - delay) / 1.2) ** 2)
               for delay in rng.normal(0, 0.5, n_regions)]  # fmt: skip
    blurred_runs = [
        np.stack([np.convolve(column, kernel)[: len(run)]
                  for column, kernel in zip(run.T, kernels, strict=True)], axis=1)
        for run in runs
    ]  # fmt: skip
    return [run + 0.1 * run.std() * rng.standard_normal(run.shape) for run in blurred_runs]


def measure(runs: Sequence[Array], n_repetitions: int, **options: object) -> dict[str, object]:
    """Return digits, flips and the largest change of decisive quantities."""
    decisive: list[list[float]] = []

    def analyse(moved: Sequence[Array]) -> Outcome:
        result = npi_bids.ec(list(moved), tr=1.0, **options)
        training = dict(result.log.details)
        decisive.append([training.get(name, np.nan) for name in _DECISIVE])
        delays = {"delays": training.get("delay_sd", 0.0) > 0}
        choices = {name: training[name] for name in _CHOICES if name in training}
        return Outcome(
            {"ec": result.ec, "p": result.measures["npip"].matrix},
            {"verdict": result.verdict.label, **delays, **choices},
        )

    stability = measure_stability(runs, analyse, n_repetitions=n_repetitions)
    off_diagonal = ~np.eye(runs[0].shape[1], dtype=bool)
    row: dict[str, object] = {}
    for name, digits in stability.digits.items():
        values = digits[off_diagonal]
        row[f"{name}, median digits"] = float(np.nanmedian(values))
        row[f"{name}, fewest digits"] = float(np.nanmin(values))
    row["choices that flip"] = float(len(stability.flips))
    spread = np.ptp(np.array(decisive), axis=0)
    row["largest change of what decides"] = float(np.nanmax(spread, initial=0.0))
    return row


def main() -> int:
    """Run the benchmark; return 1 where a choice flips or the tolerance is too small."""
    quick = "--quick" in sys.argv
    n_repetitions = 4 if quick else 10
    sizes = ((12, 400),) if quick else ((12, 400), (20, 800), (50, 600))
    rows = {}
    for n_regions, n_samples in sizes:
        for blurred in (False, True):
            runs = make_runs(n_regions, n_samples, blurred=blurred)
            for surrogate in ("hybrid",) if blurred else ("var", "hybrid"):
                name = f"{surrogate}, {n_regions} regions" + (", blurred" if blurred else "")
                rows[name] = measure(runs, n_repetitions, surrogate=surrogate)
                print(name, rows[name], flush=True)
    columns = tuple(next(iter(rows.values())))
    show(
        "Digits under rounding", columns, {name: tuple(row.values()) for name, row in rows.items()}
    )
    print(f"written to {save('stability', rows)}")
    failed = any(
        row["choices that flip"] or row["largest change of what decides"] > CHOICE_TOLERANCE
        for row in rows.values()
    )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
