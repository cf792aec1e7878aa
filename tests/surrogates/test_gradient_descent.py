from __future__ import annotations

import pytest
import torch

from npi_bids.surrogates.gradient_descent import stack_networks
from npi_bids.surrogates.networks import CNN, MLP
from npi_bids.surrogates.training import seeded


@pytest.mark.parametrize("n_networks", [1, 3])
def test_gradients_that_are_written_out_are_those_of_autograd(n_networks):
    """Weights after some steps of Adam, with decay, are the same."""
    with seeded(0):
        networks = [MLP(2, 4, 7) for _ in range(n_networks)]
        inputs, targets = torch.randn(n_networks, 50, 8), torch.randn(n_networks, 50, 4)
    stack = stack_networks(networks)
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
        assert stack_networks([CNN(3, 4, 7)]) is None
        skipping = MLP(2, 4, 7)
        skipping.skip = torch.nn.Linear(8, 4)
    assert stack_networks([skipping]) is None
