"""What a result must say about itself."""

from __future__ import annotations

import numpy as np

from npi_bids.core.measures import antisymmetric, off_diagonal, pearson
from npi_bids.core.records import Array, Quality, Windows
from npi_bids.core.surrogate import Surrogate

_OWN_LAGS = 3


def held_out_r2(predicted: Array, windows: Windows) -> float:
    """Return the share of variance explained in held-out windows, mean over regions."""
    target = windows.target
    spread = ((target - target.mean(axis=0)) ** 2).sum(axis=0)
    error = ((target - predicted) ** 2).sum(axis=0)
    varies = spread > 0
    if not varies.any():
        return float("nan")
    return float(np.mean(1 - error[varies] / spread[varies]))


def own_history(train: Windows, valid: Windows) -> Array:
    """Predict each region from its own past alone, by least squares.

    Reads up to three samples, fewer where the windows hold fewer.

    Returns
    -------
    Array
        Predictions for the held-out windows, shape (n_windows, n_regions).
    """
    lags = min(_OWN_LAGS, train.n_lags)
    predicted = np.empty_like(valid.target)
    for region in range(train.target.shape[1]):
        past, later = (
            np.column_stack([np.ones(len(part)), part.history[:, -lags:, region]])
            for part in (train, valid)
        )
        weights = np.linalg.lstsq(past, train.target[:, region], rcond=None)[0]
        predicted[:, region] = later @ weights
    return predicted


def assess(  # noqa: PLR0913 (one figure per input; a record for one call would hide that)
    *,
    checked: Surrogate,
    train: Windows,
    valid: Windows,
    matrix: Array,
    jacobian: Array,
    fc: Array,
    simulated_fc: Array | None,
) -> Quality:
    """Put together the quality of one result.

    Parameters
    ----------
    checked
        Surrogate fitted on ``train`` alone.
    train, valid
        Windows, none of whose samples are shared.
    matrix, jacobian, fc
        EC, mean Jacobian and functional connectivity, shape (n_regions, n_regions).
    simulated_fc
        Functional connectivity of the free run, or None where it diverged.
    """
    n_windows = len(train) + len(valid)
    energy = float(np.sum(off_diagonal(matrix) ** 2))
    directed = float(np.sum(off_diagonal(antisymmetric(matrix)) ** 2))
    return Quality(
        r2=held_out_r2(checked.step(valid.history), valid),
        r2_persistence=held_out_r2(valid.history[:, -1], valid),
        r2_own_history=held_out_r2(own_history(train, valid), valid),
        model_fc_r=float("nan") if simulated_fc is None else pearson(simulated_fc, fc),
        spectral_radius=float(np.abs(np.linalg.eigvals(jacobian)).max()),
        fc_r=pearson(matrix, fc),
        antisymmetric_share=directed / energy if energy > 0 else float("nan"),
        n_windows=n_windows,
        n_train=len(train),
        n_valid=len(valid),
        samples_per_parameter=n_windows / (checked.n_lags * checked.n_regions),
        n_regions=checked.n_regions,
    )
