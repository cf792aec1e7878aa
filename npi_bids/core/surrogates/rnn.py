"""Recurrent network: the third surrogate of Luo et al. (2025)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from npi_bids.core.records import Windows
from npi_bids.core.surrogate import Surrogate, TrainLog, TrainSettings
from npi_bids.core.surrogates.network import SplitNetwork, fit_network


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
