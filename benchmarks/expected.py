"""Expected accuracy of a result, predicted from its quality metrics.

usage: python -m benchmarks.expected simulate [N] [--n-procs P]
       python -m benchmarks.expected fit

``simulate`` draws N random systems (type, size, length, TR, coupling and observation model),
infers their EC with the default settings, and saves quality metrics and true accuracy in
``benchmarks/results/expected.jsonl``; it resumes where it was interrupted. ``fit`` checks the
prediction on types of systems that were left out, and writes ``npi_bids/data/expected.json`` from
the first 1800 draws. Draws from number 1800 on test how often the grades keep their promises.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import RESULTS, save, show
from npi_bids import __version__
from npi_bids.assessment.expected_accuracy import (
    TARGETS,
    AccuracyTable,
    error_quantiles,
    extract_figures,
    load_shipped_table,
    look_up_errors,
    predict,
)
from npi_bids.assessment.grades import NOTHING, PROMISES, grade
from npi_bids.assessment.settings import VerdictSettings
from npi_bids.assessment.verdict import judge
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import NPIError
from npi_bids.inference import ec_of_runs
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import Array, Quality
from npi_bids.simulate.observation import ObserveSettings, as_runs, observe
from npi_bids.simulate.systems import SystemSettings, simulate
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.training import threads

ROWS = RESULTS / "expected.jsonl"
_DATA = Path(__file__).parents[1] / "npi_bids" / "data"
# Draws from this number on are not in the table: they test the grades, whose limits were set on
# it.
N_TABLE = 1800
_KINDS = ("rnn", "rnn", "rnn", "var", "ou", "ou", "neuromatch", "wbm", "wbm")
# Weakest and strongest coupling of each type of system, relative to its default.
COUPLING = {
    "rnn": (0.2, 2.5),
    "var": (0.15, 1.3),
    "ou": (0.15, 1.3),
    "neuromatch": (0.5, 4.0),
    "wbm": (0.3, 1.1),
}
_MOST = 60_000  # samples times regions, so that one draw takes seconds


# Type, settings, observation model, runs and samples per run.
Draw = tuple[str, SystemSettings, ObserveSettings, int, int]


def draw(number: int) -> Draw:
    """Return type, settings, observation model, runs and samples per run of one draw."""
    rng = np.random.default_rng([2026, number])
    system_type = _KINDS[number % len(_KINDS)]
    n_regions = int(rng.choice([10, 15, 20, 20, 30, 50]))
    n_samples = int(min(np.exp(rng.uniform(np.log(120), np.log(6000))), _MOST / n_regions))
    n_runs = int(rng.integers(1, 5)) if n_samples > 600 else 1
    low, high = COUPLING[system_type]
    tr = {"rnn": np.exp(rng.uniform(np.log(0.4), np.log(3))), "wbm": rng.choice([0.72, 1.0, 2.0])}
    system = SystemSettings(
        n_regions=n_regions,
        coupling=float(np.exp(rng.uniform(np.log(low), np.log(high)))),
        tr=round(float(tr.get(system_type, np.exp(rng.uniform(np.log(0.5), np.log(2.5))))), 2),
        seed=number,
    )
    effects = draw_effects(rng, n_samples // n_runs) if rng.random() < 0.6 else {}
    observation = ObserveSettings(**effects)
    return system_type, system, observation, n_runs, n_samples // n_runs


def draw_effects(rng: np.random.Generator, n_samples: int) -> dict[str, Any]:
    """Return randomly drawn observation effects, each with its own probability."""
    effects: dict[str, Any] = {}
    for name, chance, most in (
        ("hrf_delay_sd", 0.3, 1.5),
        ("measurement_noise", 0.4, 1.5),
        ("drift", 0.15, 0.5),
        ("global_noise", 0.25, 1.0),
        ("unobserved", 0.25, 0.5),
        ("missing", 0.2, 0.4),
    ):
        magnitude = float(rng.uniform(0, most))
        if rng.random() < chance:
            effects[name] = magnitude
    if rng.random() < 0.2 and n_samples > 300:
        effects["decimate"] = int(rng.integers(2, 4))
    if rng.random() < 0.25:
        effects |= {"filter_low": 0.01, "filter_high": float(rng.choice([0.1, 0.15, 0.25]))}
    return effects


def one(number: int) -> dict[str, Any]:
    """Simulate and infer one draw; return its settings, quality metrics and accuracy."""
    return infer_draw(number, draw(number), seed=2027)


def infer_draw(number: int, drawn: Draw, *, seed: int) -> dict[str, Any]:
    """Simulate and infer a system; ``seed`` is that of what its observation adds."""
    system_type, system, observation, n_runs, n_samples = drawn
    row: dict[str, Any] = {"number": number, "kind": system_type, "system": asdict(system)}
    row |= {"seen": asdict(observation), "n_runs": n_runs, "n_samples": n_samples}
    started = time.monotonic()
    with threads(1):
        try:
            simulation = simulate(system_type, system, n_runs, n_samples)
            rng = np.random.default_rng([seed, number])
            observed = observe(simulation.series, simulation.tr, observation, rng)
            truth = simulation.truth[np.ix_(observed.recorded, observed.recorded)]
            labels = tuple(np.array(simulation.labels)[observed.recorded])
            result = ec_of_runs(
                as_runs(observed, labels),
                train=TrainSettings(device="cpu"),
                perturb=PerturbSettings(),
            )
        except NPIError as error:
            return row | {"error": str(error)}
    matrix = result.measures["npi"].matrix
    return row | {
        "r": pearson(matrix, truth),
        "r_antisymmetric": pearson(antisymmetric(matrix), antisymmetric(truth)),
        "verdict": result.verdict.label,
        "quality": {key: float(value) for key, value in asdict(result.quality).items()},
        "seconds": round(time.monotonic() - started, 1),
    }


def read_rows(path: Path = ROWS) -> list[dict[str, Any]]:
    """Return the results that were simulated so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def simulate_all(
    n_draws: int,
    n_procs: int,
    simulate_one: Callable[[int], dict[str, Any]] = one,
    path: Path = ROWS,
) -> None:
    """Simulate the missing draws, and save each when it is complete."""
    done = {row["number"] for row in read_rows(path)}
    todo = [number for number in range(n_draws) if number not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(n_procs) as pool, path.open("a") as file:
        waiting = [pool.submit(simulate_one, number) for number in todo]
        try:
            for count, future in enumerate(as_completed(waiting), start=1):
                file.write(json.dumps(future.result()) + "\n")
                file.flush()
                sys.stderr.write(f"\r{count} of {len(todo)}")
        except BaseException:  # an unforeseen error must not wait for the remaining draws
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def fit() -> None:
    """Check the prediction on types of systems that were left out, and write the table."""
    rows = read_rows()
    table = TableOfRows([row for row in rows if row["number"] < N_TABLE], extract_figures)
    fresh = TableOfRows([row for row in rows if row["number"] >= N_TABLE], extract_figures)
    checks = table.check()
    unseen = _unseen(table.table, table.system_types, "r")
    _show_verdicts(table.rows, unseen, table.table.accuracy["r"])
    grades = check_grades(table, expect_unseen(table, table))
    if fresh.rows:
        checks["grades, fresh"] = check_grades(fresh, expect_unseen(table, fresh))
    table.write("expected.json", checks, made_by="python -m benchmarks.expected")
    save("expected_checks", {**checks, "grades": grades})


class TableOfRows:
    """The table of simulated results whose figures are all known.

    Parameters
    ----------
    rows
        Simulated results.
    extract
        Returns the figures that predict their accuracy from their quality.
    """

    def __init__(
        self, rows: list[dict[str, Any]], extract: Callable[[dict[str, float]], Array]
    ) -> None:
        rows = [row for row in rows if "r" in row]
        figures = np.array([extract(_numbers(row["quality"])) for row in rows])
        reached = {
            target: np.array([row[target] for row in rows], dtype=float) for target in TARGETS
        }
        usable = np.isfinite(figures).all(axis=1)
        usable &= np.all([np.isfinite(values) for values in reached.values()], axis=0)
        self.rows = [row for row, is_usable in zip(rows, usable, strict=True) if is_usable]
        self.table = AccuracyTable(
            figures[usable], {target: values[usable] for target, values in reached.items()}, {}
        )
        self.system_types = np.array([row["kind"] for row in self.rows])

    def check(self) -> dict[str, Any]:
        """Show and return how well the accuracy of types of systems left out is predicted."""
        checks: dict[str, Any] = {}
        columns = ("results", "r", "RMSE", "bias", "90 % coverage")
        for target in TARGETS:
            expected = _unseen(self.table, self.system_types, target)
            truth = self.table.accuracy[target]
            checks[target] = _check(self.table, self.system_types, target, expected)
            held = checks[target]["held"]
            lines = {}
            for system_type in sorted(set(self.system_types)):
                chosen = self.system_types == system_type
                lines[system_type] = _line(expected[chosen], truth[chosen])
            lines["all"] = _line(expected, truth)
            checks[target] |= {"rmse": lines["all"][2], "lines": lines}
            lines = {name: [*line, held[name]] for name, line in lines.items()}
            show(f"{target}: types left out", columns, lines)
            checks[target]["quantiles"] = error_quantiles(
                expected, truth, self.system_types
            ).tolist()
        return checks

    def write(self, name: str, checks: dict[str, Any], *, made_by: str) -> None:
        """Write the table into the package."""
        content = {
            "about": "Simulated maps: quality figures, and correlation with the true one.",
            "made by": made_by,
            "version": __version__,
            "results by kind": {
                system_type: int((self.system_types == system_type).sum())
                for system_type in sorted(set(self.system_types))
            },
            "correlation of expected and reached, kinds not seen": {
                target: round(float(checks[target]["r"]), 3) for target in TARGETS
            },
            "types": list(map(str, self.system_types)),
            "errors": {
                target: np.round(checks[target]["quantiles"], 4).tolist() for target in TARGETS
            },
            "figures": np.round(self.table.figures, 4).tolist(),
            **{
                target: np.round(values, 4).tolist()
                for target, values in self.table.accuracy.items()
            },
        }
        path = _DATA / name
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")
        print(f"written to {path} ({path.stat().st_size / 1000:.0f} kB)")


def _numbers(quality: dict[str, Any]) -> dict[str, float]:
    return {key: float("nan") if value is None else value for key, value in quality.items()}


def _without(table: AccuracyTable, left_out: Any) -> AccuracyTable:
    return AccuracyTable(
        table.figures[~left_out], {t: v[~left_out] for t, v in table.accuracy.items()}, {}
    )


def _unseen(table: AccuracyTable, system_types: Any, target: str) -> Any:
    """Return the expected accuracy of each result from a table without its type of system."""
    expected = np.full(len(system_types), np.nan)
    for system_type in set(system_types):
        out = system_types == system_type
        expected[out] = predict(_without(table, out), table.figures[out], target)
    return expected


def _check(table: AccuracyTable, system_types: Any, target: str, expected: Any) -> dict[str, Any]:
    """Return the coverage of intervals whose width derives from other types of systems only."""
    truth = table.accuracy[target]
    inside = np.zeros(len(system_types), dtype=bool)
    for system_type in set(system_types):
        out = system_types == system_type
        training_table = _without(table, out)
        errors = error_quantiles(
            _unseen(training_table, system_types[~out], target),
            training_table.accuracy[target],
            system_types[~out],
        )
        table_with_errors = AccuracyTable(
            training_table.figures, training_table.accuracy, {target: errors}
        )
        low, high = look_up_errors(table_with_errors, expected[out], target).T
        inside[out] = (truth[out] >= expected[out] + low) & (truth[out] <= expected[out] + high)
    coverage = {
        system_type: float(inside[system_types == system_type].mean())
        for system_type in set(system_types)
    }
    return {
        "r": float(np.corrcoef(expected, truth)[0, 1]),
        "held": {**coverage, "all": float(inside.mean())},
    }


def _line(expected: Any, truth: Any) -> list[float]:
    error = expected - truth
    return [len(truth), float(np.corrcoef(expected, truth)[0, 1]),
            float(np.sqrt(np.mean(error**2))), float(error.mean())]  # fmt: skip


def _show_verdicts(rows: list[dict[str, Any]], expected: Any, truth: Any) -> None:
    """Show the verdicts of the results when their type of system is left out."""
    settings = VerdictSettings()
    accuracy_by_verdict: dict[str, list[float]] = {"pass": [], "caution": [], "fail": []}
    for row, value, reached in zip(rows, expected, truth, strict=True):
        quality = Quality(**{**_numbers(row["quality"]), "expected_r": float(value)})  # type: ignore[arg-type]
        accuracy_by_verdict[judge(quality, settings).label].append(float(reached))
    lines = {
        label: [len(r), float(np.mean(r)), float(np.min(r)), sum(x < 0.4 for x in r)]
        for label, r in accuracy_by_verdict.items()
        if r
    }
    show("Verdicts of types left out", ("results", "mean r", "lowest r", "r < .4"), lines)


def expect_unseen(table: TableOfRows, queries: TableOfRows) -> dict[str, Array]:
    """Return the accuracy of results by target that other types of systems lead to expect."""
    return _expect_from_other_types(table.table, table.system_types, queries)


def expect_from_shipped(queries: TableOfRows) -> dict[str, Array]:
    """Return the same from the table of the package."""
    content = json.loads((_DATA / "expected.json").read_text(encoding="utf-8"))
    return _expect_from_other_types(load_shipped_table(), np.array(content["types"]), queries)


def _expect_from_other_types(
    table: AccuracyTable, system_types: Any, queries: TableOfRows
) -> dict[str, Array]:
    expected = {target: np.full(len(queries.rows), np.nan) for target in TARGETS}
    for system_type in set(queries.system_types):
        known = _without(table, system_types == system_type)
        out = queries.system_types == system_type
        for target in TARGETS:
            expected[target][out] = predict(known, queries.table.figures[out], target)
    return expected


def check_grades(table: TableOfRows, expected: dict[str, Array]) -> dict[str, Any]:
    """Show and return how often each grade keeps its promise, types of systems left out.

    Returns
    -------
    dict
        Of the connections and of the direction, by grade: number of results, means of r and of
        r of the antisymmetric part, number of promises kept, results and promises kept of each
        type of system, and the share kept where delays are smaller and larger than 0.5 s.
    """
    settings = VerdictSettings()
    names: dict[str, list[str]] = {"connections": [], "direction": []}
    for row, *values in zip(table.rows, *(expected[target] for target in TARGETS), strict=True):
        named = {f"expected_{target}": float(x) for target, x in zip(TARGETS, values, strict=True)}
        quality = Quality(**{**_numbers(row["quality"]), **named})  # type: ignore[arg-type]
        grades = grade(quality, judge(quality, settings), settings)
        names["connections"].append(grades.connections)
        names["direction"].append(grades.direction)
    large = np.array([row["seen"].get("hrf_delay_sd", 0.0) >= 0.5 for row in table.rows])
    promised = {promise.grade: promise.reached for promise in PROMISES}
    found: dict[str, Any] = {}
    for part, target in zip(names, TARGETS, strict=True):
        by_result = np.array(names[part])
        found[part] = {
            name: _count_kept(table, by_result == name, large, target, promised.get(name))
            for name in (*promised, NOTHING)
        }
        lines = {
            name: [counts["results"], *counts["means"], counts["kept"]]
            for name, counts in found[part].items()
        }
        columns = ("results", "mean r", "mean r antisymmetric", "kept")
        show(f"Grades of the {part}, types left out", columns, lines)
    return found


def _count_kept(
    table: TableOfRows, has_grade: Any, large_delays: Any, target: str, promise: float | None
) -> dict[str, Any]:
    """Return how often a grade keeps its promise; ``kept`` is NaN where nothing is promised."""
    kept = table.table.accuracy[target] >= (np.inf if promise is None else promise)
    types = sorted(set(table.system_types))
    return {
        "promise": promise,
        "results": int(has_grade.sum()),
        "means": [_mean(table.table.accuracy[each][has_grade]) for each in TARGETS],
        "kept": _mean(kept[has_grade]) if promise is not None else float("nan"),
        "by type": {
            name: [int((kept & at).sum()), int(at.sum())]
            for name in types
            for at in [has_grade & (table.system_types == name)]
        },
        "by delays": [_mean(kept[has_grade & at]) for at in (~large_delays, large_delays)],
    }


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def main() -> int:
    """Run the requested part."""
    return run(sys.argv[1:], __doc__ or "", simulate_all, fit)


def run(
    argv: list[str],
    usage: str,
    simulate_draws: Callable[[int, int], None],
    fit_table: Callable[[], None],
) -> int:
    """Simulate or fit, as the arguments say."""
    if argv[:1] == ["fit"]:
        fit_table()
        return 0
    if argv[:1] == ["simulate"]:
        n_procs = int(argv[argv.index("--n-procs") + 1]) if "--n-procs" in argv else 1
        simulate_draws(int(argv[1]) if len(argv) > 1 and argv[1].isdigit() else 900, n_procs)
        return 0
    sys.stderr.write(f"{usage}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
