"""What the networks share: prediction, fast perturbation and Jacobian behind one class.

Each network is written as three parts, ``readout(hidden(preactivation(history)))``, of which the
first and the last are affine. Raising one region in the most recent sample then adds one column
to the pre-activation, and the mean over windows can be taken before the readout; both give the
same numbers as one full pass per region, several times faster.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from npi_bids.core.records import Array, Windows
from npi_bids.core.surrogate import Surrogate, TrainLog, TrainSettings, mean_log
from npi_bids.core.train import find_device, seeded, train_networks
from npi_bids.errors import InputDataError

# Windows that go through the network at once: few enough to stay in the cache of one core, which
# is worth a factor of two at 360 regions; more for small networks, whose calls cost more than
# their products.
_CHUNK, _CHUNK_OF_SMALL, FEW_REGIONS = 512, 1024, 100
_CACHED = 160_000  # numbers of several sources that small networks take at once


class SplitNetwork(nn.Module):
    """A network in three parts; see the module's docstring.

    ``skip`` is an optional linear layer from the history straight to the prediction.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skip: nn.Linear | None = None

    def forward(self, flat: Tensor) -> Tensor:
        """Predict from flat histories, shape (n_windows, n_lags * n_regions)."""
        predicted = self.readout(self.hidden(self.preactivation(flat)))
        return predicted if self.skip is None else predicted + self.skip(flat)

    def preactivation(self, flat: Tensor) -> Tensor:
        """Return the affine image of the histories."""
        raise NotImplementedError

    def columns(self) -> Tensor:
        """Return how the pre-activation changes per unit of each region's last sample.

        Shape (n_regions, *shape of one pre-activation).
        """
        raise NotImplementedError

    def hidden(self, preactivation: Tensor) -> Tensor:
        """Return the last layer before the readout."""
        raise NotImplementedError

    def readout(self, hidden: Tensor) -> Tensor:
        """Return the affine image of the hidden layer."""
        raise NotImplementedError

    def prepared_hidden(self) -> Callable[[Tensor], Tensor]:
        """Return a function equal to ``hidden``, with what never changes worked out beforehand.

        It may overwrite what it is given.
        """
        return self.hidden

    def hidden_sums(self, preactivation: Tensor, columns: Tensor) -> Tensor:
        """Return the hidden layer of every perturbed source, summed over windows, in double.

        Shape (n_regions, *shape of one hidden layer); the pre-activation is left as it is.
        """
        hidden = self.prepared_hidden()
        # Small networks take several sources at once, as many as fit the cache.
        at_once = max(1, _CACHED // preactivation.numel())
        scratch = preactivation.new_empty(at_once, *preactivation.shape)
        # Filled in place: small results kept between large scratch tensors would fragment the
        # heap, by 4 GB at 360 regions.
        shape = hidden(preactivation[:1].clone()).shape[1:]
        moved = preactivation.new_empty(len(columns), *shape, dtype=torch.float64)
        for start in range(0, len(columns), at_once):
            some = columns[start : start + at_once]
            shifted = torch.add(preactivation, some[:, None], out=scratch[: len(some)])
            after = hidden(shifted.flatten(0, 1)).unflatten(0, shifted.shape[:2])
            moved[start : start + at_once] = after.sum(dim=1)
        return moved

    def slopes(self, preactivation: Tensor) -> Tensor:
        """Return the derivative of the hidden layer by each region's last sample.

        Summed over the windows, in closed form; shape (n_regions, *shape of one hidden layer).
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class NetworkSurrogate:
    """Trained networks behind the :class:`~npi_bids.core.surrogate.Surrogate` protocol.

    Attributes
    ----------
    networks
        Members of the ensemble, alike but for their seed; all answers are means over them.
    n_lags, n_regions
        Past samples read, regions predicted.
    epochs
        Passes over the data that each member had when it was best.
    """

    networks: tuple[SplitNetwork, ...]
    n_lags: int
    n_regions: int
    epochs: tuple[int, ...]

    @property
    def members(self) -> tuple[NetworkSurrogate, ...]:
        """The networks, each as a surrogate of its own."""
        return tuple(
            NetworkSurrogate((network,), self.n_lags, self.n_regions, (epochs,))
            for network, epochs in zip(self.networks, self.epochs, strict=True)
        )

    def joined(self, other: NetworkSurrogate) -> NetworkSurrogate:
        """Return an ensemble of the members of both."""
        networks, epochs = self.networks + other.networks, self.epochs + other.epochs
        return NetworkSurrogate(networks, self.n_lags, self.n_regions, epochs)

    def step(self, history: Array) -> Array:
        """Predict the next sample."""
        with torch.inference_mode():
            chunks = [
                torch.stack([network(flat) for network in self.networks]).mean(dim=0)
                for flat in self._chunks(history)
            ]
        return _array(torch.cat(chunks))

    def tensors(self) -> dict[str, Array]:
        """Return the weights by name; of members after the first with their number before it."""
        return {
            f"{member}.{name}" if member else name: value.cpu().numpy()
            for member, network in enumerate(self.networks)
            for name, value in network.state_dict().items()
        }

    def perturbed_change(self, history: Array, strength: float) -> Array:
        """Return the mean change of the prediction, shape (source, target).

        The mean over windows is taken before the readout: in single precision within a chunk of
        windows, in double over the chunks.
        """
        chunks = self._chunks(history)
        with torch.inference_mode():
            changes = [self._change(network, chunks, strength) for network in self.networks]
        change: Array = np.mean(changes, axis=0) / len(history)
        return change + strength * self._skipped()

    def mean_jacobian(self, history: Array) -> Array:
        """Return the mean derivative by the most recent sample, shape (source, target)."""
        chunks = self._chunks(history)
        with torch.inference_mode():
            slopes = [
                _read_change(network, _total(
                    network.slopes(network.preactivation(flat)).double() for flat in chunks
                ))
                for network in self.networks
            ]  # fmt: skip
        jacobian: Array = np.mean(slopes, axis=0) / len(history)
        return jacobian + self._skipped()

    def _change(self, network: SplitNetwork, chunks: tuple[Tensor, ...], strength: float) -> Array:
        columns, hidden = strength * network.columns(), network.prepared_hidden()
        bases = (network.preactivation(flat) for flat in chunks)
        changes = (
            network.hidden_sums(base, columns) - hidden(base).sum(dim=0).double() for base in bases
        )
        return _read_change(network, _total(changes))

    def _skipped(self) -> Array:
        """Return the mean weights of the skip connections by the most recent sample."""
        skips = [network.skip for network in self.networks if network.skip is not None]
        if not skips:
            return np.zeros((self.n_regions, self.n_regions))
        weights: Array = np.mean(
            [_array(skip.weight.detach()[:, -self.n_regions :].T) for skip in skips], axis=0
        )
        return weights

    def _chunks(self, history: Array) -> tuple[Tensor, ...]:
        device = next(self.networks[0].parameters()).device
        flat = torch.as_tensor(history, dtype=torch.float32, device=device).flatten(1)
        size = _CHUNK_OF_SMALL if self.n_regions < FEW_REGIONS else _CHUNK
        chunks: tuple[Tensor, ...] = flat.split(size)
        return chunks


def fit_network(
    kind: Callable[[int, int, int | None], SplitNetwork],
    train: Windows,
    valid: Windows,
    settings: TrainSettings,
    like: Surrogate | None = None,
    *,
    start: Mapping[str, Array] | None = None,
) -> tuple[NetworkSurrogate, TrainLog]:
    """Make networks of that kind, one per seed, train them, and put them behind the protocol.

    Parameters
    ----------
    kind
        Called with the number of lags, of regions, and of hidden units (or None).
    train, valid
        Windows to learn from, and held-out windows (may be empty).
    settings
        Members have the seeds ``seed``, ``seed + 1``, ...
    like
        A fit whose numbers of epochs to keep, instead of stopping early.
    start
        Weights by name that every member starts from, instead of drawing them; 0 epochs leave
        them as they are.
    """
    _, n_lags, n_regions = train.history.shape
    networks = [
        make_network(kind, n_lags, n_regions, settings, member)
        for member in range(settings.n_seeds or 1)
    ]
    for network in networks if start else ():
        load_weights(network, start or {})
    if start and settings.epochs == 0:
        nothing = TrainLog((float("nan"),), (float("nan"),))
        return NetworkSurrogate(tuple(networks), n_lags, n_regions, (0,) * len(networks)), nothing
    known = like.epochs if isinstance(like, NetworkSurrogate) else None
    logs = train_networks(networks, [(train, valid)] * len(networks), settings, known)
    epochs = tuple(log.best_epoch for log in logs)
    return NetworkSurrogate(tuple(networks), n_lags, n_regions, epochs), mean_log(logs)


def make_network(
    kind: Callable[[int, int, int | None], SplitNetwork],
    n_lags: int,
    n_regions: int,
    settings: TrainSettings,
    member: int = 0,
) -> SplitNetwork:
    """Make one network from its seed, on its device."""
    with seeded(settings.seed + member):
        network = kind(n_lags, n_regions, settings.hidden)
        if settings.skip:
            network.skip = nn.Linear(n_lags * n_regions, n_regions, bias=False)
            nn.init.zeros_(network.skip.weight)
    return network.to(find_device(settings.device))


def load_weights(network: SplitNetwork, weights: Mapping[str, Array]) -> None:
    """Put weights into a network.

    Raises
    ------
    InputDataError
        They are those of another network.
    """
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    if own != given:
        unlike = sorted(name for name in own | given if own.get(name) != given.get(name))
        raise InputDataError(
            f"The pre-trained network is another one: {unlike[0]} has shape "
            f"{given.get(unlike[0])}, expected {own.get(unlike[0])}. Pre-train with the same "
            "--surrogate, --lags and --hidden."
        )
    network.load_state_dict(
        {name: torch.as_tensor(np.asarray(value)) for name, value in weights.items()}
    )


def _total(parts: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts)


def _read_change(network: SplitNetwork, change: Tensor) -> Array:
    """Send a summed change of the hidden layer through the affine readout."""
    change = change.to(torch.float32)
    zero = network.readout(torch.zeros_like(change[:1]))
    return _array(network.readout(change) - zero)


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().numpy().astype(np.float64)
    return array
