"""The network of Neuromatch Academy's lessons on causality: an exact test of perturbation.

``x[t+1] = sigmoid(A x[t] + noise)`` with ``A[target, source]``, sparse, and unit noise
(Neuromatch Academy, Computational Neuroscience, "Network Causality"; CC-BY 4.0). The lessons use
numpy's legacy generator, and so does this module, so that their results are reproduced exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from npi_bids.records import Array


@dataclass(frozen=True, slots=True, eq=False)
class RandomisedExperiment:
    """Trials of the randomised perturbation.

    Attributes
    ----------
    treated
        Shape (n_trials, n_neurons); the 0 or 1 that each neuron was set to.
    outcome
        Shape (n_trials, n_neurons); the state one step later.
    """

    treated: Array
    outcome: Array


def sparse_network(n_neurons: int, rng: np.random.RandomState) -> Array:
    """Draw the connections, shape (target, source); the largest singular value is 1 / 1.01."""
    connected = rng.choice([0, 1], size=(n_neurons, n_neurons), p=[0.9, 0.1])
    connections: Array = connected / (1.01 * np.linalg.svd(connected, compute_uv=False)[0])
    return connections


def simulate_randomised(
    connections: Array, n_trials: int, rng: np.random.RandomState
) -> RandomisedExperiment:
    """Run the network; before every even step all neurons are set to 0 or 1 at random.

    Parameters
    ----------
    connections
        Shape (target, source).
    n_trials
        Number of perturbations; the run is twice as long.
    rng
        Source of coins and noise; the lessons continue with the one that drew the connections.
    """
    n_neurons = len(connections)
    treated, outcome = (np.zeros((n_trials, n_neurons)) for _ in range(2))

    def advance(state: Array) -> Array:
        noise = rng.multivariate_normal(np.zeros(n_neurons), np.eye(n_neurons))
        next_state: Array = expit(connections @ state + noise)
        return next_state

    for trial in range(n_trials):
        treated[trial] = rng.choice([0, 1], size=n_neurons)
        outcome[trial] = advance(treated[trial])
        if trial < n_trials - 1:
            advance(outcome[trial])  # overwritten by the next coins, but its noise is drawn
    return RandomisedExperiment(treated, outcome)


def two_neurons(n_trials: int = 5000, seed: int = 12) -> RandomisedExperiment:
    """Run the smallest experiment: B is A plus unit noise; A is held at 1, then at 0."""
    rng = np.random.RandomState(seed)
    treated = np.repeat([1.0, 0.0], n_trials)
    outcome = treated + np.concatenate([rng.normal(size=n_trials), rng.normal(size=n_trials)])
    return RandomisedExperiment(treated[:, None], outcome[:, None])
