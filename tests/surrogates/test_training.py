"""Training many networks at once, ensembles, early stopping, and the skip connection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from npi_bids.connectivity.perturbation import mean_jacobian, perturb_each
from npi_bids.errors import SurrogateError
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.gradient_descent import stack_of
from npi_bids.surrogates.networks import CNN, MLP, make_network
from npi_bids.surrogates.training import seeded, train_networks
from npi_bids.surrogates.windows import cut_windows, split_windows
from tests.conftest import var_run

SETTINGS = resolve(
    TrainSettings(surrogate="mlp", epochs=4, learning_rate=2e-3, n_lags=2, device="cpu")
)


@pytest.fixture
def pairs(weights):
    """Make three subjects of the same length."""
    return [
        split_windows(cut_windows([var_run(weights, 300, seed)], 2), 0.8) for seed in (1, 2, 3)
    ]


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


def test_ensemble_is_the_mean_of_its_members(pairs):
    model, _ = fit_surrogate(*pairs[0], replace(SETTINGS, n_seeds=3))
    history = pairs[0][1].history
    members = np.mean([member.step(history) for member in model.members], axis=0)
    np.testing.assert_allclose(model.step(history), members, atol=1e-6)
    alone, _ = fit_surrogate(*pairs[0], SETTINGS)
    np.testing.assert_allclose(model.members[0].step(history), alone.step(history), atol=1e-5)
    maps = np.mean([member.perturbed_change(history, 1.0) for member in model.members], axis=0)
    np.testing.assert_allclose(model.perturbed_change(history, 1.0), maps, atol=1e-6)


def test_early_stopping_keeps_the_best_epoch(pairs):
    settings = replace(SETTINGS, epochs=200, patience=3, learning_rate=2e-2)
    model, log = fit_surrogate(*pairs[0], settings)
    assert len(log.train) < 200
    assert log.best_epoch == int(np.argmin(log.valid)) + 1
    error = np.mean((model.step(pairs[0][1].history) - pairs[0][1].target) ** 2)
    assert error == pytest.approx(min(log.valid), rel=1e-4)


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


@pytest.mark.parametrize("surrogate", ["mlp", "cnn", "rnn"])
def test_skip_connection_is_part_of_prediction_map_and_jacobian(pairs, surrogate):
    windows = split_windows(cut_windows([var_run(0.4 * np.eye(4), 300, 1)], 3), 0.8)
    settings = replace(SETTINGS, surrogate=surrogate, skip=True, n_lags=3)
    model, _ = fit_surrogate(*windows, settings)
    assert any(name.startswith("skip") for name in model.tensors())
    history = windows[0].history[:100]
    fast = model.perturbed_change(history, 1.0)
    np.testing.assert_allclose(fast, perturb_each(model, history, 1.0), atol=1e-5)
    up, down = (perturb_each(model, history, s) for s in (1e-2, -1e-2))
    np.testing.assert_allclose(mean_jacobian(model, history), (up - down) / 2e-2, atol=5e-3)


def test_divergence_is_named(pairs):
    with pytest.raises(SurrogateError, match="lower --learning-rate"):
        fit_surrogate(*pairs[0], replace(SETTINGS, learning_rate=1e12))


def test_training_leaves_the_state_of_the_world_alone(pairs):
    before = torch.random.get_rng_state()
    fit_surrogate(*pairs[0], replace(SETTINGS, n_seeds=2))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("n_networks", [1, 3])
def test_gradients_that_are_written_out_are_those_of_autograd(n_networks):
    """Weights after some steps of Adam, with decay, are the same."""
    with seeded(0):
        networks = [MLP(2, 4, 7) for _ in range(n_networks)]
        inputs, targets = torch.randn(n_networks, 50, 8), torch.randn(n_networks, 50, 4)
    stack = stack_of(networks)
    parameters = [p for network in networks for p in network.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2, weight_decay=1e-2)
    for _ in range(5):
        losses = stack.descend(inputs, targets, rate=1e-2, weight_decay=1e-2)
        optimizer.zero_grad()
        expected = torch.stack([
            ((network(x) - y) ** 2).mean()
            for network, x, y in zip(networks, inputs, targets, strict=True)
        ])  # fmt: skip
        expected.sum().backward()
        optimizer.step()
        torch.testing.assert_close(losses, expected.detach())
    for place, network in enumerate(networks):
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(
                stack.parameters[name][place], parameter.detach(), rtol=1e-4, atol=1e-6
            )
        torch.testing.assert_close(
            stack.predict(inputs)[place], network(inputs[place]).detach(), rtol=1e-4, atol=1e-5
        )


def test_only_plain_networks_are_stacked():
    with seeded(0):
        assert stack_of([CNN(3, 4, 7)]) is None
        skipping = MLP(2, 4, 7)
        skipping.skip = torch.nn.Linear(8, 4)
    assert stack_of([skipping]) is None
