"""Words for the figures of quality, said once for all pages."""

from __future__ import annotations

import math
from typing import Any

_NOTHING = 1e-12  # what rounding leaves of a difference of equal numbers

# Field of Quality, its name on the page, and what it means.
QUALITY_NOTES = (
    (
        "expected_r",
        "expected r with the truth",
        "that simulated maps of like quality reached; holds only if the haemodynamic delays of "
        "regions differ by less than about half a second, which the signals show in part only "
        "(below); n/a: nothing like it was simulated",
    ),
    ("expected_r_lower", "from", "lower end of its 90 % interval"),
    ("expected_r_upper", "to", "upper end of its 90 % interval"),
    ("expected_r_antisymmetric", "expected r, antisymmetric", "of the part with direction"),
    ("expected_r_antisymmetric_lower", "from", "lower end of its 90 % interval"),
    ("expected_r_antisymmetric_upper", "to", "upper end of its 90 % interval"),
    ("r2", "held-out R²", "one-step prediction of samples that did not train the surrogate"),
    ("r2_own_history", "R² of each region's own past", "three samples; to be exceeded"),
    ("r2_ridge_var", "R² of a ridge VAR", "the plain linear model of one lag"),
    ("r2_persistence", "R² of persistence", "the last sample repeated"),
    ("skill_own_history", "skill over own past", "share by which the squared error is lower"),
    ("skill_ridge_var", "skill over ridge VAR", "share by which the squared error is lower"),
    ("r_split", "r between halves", "maps of the first and the second half of the data"),
    ("r_split_symmetric", "r between halves, symmetric", "of the part without direction"),
    ("r_split_antisymmetric", "r between halves, antisymmetric", "of the part with direction"),
    ("r_split_oriented", "r between halves, oriented", "of directions by skewness, on request"),
    ("r_seed", "r between seeds", "members of the ensemble; n/a: there is none"),
    (
        "direction_ratio",
        "direction ratio",
        "antisymmetric lagged covariance over chance",
    ),
    ("direction_p", "direction p", "against the data with stretches of time reversed at random"),
    ("delay_share", "direction like delays", "share that fixed delays of regions would explain"),
    ("delay_sd", "SD of these delays", "seconds, over regions; blood flow differs by about one"),
    ("antisymmetric_share", "antisymmetric share", "energy of the map that has a direction"),
    ("model_fc_r", "model FC r", "free-running surrogate against data; n/a: it diverged"),
    ("model_fc_r_held_out", "model FC r, held out", "against held-out samples"),
    ("fc_r_held_out", "FC r, held out", "FC of the training samples against held-out ones"),
    ("fc_r", "r(EC, FC)", "how much of the map is functional connectivity"),
    ("spectral_radius", "spectral radius", "stable below 1"),
    ("high_frequency_share", "power above 0.15 Hz", "share; n/a: sampled too slowly to tell"),
    ("samples_per_parameter", "samples per parameter", "effective windows / (regions x lags)"),
    ("minutes", "minutes", "that the windows cover"),
    ("n_windows", "windows", "training and held out; those that would share samples are left out"),
)


def number(value: Any) -> str:
    """Write a number with three digits, or n/a.

    >>> number(0.12345), number(1234), number(None), number(2e-16)
    ('0.123', '1234', 'n/a', '0')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    if isinstance(value, int):
        return str(value)
    return "0" if abs(float(value)) < _NOTHING else f"{float(value):.3g}"
