"""Tables of the documentation on verdicts, expected accuracy and grades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.site_table import Cell, Results, SiteTable

_CALIBRATION = {
    **{f"rnn {n}": f"RNN, {n} samples" for n in (75, 150, 300, 600, 1200, 4800)},
    "rnn 4800 strong": "RNN, 4800, strong coupling",
    "rnn 600, 100 regions": "RNN, 100 regions, 600 samples",
    "rnn 4800 band-passed": "RNN, 4800, band-passed",
    "rnn 4800 delays 0.5 s": "RNN, 4800, delays of SD 0.5 s",
    "rnn 4800 delays 1 s": "RNN, 4800, delays of SD 1 s",
    "nothing connected": "no connections",
    "wbm": "whole-brain model",
    "wbm band-passed": "whole-brain model, band-passed",
    "sanchez-romero": "Sanchez-Romero, 10 runs pooled",
}
_N_CALIBRATION = 5  # networks of each system, or more
_TYPES = ("neuromatch", "ou", "rnn", "var", "wbm")
_EXPECTED = {
    "r": "r of the map",
    "r_antisymmetric": "r of its antisymmetric part",
    "r, shrunk": "r of the map, with the prior of a group",
    "r_antisymmetric, shrunk": "r of its antisymmetric part, with the prior of a group",
}
_GRADES = ("single connections", "strengths and networks", "group averages")
_PROMISES = {
    **{f"connections: {name}": name for name in (*_GRADES, "nothing")},
    **{f"direction: {name}": f"direction: {name}" for name in _GRADES},
}
_DELAY_SETS = ("chosen on", "further", "few regions")
_MANY = 25  # results from which on a share is shown instead of two counts
_DESIGNS = {
    f"{n} {tr:g} {system}": f"{n} regions, TR {tr:g} s, `{system}`"
    for n in (20, 100, 400)
    for tr in (0.8, 2.0)
    for system in ("rnn", "ou")
}
_DESIGN_MINUTES = (6, 12, 30, 60)
_SHORT = {
    "single connections": "single",
    "strengths and networks": "strengths",
    "group averages": "averages",
    "nothing": "nothing",
}


def _calibration_cells(results: Results, system: str) -> Iterator[Cell]:
    rows = results.get("rows", {}).get(system, ())
    if len(rows) < _N_CALIBRATION:
        return
    for names in (("r",), ("r_anti",), ("skill_own_history",),
                  ("r_split", "r_split_antisymmetric"), ("direction_ratio",)):  # fmt: skip
        means = [float(np.mean([row[name] for row in rows])) for name in names]
        yield means if len(means) > 1 else means[0]
    verdicts = results["verdicts"][system]
    yield " / ".join(str(verdicts.count(label)) for label in ("pass", "caution", "fail"))


def _expected_cells(results: Results, target: str) -> Iterator[Cell]:
    checks = results.get(target, {})
    if "lines" not in checks:
        return
    yield from (checks["r"], checks["rmse"], checks["held"]["all"])
    for name in _TYPES:
        _, r, _, bias = checks["lines"][name]
        yield [checks["held"][name], r, bias]


def _promise_cells(results: Results, row: str, *, section: str) -> Iterator[Cell]:
    part, _, name = row.partition(": ")
    counts = results.get(section, {}).get(part, {}).get(name)
    if counts is None:
        return
    yield "" if counts["promise"] is None else f"r of {_plain(counts['promise'])}"
    yield str(counts["results"])
    yield counts["kept"]
    yield counts["means"]
    if counts["promise"] is None:
        yield from [None] * (len(_TYPES) + 1)
        return
    yield from (_kept(*counts["by type"][system_type]) for system_type in _TYPES)
    yield counts["by delays"]


def _delay_cells(results: Results, row: str) -> Iterator[Cell]:
    """Yield promises kept, before and now, of regions without and with delays in each set."""
    for name in _DELAY_SETS:
        for delays in ("no delays", "delays"):
            cells = results.get(name, {}).get(f"{row}, {delays}")
            if cells is None:
                return
            before, kept_before, now, kept_now = cells
            yield f"{_count(kept_before, before)}; {_count(kept_now, now)}"


def _count(n_kept: int, n_results: int) -> str:
    return f"{n_kept} of {n_results}" if n_results else "none"


def _kept(n_kept: int, n_results: int) -> Cell:
    if n_results == 0:
        return "none"
    return n_kept / n_results if n_results >= _MANY else f"{n_kept} of {n_results}"


def _plain(value: float) -> str:
    return f"{value:g}".removeprefix("0")


def _design_cells(results: Results, row: str) -> Iterator[Cell]:
    """Yield r, expected r and grade of the first seed, by minutes."""
    n_regions, tr, system = row.split()
    columns: Sequence[str] = results.get("columns", ())
    rows = [dict(zip(columns, each, strict=True)) for each in results.get("rows", ())]
    found: dict[float, dict[str, Any]] = {
        each["minutes"]: each
        for each in reversed(rows)  # sorted by seed, so that the first seed remains
        if (each["system"], each["regions"], f"{each['TR']:g}") == (system, int(n_regions), tr)
    }
    for minutes in _DESIGN_MINUTES:
        each = found.get(minutes)
        yield each and (
            f"{_two(each['r'])}, {_two(each['expected r'])}: {_SHORT[each['connections']]}"
        )


def _two(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1)


TABLES = {
    "calibration": SiteTable(
        "python -m benchmarks.calibration",
        ("system", "r", "r of the antisymmetric part", "skill over own past",
         "r of halves: all / antisymmetric", "direction ratio", "pass / caution / fail"),
        _CALIBRATION, _calibration_cells, best="", digits=(2, 2, 2, 2, 1, 0),
        files=("calibration",), seeds="100 to 105",
    ),
    "expected": SiteTable(
        "python -m benchmarks.expected fit; python -m benchmarks.expected_shrunk fit",
        ("", "r of expected and actual accuracy", "RMSE", "coverage of the intervals",
         *(f"`{name}`" for name in _TYPES)), _EXPECTED, _expected_cells, best="",
        digits=(2,) * 8, files=("expected_checks", "expected_shrunk_checks"),
    ),
    **{
        name: SiteTable(
            f"python -m benchmarks.{benchmark} fit",
            ("grade", "promise", "results", "kept", "mean r: all / antisymmetric",
             *(f"`{name}`" for name in _TYPES), "delays of SD below 0.5 s / larger"), _PROMISES,
            partial(_promise_cells, section=section), best="",
            digits=(0, 0, 2, 2, 2, 2, 2, 2, 2, 2), files=(f"{benchmark}_checks",),
        )
        for name, benchmark, section in (
            ("promises", "expected", "grades"),
            ("promises_fresh", "expected", "grades, fresh"),
            ("promises_shrunk", "expected_shrunk", "grades, shrunk"),
        )
    },
    "delay_grades": SiteTable(
        "python -m benchmarks.delay_grades fit",
        ("grade, before; now", "first draws, no delays", "delays", "further draws, no delays",
         "delays", "5 to 9 regions, no delays", "delays"),
        {f"{part}: {name}": f"{part}: {name}" for part in ("connections", "direction")
         for name in _GRADES},
        _delay_cells, best="", digits=(0,) * 6, files=("delay_grades",), seeds="3026, 4026",
    ),
    "grades": SiteTable(
        "python -m benchmarks.grades --regions 20 100 400",
        ("design", *(f"{minutes} min" for minutes in _DESIGN_MINUTES)), _DESIGNS, _design_cells,
        best="", digits=(0,) * 4, files=("grades",), seeds="900",
    ),
}  # fmt: skip
