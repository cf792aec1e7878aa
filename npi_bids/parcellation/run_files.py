"""The files of a run, its sampling period, and the size of its volumes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from npi_bids.errors import (
    InputDataError,
)
from npi_bids.io.images import MOST_VOXELS
from npi_bids.settings import period_problem

# A header that states more than this without a unit, or with a wrong one, is in milliseconds: no
# run is sampled every 0.1 s or faster, nor every 100 s. Smaller values do not reveal their unit.
_MILLISECONDS = 100.0
_TOLERANCE = 1e-3
_UNITS = {"msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True, slots=True, eq=False)
class RunFiles:
    """The files of one run, and the sampling period (s) that its sidecar states, if any.

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
        Sampling period in the header, and its unit (``sec``, ``msec``, ``usec``, or unknown).
    run
        Files of the run.

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


def count_voxels(path: Path) -> int:
    """Count the voxels of a volume from the first bytes of a NIfTI file, at most MOST_VOXELS.

    Much faster than opening the image, for thousands of runs; 0 where the file is not NIfTI.
    """
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            start = file.read(80)
        for order in "<>":
            header_length = struct.unpack(f"{order}i", start[:4])[0]
            if header_length in (348, 540):  # bytes of a header of NIfTI-1 and NIfTI-2
                dims = start[40:56] if header_length == 348 else start[16:80]
                sizes = struct.unpack(f"{order}8{'h' if header_length == 348 else 'q'}", dims)[1:4]
                n_voxels: int = math.prod(sizes)
                return min(max(0, n_voxels), MOST_VOXELS)
    except (OSError, EOFError, zlib.error, struct.error):
        pass
    return 0


def largest_volume(paths: Sequence[Path]) -> int:
    """Return the number of voxels of the largest volume among runs, from headers; 0 if none."""
    volumes = [path for path in paths if path.name.endswith((".nii", ".nii.gz"))]
    return max(
        (count_voxels(path) for path in volumes if not path.name.endswith(".dtseries.nii")),
        default=0,
    )
