"""Network surrogates: multilayer perceptron, temporal convolution and RNN (Luo et al. 2025).

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
from npi_bids.surrogates.devices import find_device, full_precision, in_smaller_parts
from npi_bids.surrogates.training import seeded, train_networks

# Windows that pass through a network at once: few enough to stay in the cache of one core, which
# is twice as fast at 360 regions; more for networks of fewer than LARGE_N_REGIONS regions, whose
# calls take longer than their products.
_CHUNK, _SMALL_NETWORK_CHUNK, LARGE_N_REGIONS = 512, 1024, 100
_CACHED_NUMBERS = 160_000  # numbers of several sources that small networks take at once
# On a GPU, parts are large enough to fill it: windows, and numbers of several sources (256 MB).
_GPU_CHUNK, _GPU_NUMBERS = 1024, 2**26
# Two convolutions of kernel 2 leave at least one sample only from three lags on.
_MIN_LAGS = 3


class NetworkFields(TypedDict):
    """Fields that loading networks requires besides the tensors."""

    form: Literal["network"]
    kind: str
    n_lags: int
    n_regions: int
    widths: Mapping[str, int]
    skip: bool
    epochs: Sequence[int]


class SplitNetwork(nn.Module):
    """A network in three parts, as described in the docstring of the module.

    ``skip`` is an optional linear layer directly from the history to the prediction.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skip: nn.Linear | None = None

    def widths(self) -> dict[str, int]:
        """Return the arguments of the constructor other than the numbers of lags and regions."""
        raise NotImplementedError

    def forward(self, flat: Tensor) -> Tensor:
        """Predict from flat histories, shape (n_windows, n_lags * n_regions)."""
        predicted = self.readout(self.hidden(self.preactivation(flat)))
        return predicted if self.skip is None else predicted + self.skip(flat)

    def preactivation(self, flat: Tensor) -> Tensor:
        """Return the affine image of the histories."""
        raise NotImplementedError

    def columns(self) -> Tensor:
        """Return the change of the pre-activation per unit of each region's last sample.

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
        """Return a function equal to ``hidden``, with constant terms computed beforehand.

        It may overwrite its argument.
        """
        return self.hidden

    def hidden_sums(self, preactivation: Tensor, columns: Tensor, most_numbers: int) -> Tensor:
        """Return the hidden layer of every perturbed source, summed over windows, in double.

        Shape (n_regions, *shape of one hidden layer); the pre-activation is not changed.
        ``most_numbers`` bounds the numbers of sources that are processed at once.
        """
        hidden = self.prepared_hidden()
        n_sources = max(1, most_numbers // preactivation.numel())
        scratch = preactivation.new_empty(n_sources, *preactivation.shape)
        # Filled in place: small results allocated between large scratch tensors would fragment the
        # heap, by 4 GB at 360 regions.
        shape = hidden(preactivation[:1].clone()).shape[1:]
        sums = preactivation.new_empty(len(columns), *shape, dtype=torch.float64)
        for start in range(0, len(columns), n_sources):
            block = columns[start : start + n_sources]
            shifted = torch.add(preactivation, block[:, None], out=scratch[: len(block)])
            perturbed = hidden(shifted.flatten(0, 1)).unflatten(0, shifted.shape[:2])
            sums[start : start + n_sources] = perturbed.sum(dim=1)
        return sums

    def slopes(self, preactivation: Tensor) -> Tensor:
        """Return the derivative of the hidden layer by each region's last sample.

        Summed over the windows, in closed form; shape (n_regions, *shape of one hidden layer).
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class NetworkSurrogate(Surrogate):
    """Trained networks with the interface of :class:`~npi_bids.surrogates.base.Surrogate`.

    Attributes
    ----------
    networks
        Members of the ensemble, which differ only in their seed; all results are means over them.
    n_lags, n_regions
        Number of past samples read and of regions predicted.
    epochs
        Best epoch of each member.
    """

    networks: tuple[SplitNetwork, ...]
    n_lags: int
    n_regions: int
    epochs: tuple[int, ...]

    @property
    def members(self) -> tuple[NetworkSurrogate, ...]:
        """The networks, each as a separate surrogate."""
        return tuple(
            NetworkSurrogate((network,), self.n_lags, self.n_regions, (epochs,))
            for network, epochs in zip(self.networks, self.epochs, strict=True)
        )

    def join(self, other: NetworkSurrogate) -> NetworkSurrogate:
        """Return the ensemble of the members of two surrogates."""
        networks, epochs = self.networks + other.networks, self.epochs + other.epochs
        return NetworkSurrogate(networks, self.n_lags, self.n_regions, epochs)

    def step(self, history: Array) -> Array:
        """Predict the next sample."""
        return in_smaller_parts(lambda divisor: self._step(history, divisor), "prediction")

    def tensors(self) -> dict[str, Array]:
        """Return the weights by name; names of members after the first begin with their number."""
        return {
            f"{member}.{name}" if member else name: value.cpu().numpy()
            for member, network in enumerate(self.networks)
            for name, value in network.state_dict().items()
        }

    def compute_on(self, device: str) -> None:
        """Move the networks to a device."""
        for network in self.networks:
            network.to(find_device(device, self.n_regions))

    def fields(self) -> dict[str, object]:
        """Return type, sizes and number of epochs of the networks."""
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
        return in_smaller_parts(
            lambda divisor: self._perturbed_change(history, strength, divisor), "perturbation"
        )

    def mean_jacobian(self, history: Array) -> Array:
        """Return the mean derivative by the most recent sample, shape (source, target)."""
        return in_smaller_parts(lambda divisor: self._mean_jacobian(history, divisor), "Jacobian")

    def _step(self, history: Array, divisor: int) -> Array:
        with torch.inference_mode(), full_precision():
            chunks = [
                torch.stack([network(flat) for network in self.networks]).mean(dim=0)
                for flat in self._chunks(history, divisor)
            ]
        return _array(torch.cat(chunks))

    def _perturbed_change(self, history: Array, strength: float, divisor: int) -> Array:
        chunks = self._chunks(history, divisor)
        most_numbers = (
            _GPU_NUMBERS if self._device.type == "cuda" else _CACHED_NUMBERS
        ) // divisor
        with torch.inference_mode(), full_precision():
            changes = [
                self._change(network, chunks, strength, most_numbers) for network in self.networks
            ]
        change: Array = np.mean(changes, axis=0) / len(history)
        return change + strength * self._skip_weights()

    def _mean_jacobian(self, history: Array, divisor: int) -> Array:
        chunks = self._chunks(history, divisor)
        with torch.inference_mode(), full_precision():
            slopes = [
                _read_out_change(network, _sum_tensors(
                    network.slopes(network.preactivation(flat)).double() for flat in chunks
                ))
                for network in self.networks
            ]  # fmt: skip
        jacobian: Array = np.mean(slopes, axis=0) / len(history)
        return jacobian + self._skip_weights()

    @property
    def _device(self) -> torch.device:
        return next(self.networks[0].parameters()).device

    def _change(
        self,
        network: SplitNetwork,
        chunks: tuple[Tensor, ...],
        strength: float,
        most_numbers: int,
    ) -> Array:
        columns, hidden = strength * network.columns(), network.prepared_hidden()
        bases = (network.preactivation(flat) for flat in chunks)
        changes = (
            network.hidden_sums(base, columns, most_numbers) - hidden(base).sum(dim=0).double()
            for base in bases
        )
        return _read_out_change(network, _sum_tensors(changes))

    def _skip_weights(self) -> Array:
        """Return the mean weights of the skip connections by the most recent sample."""
        skips = [network.skip for network in self.networks if network.skip is not None]
        if not skips:
            return np.zeros((self.n_regions, self.n_regions))
        weights: Array = np.mean(
            [_array(skip.weight.detach()[:, -self.n_regions :].T) for skip in skips], axis=0
        )
        return weights

    def _chunks(self, history: Array, divisor: int) -> tuple[Tensor, ...]:
        flat = torch.as_tensor(history, dtype=torch.float32, device=self._device).flatten(1)
        n_windows = _SMALL_NETWORK_CHUNK if self.n_regions < LARGE_N_REGIONS else _CHUNK
        n_windows = _GPU_CHUNK if flat.is_cuda else n_windows
        chunks: tuple[Tensor, ...] = flat.split(max(1, n_windows // divisor))
        return chunks


def load_network(
    tensors: Mapping[str, Array],
    fields: NetworkFields,
    *extra_types: type[SplitNetwork],
) -> NetworkSurrogate:
    """Restore stored networks, on the CPU.

    Parameters
    ----------
    tensors, fields
        Results of :meth:`NetworkSurrogate.tensors` and :meth:`NetworkSurrogate.fields`.
    *extra_types
        Types of network besides those of this module.
    """
    network_types = {
        network_type.__name__: network_type for network_type in (MLP, CNN, RNN, *extra_types)
    }
    n_lags, n_regions = int(fields["n_lags"]), int(fields["n_regions"])
    networks = []
    for member in range(len(fields["epochs"])):
        with seeded(0):  # initial weights are replaced and must not advance the generator
            network = network_types[fields["kind"]](n_lags, n_regions, **fields["widths"])
            if fields["skip"]:
                network.skip = nn.Linear(n_lags * n_regions, n_regions, bias=False)
        member_weights = {name: tensors[f"{member}.{name}" if member else name] for name in
               network.state_dict()}  # fmt: skip
        load_weights(network, member_weights)
        networks.append(network)
    return NetworkSurrogate(tuple(networks), n_lags, n_regions, tuple(fields["epochs"]))


def fit_network(
    constructor: Callable[[int, int, int | None], SplitNetwork],
    train: Windows,
    valid: Windows,
    settings: TrainSettings,
    like: Surrogate | None = None,
    *,
    start: Mapping[str, Array] | None = None,
) -> tuple[NetworkSurrogate, TrainLog]:
    """Build networks, one per seed, and train them.

    Parameters
    ----------
    constructor
        Called with the number of lags, of regions, and of hidden units (or None).
    train, valid
        Training windows and held-out windows (may be empty).
    settings
        Members have the seeds ``seed``, ``seed + 1``, ...
    like
        A fit whose numbers of epochs are used, instead of early stopping.
    start
        Initial weights of every member, by name; random if None.
    """
    settings = match_width(start, settings) if start else settings
    _, n_lags, n_regions = train.history.shape
    networks = [
        make_network(constructor, n_lags, n_regions, settings, member)
        for member in range(settings.n_seeds or 1)
    ]
    for network in networks if start else ():
        load_weights(network, start or {})
    n_epochs = like.epochs if isinstance(like, NetworkSurrogate) else None
    logs = train_networks(networks, [(train, valid)] * len(networks), settings, n_epochs)
    epochs = tuple(log.best_epoch for log in logs)
    return NetworkSurrogate(tuple(networks), n_lags, n_regions, epochs), mean_log(logs)


def build_network(
    constructor: Callable[[int, int, int | None], SplitNetwork],
    windows: Windows,
    settings: TrainSettings,
    weights: Mapping[str, Array],
) -> NetworkSurrogate:
    """Build a network with supplied weights for the shape of the windows.

    Raises
    ------
    InputDataError
        If the weights belong to a different network.
    """
    _, n_lags, n_regions = windows.history.shape
    network = make_network(constructor, n_lags, n_regions, match_width(weights, settings))
    load_weights(network, weights)
    return NetworkSurrogate((network,), n_lags, n_regions, (0,))


def match_width(weights: Mapping[str, Array], settings: TrainSettings) -> TrainSettings:
    """Return settings with the number of hidden units of the weights.

    A group's network keeps its width if a subject lacks some of the regions.
    """
    first = weights.get("first.weight")
    return settings if first is None else replace(settings, hidden=len(first))


def make_network(
    constructor: Callable[[int, int, int | None], SplitNetwork],
    n_lags: int,
    n_regions: int,
    settings: TrainSettings,
    member: int = 0,
) -> SplitNetwork:
    """Build one network from its seed, on its device."""
    with seeded(settings.seed + member):
        network = constructor(n_lags, n_regions, settings.hidden)
        if settings.skip:
            network.skip = nn.Linear(n_lags * n_regions, n_regions, bias=False)
            nn.init.zeros_(network.skip.weight)
    return network.to(find_device(settings.device, n_regions))


def load_weights(network: SplitNetwork, weights: Mapping[str, Array]) -> None:
    """Load weights into a network.

    Raises
    ------
    InputDataError
        If they belong to a different network.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    supplied = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != supplied:
        differing = sorted(
            name for name in expected | supplied if expected.get(name) != supplied.get(name)
        )
        raise InputDataError(
            f"The pre-trained network does not fit: {differing[0]} has shape "
            f"{supplied.get(differing[0])}, expected {expected.get(differing[0])}. Pre-train with "
            "the same --surrogate, --lags and --hidden."
        )
    network.load_state_dict(
        {name: torch.as_tensor(np.asarray(value)) for name, value in weights.items()}
    )


def _sum_tensors(parts: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts)


def _read_out_change(network: SplitNetwork, change: Tensor) -> Array:
    """Apply the affine readout to a summed change of the hidden layer."""
    change = change.to(torch.float32)
    zero = network.readout(torch.zeros_like(change[:1]))
    return _array(network.readout(change) - zero)


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().numpy().astype(np.float64)
    return array


class CNN(SplitNetwork):
    """``Conv1d N -> 3N -> N`` over time, kernel 2, with ReLU between, then linear, as released."""

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
        """Return the columns multiplied by the number of windows in which each unit is active."""
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

    ``second`` overrides the width of the second layer; ``zero`` initialises the output to zero.
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
        """Return the names of the layers, with ReLU between; empty with a skip connection."""
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
        """Return an in-place version of ``hidden``."""
        return lambda preactivation: torch.relu_(self.second(torch.relu_(preactivation)))

    def hidden_sums(self, preactivation: Tensor, columns: Tensor, most_numbers: int) -> Tensor:
        """Return the hidden layer of every perturbed source, summed over windows, in double.

        On the CPU, units are rows and windows are columns, so that adding one number to a unit is
        fast; in large networks the matrix product dominates.
        """
        if self.n_regions >= LARGE_N_REGIONS or preactivation.is_cuda:
            return super().hidden_sums(preactivation, columns, most_numbers)
        rows = preactivation.T.contiguous()
        weight, bias = self.second.weight, self.second.bias[:, None]
        shifted, after = torch.empty_like(rows), rows.new_empty(len(weight), rows.shape[1])
        sums = []
        for column in columns:
            torch.add(rows, column[:, None], out=shifted).clamp_min_(0)
            torch.addmm(bias, weight, shifted, out=after).clamp_min_(0)
            sums.append(after.sum(dim=1))
        return torch.stack(sums).double()

    def slopes(self, preactivation: Tensor) -> Tensor:
        """Return ``W1 (W2 o D1' D2)``, where D1 and D2 indicate which units are active when."""
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
        """Return ``hidden`` with its two consecutive affine maps combined."""
        weight, bias = self._recurrence()
        product = weight @ self.second.weight
        offset = weight @ self.second.bias + bias
        return lambda preactivation: torch.tanh(
            nn.functional.linear(torch.relu(preactivation), product, offset)
        )

    def slopes(self, preactivation: Tensor) -> Tensor:
        """Return ``W1 ((Whh W2)' o D1' S)`` with the slopes S of tanh, 1 - h^2."""
        active = (preactivation > 0).to(preactivation.dtype)
        tanh_slope = 1 - self.hidden(preactivation) ** 2
        combined = self.second.weight.T @ self._recurrence()[0].T
        return self.columns() @ (combined * (active.T @ tanh_slope))

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
