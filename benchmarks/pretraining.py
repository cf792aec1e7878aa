"""Does pre-training on a group pay? Accuracy of individual maps, and of what is individual.

Subjects share a network and differ from it at random, by half of its size. Prints the correlation
of individual maps, and of their deviations from the mean of the subjects, with the truth: alone,
shrunk towards the group, and the group's surrogate for everybody. A subject's own fold is left out
of its prior.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm, solve_continuous_lyapunov

from benchmarks.table import save, show
from npi_bids.matrices import pearson
from npi_bids.records import Array, RegionSeries
from npi_bids.simulate.linear import LinearSystem, simulate_linear, sparse_drift
from npi_bids.simulate.rnn import RNNSystem, simulate_rnn, true_ec
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.group_prior import group_linear
from npi_bids.surrogates.pretraining import pretrain
from npi_bids.surrogates.windows import cut_windows

_SCORED = 20  # subjects, at most
_RATE = -np.log(0.5)
CASES = (
    ("ou", 20, 20, 300), ("ou", 20, 100, 300), ("ou", 100, 20, 300), ("ou", 100, 100, 300),
    ("rnn", 20, 20, 300), ("rnn", 20, 100, 300), ("ou", 20, 20, 3000), ("rnn", 20, 20, 3000),
)  # fmt: skip
COLUMNS = (
    *("r alone", "r shrunk", "r group", "dev. alone", "dev. shrunk", "pretrain s", "subject s"),
)


@dataclass(frozen=True)
class Group:
    """Series of all subjects, and their true maps in units of the z-scored signals."""

    series: list[Array]
    truth: list[Array]


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", type=int, default=list(range(len(CASES))))
    parser.add_argument("--own", type=float, default=0.5)
    args = parser.parse_args()
    rows = {}
    for number in args.cases:
        system, n_regions, n_subjects, n_samples = CASES[number]
        name = f"{system} N={n_regions} S={n_subjects} T={n_samples}"
        group = make_ou(n_regions, n_subjects, n_samples, args.own) if system == "ou" else (
            make_rnn(n_regions, n_subjects, n_samples, args.own)
        )  # fmt: skip
        rows[name] = measure(group)
        show(f"own {args.own:g}", COLUMNS, {name: rows[name]})
    show("Pre-training", COLUMNS, rows)
    save("pretraining", {"columns": COLUMNS, "rows": rows})
    well = all(row[1] > row[0] - 0.005 and row[4] > row[3] - 0.005 for row in rows.values())
    return 0 if well else 1


def make_ou(n_regions: int, n_subjects: int, n_samples: int, own: float) -> Group:
    """Simulate Ornstein-Uhlenbeck processes, 1 s apart."""
    shared = sparse_drift(n_regions, 1.2, np.random.default_rng(1))
    series, truth = [], []
    for subject in range(n_subjects):
        different = own * sparse_drift(n_regions, 1.2, np.random.default_rng(100 + subject))
        drift = _RATE * ((shared + different) / np.sqrt(1 + own**2) - np.eye(n_regions))
        stationary = solve_continuous_lyapunov(drift.T, -np.eye(n_regions))
        transition = expm(drift)
        system = LinearSystem(transition, stationary - transition.T @ stationary @ transition)
        rng = np.random.default_rng(10_000 + subject)
        signals = simulate_linear(system, n_runs=1, n_samples=n_samples, rng=rng)[0]
        series.append(signals)
        truth.append(_in_deviations(transition, signals))
    return Group(series, truth)


def make_rnn(n_regions: int, n_subjects: int, n_samples: int, own: float) -> Group:
    """Simulate the noisy recurrent network of the benchmark."""

    def draw(seed: int) -> Array:
        rng = np.random.default_rng(seed)
        weights = rng.standard_normal((n_regions, n_regions)) / np.sqrt(n_regions)
        np.fill_diagonal(weights, 0.0)
        return weights

    shared = draw(1)
    series, truth = [], []
    for subject in range(n_subjects):
        weights = (shared + own * draw(100 + subject)) / np.sqrt(1 + own**2)
        system = RNNSystem(weights)
        rng = np.random.default_rng(10_000 + subject)
        signals = simulate_rnn(system, n_runs=1, n_samples=n_samples, rng=rng)
        long = simulate_rnn(system, n_runs=20, n_samples=200, rng=rng)
        series.append(signals[0])
        truth.append(_in_deviations(true_ec(system, long, rng, every=10), signals[0]))
    return Group(series, truth)


def _in_deviations(effect: Array, signals: Array) -> Array:
    spread = signals.std(axis=0)
    scaled: Array = effect * spread[:, None] / spread[None, :]
    return scaled


def measure(group: Group) -> list[float]:
    """Return the figures of one group."""
    labels = tuple(f"R{n}" for n in range(group.series[0].shape[1]))

    def runs(subject: int) -> list[RegionSeries]:
        signals = group.series[subject]
        scaled = (signals - signals.mean(axis=0)) / signals.std(axis=0)
        return [RegionSeries(scaled, labels, 1.0, np.ones(len(scaled), dtype=bool))]

    def subjects() -> Iterator[tuple[str, list[RegionSeries]]]:
        for subject in range(len(group.series)):
            yield str(subject), runs(subject)

    settings = resolve(TrainSettings())
    started = time.perf_counter()
    found = pretrain(subjects, settings)
    training = time.perf_counter() - started
    scored = range(min(_SCORED, len(group.series)))
    maps: dict[str, list[Array]] = {"alone": [], "shrunk": [], "group": []}
    spent = 0.0
    for subject in scored:
        windows = cut_windows(runs(subject), settings.n_lags or 1)
        nothing = windows.take(slice(0, 0))
        alone, _ = fit_surrogate(windows, nothing, settings)
        started = time.perf_counter()
        prior = found.prior_of(str(subject), leave_out=True)
        shrunk, _ = fit_surrogate(windows, nothing, settings, prior=prior)
        spent += time.perf_counter() - started
        shared = group_linear(windows, prior)
        for name, model in (("alone", alone), ("shrunk", shrunk), ("group", shared)):
            maps[name].append(model.mean_jacobian(windows.history))  # type: ignore[attr-defined]
    truth = [group.truth[subject] for subject in scored]
    apart = np.mean(truth, axis=0)
    figures = [
        np.mean([pearson(m, t) for m, t in zip(maps[name], truth, strict=True)])
        for name in ("alone", "shrunk", "group")
    ]
    for name in ("alone", "shrunk"):
        mean = np.mean(maps[name], axis=0)
        own = [pearson(m - mean, t - apart) for m, t in zip(maps[name], truth, strict=True)]
        figures.append(np.mean(own))
    return [float(figure) for figure in (*figures, training, spent / len(truth))]


if __name__ == "__main__":
    sys.exit(main())
