"""What the networks share: prediction, fast perturbation and Jacobian behind one class.

Each network is written as three parts, ``readout(hidden(preactivation(history)))``, of which the
first and the last are affine. Raising one region in the most recent sample then adds one column
to the pre-activation, and the mean over windows can be taken before the readout; both give the
same numbers as one full pass per region, several times faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from npi_bids.core.records import Array, Windows
from npi_bids.core.surrogate import TrainLog, TrainSettings
from npi_bids.core.train import find_device, seeded, train_network

# Windows that go through the network at once: few enough to stay in the cache of one core, which
# is worth a factor of two at 360 regions.
_CHUNK = 512


class SplitNetwork(nn.Module):
    """A network in three parts; see the module's docstring."""

    def forward(self, flat: Tensor) -> Tensor:
        """Predict from flat histories, shape (n_windows, n_lags * n_regions)."""
        return self.readout(self.hidden(self.preactivation(flat)))

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
        """Return a function equal to ``hidden``, with what never changes worked out beforehand."""
        return self.hidden

    def slopes(self, preactivation: Tensor) -> Tensor:
        """Return the derivative of the hidden layer by each region's last sample.

        Summed over the windows, in closed form; shape (n_regions, *shape of one hidden layer).
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class NetworkSurrogate:
    """A trained network behind the :class:`~npi_bids.core.surrogate.Surrogate` protocol."""

    network: SplitNetwork
    n_lags: int
    n_regions: int

    def step(self, history: Array) -> Array:
        """Predict the next sample."""
        with torch.inference_mode():
            chunks = [self.network(flat) for flat in self._chunks(history)]
        return _array(torch.cat(chunks))

    def tensors(self) -> dict[str, Array]:
        """Return the weights by name."""
        return {name: value.cpu().numpy() for name, value in self.network.state_dict().items()}

    def perturbed_change(self, history: Array, strength: float) -> Array:
        """Return the mean change of the prediction, shape (source, target).

        The mean over windows is taken in double precision, before the readout.
        """
        with torch.inference_mode():
            columns = strength * self.network.columns()
            total = torch.zeros(0)
            for flat in self._chunks(history):
                base = self.network.preactivation(flat)
                moved = self._hidden_sums(base, columns)
                total = total + moved if total.numel() else moved
            return self._read_change(total / len(history))

    def mean_jacobian(self, history: Array) -> Array:
        """Return the mean derivative by the most recent sample, shape (source, target)."""
        with torch.inference_mode():
            total = torch.zeros(0)
            for flat in self._chunks(history):
                slopes = self.network.slopes(self.network.preactivation(flat)).double()
                total = total + slopes if total.numel() else slopes
            return self._read_change(total / len(history))

    def _hidden_sums(self, base: Tensor, columns: Tensor) -> Tensor:
        hidden = self.network.prepared_hidden()
        unperturbed = hidden(base).sum(dim=0, dtype=torch.float64)
        # Filled in place: small results kept between large scratch tensors would fragment the
        # heap, by 4 GB at 360 regions.
        moved = unperturbed.new_empty(len(columns), *unperturbed.shape)
        shifted = torch.empty_like(base)
        for source, column in enumerate(columns):
            torch.add(base, column, out=shifted)
            torch.sum(hidden(shifted), dim=0, dtype=torch.float64, out=moved[source])
        return moved - unperturbed

    def _read_change(self, change: Tensor) -> Array:
        change = change.to(torch.float32)
        zero = self.network.readout(torch.zeros_like(change[:1]))
        return _array(self.network.readout(change) - zero)

    def _chunks(self, history: Array) -> tuple[Tensor, ...]:
        device = next(self.network.parameters()).device
        flat = torch.as_tensor(history, dtype=torch.float32, device=device).flatten(1)
        chunks: tuple[Tensor, ...] = flat.split(_CHUNK)
        return chunks


def fit_network(
    kind: type[SplitNetwork], train: Windows, valid: Windows, settings: TrainSettings
) -> tuple[NetworkSurrogate, TrainLog]:
    """Make a network of that kind from the seed, train it, and put it behind the protocol.

    The class is called with the number of lags, of regions, and of hidden units (or None).
    """
    _, n_lags, n_regions = train.history.shape
    device = find_device(settings.device)
    with seeded(settings.seed):
        network = kind(n_lags, n_regions, settings.hidden).to(device)
    log = train_network(network, train, valid, settings)
    return NetworkSurrogate(network, n_lags, n_regions), log


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().numpy().astype(np.float64)
    return array
