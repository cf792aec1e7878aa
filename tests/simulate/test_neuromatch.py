import numpy as np
import pytest

from npi_bids.connectivity.responses import randomised_effect
from npi_bids.simulate.neuromatch import simulate_randomised, sparse_network, two_neurons


def test_two_neurons_give_the_published_figure():
    trials = two_neurons()
    effect = randomised_effect(trials.treated, trials.outcome)
    assert effect[0, 0] == pytest.approx(0.9907195190159408, abs=1e-12)


def test_randomised_perturbation_finds_the_transposed_connections():
    rng = np.random.RandomState(42)
    connections = sparse_network(6, rng)
    trials = simulate_randomised(connections, 5000, rng)
    effect = randomised_effect(trials.treated, trials.outcome)
    assert np.corrcoef(effect.ravel(), connections.T.ravel())[0, 1] > 0.99
    assert np.corrcoef(effect.ravel(), connections.ravel())[0, 1] < 0.2


def test_stacked_correlations_say_the_same():
    rng = np.random.RandomState(42)
    connections = sparse_network(6, rng)
    trials = simulate_randomised(connections, 5000, rng)
    effect = randomised_effect(trials.treated, trials.outcome)
    stacked = np.corrcoef(np.hstack([trials.treated, trials.outcome]).T)[:6, 6:]
    assert np.corrcoef(effect.ravel(), stacked.ravel())[0, 1] > 0.999
