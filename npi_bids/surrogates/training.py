"""Training of networks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from npi_bids.errors import SurrogateError
from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import TrainLog, TrainSettings
from npi_bids.surrogates.devices import (
    full_precision,
    in_smaller_parts,
    is_out_of_memory,
    out_of_memory,
    warn_of_smaller_parts,
)
from npi_bids.surrogates.gradient_descent import stack_networks

# Largest number of weights of networks that are trained together, and largest number of such
# networks: beyond, batched products are no faster than single ones, and memory matters.
_MAX_SMALL_WEIGHTS = 100_000
_MAX_GROUP = 64
# Epochs without a lower held-out error that end the training of networks that are not worthwhile:
# their error rises from the first epochs on.
_SHORT_PATIENCE = 4
_GATHERED_BATCHES = 64  # batches that are gathered in random order at once

Pair = tuple[Windows, Windows]


def train_networks(
    networks: Sequence[nn.Module],
    pairs: Sequence[Pair],
    settings: TrainSettings,
    epochs: Sequence[int] | None = None,
    worthwhile_error: float = math.inf,
) -> list[TrainLog]:
    """Train networks in place with Adam on the mean squared error (Luo et al. 2025).

    Each epoch visits the windows in a new random order, which depends only on the seed and the
    index of the network. Small networks of the same shape and amount of data are trained together,
    with one batched matrix product per layer; large ones one after the other. Both give the same
    weights up to rounding. Where the memory of a GPU does not suffice, fewer networks are trained
    together.

    Parameters
    ----------
    networks
        Each maps flat histories (n_windows, n_lags * n_regions) to (n_windows, n_regions); they
        are already on the device of the settings.
    pairs
        Training windows and held-out windows (may be empty) of each network.
    settings
        Resolved: epochs, batch size, step size, weight decay, patience and seed (of the first
        network; those of the others count up from it).
    epochs
        Number of epochs of each network, instead of that of the settings.
    worthwhile_error
        As long as no network that is trained with patience has had a lower held-out error, a few
        epochs without a lower one end the training.

    Returns
    -------
    list of TrainLog
        Errors of each network per epoch.

    Raises
    ------
    SurrogateError
        If a loss becomes non-finite, or the memory of a GPU does not suffice for one network.
    """
    logs: list[TrainLog] = []
    groups = _group_networks(networks, pairs, epochs)
    while groups:
        group = groups.pop(0)
        members = [networks[index] for index in group]
        n_epochs = (settings.epochs or 1) if epochs is None else epochs[group[0]]
        patience = settings.patience or 0 if epochs is None else 0
        try:
            with full_precision():
                run = _JointTraining(members, [pairs[index] for index in group], settings, group)
                logs += run.train(n_epochs, patience, worthwhile_error)
            continue
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(group) == 1:
                raise out_of_memory("training of a network", error) from error
            reason = str(error)
        # Networks that are trained together keep their weights until all of them are trained.
        half = (len(group) + 1) // 2
        groups = [group[:half], group[half:], *groups]
        warn_of_smaller_parts(
            f"training of {len(group)} networks together", f"groups of {half}", reason
        )
    return logs


def _group_networks(
    networks: Sequence[nn.Module], pairs: Sequence[Pair], epochs: Sequence[int] | None
) -> list[range]:
    """Return ranges of consecutive networks to train together: small and of equal sizes."""
    groups: list[range] = []
    signatures: list[Any] = []
    for index, (network, (train, test)) in enumerate(zip(networks, pairs, strict=True)):
        shapes = tuple(parameter.shape for parameter in network.parameters())
        n_weights = sum(shape.numel() for shape in shapes)
        signature = (type(network), shapes, len(train), len(test), epochs and epochs[index])
        small = n_weights <= _MAX_SMALL_WEIGHTS and not any(
            isinstance(m, nn.RNN) for m in network.modules()
        )
        if small and groups and signatures[-1] == signature and len(groups[-1]) < _MAX_GROUP:
            groups[-1] = range(groups[-1].start, index + 1)
        else:
            groups.append(range(index, index + 1))
            signatures.append(signature)
    return groups


class _JointTraining:
    """Networks that are trained together."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        pairs: Sequence[Pair],
        settings: TrainSettings,
        indices: range,
    ) -> None:
        self.networks, self.settings = networks, settings
        self.device = next(networks[0].parameters()).device
        self.train_data, self.test_data = (
            _stack([pair[side] for pair in pairs], self.device) for side in (0, 1)
        )
        self.orders = [torch.Generator().manual_seed(settings.seed + index) for index in indices]
        self.n_gathered = _GATHERED_BATCHES
        self.stack = stack_networks(networks)
        self.alone = len(networks) == 1 and self.stack is None
        self.parameters: dict[str, Tensor]
        if self.stack is not None:
            self.parameters = self.stack.parameters
        elif self.alone:
            self.parameters = dict(networks[0].named_parameters())
        else:
            stacked, _ = torch.func.stack_module_state(list(networks))
            self.parameters = {name: p.detach().requires_grad_() for name, p in stacked.items()}

    def train(self, epochs: int, patience: int, worthwhile_error: float) -> list[TrainLog]:
        """Train for ``epochs``, or until no network has improved for ``patience`` epochs.

        As long as no error is below the worthwhile one, patience is short.
        """
        descend = self._make_step()
        errors: list[tuple[Tensor, Tensor]] = []
        best = torch.full((len(self.networks),), torch.inf, device=self.device)
        best_weights = (
            {name: p.detach().clone() for name, p in self.parameters.items()} if patience else {}
        )
        best_epochs = torch.zeros(len(self.networks), dtype=torch.long, device=self.device)
        for epoch in range(epochs):
            errors.append((self._epoch(descend), self._held_out()))
            self._check_divergence(errors[-1][0], epoch)
            if patience:
                better = errors[-1][1] < best
                best, best_epochs = (
                    torch.where(better, errors[-1][1], best),
                    best_epochs.masked_fill(better, epoch),
                )
                for name, parameter in self.parameters.items():
                    mask = (
                        better[0] if self.alone else better.view(-1, *[1] * (parameter.ndim - 1))
                    )
                    best_weights[name] = torch.where(mask, parameter.detach(), best_weights[name])
                hopeless = not bool((best < worthwhile_error).any())
                allowed = min(patience, _SHORT_PATIENCE) if hopeless else patience
                if epoch - int(best_epochs.max()) >= allowed:
                    break
        self._write_back(best_weights or self.parameters)
        final_epochs = best_epochs if patience else torch.full_like(best_epochs, len(errors) - 1)
        curves = [torch.stack(side).T.tolist() for side in zip(*errors, strict=True)]
        return [
            TrainLog(tuple(train), tuple(valid), best_epoch=int(epoch_index) + 1)
            for train, valid, epoch_index in zip(*curves, final_epochs, strict=True)
        ]

    def _epoch(self, descend: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Make one pass over the windows; return the mean loss of each network during it."""
        n_windows, batch_size = self.train_data.target.shape[1], self.settings.batch_size
        orders = torch.stack([torch.randperm(n_windows, generator=g) for g in self.orders])
        losses, sizes = [], []
        for network in self.networks:
            network.train()
        for history, target in self._gather(orders.to(self.device)):
            for pair in zip(
                history.split(batch_size, dim=1), target.split(batch_size, dim=1), strict=True
            ):
                losses.append(descend(*pair))
                sizes.append(pair[0].shape[1])
        weights = torch.tensor(sizes, device=self.device) / n_windows
        return weights @ torch.stack(losses)

    def _gather(self, orders: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield windows in random order, for many steps at once.

        Each step takes a slice without copying. If the memory of a GPU does not suffice, windows
        of fewer steps are gathered from then on, in the same order.
        """
        rows = torch.arange(len(self.networks), device=self.device)[:, None]
        start = 0
        while start < orders.shape[1]:
            columns = orders[:, start : start + self.n_gathered * self.settings.batch_size]
            try:
                gathered = (
                    self.train_data.history[rows, columns],
                    self.train_data.target[rows, columns],
                )
            except RuntimeError as error:
                if self.n_gathered == 1 or not is_out_of_memory(error):
                    raise
                reason = str(error)
            else:
                yield gathered
                start += columns.shape[1]
                continue
            self.n_gathered //= 2
            warn_of_smaller_parts(
                "windows of an epoch", f"parts of {self.n_gathered} training steps", reason
            )

    def _make_step(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a step of Adam: written out if possible, else by automatic differentiation.

        The step takes a batch and returns the loss of each network before the step.
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
        if not self.test_data.target.shape[1]:
            return torch.full((len(self.networks),), torch.nan, device=self.device)
        return in_smaller_parts(self._held_out_in_parts, "held-out error")

    def _held_out_in_parts(self, divisor: int) -> Tensor:
        n_windows = self.test_data.target.shape[1]
        size = max(1, n_windows // divisor)
        parts = zip(
            self.test_data.history.split(size, dim=1),
            self.test_data.target.split(size, dim=1),
            strict=True,
        )
        with torch.no_grad():
            errors = [
                ((self._predict(history) - target) ** 2).mean(dim=(1, 2))
                * (target.shape[1] / n_windows)
                for history, target in parts
            ]
        return torch.stack(errors).sum(dim=0)

    def _predict(self, flat: Tensor) -> Tensor:
        """Predict for all networks, shape (n_networks, n_windows, n_regions)."""
        if self.stack is not None:
            return self.stack.predict(flat)
        if self.alone:
            return self.networks[0](flat[0])[None]  # type: ignore[no-any-return]

        def predict_one(parameters: dict[str, Tensor], histories: Tensor) -> Tensor:
            predicted: Tensor = torch.func.functional_call(
                self.networks[0], parameters, (histories,)
            )
            return predicted

        stacked: Tensor = torch.func.vmap(predict_one)(self.parameters, flat)
        return stacked

    def _write_back(self, values: dict[str, Tensor]) -> None:
        """Put the trained values into the networks."""
        for index, network in enumerate(self.networks):
            network.eval()
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    value = values[name]
                    parameter.copy_(value if self.alone else value[index])

    def _check_divergence(self, losses: Tensor, epoch: int) -> None:
        if not bool(torch.isfinite(losses).all()):
            raise SurrogateError(
                f"The loss became {losses.max():g} at epoch {epoch + 1}; lower --learning-rate "
                f"({self.settings.learning_rate}) or check the scale of the signals."
            )


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Set the number of threads of torch within a context, and use one for numpy.

    The threads of OpenBLAS spin while they wait for each other: two of them took 20 times the
    computing time of one on a busy machine, and sums differed in their last bits.
    """
    previous = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(previous)


def requested_threads() -> int:
    """Return the number of threads that ``OMP_NUM_THREADS`` asks for; 1 where it is not set."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(stated)) if stated.isdecimal() else 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch within a context and restore its global state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@dataclass(frozen=True, slots=True, eq=False)
class _Tensors:
    history: Tensor  # (n_networks, n_windows, n_lags * n_regions)
    target: Tensor  # (n_networks, n_windows, n_regions)


def _stack(windows: Sequence[Windows], device: torch.device) -> _Tensors:
    """Stack the windows of all networks; shared windows are stored once."""

    def stack_arrays(arrays: Sequence[Array]) -> Tensor:
        tensors_by_id = {
            id(array): torch.as_tensor(array, dtype=torch.float32, device=device).flatten(1)
            for array in arrays
        }
        if len(tensors_by_id) == 1:
            return tensors_by_id[id(arrays[0])].expand(len(arrays), -1, -1)
        return torch.stack([tensors_by_id[id(array)] for array in arrays])

    return _Tensors(
        stack_arrays([part.history for part in windows]),
        stack_arrays([part.target for part in windows]),
    )
