"""Tables of the documentation on the accuracy of maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import numpy as np

from benchmarks.observation import (
    HIERARCHY_SEEDS,
    METHODS,
    PARTS,
    SAMPLED_CONDITIONS,
    WITH_AND_WITHOUT,
)
from benchmarks.site_table import Cell, Results, SiteTable, full_cells, mean
from npi_bids.validate.power import needed_minutes

_RELEASED = {
    "hybrid (default)": "`hybrid`, the default",
    "var, ridge": "`var` (ridge, one lag)",
    "rDCM": "`rdcm` (regression DCM)",
    "var, least squares": "VAR, least squares",
    "impulse response": "impulse response of the VAR",
    "lag-1 correlation": "lag-1 correlation",
    "FC": "FC",
    "luo2025 mlp": "`--preset luo2025`, `mlp`",
    "luo2025 cnn": "`--preset luo2025 --surrogate cnn`",
    "luo2025 rnn": "`--preset luo2025 --surrogate rnn`",
    "luo2025 var": "`--preset luo2025 --surrogate var`",
}
_LENGTHS = (400, 800, 1600, 3200, 8000)
# Figure 2 of Luo et al. 2025, doi:10.1038/s41592-025-02654-x.
_PUBLISHED = {"luo2025 mlp": 0.91, "luo2025 cnn": 0.95, "luo2025 rnn": 0.97, "luo2025 var": 0.97}
_OBSERVATION = {
    "clean": "clean",
    "clean, 400 samples": "clean, 400 samples",
    "clean, 8000 samples": "clean, 8000 samples",
    "TR 0.7": "clean, TR 0.7 s",
    "TR 3": "clean, TR 3 s",
    "noise 0.5 SD": "white noise of 0.5 SD",
    "delays 0.5 s": "delays of SD 0.5 s",
    "delays 1 s": "delays of SD 1 s",
    "delays 1.4 s": "delays of SD 1.4 s",
    "delays 0.5 s, 400 samples": "delays of SD 0.5 s, 400 samples",
    "delays 1 s, 400 samples": "delays of SD 1 s, 400 samples",
    "delays 1 s, TR 2": "delays of SD 1 s, TR 2 s",
    "delays 1 s, 15 % censored": "delays of SD 1 s, 15 % of the samples censored",
    "band-passed": "band-passed 0.01-0.1 Hz",
    "band-passed, delays 0.5 s": "band-passed, delays of SD 0.5 s",
    "haemodynamic, TR 1": "haemodynamic",
    "haemodynamic, TR 1, noise 0.02 SD": "haemodynamic, white noise of 0.02 SD",
    "haemodynamic, TR 2": "haemodynamic, TR 2 s",
    "haemodynamic, TR 2, delays 0.5 s": "haemodynamic, TR 2 s, delays of SD 0.5 s",
    "haemodynamic, TR 1, delays 1 s": "haemodynamic, delays of SD 1 s",
    "haemodynamic, TR 1, dispersion 15 %": "haemodynamic, width differs by 15 %",
    "haemodynamic, band-passed": "haemodynamic, band-passed",
    "haemodynamic, band-passed, delays 0.5 s": "haemodynamic, band-passed, delays of SD 0.5 s",
    "hierarchy": "strict hierarchy",
    "hierarchy, delays 1 s": "strict hierarchy, delays of SD 1 s",
}
_N_NETWORKS = 4  # of each condition of the observation model
_SAMPLED = {name: _OBSERVATION[name] for name in SAMPLED_CONDITIONS}
_HIERARCHIES = {
    "hierarchy": "without delays",
    "hierarchy, delays 1 s": "with delays of SD 1 s",
}
_GRAPHS = {
    "hybrid (default)": "`hybrid`, the default",
    "mou": "`mou`",
    "var, ridge": "`var` (ridge)",
    "rDCM": "`rdcm`",
    "var(3), ridge": "`var` of three lags",
    "partial correlation": "partial correlation",
    "oriented": "`--measures oriented`",
    "FC": "FC",
    "luo2025 mlp": "`--preset luo2025`, `mlp`",
}
_GRAPH_SCORES = ("auroc_undirected", "auroc", "direction")
_REAL = {
    "hybrid": "`hybrid`, the default",
    "var": "`var` (ridge)",
    "rdcm": "`rdcm`",
    "own AR(3)": "own last three samples",
    "luo2025 mlp": "`--preset luo2025`, `mlp`",
}
_N_SUBJECTS = 3
_SHARED_DELAYS = {
    f"{group}, seed {seed}": f"{name} (seed {seed})"
    for group, name in (
        ("delays 0.5 s", "delays of SD 0.5 s"),
        ("delays 1 s", "delays of SD 1 s"),
        ("no delays", "no delays"),
        ("hierarchy", "strict hierarchy, no delays"),
    )
    for seed in (600, 601)
}
_DELAY_MAPS = {
    "delays 0.5 s, 400 samples": "delays of SD 0.5 s, 400 samples",
    "hierarchy, delays 1 s": "strict hierarchy, delays of SD 1 s",
}
_PRETRAINING = {
    f"{system} N={n} S={subjects} T={samples}": f"`{system}`, {n}, {subjects}, {samples}"
    for system, n, subjects, samples in (
        ("ou", 20, 20, 300), ("ou", 20, 100, 300), ("ou", 100, 20, 300), ("ou", 100, 100, 300),
        ("rnn", 20, 20, 300), ("rnn", 20, 100, 300), ("ou", 20, 20, 3000), ("rnn", 20, 20, 3000),
    )
}  # fmt: skip
_SUBJECT_MAPS = {
    "alone": "alone", "prior removed": "prior removed", "pretrain, before": "`pretrain`, before",
    "pretrain": "`pretrain`", "pretrain, left out": "`pretrain`, left out",
    "BLUP": "`--subject-maps blup`",
}  # fmt: skip
_SUBJECT_MAPS_CASES = {
    "n = 8, T = 150, 12 data sets": "n = 8, T = 150 (12 data sets)",
    "n = 24, T = 150, 5 data sets": "n = 24, T = 150 (5)",
    "n = 8, T = 100/400, 10 data sets": "n = 8, T = 100 and 400 (10)",
}
_FRESH = {
    "hybrid (default)": "`hybrid`, the default",
    "var, ridge": "`var` (ridge)",
    "rDCM": "`rdcm`",
    "impulse response": "impulse response of the VAR",
    "var, least squares": "least squares",
    "Granger": "Granger causality (statsmodels)",
    "PCMCI": "PCMCI (tigramite)",
    "FC": "FC",
    "luo2025 mlp": "`--preset luo2025`, `mlp`",
}
_FRESH_SECTIONS = {
    **{f"fresh RNN, {n_samples} samples": 20 for n_samples in (400, 1600, 8000)},
    **{f"RNN of {n_regions} regions, 1600 samples": 3 for n_regions in (50, 100)},
}
_STRONG = {
    "hybrid (default)": "`hybrid`, the default",
    "var, ridge": "`var` (ridge)",
    "rDCM": "`rdcm`",
    "var(3), ridge": "`var` of three lags",
    "mou": "`mou`: the Ornstein-Uhlenbeck process without networks",
    "luo2025 mlp": "`--preset luo2025`, `mlp`",
}
_STRONG_SECTIONS = {f"strong coupling, sigma {sigma}, 8000 samples": 5 for sigma in ("1", "0.3")}
_WBM = {
    "hybrid (default)": "`hybrid`, the default",
    "impulse response": "impulse response of the VAR",
    "FC": "FC",
    "luo2025 mlp": "`--preset luo2025`, `mlp`",
    "rDCM": "`rdcm`",
    "var, ridge": "`var` (ridge)",
}
_WBM_SECTIONS = {"WBM, 10000 samples": 5, "WBM band-passed 0.01-0.1 Hz": 5}
_RIVALS = {
    "rnn, 400 samples": "RNN, 400 samples",
    "rnn, 1600 samples": "RNN, 1600 samples",
    "ou, 400 samples": "OU process, 400 samples",
    "ou, 1600 samples": "OU process, 1600 samples",
    "var, 400 samples": "VAR, 400 samples",
    "var, 1600 samples": "VAR, 1600 samples",
    "wbm, 400 samples": "whole-brain model, 400 samples",
    "wbm, 1600 samples": "whole-brain model, 1600 samples",
    "neuromatch, 400 samples": "Neuromatch, 400 samples",
    "neuromatch, 1600 samples": "Neuromatch, 1600 samples",
    "rnn, haemodynamic, TR 2": "RNN, haemodynamic, TR 2",
    "rnn, haemodynamic, TR 2, delays 0.5 s": "RNN, haemodynamic, TR 2, delays 0.5 s",
    "rnn, delays 1 s": "RNN, delays 1 s",
    "rnn, band-passed": "RNN, band-passed",
    "rnn, hierarchy": "RNN, hierarchy",
    "Sanchez-Romero, 10 runs": "Sanchez-Romero, 10 runs",
    "Sanchez-Romero, one run": "Sanchez-Romero, one run",
    "NetSim": "NetSim",
}
_RIVAL_METHODS = ("NPI", "NPI as published", "rDCM", "Granger", "PCMCI", "partial correlation")
_N_RIVAL_SEEDS = 3
_POWER = {
    f"{tr:g} {method}": f"TR {tr:g} s, {name}"
    for tr in (0.8, 2.0)
    for method, name in (("hybrid", "`hybrid`"), ("var", "`var`"), ("fc", "FC"))
}
_POWER_MINUTES = (5, 10, 20, 30, 60)
_DEMO = {"hybrid": "`hybrid`, the default", "luo2025": "`luo2025` (`mlp`)"}
_AGREEMENT = {
    "truth": "EC with true EC",
    "truth_antisymmetric": "antisymmetric parts",
    "truth_transposed": "transposed EC with true EC",
    "structure": "EC with structural connectivity",
    "fc": "FC of the surrogate with FC",
}
_BRAIN = {name: name for name in ("NAP_002", "NAP_007", "NAP_009", "mean")}


def _released_cells(results: Results, method: str) -> Iterator[Cell]:
    for n_samples in _LENGTHS:
        section = results.get(f"released RNN, {n_samples} samples", {})
        yield mean(section.get(method, {}).get("r", ()), n_systems=6)
    yield _PUBLISHED.get(method)


def _observation_cells(results: Results, condition: str) -> Iterator[Cell]:
    scores = results.get(condition, {})
    yield from _method_cells(scores, METHODS)
    default = scores.get("default")
    yield default["coverage"] if default else None
    yield _taken(default) if default else None


def _sampled_cells(results: Results, condition: str) -> Iterator[Cell]:
    return _method_cells(results.get(condition, {}), WITH_AND_WITHOUT)


def _method_cells(scores: Results, methods: Iterable[str]) -> Iterator[Cell]:
    """Yield the r of the map and of its antisymmetric part, by method."""
    for method in methods:
        reached = scores.get(method)
        yield [reached[part] for part in PARTS] if reached else None


def _hierarchy_cells(results: Results, condition: str) -> Iterator[Cell]:
    scores = results.get(condition, {})
    default, without = (scores.get(method, {}) for method in WITH_AND_WITHOUT)
    if len(default.get("all", ())) != len(HIERARCHY_SEEDS):
        return
    for method_scores in (default, without):
        yield [float(np.mean(method_scores[part])) for part in PARTS]
    gains = [np.subtract(default[part], without[part]) for part in PARTS]
    yield [float(np.mean(gain)) for gain in gains]
    yield [float(np.min(gain)) for gain in gains]
    yield float(sum(default["delays"]))


def _taken(scores: Mapping[str, float]) -> str:
    """Return how often a gain and delays were taken, and the mean noise that was found."""
    gain, delays = (round(_N_NETWORKS * scores[name]) for name in ("gain", "delays"))
    noise = f"{scores['noise']:.2f}".removeprefix("0") if scores["noise"] >= 0.005 else "0"
    return f"{gain} / {delays} / {noise}"


def _graph_cells(results: Results, method: str) -> Iterator[Cell]:
    for section, n_systems in (
        ("Sanchez-Romero, 10 runs pooled", 12), ("Sanchez-Romero, one run", 12), ("NetSim", 4)
    ):  # fmt: skip
        scores = results.get(section, {}).get(method, {})
        means = [mean(scores.get(name, ()), n_systems) for name in _GRAPH_SCORES]
        yield None if None in means else means


def _real_cells(results: Results, method: str) -> Iterator[Cell]:
    if method == "own AR(3)":  # the same for every surrogate
        yield from (
            None,
            mean(results.get("real", {}).get("hybrid", {}).get(method, ()), _N_SUBJECTS),
            None,
        )
        return
    scores = results.get("real", {}).get(method, {})
    by_subject = scores.get("r2", ())
    complete = len(by_subject) == _N_SUBJECTS
    yield by_subject if complete else None
    yield mean(by_subject, _N_SUBJECTS)
    yield (
        [mean(scores[part], _N_SUBJECTS) for part in ("split", "split sym", "split anti")]
        if (complete)
        else None
    )


def _delay_map_cells(results: Results, condition: str) -> Iterator[Cell]:
    for method in ("no map", "true map", "covariates", "permuted map"):
        found = results.get(condition, {}).get(method)
        yield [found["all"], found["antisymmetric"]] if found else None


def _shared_delay_cells(results: Results, group: str) -> Iterator[Cell]:
    for method in ("alone", "pre-trained without delays", "pre-trained", "alone, with the delays"):
        found = results.get(f"{group}, {method}")
        is_complete = f"{group}, alone" in results
        yield found[:2] if found else "none found" if is_complete else None


def _subject_map_cells(results: Results, way: str) -> Iterator[Cell]:
    for case in _SUBJECT_MAPS_CASES:
        found = results.get("rows", {}).get(case, {}).get(way)
        yield found[:3] if found else None


def _mean_r_cells(results: Results, method: str, *, sections: Mapping[str, int]) -> Iterator[Cell]:
    """Yield the mean r of a method in sections of which each has a number of systems."""
    for section, n_systems in sections.items():
        yield mean(results.get(section, {}).get(method, {}).get("r", ()), n_systems)


def _strong_cells(results: Results, method: str) -> Iterator[Cell]:
    """Yield mean and lowest r of each section: the default differs from network to network."""
    for section, n_systems in _STRONG_SECTIONS.items():
        found = results.get(section, {}).get(method, {}).get("r", ())
        average = mean(found, n_systems)
        yield average
        yield None if average is None else min(found)


def _rival_cells(results: Results, system: str) -> Iterator[Cell]:
    """Yield four means of each method; graphs have no r, symmetric maps no direction."""
    for method in _RIVAL_METHODS:
        scores = results.get(system, {}).get(method, {})
        counts = {len(values) for values in scores.values()}
        if not counts or min(counts) < _N_RIVAL_SEEDS:
            yield None
        else:
            yield [mean(values, len(values)) for values in scores.values()]


def _power_cells(results: Results, row: str) -> Iterator[Cell]:
    """Yield r and direction by length, the minutes for r of .8, and r of the mean map."""
    tr, method = row.split()
    found = {
        summary["minutes"]: summary
        for summary in results.get("Summaries", ())
        if f"{summary['tr']:g}" == tr and summary["method"] == method
    }
    if not set(_POWER_MINUTES) <= set(found) or results["Power"]["n_subjects"] < 4:
        return
    for minutes in _POWER_MINUTES:
        yield [found[minutes]["r"], None if method == "fc" else found[minutes]["direction"]]
    reached = [found[minutes]["r"] for minutes in _POWER_MINUTES]
    needed = needed_minutes(_POWER_MINUTES, reached, results["Power"]["wanted"])
    yield f"{needed:.0f}" if math.isfinite(needed) else f"more than {_POWER_MINUTES[-1]}"
    yield found[20]["group_r"]


def _demo_cells(results: Results, surrogate: str) -> Iterator[Cell]:
    yield from results.get("dataset", {}).get(surrogate, ())


def _agreement_cells(results: Results, figure: str) -> Iterator[Cell]:
    for system in ("rnn", "wbm", "real"):
        for surrogate in _DEMO:
            value = results.get("systems", {}).get(system, {}).get(surrogate, {}).get(figure)
            yield value if value is not None and math.isfinite(value) else None


def _brain_cells(results: Results, subject: str) -> Iterator[Cell]:
    default, _, fittest, *_ = results.get(subject, (None, None, None))
    yield from (default, fittest)


TABLES = {
    "released": SiteTable(
        "python -m benchmarks.accuracy released",
        ("method", *map(str, _LENGTHS), "8000, published"), _RELEASED, _released_cells,
        best="columns", digits=(3, 3, 3, 3, 3, 2), files=("accuracy_released",),
    ),
    "observation": SiteTable(
        "python -m benchmarks.accuracy observation",
        ("condition", "default", "without delays", "as state", "ridge VAR",
         "`--preset luo2025`, `mlp`", "`rdcm`", "intervals hold", "gain / delays / noise taken"),
        _OBSERVATION, _observation_cells, best="rows", digits=(3, 3, 3, 3, 3, 3, 2, 0),
        files=("accuracy_observation",),
    ),
    "sampled": SiteTable(
        "python -m benchmarks.accuracy sampled", ("condition", *WITH_AND_WITHOUT), _SAMPLED,
        _sampled_cells, best="rows", digits=(3, 3), files=("accuracy_sampled",),
        seeds="510 to 515",
    ),
    "hierarchies": SiteTable(
        "python -m benchmarks.accuracy hierarchies",
        ("strict hierarchies", *WITH_AND_WITHOUT, "mean difference", "smallest difference",
         "networks with delays"), _HIERARCHIES, _hierarchy_cells, best="",
        digits=(3, 3, 3, 3, 0), files=("accuracy_hierarchies",), seeds="520 to 539",
    ),
    "graphs": SiteTable(
        "python -m benchmarks.accuracy graphs netsim",
        ("method", "ten runs pooled", "one run", "NetSim"), _GRAPHS, _graph_cells,
        best="columns", digits=(3, 3, 3), files=("accuracy_graphs", "accuracy_netsim"),
    ),
    "real": SiteTable(
        "python -m benchmarks.accuracy real",
        ("method", "R² of the other half, by subject", "mean",
         "r of the halves' maps: all / symmetric / antisymmetric"),
        _REAL, _real_cells, best="columns", digits=(3, 3, 2),
        files=("accuracy_real",),
    ),
    "delaymaps": SiteTable(
        "python -m benchmarks.accuracy delaymaps",
        ("condition", "no map", "true map", "covariates", "permuted map"), _DELAY_MAPS,
        _delay_map_cells, best="rows", digits=(3, 3, 3, 3), files=("accuracy_delaymaps",),
    ),
    "shared_delays": SiteTable(
        "python -m benchmarks.shared_delays",
        ("group", "alone", "pre-trained without delays", "pre-trained",
         "alone, with the delays of the group as a map"), _SHARED_DELAYS,
        _shared_delay_cells, best="rows", digits=(3, 3, 3, 3), files=("shared_delays",),
    ),
    "pretraining": SiteTable(
        "python -m benchmarks.pretraining",
        ("system, regions, subjects, samples", "alone", "shrunk", "group surrogate for all",
         "deviations, alone", "deviations, shrunk"), _PRETRAINING,
        partial(full_cells, section="rows", n_cells=5), best="", digits=(3, 3, 3, 3, 3),
        files=("pretraining",),
    ),
    "subject_maps": SiteTable(
        "python -m benchmarks.subject_maps", ("map", *_SUBJECT_MAPS_CASES.values()),
        _SUBJECT_MAPS, _subject_map_cells, best="", digits=((3, 3, 1),) * 3,
        files=("subject_maps",),
    ),
    "fresh": SiteTable(
        "python -m benchmarks.accuracy fresh sizes --slow",
        ("method", "400 samples", "1600", "8000", "50 regions", "100 regions"), _FRESH,
        partial(_mean_r_cells, sections=_FRESH_SECTIONS), best="columns", digits=(3,) * 5,
        files=("accuracy_fresh", "accuracy_sizes"), seeds="1000 to 1019; 3000 to 3002",
    ),
    "strong": SiteTable(
        "python -m benchmarks.accuracy strong",
        ("method", "noise of SD 1", "lowest r", "noise of SD 0.3", "lowest r"), _STRONG,
        _strong_cells, best="columns", digits=(3, 3, 3, 3),
        files=("accuracy_strong",), seeds="2000 to 2004",
    ),
    "wbm": SiteTable(
        "python -m benchmarks.accuracy wbm",
        ("method", "unfiltered", "band-passed 0.01-0.1 Hz"), _WBM,
        partial(_mean_r_cells, sections=_WBM_SECTIONS), best="columns", digits=(3, 3),
        files=("accuracy_wbm",), seeds="0",
    ),
    "rivals": SiteTable(
        "python -m benchmarks.accuracy rivals",
        ("system", "NPI, the default", "NPI as published", *_RIVAL_METHODS[2:]), _RIVALS,
        _rival_cells, best="rows", digits=(2,) * 6, files=("accuracy_rivals",),
        seeds="600 to 602",
    ),
    "scan_length": SiteTable(
        "npi-validate power --n-regions 100 --tr 0.8 2 --minutes 5 10 20 30 60 --n-subjects 4 "
        "-o benchmarks/results/power",
        ("", "5 min", "10", "20", "30", "60", "minutes for r .8", "mean map, 20 min"), _POWER,
        _power_cells, best="", digits=(2, 2, 2, 2, 2, 0, 2), files=("power/power",), seeds="0",
    ),
    "demo": SiteTable(
        "python -m benchmarks.demos",
        ("surrogate", "r", "r of the antisymmetric part", "r of the transposed map"), _DEMO,
        _demo_cells, best="", digits=(2, 2, 2), files=("demos",), seeds="2025",
    ),
    "demo_systems": SiteTable(
        "python -m benchmarks.demos",
        ("", "`rnn`: `hybrid`", "`luo2025`", "`wbm`: `hybrid`", "`luo2025`", "`real`: `hybrid`",
         "`luo2025`"), _AGREEMENT, _agreement_cells, best="", digits=(3,) * 6, files=("demos",),
        seeds="2025",
    ),
    "brain": SiteTable(
        "python -m benchmarks.brain",
        ("subject", "r of simulated and empirical FC, neurolib's own parameters",
         "after the search (fittest)"), _BRAIN, _brain_cells, best="", digits=(2, 2),
        files=("brain",), seeds="0",
    ),
}  # fmt: skip
