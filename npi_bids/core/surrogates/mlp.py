"""Multilayer perceptron: the surrogate of Luo et al. (2025)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from npi_bids.core.records import Windows
from npi_bids.core.surrogate import Surrogate, TrainLog, TrainSettings
from npi_bids.core.surrogates.network import FEW_REGIONS, SplitNetwork, fit_network


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
