"""Model selection for an Ornstein-Uhlenbeck process: whitening, memory and precisions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from npi_bids.records import Array, Windows
from npi_bids.surrogates.lagged_evidence import LaggedEvidence, lagged_evidence
from npi_bids.surrogates.ou_process import COMPARISON, OU, Moments, fit_ou, pool, second_moments
from npi_bids.surrogates.pair_prior import pair_variances
from npi_bids.surrogates.ridge import fit_ridge
from npi_bids.surrogates.selection_criteria import (
    ABSENT_EVIDENCE,
    CONCENTRATION_GAIN,
    CONCENTRATIONS,
    LARGEST_PRECISION_RATIO,
    MEMORY_GAIN,
    MOST_REGIONS,
    MOST_TELLING_ERROR,
    N_STRETCHES,
    PRECISIONS,
    WHITENING_GAIN,
)

_PRECISIONS: Array = np.array(PRECISIONS)
_NEAR = 0.51  # decades between precisions that are next to each other, and a margin


class ChoicesFields(TypedDict):
    """The JSON fields of :class:`Choices`, with null for NaN."""

    whitening: Sequence[float]
    memory: Sequence[float]
    precision: Sequence[float]
    evidence: Mapping[str, float | None]
    n_windows: int
    error: float | None
    var_error: float | None
    concentration: NotRequired[float]
    var_likelihood: NotRequired[float | None]
    delay_doubt: NotRequired[float]


@dataclass(frozen=True, slots=True)
class Choices:
    """Data-driven choices, which further fits of the same subject reuse.

    Attributes
    ----------
    whitening
        Coefficients of the autoregression common to all regions that is removed first.
    memory
        Weights of each region's own earlier samples (before the most recent), the same for all.
    precision
        Prior precisions of the symmetric and the antisymmetric part of the drift.
    evidence
        Evidence of lagged influence in the original signals.
    n_windows
        Number of windows on which the choices were made.
    error, var_error
        Held-out mean squared error with these choices, and that of a VAR of one lag by ridge
        regression with the same memory, on the same stretches.
    concentration
        Share of the prior variance of a pair of regions that follows its partial correlation
        (:mod:`~npi_bids.surrogates.pair_prior`).
    var_likelihood
        Log likelihood of held-out samples under the VAR over that under the process (nats per
        sample of a region); NaN where errors of prediction tell the two apart.
    delay_doubt
        Root mean square of the delays of the regions, in samples, that the data do not exclude
        and the process does not model.
    """

    whitening: tuple[float, ...]
    memory: tuple[float, ...]
    precision: tuple[float, float]
    evidence: LaggedEvidence
    n_windows: int = 0
    error: float = float("nan")
    var_error: float = float("nan")
    concentration: float = 0.0
    var_likelihood: float = float("nan")
    delay_doubt: float = 0.0

    @classmethod
    def from_fields(cls, fields: ChoicesFields) -> Choices:
        """Restore choices from their JSON fields; null is NaN."""
        return cls(
            whitening=tuple(fields["whitening"]),
            memory=tuple(fields["memory"]),
            precision=(float(fields["precision"][0]), float(fields["precision"][1])),
            evidence=LaggedEvidence(
                **{k: _parse_number(v) for k, v in fields["evidence"].items()}
            ),
            n_windows=int(fields["n_windows"]),
            error=_parse_number(fields["error"]),
            var_error=_parse_number(fields["var_error"]),
            concentration=float(fields.get("concentration", 0.0)),
            var_likelihood=_parse_number(fields.get("var_likelihood")),
            delay_doubt=float(fields.get("delay_doubt", 0.0)),
        )

    @property
    def var_gain(self) -> float:
        """Share by which the held-out error of the VAR is lower."""
        return 1 - self.var_error / self.error

    def pair_variances(self, moments: Moments) -> Array | None:
        """Return the prior variance of each pair relative to their mean; None: all are equal."""
        return pair_variances(moments.past, moments.n_windows, self.concentration)


def _parse_number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def regions_of_subset(n_regions: int, n_most: int = MOST_REGIONS) -> NDArray[np.int64]:
    """Return the indices of all regions, or of an evenly spaced subset if there are many."""
    n_chosen = min(n_regions, n_most)
    return np.unique(np.linspace(0, n_regions - 1, n_chosen).astype(np.int64))


def subset_regions(windows: Windows, n_most: int = MOST_REGIONS) -> Windows:
    """Return windows of all regions, or of an evenly spaced subset if there are many."""
    n_regions = windows.target.shape[1]
    if n_regions <= n_most:
        return windows
    indices = regions_of_subset(n_regions, n_most)
    return replace(
        windows, history=windows.history[:, :, indices], target=windows.target[:, indices]
    )


def choose_model(windows: Windows, whitening: str, previous: Choices | None = None) -> Choices:
    """Choose whitening, memory and precisions, on a subset of the regions if there are many.

    Parameters
    ----------
    windows
        Z-scored signals.
    whitening
        ``auto``, ``on`` or ``off``.
    previous
        Choices made on part of the windows: whether there is whitening, and the order of the
        memory, are kept, as are possible delays, and precisions are compared from a decade above
        the chosen one.
    """
    windows = subset_regions(windows)
    delay_doubt = previous.delay_doubt if previous else 0.0
    plain = Choices((), (), (1.0, 1.0), LaggedEvidence(np.nan, np.nan), delay_doubt=delay_doubt)
    evidence = _evidence(windows, plain)
    absent = max(evidence.symmetric, evidence.antisymmetric) < ABSENT_EVIDENCE
    is_whitened = bool(previous.whitening) if previous else absent
    if whitening == "on" or (whitening == "auto" and is_whitened):
        plain = replace(plain, whitening=_fit_common_autoregression(windows))
    remaining = _evidence(windows, plain) if plain.whitening else evidence
    ratio = max(remaining.symmetric - 1, 1e-2) / max(remaining.antisymmetric - 1, 1e-3)
    ratio = float(np.clip(ratio, 1.0, LARGEST_PRECISION_RATIO))
    plain = replace(plain, precision=(1.0, ratio), evidence=evidence, n_windows=len(windows))
    parts = [windows.take(rows) for rows in time_stretches(len(windows))]
    if previous is None:
        chosen = _choose_memory(parts, plain)
    else:
        precisions = _below(10 * previous.precision[0])
        _, chosen = _least_error(parts, plain, len(previous.memory), precisions)
    if chosen.error > MOST_TELLING_ERROR:
        chosen = _most_likely(parts, chosen)
    else:  # With part of the windows the gain is often not clear yet.
        chosen = _concentrate(parts, chosen)
    memory = fit_memory([windows], len(chosen.memory))
    var_error, var_likelihood = _compare_var(parts, chosen)
    return replace(chosen, memory=memory, var_error=var_error, var_likelihood=var_likelihood)


def _choose_memory(parts: list[Windows], plain: Choices) -> Choices:
    """Choose the order of the memory, and the precision."""
    error, chosen = _least_error(parts, plain, 0, _PRECISIONS)
    if plain.whitening:
        return chosen
    symmetric = chosen.precision[0]
    orders = range(1, parts[0].n_lags)
    longer = [_least_error(parts, plain, order, np.array([symmetric]))[0] for order in orders]
    if longer and min(longer) < (1 - MEMORY_GAIN) * error:
        order = orders[int(np.argmin(longer))]
        _, chosen = _least_error(parts, plain, order, _below(10 * symmetric))
    return chosen


def _below(precision: float) -> Array:
    """Return the precisions that are compared, up to one of them."""
    rounding = 1.0001
    precisions: Array = _PRECISIONS[rounding * precision >= _PRECISIONS]
    return precisions


def least_held_out_error(windows: Windows, choices: Choices) -> float:
    """Return the held-out error of the process or of the VAR, whichever predicts better.

    Parameters
    ----------
    windows
        Z-scored signals of some of the regions on which the choices were made; how strong the
        prior has to be depends on their number.
    choices
        Choices to keep, except for a step of the precisions.
    """
    parts = [windows.take(rows) for rows in time_stretches(len(windows))]
    symmetric, plain = choices.precision[0], _relative(choices)
    near = _PRECISIONS[np.abs(np.log10(_PRECISIONS / symmetric)) < _NEAR]
    error, _ = _least_error(parts, plain, len(choices.memory), near)
    return min(error, _compare_var(parts, choices)[0])


def _relative(choices: Choices) -> Choices:
    """Return choices with precisions relative to that of the symmetric part."""
    symmetric, antisymmetric = choices.precision
    return replace(choices, precision=(1.0, antisymmetric / symmetric))


def _evidence(windows: Windows, choices: Choices) -> LaggedEvidence:
    return lagged_evidence(*make_pairs(windows, choices), windows.position)


def time_stretches(n_windows: int) -> list[slice]:
    """Return consecutive stretches of windows, every second of which is held out in turn."""
    bounds = np.linspace(0, n_windows, N_STRETCHES + 1).astype(int)
    return [slice(a, b) for a, b in pairwise(bounds)]


def _least_error(
    parts: list[Windows], plain: Choices, order: int, precisions: Array
) -> tuple[float, Choices]:
    """Return the lowest held-out error and the choices that reach it.

    Precisions go from strong to weak, each fit starting from the one before, until two in a row
    are worse than the best.
    """
    best, chosen, worse = np.inf, plain, 0
    for precision, folds in _fit_folds(parts, plain, order, precisions):
        error = _mean_error(folds)
        if error < best:
            best, worse = error, 0
            chosen = replace(plain, precision=precision, memory=(0.0,) * order, error=error)
        elif (worse := worse + 1) == 2:
            break
    return best, chosen


def _most_likely(parts: list[Windows], chosen: Choices) -> Choices:
    """Return the choices with the precisions of the highest held-out likelihood.

    Where hardly anything of a sample is predicted from the last one, because regions forget within
    a sample, errors of prediction do not tell how strong connections are; the covariance of the
    innovations, which the likelihood includes, does.
    """
    plain, order, best = _relative(chosen), len(chosen.memory), np.inf
    for precision, folds in _fit_folds(parts, plain, order, _PRECISIONS):
        value = sum(
            test.negative_log_likelihood(process.transition, process.innovation)
            for test, process in folds
        )
        if value < best:
            best = value
            chosen = replace(chosen, precision=precision, error=_mean_error(folds))
    return chosen


def _fit_folds(
    parts: list[Windows], plain: Choices, order: int, precisions: Array
) -> Iterator[tuple[tuple[float, float], list[tuple[Moments, OU]]]]:
    """Yield precisions, and the test moments and the fit of each fold with them.

    Each fit starts from the one before.
    """
    folds = [_fold_moments(parts[1 - fold :: 2], parts[fold::2], plain, order) for fold in (0, 1)]
    variances = [plain.pair_variances(train) for train, _ in folds]
    fits: list[OU | None] = [None, None]
    for symmetric in precisions:
        precision = (float(symmetric), float(symmetric) * plain.precision[1])
        fits = [
            fit_ou(train, precision, start, COMPARISON, variances=relative)
            for (train, _), start, relative in zip(folds, fits, variances, strict=True)
        ]
        yield precision, [(test, fit) for (_, test), fit in zip(folds, fits, strict=True) if fit]


def _mean_error(folds: list[tuple[Moments, OU]]) -> float:
    """Return the held-out error of fits, mean over folds."""
    return sum(test.error(process.transition) / 2 for test, process in folds)


def _concentrate(parts: list[Windows], chosen: Choices) -> Choices:
    """Let the prior variance of pairs follow partial correlations if held-out data ask for it.

    A first look at the smallest concentration, with the precision of equal variances, spares the
    search in systems in which all regions are connected.
    """
    symmetric, relative = chosen.precision[0], _relative(chosen)
    order = len(chosen.memory)
    best = chosen
    first = replace(relative, concentration=CONCENTRATIONS[0])
    if _least_error(parts, first, order, np.array([symmetric]))[0] >= chosen.error:
        return chosen
    near = symmetric * 10 ** np.array([0.5, 0.0, -0.5])
    for concentration in CONCENTRATIONS:
        candidate = replace(relative, concentration=concentration)
        error, candidate = _least_error(parts, candidate, order, near)
        if error >= best.error:
            break
        best = candidate
    return best if best.error < (1 - CONCENTRATION_GAIN) * chosen.error else chosen


def _compare_var(parts: list[Windows], choices: Choices) -> tuple[float, float]:
    """Return the held-out error, and likelihood, of a ridge VAR of one lag with the same memory.

    The error is infinite after whitening, which is used if past samples of other regions are
    uninformative. The likelihood is that over the process, NaN where errors tell the two apart;
    with fewer training windows than regions the VAR has no covariance, and is not likely.
    """
    if choices.whitening:
        return math.inf, math.nan
    errors, gains = [], []
    for fold in (0, 1):
        train, test = parts[1 - fold :: 2], parts[fold::2]
        fold_choices = replace(choices, memory=fit_memory(train, len(choices.memory)))
        sides = [[make_pairs(part, fold_choices) for part in side] for side in (train, test)]
        (past, future), (later, outcome) = (
            [np.concatenate(arrays) for arrays in zip(*side, strict=True)] for side in sides
        )
        fitted = fit_ridge(past, future)
        errors.append(float(np.mean((later @ fitted.weights + fitted.offset - outcome) ** 2)))
        if choices.error > MOST_TELLING_ERROR:
            covariance = fitted.residual.T @ fitted.residual / len(past)
            process = fit_ou(second_moments(past, future), choices.precision, None, COMPARISON)
            moments = second_moments(later, outcome)
            gain = moments.negative_log_likelihood(process.transition, process.innovation)
            gain -= moments.negative_log_likelihood(fitted.weights, covariance)
            gains.append(gain / later.shape[1])
    return float(np.mean(errors)), float(np.mean(gains)) if gains else math.nan


def _fold_moments(
    train: list[Windows], test: list[Windows], plain: Choices, order: int
) -> tuple[Moments, Moments]:
    """Return training and test moments, with the memory fitted to the training part."""
    choices = replace(plain, memory=fit_memory(train, order))
    pooled = [
        pool([second_moments(*make_pairs(part, choices)) for part in side])
        for side in (train, test)
    ]
    return pooled[0], pooled[1]


def make_pairs(windows: Windows, choices: Choices) -> tuple[Array, Array]:
    """Return most recent samples and targets after removal of whitening or memory terms."""
    past, future = windows.history[:, -1], windows.target
    for lag, weight in enumerate(choices.whitening, start=1):
        future = future - weight * windows.history[:, -lag]
        past = past - weight * windows.history[:, -lag - 1]
    for lag, weight in enumerate(choices.memory, start=2):
        future = future - weight * windows.history[:, -lag]
    return past, future


def _fit_common_autoregression(windows: Windows) -> tuple[float, ...]:
    """Fit one autoregression to all regions, of the longest order that lowers the error enough."""
    best = float(np.mean(windows.target**2))
    coefficients: tuple[float, ...] = ()
    for order in range(1, windows.n_lags):
        lagged = np.stack(
            [windows.history[:, -lag].ravel() for lag in range(1, order + 1)], axis=1
        )
        target = windows.target.ravel()
        weights = np.linalg.lstsq(lagged, target, rcond=None)[0]
        error = float(np.mean((target - lagged @ weights) ** 2))
        if error > (1 - WHITENING_GAIN) * best:
            break
        best, coefficients = error, tuple(float(weight) for weight in weights)
    return coefficients


def fit_memory(parts: list[Windows], order: int) -> tuple[float, ...]:
    """Fit common weights of earlier samples after regressing out the most recent sample."""
    if not order:
        return ()
    history = np.concatenate([part.history for part in parts])
    target = np.concatenate([part.target for part in parts])
    recent = history[:, -1]
    energy = np.maximum((recent**2).sum(axis=0), 1e-12)

    def remove_recent(signal: Array) -> Array:
        residual: Array = (signal - recent * ((recent * signal).sum(axis=0) / energy)).ravel()
        return residual

    lagged = np.stack([remove_recent(history[:, -lag]) for lag in range(2, order + 2)], axis=1)
    weights = np.linalg.lstsq(lagged, remove_recent(target), rcond=None)[0]
    return tuple(float(weight) for weight in weights)
