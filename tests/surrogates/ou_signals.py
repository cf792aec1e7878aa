"""Series of Ornstein-Uhlenbeck processes for tests, and surrogates fitted to them."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_continuous_lyapunov

from npi_bids.records import RegionSeries
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.windows import cut_windows

MOU_SETTINGS = TrainSettings(surrogate="mou", device="cpu")

HYBRID = TrainSettings(surrogate="hybrid", device="cpu")


def run_of(series):
    labels = tuple(f"R{n}" for n in range(series.shape[1]))
    return RegionSeries(series, labels, 1.0, np.ones(len(series), dtype=bool))


def fit(series, settings, n_lags=4):
    windows = cut_windows([run_of(series)], n_lags)
    model, log = fit_surrogate(windows, windows.take(slice(0, 0)), settings)
    return model, dict(log.details), windows


def off(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


def sampled(process, n_samples, seed):
    """Draw from the exact transition, starting in the stationary state."""
    rng = np.random.default_rng(seed)
    stationary = solve_continuous_lyapunov(process.drift.T, -np.diag(process.diffusion))
    root = np.linalg.cholesky(process.innovation)
    path = np.empty((n_samples, len(process.drift)))
    path[0] = np.linalg.cholesky(stationary) @ rng.standard_normal(len(process.drift))
    for now in range(1, n_samples):
        path[now] = path[now - 1] @ process.transition + root @ rng.standard_normal(
            len(process.drift)
        )
    return path


def fast_process(rate, n, seed=3):
    """Return a process of strong influences that take a fraction of a sample."""
    rng = np.random.default_rng(seed)
    influences = 0.7 * rng.standard_normal((n, n)) / np.sqrt(n)
    np.fill_diagonal(influences, -1.0)
    return OU(rate * influences, 2 * rate * np.ones(n))
