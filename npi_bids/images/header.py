"""The files of a run, and its sampling period."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from npi_bids.core.options import period_problem
from npi_bids.errors import InputDataError

# A header without a unit, or with a wrong one, that states more than this counts milliseconds:
# nothing is sampled every 0.1 s or faster nor every 100 s. In between no unit can be told.
_MILLISECONDS = 100.0
_TOLERANCE = 1e-3
_UNITS = {"msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True, slots=True, eq=False)
class RunFiles:
    """The files of one run, and the sampling period (s) that its sidecar states, if it does.

    ``right`` is the right hemisphere of a run that comes in two files.
    """

    bold: Path
    mask: Path | None = None
    confounds: Path | None = None
    tr: float | None = None
    right: Path | None = None


def sampling_period(header: tuple[float, str], run: RunFiles) -> float:
    """Return the sampling period in seconds, from the sidecar and the header.

    Parameters
    ----------
    header
        What the header says, and its unit (``sec``, ``msec``, ``usec``, or unknown).
    run
        Its files.

    Raises
    ------
    InputDataError
        Neither states it, or they disagree.
    """
    raw, unit = header
    factor = _UNITS.get(unit, 1e-3 if raw > _MILLISECONDS else 1.0)
    stated = raw * factor if math.isfinite(raw) else 0.0
    if run.tr is not None and (problem := period_problem(run.tr)):
        raise InputDataError(f"The RepetitionTime of <{run.bold}> {problem}")
    if run.tr is None and not stated > 0:
        raise InputDataError(
            f"The sampling period of <{run.bold}> is unknown: its sidecar has no "
            f"RepetitionTime and its header says {raw:g}. Add RepetitionTime (s) to the JSON."
        )
    if stated > 0 and (problem := period_problem(stated)):
        raise InputDataError(
            f"The sampling period in the header of <{run.bold}> {problem} The header says {raw:g} "
            f"(unit: {unit or 'unknown'}); correct it."
        )
    if run.tr is None:
        return stated
    if stated > 0 and abs(stated - run.tr) > _TOLERANCE:
        raise InputDataError(
            f"The sampling period of <{run.bold}> is {run.tr:g} s in its sidecar but {stated:g} s "
            "in its header; correct the one that is wrong."
        )
    return float(run.tr)
