"""Type I error of the group level after other first levels, from series to p.

usage: python -m benchmarks.group_first_levels [--conditions NAME ...] [--n-subjects N]
                                               [--n-sets N] [--n-procs P]

As ``benchmarks.group_null``, but the maps are those that the participant level writes, whatever it
fits: by default, the VAR, networks, an observation model; and with 100 regions, with fewer than
three windows per region, and in subjects who differ in noise (the groups, too: one is noisier).

- no connection: unconnected AR(2) regions (null of the mean of 8 and of 24 subjects), in another
  order in each subject of each data set.
- same network: one Ornstein-Uhlenbeck process for all (null of two groups of 12).

Subjects recur over the data sets of a condition, so that their findings are not independent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.group_series import one_sample, two_groups
from benchmarks.table import save, show
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.group.glm import Design, estimate
from npi_bids.group.permutation import permute
from npi_bids.group.settings import PermuteSettings
from npi_bids.group.subject_weights import fit_weights
from npi_bids.group.tested_measures import PROPORTIONAL, UNSHRUNK
from npi_bids.inference import ec_of_runs
from npi_bids.records import Array
from npi_bids.simulate.linear import LinearSystem, ou_system, simulate_linear
from npi_bids.simulate.observation import ObserveSettings, as_runs, observe
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.training import threads

LEVEL, SEED = 0.05, 51_000  # data set k of a condition has the seed SEED + 1000 + k
COLUMNS = ("mean of 8: max-T", "q", "mean of 24: max-T", "q", "12 against 12: max-T", "q")
_COUPLING, _TR = 0.5, 1.0


@dataclass(frozen=True, slots=True)
class Condition:
    """One kind of data and of first level.

    Attributes
    ----------
    train
        Settings of the fit.
    seen
        How the states are observed.
    n_regions, n_samples
        Size of the data of a subject.
    most_noise
        Measurement noise of the noisiest subject (SD); it grows evenly from 0.
    """

    train: TrainSettings = field(default_factory=TrainSettings)
    seen: ObserveSettings = field(default_factory=ObserveSettings)
    n_regions: int = 12
    n_samples: int = 355
    most_noise: float = 0.0


CONDITIONS = {
    "default": Condition(),
    "VAR": Condition(TrainSettings(surrogate="var")),
    "networks (`mlp`)": Condition(TrainSettings(surrogate="mlp")),
    "haemodynamic signals": Condition(seen=ObserveSettings(hrf="spm"), n_samples=600),
    "2.5 windows per region": Condition(n_samples=31),
    "noise of 0 to 2 SD": Condition(most_noise=2.0),
    "100 regions": Condition(n_regions=100, n_samples=400),
}


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Maps of subjects, shape (n_subjects, n_regions, n_regions), and their numbers of windows."""

    mean: Array
    contrast: Array
    n_windows: Array


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conditions", nargs="+", default=list(CONDITIONS), choices=CONDITIONS)
    parser.add_argument("--n-subjects", type=int, default=48)
    parser.add_argument("--n-sets", type=int, default=200)
    parser.add_argument("--n-procs", type=int, default=1)
    args = parser.parse_args()
    rows: dict[str, list[float]] = {}
    with ProcessPoolExecutor(args.n_procs) as executor:
        waiting = {
            executor.submit(measure, name, args.n_subjects, args.n_sets): name
            for name in args.conditions
        }
        for future in as_completed(waiting):
            rows[waiting[future]] = future.result()
            sys.stderr.write(f"\r{len(rows)} of {len(waiting)} conditions")
    rows = {name: rows[name] for name in args.conditions}
    show(f"Any finding in {args.n_sets} data sets without effect", COLUMNS, rows)
    save("group_first_levels", rows)
    return 0


def measure(name: str, n_subjects: int, n_sets: int) -> list[float]:
    """Return the share of data sets of a condition with any finding, by test and method."""
    condition, number = CONDITIONS[name], list(CONDITIONS).index(name)
    rng = np.random.default_rng([SEED, number])
    network = ou_system(condition.n_regions, _COUPLING, _TR, rng)
    with threads(1):
        unconnected = make_pool(condition, n_subjects, rng, lambda: _draw_noise(condition, rng))
        same = make_pool(condition, n_subjects, rng, lambda: _draw(network, condition, rng))
        found = [
            find_in_set(unconnected, same, SEED + 1000 + data_set) for data_set in range(n_sets)
        ]
    return [float(share) for share in np.mean(found, axis=0)]


def make_pool(
    condition: Condition, n_subjects: int, rng: np.random.Generator, draw: Callable[[], Array]
) -> Pool:
    """Simulate subjects, and map each as the participant level does."""
    means, contrasts, n_windows = [], [], []
    labels = tuple(f"R{region:03d}" for region in range(condition.n_regions))
    for noise in np.linspace(0.0, condition.most_noise, n_subjects):
        seen = replace(condition.seen, measurement_noise=float(noise))
        observed = observe(draw()[None], _TR, seen, rng)
        result = ec_of_runs(
            as_runs(observed, labels), train=condition.train, perturb=PerturbSettings()
        )
        tested = result.measures.get(UNSHRUNK, result.measures["npi"])
        means.append(tested.matrix)
        contrasts.append(result.measures.get(PROPORTIONAL, tested).matrix)
        n_windows.append(float(result.quality.n_windows))
    return Pool(np.array(means), np.array(contrasts), np.array(n_windows))


def _draw(system: LinearSystem, condition: Condition, rng: np.random.Generator) -> Array:
    return simulate_linear(system, n_runs=1, n_samples=condition.n_samples, rng=rng)[0]


def _draw_noise(condition: Condition, rng: np.random.Generator) -> Array:
    """Draw unconnected AR(2) regions with poles of their own."""
    shape = condition.n_samples + 100, condition.n_regions
    radius, angle = rng.uniform(0.2, 0.9, shape[1]), rng.uniform(0, 1.5, shape[1])
    first, second = 2 * radius * np.cos(angle), -(radius**2)
    series, errors = np.zeros(shape), rng.standard_normal(shape)
    for now in range(2, len(series)):
        series[now] = first * series[now - 1] + second * series[now - 2] + errors[now]
    scaled: Array = series[100:] / series[100:].std(axis=0)
    return scaled


def find_in_set(unconnected: Pool, same: Pool, seed: int) -> list[float]:
    """Return whether the largest t, and q, find anything in the tests of one data set."""
    rng = np.random.default_rng(seed)
    found: list[float] = []
    n_subjects, n_regions = unconnected.mean.shape[:2]
    for n in (8, 24):
        chosen = rng.choice(n_subjects, n, replace=False)
        orders = [rng.permutation(n_regions) for _ in chosen]
        maps = np.array(
            [
                unconnected.mean[one][np.ix_(order, order)]
                for one, order in zip(chosen, orders, strict=True)
            ]
        )
        found += _find(maps, unconnected.n_windows[chosen], one_sample(n), seed)
    # Subjects differ in noise by their place, so that the groups do.
    halves = np.array_split(np.arange(n_subjects), 2)
    chosen = np.concatenate([rng.choice(half, 12, replace=False) for half in halves])
    return found + _find(same.contrast[chosen], same.n_windows[chosen], two_groups(24), seed)


def _find(maps: Array, n_windows: Array, design: Design, seed: int) -> list[float]:
    n_regions = maps.shape[1]
    flat = np.where(np.eye(n_regions, dtype=bool), 0.0, maps).reshape(len(maps), -1)
    design = replace(design, weights=fit_weights(flat, design.matrix, n_windows).values)
    contrast = design.contrasts[0]
    settings = PermuteSettings(n_permutations=199, network_statistic="none", group_seed=seed)
    p_fwe = permute(flat, n_regions, design, contrast, settings).p_fwe
    off = ~np.eye(n_regions, dtype=bool).ravel()
    q = estimate(np.where(off, flat, np.nan), design, contrast).q
    return [float(np.nanmin(p_fwe) <= LEVEL), float(np.nanmin(q) < LEVEL)]


if __name__ == "__main__":
    sys.exit(main())
