"""Whether a subject lies inside what a model can produce.

A posterior of a subject that the model cannot produce is not to be read: a neural estimator gives
one all the same (Schmitt et al. 2024, doi:10.1007/978-3-031-54605-1_35). Three statistics compare
the subject with simulated subjects, each against the same statistic of simulated subjects that
were left out of the fit:

- the Mahalanobis distance of its features from those of the simulations;
- the same of what remains of the features after the part that the parameters explain, with the
  scatter expected at these parameters, which sees features that do not go together;
- the accuracy of a classifier two-sample test (Lopez-Paz and Oquab 2017): the area under the ROC
  curve, cross-validated, of a linear discriminant between sections of the recording and sections
  of the simulations with the most similar parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from npi_bids.inverse.estimator import Summaries, fit_summaries
from npi_bids.records import Array

INSIDE, OUTSIDE = "inside", "outside"
STATISTICS = ("mahalanobis", "residual", "classifier")
# Share of simulated subjects that are called outside.
OUTSIDE_SHARE = 0.04
_N_FOLDS = 5
_N_NEIGHBOURS = 30
_RIDGE = 1.0  # penalty of the regressions on standardized features
_LEAST_SCATTER = 0.02  # SD of a normal score that its prediction is at least given
_COMPRESSED_FROM = 4.0  # SD beyond which a deviation counts by its logarithm
_POSITIONS = (-0.2, 1.2)  # between which estimated positions are cut off
_EXTREME = 3.0  # SD beyond which a feature is named
_MOST_NAMED = 6


@dataclass(frozen=True, slots=True)
class Position:
    """Where a subject lies relative to the simulations.

    Attributes
    ----------
    label
        ``inside`` or ``outside``.
    p
        Share of simulated subjects that are at least as far by the statistic by which the subject
        is furthest, corrected for the choice of the statistic.
    statistics
        Value of each of ``STATISTICS``.
    typical
        95 % quantile of each among simulated subjects.
    features
        Names of the features that are furthest from what the parameters explain, furthest first,
        with their deviation in standard deviations; at most six, those beyond 3.
    """

    label: str
    p: float
    statistics: dict[str, float]
    typical: dict[str, float]
    features: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Regressions and covariances of one set of simulations; see :func:`_fit`."""

    mean: Array
    sd: Array
    summaries: Summaries
    to_features: Array
    to_scatter: Array
    whitening: Array
    residual_whitening: Array

    def standardise(self, features: Array) -> Array:
        """Return standardized features, with large deviations compressed."""
        return _standardise(features, self.mean, self.sd)

    def coordinates(self, features: Array) -> Array:
        """Return estimates of the positions of the parameters."""
        estimates: Array = np.clip(self.summaries.estimate(features), *_POSITIONS)
        return estimates

    def residuals(self, features: Array, coordinates: Array) -> Array:
        """Return deviations from the features at the estimated parameters, in SD.

        They are deviations of normal scores, which spread features where simulations are dense:
        weak FC differs little between simulations, and strong FC much.
        """
        terms = _cubic_terms(coordinates)
        scatter = np.exp(np.clip(terms @ self.to_scatter, np.log(_LEAST_SCATTER), 2))
        scores = self.summaries.normal_scores(features)
        deviations: Array = (scores - terms @ self.to_features) / scatter
        return deviations


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """What a model can produce: simulated subjects, and their own distances from each other."""

    names: tuple[str, ...]
    fit: _Fit
    coordinates: Array
    sections: Array
    reference: Array  # (n_simulations, n_statistics), of simulations left out of the fit
    least_p: Array  # (n_simulations,), smallest p of each of them, sorted

    def locate(self, features: Array, sections: Array) -> Position:
        """Say where a subject lies.

        Parameters
        ----------
        features
            Shape (n_features,).
        sections
            Shape (n_sections, n_section_features).
        """
        coordinates = self.fit.coordinates(features[None])
        nearest = _nearest(self.coordinates, coordinates[0], _N_NEIGHBOURS)
        observed = np.array([
            *_distances(self.fit, features[None], coordinates)[0],
            classify_sections(sections, self.sections[nearest]),
        ])  # fmt: skip
        p = _p_values(observed[None], self.reference)[0].min()
        corrected = (1 + np.searchsorted(self.least_p, p, side="right")) / (1 + len(self.least_p))
        typical = np.nanpercentile(self.reference, 95, axis=0)
        return Position(
            OUTSIDE if corrected <= OUTSIDE_SHARE else INSIDE,
            float(min(1.0, corrected)),
            dict(zip(STATISTICS, map(float, observed), strict=True)),
            dict(zip(STATISTICS, map(float, typical), strict=True)),
            self._name_extremes(features, self.fit.residuals(features[None], coordinates)[0]),
        )

    def _name_extremes(self, features: Array, residuals: Array) -> dict[str, float]:
        raw = (features - self.fit.mean) / self.fit.sd
        furthest = np.where(np.abs(raw) > np.abs(residuals), raw, residuals)
        order = np.argsort(-np.abs(furthest))[:_MOST_NAMED]
        return {self.names[k]: float(furthest[k]) for k in order if abs(furthest[k]) > _EXTREME}


def fit_domain(names: Sequence[str], positions: Array, features: Array, sections: Array) -> Domain:
    """Fit what a model can produce to simulated subjects.

    Parameters
    ----------
    names
        Names of the features.
    positions
        Shape (n_simulations, n_parameters); positions in the prior.
    features
        Shape (n_simulations, n_features).
    sections
        Shape (n_simulations, n_sections, n_section_features).
    """
    reference = np.empty((len(features), len(STATISTICS)))
    folds = np.arange(len(features)) % _N_FOLDS
    for fold in range(_N_FOLDS):
        inside, left_out = folds != fold, folds == fold
        fit = _fit(positions[inside], features[inside])
        reference[left_out] = _measure(fit, features, sections, inside)[left_out]
    fit = _fit(positions, features)
    least_p = np.sort(_p_values(reference, reference).min(axis=1))
    coordinates = fit.coordinates(features)
    return Domain(tuple(names), fit, coordinates, sections, reference, least_p)


def _measure(fit: _Fit, features: Array, sections: Array, inside: NDArray[np.bool_]) -> Array:
    """Return the statistics of the simulations that are not inside; NaN for the others."""
    coordinates = fit.coordinates(features)
    values = np.full((len(features), len(STATISTICS)), np.nan)
    values[:, :2] = _distances(fit, features, coordinates)
    used = np.flatnonzero(inside)
    for row in np.flatnonzero(~inside):
        nearest = used[_nearest(coordinates[used], coordinates[row], _N_NEIGHBOURS)]
        values[row, 2] = classify_sections(sections[row], sections[nearest])
    return values


def _distances(fit: _Fit, features: Array, coordinates: Array) -> Array:
    """Return the Mahalanobis distances of features and of residuals, shape (n, 2)."""
    residuals = fit.residuals(features, coordinates)
    whitened = (fit.standardise(features) @ fit.whitening, residuals @ fit.residual_whitening)
    return np.column_stack([np.linalg.norm(part, axis=1) for part in whitened])


def _p_values(observed: Array, reference: Array) -> Array:
    """Return the share of the reference that is at least as large, for each statistic."""
    p = np.ones(observed.shape)
    for k in range(observed.shape[1]):
        column = np.sort(reference[np.isfinite(reference[:, k]), k])
        at_least = len(column) - np.searchsorted(column, observed[:, k], side="left")
        p[:, k] = np.where(np.isfinite(observed[:, k]), (1 + at_least) / (1 + len(column)), 1)
    return p


def classify_sections(sections: Array, others: Array) -> float:
    """Return how well sections of a recording are told from those of simulations.

    Parameters
    ----------
    sections
        Shape (n_sections, n_features), of the recording.
    others
        Shape (n_simulations, n_sections, n_features).

    Returns
    -------
    float
        Area under the ROC curve of a linear discriminant from which one section at a time was
        left out; .5 where they are alike. NaN where a section is too short for its features.
    """
    pooled = others.reshape(-1, others.shape[-1])
    pooled = pooled[np.isfinite(pooled).all(axis=1)]
    own = sections[np.isfinite(sections).all(axis=1)]
    if len(own) < 3 or len(pooled) < 2 * own.shape[1]:
        return float("nan")
    mean, sd = pooled.mean(axis=0), pooled.std(axis=0) + 1e-12
    pooled, own = (pooled - mean) / sd, (own - mean) / sd
    covariance = np.cov(pooled.T) + 0.1 * np.eye(own.shape[1])
    areas = []
    for left_out in range(len(own)):
        others_mean = np.delete(own, left_out, axis=0).mean(axis=0)
        direction = np.linalg.solve(covariance, others_mean)
        areas.append(np.mean(pooled @ direction < own[left_out] @ direction))
    return float(np.mean(areas))


def _nearest(coordinates: Array, target: Array, n_nearest: int) -> NDArray[np.int64]:
    distance = np.sum((coordinates - target) ** 2, axis=1)
    return np.argsort(distance, kind="stable")[:n_nearest]


def _fit(positions: Array, features: Array) -> _Fit:
    """Fit the regressions and covariances to simulations."""
    median, sd = np.median(features, axis=0), features.std(axis=0)
    standardised = _standardise(features, median, sd)
    summaries, own = fit_summaries(positions, features)
    # Each simulation is estimated without itself, as a subject is.
    estimates = np.clip(summaries.read_estimates(own), *_POSITIONS)
    terms = _cubic_terms(estimates)
    to_features = _regress(terms, summaries.support)
    deviations = summaries.support - terms @ to_features
    # The mean of the logarithm of |z| is -.635 for a standard normal z.
    to_scatter = _regress(terms, np.log(np.abs(deviations) + 1e-3) + 0.635, penalty=10 * _RIDGE)
    scatter = np.exp(np.clip(terms @ to_scatter, np.log(_LEAST_SCATTER), 2))
    whitening = _whiten(standardised), _whiten(deviations / scatter)
    return _Fit(median, sd, summaries, to_features, to_scatter, *whitening)


def _standardise(features: Array, mean: Array, sd: Array) -> Array:
    """Return standardized features, with large deviations compressed."""
    scaled = (features - mean) / sd
    size = np.abs(scaled)
    beyond = np.maximum(size - _COMPRESSED_FROM, 0)
    compressed: Array = np.sign(scaled) * (size - beyond + np.log1p(beyond))
    return compressed


def _whiten(data: Array) -> Array:
    """Return the map from data to uncorrelated components, by a shrunken covariance."""
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(data)
    values, vectors = np.linalg.eigh(covariance)
    whitening: Array = vectors / np.sqrt(np.maximum(values, 1e-3))
    return whitening


def _cubic_terms(data: Array) -> Array:
    """Return all products of up to three columns, centred on the middle of the prior."""
    centred = 2 * data - 1
    columns: list[Array] = [np.ones(len(data)), *centred.T]
    for first, second in combinations_with_replacement(range(data.shape[1]), 2):
        columns.append(centred[:, first] * centred[:, second])
    columns += [column**3 for column in centred.T]
    return np.column_stack(columns)


def _regress(predictors: Array, target: Array, penalty: float = _RIDGE) -> Array:
    """Return the weights of a ridge regression whose first predictor is the constant."""
    penalties = np.full(predictors.shape[1], penalty)
    penalties[0] = 0.0
    moments: Array = predictors.T @ predictors + np.diag(penalties)
    return np.asarray(np.linalg.solve(moments, predictors.T @ target), dtype=np.float64)
