"""Networks: multilayer perceptron, convolution over time and recurrent network (Luo et al. 2025).

Each network is written as three parts, ``readout(hidden(preactivation(history)))``, of which the
first and the last are affine. Raising one region in the most recent sample then adds one column
to the pre-activation, and the mean over windows can be taken before the readout; both give the
same numbers as one full pass per region, several times faster.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from npi_bids.errors import InputDataError, SettingsError
from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings, mean_log
from npi_bids.surrogates.training import find_device, seeded, train_networks

# Windows that go through the network at once: few enough to stay in the cache of one core, which
# is worth a factor of two at 360 regions; more for small networks, whose calls cost more than
# their products.
_CHUNK, _CHUNK_OF_SMALL, FEW_REGIONS = 512, 1024, 100
_CACHED = 160_000  # numbers of several sources that small networks take at once
# Two convolutions of kernel 2 leave at least one sample only from three lags on.
_MIN_LAGS = 3


class NetworkFields(TypedDict):
    """What loading networks needs beside the tensors."""

    form: Literal["network"]
    kind: str
    n_lags: int
    n_regions: int
    widths: Mapping[str, int]
    skip: bool
    epochs: Sequence[int]


class SplitNetwork(nn.Module):
    """A network in three parts; see the module's docstring.

    ``skip`` is an optional linear layer from the history straight to the prediction.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skip: nn.Linear | None = None

    def widths(self) -> dict[str, int]:
        """Return the arguments that the network was made with, beside its lags and regions."""
        raise NotImplementedError

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
class NetworkSurrogate(Surrogate):
    """Trained networks behind the :class:`~npi_bids.surrogates.base.Surrogate` protocol.

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

    def compute_on(self, device: str) -> None:
        """Move the networks to a device."""
        for network in self.networks:
            network.to(find_device(device))

    def facts(self) -> dict[str, object]:
        """Return what the networks are: kind, sizes, and how long each was trained."""
        first = self.networks[0]
        return {
            "form": "network",
            "kind": type(first).__name__,
            "n_lags": self.n_lags,
            "n_regions": self.n_regions,
            "widths": first.widths(),
            "skip": first.skip is not None,
            "epochs": list(self.epochs),
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


def load_network(
    tensors: Mapping[str, Array],
    facts: NetworkFields,
    *further: type[SplitNetwork],
) -> NetworkSurrogate:
    """Return networks as they were stored, on the CPU.

    Parameters
    ----------
    tensors, facts
        As :meth:`NetworkSurrogate.tensors` and :meth:`NetworkSurrogate.facts` gave them.
    *further
        Kinds of networks beside those of this module.
    """
    kinds = {kind.__name__: kind for kind in (MLP, CNN, RNN, *further)}
    n_lags, n_regions = int(facts["n_lags"]), int(facts["n_regions"])
    networks = []
    for member in range(len(facts["epochs"])):
        with seeded(0):  # drawing weights, which are replaced, must not move the generator
            network = kinds[facts["kind"]](n_lags, n_regions, **facts["widths"])
            if facts["skip"]:
                network.skip = nn.Linear(n_lags * n_regions, n_regions, bias=False)
        own = {name: tensors[f"{member}.{name}" if member else name] for name in
               network.state_dict()}  # fmt: skip
        load_weights(network, own)
        networks.append(network)
    return NetworkSurrogate(tuple(networks), n_lags, n_regions, tuple(facts["epochs"]))


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
        Weights by name that every member starts from, instead of drawing them.
    """
    settings = with_width_of(start, settings) if start else settings
    _, n_lags, n_regions = train.history.shape
    networks = [
        make_network(kind, n_lags, n_regions, settings, member)
        for member in range(settings.n_seeds or 1)
    ]
    for network in networks if start else ():
        load_weights(network, start or {})
    known = like.epochs if isinstance(like, NetworkSurrogate) else None
    logs = train_networks(networks, [(train, valid)] * len(networks), settings, known)
    epochs = tuple(log.best_epoch for log in logs)
    return NetworkSurrogate(tuple(networks), n_lags, n_regions, epochs), mean_log(logs)


def given_network(
    kind: Callable[[int, int, int | None], SplitNetwork],
    windows: Windows,
    settings: TrainSettings,
    weights: Mapping[str, Array],
) -> NetworkSurrogate:
    """Return a network with the weights that it is given, of the kind and for the windows.

    Raises
    ------
    InputDataError
        The weights are those of another network.
    """
    _, n_lags, n_regions = windows.history.shape
    network = make_network(kind, n_lags, n_regions, with_width_of(weights, settings))
    load_weights(network, weights)
    return NetworkSurrogate((network,), n_lags, n_regions, (0,))


def with_width_of(weights: Mapping[str, Array], settings: TrainSettings) -> TrainSettings:
    """Return settings with as many hidden units as the weights have.

    A group's network keeps its width where a subject lacks some of the regions.
    """
    first = weights.get("first.weight")
    return settings if first is None else replace(settings, hidden=len(first))


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


class CNN(SplitNetwork):
    """``Conv1d N -> 3N -> N`` over time, kernel 2, ReLU between, then linear, as released."""

    def __init__(self, n_lags: int, n_regions: int, hidden: int | None) -> None:
        super().__init__()
        if n_lags < _MIN_LAGS:
            raise SettingsError(
                f"The cnn surrogate needs --lags {_MIN_LAGS} or more (two convolutions of 2 "
                f"samples each), not {n_lags}."
            )
        self.n_lags, self.n_regions = n_lags, n_regions
        self.first = nn.Conv1d(n_regions, hidden or 3 * n_regions, kernel_size=2)
        self.second = nn.Conv1d(hidden or 3 * n_regions, n_regions, kernel_size=2)
        self.third = nn.Linear(n_regions * (n_lags - 2), n_regions)

    def widths(self) -> dict[str, int]:
        """Return the number of channels of the first convolution."""
        return {"hidden": self.first.out_channels}

    def preactivation(self, flat: Tensor) -> Tensor:
        """Return the first convolution before its ReLU, shape (n_windows, 3N, n_lags - 1)."""
        history = flat.view(-1, self.n_lags, self.n_regions)
        first: Tensor = self.first(history.permute(0, 2, 1))
        return first

    def columns(self) -> Tensor:
        """Return the kernel's last tap at the last position, zero elsewhere."""
        weight = self.first.weight  # (3N, N, 2)
        columns = weight.new_zeros(self.n_regions, len(weight), self.n_lags - 1)
        columns[:, :, -1] = weight[:, :, 1].T
        return columns

    def hidden(self, preactivation: Tensor) -> Tensor:
        """Return the channels after the ReLU, shape (n_windows, 3N, n_lags - 1)."""
        return torch.relu(preactivation)

    def slopes(self, preactivation: Tensor) -> Tensor:
        """Return the columns times how often each unit is active."""
        active = (preactivation > 0).to(preactivation.dtype)
        return self.columns() * active.sum(dim=0)

    def readout(self, hidden: Tensor) -> Tensor:
        """Return the prediction; the second convolution is linear and belongs here."""
        predicted: Tensor = self.third(self.second(hidden).flatten(1))
        return predicted


def fit_cnn(
    train: Windows, valid: Windows, settings: TrainSettings, like: Surrogate | None = None
) -> tuple[Surrogate, TrainLog]:
    """Train a convolution over time; shapes as in :func:`~.network.fit_network`."""
    return fit_network(CNN, train, valid, settings, like)


class MLP(SplitNetwork):
    """``n_lags N -> 2N -> int(0.8N) -> N`` with ReLU between, as released.

    ``second`` is another width of the second layer; ``zero`` lets the output start at zero.
    """

    def __init__(
        self,
        n_lags: int,
        n_regions: int,
        hidden: int | None,
        *,
        second: int | None = None,
        zero: bool = False,
    ) -> None:
        super().__init__()
        self.n_regions = n_regions
        width = hidden or 2 * n_regions
        narrow = second or max(1, int(0.4 * width))
        self.first = nn.Linear(n_lags * n_regions, width)
        self.second = nn.Linear(width, narrow)
        self.third = nn.Linear(narrow, n_regions)
        if zero:
            nn.init.zeros_(self.third.weight)
            nn.init.zeros_(self.third.bias)

    def widths(self) -> dict[str, int]:
        """Return the units of both hidden layers."""
        return {"hidden": self.first.out_features, "second": self.second.out_features}

    def plain_layers(self) -> tuple[str, ...]:
        """Return the names of the layers, with ReLU between; none where a skip joins them."""
        return () if self.skip is not None else ("first", "second", "third")

    def preactivation(self, flat: Tensor) -> Tensor:
        """Return the first layer before its ReLU."""
        first: Tensor = self.first(flat)
        return first

    def columns(self) -> Tensor:
        """Return the weights of the most recent sample, one row per region."""
        return self.first.weight[:, -self.n_regions :].T

    def hidden(self, preactivation: Tensor) -> Tensor:
        """Return the second hidden layer."""
        return torch.relu(self.second(torch.relu(preactivation)))

    def prepared_hidden(self) -> Callable[[Tensor], Tensor]:
        """Return ``hidden`` that works in place."""
        return lambda preactivation: torch.relu_(self.second(torch.relu_(preactivation)))

    def hidden_sums(self, preactivation: Tensor, columns: Tensor) -> Tensor:
        """Return the hidden layer of every perturbed source, summed over windows, in double.

        Units stand in rows and windows in columns, where adding one number to a unit is fast; in
        large networks the product takes all the time.
        """
        if self.n_regions >= FEW_REGIONS:
            return super().hidden_sums(preactivation, columns)
        rows = preactivation.T.contiguous()
        weight, bias = self.second.weight, self.second.bias[:, None]
        moved, after = torch.empty_like(rows), rows.new_empty(len(weight), rows.shape[1])
        sums = []
        for column in columns:
            torch.add(rows, column[:, None], out=moved).clamp_min_(0)
            torch.addmm(bias, weight, moved, out=after).clamp_min_(0)
            sums.append(after.sum(dim=1))
        return torch.stack(sums).double()

    def slopes(self, preactivation: Tensor) -> Tensor:
        """Return ``W1 (W2 o D1' D2)``, where D1 and D2 tell which units are active when."""
        first = (preactivation > 0).to(preactivation.dtype)
        second = (self.second(torch.relu(preactivation)) > 0).to(preactivation.dtype)
        slopes: Tensor = self.columns() @ (self.second.weight.T * (first.T @ second))
        return slopes

    def readout(self, hidden: Tensor) -> Tensor:
        """Return the prediction."""
        predicted: Tensor = self.third(hidden)
        return predicted


def fit_mlp(
    train: Windows, valid: Windows, settings: TrainSettings, like: Surrogate | None = None
) -> tuple[Surrogate, TrainLog]:
    """Train a two-hidden-layer network; shapes as in :func:`~.network.fit_network`."""
    return fit_network(MLP, train, valid, settings, like)


class RNN(SplitNetwork):
    """One step of a tanh RNN from the encoding of the last sample, as released.

    Encoder ``N -> h -> h`` with ReLU between, h = int(2.5 N). The released code encodes the most
    recent sample alone and feeds zeros to the recurrent layer, so earlier lags have no effect.
    """

    def __init__(self, n_lags: int, n_regions: int, hidden: int | None) -> None:  # noqa: ARG002 (same signature for all networks)
        super().__init__()
        self.n_regions = n_regions
        width = hidden or int(2.5 * n_regions)
        self.first = nn.Linear(n_regions, width)
        self.second = nn.Linear(width, width)
        self.recurrent = nn.RNN(input_size=1, hidden_size=width, batch_first=True)
        self.third = nn.Linear(width, n_regions)

    def widths(self) -> dict[str, int]:
        """Return the number of hidden units."""
        return {"hidden": self.first.out_features}

    def preactivation(self, flat: Tensor) -> Tensor:
        """Return the encoder's first layer, of the most recent sample, before its ReLU."""
        first: Tensor = self.first(flat[:, -self.n_regions :])
        return first

    def columns(self) -> Tensor:
        """Return the encoder's weights, one row per region."""
        return self.first.weight.T

    def hidden(self, preactivation: Tensor) -> Tensor:
        """Return the state after one step with zero input."""
        initial = self.second(torch.relu(preactivation))
        weight, bias = self._recurrence()
        return torch.tanh(nn.functional.linear(initial, weight, bias))

    def prepared_hidden(self) -> Callable[[Tensor], Tensor]:
        """Return ``hidden`` with its two affine maps in a row made into one."""
        weight, bias = self._recurrence()
        both = weight @ self.second.weight
        offset = weight @ self.second.bias + bias
        return lambda preactivation: torch.tanh(
            nn.functional.linear(torch.relu(preactivation), both, offset)
        )

    def slopes(self, preactivation: Tensor) -> Tensor:
        """Return ``W1 ((Whh W2)' o D1' S)`` with the slopes S of tanh, 1 - h^2."""
        active = (preactivation > 0).to(preactivation.dtype)
        steep = 1 - self.hidden(preactivation) ** 2
        through = self.second.weight.T @ self._recurrence()[0].T
        return self.columns() @ (through * (active.T @ steep))

    def readout(self, hidden: Tensor) -> Tensor:
        """Return the prediction."""
        predicted: Tensor = self.third(hidden)
        return predicted

    def _recurrence(self) -> tuple[Tensor, Tensor]:
        """Return weights and bias of one recurrent step with zero input."""
        weights = dict(self.recurrent.named_parameters())
        return weights["weight_hh_l0"], weights["bias_hh_l0"] + weights["bias_ih_l0"]


def fit_rnn(
    train: Windows, valid: Windows, settings: TrainSettings, like: Surrogate | None = None
) -> tuple[Surrogate, TrainLog]:
    """Train a recurrent network; shapes as in :func:`~.network.fit_network`."""
    return fit_network(RNN, train, valid, settings, like)
