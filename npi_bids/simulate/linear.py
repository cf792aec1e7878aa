"""Linear systems whose effective connectivity is known in closed form.

A vector autoregression ``x[t+1] = x[t] W + noise`` responds to a perturbation of 1 with ``W``
itself. An Ornstein-Uhlenbeck process ``dx = x F dt + sigma dB``, sampled every TR, responds with
``e^(F TR)``. Rows are sources throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm, solve_continuous_lyapunov

from npi_bids.errors import SettingsError
from npi_bids.records import Array

_WARM_UP = 200  # samples until a stable system has forgotten its initial state
_SPARSITY = 0.2  # share of the pairs that are connected in one direction
_SELF = 0.5  # effect of a region on itself after a sample (VAR) or a second (process)


@dataclass(frozen=True, slots=True, eq=False)
class LinearSystem:
    """A linear system sampled at regular intervals.

    Attributes
    ----------
    transition
        Shape (n_regions, n_regions), indexed ``[source, target]``: what a perturbation of 1 does
        one sample later; its diagonal is the effect of a region on itself.
    innovation
        Shape (n_regions, n_regions); covariance of the innovation of each sample.
    """

    transition: Array
    innovation: Array

    def __post_init__(self) -> None:
        radius = np.abs(np.linalg.eigvals(self.transition)).max()
        if radius >= 1:
            raise SettingsError(
                f"The linear system is not stable: its spectral radius is {radius:.3f}; expected "
                "below 1. Make the coupling weaker."
            )


def sparse_drift(n_regions: int, coupling: float, rng: np.random.Generator) -> Array:
    """Draw connections of random sign between a fifth of the pairs, shape (source, target).

    They are scaled so that the spectral radius of a large network is ``0.7 coupling`` (circular
    law); the diagonal is 0.
    """
    present = rng.random((n_regions, n_regions)) < _SPARSITY
    weights = np.where(present, rng.standard_normal((n_regions, n_regions)), 0.0)
    np.fill_diagonal(weights, 0.0)
    scaled: Array = weights * (0.7 * coupling / np.sqrt(n_regions * _SPARSITY))
    return scaled


def var_system(n_regions: int, coupling: float, rng: np.random.Generator) -> LinearSystem:
    """Draw a sparse vector autoregression of one lag with unit noise."""
    drift = sparse_drift(n_regions, coupling, rng)
    return LinearSystem(_SELF * (np.eye(n_regions) + drift), np.eye(n_regions))


def ou_system(
    n_regions: int, coupling: float, tr: float, rng: np.random.Generator
) -> LinearSystem:
    """Draw a sparse Ornstein-Uhlenbeck process with a time constant of about 1.4 s.

    The covariance of a sample given the last one is ``S - W' S W``, with the stationary
    covariance S from the Lyapunov equation ``F' S + S F = -I``.
    """
    rate = -np.log(_SELF)
    drift = rate * (sparse_drift(n_regions, coupling, rng) - np.eye(n_regions))
    if np.linalg.eigvals(drift).real.max() >= 0:
        raise SettingsError(
            f"The process is not stable with a coupling of {coupling:g}; make it weaker."
        )
    stationary = solve_continuous_lyapunov(drift.T, -np.eye(n_regions))
    transition = expm(drift * tr)
    return LinearSystem(transition, stationary - transition.T @ stationary @ transition)


def simulate_linear(
    system: LinearSystem, *, n_runs: int, n_samples: int, rng: np.random.Generator
) -> Array:
    """Simulate independent runs.

    Returns
    -------
    Array
        Shape (n_runs, n_samples, n_regions); the first 200 samples of each are dropped.
    """
    n_regions = len(system.transition)
    root = np.linalg.cholesky(system.innovation)
    state = np.zeros((n_runs, n_regions))
    series = np.empty((n_runs, n_samples, n_regions))
    for sample in range(-_WARM_UP, n_samples):
        state = state @ system.transition + rng.standard_normal(state.shape) @ root.T
        if sample >= 0:
            series[:, sample] = state
    return series
