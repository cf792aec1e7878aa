"""A surrogate of the state behind the signals, where all regions show it through a common gain.

What is perturbed is the state, so that the effective connectivity is what it would be without the
gain (a filter, the haemodynamic response) and without the delays. What is predicted are the
signals as they were measured, by the best linear predictor from some lags that the fitted model
implies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Literal, TypedDict

import numpy as np
from numpy.linalg import LinAlgError
from scipy.linalg import solve

from npi_bids.errors import SurrogateError
from npi_bids.records import Array, Observation, ObservationFields, RegionSeries, Windows
from npi_bids.surrogates.cross_spectra import Complex
from npi_bids.surrogates.ou_model_selection import regions_to_choose_on, time_stretches
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.spectral import SpectralFit
from npi_bids.surrogates.spectral_selection import (
    ObservationModel,
    choose_observation,
    refit_observation,
)
from npi_bids.surrogates.var import VAR

_RIDGE = 1e-5  # share of the variance that keeps the predictor of filtered signals bounded


class ObservedFields(TypedDict):
    """What loading an :class:`ObservedOU` needs beside the tensors."""

    form: Literal["observed"]
    observation: ObservationFields


@dataclass(frozen=True, slots=True, eq=False)
class ObservedOU(VAR):
    """An Ornstein-Uhlenbeck process seen through delays and a gain.

    ``weights`` and ``offset`` are those of the predictor of the signals.

    Attributes
    ----------
    process
        Of the state, each region in units in which it has the variance of its signal.
    delays
        Shape (n_regions,), in samples.
    delay_errors
        Shape (n_regions,), in samples; NaN where there are no delays.
    errors
        Shape (n_regions, n_regions); standard errors of the transition of the state.
    innovation
        Shape (n_regions, n_regions); covariance of what the predictor leaves of the signals.
    observation
        What the data chose.
    """

    process: OU
    delays: Array
    delay_errors: Array
    errors: Array
    innovation: Array
    observation: Observation

    @property
    def region_delays(self) -> tuple[Array, Array] | None:
        """Delays and their standard errors, less what all regions share, in samples."""
        if self.observation.delay_sd == 0:
            return None
        return self.delays - np.median(self.delays), self.delay_errors

    @property
    def linear_weights(self) -> Array:
        """Transition of the state, shape (1, source, target)."""
        weights: Array = self.process.transition[None]
        return weights

    @property
    def free_lags(self) -> int:
        """Lags whose weights between regions are fitted."""
        return 1

    def tensors(self) -> dict[str, Array]:
        """Return all fitted numbers by name."""
        return {
            "weights": self.weights,
            "offset": self.offset,
            "drift": self.process.drift,
            "diffusion": self.process.diffusion,
            "delays": self.delays,
            "delay_errors": self.delay_errors,
            "errors": self.errors,
            "innovation": self.innovation,
        }

    def facts(self) -> dict[str, object]:
        """Return what tells it from other surrogates of its family."""
        return {"form": "observed", "observation": asdict(self.observation)}

    def perturbed_change(self, history: Array, strength: float) -> Array:  # noqa: ARG002 (the same in every state)
        """Return the change of the state, shape (source, target)."""
        change: Array = strength * self.process.transition
        return change

    def mean_jacobian(self, history: Array) -> Array:  # noqa: ARG002 (the same in every state)
        """Return the transition of the state, shape (source, target)."""
        jacobian: Array = self.process.transition
        return jacobian

    def weight_errors(self, windows: Windows) -> Array:  # noqa: ARG002 (known from the fit)
        """Return the standard errors of the transition, shape (source, target)."""
        return self.errors

    def noise_covariance(self) -> Array:
        """Return the covariance of what the predictor leaves, shape (n_regions, n_regions)."""
        return self.innovation


def load_observed(tensors: Mapping[str, Array], facts: ObservedFields) -> ObservedOU:
    """Return what :func:`fit_observed` made."""
    return ObservedOU(
        tensors["weights"],
        tensors["offset"],
        OU(tensors["drift"], tensors["diffusion"]),
        tensors["delays"],
        tensors["delay_errors"],
        tensors["errors"],
        tensors["innovation"],
        Observation.from_facts(facts["observation"]),
    )


def find_observation(
    windows: Windows, *, delays: bool, gain: bool, best: float
) -> ObservedOU | None:
    """Fit the process with its observation model where this is better than none.

    With many regions, what is chosen is chosen on a spread subset of them.

    Parameters
    ----------
    windows
        Of the signals.
    delays, gain
        Whether regions may have delays, and whether they may share a gain.
    best
        Held-out one-step error, in variances, that it must fall below.

    Returns
    -------
    ObservedOU or None
        None where the data choose neither delays nor a gain, or predict no better with them.
    """
    some = regions_to_choose_on(windows)
    try:
        found = fit_observed(some, delays=delays, gain=None if gain else False)
        if found.observation.is_plain or not held_out_error(some, found) < best:
            return None
        if some is windows:
            return found
        model = refit_observation(series_of(windows), windows.tr, found.observation)
        return _surrogate(windows, model)
    except (SurrogateError, LinAlgError):  # which says that there is no such process
        return None


def fit_observed(
    windows: Windows,
    *,
    delays: bool = True,
    gain: bool | None = None,
    like: ObservedOU | None = None,
) -> ObservedOU:
    """Fit the process with its observation model.

    Parameters
    ----------
    windows
        Of the signals; their samples are put together again.
    delays, gain
        As :func:`~npi_bids.surrogates.spectral_selection.choose_observation` takes them.
    like
        A fit of the same subject whose choices to keep.

    Raises
    ------
    SurrogateError
        There is no stable process with such an observation model.
    """
    runs = series_of(windows)
    try:
        if like is None:
            found = choose_observation(runs, windows.tr, delays=delays, gain=gain)
        else:
            start = SpectralFit(
                like.process.drift, like.process.diffusion, like.delays, math.nan, math.nan
            )
            found = refit_observation(runs, windows.tr, like.observation, start)
        return _surrogate(windows, found)
    except LinAlgError as error:
        raise SurrogateError(
            f"The process behind delays and gain cannot be fitted: {error}. Use --delays none "
            "and --gain none."
        ) from error


def _surrogate(windows: Windows, found: ObservationModel) -> ObservedOU:
    """Return a fitted model in units in which the state varies as the signals do."""
    radius = float(np.abs(np.linalg.eigvals(found.model.transition)).max())
    if not radius < 1:
        raise SurrogateError(
            f"The process behind delays and gain is not stable (spectral radius {radius:.3f}). "
            "Use --delays none and --gain none."
        )
    size = windows.target.std(axis=0)
    size = np.where(size > 0, size, 1.0) / np.sqrt(np.diag(found.model.stationary))
    turned = size / size[:, None]
    try:
        weights, innovation = predictor(observed_covariances(found, windows.n_lags))
    except LinAlgError as error:
        raise SurrogateError(
            "The signals that the process implies cannot be predicted: their covariances are "
            "singular."
        ) from error
    mean = windows.target.mean(axis=0)
    offset: Array = mean - np.einsum("s,lst->t", mean, weights)
    return ObservedOU(
        weights,
        offset,
        OU(found.fit.drift * turned, found.fit.diffusion * size**2),
        found.fit.delays,
        found.delay_errors,
        found.transition_errors * turned,
        innovation,
        found.choice,
    )


def observation_details(choice: Observation, tr: float) -> tuple[tuple[str, float], ...]:
    """Return what was chosen, by name, for the log of the training."""
    return (
        ("common_gain", float(choice.gain)),
        ("gain_evidence", choice.gain_evidence),
        ("delay_sd", choice.delay_sd * tr),
        ("delay_evidence", choice.delay_evidence),
        ("precision_symmetric_relative", choice.precision[0]),
        ("precision_antisymmetric_relative", choice.precision[1]),
    )


def held_out_error(windows: Windows, fitted: ObservedOU) -> float:
    """Return the one-step error on held-out stretches, with what was chosen kept.

    Mean over regions of the mean squared error over the variance.
    """
    parts = [windows.take(rows) for rows in time_stretches(len(windows))]
    errors = []
    for fold in (0, 1):
        learn, check = (_joined(parts[place::2]) for place in (1 - fold, fold))
        left = fit_observed(learn, like=fitted).step(check.history) - check.target
        errors.append(np.mean(np.mean(left**2, axis=0) / windows.target.var(axis=0)))
    return float(np.mean(errors))


def _joined(parts: Sequence[Windows]) -> Windows:
    return Windows(
        np.concatenate([part.history for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.position for part in parts]),
        parts[0].tr,
    )


def series_of(windows: Windows) -> list[RegionSeries]:
    """Return the runs that windows were cut from, in samples; what no window holds is censored.

    A stretch without targets that is as long as the history is where another run begins: after a
    censored sample it is longer.
    """
    n_lags, n_regions = windows.n_lags, windows.target.shape[1]
    places = windows.position
    first = int(places[0]) - n_lags
    data = np.full((int(places[-1]) - first + 1, n_regions), np.nan)
    for lag in range(n_lags, 0, -1):
        data[places - first - lag] = windows.history[:, n_lags - lag]
    data[places - first] = windows.target
    starts = np.flatnonzero(np.diff(places) == n_lags + 1)
    bounds = [0, *(places[starts + 1] - first - n_lags), len(data)]
    labels = tuple(f"R{place}" for place in range(n_regions))
    runs = []
    for a, b in pairwise(bounds):
        part = data[a:b]
        runs.append(RegionSeries(part, labels, 1.0, np.isfinite(part).all(axis=1)))
    return runs


def observed_covariances(found: ObservationModel, n_lags: int) -> Array:
    """Return the covariances of the signals that a fitted model implies, lag by lag.

    Shape (n_lags + 1, n_regions, n_regions): mean of ``y_i(t) y_j(t + lag)``.
    """
    model = found.model
    power: Complex = model.observed_power
    turn = np.exp(1j * model.frequency[None, :] * np.arange(n_lags + 1)[:, None])
    covariances: Array = np.einsum("lk,k,kij->lij", turn, model.share, power).real
    regions = np.arange(covariances.shape[1])
    covariances[0, regions, regions] *= 1 + _RIDGE
    return covariances


def predictor(covariances: Array) -> tuple[Array, Array]:
    """Return the best linear predictor from some lags, and the covariance of its errors.

    Solves the Yule-Walker equations of several channels.

    Parameters
    ----------
    covariances
        Shape (n_lags + 1, n_regions, n_regions): mean of ``y_i(t) y_j(t + lag)``.

    Returns
    -------
    weights
        Shape (n_lags, source, target), the most recent sample last.
    innovation
        Shape (n_regions, n_regions).
    """
    n_lags, n = len(covariances) - 1, covariances.shape[1]
    blocks = [
        [covariances[b - a] if b >= a else covariances[a - b].T for b in range(n_lags)]
        for a in range(n_lags)
    ]
    past = np.block(blocks)
    cross = np.concatenate([covariances[n_lags - place] for place in range(n_lags)])
    flat = solve(past, cross, assume_a="pos")
    innovation = covariances[0] - flat.T @ cross
    return flat.reshape(n_lags, n, n), (innovation + innovation.T) / 2
