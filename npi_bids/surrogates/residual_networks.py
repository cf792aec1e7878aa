"""Networks on the residual of a linear surrogate, kept only if they pay for being nonlinear.

A linear surrogate that is shrunk too much leaves something linear, which early-stopped networks
pick up along the leading components; on held-out samples they then seem to help. So they are
compared with a *linear twin*: a linear map of the same residual, early-stopped in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import TrainLog, TrainSettings, mean_log
from npi_bids.surrogates.networks import MLP, NetworkSurrogate, fit_network
from npi_bids.surrogates.selection_criteria import (
    FIRST_NETWORK_GAIN,
    N_BENEFIT_BLOCKS,
    N_BENEFIT_FOLDS,
    NETWORKS_BENEFIT,
    NETWORKS_BENEFIT_ERRORS,
    NETWORKS_GAIN,
    TWIN_MARGIN,
)
from npi_bids.surrogates.var import VAR

# Times of the gradient flow of the twin, in units of one over the mean variance of the samples.
_TWIN_TIMES = np.geomspace(1e-3, 1e3, 25)


@dataclass(frozen=True, slots=True)
class Benefit:
    """Fraction by which networks lower the held-out error, and its standard error.

    The error is that of the linear part, or of the linear part with its twin where that is lower.
    """

    mean: float
    standard_error: float

    @property
    def is_clear(self) -> bool:
        """Whether the networks are worth keeping."""
        return self.mean > NETWORKS_BENEFIT and (
            self.mean > NETWORKS_BENEFIT_ERRORS * self.standard_error
        )


@dataclass(frozen=True, slots=True, eq=False)
class ResidualFit:
    """Networks trained on a residual, and what they gain.

    Attributes
    ----------
    networks
        None if they are not worth keeping.
    log
        Training history.
    gain, twin_gain
        Fraction by which networks, and the linear twin, lower the error of the held-out windows.
    benefit
        Over five folds; None where the held-out windows already decided.
    """

    networks: NetworkSurrogate | None
    log: TrainLog
    gain: float
    twin_gain: float
    benefit: Benefit | None = None


def zero_mlp(n_lags: int, n_regions: int, hidden: int | None) -> MLP:
    """Build two hidden layers of two units per region each, with an output that starts at zero."""
    width = hidden or 2 * n_regions
    return MLP(n_lags, n_regions, width, second=width, zero=True)


def subtract_prediction(linear: VAR, windows: Windows) -> Windows:
    """Return windows whose target is the residual of the linear part, most recent sample alone."""
    target = windows.target - (linear.step(windows.history) if len(windows) else 0)
    return replace(windows, history=windows.history[:, -1:], target=target)


def fit_residual(
    linear: VAR,
    train: Windows,
    valid: Windows,
    settings: TrainSettings,
    refit_linear: Callable[[Windows], VAR],
) -> ResidualFit:
    """Train one network, if it helps the remaining ones, and keep them if nonlinearity pays.

    They must lower the error of the held-out windows by more than ``NETWORKS_GAIN`` and by
    ``TWIN_MARGIN`` more than their linear twin, and in five folds in time be better than the
    linear part and its twin by more than ``NETWORKS_BENEFIT`` and three standard errors.

    Parameters
    ----------
    linear
        The linear surrogate, fitted to ``train``.
    train, valid
        Training windows and held-out windows.
    settings
        ``n_seeds`` networks, stopped early by ``patience``.
    refit_linear
        Fits the linear surrogate to other windows, with its choices kept.
    """
    residual_train, residual_valid = (
        subtract_prediction(linear, windows) for windows in (train, valid)
    )
    networks, log = _train(residual_train, residual_valid, settings)
    baseline = float(np.mean(residual_valid.target**2))
    gain = 1 - _mean_error(networks, residual_valid) / baseline
    twin = choose_twin(residual_train, residual_valid)
    twin_gain = 1 - float(np.mean((twin.predict(residual_valid) - residual_valid.target) ** 2)) / (
        baseline
    )
    if not (gain > NETWORKS_GAIN and gain > max(0.0, twin_gain) + TWIN_MARGIN):
        return ResidualFit(None, log, gain, twin_gain)
    benefit = measure_benefit(networks, twin.time, _join(train, valid), settings, refit_linear)
    kept = networks if benefit.is_clear else None
    return ResidualFit(kept, log, gain, twin_gain, benefit)


def _train(
    train: Windows, valid: Windows, settings: TrainSettings
) -> tuple[NetworkSurrogate, TrainLog]:
    """Train one network, and the others of the ensemble if it lowers the error at all."""
    n_seeds = settings.n_seeds or 1
    networks, log = fit_network(zero_mlp, train, valid, replace(settings, n_seeds=1))
    gain = 1 - min(log.valid) / float(np.mean(valid.target**2))
    if gain > FIRST_NETWORK_GAIN and n_seeds > 1:
        remaining_settings = replace(settings, n_seeds=n_seeds - 1, seed=settings.seed + 1)
        remaining, remaining_log = fit_network(zero_mlp, train, valid, remaining_settings)
        networks, log = networks.join(remaining), mean_log([log] + [remaining_log] * (n_seeds - 1))
    return networks, log


def _mean_error(networks: NetworkSurrogate, windows: Windows) -> float:
    return float(np.mean((networks.step(windows.history) - windows.target) ** 2))


@dataclass(frozen=True, slots=True, eq=False)
class LinearTwin:
    """A linear map from the most recent sample to a residual, fitted by gradient flow to a time.

    Attributes
    ----------
    weights
        Shape (source, target).
    time
        At which the flow was stopped.
    """

    weights: Array
    time: float

    def predict(self, windows: Windows) -> Array:
        """Return the predicted residual, shape (n_windows, n_regions)."""
        predicted: Array = windows.history[:, -1] @ self.weights
        return predicted


class _Flow:
    """Gradient flow of least squares from zero, ``W(t) = V [(1 - e^(-lt)) / l] V' X'R / n``."""

    def __init__(self, windows: Windows) -> None:
        past = windows.history[:, -1]
        self.values, self.vectors = np.linalg.eigh(past.T @ past / len(past))
        self.values = np.maximum(self.values, 1e-12 * max(float(self.values[-1]), 1e-300))
        self.projected = self.vectors.T @ (past.T @ windows.target / len(past))
        self.unit = 1 / float(self.values.mean())

    def at(self, time: float) -> LinearTwin:
        """Return the map at a time, in units of one over the mean variance."""
        shrinkage = -np.expm1(-self.values * time * self.unit) / self.values
        return LinearTwin(self.vectors @ (shrinkage[:, None] * self.projected), time)


def choose_twin(train: Windows, valid: Windows) -> LinearTwin:
    """Fit a linear map to a residual by gradient flow, stopped where held-out error is lowest.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((400, 1, 2))
    >>> target = np.stack([x[:, 0, 1], rng.standard_normal(400)], axis=1)  # region 1 drives 0
    >>> half = [Windows(x[a:b], target[a:b], np.arange(a, b)) for a, b in ((0, 200), (200, 400))]
    >>> choose_twin(*half).weights.round(1) + 0.0
    array([[0. , 0. ],
           [1. , 0.1]])
    """
    flow = _Flow(train)
    twins = [flow.at(float(time)) for time in _TWIN_TIMES]
    errors = [float(np.mean((twin.predict(valid) - valid.target) ** 2)) for twin in twins]
    return twins[int(np.argmin(errors))]


def measure_benefit(
    networks: NetworkSurrogate,
    twin_time: float,
    windows: Windows,
    settings: TrainSettings,
    refit_linear: Callable[[Windows], VAR],
) -> Benefit:
    """Compare networks with the better of the linear part and its twin, in five folds in time.

    All are fitted anew in each fold, with the choices of the first fit kept. The comparison ends
    early once the networks are worse after two folds.

    Parameters
    ----------
    networks
        Whose median number of epochs is used.
    twin_time
        Time at which the twin is stopped.
    windows
        All windows, in temporal order.
    settings
        Settings of the networks.
    refit_linear
        Fits the linear surrogate to other windows.
    """
    median = max(1, int(np.median(networks.epochs)))
    epochs = replace(networks, epochs=(median,) * len(networks.networks))
    settings = replace(settings, n_seeds=len(networks.networks))
    errors: list[Array] = []  # of linear part, with twin, with networks; (3, n_windows of a fold)
    bounds = np.linspace(0, len(windows), N_BENEFIT_FOLDS + 1).astype(int)
    for start, stop in pairwise(bounds.tolist()):
        test = windows.take(slice(start, stop))
        before = windows.position < test.position[0] - windows.n_lags
        after = windows.position > test.position[-1] + windows.n_lags
        training = windows.take(before | after)  # no sample is shared with the test windows
        linear = refit_linear(training)
        residual, held_out = (subtract_prediction(linear, part) for part in (training, test))
        fitted, _ = fit_network(zero_mlp, residual, held_out.take(slice(0, 0)), settings, epochs)
        predictions = (0.0, _Flow(residual).at(twin_time).predict(held_out),
                       fitted.step(held_out.history))  # fmt: skip
        errors.append(np.stack([
            np.mean((held_out.target - predicted) ** 2, axis=1) for predicted in predictions
        ]))  # fmt: skip
        benefit = _summarise_errors(np.concatenate(errors, axis=1))
        if len(errors) >= 2 and benefit.mean < 0:
            break
    return benefit


def _summarise_errors(errors: Array) -> Benefit:
    """Return mean and standard error of the paired difference, from means of blocks of time."""
    alternative = errors[:2][int(errors[:2].mean(axis=1).argmin())]
    difference = (alternative - errors[2]) / errors[0].mean()
    blocks = np.array([block.mean() for block in np.array_split(difference, N_BENEFIT_BLOCKS)])
    error = float(blocks.std(ddof=1) / np.sqrt(len(blocks)))
    return Benefit(float(difference.mean()), error)


def _join(first: Windows, second: Windows) -> Windows:
    return Windows(
        np.concatenate([first.history, second.history]),
        np.concatenate([first.target, second.target]),
        np.concatenate([first.position, second.position]),
        first.tr,
    )
