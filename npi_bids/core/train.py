"""The training loop shared by the networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from npi_bids.core.records import Windows
from npi_bids.core.surrogate import TrainLog, TrainSettings
from npi_bids.errors import SettingsError, SurrogateError


def train_network(
    network: nn.Module, train: Windows, valid: Windows, settings: TrainSettings
) -> TrainLog:
    """Train in place with Adam on the mean squared error, for a fixed number of epochs.

    Each epoch visits the windows in a new random order; the errors of an epoch are taken after
    it, in evaluation mode (Luo et al. 2025, released code).

    Parameters
    ----------
    network
        Maps flat histories (n_windows, n_lags * n_regions) to (n_windows, n_regions); lies on
        the device of the settings already.
    train, valid
        Windows to learn from, and held-out windows (may be empty).
    settings
        Epochs, batch size, step size, weight decay, seed and device.

    Raises
    ------
    SurrogateError
        The loss became non-finite.
    """
    device = next(network.parameters()).device
    learn, check = (_tensors(windows, device) for windows in (train, valid))
    optimizer = torch.optim.Adam(
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    order = torch.Generator().manual_seed(settings.seed)
    errors: list[tuple[float, float]] = []
    for epoch in range(settings.epochs):
        network.train()
        permuted = torch.randperm(len(train), generator=order).to(device)
        for batch in permuted.split(settings.batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.mse_loss(network(learn.history[batch]), learn.target[batch])
            loss.backward()
            optimizer.step()
        errors.append((_error(network, learn), _error(network, check)))
        if errors[-1][0] != errors[-1][0] or errors[-1][0] == float("inf"):
            raise SurrogateError(
                f"The loss became {errors[-1][0]} at epoch {epoch + 1}; lower --learning-rate "
                f"({settings.learning_rate:g}) or check the scale of the signals."
            )
    network.eval()
    train_errors, valid_errors = zip(*errors, strict=True)
    return TrainLog(train=train_errors, valid=valid_errors)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let torch compute on this many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch for a while and leave its global state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def find_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is the first GPU where there is one.

    Raises
    ------
    SettingsError
        The device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"--device {name!r} is not a device; use auto, cpu, cuda or cuda:N."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"--device {name}: torch {torch.__version__} sees no CUDA GPU here.")
    return device


@dataclass(frozen=True, slots=True, eq=False)
class _Tensors:
    history: Tensor
    target: Tensor


def _tensors(windows: Windows, device: torch.device) -> _Tensors:
    return _Tensors(
        torch.as_tensor(windows.history, dtype=torch.float32, device=device).flatten(1),
        torch.as_tensor(windows.target, dtype=torch.float32, device=device),
    )


def _error(network: nn.Module, windows: _Tensors) -> float:
    if not len(windows.target):
        return float("nan")
    network.eval()
    with torch.inference_mode():
        predicted = network(windows.history)
        return float(nn.functional.mse_loss(predicted, windows.target))
