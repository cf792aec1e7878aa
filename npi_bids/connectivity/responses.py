"""Responses of a surrogate to perturbations: over several steps, of several regions, at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from npi_bids.connectivity.settings import SIGNS, PerturbSettings
from npi_bids.errors import InputDataError
from npi_bids.records import Array, Table
from npi_bids.surrogates.base import Surrogate
from npi_bids.wording import join_words


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
    *_, last = _changes(surrogate, history, push, steps=steps, sustained=sustained)
    change: Array = last.mean(axis=0)
    return change


def response_course(
    surrogate: Surrogate, history: Array, push: Array, *, steps: int, sustained: bool = False
) -> tuple[Array, Array]:
    """Return how all regions respond after any perturbation, sample by sample.

    Parameters
    ----------
    surrogate
        Fitted model.
    history
        Shape (n_windows, n_lags, n_regions); states to perturb. Where the surrogate is linear the
        response is the same in all of them.
    push
        Shape (n_regions,); what is added to the most recent sample.
    steps
        Samples to follow the response.
    sustained
        Whether the push is added again to each sample that follows.

    Returns
    -------
    mean
        Shape (steps, n_regions), over the states, in the unit of the signals; ``mean[0]`` is the
        change of the first sample after the perturbation.
    sd
        Shape (steps, n_regions); standard deviation over the states, 0 where the surrogate is
        linear.

    Examples
    --------
    >>> from npi_bids.surrogates.var import VAR
    >>> chain = VAR(np.array([[[0.5, 1.0, 0.0], [0, 0.5, 1.0], [0, 0, 0.5]]]), np.zeros(3))
    >>> mean, _ = response_course(chain, np.zeros((1, 1, 3)), np.array([1.0, 0, 0]), steps=2)
    >>> mean
    array([[0.5 , 1.  , 0.  ],
           [0.25, 1.  , 1.  ]])
    """
    weights = surrogate.linear_weights
    if weights is not None:
        course = _linear_changes(weights, push[None], steps=steps, sustained=sustained)
        mean = np.array([change[0] for change in course])
        return mean, np.zeros_like(mean)
    changes = list(_changes(surrogate, history, push, steps=steps, sustained=sustained))
    return (
        np.array([change.mean(axis=0) for change in changes]),
        np.array([change.std(axis=0) for change in changes]),
    )


def _changes(
    surrogate: Surrogate, history: Array, push: Array, *, steps: int, sustained: bool
) -> Iterator[Array]:
    """Yield the change of each prediction in every state, shape (n_windows, n_regions)."""
    pushes = (push, np.zeros_like(push))
    paths = [history.copy() for _ in pushes]
    for path, added in zip(paths, pushes, strict=True):
        path[:, -1] += added
    predicted = [surrogate.step(path) for path in paths]
    yield predicted[0] - predicted[1]
    for _ in range(steps - 1):
        for place, added in enumerate(pushes):
            newest = predicted[place] + added if sustained else predicted[place]
            paths[place] = np.concatenate([paths[place][:, 1:], newest[:, None]], axis=1)
        predicted = [surrogate.step(path) for path in paths]
        yield predicted[0] - predicted[1]


def respond_each(
    surrogate: Surrogate, history: Array, strength: float, *, steps: int, sustained: bool
) -> Array:
    """Return the change after perturbing one region at a time, shape (source, target)."""
    pushes = strength * np.eye(surrogate.n_regions)
    weights = surrogate.linear_weights
    if weights is not None:
        *_, last = _linear_changes(weights, pushes, steps=steps, sustained=sustained)
        return last
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


def _linear_changes(
    weights: Array, pushes: Array, *, steps: int, sustained: bool
) -> Iterator[Array]:
    """Follow the deviations alone: ``d[t+1] = sum over lags of d[lag] weights[lag]``.

    Yields the change after each step, shape of the pushes: (n_pushes, n_regions).
    """
    path = np.zeros((len(weights), *pushes.shape))
    path[-1] = pushes
    for _ in range(steps):
        change: Array = np.einsum("lis,lst->it", path, weights)
        yield change
        newest = change + pushes if sustained else change
        path = np.concatenate([path[1:], newest[None]])


def responses_together(
    surrogate: Surrogate,
    history: Array,
    settings: PerturbSettings,
    labels: Sequence[str],
    covered: Sequence[bool],
) -> Array:
    """Perturb sets of regions and return the response of every region.

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
    Array
        Shape (n_sets, n_regions of the atlas), in the unit of the signals; NaN for regions that
        are not covered, and for sets with such a region.

    Raises
    ------
    InputDataError
        The atlas has no region of that name.
    """
    inside = np.flatnonzero(covered)
    place = {labels[int(region)]: number for number, region in enumerate(inside)}
    responses = np.full((len(settings.together), len(labels)), np.nan)
    for row, words in zip(responses, settings.together, strict=True):
        names = [name.strip() for name in words.split("+")]
        if unknown := sorted(set(names) - set(labels)):
            raise InputDataError(
                f"--together {words}: the atlas has no region {join_words(unknown)}; its "
                f"{len(labels)} regions are {join_words(labels, most=5)}."
            )
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
    return responses


def response_table(sets: Sequence[str], responses: Array, labels: Sequence[str]) -> Table:
    """Return the responses to sets of regions as a table, with a row for each set.

    Parameters
    ----------
    sets
        Names of the regions of each set, joined by ``+``.
    responses
        Shape (n_sets, n_regions).
    labels
        Names of the regions.

    >>> response_table(["A+B"], np.array([[0.0, 0.5]]), ["A", "B"])
    {'sources': ['A+B'], 'A': [0.0], 'B': [0.5]}
    """
    return {
        "sources": list(sets),
        **{label: responses[:, region].tolist() for region, label in enumerate(labels)},
    }
