"""Convolution over time: the second surrogate of Luo et al. (2025)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from npi_bids.core.records import Windows
from npi_bids.core.surrogate import Surrogate, TrainLog, TrainSettings
from npi_bids.core.surrogates.network import SplitNetwork, fit_network
from npi_bids.errors import SettingsError

# Two convolutions of kernel 2 leave at least one sample only from three lags on.
_MIN_LAGS = 3


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
