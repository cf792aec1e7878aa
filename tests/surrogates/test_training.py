"""Training many networks at once, and early stopping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from npi_bids.errors import SurrogateError
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.networks import MLP, make_network
from npi_bids.surrogates.training import train_networks

SETTINGS = resolve(
    TrainSettings(surrogate="mlp", epochs=4, learning_rate=2e-3, n_lags=2, device="cpu")
)


def values(network):
    return np.concatenate([p.detach().numpy().ravel() for p in network.parameters()])


def test_subjects_trained_together_are_those_trained_alone(pairs):
    together = [make_network(MLP, 2, 4, SETTINGS, member) for member in range(3)]
    logs = train_networks(together, pairs, SETTINGS)
    for member in range(3):
        alone = make_network(MLP, 2, 4, SETTINGS, member)
        settings = replace(SETTINGS, seed=SETTINGS.seed + member)
        (log,) = train_networks([alone], [pairs[member]], settings)
        np.testing.assert_allclose(values(alone), values(together[member]), atol=1e-5)
        np.testing.assert_allclose(log.valid, logs[member].valid, rtol=1e-4)


def test_subjects_of_different_length_are_trained_too(pairs):
    shorter = pairs[0][0].take(slice(0, 100)), pairs[0][1]
    mixed = [pairs[0], shorter, pairs[2]]
    networks = [make_network(MLP, 2, 4, SETTINGS, member) for member in range(3)]
    before = [values(network) for network in networks]
    logs = train_networks(networks, mixed, SETTINGS)
    assert len(logs) == 3
    assert all((values(n) != b).any() for n, b in zip(networks, before, strict=True))


def test_early_stopping_keeps_the_best_epoch(pairs):
    settings = replace(SETTINGS, epochs=200, patience=3, learning_rate=2e-2)
    model, log = fit_surrogate(*pairs[0], settings)
    assert len(log.train) < 200
    assert log.best_epoch == int(np.argmin(log.valid)) + 1
    error = np.mean((model.step(pairs[0][1].history) - pairs[0][1].target) ** 2)
    assert error == pytest.approx(min(log.valid), rel=1e-4)


def test_training_that_is_not_worthwhile_soon_loses_patience(pairs):
    def train(worthwhile_error):
        settings = replace(SETTINGS, epochs=200, patience=20, learning_rate=2e-2)
        networks = [make_network(MLP, 2, 4, settings)]
        (log,) = train_networks(networks, pairs[:1], settings, None, worthwhile_error)
        return networks[0], log

    patient, complete = train(np.inf)
    hopeful, same = train(1.01 * min(complete.valid))
    _, short = train(0.5 * min(complete.valid))
    assert len(complete.valid) == complete.best_epoch + 20
    assert same == complete
    np.testing.assert_array_equal(values(hopeful), values(patient))
    assert len(short.valid) == short.best_epoch + 4
    assert short.valid == complete.valid[: len(short.valid)]


def test_members_trained_together_stop_each_at_its_own_best(pairs):
    settings = replace(SETTINGS, epochs=60, patience=5, learning_rate=2e-2)
    networks = [make_network(MLP, 2, 4, settings, member) for member in range(3)]
    logs = train_networks(networks, pairs, settings)
    for network, log, (_, valid) in zip(networks, logs, pairs, strict=True):
        predicted = network(torch.as_tensor(valid.history, dtype=torch.float32).flatten(1))
        error = np.mean((predicted.detach().numpy() - valid.target) ** 2)
        assert error == pytest.approx(min(log.valid), rel=1e-4)
        assert log.best_epoch == int(np.argmin(log.valid)) + 1


def test_a_fit_like_another_takes_its_number_of_epochs(pairs):
    settings = replace(SETTINGS, epochs=200, patience=3, learning_rate=2e-2)
    first, _ = fit_surrogate(*pairs[0], settings)
    again, log = fit_surrogate(pairs[0][0], pairs[0][1].take(slice(0, 0)), settings, first)
    assert len(log.train) == first.epochs[0] == again.epochs[0]


def test_divergence_is_named(pairs):
    with pytest.raises(SurrogateError, match="lower --learning-rate"):
        fit_surrogate(*pairs[0], replace(SETTINGS, learning_rate=1e12))


def test_training_leaves_the_state_of_the_world_alone(pairs):
    before = torch.random.get_rng_state()
    fit_surrogate(*pairs[0], replace(SETTINGS, n_seeds=2))
    assert torch.equal(before, torch.random.get_rng_state())
