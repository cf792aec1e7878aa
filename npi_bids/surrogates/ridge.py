"""Ridge regression with the penalty of lowest leave-one-out error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from npi_bids.errors import (
    SurrogateError,
)
from npi_bids.records import Array
from npi_bids.wording import count_noun

# Candidate penalties, relative to the mean eigenvalue of the design.
_PENALTIES = np.logspace(-6, 3, 37)
_COARSE_STEP = 3  # every how many penalties are compared first


@dataclass(frozen=True, slots=True, eq=False)
class RidgeFit:
    """One ridge regression of all targets, with one penalty.

    Attributes
    ----------
    weights
        Shape (n_features, n_targets).
    offset
        Shape (n_targets,).
    penalty
        Chosen penalty, in squared units of the design, summed over samples.
    residual
        Leave-one-out residuals, shape (n_samples, n_targets).
    """

    weights: Array
    offset: Array
    penalty: float
    residual: Array

    @property
    def mse(self) -> float:
        """Mean squared leave-one-out error."""
        return float(np.mean(self.residual**2))


def fit_ridge(design: Array, target: Array, penalty: float | None = None) -> RidgeFit:
    """Regress all targets on the design with one penalty, chosen by exact leave-one-out.

    The leave-one-out residual of sample t is ``e_t / (1 - h_t)`` with the leverage ``h_t``, which
    one singular value decomposition gives for all penalties at once (Hastie, Tibshirani and
    Friedman 2009, equation 7.64).

    Parameters
    ----------
    design
        Shape (n_samples, n_features); fewer samples than features are allowed.
    target
        Shape (n_samples, n_targets).
    penalty
        Fixed penalty, instead of a chosen one.

    Raises
    ------
    SurrogateError
        If the design does not vary, or there are fewer than three samples.
    """
    mean, target_mean = design.mean(axis=0), target.mean(axis=0)
    left_vectors, singular, right_vectors = np.linalg.svd(design - mean, full_matrices=False)
    scale = float(np.mean(singular**2))
    if not scale > 0 or len(design) < 3:
        raise SurrogateError(
            f"A linear model cannot be fitted to {count_noun(len(design), 'window')} with a total "
            f"variance of {scale:g}."
        )
    centred = target - target_mean
    projected = left_vectors.T @ centred
    candidates = _PENALTIES * scale if penalty is None else np.array([penalty])

    def leave_one_out(index: int) -> Array:
        shrink = singular**2 / (singular**2 + candidates[index])
        return _leave_one_out(left_vectors, shrink, projected, centred)

    def compare(indices: Iterable[int]) -> dict[int, float]:
        return {index: float(np.mean(leave_one_out(index) ** 2)) for index in indices}

    losses = compare(range(0, len(candidates), _COARSE_STEP))
    losses |= compare(_around_minima(losses))
    best = min(losses, key=lambda index: (losses[index], index))
    chosen, residual = candidates[best], leave_one_out(best)
    weights = right_vectors.T @ (projected * (singular / (singular**2 + chosen))[:, None])
    return RidgeFit(weights, target_mean - mean @ weights, float(chosen), residual)


def _around_minima(losses: Mapping[int, float]) -> set[int]:
    """Return the candidates beside those that were tried and are no worse than their neighbours.

    The loss is smooth over penalties, so that its minimum is among them.
    """
    between = set()
    for index, loss in losses.items():
        beside = index - _COARSE_STEP, index + _COARSE_STEP
        if loss <= min(losses.get(other, np.inf) for other in beside):
            between |= set(range(max(0, beside[0] + 1), min(beside[1], max(losses) + 1)))
    return between - set(losses)


def _leave_one_out(left_vectors: Array, shrink: Array, projected: Array, centred: Array) -> Array:
    residual = centred - left_vectors @ (shrink[:, None] * projected)
    leverage = 1 / len(left_vectors) + (left_vectors**2) @ shrink  # 1/n is the share of the mean
    left_out: Array = residual / np.maximum(1 - leverage, 1e-9)[:, None]
    return left_out
