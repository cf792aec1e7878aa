"""Expected accuracy of a map that is shrunk towards that of a group, from its quality metrics.

usage: python -m benchmarks.expected_shrunk simulate [N] [--n-procs P]
       python -m benchmarks.expected_shrunk fit

As ``benchmarks.expected``. Each draw is a group of five to eight subjects who are alike, differ by
some of their connections, or of whom the first has another network altogether. The maps of the
first two, pre-trained on all, are compared with the truth.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from benchmarks.expected import (
    COUPLING,
    TableOfRows,
    check_grades,
    draw_effects,
    expect_unseen,
    read_rows,
    run,
    simulate_all,
)
from benchmarks.table import RESULTS, save
from npi_bids.assessment.expected_accuracy import extract_shrunk_figures
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import NPIError
from npi_bids.inference import ec_of_runs
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import Array, RegionSeries
from npi_bids.simulate.linear import LinearSystem, simulate_linear, var_system
from npi_bids.simulate.observation import ObserveSettings, as_runs, observe
from npi_bids.simulate.rnn import RNNSystem, random_network, simulate_rnn, true_ec
from npi_bids.simulate.systems import SystemSettings, simulate
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.pretraining import pretrain
from npi_bids.surrogates.training import threads

ROWS = RESULTS / "expected_shrunk.jsonl"
_KINDS = ("rnn", "ou", "var", "wbm", "neuromatch")
# Types of systems whose subjects can have networks that differ in part.
_VARIED = ("rnn", "var")
_ALIEN = 0.2  # share of the groups whose first subject has another network
_N_SEEN = 2  # subjects whose maps are compared with the truth


@dataclass(frozen=True, slots=True)
class Group:
    """Settings of one draw.

    Attributes
    ----------
    kind
        Type of system.
    system, seen
        Size, coupling and sampling; how the signals are observed.
    n_subjects, n_samples
        Subjects, and samples of each.
    own
        Share of the connections that is a subject's own.
    is_alien
        Whether the first subject has a network of its own.
    """

    kind: str
    system: SystemSettings
    seen: ObserveSettings
    n_subjects: int
    n_samples: int
    own: float
    is_alien: bool


def draw(number: int) -> Group:
    """Return the settings of one draw."""
    rng = np.random.default_rng([2028, number])
    kind = _KINDS[number % len(_KINDS)]
    low, high = COUPLING[kind]
    tr = {"rnn": np.exp(rng.uniform(np.log(0.4), np.log(3))), "wbm": rng.choice([0.72, 1.0, 2.0])}
    system = SystemSettings(
        n_regions=int(rng.choice([10, 12, 15])),
        coupling=float(np.exp(rng.uniform(np.log(low), np.log(high)))),
        tr=round(float(tr.get(kind, np.exp(rng.uniform(np.log(0.5), np.log(2.5))))), 2),
        seed=500_000 + number,
    )
    n_samples = int(np.exp(rng.uniform(np.log(120), np.log(900))))
    effects = draw_effects(rng, n_samples) if rng.random() < 0.6 else {}
    effects.pop("unobserved", None)  # all subjects have the same regions
    return Group(
        kind,
        system,
        ObserveSettings(**effects),
        int(rng.integers(5, 9)),
        n_samples,
        float(rng.uniform(0, 0.7)) if kind in _VARIED and rng.random() < 0.6 else 0.0,
        bool(rng.random() < _ALIEN),
    )


def one(number: int) -> dict[str, Any]:
    """Simulate and infer one draw; return its settings, and the results of some subjects."""
    group = draw(number)
    row: dict[str, Any] = {"number": number, **asdict(group)}
    with threads(1):
        try:
            runs, truths = simulate_group(group, number)
            row["subjects"] = infer(runs, truths)
        except NPIError as error:
            return row | {"error": str(error)}
    return row


def simulate_group(group: Group, number: int) -> tuple[list[RegionSeries], list[Array]]:
    """Return the run of each subject as it is observed, and its true map."""
    if group.own:
        simulated = [_simulate_varied(group, subject) for subject in range(group.n_subjects)]
        series = np.stack([one_series for one_series, _ in simulated])
        truths, tr = [truth for _, truth in simulated], group.system.tr
        labels = tuple(f"R{region + 1:03d}" for region in range(series.shape[-1]))
    else:
        simulation = simulate(group.kind, group.system, group.n_subjects, group.n_samples)
        series, tr, labels = simulation.series, simulation.tr, simulation.labels
        truths = [simulation.truth] * group.n_subjects
    if group.is_alien:
        other = replace(group.system, seed=group.system.seed + 250_000)
        alien = simulate(group.kind, other, 1, group.n_samples)
        series = np.concatenate([alien.series, series[1:]])
        truths = [alien.truth, *truths[1:]]
    rng = np.random.default_rng([2029, number])
    observed = observe(series, tr, group.seen, rng)
    return as_runs(observed, labels), truths


def _simulate_varied(group: Group, subject: int) -> tuple[Array, Array]:
    """Return the series of a subject with connections of its own, and its true map."""
    n, coupling, seed = group.system.n_regions, group.system.coupling, group.system.seed
    shared, own = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 3, subject])
    if group.kind == "rnn":
        weights = coupling * (
            random_network(n, shared).weights + group.own * random_network(n, own).weights
        )
        system = RNNSystem(weights, tr=group.system.tr)
        states = simulate_rnn(system, n_runs=1, n_samples=group.n_samples, rng=own)
        sd = states.std(axis=(0, 1))
        return states[0], true_ec(system, states, own, perturbation=sd) / sd
    mixed = (1 - group.own) * var_system(n, coupling, shared).transition
    linear = LinearSystem(mixed + group.own * var_system(n, coupling, own).transition, np.eye(n))
    states = simulate_linear(linear, n_runs=1, n_samples=group.n_samples, rng=own)
    sd = states.std(axis=(0, 1))
    truth = sd[:, None] * linear.transition / sd
    np.fill_diagonal(truth, 0.0)
    return states[0], truth


def infer(runs: list[RegionSeries], truths: list[Array]) -> list[dict[str, Any]]:
    """Pre-train on all subjects; return quality and accuracy of the maps of the first two."""
    train = TrainSettings(device="cpu", residual="none")
    group = pretrain(lambda: ((str(n), [run]) for n, run in enumerate(runs)), train)
    rows = []
    for number, (series, truth) in enumerate(zip(runs[:_N_SEEN], truths, strict=False)):
        result = ec_of_runs(
            [series], train=train, perturb=PerturbSettings(), prior=group.build_prior(str(number))
        )
        matrix = result.measures["npi"].matrix
        rows.append({
            "r": pearson(matrix, truth),
            "r_antisymmetric": pearson(antisymmetric(matrix), antisymmetric(truth)),
            "quality": {key: float(value) for key, value in asdict(result.quality).items()},
        })  # fmt: skip
    return rows


def fit() -> None:
    """Check the prediction on types of systems that were left out, and write the table."""
    rows = [
        {"kind": row["kind"], "seen": row["seen"], **subject}
        for row in read_rows(ROWS)
        for subject in row.get("subjects", ())
    ]
    table = TableOfRows(rows, extract_shrunk_figures)
    checks = table.check()
    table.write("expected_shrunk.json", checks, made_by="python -m benchmarks.expected_shrunk")
    named = {f"{target}, shrunk": checks[target] for target in checks}
    grades = check_grades(table, expect_unseen(table, table))
    save("expected_shrunk_checks", {**named, "grades, shrunk": grades})


def main() -> int:
    """Run the requested part."""

    def simulate_draws(n_draws: int, n_procs: int) -> None:
        simulate_all(n_draws, n_procs, one, ROWS)

    return run(sys.argv[1:], __doc__ or "", simulate_draws, fit)


if __name__ == "__main__":
    sys.exit(main())
