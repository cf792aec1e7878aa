"""Model selection for an Ornstein-Uhlenbeck process: whitening, memory and precisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypedDict

import numpy as np

from npi_bids.records import Array, Windows
from npi_bids.surrogates.lagged_evidence import LaggedEvidence, lagged_evidence
from npi_bids.surrogates.ou_process import OU, Moments, fit_ou, pool, second_moments
from npi_bids.surrogates.ridge import fit_ridge
from npi_bids.surrogates.selection_criteria import (
    ABSENT_EVIDENCE,
    COMPARISON_ITERATIONS,
    LARGEST_PRECISION_RATIO,
    MEMORY_GAIN,
    MOST_REGIONS,
    N_STRETCHES,
    PRECISIONS,
    WHITENING_GAIN,
)


class ChoicesFields(TypedDict):
    """The fields of :class:`Choices` as JSON has them; null where a number is NaN."""

    whitening: Sequence[float]
    memory: Sequence[float]
    precision: Sequence[float]
    evidence: Mapping[str, float | None]
    n_windows: int
    error: float | None
    var_error: float | None


@dataclass(frozen=True, slots=True)
class Choices:
    """What the data chose: all that a second fit of the same subject takes over.

    Attributes
    ----------
    whitening
        Coefficients of the autoregression common to all regions that is taken out first.
    memory
        Weights of each region's own earlier samples (before the most recent), the same for all.
    precision
        Of the symmetric and of the antisymmetric part of the drift.
    evidence
        Of lagged influence, in the signals as they came.
    n_windows
        How many windows made the choices.
    error, var_error
        Held-out mean squared error with these choices, and that of a VAR of one lag by ridge
        regression with the same memory, on the same stretches.
    """

    whitening: tuple[float, ...]
    memory: tuple[float, ...]
    precision: tuple[float, float]
    evidence: LaggedEvidence
    n_windows: int = 0
    error: float = float("nan")
    var_error: float = float("nan")

    @classmethod
    def from_facts(cls, facts: ChoicesFields) -> Choices:
        """Return choices from their fields, as JSON has them; null is NaN."""
        return cls(
            whitening=tuple(facts["whitening"]),
            memory=tuple(facts["memory"]),
            precision=(float(facts["precision"][0]), float(facts["precision"][1])),
            evidence=LaggedEvidence(**{k: _number(v) for k, v in facts["evidence"].items()}),
            n_windows=int(facts["n_windows"]),
            error=_number(facts["error"]),
            var_error=_number(facts["var_error"]),
        )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def regions_to_choose_on(windows: Windows) -> Windows:
    """Return windows of all regions, or of a spread subset where there are many."""
    n_regions = windows.target.shape[1]
    if n_regions <= MOST_REGIONS:
        return windows
    some = np.unique(np.linspace(0, n_regions - 1, MOST_REGIONS).astype(int))
    return replace(windows, history=windows.history[:, :, some], target=windows.target[:, some])


def choose(windows: Windows, whitening: str) -> Choices:
    """Choose whitening, memory and precisions; on some of the regions where there are many."""
    windows = regions_to_choose_on(windows)
    plain = Choices((), (), (1.0, 1.0), LaggedEvidence(np.nan, np.nan))
    evidence = _evidence(windows, plain)
    absent = max(evidence.symmetric, evidence.antisymmetric) < ABSENT_EVIDENCE
    if whitening == "on" or (whitening == "auto" and absent):
        plain = replace(plain, whitening=_common_autoregression(windows))
    shown = _evidence(windows, plain) if plain.whitening else evidence
    ratio = max(shown.symmetric - 1, 1e-2) / max(shown.antisymmetric - 1, 1e-3)
    ratio = float(np.clip(ratio, 1.0, LARGEST_PRECISION_RATIO))
    plain = replace(plain, precision=(1.0, ratio), evidence=evidence, n_windows=len(windows))
    parts = [windows.take(rows) for rows in time_stretches(len(windows))]
    error, chosen = _least_error(parts, plain, 0, PRECISIONS)
    if not plain.whitening:
        size = chosen.precision[0]
        orders = range(1, windows.n_lags)
        longer = [_least_error(parts, plain, order, np.array([size]))[0] for order in orders]
        if longer and min(longer) < (1 - MEMORY_GAIN) * error:
            near = PRECISIONS[10.001 * size >= PRECISIONS]
            _, chosen = _least_error(parts, plain, orders[int(np.argmin(longer))], near)
    memory = find_memory([windows], len(chosen.memory))
    return replace(chosen, memory=memory, var_error=_var_error(parts, chosen))


def _evidence(windows: Windows, choices: Choices) -> LaggedEvidence:
    return lagged_evidence(*pairs(windows, choices), windows.position)


def time_stretches(n_windows: int) -> list[slice]:
    """Return four stretches of time, of which every second one checks what the others teach."""
    bounds = np.linspace(0, n_windows, N_STRETCHES + 1).astype(int)
    return [slice(a, b) for a, b in pairwise(bounds)]


def _least_error(
    parts: list[Windows], plain: Choices, order: int, precisions: Array
) -> tuple[float, Choices]:
    """Return the least held-out error and the choices that reach it.

    Precisions go from strong to weak, each fit starting from the one before, until two in a row
    are worse than the best.
    """
    folds = [_fold(parts[1 - fold :: 2], parts[fold::2], plain, order) for fold in (0, 1)]
    starts: list[OU | None] = [None, None]
    best, chosen, worse = np.inf, plain, 0
    for size in precisions:
        precision = (float(size), float(size) * plain.precision[1])
        error = 0.0
        for fold, (learn, check) in enumerate(folds):
            process = fit_ou(learn, precision, starts[fold], COMPARISON_ITERATIONS)
            starts[fold] = process
            error += check.error(process.transition) / 2
        if error < best:
            best, worse = error, 0
            chosen = replace(plain, precision=precision, memory=(0.0,) * order, error=error)
        elif (worse := worse + 1) == 2:
            break
    return best, chosen


def _var_error(parts: list[Windows], choices: Choices) -> float:
    """Return the held-out error of a ridge VAR of one lag with the same memory, on the same folds.

    It is infinite after whitening, which is there because lagged samples of others say nothing.
    """
    if choices.whitening:
        return float("inf")
    errors = []
    for fold in (0, 1):
        learn, check = parts[1 - fold :: 2], parts[fold::2]
        own = replace(choices, memory=find_memory(learn, len(choices.memory)))
        sides = [[pairs(part, own) for part in side] for side in (learn, check)]
        (past, future), (later, outcome) = (
            [np.concatenate(both) for both in zip(*side, strict=True)] for side in sides
        )
        fitted = fit_ridge(past, future)
        errors.append(float(np.mean((later @ fitted.weights + fitted.offset - outcome) ** 2)))
    return float(np.mean(errors))


def _fold(
    learn: list[Windows], check: list[Windows], plain: Choices, order: int
) -> tuple[Moments, Moments]:
    """Return the moments to learn from and to check on, with memory taken from the first."""
    choices = replace(plain, memory=find_memory(learn, order))
    pooled = [
        pool([second_moments(*pairs(part, choices)) for part in side]) for side in (learn, check)
    ]
    return pooled[0], pooled[1]


def pairs(windows: Windows, choices: Choices) -> tuple[Array, Array]:
    """Return most recent samples and targets after whitening, or without what is remembered."""
    past, future = windows.history[:, -1], windows.target
    for lag, weight in enumerate(choices.whitening, start=1):
        future = future - weight * windows.history[:, -lag]
        past = past - weight * windows.history[:, -lag - 1]
    for lag, weight in enumerate(choices.memory, start=2):
        future = future - weight * windows.history[:, -lag]
    return past, future


def _common_autoregression(windows: Windows) -> tuple[float, ...]:
    """Fit one autoregression to all regions; a longer one where it lowers the error enough."""
    best = float(np.mean(windows.target**2))
    found: tuple[float, ...] = ()
    for order in range(1, windows.n_lags):
        lagged = np.stack(
            [windows.history[:, -lag].ravel() for lag in range(1, order + 1)], axis=1
        )
        target = windows.target.ravel()
        weights = np.linalg.lstsq(lagged, target, rcond=None)[0]
        error = float(np.mean((target - lagged @ weights) ** 2))
        if error > (1 - WHITENING_GAIN) * best:
            break
        best, found = error, tuple(float(weight) for weight in weights)
    return found


def find_memory(parts: list[Windows], order: int) -> tuple[float, ...]:
    """Fit common weights of earlier samples, each region's most recent sample taken out."""
    if not order:
        return ()
    history = np.concatenate([part.history for part in parts])
    target = np.concatenate([part.target for part in parts])
    recent = history[:, -1]
    energy = np.maximum((recent**2).sum(axis=0), 1e-12)

    def beyond(signal: Array) -> Array:
        left: Array = (signal - recent * ((recent * signal).sum(axis=0) / energy)).ravel()
        return left

    lagged = np.stack([beyond(history[:, -lag]) for lag in range(2, order + 2)], axis=1)
    weights = np.linalg.lstsq(lagged, beyond(target), rcond=None)[0]
    return tuple(float(weight) for weight in weights)
