"""Accuracy of maps of systems with known connectivity, compared with other methods.

usage: python -m benchmarks.accuracy [--quick] [--slow] [SECTION ...]

Sections: released fresh strong sizes wbm graphs netsim real observation sampled
hierarchies delaymaps rivals.
``--slow`` adds Granger causality and PCMCI where statsmodels and tigramite are installed;
``rivals`` compares NPI with Granger causality, PCMCI, rDCM and partial correlation on every
system, and needs neither.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np

from benchmarks.methods import Method, methods, rivals
from benchmarks.observation import (
    CONDITIONS,
    HIERARCHIES,
    HIERARCHY_SEEDS,
    MAP_CONDITIONS,
    MAPS,
    METHODS,
    PARTS,
    SAMPLED_CONDITIONS,
    SAMPLED_SEEDS,
    SEEDS,
    WITH_AND_WITHOUT,
    Condition,
    compare,
    compare_maps,
    draw,
)
from benchmarks.systems import (
    System,
    as_runs,
    band_passed,
    fresh_rnn,
    netsim,
    real_series,
    released_rnn,
    sanchez_romero,
    simulated,
    wbm,
    zscored,
)
from benchmarks.table import save, show
from npi_bids.assessment.quality import held_out_r2, own_history
from npi_bids.matrices import antisymmetric, pearson, symmetric
from npi_bids.records import Array
from npi_bids.surrogates.base import TrainSettings, preset, resolve
from npi_bids.surrogates.families import families
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.training import threads
from npi_bids.surrogates.windows import cut_windows, split_windows
from npi_bids.validate.scores import score, score_graph, true_edges

_LENGTHS = (400, 800, 1600, 3200, 8000)
Scores = dict[str, dict[str, list[float]]]


class Bench:
    """Requested settings, and results so far."""

    def __init__(self, *, quick: bool, slow: bool) -> None:
        self.quick, self.slow = quick, slow
        self.results: dict[str, Scores] = {}

    def run(self, title: str, systems: Iterable[System], tried: Mapping[str, Method]) -> None:
        """Score all methods on all systems of a section; print means and standard deviations."""
        scores_by_method: Scores = {}
        for system in systems:
            for name, method in tried.items():
                with threads(1):
                    matrix = method(system.runs)
                scores = (
                    score_graph(matrix, system.truth)
                    if system.graph
                    else asdict(score(matrix, system.truth))
                )
                for key, value in scores.items():
                    scores_by_method.setdefault(name, {}).setdefault(key, []).append(value)
        if not scores_by_method:
            print(f"\n{title}: no data")
            return
        columns = list(next(iter(scores_by_method.values())))
        rows = {name: [_spread(s[c]) for c in columns] for name, s in scores_by_method.items()}
        show(
            f"{title} ({len(next(iter(scores_by_method.values()))[columns[0]])} systems)",
            columns,
            rows,
        )
        self.results[title] = scores_by_method


def _spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation as text, or n/a if no system has a value."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return f"{finite.mean():.3f}±{finite.std():.3f}" if finite.size else "n/a"


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
    """Run networks with couplings 2.5 times as strong, whose dynamics are nonlinear."""
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
    """Fit halves of real series; score their mutual prediction and the agreement of maps."""
    rows: dict[str, list[dict[str, float]]] = {}
    settings = {
        **{
            name: TrainSettings(surrogate=name, device="cpu")
            for name, family in families().items()
            if not family.by_gradient
        },
        "luo2025 mlp": preset("luo2025", device="cpu"),
    }
    if not bench.quick:
        nets = [name for name, family in families().items() if family.by_gradient]
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
    table = {name: [float(np.mean([row[c] for row in method_scores])) for c in columns]
             for name, method_scores in rows.items()}  # fmt: skip
    table |= {f"  {name}, R2 by subject": [f"{row['r2']:.3f}" for row in method_scores]
              for name, method_scores in rows.items()}  # fmt: skip
    show("Real series, halves (mean over subjects)", columns, table)
    bench.results["real"] = {
        name: {c: [row[c] for row in method_scores] for c in columns}
        for name, method_scores in rows.items()
    }


def _halves(halves: list[list], settings: TrainSettings) -> dict[str, float]:  # type: ignore[type-arg]
    from npi_bids.connectivity.perturbation import infer_ec
    from npi_bids.connectivity.settings import PerturbSettings

    maps, figures = [], []
    cut = [cut_windows(runs, 4) for runs in halves]
    for first, second in ((0, 1), (1, 0)):
        windows = cut_windows(halves[first], settings.n_lags or 1)
        learn, check = split_windows(windows, 0.8)
        with threads(1):
            model, _ = fit_surrogate(learn, check, settings)
            model, _ = fit_surrogate(windows, windows.take(slice(0, 0)), settings, model)
        maps.append(infer_ec(model, windows.history, PerturbSettings()))
        held_out = cut[second]
        figures.append(
            {
                "r2": held_out_r2(model.step(held_out.history[:, -model.n_lags :]), held_out),
                "own AR(3)": held_out_r2(own_history(cut[first], held_out), held_out),
                "persistence": held_out_r2(held_out.history[:, -1], held_out),
            }
        )
    mean = {key: float(np.mean([row[key] for row in figures])) for key in figures[0]}
    parts = {"split": np.asarray, "split sym": symmetric, "split anti": antisymmetric}
    return mean | {name: pearson(part(maps[0]), part(maps[1])) for name, part in parts.items()}


Compared = Iterable[tuple[str, Mapping[str, Mapping[str, float]]]]


def _show_conditions(
    bench: Bench, title: str, compared: Compared, methods: Sequence[str], *others: str
) -> None:
    """Show r by method, and other scores of the default, with one row for each condition."""
    rows = {}
    for name, scores in compared:
        rows[name] = [scores[method][part] for method in methods for part in PARTS]
        rows[name] += [scores["default"][key] for key in others]
        bench.results[name] = scores
        _show_row(name, rows[name])
    columns = [f"{method}{part}" for method in methods for part in ("", ", anti")]
    show(title, [*columns, *others], rows)


def _show_row(name: str, values: Iterable[float]) -> None:
    print(name, " ".join(f"{value:.3f}" for value in values), flush=True)


def observation_models(bench: Bench) -> None:
    """Compare the default with and without its observation model: delays, filters, gaps."""
    conditions = dict(list(CONDITIONS.items())[:4]) if bench.quick else CONDITIONS
    title = "20 regions under various observation models, means of four networks"
    others = "coverage", "gain", "delays", "noise", "r of delays"
    _show_conditions(bench, title, compare(conditions), list(METHODS), *others)


def sampled_delays(bench: Bench) -> None:
    """Compare the default with that without delays where delays shift the samples themselves."""
    quick = {name: SAMPLED_CONDITIONS[name] for name in ("clean", "delays 1 s")}
    conditions = quick if bench.quick else SAMPLED_CONDITIONS
    title = "20 regions with delays of their samples, means of six networks"
    compared = compare(conditions, SAMPLED_SEEDS, WITH_AND_WITHOUT)
    _show_conditions(bench, title, compared, WITH_AND_WITHOUT)


def hierarchies(bench: Bench) -> None:
    """Compare the default with that without delays in strict hierarchies, which look like delays.

    The differences are those of single networks; the smallest is the worst of them.
    """
    rows = {}
    seeds = HIERARCHY_SEEDS[:2] if bench.quick else HIERARCHY_SEEDS
    for name in HIERARCHIES:
        scores: Scores = {method: {} for method in WITH_AND_WITHOUT}
        for seed in seeds:
            alone = range(seed, seed + 1)
            ((_, network),) = compare({name: CONDITIONS[name]}, alone, WITH_AND_WITHOUT)
            for method, reached in network.items():
                for key, value in reached.items():
                    scores[method].setdefault(key, []).append(value)
        gains = [
            np.subtract(*(scores[method][part] for method in WITH_AND_WITHOUT)) for part in PARTS
        ]
        means = [np.mean(scores[method][part]) for method in WITH_AND_WITHOUT for part in PARTS]
        rows[name] = [*means, *(f(gain) for gain in gains for f in (np.mean, np.min))]
        rows[name].append(np.mean(scores["default"]["delays"]))
        bench.results[name] = scores
        _show_row(name, rows[name])
    columns = [f"{method}, {part}" for method in WITH_AND_WITHOUT for part in PARTS]
    columns += [f"{which} gain, {part}" for part in PARTS for which in ("mean", "smallest")]
    columns.append("share with delays")
    show(f"Strict hierarchies of 20 regions, {len(seeds)} networks", columns, rows)


def delay_maps(bench: Bench) -> None:
    """Compare maps with right, noisy and wrong prior knowledge of the delays of regions."""
    conditions = MAP_CONDITIONS[1:2] if bench.quick else MAP_CONDITIONS
    title = "20 regions with what is known of their delays, means of four networks"
    _show_conditions(bench, title, compare_maps(conditions, SEEDS), MAPS)


def compare_rivals(bench: Bench) -> None:
    """Compare NPI with other methods on every system, in one table.

    Each cell has the r of the map, the r of its antisymmetric part, the area under the ROC curve
    of undirected edges, and the share of pairs whose stronger direction is the true one.
    """
    tried = rivals()
    rows, texts = {}, {}
    for title, systems in _systems_of_rivals(range(600, 601 if bench.quick else 603)).items():
        scores: Scores = {name: {} for name in tried}
        for system in systems():
            for name, method in tried.items():
                with threads(1):
                    found = _score_rival(method(system.runs), system)
                for key, value in found.items():
                    scores[name].setdefault(key, []).append(value)
        if not next(iter(scores.values())):
            continue
        rows[title] = scores
        texts[title] = [
            "  " + "/".join(_short_mean(values) for values in found.values())
            for found in scores.values()
        ]
        print(title, *texts[title], sep=" | ", flush=True)
    show("r / r antisymmetric / AUROC undirected / direction", list(tried), texts)
    bench.results |= rows


def _systems_of_rivals(seeds: range) -> dict[str, Callable[[], Iterator[System]]]:
    """Return the systems of the comparison by title."""
    observed = {
        title: CONDITIONS[title]
        for title in ("haemodynamic, TR 2", "haemodynamic, TR 2, delays 0.5 s", "delays 1 s",
                      "band-passed", "hierarchy")
    }  # fmt: skip
    return {
        **{
            f"{name}, {n_samples} samples": partial(_simulate_all, name, seeds, n_samples)
            for name in ("rnn", "ou", "var", "wbm", "neuromatch")
            for n_samples in (400, 1600)
        },
        **{
            f"rnn, {title}": partial(_observe_all, condition, seeds)
            for title, condition in observed.items()
        },
        "Sanchez-Romero, 10 runs": partial(sanchez_romero, 10, 1),
        "Sanchez-Romero, one run": partial(sanchez_romero, 1, 1),
        "NetSim": netsim,
    }


def _simulate_all(name: str, seeds: range, n_samples: int) -> Iterator[System]:
    return (simulated(name, seed, n_samples=n_samples) for seed in seeds)


def _observe_all(condition: Condition, seeds: range) -> Iterator[System]:
    for seed in seeds:
        drawn = draw(condition, seed)
        yield System(f"seed {seed}", [drawn.run], drawn.truth)


def _score_rival(matrix: Array, system: System) -> dict[str, float]:
    """Return the four scores of one map; those of weights are NaN where the truth is a graph."""
    if system.graph:
        graph = score_graph(matrix, system.truth)
        weights = {"r": np.nan, "r_antisymmetric": np.nan}
        return weights | {key: graph[key] for key in ("auroc_undirected", "direction")}
    edges = np.zeros_like(system.truth)
    edges[~np.eye(len(edges), dtype=bool)] = true_edges(system.truth)
    recovery = score(matrix, system.truth)
    return {
        "r": recovery.r,
        "r_antisymmetric": recovery.r_antisymmetric,
        "auroc_undirected": score_graph(matrix, edges)["auroc_undirected"],
        "direction": recovery.direction,
    }


def _short_mean(values: Sequence[float]) -> str:
    """Return a mean with two digits, or a dash if no system has a value."""
    finite = [value for value in values if np.isfinite(value)]
    return f"{np.mean(finite):.2f}".replace("0.", ".", 1) if finite else "-"


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
    "sampled": sampled_delays,
    "hierarchies": hierarchies,
    "delaymaps": delay_maps,
    "rivals": compare_rivals,
}


def main() -> int:
    """Run the benchmark."""
    argv = sys.argv[1:]
    unknown = set(argv) - {"--quick", "--slow", *SECTIONS}
    if unknown:
        sys.stderr.write(f"{__doc__}\n")
        return 0 if unknown == {"--help"} else 2
    bench = Bench(quick="--quick" in argv, slow="--slow" in argv)
    chosen = [word for word in argv if not word.startswith("-")] or list(SECTIONS)
    for name in chosen:
        SECTIONS[name](bench)
        path = save(f"accuracy_{name}", bench.results)
        bench.results = {}
        print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
