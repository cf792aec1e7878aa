"""Tests of differences between subjects, from their series to the p: false findings and power.

Part of ``python -m benchmarks.inference``; regions, networks and pools are those of
:mod:`benchmarks.group_series`, with seeds of their own. Every test is made on the maps, on those
without prior, and on those with a prior in proportion to the number of windows, as the group level
does; subjects are weighted and variances moderated in all three.

- groups of the same network whose scans differ in length, of equal size and not;
- labels at random, and a covariate at random, over scans of 150 and 400 samples;
- two sessions of the same subjects, of 150 and 400 samples;
- power: six connections of one group are twice as strong, or inverted and weak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.group_series import (
    OFF,
    POOL,
    Maps,
    N,
    common_drift,
    draw_network,
    make_maps,
    one_sample,
    process,
    run_of,
    significant,
)
from benchmarks.table import show
from npi_bids.group.glm import Contrast, Design
from npi_bids.records import Array
from npi_bids.simulate.linear import simulate_linear

SEED = 10200  # of the pools; data set k of a scenario has the seed SEED + 1000 + k
SHORT, LONG = 150, 400
KINDS = ("estimated", "unshrunk", "proportional")
COLUMNS = ("maps q", "max-T", "unshrunk q", "max-T", "proport. q", "max-T")


@dataclass(frozen=True, slots=True, eq=False)
class Pools:
    """Maps of short and long scans of two networks, and of two sessions of the same subjects."""

    short: Maps
    long: Maps
    other_short: Maps
    other_long: Maps
    first: Maps
    second: Maps
    difference: Array


def make_pools() -> Pools:
    """Simulate and fit all subjects; ``difference`` is that of the true mean EC."""
    rng = np.random.default_rng(SEED)
    common = common_drift(rng)
    other = change_network(rng, common)
    maps, truths = [], []
    for drift in (common, other):
        drawn = {n: [draw_network(rng, drift, n) for _ in range(POOL)] for n in (SHORT, LONG)}
        maps += [make_maps([run_of(signals) for signals, _ in drawn[n]]) for n in drawn]
        truths.append(np.mean([true for pool in drawn.values() for _, true in pool], axis=0))
    sessions = [draw_sessions(rng, common) for _ in range(POOL)]
    both = [make_maps([run_of(subject[k]) for subject in sessions]) for k in range(2)]
    return Pools(*maps, *both, (truths[1] - truths[0]).ravel())


def change_network(rng: np.random.Generator, common: Array) -> Array:
    """Return a network of which six connections are twice as strong, or inverted and weak."""
    changed = common.copy()
    present = np.argwhere((common != 0) & ~np.eye(N, dtype=bool))
    for source, target in present[rng.permutation(len(present))[:6]]:
        changed[source, target] *= 2.0 if rng.random() < 0.5 else -0.2
    return changed


def draw_sessions(rng: np.random.Generator, common: Array) -> tuple[Array, Array]:
    """Draw a short and a long scan of one subject."""
    inside = common * (1 - np.eye(N)) != 0
    drift = common.copy()
    drift[inside] += 0.5 * np.abs(common[inside]) * rng.standard_normal(int(inside.sum()))
    system = process(drift)
    short, long = (
        simulate_linear(system, n_runs=1, n_samples=n, rng=rng)[0] for n in (SHORT, LONG)
    )
    return short, long


def take(pool: Maps, rows: Array, kind: str) -> Array:
    """Return the maps of one kind of some subjects of a pool."""
    maps: Array = getattr(pool, kind)[rows]
    return maps


def with_regressor(values: Array) -> Design:
    """Return the design of the effect of one column, beside the mean."""
    matrix = np.column_stack([np.ones(len(values)), values])
    contrast = Contrast("effect", np.array([[0.0, 1.0]]))
    return Design(matrix, ("one", "effect"), (contrast,), np.zeros(len(values)))


Drawn = tuple[Callable[[str], Array], Array, Design]


def _mixed(pools: Pools, n: int, rng: np.random.Generator) -> Callable[[str], Array]:
    """Draw n subjects of the common network, half of them with short scans, in random order."""
    rows = [rng.choice(POOL, n // 2, replace=False) for _ in range(2)]
    return lambda kind: np.concatenate(
        [
            take(pool, each, kind)
            for pool, each in zip((pools.short, pools.long), rows, strict=True)
        ]
    )


def _lengths(*counts: float) -> Array:
    """Return the numbers of windows of alternating numbers of short and long scans."""
    return np.repeat([SHORT - 4.0, LONG - 4.0] * (len(counts) // 2), np.array(counts, dtype=int))


def draw_groups(pools: Pools, rng: np.random.Generator, n_short: int, n_long: int) -> Drawn:
    """Draw two groups of the same network, of short and of long scans."""
    short, long = (rng.choice(POOL, n, replace=False) for n in (n_short, n_long))
    design = with_regressor(np.repeat([0.0, 1.0], [n_short, n_long]))

    def maps(kind: str) -> Array:
        return np.concatenate([take(pools.short, short, kind), take(pools.long, long, kind)])

    return maps, _lengths(n_short, n_long), design


def draw_labels(pools: Pools, rng: np.random.Generator, n: int) -> Drawn:
    """Draw subjects of short and long scans in two groups at random."""
    maps = _mixed(pools, n, rng)
    return maps, _lengths(n // 2, n // 2), with_regressor(rng.permutation(np.arange(n) % 2.0))


def draw_covariate(pools: Pools, rng: np.random.Generator, n: int) -> Drawn:
    """Draw subjects of short and long scans with an unrelated covariate."""
    return _mixed(pools, n, rng), _lengths(n // 2, n // 2), with_regressor(rng.standard_normal(n))


def draw_paired(pools: Pools, rng: np.random.Generator, n: int) -> Drawn:
    """Draw subjects with a short and a long session; their difference is tested."""
    rows = rng.choice(POOL, n, replace=False)

    def maps(kind: str) -> Array:
        return take(pools.second, rows, kind) - take(pools.first, rows, kind)

    return maps, np.full(n, SHORT + LONG - 8.0), one_sample(n)


def draw_changed(pools: Pools, rng: np.random.Generator, n: int) -> Drawn:
    """Draw two groups of n subjects whose networks differ, half of each with short scans."""
    members = pools.short, pools.long, pools.other_short, pools.other_long
    rows = [rng.choice(POOL, n // 2, replace=False) for _ in members]

    def maps(kind: str) -> Array:
        parts = [take(pool, each, kind) for pool, each in zip(members, rows, strict=True)]
        return np.concatenate(parts)

    return maps, _lengths(*[n // 2] * 4), with_regressor(np.repeat([0.0, 1.0], n))


NULL: dict[str, Callable[[Pools, np.random.Generator], Drawn]] = {
    "T 150 | 400, 12 + 12": lambda pools, rng: draw_groups(pools, rng, 12, 12),
    "T 150 (6) | 400 (18)": lambda pools, rng: draw_groups(pools, rng, 6, 18),
    "T 150 (18) | 400 (6)": lambda pools, rng: draw_groups(pools, rng, 18, 6),
    "labels random, 4 + 4": lambda pools, rng: draw_labels(pools, rng, 8),
    "labels random, 12 + 12": lambda pools, rng: draw_labels(pools, rng, 24),
    "unrelated covariate, 8": lambda pools, rng: draw_covariate(pools, rng, 8),
    "unrelated covariate, 24": lambda pools, rng: draw_covariate(pools, rng, 24),
    "paired 150 | 400, 12": lambda pools, rng: draw_paired(pools, rng, 12),
}
POWER: dict[str, Callable[[Pools, np.random.Generator], Drawn]] = {
    "4 + 4": lambda pools, rng: draw_changed(pools, rng, 4),
    "12 + 12": lambda pools, rng: draw_changed(pools, rng, 12),
}


def _calls(drawn: Drawn, seed: int) -> list[Array]:
    """Return what is significant by q and by max-T, of each kind of maps."""
    maps, n_windows, design = drawn
    return [call for kind in KINDS for call in significant(maps(kind), n_windows, design, seed)]


def report(n_sets: int) -> dict[str, dict[str, list[float]]]:
    """Print and return all tables.

    A connection differs if its true mean EC differs by more than .05, and does not if by less than
    .006; shares of the calls that are false are over all data sets.
    """
    pools = make_pools()
    null, power = {}, {}
    false: dict[str, list[float]] = {}
    strong = (np.abs(pools.difference) > 0.05) & OFF
    same = (np.abs(pools.difference) < 0.006) & OFF
    seeds = [SEED + 1000 + number for number in range(n_sets)]
    for name, draw in NULL.items():
        found = [_calls(draw(pools, np.random.default_rng(seed)), seed) for seed in seeds]
        null[name] = [float(np.mean([call[OFF].any() for call in each]))
                      for each in zip(*found, strict=True)]  # fmt: skip
    show(f"Any false difference in {n_sets} data sets", COLUMNS, null)
    for name, draw in POWER.items():
        found = [_calls(draw(pools, np.random.default_rng(seed)), seed) for seed in seeds]
        kinds = list(zip(*found, strict=True))
        power[name] = [float(np.mean([call[strong].mean() for call in each])) for each in kinds]
        for each in kinds:
            n_false, n_all = (sum(call[edges].sum() for call in each) for edges in (same, OFF))
            false.setdefault(name, []).append(n_false / max(n_all, 1))
    show(f"Share of the {strong.sum()} differences found in {n_sets} data sets", COLUMNS, power)
    show("Share of what is found that does not differ", COLUMNS, false)
    return {"null": null, "power": power, "false": false}
