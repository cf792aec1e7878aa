"""Level and power of the tests over subjects.

Null: two groups of subjects whose maps share edges that hang together and differ by nothing; the
share of data sets with any finding must be at most the level (5 %), family-wise. Power: a directed
network (a chain and a star) is stronger in one group; the share of data sets in which it is found,
and how often its reverse is.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from scipy.stats import binom

from benchmarks.table import save, show
from npi_bids.connectivity.network_measures import network_stack
from npi_bids.group.glm import Contrast, Design, estimate
from npi_bids.group.permutation import Permuted, permute
from npi_bids.group.settings import PermuteSettings
from npi_bids.records import Array

N_REGIONS, N_SUBJECTS, LEVEL = 15, 24, 0.05
PLANTED = ((0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (0, 6), (0, 7), (0, 8))
NETWORKS = tuple(f"n{region // 5}" for region in range(N_REGIONS))
LABELS = tuple(f"R{region}" for region in range(N_REGIONS))
METHODS = ("max-T", "NBS", "TFNBS", "FDR", "blocks max-T")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-null", type=int, default=500)
    parser.add_argument("--n-power", type=int, default=100)
    parser.add_argument("--n-permutations", type=int, default=199)
    args = parser.parse_args()
    settings = PermuteSettings(
        n_permutations=args.n_permutations, network_statistic="both", nbs_threshold=2.5
    )
    designs = {"two groups, age": two_groups(), "mean (signs)": one_sample()}
    limit = binom.ppf(0.99, args.n_null, LEVEL) / args.n_null
    rows = {
        name: np.mean([findings(maps_of(seed), design, settings, seed)
                       for seed in range(args.n_null)], axis=0)
        for name, design in designs.items()
    }  # fmt: skip
    show(f"Any finding in {args.n_null} null data sets (level {LEVEL:g}; sampling allows "
         f"{limit:.3f})", METHODS, rows)  # fmt: skip
    power = {}
    for effect in (0.8, 1.2, 1.6):
        found = [planted(seed, effect, settings) for seed in range(args.n_power)]
        power[f"effect {effect:g} SD"] = np.mean(found, axis=0)
    columns = ("max-T any", "NBS", "TFNBS any", "edges max-T", "edges NBS", "edges TFNBS",
               "reversed NBS", "others NBS")  # fmt: skip
    show(f"Power over {args.n_power} data sets of {N_SUBJECTS} subjects", columns, power)
    found = {name: {key: list(row) for key, row in table.items()} for name, table in
             (("null", rows), ("power", power))}  # fmt: skip
    save("inference", {**found, "limit": limit})
    within = all(value <= limit for row in rows.values() for value in np.delete(row, 3))
    return 0 if within else 1


def two_groups() -> Design:
    """Return a design with two groups and an age."""
    rng = np.random.default_rng(0)
    group = np.repeat([0.0, 1.0], N_SUBJECTS // 2)
    matrix = np.column_stack([np.ones(N_SUBJECTS), group, rng.standard_normal(N_SUBJECTS)])
    contrast = Contrast("group", np.array([[0.0, 1.0, 0.0]]))
    return Design(matrix, ("one", "group", "age"), (contrast,), np.zeros(N_SUBJECTS))


def one_sample() -> Design:
    """Return a design of nothing but the mean."""
    contrast = Contrast("mean", np.array([[1.0]]))
    return Design(np.ones((N_SUBJECTS, 1)), ("one",), (contrast,), np.zeros(N_SUBJECTS))


def maps_of(seed: int) -> Array:
    """Draw maps whose edges hang together, with tails heavier than the normal distribution's."""
    rng = np.random.default_rng(seed)
    n_edges = N_REGIONS**2
    shared = rng.standard_normal((N_SUBJECTS, 6)) @ rng.standard_normal((6, n_edges)) / 6**0.5
    return 0.7 * shared + 0.7 * rng.standard_t(5, (N_SUBJECTS, n_edges))


def findings(maps: Array, design: Design, settings: PermuteSettings, seed: int) -> list[float]:
    """Return for each method whether it finds anything."""
    contrast = design.contrasts[0]
    settings = PermuteSettings(
        n_permutations=settings.n_permutations,
        network_statistic=settings.network_statistic,
        nbs_threshold=settings.nbs_threshold,
        group_seed=seed,
    )
    drawn = permute(maps, N_REGIONS, design, contrast, settings)
    off = ~np.eye(N_REGIONS, dtype=bool).ravel()
    fdr = estimate(maps[:, off], design, contrast).q
    blocks, names = network_stack(maps, LABELS, NETWORKS)
    plain = PermuteSettings(
        n_permutations=settings.n_permutations, network_statistic="none", group_seed=seed
    )
    coarse = permute(blocks, len(names), design, contrast, plain, diagonal=True)
    return [
        _any(drawn.p_fwe), _any(drawn.p_nbs), _any(drawn.p_tfnbs), float(fdr.min() < LEVEL),
        _any(coarse.p_fwe),
    ]  # fmt: skip


def planted(seed: int, effect: float, settings: PermuteSettings) -> list[float]:
    """Plant a directed network, and return what is found of it."""
    design = two_groups()
    maps = maps_of(100_000 + seed)
    edges = np.array([source * N_REGIONS + target for source, target in PLANTED])
    maps[np.ix_(design.matrix[:, 1] > 0, edges)] += effect
    drawn: Permuted = permute(maps, N_REGIONS, design, design.contrasts[0], settings)
    there = np.zeros((N_REGIONS, N_REGIONS), dtype=bool)
    there[tuple(np.array(PLANTED).T)] = True
    others = ~there & ~there.T & ~np.eye(N_REGIONS, dtype=bool)
    sure = {name: getattr(drawn, name) <= LEVEL for name in ("p_fwe", "p_nbs", "p_tfnbs")}
    return [
        *(float(found[there].any()) for found in sure.values()),
        *(float(found[there].mean()) for found in sure.values()),
        float(sure["p_nbs"][there.T & ~there].mean()),
        float(sure["p_nbs"][others].mean()),
    ]


def _any(p: Array) -> float:
    return float(np.nanmin(p) <= LEVEL)


if __name__ == "__main__":
    sys.exit(main())
