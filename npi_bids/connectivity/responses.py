"""Responses of a surrogate over several steps, and to joint and randomised perturbations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from npi_bids.connectivity.settings import SIGNS, PerturbSettings
from npi_bids.errors import InputDataError
from npi_bids.records import Array, Table
from npi_bids.surrogates.base import Surrogate
from npi_bids.wording import join_items


def respond(
    surrogate: Surrogate,
    history: Array,
    stimulus: Array,
    *,
    steps: int = 1,
    sustained: bool = False,
) -> Array:
    """Return the mean change of all regions after any perturbation.

    The surrogate runs on its own predictions, once perturbed and once unperturbed; the change is
    that of the last prediction, averaged over the windows.

    Parameters
    ----------
    surrogate
        Fitted model.
    history
        Shape (n_windows, n_lags, n_regions); states to perturb. Left untouched.
    stimulus
        Added to the most recent sample: shape (n_regions,), with one or more non-zero regions; or
        (n_windows, n_regions), different in each window.
    steps
        Number of samples until the change is read.
    sustained
        Whether the stimulus is also added to each following sample (sustained input) instead of
        once (impulse).

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
    *_, last = _changes(surrogate, history, stimulus, steps=steps, sustained=sustained)
    change: Array = last.mean(axis=0)
    return change


def response_course(
    surrogate: Surrogate, history: Array, stimulus: Array, *, steps: int, sustained: bool = False
) -> tuple[Array, Array]:
    """Return how all regions respond after any perturbation, sample by sample.

    Parameters
    ----------
    surrogate
        Fitted model.
    history
        Shape (n_windows, n_lags, n_regions); states to perturb. The response of a linear surrogate
        is the same in all of them.
    stimulus
        Shape (n_regions,); added to the most recent sample.
    steps
        Number of samples of the response.
    sustained
        Whether the stimulus is also added to each following sample.

    Returns
    -------
    mean
        Shape (steps, n_regions), over the states, in the unit of the signals; ``mean[0]`` is the
        change of the first sample after the perturbation.
    sd
        Shape (steps, n_regions); standard deviation over the states, 0 for a linear
        surrogate.

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
        course = _linear_changes(weights, stimulus[None], steps=steps, sustained=sustained)
        mean = np.array([change[0] for change in course])
        return mean, np.zeros_like(mean)
    changes = list(_changes(surrogate, history, stimulus, steps=steps, sustained=sustained))
    return (
        np.array([change.mean(axis=0) for change in changes]),
        np.array([change.std(axis=0) for change in changes]),
    )


def _changes(
    surrogate: Surrogate, history: Array, stimulus: Array, *, steps: int, sustained: bool
) -> Iterator[Array]:
    """Yield the change of each prediction in every state, shape (n_windows, n_regions)."""
    stimuli = (stimulus, np.zeros_like(stimulus))
    paths = [history.copy() for _ in stimuli]
    for path, stimulus_of_path in zip(paths, stimuli, strict=True):
        path[:, -1] += stimulus_of_path
    predicted = [surrogate.step(path) for path in paths]
    yield predicted[0] - predicted[1]
    for _ in range(steps - 1):
        for index, stimulus_of_path in enumerate(stimuli):
            newest = predicted[index] + stimulus_of_path if sustained else predicted[index]
            paths[index] = np.concatenate([paths[index][:, 1:], newest[:, None]], axis=1)
        predicted = [surrogate.step(path) for path in paths]
        yield predicted[0] - predicted[1]


def respond_each(
    surrogate: Surrogate, history: Array, strength: float, *, steps: int, sustained: bool
) -> Array:
    """Return the change after perturbing one region at a time, shape (source, target)."""
    stimuli = strength * np.eye(surrogate.n_regions)
    weights = surrogate.linear_weights
    if weights is not None:
        *_, last = _linear_changes(weights, stimuli, steps=steps, sustained=sustained)
        return last
    return np.array(
        [
            respond(surrogate, history, stimulus, steps=steps, sustained=sustained)
            for stimulus in stimuli
        ]
    )


def respond_randomised(
    surrogate: Surrogate,
    history: Array,
    strength: float,
    *,
    n_draws: int,
    rng: np.random.Generator,
) -> Array:
    """Perturb a random half of the regions in every window, and separate their effects.

    Each region is perturbed with a probability of one half, all at once; the effect of a source is
    the mean of the prediction with it perturbed minus that without (a randomised experiment).
    Effects on regions with several inputs are averages over the states of the other inputs.

    Parameters
    ----------
    surrogate
        Fitted model.
    history
        Shape (n_windows, n_lags, n_regions).
    strength
        Signed size, in the unit of the signals.
    n_draws
        Number of times that every window is used.
    rng
        Source of the random perturbations.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    """
    baseline = surrogate.step(history)
    coins, changes = [], []
    for _ in range(n_draws):
        coin = rng.integers(0, 2, size=baseline.shape).astype(np.float64)
        perturbed = history.copy()
        perturbed[:, -1] += strength * coin
        coins.append(coin)
        changes.append(surrogate.step(perturbed) - baseline)
    return randomised_effect(np.concatenate(coins), np.concatenate(changes))


def randomised_effect(treated: Array, outcome: Array) -> Array:
    """Return the mean outcome with each source treated minus that without.

    Parameters
    ----------
    treated
        Shape (n_trials, n_sources); 1 if the source was treated, else 0.
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
    n_treated = treated.sum(axis=0)[:, None]
    treated_total = treated.T @ outcome
    untreated_total = outcome.sum(axis=0) - treated_total
    with np.errstate(invalid="ignore", divide="ignore"):
        effect: Array = treated_total / n_treated - untreated_total / (len(treated) - n_treated)
    return effect


def _linear_changes(
    weights: Array, stimuli: Array, *, steps: int, sustained: bool
) -> Iterator[Array]:
    """Propagate only the deviations: ``d[t+1] = sum over lags of d[lag] weights[lag]``.

    Yields the change after each step, shape (n_stimuli, n_regions).
    """
    path = np.zeros((len(weights), *stimuli.shape))
    path[-1] = stimuli
    for _ in range(steps):
        change: Array = np.einsum("lis,lst->it", path, weights)
        yield change
        newest = change + stimuli if sustained else change
        path = np.concatenate([path[1:], newest[None]])


def respond_to_sets(
    surrogate: Surrogate,
    history: Array,
    settings: PerturbSettings,
    labels: Sequence[str],
    covered: Sequence[bool],
) -> Array:
    """Perturb sets of regions and return the response of every region.

    All regions of a set are perturbed with the same strength in the same sample (Luo et al. 2025,
    who stimulate regions jointly); for a linear surrogate, the response is the sum of those to
    each region alone.

    Parameters
    ----------
    surrogate
        Fitted model of the covered regions.
    history
        Shape (n_windows, n_lags, n_covered); states to perturb.
    settings
        Strength, sign, steps, and the sets (``together``), with names joined by ``+``.
    labels
        Names of all regions of the atlas.
    covered
        Which of them the model contains.

    Returns
    -------
    Array
        Shape (n_sets, n_regions of the atlas), in the unit of the signals; NaN for regions that
        are not covered, and for sets with such a region.

    Raises
    ------
    InputDataError
        If the atlas has no region of a name.
    """
    inside = np.flatnonzero(covered)
    model_index = {labels[int(region)]: number for number, region in enumerate(inside)}
    responses = np.full((len(settings.together), len(labels)), np.nan)
    for row, region_set in zip(responses, settings.together, strict=True):
        names = [name.strip() for name in region_set.split("+")]
        if unknown := sorted(set(names) - set(labels)):
            raise InputDataError(
                f"--together {region_set}: the atlas has no region {join_items(unknown)}; its "
                f"{len(labels)} regions are {join_items(labels, most=5)}."
            )
        if all(name in model_index for name in names):
            stimulus = np.zeros(len(inside))
            stimulus[[model_index[name] for name in names]] = settings.strength
            changes = [
                sign
                * respond(
                    surrogate,
                    history,
                    sign * stimulus,
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
