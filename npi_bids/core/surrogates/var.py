"""Vector autoregression: the linear surrogate every other one is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from npi_bids.core.records import Array, Windows
from npi_bids.core.surrogate import Surrogate, TrainLog, TrainSettings
from npi_bids.core.surrogates.network import SplitNetwork, fit_network
from npi_bids.errors import SurrogateError

# Penalties that leave-one-out chooses from, relative to the mean eigenvalue of the design.
_PENALTIES = np.logspace(-6, 3, 37)


@dataclass(frozen=True, slots=True, eq=False)
class VAR:
    """``next = offset + sum over lags of history[lag] @ weights[lag]``.

    Attributes
    ----------
    weights
        Shape (n_lags, source, target); the most recent sample is last.
    offset
        Shape (target,).
    """

    weights: Array
    offset: Array

    @property
    def n_lags(self) -> int:
        """Number of past samples the model reads."""
        return int(self.weights.shape[0])

    @property
    def n_regions(self) -> int:
        """Number of regions the model predicts."""
        return int(self.weights.shape[1])

    def step(self, history: Array) -> Array:
        """Predict the next sample."""
        flat = self.weights.reshape(-1, self.n_regions)
        predicted: Array = history.reshape(len(history), -1) @ flat + self.offset
        return predicted

    def tensors(self) -> dict[str, Array]:
        """Return weights and offset by name."""
        return {"weights": self.weights, "offset": self.offset}

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

    def __init__(self, n_lags: int, n_regions: int, hidden: int | None) -> None:  # noqa: ARG002 (same signature for all networks)
        super().__init__()
        self.n_regions = n_regions
        self.only = nn.Linear(n_lags * n_regions, n_regions)

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


def fit_var(train: Windows, valid: Windows, settings: TrainSettings) -> tuple[Surrogate, TrainLog]:
    """Fit by ridge regression with the penalty of least leave-one-out error, or by Adam."""
    if settings.var_fit == "adam":
        return fit_network(LinearNetwork, train, valid, settings)
    model, details = ridge_var(train)
    errors = [
        float(np.mean((model.step(windows.history) - windows.target) ** 2))
        if len(windows)
        else float("nan")
        for windows in (train, valid)
    ]
    return model, TrainLog(train=(errors[0],), valid=(errors[1],), details=details)


def ridge_var(windows: Windows) -> tuple[VAR, tuple[tuple[str, float], ...]]:
    """Fit a VAR by ridge regression; one penalty for all targets, by exact leave-one-out.

    The leave-one-out residual of window t is ``e_t / (1 - h_t)`` with the leverage ``h_t``, which
    the eigenvectors of the Gram matrix give for all penalties at once.

    Parameters
    ----------
    windows
        To fit; fewer windows than ``n_lags * n_regions`` is allowed.

    Returns
    -------
    VAR
        The fitted model.
    details
        The chosen ``ridge_penalty`` and its ``leave_one_out_mse``.

    Raises
    ------
    SurrogateError
        The signals do not vary.
    """
    n_windows, n_lags, n_regions = windows.history.shape
    design = windows.history.reshape(n_windows, -1)
    design_mean, target_mean = design.mean(axis=0), windows.target.mean(axis=0)
    left, singular, right = np.linalg.svd(design - design_mean, full_matrices=False)
    scale = float(np.mean(singular**2))
    if not scale > 0 or n_windows < 3:
        raise SurrogateError(
            f"A VAR cannot be fitted to {n_windows} window(s) whose total variance is {scale:g}."
        )
    projected = left.T @ (windows.target - target_mean)
    losses = [
        _leave_one_out(left, singular, projected, windows.target - target_mean, penalty * scale)
        for penalty in _PENALTIES
    ]
    best = int(np.argmin(losses))
    penalty = float(_PENALTIES[best] * scale)
    flat = right.T @ (projected * (singular / (singular**2 + penalty))[:, None])
    model = VAR(flat.reshape(n_lags, n_regions, n_regions), target_mean - design_mean @ flat)
    return model, (("ridge_penalty", penalty), ("leave_one_out_mse", losses[best]))


def _leave_one_out(
    left: Array, singular: Array, projected: Array, target: Array, penalty: float
) -> float:
    shrink = singular**2 / (singular**2 + penalty)
    residual = target - left @ (shrink[:, None] * projected)
    leverage = 1 / len(left) + (left**2) @ shrink  # 1/n is the share of the mean
    return float(np.mean((residual / np.maximum(1 - leverage, 1e-9)[:, None]) ** 2))
