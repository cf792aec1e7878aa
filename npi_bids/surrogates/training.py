"""The training loop shared by the networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from npi_bids.errors import (
    SettingsError,
    SurrogateError,
)
from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import TrainLog, TrainSettings
from npi_bids.surrogates.gradient_descent import stack_of

# Weights of a network below which several are trained together, and how many at most: above,
# batched products are no faster than single ones, and memory counts.
_SMALL = 100_000
_MOST_TOGETHER = 64
_GATHERED = 64  # batches that are copied into order at once

Pair = tuple[Windows, Windows]


def train_networks(
    networks: Sequence[nn.Module],
    pairs: Sequence[Pair],
    settings: TrainSettings,
    epochs: Sequence[int] | None = None,
) -> list[TrainLog]:
    """Train networks in place with Adam on the mean squared error (Luo et al. 2025).

    Each epoch visits the windows in a new random order, which depends on the seed and the place of
    the network alone. Small networks alike in shape and data size are trained together, as one
    batched matrix product a layer; large ones one after the other. Both give the same weights but
    for rounding.

    Parameters
    ----------
    networks
        Each maps flat histories (n_windows, n_lags * n_regions) to (n_windows, n_regions); they
        lie on the device of the settings already.
    pairs
        For each network the windows to learn from, and held-out windows (may be empty).
    settings
        Resolved. Epochs, batch size, step size, weight decay, patience and seed (of the first
        network; the others count up from it).
    epochs
        For each network how many epochs to train, instead of what the settings say.

    Returns
    -------
    list of TrainLog
        Errors of each network per epoch.

    Raises
    ------
    SurrogateError
        A loss became non-finite.
    """
    logs: list[TrainLog] = []
    for chosen in _together(networks, pairs, epochs):
        members = [networks[place] for place in chosen]
        run = _Run(members, [pairs[place] for place in chosen], settings, chosen)
        wanted = (settings.epochs or 1) if epochs is None else epochs[chosen[0]]
        logs += run.train(wanted, settings.patience or 0 if epochs is None else 0)
    return logs


def _together(
    networks: Sequence[nn.Module], pairs: Sequence[Pair], epochs: Sequence[int] | None
) -> list[range]:
    """Return runs of neighbours to train together: alike in all sizes, and small."""
    groups: list[range] = []
    sizes: list[Any] = []
    for place, (network, (learn, check)) in enumerate(zip(networks, pairs, strict=True)):
        shapes = tuple(parameter.shape for parameter in network.parameters())
        n_weights = sum(shape.numel() for shape in shapes)
        size = (type(network), shapes, len(learn), len(check), epochs and epochs[place])
        small = n_weights <= _SMALL and not any(isinstance(m, nn.RNN) for m in network.modules())
        if small and groups and sizes[-1] == size and len(groups[-1]) < _MOST_TOGETHER:
            groups[-1] = range(groups[-1].start, place + 1)
        else:
            groups.append(range(place, place + 1))
            sizes.append(size)
    return groups


class _Run:
    """Networks that are trained together."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        pairs: Sequence[Pair],
        settings: TrainSettings,
        places: range,
    ) -> None:
        self.networks, self.settings = networks, settings
        self.device = next(networks[0].parameters()).device
        self.learn, self.check = (
            _stack([pair[side] for pair in pairs], self.device) for side in (0, 1)
        )
        self.orders = [torch.Generator().manual_seed(settings.seed + place) for place in places]
        self.stack = stack_of(networks)
        self.alone = len(networks) == 1 and self.stack is None
        self.parameters: dict[str, Tensor]
        if self.stack is not None:
            self.parameters = self.stack.parameters
        elif self.alone:
            self.parameters = dict(networks[0].named_parameters())
        else:
            stacked, _ = torch.func.stack_module_state(list(networks))
            self.parameters = {name: p.detach().requires_grad_() for name, p in stacked.items()}

    def train(self, epochs: int, patience: int) -> list[TrainLog]:
        """Train for some epochs, or until no network has got better for ``patience`` of them."""
        descend = self._descent()
        errors: list[tuple[Tensor, Tensor]] = []
        best = torch.full((len(self.networks),), torch.inf, device=self.device)
        kept = (
            {name: p.detach().clone() for name, p in self.parameters.items()} if patience else {}
        )
        when = torch.zeros(len(self.networks), dtype=torch.long, device=self.device)
        for epoch in range(epochs):
            errors.append((self._epoch(descend), self._held_out()))
            self._refuse_divergence(errors[-1][0], epoch)
            if patience:
                better = errors[-1][1] < best
                best, when = (
                    torch.where(better, errors[-1][1], best),
                    when.masked_fill(better, epoch),
                )
                for name, parameter in self.parameters.items():
                    mask = (
                        better[0] if self.alone else better.view(-1, *[1] * (parameter.ndim - 1))
                    )
                    kept[name] = torch.where(mask, parameter.detach(), kept[name])
                if epoch - int(when.max()) >= patience:
                    break
        self._finish(kept or self.parameters)
        last = when if patience else torch.full_like(when, len(errors) - 1)
        curves = [torch.stack(side).T.tolist() for side in zip(*errors, strict=True)]
        return [
            TrainLog(tuple(train), tuple(valid), best_epoch=int(at) + 1)
            for train, valid, at in zip(*curves, last, strict=True)
        ]

    def _epoch(self, descend: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Take one pass over the windows; return the mean loss of each network on the way."""
        n_windows, size = self.learn.target.shape[1], self.settings.batch_size
        orders = torch.stack([torch.randperm(n_windows, generator=g) for g in self.orders])
        rows = torch.arange(len(self.networks), device=self.device)[:, None]
        losses, sizes = [], []
        for network in self.networks:
            network.train()
        for some in orders.to(self.device).split(_GATHERED * size, dim=1):
            # Gathered for many steps at once; a step takes a slice, which costs nothing.
            history, target = self.learn.history[rows, some], self.learn.target[rows, some]
            for pair in zip(history.split(size, dim=1), target.split(size, dim=1), strict=True):
                losses.append(descend(*pair))
                sizes.append(pair[0].shape[1])
        weights = torch.tensor(sizes, device=self.device) / n_windows
        return weights @ torch.stack(losses)

    def _descent(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a step of Adam: written out where it can be, else by automatic differentiation.

        It takes a batch and returns the loss of each network before the step.
        """
        rate, decay = self.settings.learning_rate or 0.0, self.settings.weight_decay
        if self.stack is not None:
            return partial(self.stack.descend, rate=rate, weight_decay=decay)
        optimizer = torch.optim.Adam(
            self.parameters.values(), lr=rate, weight_decay=decay, fused=True
        )

        def descend(history: Tensor, target: Tensor) -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            losses = ((self._predict(history) - target) ** 2).mean(dim=(1, 2))
            losses.sum().backward()
            optimizer.step()
            return losses.detach()

        return descend

    def _held_out(self) -> Tensor:
        if not self.check.target.shape[1]:
            return torch.full((len(self.networks),), torch.nan, device=self.device)
        with torch.no_grad():
            predicted = self._predict(self.check.history)
            return ((predicted - self.check.target) ** 2).mean(dim=(1, 2))

    def _predict(self, flat: Tensor) -> Tensor:
        """Predict for all networks, shape (n_networks, n_windows, n_regions)."""
        if self.stack is not None:
            return self.stack.predict(flat)
        if self.alone:
            return self.networks[0](flat[0])[None]  # type: ignore[no-any-return]

        def one(parameters: dict[str, Tensor], own: Tensor) -> Tensor:
            predicted: Tensor = torch.func.functional_call(self.networks[0], parameters, (own,))
            return predicted

        together: Tensor = torch.func.vmap(one)(self.parameters, flat)
        return together

    def _finish(self, values: dict[str, Tensor]) -> None:
        """Put the trained values into the networks."""
        for place, network in enumerate(self.networks):
            network.eval()
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    value = values[name]
                    parameter.copy_(value if self.alone else value[place])

    def _refuse_divergence(self, losses: Tensor, epoch: int) -> None:
        if not bool(torch.isfinite(losses).all()):
            raise SurrogateError(
                f"The loss became {losses.max():g} at epoch {epoch + 1}; lower --learning-rate "
                f"({self.settings.learning_rate}) or check the scale of the signals."
            )


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let torch compute on this many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_threads() -> int:
    """Return how many threads torch computes on now."""
    return int(torch.get_num_threads())


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
    history: Tensor  # (n_networks, n_windows, n_lags * n_regions)
    target: Tensor  # (n_networks, n_windows, n_regions)


def _stack(windows: Sequence[Windows], device: torch.device) -> _Tensors:
    """Return the windows of all networks; windows that they share are held once."""

    def tensor(arrays: Sequence[Array]) -> Tensor:
        made = {
            id(array): torch.as_tensor(array, dtype=torch.float32, device=device).flatten(1)
            for array in arrays
        }
        if len(made) == 1:
            return made[id(arrays[0])].expand(len(arrays), -1, -1)
        return torch.stack([made[id(array)] for array in arrays])

    return _Tensors(
        tensor([part.history for part in windows]), tensor([part.target for part in windows])
    )
