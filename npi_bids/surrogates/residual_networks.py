"""Networks on the residual of a linear surrogate, kept only if they pay for being nonlinear.

A linear surrogate that is shrunk too much leaves something linear, which early-stopped networks
pick up along the leading components; on held-out samples they then seem to help. So they are
compared with a *linear twin*: a linear map of the same residual, early-stopped in the same way. If
the twin itself improves the prediction, it is added as a linear correction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import KEPT_RESIDUALS, TrainLog, TrainSettings, mean_log
from npi_bids.surrogates.networks import MLP, NetworkSurrogate, fit_network, make_network
from npi_bids.surrogates.selection_criteria import (
    FIRST_NETWORK_GAIN,
    N_BENEFIT_BLOCKS,
    N_BENEFIT_FOLDS,
    NETWORKS_BENEFIT,
    NETWORKS_BENEFIT_ERRORS,
    NETWORKS_GAIN,
    TWIN_MARGIN,
)
from npi_bids.surrogates.training import train_networks
from npi_bids.surrogates.var import VAR
from npi_bids.surrogates.windows import join_windows

# Times of the gradient flow of the twin, in units of one over the mean variance of the samples.
_TWIN_TIMES = np.geomspace(1e-3, 1e3, 25)


@dataclass(frozen=True, slots=True)
class Benefit:
    """Fraction by which an addition lowers the held-out error, and its standard error."""

    mean: float
    standard_error: float

    @property
    def is_clear(self) -> bool:
        """Whether the addition is worth keeping."""
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
        Training history; empty where no network was trained.
    gain, twin_gain
        Fraction by which networks, and the linear twin, lower the error of the held-out windows;
        None where no network was trained.
    twin_time
        Time of the twin if it is worth keeping as a linear correction; None if not.
    benefit
        Of the networks, over the better of the linear part with and without its twin, in five
        folds; None where the held-out windows already decided.
    twin_benefit
        Of the twin over the linear part.
    """

    networks: NetworkSurrogate | None
    log: TrainLog
    gain: float | None
    twin_gain: float
    twin_time: float | None = None
    benefit: Benefit | None = None
    twin_benefit: Benefit | None = None


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
    linear part and its twin by more than ``NETWORKS_BENEFIT`` and three standard errors. If they
    are not, the twin is kept by the same criteria. Where the settings name the networks or the
    correction, it is kept, and nothing is compared in folds.

    Parameters
    ----------
    linear
        The linear surrogate, fitted to ``train``.
    train, valid
        Training windows and held-out windows.
    settings
        ``n_seeds`` networks, stopped early by ``patience``; ``residual`` may name what is kept.
    refit_linear
        Fits the linear surrogate to other windows, with its choices kept.
    """
    residual_train, residual_valid = (
        subtract_prediction(linear, windows) for windows in (train, valid)
    )
    twin = choose_twin(residual_train, residual_valid)
    twin_gain = _measure_gain(twin.predict(residual_valid), residual_valid)
    if settings.residual == "correction":
        return ResidualFit(None, TrainLog((), ()), None, twin_gain, twin.time)
    networks, log = _train(residual_train, residual_valid, settings)
    gain = _measure_gain(networks.step(residual_valid.history), residual_valid)
    if settings.residual == "networks":
        return ResidualFit(networks, log, gain, twin_gain)
    compared: NetworkSurrogate | None = networks
    if not (gain > NETWORKS_GAIN and gain > max(0.0, twin_gain) + TWIN_MARGIN):
        compared = None
        if not twin_gain > NETWORKS_GAIN:
            return ResidualFit(None, log, gain, twin_gain)
    benefit, twin_benefit = measure_benefit(
        compared, twin.time, join_windows([train, valid]), settings, refit_linear
    )
    selected = compared if benefit is not None and benefit.is_clear else None
    time = twin.time if selected is None and twin_benefit.is_clear else None
    return ResidualFit(selected, log, gain, twin_gain, time, benefit, twin_benefit)


def _train(
    train: Windows, valid: Windows, settings: TrainSettings
) -> tuple[NetworkSurrogate, TrainLog]:
    """Train one network, and the others of the ensemble if it lowers the error at all.

    The first network is given up after a few epochs if it does not, unless it is kept anyway.
    """
    n_seeds = settings.n_seeds or 1
    error = (1 - FIRST_NETWORK_GAIN) * float(np.mean(valid.target**2))
    _, n_lags, n_regions = train.history.shape
    first = make_network(zero_mlp, n_lags, n_regions, settings)
    worthwhile = math.inf if settings.residual in KEPT_RESIDUALS else error
    (log,) = train_networks([first], [(train, valid)], settings, worthwhile_error=worthwhile)
    networks = NetworkSurrogate((first,), n_lags, n_regions, (log.best_epoch,))
    if min(log.valid) < error and n_seeds > 1:
        remaining_settings = replace(settings, n_seeds=n_seeds - 1, seed=settings.seed + 1)
        remaining, remaining_log = fit_network(zero_mlp, train, valid, remaining_settings)
        networks, log = networks.join(remaining), mean_log([log] + [remaining_log] * (n_seeds - 1))
    return networks, log


def _measure_gain(predicted: Array, windows: Windows) -> float:
    """Return the fraction by which a prediction of the residual lowers the squared error."""
    error = float(np.mean((predicted - windows.target) ** 2))
    return 1 - error / float(np.mean(windows.target**2))


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


class GradientFlow:
    """Gradient flow of least squares from zero, ``W(t) = V [(1 - e^(-lt)) / l] V' X'R / n``."""

    def __init__(self, windows: Windows) -> None:
        past = windows.history[:, -1]
        self.target, self.past = windows.target, past
        self.values, self.vectors = np.linalg.eigh(past.T @ past / len(past))
        self.values = np.maximum(self.values, 1e-12 * max(float(self.values[-1]), 1e-300))
        self.projected = self.vectors.T @ (past.T @ windows.target / len(past))
        self.unit = 1 / float(self.values.mean())

    def _shrinkage(self, time: float) -> Array:
        shrinkage: Array = -np.expm1(-self.values * time * self.unit) / self.values
        return shrinkage

    def at(self, time: float) -> LinearTwin:
        """Return the map at a time, in units of one over the mean variance."""
        return LinearTwin(self.vectors @ (self._shrinkage(time)[:, None] * self.projected), time)

    def errors(self, time: float) -> Array:
        """Return the sampling errors of the map at a time, shape (source, target)."""
        spread = self.vectors**2 @ (self._shrinkage(time) ** 2 * self.values)
        residual = self.target - self.past @ self.at(time).weights
        errors: Array = np.sqrt(np.outer(spread, residual.var(axis=0)) / len(residual))
        return errors


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
    flow = GradientFlow(train)
    twins = [flow.at(float(time)) for time in _TWIN_TIMES]
    errors = [float(np.mean((twin.predict(valid) - valid.target) ** 2)) for twin in twins]
    return twins[int(np.argmin(errors))]


def measure_benefit(
    networks: NetworkSurrogate | None,
    twin_time: float,
    windows: Windows,
    settings: TrainSettings,
    refit_linear: Callable[[Windows], VAR],
) -> tuple[Benefit | None, Benefit]:
    """Compare networks and twin with the linear part, in five folds in time.

    All are fitted anew in each fold, with the choices of the first fit kept. The comparison ends
    early once nothing is better than the linear part after two folds.

    Parameters
    ----------
    networks
        Whose median number of epochs is used; None if only the twin is compared.
    twin_time
        Time at which the twin is stopped.
    windows
        All windows, in temporal order.
    settings
        Settings of the networks.
    refit_linear
        Fits the linear surrogate to other windows.

    Returns
    -------
    networks
        Benefit of the networks over the better of the linear part with and without its twin; None
        without networks.
    twin
        Benefit of the twin over the linear part.
    """
    errors: list[Array] = []
    bounds = np.linspace(0, len(windows), N_BENEFIT_FOLDS + 1).astype(int)
    for start, stop in pairwise(bounds.tolist()):
        test = windows.take(slice(start, stop))
        before = windows.position < test.position[0] - windows.n_lags
        after = windows.position > test.position[-1] + windows.n_lags
        training = windows.take(before | after)  # no sample is shared with the test windows
        linear = refit_linear(training)
        residual, held_out = (subtract_prediction(linear, part) for part in (training, test))
        predictions = [
            np.zeros_like(held_out.target),
            GradientFlow(residual).at(twin_time).predict(held_out),
        ]
        if networks is not None:
            predictions.append(
                _refit_networks(networks, residual, settings).step(held_out.history)
            )
        errors.append(np.stack([
            np.mean((held_out.target - predicted) ** 2, axis=1) for predicted in predictions
        ]))  # fmt: skip
        means = np.concatenate(errors, axis=1).mean(axis=1)
        if len(errors) >= 2 and means[0] <= means[1:].min():
            break
    linear_error, twin_error, *network_error = np.concatenate(errors, axis=1)
    twin = _summarise(linear_error, twin_error, linear_error)
    if not network_error:
        return None, twin
    alternative = min(linear_error, twin_error, key=np.mean)
    return _summarise(alternative, network_error[0], linear_error), twin


def _refit_networks(
    networks: NetworkSurrogate, residual: Windows, settings: TrainSettings
) -> NetworkSurrogate:
    """Train networks on another residual, for as many epochs as the median of the first ones."""
    median = max(1, int(np.median(networks.epochs)))
    n_seeds = len(networks.networks)
    fitted, _ = fit_network(
        zero_mlp, residual, residual.take(slice(0, 0)), replace(settings, n_seeds=n_seeds),
        replace(networks, epochs=(median,) * n_seeds),
    )  # fmt: skip
    return fitted


def _summarise(alternative: Array, tested: Array, linear: Array) -> Benefit:
    """Return mean and standard error of the paired difference, from means of blocks of time."""
    difference = (alternative - tested) / linear.mean()
    n_blocks = max(2, min(N_BENEFIT_BLOCKS, len(difference) // 2))
    blocks = np.array([block.mean() for block in np.array_split(difference, n_blocks)])
    error = float(blocks.std(ddof=1) / np.sqrt(len(blocks)))
    return Benefit(float(difference.mean()), error)
