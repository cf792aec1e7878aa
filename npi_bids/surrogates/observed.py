"""A surrogate of the state behind the signals, where all regions show it through a common gain.

What is perturbed is the state, so that the effective connectivity is what it would be without the
gain (a filter, the haemodynamic response) and without the delays. What is predicted are the
signals as they were measured, by the best linear predictor from some lags that the fitted model
implies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.linalg import solve

from npi_bids.records import Array, RegionSeries, Windows
from npi_bids.surrogates.cross_spectra import Complex
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.spectral_selection import ObservationModel, choose_observation
from npi_bids.surrogates.var import VAR

_RIDGE = 1e-5  # share of the variance that keeps the predictor of filtered signals bounded


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
    errors
        Shape (n_regions, n_regions); standard errors of the transition of the state.
    innovation
        Shape (n_regions, n_regions); covariance of what the predictor leaves of the signals.
    """

    process: OU
    delays: Array
    errors: Array
    innovation: Array

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
            "errors": self.errors,
            "innovation": self.innovation,
        }

    def facts(self) -> dict[str, Any]:
        """Return what tells it from other surrogates of its family."""
        return {"form": "observed"}

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


def load_observed(tensors: Mapping[str, Array], facts: Mapping[str, Any]) -> ObservedOU:
    """Return what :func:`fit_observed` made."""
    del facts
    return ObservedOU(
        tensors["weights"],
        tensors["offset"],
        OU(tensors["drift"], tensors["diffusion"]),
        tensors["delays"],
        tensors["errors"],
        tensors["innovation"],
    )


def fit_observed(
    windows: Windows, tr: float, *, delays: bool = True, gain: bool | None = None
) -> tuple[ObservedOU, ObservationModel]:
    """Fit the process with its observation model.

    Parameters
    ----------
    windows
        Of the signals; their samples are put together again.
    tr
        Sampling period (s).
    delays, gain
        As :func:`~npi_bids.surrogates.spectral_selection.choose_observation` takes them.
    """
    found = choose_observation(series_of(windows), tr, delays=delays, gain=gain)
    model = found.model
    scale = np.sqrt(np.diag(model.stationary))
    size = windows.target.std(axis=0)
    size = np.where(size > 0, size, 1.0) / scale
    drift = found.fit.drift * size / size[:, None]
    process = OU(drift, found.fit.diffusion * size**2)
    covariances = observed_covariances(found, windows.n_lags)
    weights, innovation = predictor(covariances)
    mean = windows.target.mean(axis=0)
    offset: Array = mean - np.einsum("s,lst->t", mean, weights)
    return ObservedOU(
        weights,
        offset,
        process,
        found.fit.delays,
        found.transition_errors * size / size[:, None],
        innovation,
    ), found


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
