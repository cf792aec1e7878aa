"""Read a run, and know its sampling period."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from npi_bids.errors import InputDataError

# No scanner takes this many seconds per volume: such a header counts milliseconds.
_LONGEST_TR = 100.0
_TOLERANCE = 1e-3
_UNITS = {"msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True, slots=True, eq=False)
class RunFiles:
    """The files of one run, and the sampling period (s) that its sidecar states, if it does."""

    bold: Path
    mask: Path | None = None
    confounds: Path | None = None
    tr: float | None = None


def load_bold(path: Path) -> Any:
    """Load a run as a 4D image of 32-bit floats.

    Raises
    ------
    InputDataError
        The file cannot be read, is cut off, or is not 4D.
    """
    try:
        image: Any = nib.load(path)
        shape = image.shape
        data = np.asarray(image.dataobj, dtype=np.float32) if len(shape) == 4 else None
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise InputDataError(
            f"<{path}> cannot be read as an image: {error}. Is it complete? In a DataLad "
            "dataset run `datalad get` on it."
        ) from error
    if data is None or shape[3] < 2:
        raise InputDataError(f"<{path}> has shape {shape}; expected a 4D series of volumes.")
    return nib.Nifti1Image(data, image.affine, image.header)


def sampling_period(image: Any, run: RunFiles) -> float:
    """Return the sampling period in seconds, from the sidecar and the header.

    Raises
    ------
    InputDataError
        Neither states it, or they disagree.
    """
    raw = float(image.header.get_zooms()[3])
    unit = image.header.get_xyzt_units()[1]
    header = raw * _UNITS.get(unit, 1e-3 if raw > _LONGEST_TR else 1.0)
    if run.tr is None:
        if not header > 0:
            raise InputDataError(
                f"The sampling period of <{run.bold}> is unknown: its sidecar has no "
                f"RepetitionTime and its header says {raw:g}. Add RepetitionTime (s) to the JSON."
            )
        return header
    if header > 0 and abs(header - run.tr) > _TOLERANCE:
        raise InputDataError(
            f"The sampling period of <{run.bold}> is {run.tr:g} s in its sidecar but {header:g} s "
            "in its header; correct the one that is wrong."
        )
    return run.tr
