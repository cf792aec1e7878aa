"""Tables of the documentation from the results of the benchmarks.

usage: python -m benchmarks.site [RESULTS]

Reads the results in a folder (``benchmarks/results``) and writes ``docs/data/*.json``,
which ``docs/tables.py`` sets into the pages. A cell that a run did not compute, or of which it
computed fewer systems than the table promises (``--quick``), keeps its earlier value.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.table import RESULTS

DATA = Path(__file__).parents[1] / "docs" / "data"
_DIGITS = 6
Results = Mapping[str, Any]
# A number, several that stand together, text, or None where nothing was computed.
Cell = float | str | Sequence[float | None] | None


@dataclass(frozen=True, slots=True)
class SiteTable:
    """One table of the documentation.

    Attributes
    ----------
    command
        Command that computes the results.
    columns
        Names of all columns, that of the first with the names of the rows included.
    rows
        Name of each row in the table, by its name in the results.
    cells
        Yields the cells of a row, from the results and its name there.
    best
        ``rows`` to print the largest value of each row in bold, ``columns`` that of each
        column, or empty.
    digits
        Decimals of each column after the first; several for a cell of several numbers.
    files
        Names of the files of results.
    """

    command: str
    columns: tuple[str, ...]
    rows: Mapping[str, str]
    cells: Callable[[Results, str], Iterator[Cell]]
    best: str
    digits: tuple[int | Sequence[int], ...]
    files: tuple[str, ...]


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
    "haemodynamic, TR 2": "haemodynamic, TR 2 s",
    "haemodynamic, TR 2, delays 0.5 s": "haemodynamic, TR 2 s, delays of SD 0.5 s",
    "haemodynamic, TR 1, delays 1 s": "haemodynamic, delays of SD 1 s",
    "haemodynamic, TR 1, dispersion 15 %": "haemodynamic, width differs by 15 %",
    "haemodynamic, band-passed": "haemodynamic, band-passed",
    "haemodynamic, band-passed, delays 0.5 s": "haemodynamic, band-passed, delays of SD 0.5 s",
    "hierarchy": "strict hierarchy",
    "hierarchy, delays 1 s": "strict hierarchy, delays of SD 1 s",
}
_N_NETWORKS = 4  # of each condition
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
_COVERAGE = {"hybrid, posterior": "`hybrid`, posterior", "var, posterior": "`var`, posterior"}
_INFERENCE_NULL = {
    "two groups, age": "two groups, age as covariate (residuals exchanged)",
    "mean (signs)": "mean (sign flipping)",
}
_INFERENCE_POWER = {f"effect {effect} SD": effect for effect in ("0.8", "1.2", "1.6")}
_GROUP_NULL = {
    "no connection, n = 8": "no connection: mean of 8",
    "no connection, n = 24": "no connection: mean of 24",
    "two groups, 12 + 12": "same network: groups of 12 and 12",
    "covariate beside sites, n = 24": "same network: covariate of 24, at three sites",
    "two sessions, n = 12": "same network: two sessions of 12",
}
_SESSION_POWER = {
    "two sessions": "two sessions, `--model session`",
    "two sessions, as if of different subjects": "the same maps, as if of different subjects",
    "three sessions, F": "three sessions (half of the change at the second), F",
    "three sessions, 03 - 01": 'three sessions, `--contrast "03 - 01"`',
    "group:session, two sessions": "`group * session`, where every other subject changes",
}
_N_POWER_SETS = 100
_CONTRASTS = {
    "T 150 | 400, 12 + 12": "150 against 400 samples, 12 + 12",
    "T 150 (6) | 400 (18)": "150 (6) against 400 (18)",
    "T 150 (18) | 400 (6)": "150 (18) against 400 (6)",
    "labels random, 4 + 4": "labels at random, 4 + 4",
    "labels random, 12 + 12": "labels at random, 12 + 12",
    "unrelated covariate, 8": "unrelated covariate, 8",
    "unrelated covariate, 24": "unrelated covariate, 24",
    "paired 150 | 400, 12": "sessions of 150 and 400 samples, 12 pairs",
}
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
_GRADES = {
    name: name for name in (
        "single connections", "strengths and networks", "group averages",
        "direction: single connections", "direction: strengths and networks",
        "direction: group averages", "nothing",
    )
}  # fmt: skip
_DESIGNS = {
    f"{system} {n_regions} {tr:g}": f"{n_regions}, {tr:g} s, `{system}`"
    for n_regions in (20, 100, 400) for tr in (0.8, 2) for system in ("rnn", "ou")
}  # fmt: skip
_MINUTES = (6, 12, 30, 60)
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


def _released_cells(results: Results, method: str) -> Iterator[Cell]:
    for n_samples in _LENGTHS:
        section = results.get(f"released RNN, {n_samples} samples", {})
        yield _mean(section.get(method, {}).get("r", ()), n_systems=6)
    yield _PUBLISHED.get(method)


def _observation_cells(results: Results, condition: str) -> Iterator[Cell]:
    scores = results.get(condition, {})
    for method in ("default", "signals as state", "ridge VAR", "rDCM"):
        found = scores.get(method)
        yield [found["all"], found["antisymmetric"]] if found else None
    default = scores.get("default")
    yield default["coverage"] if default else None
    yield _taken(default) if default else None


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
        means = [_mean(scores.get(name, ()), n_systems) for name in _GRAPH_SCORES]
        yield None if None in means else means


def _real_cells(results: Results, method: str) -> Iterator[Cell]:
    if method == "own AR(3)":  # the same for every surrogate
        yield from (
            None,
            _mean(results.get("real", {}).get("hybrid", {}).get(method, ()), _N_SUBJECTS),
            None,
        )
        return
    scores = results.get("real", {}).get(method, {})
    by_subject = scores.get("r2", ())
    complete = len(by_subject) == _N_SUBJECTS
    yield by_subject if complete else None
    yield _mean(by_subject, _N_SUBJECTS)
    yield (
        [_mean(scores[part], _N_SUBJECTS) for part in ("split", "split sym", "split anti")]
        if (complete)
        else None
    )


def _full_cells(
    results: Results,
    row: str,
    *,
    sizes: Mapping[str, int] = MappingProxyType({}),
    section: str = "",
    n_cells: int | None = None,
) -> Iterator[Cell]:
    """Yield the numbers of a row, if the run was as large as the table promises.

    Parameters
    ----------
    results, row
        Results, and name of the row in them.
    sizes
        What the results must state of their size, such as the number of data sets.
    section
        Part of the results that holds the rows; empty: all of them.
    n_cells
        Numbers that the table shows, the first of the row; None: all.
    """
    is_complete = all(results.get(name, 0) >= size for name, size in sizes.items())
    rows = results.get(section, {}) if section else results
    found = list(rows.get(row, ())) if is_complete else []
    yield from found[:n_cells]


def _delay_map_cells(results: Results, condition: str) -> Iterator[Cell]:
    for method in ("no map", "true map", "covariates", "permuted map"):
        found = results.get(condition, {}).get(method)
        yield [found["all"], found["antisymmetric"]] if found else None


def _shared_delay_cells(results: Results, group: str) -> Iterator[Cell]:
    for method in ("alone", "pre-trained without delays", "pre-trained", "alone, with the delays"):
        found = results.get(f"{group}, {method}")
        is_complete = f"{group}, alone" in results
        yield found[:2] if found else "none found" if is_complete else None


def _session_cells(results: Results, design: str) -> Iterator[Cell]:
    is_complete = results.get("n_sets", 0) >= _N_POWER_SETS
    for n_subjects in (8, 12, 20):
        found = results.get(f"{design}, n = {n_subjects}") if is_complete else None
        yield found[:2] if found else None


def _design_cells(results: Results, design: str) -> Iterator[Cell]:
    """Yield r, expected r and the first word of the grade, by length of the scan."""
    found = {
        (f"{row['system']} {row['regions']} {row['TR']:g}", row["minutes"]): row
        for row in (dict(zip(results["columns"], row, strict=True)) for row in results["rows"])
    } if results else {}  # fmt: skip
    for minutes in _MINUTES:
        row = found.get((design, minutes))
        if row is None:
            yield None
            continue
        figures = (f"{row[name]:.2f}".removeprefix("0") for name in ("r", "expected r"))
        word = row["connections"].removeprefix("group ").split()[0]
        yield f"{', '.join(figures)}: {word}"


def _subject_map_cells(results: Results, way: str) -> Iterator[Cell]:
    for case in _SUBJECT_MAPS_CASES:
        found = results.get("rows", {}).get(case, {}).get(way)
        yield found[:3] if found else None


TABLES = {
    "released": SiteTable(
        "python -m benchmarks.accuracy released",
        ("method", *map(str, _LENGTHS), "8000, published"), _RELEASED, _released_cells,
        best="columns", digits=(3, 3, 3, 3, 3, 2), files=("accuracy_released",),
    ),
    "observation": SiteTable(
        "python -m benchmarks.accuracy observation",
        ("condition", "default", "as state", "ridge VAR", "`rdcm`", "intervals hold",
         "gain / delays / noise taken"),
        _OBSERVATION, _observation_cells, best="rows", digits=(3, 3, 3, 3, 2, 0),
        files=("accuracy_observation",),
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
    "coverage": SiteTable(
        "python -m benchmarks.coverage",
        ("", "400 samples", "1600", "8000", "p < .05, no connections"), _COVERAGE,
        partial(_full_cells, sizes={"n_seeds": 20}), best="", digits=(3, 3, 3, 3),
        files=("coverage",),
    ),
    "inference_null": SiteTable(
        "python -m benchmarks.inference",
        ("", "largest t", "NBS", "TFNBS", "FDR", "pairs of networks"), _INFERENCE_NULL,
        partial(_full_cells, sizes={"n_null": 500}, section="null"), best="",
        digits=(3, 3, 3, 3, 3), files=("inference",),
    ),
    "inference_power": SiteTable(
        "python -m benchmarks.inference",
        ("effect (SD)", "any, largest t", "any, NBS", "any, TFNBS", "edges, largest t",
         "edges, NBS", "edges, TFNBS", "reversed edges, NBS"), _INFERENCE_POWER,
        partial(_full_cells, sizes={"n_power": 100}, section="power", n_cells=7), best="",
        digits=(2, 2, 2, 2, 2, 2, 3), files=("inference",),
    ),
    "group_null": SiteTable(
        "python -m benchmarks.group_null --n-sets 504 --n-pools 12",
        ("null, test", "max-T", "NBS", "TFNBS", "q", "networks, max-T",
         "out-strength of regions, q"), _GROUP_NULL,
        partial(_full_cells, sizes={"n_sets": 504}), best="", digits=(2, 2, 2, 2, 2, 2),
        files=("group_null",),
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
    "inference_contrasts": SiteTable(
        "python -m benchmarks.inference",
        ("design", "maps, q", "largest t", "without prior, q", "largest t", "in proportion, q",
         "largest t"), _CONTRASTS,
        partial(_full_cells, sizes={"n_sets": 100}, section="null"), best="",
        digits=(2, 2, 2, 2, 2, 2), files=("inference_contrasts",),
    ),
    "session_power": SiteTable(
        "python -m benchmarks.session_power", ("design", "8 subjects", "12", "20"),
        _SESSION_POWER, _session_cells, best="", digits=(2, 2, 2), files=("session_power",),
    ),
    "pretraining": SiteTable(
        "python -m benchmarks.pretraining",
        ("system, regions, subjects, samples", "alone", "shrunk", "group surrogate for all",
         "deviations, alone", "deviations, shrunk"), _PRETRAINING,
        partial(_full_cells, section="rows", n_cells=5), best="", digits=(3, 3, 3, 3, 3),
        files=("pretraining",),
    ),
    **{
        name: SiteTable(
            f"python -m benchmarks.{command}; python -m benchmarks.{command.split()[0]} fit",
            ("grade", "promise", "maps", "kept", "mean r / of the antisymmetric part", "`rnn`",
             "`var`", "`ou`", "`neuromatch`", "`wbm`", "kept, delays below SD 0.5 s",
             "larger delays"),
            _GRADES, partial(_full_cells, section=section), best="",
            digits=(0, 0, 2, 2, 0, 0, 0, 0, 0, 2, 2), files=(file,),
        )
        for name, section, command, file in (
            ("grades", "table", "expected simulate 1800", "grades_kept"),
            ("grades_fresh", "fresh", "expected simulate 2000", "grades_kept"),
            ("grades_shrunk", "table", "expected_shrunk simulate 300", "grades_kept_shrunk"),
        )
    },
    "grade_designs": SiteTable(
        "python -m benchmarks.grades",
        ("regions, TR, system", *(f"{minutes} min" for minutes in _MINUTES)), _DESIGNS,
        _design_cells, best="", digits=(0, 0, 0, 0), files=("grades",),
    ),
    "subject_maps": SiteTable(
        "python -m benchmarks.subject_maps", ("map", *_SUBJECT_MAPS_CASES.values()),
        _SUBJECT_MAPS, _subject_map_cells, best="", digits=((3, 3, 1),) * 3,
        files=("subject_maps",),
    ),
}  # fmt: skip


def _mean(values: Sequence[float], n_systems: int) -> float | None:
    """Return the mean over systems; None unless all of the systems of a table were computed."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if len(values) == n_systems and finite else None


def fill(
    table: SiteTable, results: Results, earlier: Mapping[str, Sequence[Cell]]
) -> dict[str, Any]:
    """Return the content of a data file.

    Parameters
    ----------
    table
        The table.
    results
        Scores by section and method, or by condition and method.
    earlier
        Cells of the earlier data file, by the name of the row.
    """
    rows = {}
    for key, name in table.rows.items():
        n_cells = len(table.columns) - 1
        found = list(table.cells(results, key)) or [None] * n_cells
        before = earlier.get(name, [None] * n_cells)
        rows[name] = [
            old if new is None else _rounded(new) for new, old in zip(found, before, strict=True)
        ]
    return {
        "made by": f"{table.command}; python -m benchmarks.site",
        "columns": list(table.columns),
        "best": table.best,
        "digits": [each if isinstance(each, int) else list(each) for each in table.digits],
        "rows": rows,
    }


def _rounded(cell: Cell) -> Cell:
    if isinstance(cell, float):
        return round(cell, _DIGITS)
    if cell is None or isinstance(cell, str):
        return cell
    return [None if value is None else round(value, _DIGITS) for value in cell]


def main() -> int:
    """Write the data files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    DATA.mkdir(exist_ok=True)
    for name, table in TABLES.items():
        files = [folder / f"{file}.json" for file in table.files]
        results: dict[str, Any] = {}
        for file in filter(Path.is_file, files):
            results |= json.loads(file.read_text(encoding="utf-8"))
        path = DATA / f"{name}.json"
        earlier = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else {}
        content = fill(table, results, earlier)
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
