"""Vector autoregression, the reference surrogate for all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypedDict

import numpy as np
from torch import Tensor, nn

from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings
from npi_bids.surrogates.fixed_precision import FixedPrecision
from npi_bids.surrogates.networks import NetworkFields, SplitNetwork, fit_network, load_network
from npi_bids.surrogates.ou_model_selection import fit_memory
from npi_bids.surrogates.ridge import fit_ridge
from npi_bids.surrogates.stationary import companion_correlation
from npi_bids.surrogates.windows import reverse_time


class VARFields(TypedDict):
    """Fields that loading a :class:`VAR` requires besides the tensors."""

    form: Literal["var"]
    penalty: float


@dataclass(frozen=True, slots=True, eq=False)
class VAR(Surrogate):
    """``next = offset + sum over lags of history[lag] @ weights[lag]``.

    Attributes
    ----------
    weights
        Shape (n_lags, source, target); the most recent sample is last.
    offset
        Shape (target,).
    penalty
        Penalty of the ridge regression.
    """

    weights: Array
    offset: Array
    penalty: float = field(default=0.0, kw_only=True)

    @property
    def n_lags(self) -> int:
        """Number of past samples the model reads."""
        return int(self.weights.shape[0])

    @property
    def n_regions(self) -> int:
        """Number of regions the model predicts."""
        return int(self.weights.shape[1])

    @property
    def linear_weights(self) -> Array:
        """Weights of all lags, shape (n_lags, source, target)."""
        return self.weights

    @property
    def free_lags(self) -> int:
        """Number of lags with fitted weights between regions."""
        between = self.weights * ~np.eye(self.n_regions, dtype=bool)
        return max(1, int(np.any(between != 0, axis=(1, 2)).sum()))

    @property
    def memory_order(self) -> int:
        """Number of earlier lags, beyond the most recent sample, with non-zero weights."""
        return int(np.any(self.weights[:-1], axis=(1, 2)).sum())

    def step(self, history: Array) -> Array:
        """Predict the next sample."""
        flat = self.weights.reshape(-1, self.n_regions)
        predicted: Array = history.reshape(len(history), -1) @ flat + self.offset
        return predicted

    def mse(self, windows: Windows) -> float:
        """Return the mean squared one-step error, or NaN without windows."""
        if not len(windows):
            return float("nan")
        return float(np.mean((self.step(windows.history) - windows.target) ** 2))

    def weight_errors(self, windows: Windows) -> Array:
        """Return the standard errors of the most recent weights, shape (source, target).

        Posterior standard deviations of a ridge regression; ``penalty`` is its precision.
        """
        design = windows.history.reshape(len(windows), -1)
        moment = np.cov(design, rowvar=False, bias=True) * len(windows)
        inverse_moment = np.linalg.inv(np.atleast_2d(moment) + self.penalty * np.eye(len(moment)))
        residual = windows.target - self.step(windows.history)
        n_free = max(len(windows) - float(np.trace(moment @ inverse_moment)) - 1, 1.0)
        noise = (residual**2).sum(axis=0) / n_free
        errors: Array = np.sqrt(np.outer(np.diag(inverse_moment)[-self.n_regions :], noise))
        return errors

    def stationary_correlation(self) -> Array | None:
        """Return the correlations of the free-running surrogate, shape (n_regions, n_regions).

        If the noise is not modelled, equal noise is added to the entire history at each step.
        """
        noise = self.noise_covariance()
        if noise is None:
            noise = np.einsum("lst,lsu->tu", self.weights, self.weights)
        return companion_correlation(self.weights, noise)

    def with_precision(
        self, windows: Windows, precision: FixedPrecision, *, reverse: bool = False
    ) -> VAR:
        """Return the VAR fitted with a fixed penalty, and as much memory of single regions."""
        windows = reverse_time(windows) if reverse else windows
        variance = float(windows.target.var(axis=0).mean())
        penalty = precision.penalty * variance * len(windows)
        if self.free_lags == self.n_lags:
            return ridge_var(windows, penalty)[0]
        return fit_narrow_var(windows, self.memory_order, penalty)[0]

    def tensors(self) -> dict[str, Array]:
        """Return weights and offset by name."""
        return {"weights": self.weights, "offset": self.offset}

    def fields(self) -> dict[str, object]:
        """Return the penalty, which standard errors need."""
        return {"form": "var", "penalty": self.penalty}

    def perturbed_change(self, history: Array, strength: float) -> Array:  # noqa: ARG002 (the same in every state)
        """Return the change of the prediction, shape (source, target)."""
        change: Array = strength * self.weights[-1]
        return change

    def mean_jacobian(self, history: Array) -> Array:  # noqa: ARG002 (the same in every state)
        """Return the weights of the most recent sample, shape (source, target)."""
        weights: Array = self.weights[-1]
        return weights


class LinearNetwork(SplitNetwork):
    """One linear layer on all lags, as released for the VAR of Luo et al. (2025)."""

    def __init__(self, n_lags: int, n_regions: int, hidden: int | None = None) -> None:  # noqa: ARG002 (same signature for all networks)
        super().__init__()
        self.n_regions = n_regions
        self.only = nn.Linear(n_lags * n_regions, n_regions)

    def widths(self) -> dict[str, int]:
        """Return an empty dictionary, as there is no hidden layer."""
        return {}

    def preactivation(self, flat: Tensor) -> Tensor:
        """Return the prediction."""
        predicted: Tensor = self.only(flat)
        return predicted

    def columns(self) -> Tensor:
        """Return the weights of the most recent sample, one row per region."""
        return self.only.weight[:, -self.n_regions :].T

    def hidden(self, preactivation: Tensor) -> Tensor:
        """Return the prediction; there is no hidden layer."""
        return preactivation

    def slopes(self, preactivation: Tensor) -> Tensor:
        """Return the columns, once per window."""
        return self.columns() * len(preactivation)

    def readout(self, hidden: Tensor) -> Tensor:
        """Return the prediction."""
        return hidden


def load_var(tensors: Mapping[str, Array], fields: VARFields | NetworkFields) -> Surrogate:
    """Restore a model fitted by :func:`fit_var`: a VAR, or a linear layer trained by Adam."""
    if fields["form"] == "network":
        return load_network(tensors, fields, LinearNetwork)
    return VAR(tensors["weights"], tensors["offset"], penalty=float(fields["penalty"]))


def fit_var(
    train: Windows, valid: Windows, settings: TrainSettings, like: Surrogate | None = None
) -> tuple[Surrogate, TrainLog]:
    """Fit by ridge regression with the penalty of lowest leave-one-out error, or by Adam."""
    if settings.var_fit == "adam":
        return fit_network(LinearNetwork, train, valid, settings, like)
    model, details = ridge_var(train)
    return model, TrainLog((model.mse(train),), (model.mse(valid),), details)


def fit_narrow_var(
    windows: Windows, memory_order: int, penalty: float | None = None
) -> tuple[VAR, tuple[tuple[str, float], ...]]:
    """Fit a VAR of one lag between regions, each with a memory of its own earlier samples.

    Parameters
    ----------
    windows
        Windows to fit.
    memory_order
        Number of earlier samples of its own that each region remembers.
    penalty
        Fixed penalty, instead of a chosen one.

    Returns
    -------
    VAR
        The fitted model.
    details
        As from :func:`ridge_var`.
    """
    memory = fit_memory([windows], memory_order)
    target = windows.target - sum(
        weight * windows.history[:, -lag] for lag, weight in enumerate(memory, start=2)
    )
    narrow, details = ridge_var(
        replace(windows, history=windows.history[:, -1:], target=target), penalty
    )
    n_regions = narrow.n_regions
    weights = np.zeros((windows.n_lags, n_regions, n_regions))
    weights[-1] = narrow.weights[0]
    for lag, weight in enumerate(memory, start=2):
        weights[-lag] = weight * np.eye(n_regions)
    return VAR(weights, narrow.offset, penalty=narrow.penalty), details


def ridge_var(
    windows: Windows, penalty: float | None = None
) -> tuple[VAR, tuple[tuple[str, float], ...]]:
    """Fit a VAR by ridge regression; one penalty for all targets, by exact leave-one-out.

    Parameters
    ----------
    windows
        Windows to fit; fewer windows than ``n_lags * n_regions`` is allowed.
    penalty
        Fixed penalty, instead of a chosen one.

    Returns
    -------
    VAR
        The fitted model.
    details
        The chosen ``ridge_penalty`` and its ``leave_one_out_mse``.

    Raises
    ------
    SurrogateError
        If the signals do not vary.
    """
    n_windows, n_lags, n_regions = windows.history.shape
    fitted = fit_ridge(windows.history.reshape(n_windows, -1), windows.target, penalty)
    weights = fitted.weights.reshape(n_lags, n_regions, n_regions)
    model = VAR(weights, fitted.offset, penalty=fitted.penalty)
    return model, (("ridge_penalty", fitted.penalty), ("leave_one_out_mse", fitted.mse))
