"""Other methods of directed connectivity, written out: conditional Granger causality and PCMCI."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from npi_bids.records import Array, RegionSeries, Windows
from npi_bids.surrogates.windows import cut_windows

MAX_ORDER = 3  # lags of Granger causality, from 1
MAX_LAG = 2  # of PCMCI, from 1
_ALPHA = 0.2  # of the selection of conditions, as by default in tigramite

# A variable of PCMCI: region, and lag in samples.
Node = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquares:
    """A VAR by least squares.

    Attributes
    ----------
    weights
        Shape (order * n_regions, n_regions), indexed ``[source, target]`` in each lag.
    inverse
        Inverse of the products of the past with itself.
    squares
        Shape (n_regions,); squared residuals, summed.
    criterion
        BIC, up to a constant.
    """

    weights: Array
    inverse: Array
    squares: Array
    criterion: float

    @property
    def order(self) -> int:
        """Number of lags."""
        return len(self.weights) // len(self.squares)


def fit_least_squares(windows: Windows, order: int) -> LeastSquares:
    """Fit a VAR to the last samples of each window."""
    n_windows, _, n_regions = windows.history.shape
    target = windows.target - windows.target.mean(axis=0)
    past = windows.history[:, -order:].reshape(n_windows, -1)
    past = past - past.mean(axis=0)
    inverse = np.linalg.inv(past.T @ past)
    weights = inverse @ past.T @ target
    residual = target - past @ weights
    criterion = n_windows * np.linalg.slogdet(residual.T @ residual / n_windows)[1]
    criterion += np.log(n_windows) * order * n_regions**2
    return LeastSquares(weights, inverse, (residual**2).sum(axis=0), float(criterion))


def choose_least_squares(runs: Sequence[RegionSeries], max_order: int) -> LeastSquares:
    """Return the VAR of lowest BIC; more samples than weights of a region are needed."""
    windows = cut_windows(runs, max_order)
    orders = [
        order
        for order in range(1, max_order + 1)
        if order == 1 or len(windows) > 2 * order * windows.history.shape[2]
    ]
    fits = [fit_least_squares(windows, order) for order in orders]
    return min(fits, key=lambda fit: fit.criterion)


def granger_causality(runs: Sequence[RegionSeries]) -> Array:
    """Return conditional Granger causality, indexed ``[source, target]``.

    The logarithm of the ratio of two residual variances of the target, without and with the past
    of the source, given the past of all other regions (Geweke 1984,
    doi:10.1080/01621459.1984.10477110), by least squares; one order for all, by BIC. The root is
    returned with the sign of the summed weights, because the ratio has none and grows with the
    square of a weight, whereas the truth is signed. It is 0 on the diagonal.
    """
    chosen = choose_least_squares(runs, MAX_ORDER)
    return _log_ratios(chosen.weights, chosen.inverse, chosen.squares)


def _log_ratios(weights: Array, inverse: Array, squares: Array) -> Array:
    """Return signed roots of log ratios; leaving a source out adds w' inv(inverse block) w."""
    n_regions = len(squares)
    causality = np.zeros((n_regions, n_regions))
    for source in range(n_regions):
        rows = np.arange(source, len(weights), n_regions)
        own = weights[rows]
        added = (own * np.linalg.solve(inverse[np.ix_(rows, rows)], own)).sum(axis=0)
        causality[source] = np.sign(own.sum(axis=0)) * np.sqrt(np.log1p(added / squares))
    np.fill_diagonal(causality, 0.0)
    return causality


def pcmci(runs: Sequence[RegionSeries]) -> Array:
    """Return PCMCI with partial correlations, indexed ``[source, target]``.

    Two steps (Runge et al. 2019, doi:10.1126/sciadv.aau4996). PC1 selects the lagged parents of
    each region: a parent is removed where its correlation with the region, given the strongest
    other parents, is not significant (alpha of .2), with one more condition in each round. MCI is
    the correlation of source and target given the parents of both. Lags of 1, or of 1 and 2
    samples, by the BIC of a VAR; the value of the lag with the strongest correlation is returned,
    0 on the diagonal.
    """
    max_lag = choose_least_squares(runs, MAX_LAG).order
    windows = cut_windows(runs, 2 * max_lag)
    samples = np.concatenate([windows.target[:, None], windows.history[:, ::-1]], axis=1)
    n_windows, _, n_regions = samples.shape
    covariance = np.cov(samples.reshape(n_windows, -1), rowvar=False)
    tests = _PartialCorrelation(covariance, n_windows, n_regions)
    parents = [_select_parents(tests, target, max_lag) for target in range(n_regions)]
    values = np.zeros((n_regions, n_regions))
    for target in range(n_regions):
        for source in set(range(n_regions)) - {target}:
            lagged = [
                _momentary(tests, parents, (source, lag), target) for lag in range(1, max_lag + 1)
            ]
            values[source, target] = max(lagged, key=abs)
    return values


class _PartialCorrelation:
    """Partial correlations of lagged variables, from their covariance."""

    def __init__(self, covariance: Array, n_windows: int, n_regions: int) -> None:
        self.covariance, self.n_windows, self.n_regions = covariance, n_windows, n_regions

    def value(self, one: Node, other: Node, given: Sequence[Node]) -> float:
        """Return the correlation of two variables given others."""
        rows = [region + lag * self.n_regions for region, lag in (one, other, *given)]
        precision = np.linalg.inv(self.covariance[np.ix_(rows, rows)])
        return float(-precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1]))

    def is_significant(self, value: float, n_given: int) -> bool:
        """Return whether a correlation differs from 0 at the level of the selection."""
        return abs(value) > _critical_value(self.n_windows - 2 - n_given)


@functools.cache
def _critical_value(n_free: int) -> float:
    critical = float(student.isf(_ALPHA / 2, n_free))
    return float(critical / np.sqrt(n_free + critical**2))


def _select_parents(tests: _PartialCorrelation, target: int, max_lag: int) -> list[Node]:
    """Return the lagged parents of a region, strongest first."""
    parents = [(region, lag) for lag in range(1, max_lag + 1) for region in range(tests.n_regions)]
    strength = dict.fromkeys(parents, np.inf)
    n_given = 0
    while len(parents) > n_given:
        kept = []
        for parent in parents:
            given = [other for other in parents if other != parent][:n_given]
            value = tests.value(parent, (target, 0), given)
            strength[parent] = min(strength[parent], abs(value))
            if tests.is_significant(value, n_given):
                kept.append(parent)
        parents = sorted(kept, key=lambda parent: -strength[parent])
        n_given += 1
    return parents


def _momentary(
    tests: _PartialCorrelation, parents: Sequence[Sequence[Node]], source: Node, target: int
) -> float:
    """Return the correlation of a lagged source and a target given the parents of both."""
    region, lag = source
    of_source = [(parent, lag + earlier) for parent, earlier in parents[region]]
    given = dict.fromkeys([*(p for p in parents[target] if p != source), *of_source])
    return tests.value(source, (target, 0), list(given))
