"""Expected accuracy of a map, from simulated maps with comparable quality metrics.

The table of simulated results is made by ``python -m benchmarks.expected``, which also tests the
prediction on types of systems that it was not fitted to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

import numpy as np

from npi_bids.records import (
    Array,
    Quality,
)

TARGETS = ("r", "r_antisymmetric")
_CLIP = 0.99  # correlations are clipped to it before Fisher's transform
# Of the kernel ridge regression on standardised figures: the inverse of twice the squared width
# of the Gaussian kernel, for each figure of twelve, and the penalty.
_KERNEL, _PENALTY = 0.02 * 12, 0.5
# Percentile at either end of the errors of the least predictable type of system, with which the
# 90 % intervals hold in types that were left out.
_TAIL = 0.035
# Share of high frequencies of signals that are sampled too slowly to have any: below all others.
_TOO_SLOW = -0.1
_LEAST = 1e-3  # reliability of maps whose halves do not agree
_MIN_RESULTS = 15  # of a type of system in a range, for percentiles of its own
_ERROR_EDGES = (0.4, 0.75)  # limits of the ranges of expected r with separate error quantiles
# Multiple of the largest absolute value in the table, beyond which there is no prediction.
_MAX_DISTANCE = 1.5


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected correlation with the truth, and its 90 % interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, eq=False)
class AccuracyTable:
    """Simulated results: quality metrics and accuracy of each.

    Attributes
    ----------
    figures
        Shape (n_results, n_figures), from :func:`extract_figures`.
    accuracy
        By target, shape (n_results,).
    errors
        By target, lower and upper limit of the actual minus the expected accuracy in each range of
        expected values, for types of systems outside the table; shape (3, 2).
    """

    figures: Array
    accuracy: Mapping[str, Array]
    errors: Mapping[str, Array]


def extract_figures(quality: Quality | Mapping[str, float]) -> Array:
    """Return the quality metrics that enter the prediction, on comparable scales.

    NaN if a metric without a neutral value is missing.
    """
    metrics = quality if isinstance(quality, Mapping) else _as_mapping(quality)
    own_share = metrics["antisymmetric_share"]
    return np.array([
        *(_fisher(metrics[f"r_split{part}"]) for part in ("", "_symmetric", "_antisymmetric")),
        *_extract_shared(metrics),
        metrics["skill_own_history"],
        _fisher(metrics["fc_r_held_out"]),
        metrics["r2_own_history"],
        # A map without any variance correlates with nothing.
        _known(_fisher(metrics["r_unshrunk"]), otherwise=0.0),
        _known(_fisher(metrics["r_unshrunk_antisymmetric"]), otherwise=0.0),
        _known(metrics["removed_delay_sd"], otherwise=0.0),
        _known(metrics["band_share"], otherwise=1.0),
        _known(metrics["high_frequency_share"], otherwise=_TOO_SLOW),
        np.sqrt(_known(metrics["antisymmetric_share_unshrunk"], otherwise=own_share)),
    ])  # fmt: skip


def extract_shrunk_figures(quality: Quality | Mapping[str, float]) -> Array:
    """Return the same of a map that is shrunk towards that of a group.

    How the map, the map without prior, its halves and the group without the subject agree comes
    first; NaN if one of them is missing.
    """
    metrics = quality if isinstance(quality, Mapping) else _as_mapping(quality)
    agreements = ("r_halves", "r_others", "r_group", "r_unshrunk")
    ends = ("", "_antisymmetric")
    return np.array([
        *(_fisher(combined_accuracy(*(metrics[name + end] for name in agreements)))
          for end in ends),
        *(_fisher(metrics[name + end]) for name in agreements for end in ends),
        *_extract_shared(metrics),
        _fisher(metrics["fc_r_held_out"]),
        metrics["r2_own_history"],
        _known(metrics["removed_delay_sd"], otherwise=0.0),
    ])  # fmt: skip


def _extract_shared(metrics: Mapping[str, float]) -> tuple[float, ...]:
    """Return the figures of the data and of the direction, which predict both kinds of maps."""
    return (
        _log(metrics["samples_per_parameter"]),
        _log(metrics["effective_windows"]),
        _fisher(metrics["fc_r"]),
        metrics["antisymmetric_share"],
        _log(metrics["direction_ratio"]),
        _log(metrics["direction_p"] + 1e-4),
    )


def combined_accuracy(halves: float, others: float, group: float, unshrunk: float) -> float:
    """Return the correlation with the truth of a map between a subject's own and its group's.

    The reliability of the subject's own map follows from its halves (Spearman-Brown), its accuracy
    is the root of it, and that of the group's map what remains of their agreement: their errors
    are independent. The map is a weighted sum of both. Errors that both share, as those of a wrong
    observation model, are not seen.

    Parameters
    ----------
    halves
        Correlation of the subject's own maps, without prior, of both halves of the data.
    others
        Correlation of the own map and that of the group without the subject.
    group, unshrunk
        Correlations of the map with that of the group, and with the own map.
    """
    own_accuracy = np.sqrt(max(2 * halves / (1 + halves), _LEAST) if halves > 0 else _LEAST)
    group_accuracy = np.clip(others / own_accuracy, 0.0, 1.0)
    agreement = np.clip(others, -_CLIP, _CLIP)
    weights = np.linalg.solve([[1.0, agreement], [agreement, 1.0]], [unshrunk, group])
    return float(np.clip(weights @ [own_accuracy, group_accuracy], -1.0, 1.0))


def predict(table: AccuracyTable, figures: Array, target: str) -> Array:
    """Predict the accuracy of results by kernel ridge regression on their figures.

    Parameters
    ----------
    table
        Simulated results.
    figures
        Shape (n_queries, n_figures).
    target
        One of ``TARGETS``.
    """
    simulated, queries = _standardise(table, figures)
    mean, weights = _fit_kernel(table, target)
    expected: Array = np.tanh(mean + _similarity(queries, simulated) @ weights)
    return expected


@lru_cache(maxsize=2 * len(TARGETS))
def _fit_kernel(table: AccuracyTable, target: str) -> tuple[float, Array]:
    """Return the mean and the weight of each simulated result, after Fisher's transform."""
    simulated, _ = _standardise(table, table.figures)
    transformed = np.arctanh(np.clip(table.accuracy[target], -_CLIP, _CLIP))
    mean = transformed.mean()
    gram = _similarity(simulated, simulated) + _PENALTY * np.eye(len(simulated))
    weights: Array = np.linalg.solve(gram, transformed - mean)
    return float(mean), weights


def _similarity(first: Array, second: Array) -> Array:
    """Return the Gaussian kernel of two sets of standardised figures."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None]
    distance = np.maximum(squares - 2 * first @ second.T, 0.0)
    kernel: Array = np.exp(-_KERNEL / first.shape[1] * distance)
    return kernel


def expected_accuracy(quality: Quality, table: AccuracyTable | None = None) -> dict[str, Expected]:
    """Return the expected accuracy of a map by target; empty if no simulation is comparable.

    Parameters
    ----------
    quality
        Quality of the result.
    table
        Simulated results; if None, those of the package of maps with or without a group's prior.
    """
    table = table or load_shipped_table(shrunk=quality.shrunk)
    figures = (extract_shrunk_figures if quality.shrunk else extract_figures)(quality)[None]
    if not np.isfinite(figures).all() or _is_far(table, figures):
        return {}
    by_target = {}
    for target in TARGETS:
        value = float(predict(table, figures, target)[0])
        low, high = look_up_errors(table, np.array([value]), target)[0]
        by_target[target] = Expected(value, max(-1.0, value + low), min(1.0, value + high))
    return by_target


def look_up_errors(table: AccuracyTable, expected: Array, target: str) -> Array:
    """Return the lower and upper limit of the error at expected values, shape (n, 2)."""
    spread: Array = table.errors[target][np.searchsorted(_ERROR_EDGES, expected)]
    return spread


def error_quantiles(expected: Array, reached: Array, system_types: Sequence[str]) -> Array:
    """Return limits of the errors in each range of expected values, shape (n_ranges, 2).

    The lowest lower and the highest upper percentile over the types of systems: a new system is
    of none of them, and the percentiles of all together would be too narrow for the least
    predictable types.

    Parameters
    ----------
    expected, reached
        Shape (n_results,); expected and true accuracy.
    system_types
        Type of the system of each result.
    """
    ranges = np.searchsorted(_ERROR_EDGES, expected)
    error, types = reached - expected, np.asarray(system_types)
    limits = []
    for index in range(len(_ERROR_EDGES) + 1):
        inside = ranges == index
        groups = [error[inside & (types == name)] for name in np.unique(types)]
        large = [group for group in groups if len(group) >= _MIN_RESULTS]
        quantiles = np.array(
            [np.quantile(group, (_TAIL, 1 - _TAIL)) for group in large or [error]]
        )
        limits.append((quantiles[:, 0].min(), quantiles[:, 1].max()))
    return np.array(limits)


@cache
def load_shipped_table(*, shrunk: bool = False) -> AccuracyTable:
    """Return the table that is distributed with the package: of shrunken maps or of others."""
    name = "expected_shrunk.json" if shrunk else "expected.json"
    text = (files("npi_bids.data") / name).read_text(encoding="utf-8")
    content = json.loads(text)
    return AccuracyTable(
        np.array(content["figures"], dtype=float),
        {target: np.array(content[target], dtype=float) for target in TARGETS},
        {target: np.array(content["errors"][target], dtype=float) for target in TARGETS},
    )


def _standardise(table: AccuracyTable, figures: Array) -> tuple[Array, Array]:
    mean, sd = table.figures.mean(axis=0), table.figures.std(axis=0)
    return (table.figures - mean) / sd, (figures - mean) / sd


def _is_far(table: AccuracyTable, figures: Array) -> bool:
    """Return whether a result is unlike all simulated ones."""
    simulated, query = _standardise(table, figures)
    largest = np.abs(simulated).max(axis=0)
    outside: bool = bool((np.abs(query[0]) > _MAX_DISTANCE * largest).any())
    return outside


def _fisher(r: float) -> float:
    return float(np.arctanh(np.clip(r, -_CLIP, _CLIP)))


def _known(x: float, *, otherwise: float) -> float:
    """Return a figure, or its neutral value where the surrogate has no such thing."""
    return otherwise if np.isnan(x) else float(x)


def _log(x: float) -> float:
    return float(np.log(x)) if x > 0 else float("nan")


def _as_mapping(quality: Quality) -> Mapping[str, float]:
    names: Sequence[str] = tuple(Quality.__dataclass_fields__)
    return {name: float(getattr(quality, name)) for name in names}
