"""Type I error and power of the group level, from series to p: what ``benchmarks.inference`` runs.

Twelve regions. Subjects are drawn from pools, so that they recur over data sets; those of noise
have their regions permuted anew in each. Every test is made on the maps, and on the maps without
prior as the group level does; *before* is an unmoderated t of the maps, as the group level once
tested them.

- noise: unconnected AR(2) regions of mixed spectra; alone, and after ``pretrain`` on each set.
- lengths: two groups with the same network, and scans of 150 and 400 samples.
- zeros: pairs of regions of a network that have no influence on each other (|EC| < 0.006).
- reversible: symmetric connections, measurement noise that differs between regions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.stats import false_discovery_control, ttest_1samp, ttest_ind

from benchmarks.table import show
from npi_bids.group.direction import assess_direction, write_changes
from npi_bids.group.glm import Contrast, Design, estimate
from npi_bids.group.permutation import permute
from npi_bids.group.settings import PermuteSettings
from npi_bids.group.subject_weights import fit_weights
from npi_bids.records import Array, RegionSeries
from npi_bids.simulate.linear import LinearSystem, simulate_linear
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.fixed_precision import PROPORTIONAL
from npi_bids.surrogates.pretraining import pretrain
from npi_bids.surrogates.windows import cut_windows

N, POOL, LEVEL, N_FLIPS = 12, 80, 0.05, 199
SEED = 9100  # of the pools and networks; data set k of a scenario has the seed SEED + 1000 + k
SETTINGS = resolve(TrainSettings(surrogate="mou", device="cpu"))
LABELS = tuple(f"R{region}" for region in range(N))
OFF = ~np.eye(N, dtype=bool).ravel()


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Maps of some subjects, shape (n_subjects, N * N).

    With the prior that each chose, without prior, of reversed time, and with a prior in proportion
    to the number of windows.
    """

    estimated: Array
    unshrunk: Array
    reversed: Array
    proportional: Array
    n_windows: Array

    def take(self, rows: Array) -> Maps:
        """Return the maps of some subjects."""
        return Maps(*(getattr(self, name)[rows] for name in self.__slots__))

    def join(self, other: Maps) -> Maps:
        """Return the maps of the subjects of both."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__slots__)
        return Maps(*map(np.concatenate, pairs))

    def permute_regions(self, rng: np.random.Generator) -> Maps:
        """Return the maps with the regions of each subject in an order of its own."""
        kinds = self.estimated, self.unshrunk, self.reversed, self.proportional
        parts = [np.empty_like(part) for part in kinds]
        for row in range(len(self.estimated)):
            order = np.ix_(*[rng.permutation(N)] * 2)
            for part, maps in zip(parts, kinds, strict=True):
                part[row] = maps[row].reshape(N, N)[order].ravel()
        return Maps(*parts, self.n_windows)


def run_of(signals: Array) -> RegionSeries:
    """Return z-scored series of one subject."""
    scaled = (signals - signals.mean(axis=0)) / signals.std(axis=0)
    return RegionSeries(scaled, LABELS, 1.0, np.ones(len(scaled), dtype=bool))


def make_maps(runs: list[RegionSeries], *, shared: bool = False) -> Maps:
    """Fit every subject; ``shared`` shrinks each towards the others, which are pre-trained on."""
    prior_of: Callable[[int], object] = lambda _: None  # noqa: E731
    if shared:
        stored = pretrain(lambda: ((str(n), [run]) for n, run in enumerate(runs)), SETTINGS)
        prior_of = lambda n: stored.build_prior(str(n))  # noqa: E731
    rows = []
    for number, run in enumerate(runs):
        windows = cut_windows([run], SETTINGS.n_lags or 1)
        nothing = windows.take(slice(0, 0))
        fitted, _ = fit_surrogate(windows, nothing, SETTINGS, None, prior_of(number))
        fits = [fitted, *(fitted.without_prior(windows, reverse=each) for each in (False, True))]
        fits.append(fitted.with_precision(windows, PROPORTIONAL))
        maps = [fit.linear_weights[-1] * (1 - np.eye(N)) for fit in fits]
        rows.append((*(each.ravel() for each in maps), float(len(windows))))
    return Maps(*map(np.array, zip(*rows, strict=True)))


def draw_noise(rng: np.random.Generator, n_samples: int) -> Array:
    """Draw unconnected AR(2) regions with poles of their own, and measurement noise."""
    radius, angle = rng.uniform(0.2, 0.9, N), rng.uniform(0, 1.5, N)
    first, second = 2 * radius * np.cos(angle), -(radius**2)
    series = np.zeros((n_samples + 100, N))
    errors = rng.standard_normal(series.shape)
    for now in range(2, len(series)):
        series[now] = first * series[now - 1] + second * series[now - 2] + errors[now]
    series = series[100:] / series[100:].std(axis=0)
    return series + rng.uniform(0, 0.5) * rng.standard_normal(series.shape)


def common_drift(rng: np.random.Generator) -> Array:
    """Draw a network of eight regions; the other four are connected with none."""
    drift = -0.7 * np.eye(N)
    present = rng.random((8, 8)) < 0.3
    weights = rng.choice([-1, 1], (8, 8), p=[0.3, 0.7]) * rng.uniform(0.15, 0.45, (8, 8))
    drift[:8, :8] += np.where(present & ~np.eye(8, dtype=bool), weights, 0.0)
    return drift


def process(drift: Array) -> LinearSystem:
    """Return the process with this drift and unit noise, made stable where it is not."""
    excess = max(0.0, np.linalg.eigvals(drift).real.max() + 0.15)
    drift = drift - excess * np.eye(len(drift))
    stationary = solve_continuous_lyapunov(drift.T, -np.eye(len(drift)))
    transition = expm(drift)
    return LinearSystem(transition, stationary - transition.T @ stationary @ transition)


def draw_network(rng: np.random.Generator, common: Array, n_samples: int) -> tuple[Array, Array]:
    """Draw a subject: the common network, and differences of half its size; also its true EC."""
    drift = common.copy()
    inside = common * (1 - np.eye(N)) != 0
    drift[inside] += 0.5 * np.abs(common[inside]) * rng.standard_normal(int(inside.sum()))
    system = process(drift)
    signals = simulate_linear(system, n_runs=1, n_samples=n_samples, rng=rng)[0]
    scale = signals.std(axis=0)
    return signals, system.transition * scale[:, None] / scale


def draw_reversible(rng: np.random.Generator, common: Array, n_samples: int) -> Array:
    """Draw a subject with symmetric connections and measurement noise of .1 to .8 SD."""
    symmetric = (common + common.T) / 2
    signals = simulate_linear(process(symmetric), n_runs=1, n_samples=n_samples, rng=rng)[0]
    noise = np.linspace(0.1, 0.8, N) * rng.standard_normal(signals.shape)
    return signals / signals.std(axis=0) + noise


def one_sample(n: int) -> Design:
    """Return the design of a mean."""
    contrast = Contrast("mean", np.ones((1, 1)))
    return Design(np.ones((n, 1)), ("mean",), (contrast,), np.zeros(n))


def two_groups(n: int) -> Design:
    """Return the design of a difference of two halves."""
    contrast = Contrast("group", np.array([[0.0, 1.0]]))
    matrix = np.column_stack([np.ones(n), np.arange(n) >= n // 2])
    return Design(matrix, ("one", "group"), (contrast,), np.zeros(n))


def significant(maps: Array, n_windows: Array, design: Design, seed: int) -> tuple[Array, Array]:
    """Return for each edge whether q, and whether p by max-T, is below the level."""
    weights = fit_weights(maps, design.matrix, n_windows).values
    design = replace(design, weights=weights)
    contrast = design.contrasts[0]
    settings = PermuteSettings(n_permutations=N_FLIPS, network_statistic="none", group_seed=seed)
    permuted = permute(maps, N, design, contrast, settings)
    tested = np.where(OFF, maps, np.nan)
    return estimate(tested, design, contrast).q < LEVEL, permuted.p_fwe.ravel() <= LEVEL


def significant_before(maps: Array, design: Design, seed: int) -> tuple[Array, Array]:
    """Return the same by an unmoderated t without weights."""
    off = maps[:, OFF]
    half = len(off) // 2
    paired = design.matrix.shape[1] == 2
    rng = np.random.default_rng(seed)

    def test(values: Array) -> tuple[Array, Array]:
        test = ttest_ind(values[half:], values[:half]) if paired else ttest_1samp(values, 0)
        return test.statistic, test.pvalue

    t, p = test(off)
    largest = [np.abs(t).max()]
    for _ in range(N_FLIPS):
        shuffled = (
            off[rng.permutation(len(off))]
            if paired
            else off * rng.choice([-1.0, 1.0], (len(off), 1))
        )
        largest.append(np.abs(test(shuffled)[0]).max())
    p_fwe = (np.array(largest)[:, None] >= np.abs(t) - 1e-12).mean(axis=0)
    results = np.zeros((2, N * N), dtype=bool)
    results[:, OFF] = false_discovery_control(p) < LEVEL, p_fwe <= LEVEL
    return results[0], results[1]


def compare(maps: Maps, design: Design, null: Array, seed: int) -> list[float]:
    """Return any false finding: q and max-T before, of the maps, and of those without prior."""
    calls = [
        *significant_before(maps.estimated, design, seed),
        *significant(maps.estimated, maps.n_windows, design, seed),
        *significant(maps.unshrunk, maps.n_windows, design, seed),
    ]
    return [float(each[null].any()) for each in calls]


@dataclass(frozen=True, slots=True, eq=False)
class Pools:
    """Maps of the pools of subjects, their true connectivity, and the common network."""

    noise: Maps
    short: Maps
    long: Maps
    reversible: Maps
    truth: Array


def make_pools() -> Pools:
    """Simulate and fit all subjects."""
    rng = np.random.default_rng(SEED)
    common = common_drift(rng)
    short, long = ([draw_network(rng, common, n) for _ in range(POOL)] for n in (150, 400))
    truth = np.mean([true for _, true in short + long], axis=0).ravel()
    noise = [run_of(draw_noise(rng, 200)) for _ in range(POOL)]
    reversible = [run_of(draw_reversible(rng, common, 200)) for _ in range(POOL)]
    networks = ([run_of(signals) for signals, _ in pool] for pool in (short, long))
    return Pools(make_maps(noise), *map(make_maps, networks), make_maps(reversible), truth)


def take(pool: Maps, n: int, rng: np.random.Generator) -> Maps:
    """Draw subjects of a pool."""
    return pool.take(rng.choice(len(pool.n_windows), n, replace=False))


def null_rates(pools: Pools, n_sets: int, n_pretrained: int) -> dict[str, list[float]]:
    """Return the share of data sets with any false finding, by scenario."""
    inside = np.zeros((N, N), dtype=bool)
    inside[:8, :8] = True
    zeros = (np.abs(pools.truth) < 0.006) & OFF & inside.ravel()
    rows: dict[str, list[list[float]]] = {}

    def add(name: str, maps: Maps, design: Design, null: Array, seed: int) -> None:
        rows.setdefault(name, []).append(compare(maps, design, null, seed))

    for number in range(n_sets):
        seed = SEED + 1000 + number
        rng = np.random.default_rng(seed)
        for n in (8, 24):
            maps = take(pools.noise, n, rng).permute_regions(rng)
            add(f"noise, n = {n}", maps, one_sample(n), OFF, seed)
        groups = take(pools.short, 12, rng).join(take(pools.long, 12, rng))
        add("lengths 150 | 400, 12 + 12", groups, two_groups(24), OFF, seed)
        add(
            f"zeros ({zeros.sum()}), n = 24",
            take(pools.short, 24, rng),
            one_sample(24),
            zeros,
            seed,
        )
        if number < n_pretrained:
            runs = [run_of(draw_noise(rng, 200)) for _ in range(8)]
            add("noise, pretrain, n = 8", make_maps(runs, shared=True), one_sample(8), OFF, seed)
    return {name: np.mean(values, axis=0).tolist() for name, values in rows.items()}


def direction_rates(pools: Pools, n_sets: int) -> dict[str, list[float]]:
    """Return the share of data sets with any direction: max-T and together, of two statistics."""
    rows: dict[str, list[list[float]]] = {}
    for name, pool, n in (
        ("reversible, n = 8", pools.reversible, 8),
        ("reversible, n = 24", pools.reversible, 24),
        ("network, n = 8", pools.short, 8),
    ):
        for number in range(n_sets):
            rng = np.random.default_rng(SEED + 1000 + number)
            maps = take(pool, n, rng)
            results = []
            for backward in (np.zeros_like(maps.unshrunk), maps.reversed):
                changes = np.empty_like(maps.unshrunk)
                write_changes(maps.unshrunk, backward, changes)
                direction = assess_direction(changes)
                if direction is not None:
                    results += [float(np.nanmin(direction.p_fwe) <= LEVEL),
                                float(direction.p_together <= LEVEL)]  # fmt: skip
            rows.setdefault(name, []).append(results)
    return {name: np.mean(values, axis=0).tolist() for name, values in rows.items()}


def power_rates(pools: Pools, n_sets: int) -> dict[str, list[float]]:
    """Return the share of the true connections (|EC| > .05) that are found, of the same tests."""
    strong = (np.abs(pools.truth) > 0.05) & OFF
    rows: dict[str, list[float]] = {}
    for name, pool, n in (
        ("T 150, n = 8", pools.short, 8),
        ("T 150, n = 24", pools.short, 24),
        ("T 150 and 400, n = 8", None, 8),
    ):
        values = []
        for number in range(n_sets):
            seed = SEED + 1000 + number
            rng = np.random.default_rng(seed)
            maps = (
                take(pool, n, rng)
                if pool is not None
                else take(pools.short, n // 2, rng).join(take(pools.long, n // 2, rng))
            )
            design = one_sample(n)
            calls = [
                *significant_before(maps.estimated, design, seed),
                *significant(maps.estimated, maps.n_windows, design, seed),
                *significant(maps.unshrunk, maps.n_windows, design, seed),
            ]
            values.append([float(each[strong].mean()) for each in calls])
        rows[name] = np.mean(values, axis=0).tolist()
    return rows


def report(n_sets: int, n_pretrained: int) -> dict[str, dict[str, list[float]]]:
    """Print and return all tables."""
    pools = make_pools()
    columns = ("before q", "max-T", "maps q", "max-T", "unshrunk q", "max-T")
    tables = {"null": null_rates(pools, n_sets, n_pretrained)}
    show(f"Any false finding in {n_sets} data sets of series ({n_pretrained} pre-trained)",
         columns, tables["null"])  # fmt: skip
    tables["direction"] = direction_rates(pools, n_sets)
    columns = ("alone max-T", "together", "- reversed", "together")
    show(f"Any direction in {n_sets} data sets", columns, tables["direction"])
    tables["power"] = power_rates(pools, n_sets)
    columns = ("before q", "max-T", "maps q", "max-T", "unshrunk q", "max-T")
    show(f"True connections found in {n_sets} data sets", columns, tables["power"])
    return tables
