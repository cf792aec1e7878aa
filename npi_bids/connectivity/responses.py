"""Responses of a surrogate to perturbations: over several steps, of several regions, at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from npi_bids.connectivity.settings import SIGNS, PerturbSettings
from npi_bids.errors import InputDataError
from npi_bids.records import Array, Table
from npi_bids.surrogates.base import Surrogate
from npi_bids.wording import join_words


@runtime_checkable
class Linear(Protocol):
    """A surrogate in which a perturbation does the same in every state."""

    weights: Array
    """Shape (n_lags, source, target); the most recent sample is last."""


def respond(
    surrogate: Surrogate, history: Array, push: Array, *, steps: int = 1, sustained: bool = False
) -> Array:
    """Return the mean change of all regions after any perturbation.

    The surrogate runs on its own predictions, once perturbed and once not; the change is that of
    the last prediction, averaged over the windows.

    Parameters
    ----------
    surrogate
        Fitted model.
    history
        Shape (n_windows, n_lags, n_regions); states to perturb. Left untouched.
    push
        What is added to the most recent sample: shape (n_regions,), several regions at once if
        several are not 0; or (n_windows, n_regions), another one in each window.
    steps
        Samples until the change is read.
    sustained
        Whether the push is added again to each sample that follows (a lasting input) instead of
        once (an impulse).

    Returns
    -------
    Array
        Shape (n_regions,), in the unit of the signals.

    Examples
    --------
    >>> from npi_bids.surrogates.var import VAR
    >>> chain = VAR(np.array([[[0.5, 1.0, 0.0], [0, 0.5, 1.0], [0, 0, 0.5]]]), np.zeros(3))
    >>> respond(chain, np.zeros((1, 1, 3)), np.array([1.0, 0, 0]), steps=2)
    array([0.25, 1.  , 1.  ])
    """
    runs = []
    for added in (push, np.zeros_like(push)):
        path = history.copy()
        path[:, -1] += added
        predicted = surrogate.step(path)
        for _ in range(steps - 1):
            newest = predicted + added if sustained else predicted
            path = np.concatenate([path[:, 1:], newest[:, None]], axis=1)
            predicted = surrogate.step(path)
        runs.append(predicted)
    change: Array = (runs[0] - runs[1]).mean(axis=0)
    return change


def respond_each(
    surrogate: Surrogate, history: Array, strength: float, *, steps: int, sustained: bool
) -> Array:
    """Return the change after perturbing one region at a time, shape (source, target)."""
    pushes = strength * np.eye(surrogate.n_regions)
    if isinstance(surrogate, Linear):
        return _respond_linear(surrogate.weights, pushes, steps=steps, sustained=sustained)
    return np.array(
        [respond(surrogate, history, push, steps=steps, sustained=sustained) for push in pushes]
    )


def respond_randomised(
    surrogate: Surrogate,
    history: Array,
    strength: float,
    *,
    n_draws: int,
    rng: np.random.Generator,
) -> Array:
    """Perturb a random half of the regions in every window, and tell their effects apart.

    Regions are raised or not by the toss of a coin, all at once; the effect of a source is the
    mean of the prediction where it was raised minus that where it was not (the randomised
    experiment). Effects on regions that others drive too come out as averages over the states of
    the others.

    Parameters
    ----------
    surrogate
        Fitted model.
    history
        Shape (n_windows, n_lags, n_regions).
    strength
        Signed size, in the unit of the signals.
    n_draws
        Times that every window is used.
    rng
        Source of the coins.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    """
    baseline = surrogate.step(history)
    coins, changes = [], []
    for _ in range(n_draws):
        coin = rng.integers(0, 2, size=baseline.shape).astype(np.float64)
        pushed = history.copy()
        pushed[:, -1] += strength * coin
        coins.append(coin)
        changes.append(surrogate.step(pushed) - baseline)
    return randomised_effect(np.concatenate(coins), np.concatenate(changes))


def randomised_effect(treated: Array, outcome: Array) -> Array:
    """Return the mean outcome where each source was treated minus that where it was not.

    Parameters
    ----------
    treated
        Shape (n_trials, n_sources); 1 where the source was treated, else 0.
    outcome
        Shape (n_trials, n_targets).

    Returns
    -------
    Array
        Shape (n_sources, n_targets).

    Examples
    --------
    >>> randomised_effect(np.array([[1.0], [0], [1], [0]]), np.array([[3.0], [1], [5], [1]]))
    array([[3.]])
    """
    count = treated.sum(axis=0)[:, None]
    total = treated.T @ outcome
    rest = outcome.sum(axis=0) - total
    with np.errstate(invalid="ignore", divide="ignore"):
        effect: Array = total / count - rest / (len(treated) - count)
    return effect


def _respond_linear(weights: Array, pushes: Array, *, steps: int, sustained: bool) -> Array:
    """Follow the deviations alone: ``d[t+1] = sum over lags of d[lag] weights[lag]``."""
    path = np.zeros((len(weights), *pushes.shape))
    path[-1] = pushes
    for step in range(steps):
        change: Array = np.einsum("lis,lst->it", path, weights)
        last = step == steps - 1
        newest = change + pushes if sustained and not last else change
        path = np.concatenate([path[1:], newest[None]])
    return change


def responses_together(
    surrogate: Surrogate,
    history: Array,
    settings: PerturbSettings,
    labels: Sequence[str],
    covered: Sequence[bool],
) -> Table:
    """Perturb sets of regions and tell the response of every region.

    All regions of a set are moved by the same strength in the same sample (Luo et al. 2025, who
    stimulate regions together); where the surrogate is linear, the response is the sum of those to
    each alone.

    Parameters
    ----------
    surrogate
        Fitted model of the covered regions.
    history
        Shape (n_windows, n_lags, n_covered); states to perturb.
    settings
        Size, sign, steps, and the sets (``together``), names joined by ``+``.
    labels
        Names of all regions of the atlas.
    covered
        Which of them are in the model.

    Returns
    -------
    Table
        A row for each set: ``sources``, and the response of each region of the atlas, in the unit
        of the signals; NaN for regions that are not covered, and for sets with such a region.

    Raises
    ------
    InputDataError
        The atlas has no region of that name.
    """
    inside = np.flatnonzero(covered)
    place = {labels[int(region)]: number for number, region in enumerate(inside)}
    rows = []
    for words in settings.together:
        names = [name.strip() for name in words.split("+")]
        if unknown := sorted(set(names) - set(labels)):
            raise InputDataError(
                f"--together {words}: the atlas has no region {join_words(unknown)}; its "
                f"{len(labels)} regions are {join_words(labels, most=5)}."
            )
        row = np.full(len(labels), np.nan)
        if all(name in place for name in names):
            push = np.zeros(len(inside))
            push[[place[name] for name in names]] = settings.strength
            changes = [
                sign
                * respond(
                    surrogate,
                    history,
                    sign * push,
                    steps=settings.steps_ahead,
                    sustained=settings.sustained,
                )
                for sign in SIGNS[settings.sign]
            ]
            row[inside] = np.mean(changes, axis=0)
        rows.append(row)
    columns = np.array(rows)
    return {
        "sources": list(settings.together),
        **{label: columns[:, region].tolist() for region, label in enumerate(labels)},
    }
