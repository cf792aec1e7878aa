"""Words for the figures of quality, said once for all pages."""

from __future__ import annotations

import math
from typing import Any

# Field of Quality, its name on the page, and what it means.
QUALITY_NOTES = (
    ("r2", "held-out R²", "one-step prediction of samples that did not train the surrogate"),
    ("r2_own_history", "R² of each region's own past", "to be exceeded by the surrogate"),
    ("r2_persistence", "R² of persistence", "the last sample repeated"),
    ("model_fc_r", "model FC r", "free-running surrogate against data; n/a: it diverged"),
    ("fc_r", "r(EC, FC)", "how much of the map is functional connectivity"),
    ("antisymmetric_share", "antisymmetric share", "energy of the map that has a direction"),
    ("spectral_radius", "spectral radius", "stable below 1"),
    ("samples_per_parameter", "samples per parameter", "windows / (regions x lags)"),
    ("n_windows", "windows", "training and held out; those that would share samples are left out"),
)


def number(value: Any) -> str:
    """Write a number with three digits, or n/a.

    >>> number(0.12345), number(1234), number(None)
    ('0.123', '1234', 'n/a')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    if isinstance(value, int):
        return str(value)
    return f"{float(value):.3g}"
