"""How much of the next sample only a nonlinear model predicts."""

from __future__ import annotations

import math

import numpy as np

from npi_bids.records import Array, Windows
from npi_bids.surrogates.ridge import fit_ridge

_LARGEST_SCORE = 4.0
_FEWEST_WINDOWS = 10


def measure_nonlinearity(windows: Windows) -> float:
    """Return by how much cubes of the last sample lower the held-out error of a linear model.

    A gain of all frequencies and delays of regions are read from second moments alone, as those of
    a linear process. Where regions saturate, the cubes of their samples predict the others; in
    linear processes, through whichever response they are observed, they do not.

    Parameters
    ----------
    windows
        Z-scored signals: errors are summed over regions.

    Returns
    -------
    float
        Share of the mean squared error, each half of the windows predicted from the other one; 0
        or below where nothing is gained. NaN with too few windows to tell, or without any error.
    """
    if len(windows) < _FEWEST_WINDOWS:
        return math.nan
    past = windows.history.reshape(len(windows), -1)
    recent = windows.history[:, -1]
    spread = np.maximum(recent.std(axis=0), 1e-12)
    # Single artefacts must not outweigh all other samples.
    scores = np.clip((recent - recent.mean(axis=0)) / spread, -_LARGEST_SCORE, _LARGEST_SCORE)
    linear = _squared_error(past, windows.target)
    if not linear > 0:
        return math.nan
    return 1 - _squared_error(np.hstack([past, scores**3]), windows.target) / linear


def _squared_error(design: Array, target: Array) -> float:
    """Return the squared error of ridge regressions, each half predicted from the other."""
    middle = len(design) // 2
    halves = (slice(0, middle), slice(middle, None))
    total = 0.0
    for train, test in (halves, halves[::-1]):
        spread = np.maximum(design[train].std(axis=0), 1e-12)
        fitted = fit_ridge(design[train] / spread, target[train])
        predicted = (design[test] / spread) @ fitted.weights + fitted.offset
        total += float(np.sum((target[test] - predicted) ** 2))
    return total
