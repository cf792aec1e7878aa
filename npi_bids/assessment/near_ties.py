"""Near ties: discrete choices and verdicts that rounding might decide.

A fit chooses by thresholds, and so does the verdict. Where a quantity lies within rounding error
of its threshold, another machine, library or number of threads may decide otherwise; this is
reported instead of leaving it to chance unseen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from npi_bids.assessment.settings import VerdictSettings
from npi_bids.assessment.verdict import judge
from npi_bids.records import Quality
from npi_bids.surrogates.selection_criteria import (
    ABSENT_EVIDENCE,
    CLEAR_VAR_GAIN,
    CLEAR_VAR_LIKELIHOOD,
    DELAY_EVIDENCE,
    MOST_NONLINEARITY,
    MOST_TELLING_ERROR,
    NETWORKS_GAIN,
    NOISE_EVIDENCE,
    VAR_GAIN,
)

# Moving every input value by one unit in the last place changed what decides a choice
# by less than the first, and quantities of the verdict by less than the second, relative to 1
# where they are smaller (python -m benchmarks.stability).
CHOICE_TOLERANCE, VERDICT_TOLERANCE = 1e-4, 1e-6

# Quantity of the training log, its threshold, and what it decides.
_GATES = (
    ("var_gain", VAR_GAIN, "whether the linear part is a VAR or a process"),
    ("var_gain", CLEAR_VAR_GAIN, "whether the linear part is a VAR or a process"),
    ("var_likelihood", CLEAR_VAR_LIKELIHOOD, "whether the linear part is a VAR or a process"),
    ("held_out_error", MOST_TELLING_ERROR, "whether errors or likelihoods choose precisions"),
    ("evidence_symmetric", ABSENT_EVIDENCE, "whether lagged evidence counts as present"),
    ("evidence_antisymmetric", ABSENT_EVIDENCE, "whether lagged evidence counts as present"),
    ("nonlinearity", MOST_NONLINEARITY, "whether delays and a common gain are looked for"),
    ("gain_evidence", 0.0, "whether regions share a gain over frequency"),
    ("noise_evidence", NOISE_EVIDENCE, "whether measurement noise is modelled"),
    ("delay_evidence", DELAY_EVIDENCE, "whether regions have delays"),
    ("delay_benefit", 0.0, "whether regions have delays"),
    ("residual_gain", NETWORKS_GAIN, "whether networks are kept"),
)  # fmt: skip


def find_near_ties(
    training: Mapping[str, object], quality: Quality, settings: VerdictSettings
) -> tuple[str, ...]:
    """Return one sentence for each choice of a result that rounding might decide.

    Parameters
    ----------
    training
        Quantities determined by the fit, by name, as in the training log.
    quality
        Quality of the result.
    settings
        Thresholds of the verdict.

    Returns
    -------
    tuple of str
        Almost always empty.
    """
    ties = [
        f"{name} is {value:.8g} and its threshold {gate:g}, which decides {what}"
        for name, gate, what in _GATES
        if isinstance(value := training.get(name), float) and _is_near(value, gate)
    ]
    label = judge(quality, settings).label
    for name, value in asdict(quality).items():
        if isinstance(value, float) and math.isfinite(value):
            step = VERDICT_TOLERANCE * max(1.0, abs(value))
            labels = {
                judge(_with_value(quality, name, value + sign * step), settings).label
                for sign in (-1, 1)
            }
            if labels != {label}:
                ties.append(
                    f"{name} is {value:.8g}, within rounding of a threshold of the verdict"
                )
    return tuple(
        f"A choice is a near tie, which rounding may change on another machine: {tie}."
        for tie in ties
    )


def _with_value(quality: Quality, name: str, value: float) -> Quality:
    change: dict[str, Any] = {name: value}
    return replace(quality, **change)


def _is_near(value: float, gate: float) -> bool:
    return abs(value - gate) <= CHOICE_TOLERANCE * max(1.0, abs(gate))
