"""Benefit of pre-training on a group: accuracy of individual maps and of their deviations.

All subjects share a network, from which each deviates at random, by half of its strength. Prints
the correlation with the truth of individual maps, and of their deviations from the mean over
subjects, for models fitted alone, models shrunk towards the group, and the group surrogate used
for all subjects. The prior of a subject is fitted without its fold.
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
from npi_bids.surrogates.group_prior import rescale_group_linear
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
    """Series of all subjects, and their true maps in the units of z-scored signals."""

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
        show(f"individual deviation {args.own:g}", COLUMNS, {name: rows[name]})
    show("Pre-training", COLUMNS, rows)
    save("pretraining", {"columns": COLUMNS, "rows": rows})
    well = all(row[1] > row[0] - 0.005 and row[4] > row[3] - 0.005 for row in rows.values())
    return 0 if well else 1


def make_ou(n_regions: int, n_subjects: int, n_samples: int, individual: float) -> Group:
    """Simulate Ornstein-Uhlenbeck processes, sampled every second."""
    shared = sparse_drift(n_regions, 1.2, np.random.default_rng(1))
    series, truth = [], []
    for subject in range(n_subjects):
        different = individual * sparse_drift(n_regions, 1.2, np.random.default_rng(100 + subject))
        drift = _RATE * ((shared + different) / np.sqrt(1 + individual**2) - np.eye(n_regions))
        stationary = solve_continuous_lyapunov(drift.T, -np.eye(n_regions))
        transition = expm(drift)
        system = LinearSystem(transition, stationary - transition.T @ stationary @ transition)
        rng = np.random.default_rng(10_000 + subject)
        signals = simulate_linear(system, n_runs=1, n_samples=n_samples, rng=rng)[0]
        series.append(signals)
        truth.append(_in_deviations(transition, signals))
    return Group(series, truth)


def make_rnn(n_regions: int, n_subjects: int, n_samples: int, individual: float) -> Group:
    """Simulate the noisy recurrent network of the benchmark."""

    def draw(seed: int) -> Array:
        rng = np.random.default_rng(seed)
        weights = rng.standard_normal((n_regions, n_regions)) / np.sqrt(n_regions)
        np.fill_diagonal(weights, 0.0)
        return weights

    shared = draw(1)
    series, truth = [], []
    for subject in range(n_subjects):
        weights = (shared + individual * draw(100 + subject)) / np.sqrt(1 + individual**2)
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
    """Return the correlations and run times of one group."""
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
    pretrained = pretrain(subjects, settings)
    training = time.perf_counter() - started
    scored = range(min(_SCORED, len(group.series)))
    maps: dict[str, list[Array]] = {"alone": [], "shrunk": [], "group": []}
    spent = 0.0
    for subject in scored:
        windows = cut_windows(runs(subject), settings.n_lags or 1)
        no_windows = windows.take(slice(0, 0))
        alone, _ = fit_surrogate(windows, no_windows, settings)
        started = time.perf_counter()
        prior = pretrained.build_prior(str(subject))
        shrunk, _ = fit_surrogate(windows, no_windows, settings, prior=prior)
        spent += time.perf_counter() - started
        shared = rescale_group_linear(windows, prior)
        for name, model in (("alone", alone), ("shrunk", shrunk), ("group", shared)):
            maps[name].append(model.mean_jacobian(windows.history))  # type: ignore[attr-defined]
    truth = [group.truth[subject] for subject in scored]
    mean_truth = np.mean(truth, axis=0)
    figures = [
        np.mean([pearson(m, t) for m, t in zip(maps[name], truth, strict=True)])
        for name in ("alone", "shrunk", "group")
    ]
    for name in ("alone", "shrunk"):
        mean = np.mean(maps[name], axis=0)
        correlations = [
            pearson(m - mean, t - mean_truth) for m, t in zip(maps[name], truth, strict=True)
        ]
        figures.append(np.mean(correlations))
    return [float(figure) for figure in (*figures, training, spent / len(truth))]


if __name__ == "__main__":
    sys.exit(main())
