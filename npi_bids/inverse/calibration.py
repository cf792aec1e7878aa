"""Calibration of posteriors on simulated subjects that were held out, and what is identified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstest

from npi_bids.inverse.priors import FLAT_VARIANCE
from npi_bids.records import Array

AnyFloat = NDArray[np.floating[Any]]
LEVELS = (0.5, 0.8, 0.95)
IDENTIFIED, WEAKLY, NOT_IDENTIFIED = "identified", "weakly identified", "not identified"
# A parameter is identified if the SD of its posterior is less than half that of the prior, so that
# contraction and R2 are above 3/4, and weakly identified if its variance is less than half.
IDENTIFIED_FROM, WEAKLY_FROM = 0.75, 0.5


@dataclass(frozen=True, slots=True)
class ParameterCalibration:
    """Calibration of the posterior of one parameter; all of it in positions in the prior.

    Attributes
    ----------
    name
        Name of the parameter.
    coverage
        Share of held-out subjects whose truth lies in the central intervals of 50, 80 and 95 %.
    sbc_p
        p of a Kolmogorov-Smirnov test of the ranks of the truth among the samples against a
        uniform distribution (simulation-based calibration, Talts et al. 2018).
    r2, r2_ridge, r2_best_fc
        R2 of the truth by the posterior mean, by a ridge regression on the same features, and by
        the simulation whose FC correlates best; negative where the mean of the prior is closer.
    contraction
        1 minus the variance of the posterior over that of the prior, mean over subjects.
    verdict
        ``identified``, ``weakly identified`` or ``not identified``.
    """

    name: str
    coverage: tuple[float, ...]
    sbc_p: float
    r2: float
    r2_ridge: float
    r2_best_fc: float
    contraction: float
    verdict: str


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Calibration of all parameters.

    Attributes
    ----------
    parameters
        One for each parameter.
    ranks
        Shape (n_subjects, n_parameters); share of the samples below the truth.
    tarp
        Shape (n_subjects,); credibility of the region around a random point that just holds the
        truth, which is uniform where posteriors are calibrated (TARP, Lemos et al. 2023).
    tarp_p
        p of a Kolmogorov-Smirnov test of it against a uniform distribution.
    n_subjects
        Number of held-out simulated subjects.
    """

    parameters: tuple[ParameterCalibration, ...]
    ranks: Array
    tarp: Array
    tarp_p: float
    n_subjects: int


@dataclass(frozen=True, slots=True, eq=False)
class PointEstimates:
    """Estimates of held-out subjects by other methods, shape (n_subjects, n_parameters)."""

    ridge: Array
    best_fc: Array


def calibrate(
    names: Sequence[str], truth: Array, samples: Array, points: PointEstimates, seed: int
) -> Calibration:
    """Compare posteriors with the truth of held-out simulated subjects.

    Parameters
    ----------
    names
        Names of the parameters.
    truth
        Shape (n_subjects, n_parameters); positions in the prior.
    samples
        Shape (n_samples, n_subjects, n_parameters).
    points
        Estimates by other methods.
    seed
        Seed of the random points of TARP.
    """
    ranks = (samples < truth).mean(axis=0)
    parameters = []
    for k, name in enumerate(names):
        r2 = explained_variance(truth[:, k], samples[:, :, k].mean(axis=0))
        contraction = float(1 - samples[:, :, k].var(axis=0).mean() / FLAT_VARIANCE)
        parameters.append(
            ParameterCalibration(
                name,
                tuple(_coverage(ranks[:, k], level) for level in LEVELS),
                float(kstest(ranks[:, k], "uniform").pvalue),
                r2,
                explained_variance(truth[:, k], points.ridge[:, k]),
                explained_variance(truth[:, k], points.best_fc[:, k]),
                contraction,
                judge_identification(contraction, r2),
            )
        )
    # Numpy's generators of seeds (s,) and (s, 0) are the same, and the latter drew the truth.
    credibility = _tarp(truth, samples, np.random.default_rng([seed, 1, 1]))
    tarp_p = float(kstest(credibility, "uniform").pvalue)
    return Calibration(tuple(parameters), ranks, credibility, tarp_p, len(truth))


def judge_identification(contraction: float, r2: float) -> str:
    """Say whether a parameter is identified, by its contraction and its R2 on simulated subjects.

    >>> judge_identification(0.9, 0.95), judge_identification(0.6, 0.6)
    ('identified', 'weakly identified')
    >>> judge_identification(0.9, 0.1)
    'not identified'
    """
    least = min(contraction, r2)
    if least > IDENTIFIED_FROM:
        return IDENTIFIED
    return WEAKLY if least > WEAKLY_FROM else NOT_IDENTIFIED


def explained_variance(truth: Array, estimate: Array) -> float:
    """Return R2: 1 minus the squared error over the variance of the truth."""
    return float(1 - np.mean((truth - estimate) ** 2) / truth.var())


def find_best_fc(fc: AnyFloat, simulated_fc: AnyFloat, positions: Array) -> Array:
    """Return the positions of the simulations whose FC correlates best with that of subjects.

    Parameters
    ----------
    fc
        Shape (n_subjects, n_pairs).
    simulated_fc
        Shape (n_simulations, n_pairs).
    positions
        Shape (n_simulations, n_parameters).
    """
    best: Array = positions[correlate_rows(fc, simulated_fc).argmax(axis=1)]
    return best


def correlate_rows(one: AnyFloat, other: AnyFloat) -> Array:
    """Return Pearson's correlation of each row of one matrix with each of another."""

    def unit(rows: AnyFloat) -> Array:
        centred = rows.astype(np.float32)
        centred -= centred.mean(axis=1, keepdims=True)
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        scaled: Array = centred / np.maximum(length, 1e-12)
        return scaled

    correlations: Array = unit(one) @ unit(other).T
    return correlations


def _coverage(ranks: Array, level: float) -> float:
    return float(np.mean(np.abs(ranks - 0.5) < level / 2))


def _tarp(truth: Array, samples: Array, rng: np.random.Generator) -> Array:
    """Return the credibility of the region around a random point that just holds the truth."""
    points = rng.random(truth.shape)
    distance = np.linalg.norm(samples - points, axis=-1)
    credibility: Array = (distance < np.linalg.norm(truth - points, axis=-1)).mean(axis=0)
    return credibility
