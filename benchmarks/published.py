"""Published training and perturbation loops, reimplemented from their description.

A DataLoader provides batches of 50; after every epoch, training and held-out windows are evaluated
in batches; the map takes one perturbed and one unperturbed pass per region (Luo et al. 2025,
Methods). These loops are the reference for all speeds.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from npi_bids.records import Array, Windows

_BATCH = 50


def train_loop(
    network: nn.Module,
    train: Windows,
    valid: Windows,
    *,
    epochs: int,
    rate: float,
) -> None:
    """Train in place as the published loop does."""
    loaders = [
        DataLoader(TensorDataset(_flat(part.history), _flat(part.target)), _BATCH, shuffle=shuffle)
        for part, shuffle in ((train, True), (train, False), (valid, False))
    ]
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=5e-5)
    loss_of = nn.MSELoss()
    for _ in range(epochs):
        network.train()
        for history, target in loaders[0]:
            optimizer.zero_grad()
            loss = loss_of(network(history), target)
            loss.backward()
            optimizer.step()
        network.eval()
        for loader in loaders[1:]:
            losses = []
            with torch.no_grad():
                for history, target in loader:
                    losses.append(float(loss_of(network(history), target)))
            np.mean(losses)


def map_loop(network: nn.Module, windows: Windows, strength: float = 1.0) -> Array:
    """Perturb one region after the other, with an unperturbed pass for each."""
    flat = windows.history.reshape(len(windows), -1)
    n_regions = windows.target.shape[1]
    matrix = np.empty((n_regions, n_regions))
    with torch.no_grad():
        for source in range(n_regions):
            perturbed = flat.copy()
            perturbed[:, -n_regions + source] += strength
            change = network(_flat(perturbed)).numpy() - network(_flat(flat)).numpy()
            matrix[source] = change.mean(axis=0)
    return matrix


def jacobian_loop(network: nn.Module, windows: Windows) -> Array:
    """Differentiate the prediction of each window separately."""
    flat = _flat(windows.history)
    n_regions = windows.target.shape[1]
    total = torch.zeros(n_regions, n_regions)
    for history in flat:
        total += torch.autograd.functional.jacobian(network, history[None])[0, :, 0, -n_regions:]
    mean: Array = (total / len(flat)).T.numpy().astype(float)
    return mean


def _flat(array: Array) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float32).flatten(1)
