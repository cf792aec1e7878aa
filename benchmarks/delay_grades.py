"""How often grades keep their promise where regions have delays, or might have them.

usage: python -m benchmarks.delay_grades simulate [N] [--n-procs P]
       python -m benchmarks.delay_grades fit

``simulate`` draws N random systems of 8 to 30 regions and N / 4 of 5 to 9 regions, with 150 to
3000 samples; two thirds have regional delays of SD 0.5 to 1.5 s. It infers their EC with the
default settings, and saves quality metrics and true accuracy in ``benchmarks/results``; it resumes
where it was interrupted. ``fit`` counts the promises that are kept; the accuracy is expected by
the table of the package without the type of the system. Limits of the grades were set on draws
below number 96, so that those from there on test them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.expected import (
    COUPLING,
    Draw,
    TableOfRows,
    draw_effects,
    expect_from_shipped,
    infer_draw,
    read_rows,
    run,
    simulate_all,
)
from benchmarks.table import RESULTS, save, show
from npi_bids.assessment.expected_accuracy import TARGETS, extract_figures
from npi_bids.assessment.grades import PROMISES, grade
from npi_bids.assessment.settings import VerdictSettings
from npi_bids.assessment.verdict import judge
from npi_bids.records import Grades, Quality
from npi_bids.simulate.observation import ObserveSettings
from npi_bids.simulate.systems import SystemSettings
from npi_bids.surrogates.selection_criteria import MIN_OBSERVATION_REGIONS

ROWS, ROWS_FEW = RESULTS / "delay_grades.jsonl", RESULTS / "delay_grades_few.jsonl"
SEED, SEED_FEW = 3026, 4026  # of the draws, with a later one for what is observed
_REGIONS, _REGIONS_FEW = (8, 10, 12, 15, 20, 20, 30), (5, 6, 7, 8, 9)
N_CHOSEN = 96  # draws on which limits were set
_TYPES = ("rnn", "ou", "var", "rnn", "ou", "neuromatch")
_MOST = 20_000  # samples times regions
_LEAST_COUPLING = 0.4  # of the range of expected accuracy, so that upper grades occur
COLUMNS = ("before: maps", "kept", "now: maps", "kept")


def draw(number: int, *, few: bool = False) -> Draw:
    """Return type, settings, observation model, runs and samples per run of one draw."""
    rng = np.random.default_rng([SEED_FEW if few else SEED, number])
    system_type = _TYPES[number % len(_TYPES)]
    n_regions = int(rng.choice(_REGIONS_FEW if few else _REGIONS))
    n_samples = int(min(np.exp(rng.uniform(np.log(150), np.log(3000))), _MOST / n_regions))
    low, high = COUPLING[system_type]
    low = low * (high / low) ** _LEAST_COUPLING
    tr_of_rnn = np.exp(rng.uniform(np.log(0.4), np.log(3)))
    coupling = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    tr_of_others = np.exp(rng.uniform(np.log(0.5), np.log(2.5)))
    system = SystemSettings(
        n_regions=n_regions,
        coupling=coupling,
        tr=round(float(tr_of_rnn if system_type == "rnn" else tr_of_others), 2),
        seed=(40_000 if few else 30_000) + number,
    )
    effects = draw_effects(rng, n_samples) if rng.random() < 0.6 else {}
    effects.pop("hrf_delay_sd", None)
    if rng.random() < 2 / 3:
        effects["hrf_delay_sd"] = float(rng.uniform(0.5, 1.5))
    return system_type, system, ObserveSettings(**effects), 1, n_samples


def one(number: int, *, few: bool = False) -> dict[str, Any]:
    """Simulate and infer one draw; return its settings, quality metrics and accuracy."""
    seed = SEED_FEW if few else SEED
    return infer_draw(number, draw(number, few=few), seed=seed + 1)


def simulate_draws(n_draws: int, n_procs: int) -> None:
    """Simulate the missing draws."""
    simulate_all(n_draws, n_procs, one, ROWS)
    simulate_all(n_draws // 4, n_procs, partial(one, few=True), ROWS_FEW)


def check() -> None:
    """Show how often the grades keep their promise, before and with what they ask of delays."""
    checks, rows = {}, read_rows(ROWS)
    for name, chosen in (
        ("chosen on", [row for row in rows if row["number"] < N_CHOSEN]),
        ("further", [row for row in rows if row["number"] >= N_CHOSEN]),
        ("few regions", read_rows(ROWS_FEW)),
    ):
        checks[name] = count_promises(TableOfRows(chosen, extract_figures))
        show(f"Promises kept, {name} ({len(chosen)} draws)", COLUMNS, checks[name])
    save("delay_grades", checks)


def count_promises(table: TableOfRows) -> dict[str, list[float]]:
    """Return the number of maps with each grade and how many keep it, before and now."""
    delayed = np.array([row["seen"]["hrf_delay_sd"] > 0 for row in table.rows])
    qualities = list(_expect(table))
    grades = [[_grade(each) for each in qualities], [_grade(_forget(each)) for each in qualities]]
    lines = {}
    for part, target in zip(("connections", "direction"), TARGETS, strict=True):
        for promise in PROMISES:
            kept = table.table.accuracy[target] >= promise.reached
            for name, chosen in (("no delays", ~delayed), ("delays", delayed)):
                cells: list[float] = []
                for graded in reversed(grades):
                    has = chosen & [getattr(each, part) == promise.grade for each in graded]
                    cells += [int(has.sum()), int((kept & has).sum())]
                lines[f"{part}: {promise.grade}, {name}"] = cells
    return lines


def _expect(table: TableOfRows) -> Iterator[Quality]:
    """Yield the quality of each map, its accuracy expected by other types of systems."""
    expected = expect_from_shipped(table)
    for number, row in enumerate(table.rows):
        named = {f"expected_{target}": float(expected[target][number]) for target in TARGETS}
        yield Quality(**{**row["quality"], **named})


def _grade(quality: Quality) -> Grades:
    settings = VerdictSettings()
    return grade(quality, judge(quality, settings), settings)


def _forget(quality: Quality) -> Quality:
    """Return the quality as if nothing were known of delays that are not modelled."""
    return replace(
        quality,
        n_regions=max(quality.n_regions, MIN_OBSERVATION_REGIONS),
        delay_evidence=float("nan"),
        expected_delay_evidence=float("nan"),
    )


def main() -> int:
    """Run the requested part."""
    return run(sys.argv[1:], __doc__ or "", simulate_draws, check)


if __name__ == "__main__":
    sys.exit(main())
