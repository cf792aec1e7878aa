"""Whether a subject lies inside what a model can produce.

A posterior of a subject that the model cannot produce is not to be read: a neural estimator gives
one all the same (Schmitt et al. 2024, doi:10.1007/978-3-031-54605-1_35). Five statistics compare
the subject with simulated subjects, each against the same statistic of simulated subjects that
were left out of the fit:

- the Mahalanobis distance of its features from those of all simulations;
- the same from what the simulations with the most similar parameters have, by a regression and a
  covariance of these simulations alone, which sees features that do not go together;
- the same of the features that tell how FC follows structural connectivity: in fewer dimensions
  it sees FC that does not follow the structure as much as its strength requires;
- the log odds that the regions are in another order than those of the structure, by a logistic
  regression that was trained to tell simulated subjects from the same with their regions in random
  order, whose signals are otherwise the same but bear no relation to the structure;
- the accuracy of a classifier two-sample test (Lopez-Paz and Oquab 2017): the area under the ROC
  curve, cross-validated, of a linear discriminant between sections of the recording and sections
  of the simulations with the most similar parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npi_bids.inverse.estimator import Summaries, fit_summaries
from npi_bids.inverse.features import STRUCTURAL_FEATURES
from npi_bids.records import Array, Mask

INSIDE, OUTSIDE = "inside", "outside"
STATISTICS = ("mahalanobis", "local", "structural", "order", "classifier")
# Share of simulated subjects that are called outside, and how it is divided among the statistics:
# mostly to those that see most.
OUTSIDE_SHARE = 0.04
_WEIGHTS = np.array([0.05, 0.35, 0.35, 0.2, 0.05])
_N_FOLDS = 5
_N_NEIGHBOURS = 30  # whose sections are compared with those of the recording
_N_LOCAL = 200  # that the local distance is measured from, of at least twice as many
_LOCAL_SHRINKAGE = 0.1  # of the local correlations of features towards 0
_LOCAL_PENALTY = 0.3  # of the local regression
_LEAST_SCATTER = 0.01  # SD of a normal score that its prediction is at least given
_COMPRESSED_FROM = 4.0  # SD beyond which a deviation counts by its logarithm
_POSITIONS = (-0.2, 1.2)  # between which estimated positions are cut off
_ORDER_PENALTY = 1.0  # of the logistic regression of the order of regions (inverse of C)
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
        is furthest, corrected for the choice of the statistic; the local distances count most.
    statistics
        Value of each of ``STATISTICS``.
    typical
        95 % quantile of each among simulated subjects.
    features
        Names of the features that are furthest from those of the simulations, all or those with
        similar parameters, furthest first, with their deviation in standard deviations; at most
        six, those beyond 3.
    """

    label: str
    p: float
    statistics: dict[str, float]
    typical: dict[str, float]
    features: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """What one set of simulations has; ``coordinates`` are their estimated positions."""

    median: Array
    sd: Array
    summaries: Summaries
    coordinates: Array
    whitening: Array
    structural: Mask
    order: Array  # intercept and weights of the normal scores

    def estimate(self, features: Array) -> Array:
        """Return estimates of the positions of the parameters."""
        estimates: Array = np.clip(self.summaries.estimate(features), *_POSITIONS)
        return estimates

    def global_distances(self, features: Array) -> Array:
        """Return the Mahalanobis distances from all simulations."""
        standardised = _standardise(features, self.median, self.sd)
        distances: Array = np.linalg.norm(standardised @ self.whitening, axis=1)
        return distances

    def measure_order(self, scores: Array) -> Array:
        """Return the log odds that regions are in another order than those of the structure.

        Parameters
        ----------
        scores
            Shape (..., n_features); normal scores.
        """
        odds: Array = self.order[0] + scores @ self.order[1:]
        return odds

    def measure_locally(self, scores: Array, coordinates: Array) -> tuple[Array, Array]:
        """Return distances from the simulations with similar parameters, and each deviation.

        Parameters
        ----------
        scores
            Shape (n_features,); normal scores, which spread features where simulations are dense:
            weak FC differs little between simulations, and strong FC much.
        coordinates
            Shape (n_parameters,); estimated positions.

        Returns
        -------
        tuple
            Mahalanobis distances of all and of structural features, and the deviation of each
            feature in SD.
        """
        support = self.summaries.support
        n_nearest = min(_N_LOCAL, len(support) // 2)
        nearest = _nearest(self.coordinates, coordinates, n_nearest + 1)
        distance = np.sum((self.coordinates[nearest] - coordinates) ** 2, axis=1)
        # Weights fall to 0 at the last of the neighbours.
        weights = np.sqrt(1 - distance / np.maximum(distance[-1], 1e-12))[:, None]
        away = self.coordinates[nearest] - coordinates
        terms = weights * np.column_stack([np.ones(len(away)), away])
        slopes = _regress(terms, weights * support[nearest], _LOCAL_PENALTY)
        errors = weights * support[nearest] - terms @ slopes
        scatter = np.sqrt((errors**2).sum(axis=0) / (weights**2).sum()) + _LEAST_SCATTER
        deviations = (scores - slopes[0]) / scatter
        covariance = errors.T @ errors / ((weights**2).sum() * np.outer(scatter, scatter))
        parts = (np.ones(len(scores), dtype=bool), self.structural)
        distances = [_distance(deviations[part], covariance[part][:, part]) for part in parts]
        return np.array(distances), deviations


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """What a model can produce: simulated subjects, and their own distances from each other."""

    names: tuple[str, ...]
    fit: _Fit
    sections: Array
    reference: Array  # (n_simulations, n_statistics), of simulations left out of the fit
    least_p: Array  # (n_simulations,), smallest weighted p of each of them, sorted

    def locate(self, features: Array, sections: Array) -> Position:
        """Say where a subject lies.

        Parameters
        ----------
        features
            Shape (n_features,).
        sections
            Shape (n_sections, n_section_features).
        """
        coordinates = self.fit.estimate(features[None])[0]
        nearest = _nearest(self.fit.coordinates, coordinates, _N_NEIGHBOURS)
        scores = self.fit.summaries.normal_scores(features[None])[0]
        distances, deviations = self.fit.measure_locally(scores, coordinates)
        observed = np.array(
            [
                self.fit.global_distances(features[None])[0],
                *distances,
                self.fit.measure_order(scores),
                classify_sections(sections, self.sections[nearest]),
            ]
        )
        p = _weighted_p(observed[None], self.reference)[0]
        corrected = (1 + np.searchsorted(self.least_p, p, side="right")) / (1 + len(self.least_p))
        typical = [_upper_quantile(column) for column in self.reference.T]
        return Position(
            OUTSIDE if corrected <= OUTSIDE_SHARE else INSIDE,
            float(min(1.0, corrected)),
            dict(zip(STATISTICS, map(float, observed), strict=True)),
            dict(zip(STATISTICS, typical, strict=True)),
            self._name_extremes(features, deviations),
        )

    def _name_extremes(self, features: Array, deviations: Array) -> dict[str, float]:
        raw = (features - self.fit.median) / self.fit.sd
        furthest = np.where(np.abs(raw) > np.abs(deviations), raw, deviations)
        order = np.argsort(-np.abs(furthest))[:_MOST_NAMED]
        return {self.names[k]: float(furthest[k]) for k in order if abs(furthest[k]) > _EXTREME}


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedSubjects:
    """What a domain is fitted to.

    Attributes
    ----------
    positions
        Shape (n, n_parameters); positions in the prior.
    features
        Shape (n, n_features).
    reordered
        The same of the same subjects with their regions in random order.
    sections
        Shape (n, n_sections, n_section_features).
    """

    positions: Array
    features: Array
    reordered: Array
    sections: Array

    def __len__(self) -> int:
        return len(self.positions)


def fit_domain(names: Sequence[str], subjects: SimulatedSubjects) -> Domain:
    """Fit what a model can produce to simulated subjects.

    Parameters
    ----------
    names
        Names of the features.
    subjects
        Simulated subjects, drawn from the prior.
    """
    reference = np.empty((len(subjects), len(STATISTICS)))
    folds = np.arange(len(subjects)) % _N_FOLDS
    structural = np.isin(names, STRUCTURAL_FEATURES)
    for fold in range(_N_FOLDS):
        inside, left_out = folds != fold, folds == fold
        fit = _fit(subjects, inside, structural)
        reference[left_out] = _measure(fit, subjects, inside)[left_out]
    fit = _fit(subjects, np.ones(len(subjects), dtype=bool), structural)
    least_p = np.sort(_weighted_p(reference, reference))
    return Domain(tuple(names), fit, subjects.sections, reference, least_p)


def _measure(fit: _Fit, subjects: SimulatedSubjects, inside: Mask) -> Array:
    """Return the statistics of the simulations that are not inside; NaN for the others."""
    features, sections = subjects.features, subjects.sections
    values = np.full((len(features), len(STATISTICS)), np.nan)
    left_out, used = np.flatnonzero(~inside), np.flatnonzero(inside)
    values[left_out, 0] = fit.global_distances(features[left_out])
    coordinates = fit.estimate(features[left_out])
    scores = fit.summaries.normal_scores(features[left_out])
    for row, score, place in zip(left_out, scores, coordinates, strict=True):
        nearest = used[_nearest(fit.coordinates, place, _N_NEIGHBOURS)]
        values[row, 1:3] = fit.measure_locally(score, place)[0]
        values[row, 3] = fit.measure_order(score)
        values[row, 4] = classify_sections(sections[row], sections[nearest])
    return values


def _distance(deviations: Array, covariance: Array) -> float:
    """Return the Mahalanobis distance by a shrunken covariance; NaN of no features."""
    if not len(deviations):
        return float("nan")
    shrunken = (1 - _LOCAL_SHRINKAGE) * covariance + _LOCAL_SHRINKAGE * np.eye(len(deviations))
    return float(np.sqrt(deviations @ np.linalg.solve(shrunken, deviations)))


def _upper_quantile(values: Array) -> float:
    """Return the 95 % quantile of the values that are defined; NaN if none is."""
    defined = values[np.isfinite(values)]
    return float(np.percentile(defined, 95)) if len(defined) else float("nan")


def _weighted_p(observed: Array, reference: Array) -> Array:
    """Return the smallest p of the statistics of each row, each divided by its weight."""
    smallest: Array = (_p_values(observed, reference) / _WEIGHTS).min(axis=1)
    return smallest


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


def _fit(subjects: SimulatedSubjects, used: Mask, structural: Mask) -> _Fit:
    """Fit the estimates and the covariance of all features to some simulations."""
    positions, features = subjects.positions[used], subjects.features[used]
    median, sd = np.median(features, axis=0), features.std(axis=0)
    summaries, own = fit_summaries(positions, features)
    # Each simulation is estimated without itself, as a subject is.
    coordinates = np.clip(summaries.read_estimates(own), *_POSITIONS)
    whitening = _whiten(_standardise(features, median, sd))
    order = _tell_order(summaries.support, summaries.normal_scores(subjects.reordered[used]))
    return _Fit(median, sd, summaries, coordinates, whitening, structural, order)


def _tell_order(scores: Array, reordered: Array) -> Array:
    """Return intercept and weights of the log odds that regions are in another order."""
    from sklearn.linear_model import LogisticRegression

    defined = np.isfinite(reordered).all(axis=1)
    labels = np.repeat([0, 1], [len(scores), int(defined.sum())])
    model = LogisticRegression(C=1 / _ORDER_PENALTY, max_iter=1000)
    model.fit(np.concatenate([scores, reordered[defined]]), labels)
    weights: Array = np.concatenate([model.intercept_, model.coef_[0]])
    return weights


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


def _regress(predictors: Array, target: Array, penalty: float) -> Array:
    """Return the weights of a ridge regression whose first predictor is the constant."""
    penalties = np.full(predictors.shape[1], penalty)
    penalties[0] = 0.0
    moments: Array = predictors.T @ predictors + np.diag(penalties)
    return np.asarray(np.linalg.solve(moments, predictors.T @ target), dtype=np.float64)
