"""Type I error and power of the tests over subjects.

Null: maps with correlated edges that do not differ between two groups of subjects; the fraction of
data sets with any significant result must not exceed the family-wise level (5 %). Power: a
directed network (a chain and a star) is stronger in one group; reported are the fractions of data
sets and edges in which it is detected, and the fraction of reversed edges that are significant.

From series: the same for the whole way from signals to p (:mod:`benchmarks.group_series` for
means, :mod:`benchmarks.group_contrasts` for differences).
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from scipy.stats import binom

from benchmarks import group_contrasts
from benchmarks.group_series import report
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
    parser.add_argument("--n-sets", type=int, default=40, help="data sets of series; 0: none")
    parser.add_argument("--n-pretrained", type=int, default=20, help="of them, with pretrain")
    parser.add_argument("--n-contrasts", type=int, default=100,
                        help="data sets of series with differences; 0: none")  # fmt: skip
    args = parser.parse_args()
    if args.n_sets:
        save("inference_series", report(args.n_sets, args.n_pretrained))
    if args.n_contrasts:
        tables = group_contrasts.report(args.n_contrasts)
        save("inference_contrasts", {**tables, "n_sets": args.n_contrasts})
    if not args.n_null:
        return 0
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
    title = f"Any significant result in {args.n_null} null data sets"
    show(f"{title} (level {LEVEL:g}; sampling allows {limit:.3f})", METHODS, rows)
    power = {}
    for effect in (0.8, 1.2, 1.6):
        fractions = [planted(seed, effect, settings) for seed in range(args.n_power)]
        power[f"effect {effect:g} SD"] = np.mean(fractions, axis=0)
    columns = ("max-T any", "NBS", "TFNBS any", "edges max-T", "edges NBS", "edges TFNBS",
               "reversed NBS", "others NBS")  # fmt: skip
    show(f"Power over {args.n_power} data sets of {N_SUBJECTS} subjects", columns, power)
    tables = {name: {key: list(row) for key, row in table.items()} for name, table in
              (("null", rows), ("power", power))}  # fmt: skip
    sizes = {"n_null": args.n_null, "n_power": args.n_power}
    save("inference", {**tables, **sizes, "limit": limit})
    within = all(value <= limit for row in rows.values() for value in np.delete(row, 3))
    return 0 if within else 1


def two_groups() -> Design:
    """Return a design with two groups and age as a covariate."""
    rng = np.random.default_rng(0)
    group = np.repeat([0.0, 1.0], N_SUBJECTS // 2)
    matrix = np.column_stack([np.ones(N_SUBJECTS), group, rng.standard_normal(N_SUBJECTS)])
    contrast = Contrast("group", np.array([[0.0, 1.0, 0.0]]))
    return Design(matrix, ("one", "group", "age"), (contrast,), np.zeros(N_SUBJECTS))


def one_sample() -> Design:
    """Return a design that consists of the mean only."""
    contrast = Contrast("mean", np.array([[1.0]]))
    return Design(np.ones((N_SUBJECTS, 1)), ("one",), (contrast,), np.zeros(N_SUBJECTS))


def maps_of(seed: int) -> Array:
    """Draw maps with correlated edges and heavier tails than a normal distribution."""
    rng = np.random.default_rng(seed)
    n_edges = N_REGIONS**2
    shared = rng.standard_normal((N_SUBJECTS, 6)) @ rng.standard_normal((6, n_edges)) / 6**0.5
    return 0.7 * shared + 0.7 * rng.standard_t(5, (N_SUBJECTS, n_edges))


def findings(maps: Array, design: Design, settings: PermuteSettings, seed: int) -> list[float]:
    """Return for each method whether it yields any significant result."""
    contrast = design.contrasts[0]
    settings = PermuteSettings(
        n_permutations=settings.n_permutations,
        network_statistic=settings.network_statistic,
        nbs_threshold=settings.nbs_threshold,
        group_seed=seed,
    )
    permuted = permute(maps, N_REGIONS, design, contrast, settings)
    off = ~np.eye(N_REGIONS, dtype=bool).ravel()
    fdr = estimate(maps[:, off], design, contrast).q
    blocks, names = network_stack(maps, LABELS, NETWORKS)
    plain = PermuteSettings(
        n_permutations=settings.n_permutations, network_statistic="none", group_seed=seed
    )
    coarse = permute(blocks, len(names), design, contrast, plain, diagonal=True)
    return [
        *map(_any, (permuted.p_fwe, permuted.p_nbs, permuted.p_tfnbs)),
        float(fdr.min() < LEVEL),
        _any(coarse.p_fwe),
    ]


def planted(seed: int, effect: float, settings: PermuteSettings) -> list[float]:
    """Plant a directed network, and return the fractions that are detected."""
    design = two_groups()
    maps = maps_of(100_000 + seed)
    edges = np.array([source * N_REGIONS + target for source, target in PLANTED])
    maps[np.ix_(design.matrix[:, 1] > 0, edges)] += effect
    permuted: Permuted = permute(maps, N_REGIONS, design, design.contrasts[0], settings)
    is_planted = np.zeros((N_REGIONS, N_REGIONS), dtype=bool)
    is_planted[tuple(np.array(PLANTED).T)] = True
    is_unrelated = ~is_planted & ~is_planted.T & ~np.eye(N_REGIONS, dtype=bool)
    significant = {
        name: getattr(permuted, name) <= LEVEL for name in ("p_fwe", "p_nbs", "p_tfnbs")
    }
    return [
        *(float(is_significant[is_planted].any()) for is_significant in significant.values()),
        *(float(is_significant[is_planted].mean()) for is_significant in significant.values()),
        float(significant["p_nbs"][is_planted.T & ~is_planted].mean()),
        float(significant["p_nbs"][is_unrelated].mean()),
    ]


def _any(p: Array) -> float:
    return float(np.nanmin(p) <= LEVEL)


if __name__ == "__main__":
    sys.exit(main())
