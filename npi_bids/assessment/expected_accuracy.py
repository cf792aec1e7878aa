"""Expected accuracy of a map, from simulated maps with comparable quality metrics.

The table of simulated results is made by ``python -m benchmarks.expected``, which also checks the
prediction on kinds of systems that it did not see.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from npi_bids.records import (
    Array,
    Quality,
)

TARGETS = ("r", "r_antisymmetric")
_CLIP = 0.99  # correlations beyond it are taken for it, before Fisher's transform
_NEIGHBOURS = 20
_PENALTY = 10.0  # of the ridge regression, for standardised figures
_EDGES = (0.4, 0.75)  # expected r at which the spread of the errors changes
_FAR = 1.5  # times the largest distance within the table, beyond which nothing is said


@dataclass(frozen=True, slots=True)
class Expected:
    """An accuracy: the expected correlation with the truth, and its 90 % interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, eq=False)
class AccuracyTable:
    """Simulated results: what was known of each, and how accurate it was.

    Attributes
    ----------
    figures
        Shape (n_results, n_figures), as :func:`figures_of` makes them.
    accuracy
        By target, shape (n_results,).
    errors
        By target, for each range of expected values the 5th and 95th percentile of what the truth
        was less what was expected, for kinds of systems that were not in the table; shape (3, 2).
    """

    figures: Array
    accuracy: Mapping[str, Array]
    errors: Mapping[str, Array]


def figures_of(quality: Quality | Mapping[str, float]) -> Array:
    """Return the figures that the prediction reads, on scales where they are comparable.

    NaN where a figure is missing that has no neutral value.
    """
    given = quality if isinstance(quality, Mapping) else _as_mapping(quality)
    model_fc = given["model_fc_r"]
    return np.array([
        *(_fisher(given[f"r_split{part}"]) for part in ("", "_symmetric", "_antisymmetric")),
        _log(given["samples_per_parameter"]),
        _log(given["effective_windows"]),
        _fisher(0.0 if np.isnan(model_fc) else model_fc),  # a free run that is not bounded
        _fisher(given["fc_r"]),
        given["antisymmetric_share"],
        _log(given["direction_ratio"]),
        _log(given["direction_p"] + 1e-4),
        given["skill_own_history"],
        _fisher(given["fc_r_held_out"]),
        given["r2_own_history"],
    ])  # fmt: skip


def predict(table: AccuracyTable, figures: Array, target: str) -> Array:
    """Return the expected accuracy of results: the mean of neighbours and a ridge regression.

    Parameters
    ----------
    table
        Simulated results.
    figures
        Shape (n_queries, n_figures).
    target
        One of ``TARGETS``.
    """
    known, queries = _standardised(table, figures)
    reached = np.arctanh(np.clip(table.accuracy[target], -_CLIP, _CLIP))
    distance = np.linalg.norm(queries[:, None] - known[None], axis=2)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :_NEIGHBOURS]
    weight = 1 / (np.take_along_axis(distance, nearest, axis=1) + 1e-3)
    by_neighbours = (weight * reached[nearest]).sum(axis=1) / weight.sum(axis=1)
    gram = known.T @ known + _PENALTY * np.eye(known.shape[1])
    slope = np.linalg.solve(gram, known.T @ (reached - reached.mean()))
    by_ridge = reached.mean() + queries @ slope
    expected: Array = np.tanh((by_neighbours + by_ridge) / 2)
    return expected


def expected_accuracy(quality: Quality, table: AccuracyTable | None = None) -> dict[str, Expected]:
    """Return the expected accuracy of a map by target; nothing where the table cannot tell.

    Parameters
    ----------
    quality
        What the result says of itself.
    table
        Simulated results; those that came with the program where None.
    """
    table = table or shipped_table()
    figures = figures_of(quality)[None]
    if not np.isfinite(figures).all() or _is_far(table, figures):
        return {}
    found = {}
    for target in TARGETS:
        value = float(predict(table, figures, target)[0])
        low, high = spread_of(table, np.array([value]), target)[0]
        found[target] = Expected(value, max(-1.0, value + low), min(1.0, value + high))
    return found


def spread_of(table: AccuracyTable, expected: Array, target: str) -> Array:
    """Return the 5th and 95th percentile of the error at expected values, shape (n, 2)."""
    spread: Array = table.errors[target][np.searchsorted(_EDGES, expected)]
    return spread


def error_quantiles(expected: Array, reached: Array) -> Array:
    """Return the 5th and 95th percentile of the errors in each range of expected values."""
    ranges = np.searchsorted(_EDGES, expected)
    error = reached - expected
    return np.array([
        np.quantile(error[ranges == k] if (ranges == k).sum() >= 20 else error, (0.05, 0.95))
        for k in range(len(_EDGES) + 1)
    ])  # fmt: skip


@cache
def shipped_table() -> AccuracyTable:
    """Return the table that came with the program."""
    text = (files("npi_bids.data") / "expected.json").read_text(encoding="utf-8")
    content = json.loads(text)
    return AccuracyTable(
        np.array(content["figures"], dtype=float),
        {target: np.array(content[target], dtype=float) for target in TARGETS},
        {target: np.array(content["errors"][target], dtype=float) for target in TARGETS},
    )


def _standardised(table: AccuracyTable, figures: Array) -> tuple[Array, Array]:
    mean, sd = table.figures.mean(axis=0), table.figures.std(axis=0)
    return (table.figures - mean) / sd, (figures - mean) / sd


def _is_far(table: AccuracyTable, figures: Array) -> bool:
    """Tell whether a result is unlike all that was simulated."""
    known, query = _standardised(table, figures)
    reach = np.abs(known).max(axis=0)
    outside: bool = bool((np.abs(query[0]) > _FAR * reach).any())
    return outside


def _fisher(r: float) -> float:
    return float(np.arctanh(np.clip(r, -_CLIP, _CLIP)))


def _log(x: float) -> float:
    return float(np.log(x)) if x > 0 else float("nan")


def _as_mapping(quality: Quality) -> Mapping[str, float]:
    names: Sequence[str] = tuple(Quality.__dataclass_fields__)
    return {name: float(getattr(quality, name)) for name in names}
