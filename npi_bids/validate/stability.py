"""Numerical stability: how many digits of a result survive rounding.

Another processor, library of linear algebra or number of threads rounds sums differently. Moving
each input value by one unit in the last place has effects of the same size, and can be repeated:
what differs between repetitions is not supported by the arithmetic (Chatelain et al. 2023,
arXiv:2307.01373).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm

from npi_bids.records import Array

# Digits of a double, which is what a result without any change is taken to have.
MOST_DIGITS = -np.log10(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is compared between repetitions.

    Attributes
    ----------
    matrices
        Matrices by name, such as the map and its p values; NaN where there is no value.
    choices
        What was decided by a threshold, by name, such as the verdict and the kind of fit.
    """

    matrices: dict[str, Array]
    choices: dict[str, object]


@dataclass(frozen=True, slots=True)
class Stability:
    """Digits and choices over repetitions.

    Attributes
    ----------
    digits
        Significant digits of each entry of each matrix.
    flips
        Values of the choices that differed between repetitions, by name.
    n_repetitions
        Number of repetitions.
    """

    digits: dict[str, Array]
    flips: dict[str, tuple[object, ...]]
    n_repetitions: int


def perturb_rounding(data: Array, rng: np.random.Generator) -> Array:
    """Return data of which each value moved by one unit in the last place, or stayed, at random.

    Parameters
    ----------
    data
        Any shape; NaN stays NaN.
    rng
        Generator of the moves.
    """
    moves = rng.integers(-1, 2, size=data.shape)
    moved: Array = np.where(
        moves == 0, data, np.nextafter(data, np.where(moves > 0, np.inf, -np.inf))
    )
    return moved


def significant_digits(
    samples: Array, *, probability: float = 0.95, confidence: float = 0.95
) -> Array:
    """Return the number of significant decimal digits of repeated results.

    Parameters
    ----------
    samples
        Shape (n_repetitions, ...), two repetitions at least.
    probability, confidence
        The probability that a further result shares these digits, and the confidence in it.

    Returns
    -------
    Array
        Shape (...): between 0 and about 15.7; NaN where a sample is NaN.

    Notes
    -----
    The lower bound for normally distributed errors of Sohier et al. (2021), "Confidence intervals
    for stochastic arithmetic", ACM Transactions on Mathematical Software 47, eq. 6.

    >>> float(significant_digits(np.array([1.0, 1.0, 1.0])).round(1))
    15.7
    >>> float(significant_digits(1 + 1e-6 * np.array([-1.0, 0, 1.0])).round(1))
    4.9
    """
    n = len(samples)
    mean, sd = np.mean(samples, axis=0), np.std(samples, axis=0, ddof=1)
    of_sd = 0.5 * np.log10((n - 1) / chi2.ppf((1 - confidence) / 2, n - 1))
    margin = of_sd + np.log10(norm.ppf((1 + probability) / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(sd == 0, 0.0, sd / np.abs(mean))
        digits = np.clip(-np.log10(relative) - margin, 0.0, MOST_DIGITS)
    known: Array = np.where(np.isnan(mean), np.nan, digits)
    return known


def measure_stability(
    runs: Sequence[Array],
    analyse: Callable[[Sequence[Array]], Outcome],
    *,
    n_repetitions: int = 10,
    seed: int = 0,
) -> Stability:
    """Repeat an analysis of series that differ in the last place, and count what survives.

    Parameters
    ----------
    runs
        Series, shape (n_samples, n_regions) each.
    analyse
        The analysis.
    n_repetitions
        Number of repetitions.
    seed
        Seed of the moves.
    """
    rng = np.random.default_rng(seed)
    outcomes = [
        analyse([perturb_rounding(run, rng) for run in runs]) for _ in range(n_repetitions)
    ]
    names = outcomes[0].matrices
    digits = {
        name: significant_digits(np.stack([outcome.matrices[name] for outcome in outcomes]))
        for name in names
    }
    values = {
        name: tuple(dict.fromkeys(outcome.choices[name] for outcome in outcomes))
        for name in outcomes[0].choices
    }
    flips = {name: options for name, options in values.items() if len(options) > 1}
    return Stability(digits, flips, n_repetitions)
