"""Weights of subjects in tests: their number of windows, to a power that the residuals choose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npi_bids.group.map_stack import sample_edges
from npi_bids.group.moderation import moderate, prior_variance
from npi_bids.records import Array

_ROUNDS = 5  # weights make the residuals of all subjects alike, and are then fitted again
# Residual degrees of freedom, counted in subjects, below which weights are equal: with eight
# subjects the fitted power follows chance, and q below .05 is found in .11 to .17 of groups
# without effect (.03 to .09 with equal weights).
_MIN_DF = 12
_SATURATED = 1e-6  # share of a subject's variance that the design leaves, below which none is left


@dataclass(frozen=True, slots=True, eq=False)
class SubjectWeights:
    """Weights of subjects, and the power of the number of windows that they are.

    Attributes
    ----------
    values
        Shape (n_subjects,), with a mean of 1.
    power
        Between 0 (all the same: subjects differ among themselves) and 1 (errors are all).
    """

    values: Array
    power: float


def fit_weights(
    maps: Array, design: Array, n_windows: Array, n_components: int = 1
) -> SubjectWeights:
    """Fit one weight per subject from the residuals of all edges.

    Errors have a variance in proportion to 1 over the number of windows, differences between
    subjects one of their own; their sum is close to a power of the number of windows between -1
    and 0. One power for all subjects cannot follow chance as a free weight of each could.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_edges), may be memory-mapped; edges that a subject lacks are left out.
    design
        Shape (n_subjects, n_columns); columns of the model.
    n_windows
        Shape (n_subjects,); weights are equal where a number is not known, and in small groups.
    n_components
        Number of rows of each subject, which follow each other; all shapes have one entry per row.
    """
    n = len(maps)
    df = (n - design.shape[1]) / n_components
    is_counted = np.isfinite(n_windows).all() and (n_windows > 0).all()
    equal = SubjectWeights(np.ones(n), 0.0)
    if df < _MIN_DF or not is_counted or np.ptp(n_windows) == 0:
        return equal
    sample = sample_edges(maps)
    if not sample.shape[1]:
        return equal
    length = np.log(n_windows) - np.log(n_windows).mean()
    power = 0.0
    for _ in range(_ROUNDS):
        noise = _relative_noise(sample, design, np.exp(power * length / 2)[:, None])
        usable = np.isfinite(noise)
        if not usable.any():
            return equal
        centred = length[usable] - length[usable].mean()
        energy = float(centred @ centred)
        if not energy > 0:
            return equal
        change = -float(centred @ noise[usable]) / energy
        power = float(np.clip(power + change, 0.0, 1.0))
    weights = np.exp(power * length)
    return SubjectWeights(weights / weights.mean(), power)


def _relative_noise(maps: Array, design: Array, roots: Array) -> Array:
    """Return the log of each subject's mean squared residual after weighting by ``roots``.

    NaN for subjects whose maps the design fits exactly.
    """
    basis, _ = np.linalg.qr(roots * design)
    weighted = roots * maps
    residuals = weighted - basis @ (basis.T @ weighted)
    df = len(maps) - design.shape[1]
    variances = (residuals**2).sum(axis=0) / df
    spread, _ = moderate(variances, df, prior_variance(variances, df))
    free = 1 - (basis**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.log((residuals**2 / spread).mean(axis=1) / free)
    return np.where((free > _SATURATED) & np.isfinite(noise), noise, np.nan)
