"""How well maps recover known connectivity, ours beside others.

usage: python -m benchmarks.accuracy [--quick] [--slow] [SECTION ...]

Sections: released fresh strong sizes wbm graphs netsim real observation. ``--slow`` adds Granger
causality and PCMCI where statsmodels and tigramite are installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from benchmarks.methods import Method, methods
from benchmarks.observation import CONDITIONS, METHODS, compare
from benchmarks.systems import (
    Known,
    as_runs,
    band_passed,
    fresh_rnn,
    netsim,
    real_series,
    released_rnn,
    sanchez_romero,
    wbm,
    zscored,
)
from benchmarks.table import save, show
from npi_bids.assessment.quality import held_out_r2, own_history
from npi_bids.matrices import antisymmetric, pearson, symmetric
from npi_bids.surrogates.base import TrainSettings, preset, resolve
from npi_bids.surrogates.families import families
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.training import threads
from npi_bids.surrogates.windows import cut_windows, split_windows
from npi_bids.validate.scores import score, score_graph

_LENGTHS = (400, 800, 1600, 3200, 8000)
Scores = dict[str, dict[str, list[float]]]


class Bench:
    """What was asked for, and what was found so far."""

    def __init__(self, *, quick: bool, slow: bool) -> None:
        self.quick, self.slow = quick, slow
        self.results: dict[str, Scores] = {}

    def run(self, title: str, systems: Iterable[Known], tried: Mapping[str, Method]) -> None:
        """Score all methods on all systems of one section; print the means and spreads."""
        found: Scores = {}
        for known in systems:
            for name, method in tried.items():
                with threads(1):
                    matrix = method(known.runs)
                scores = (
                    score_graph(matrix, known.truth)
                    if known.graph
                    else asdict(score(matrix, known.truth))
                )
                for key, value in scores.items():
                    found.setdefault(name, {}).setdefault(key, []).append(value)
        if not found:
            print(f"\n{title}: no data")
            return
        columns = list(next(iter(found.values())))
        rows = {name: [_spread(s[c]) for c in columns] for name, s in found.items()}
        show(f"{title} ({len(next(iter(found.values()))[columns[0]])} systems)", columns, rows)
        self.results[title] = found


def _spread(values: Sequence[float]) -> str:
    """Write mean and standard deviation, or n/a where no system has the figure."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return f"{known.mean():.3f}±{known.std():.3f}" if known.size else "n/a"


def released(bench: Bench) -> None:
    """Run the released RNN benchmark at several lengths."""
    for n_samples in _LENGTHS[:2] if bench.quick else _LENGTHS:
        nets = ("mlp",) if bench.quick or n_samples < 8000 else ("mlp", "cnn", "rnn", "var")
        tried = methods(published=nets, slow=bench.slow)
        bench.run(f"released RNN, {n_samples} samples", released_rnn(n_samples), tried)


def fresh(bench: Bench) -> None:
    """Run independent networks with independent noise."""
    seeds = range(1000, 1003 if bench.quick else 1020)
    for n_samples in _LENGTHS[:2] if bench.quick else _LENGTHS[::2]:
        tried = methods(published=("mlp",) if n_samples == 8000 else (), slow=bench.slow)
        systems = (fresh_rnn(seed, n_samples) for seed in seeds)
        bench.run(f"fresh RNN, {n_samples} samples", systems, tried)


def strong(bench: Bench) -> None:
    """Run networks with couplings 2.5 times as strong, where dynamics are not linear."""
    for sigma in (1.0, 0.3):
        seeds = range(2000, 2002 if bench.quick else 2005)
        systems = (fresh_rnn(seed, 8000, scale=2.5, sigma=sigma) for seed in seeds)
        bench.run(f"strong coupling, sigma {sigma:g}, 8000 samples", systems, methods(slow=False))


def sizes(bench: Bench) -> None:
    """Run larger networks."""
    for n_regions in (50, 100):
        seeds = range(3000, 3001 if bench.quick else 3003)
        systems = (fresh_rnn(s, 1600, n_regions=n_regions, n_truth=4000) for s in seeds)
        bench.run(f"RNN of {n_regions} regions, 1600 samples", systems, methods(slow=False))


def whole_brain(bench: Bench) -> None:
    """Run the whole-brain benchmark, unfiltered and band-passed."""
    systems = list(wbm(1 if bench.quick else 5))
    tried = methods(slow=False)
    bench.run("WBM, 10000 samples", systems, tried)
    bench.run("WBM band-passed 0.01-0.1 Hz", map(band_passed, systems), tried)


def graphs(bench: Bench) -> None:
    """Run the Sanchez-Romero networks: ten runs pooled, and one."""
    n_groups = 1 if bench.quick else 2
    tried = methods(slow=False)
    bench.run("Sanchez-Romero, 10 runs pooled", sanchez_romero(10, n_groups), tried)
    bench.run("Sanchez-Romero, one run", sanchez_romero(1, n_groups), tried)


def net_sim(bench: Bench) -> None:
    """Run NetSim."""
    bench.run("NetSim", netsim(), methods(published=(), slow=False))


def real(bench: Bench) -> None:
    """Fit halves of real series: do they predict each other, and do their maps agree."""
    rows: dict[str, list[dict[str, float]]] = {}
    settings = {
        **{name: TrainSettings(surrogate=name, device="cpu") for name in ("hybrid", "mou", "var")},
        "luo2025 mlp": preset("luo2025", device="cpu"),
    }
    if not bench.quick:
        nets = [name for name in families() if name not in settings]
        settings |= {f"{n}, 4 seeds": TrainSettings(surrogate=n, n_seeds=4, device="cpu",
                     patience=10, skip=True) for n in nets}  # fmt: skip
    for _, series in real_series():
        middle = len(series) // 2
        halves = [as_runs([zscored(part)], 2.0) for part in (series[:middle], series[middle:])]
        for name, chosen in settings.items():
            rows.setdefault(name, []).append(_halves(halves, resolve(chosen)))
    if not rows:
        print("\nreal series: no data")
        return
    columns = list(next(iter(rows.values()))[0])
    table = {name: [float(np.mean([row[c] for row in found])) for c in columns]
             for name, found in rows.items()}  # fmt: skip
    table |= {f"  {name}, R2 by subject": [f"{row['r2']:.3f}" for row in found]
              for name, found in rows.items()}  # fmt: skip
    show("Real series, halves (mean of subjects)", columns, table)
    bench.results["real"] = {
        name: {c: [row[c] for row in found] for c in columns} for name, found in rows.items()
    }


def _halves(halves: list[list], settings: TrainSettings) -> dict[str, float]:  # type: ignore[type-arg]
    from npi_bids.connectivity.perturbation import infer_ec
    from npi_bids.connectivity.settings import PerturbSettings

    maps, figures = [], []
    cut = [cut_windows(runs, 4) for runs in halves]
    for own, other in ((0, 1), (1, 0)):
        windows = cut_windows(halves[own], settings.n_lags or 1)
        learn, check = split_windows(windows, 0.8)
        with threads(1):
            model, _ = fit_surrogate(learn, check, settings)
            model, _ = fit_surrogate(windows, windows.take(slice(0, 0)), settings, model)
        maps.append(infer_ec(model, windows.history, PerturbSettings()))
        there = cut[other]
        figures.append(
            {
                "r2": held_out_r2(model.step(there.history[:, -model.n_lags :]), there),
                "own AR(3)": held_out_r2(own_history(cut[own], there), there),
                "persistence": held_out_r2(there.history[:, -1], there),
            }
        )
    mean = {key: float(np.mean([row[key] for row in figures])) for key in figures[0]}
    parts = {"split": np.asarray, "split sym": symmetric, "split anti": antisymmetric}
    return mean | {name: pearson(part(maps[0]), part(maps[1])) for name, part in parts.items()}


def observation_models(bench: Bench) -> None:
    """Compare the default with and without its observation model: delays, filters, gaps."""
    conditions = dict(list(CONDITIONS.items())[:4]) if bench.quick else CONDITIONS
    rows = {}
    for name, found in compare(conditions):
        rows[name] = [number for method in METHODS for number in found[method][::2]]
        bench.results[name] = found
    columns = [f"{method}{part}" for method in METHODS for part in ("", ", anti")]
    show("20 regions seen in many ways, mean r of four networks", columns, rows)


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "released": released,
    "fresh": fresh,
    "strong": strong,
    "sizes": sizes,
    "wbm": whole_brain,
    "graphs": graphs,
    "netsim": net_sim,
    "real": real,
    "observation": observation_models,
}


def main() -> int:
    """Run the benchmark."""
    words = sys.argv[1:]
    unknown = set(words) - {"--quick", "--slow", *SECTIONS}
    if unknown:
        sys.stderr.write(f"{__doc__}\n")
        return 0 if unknown == {"--help"} else 2
    bench = Bench(quick="--quick" in words, slow="--slow" in words)
    chosen = [word for word in words if not word.startswith("-")] or list(SECTIONS)
    for name in chosen:
        SECTIONS[name](bench)
        path = save(f"accuracy_{name}", bench.results)
        bench.results = {}
        print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
