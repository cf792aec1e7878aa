"""Stationary correlations of linear surrogates in closed form, free of sampling noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.linalg import LinAlgError

from npi_bids.matrices import scale_covariance
from npi_bids.records import Array

# Values of a state (regions times lags) up to which its covariance is solved for; 3 s of CPU.
_MOST_VALUES = 1200
_MOST_DOUBLINGS = 40
_TOLERANCE = 1e-12
_MOST_FREQUENCIES = 1 << 15
_MOST_ALIASING = 1e-6  # share of the slowest mode that is left after so many samples
_AT_ONCE = 1 << 22  # complex numbers held at a time
_WORST_CONDITION = 1e8  # of eigenvectors


def companion_correlation(weights: Array, noise: Array) -> Array | None:
    """Return the correlations of a vector autoregression.

    The covariance P of the joint state of all lags solves ``P = C' P C + Q``, by doubling
    (Smith, 1968, SIAM J Appl Math 16:198).

    Parameters
    ----------
    weights
        Shape (n_lags, source, target); the most recent sample is last.
    noise
        Shape (n_regions, n_regions); covariance of the innovations, up to a factor.

    Returns
    -------
    Array or None
        Shape (n_regions, n_regions); None if the process is not stable, or too large.

    >>> coupled = np.array([[[0.5, 0.4], [0.0, 0.5]]])
    >>> companion_correlation(coupled, np.eye(2)).round(4).tolist()
    [[1.0, 0.229], [0.229, 1.0]]
    """
    used = np.flatnonzero(np.any(weights, axis=(1, 2)))
    lags = weights[used[0] if used.size else -1 :]
    n_lags, n, _ = lags.shape
    if n_lags * n > _MOST_VALUES:
        return None
    power = np.zeros((n_lags * n, n_lags * n))
    power[n:, :-n] += np.eye((n_lags - 1) * n)
    power[:, -n:] = lags.reshape(-1, n)
    covariance = np.zeros_like(power)
    covariance[-n:, -n:] = noise
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_MOST_DOUBLINGS):
            increment = power.T @ covariance @ power
            covariance += increment
            if not np.isfinite(covariance).all():
                return None
            if np.abs(increment).max() <= _TOLERANCE * np.abs(covariance).max():
                return _to_correlation(covariance[-n:, -n:])
            power = power @ power
    return None


def filtered_correlation(
    transition: Array, noise: Array, *, whitening: Sequence[float], memory: Sequence[float]
) -> Array | None:
    """Return the correlations of a first-order process seen through what all regions share.

    In the basis of the eigenvectors of the transition, each mode is filtered by itself, so that
    covariances are sums over frequencies of products of two transfer functions.

    Parameters
    ----------
    transition
        Shape (source, target); effect of one sample on the next.
    noise
        Shape (n_regions, n_regions); covariance of the innovations.
    whitening
        Coefficients of the autoregression that was removed from all regions.
    memory
        Weights of each region's own samples before the most recent one.

    Returns
    -------
    Array or None
        Shape (n_regions, n_regions); None if the process is not stable, if its eigenvectors are
        too similar, or if it forgets too slowly for a sum over frequencies.
    """
    try:
        eigenvalues, vectors = np.linalg.eig(transition.T)
        if not np.linalg.cond(vectors) < _WORST_CONDITION:
            return None
    except LinAlgError:
        return None
    radius = _spectral_radius(eigenvalues, whitening, memory)
    if not radius < 1:
        return None
    inverse = np.linalg.inv(vectors)
    n_frequencies = 256
    while radius**n_frequencies > _TOLERANCE and n_frequencies < _MOST_FREQUENCIES:
        n_frequencies *= 2
    if radius**n_frequencies > _MOST_ALIASING:
        return None
    products = np.zeros((len(eigenvalues), len(eigenvalues)), dtype=complex)
    step = max(1, _AT_ONCE // len(eigenvalues))
    for start in range(0, n_frequencies, step):
        index = np.arange(start, min(start + step, n_frequencies))
        delay = np.exp(-2j * np.pi * index / n_frequencies)
        transfer = _transfer(eigenvalues, delay, whitening, memory)
        products += transfer @ transfer.conj().T / n_frequencies
    modes = (inverse @ noise @ inverse.conj().T) * products
    return _to_correlation((vectors @ modes @ vectors.conj().T).real)


def _transfer(
    eigenvalues: Array, delay: Array, whitening: Sequence[float], memory: Sequence[float]
) -> Array:
    """Return the transfer function of each mode, shape (n_modes, n_frequencies)."""
    remembered = sum(
        (w * delay**lag for lag, w in enumerate(memory, start=2)), np.zeros_like(delay)
    )
    common = 1 - sum(w * delay**lag for lag, w in enumerate(whitening, start=1))
    transfer: Array = 1 / ((1 - eigenvalues[:, None] * delay - remembered) * common)
    return transfer


def _spectral_radius(
    eigenvalues: Array, whitening: Sequence[float], memory: Sequence[float]
) -> float:
    """Return the largest modulus of the poles of all modes."""
    poles = [np.roots([1, -value, *(-w for w in memory)]) for value in eigenvalues]
    poles.append(np.roots([1, *(-w for w in whitening)]))
    return float(np.abs(np.concatenate(poles)).max(initial=0.0))


def _to_correlation(covariance: Array) -> Array | None:
    correlation = scale_covariance(covariance)
    return correlation if np.isfinite(correlation).all() else None
