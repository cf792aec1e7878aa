"""The HCP multi-modal parcellation (Glasser et al. 2016), in any of its numberings.

Three numberings of the 360 areas are in use: left 1-180 and right 1001-1180; 1-360 with the left
hemisphere first; 1-360 with the right hemisphere first. All become 1-360, left first.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import InputDataError
from npi_bids.parcellation.parcellation import Parcellation, label_data, label_image, read_labels
from npi_bids.records import Array

_N_SIDE = 180
SPACE = "MNI152NLin2009aAsym"


def load_mmp(path: Path) -> Parcellation:
    """Read a volume of the MMP and put the left hemisphere first.

    Raises
    ------
    InputDataError
        The values match none of the three numberings.
    """
    image = read_labels(path, "MMP")
    data = label_data(image, "MMP")
    return Parcellation(
        name="MMP",
        labels=mmp_labels(),
        values=tuple(range(1, 2 * _N_SIDE + 1)),
        space=SPACE,
        image=label_image(_order_hemispheres(data, image.affine, path), image.affine),
    )


def mmp_labels() -> tuple[str, ...]:
    """Return the 360 area names, ``L_V1`` to ``R_p24``, in the order of the release."""
    text = (files("npi_bids.data") / "mmp_areas.tsv").read_text()
    areas = text.splitlines()[1:]
    return tuple(f"{side}_{area}" for side in "LR" for area in areas)


def _order_hemispheres(data: NDArray[np.int32], affine: Array, path: Path) -> NDArray[np.int32]:
    values = set(np.unique(data).tolist()) - {0}
    low = set(range(1, _N_SIDE + 1))
    if values == low | {1000 + value for value in low}:
        return np.where(data > 1000, data - 1000 + _N_SIDE, data)
    if values == low | {_N_SIDE + value for value in low}:
        if _mean_x(data <= _N_SIDE, data, affine) < _mean_x(data > _N_SIDE, data, affine):
            return data
        swapped = np.where(data > _N_SIDE, data - _N_SIDE, data + _N_SIDE)
        return np.where(data > 0, swapped, 0)
    hint = " (both hemispheres share their numbers)" if values == low else ""
    raise InputDataError(
        f"<{path}> looks like the MMP but holds {len(values)} values from "
        f"{min(values, default=0)} to {max(values, default=0)}{hint}; expected 360: L 1-180 with "
        "R 1001-1180, or 1-360. Use another file, or put a table of names beside it to use it as "
        "an atlas of your own."
    )


def _mean_x(chosen: NDArray[np.bool_], data: NDArray[np.int32], affine: Array) -> float:
    voxels = np.argwhere(chosen & (data > 0))
    return float(nib.affines.apply_affine(affine, voxels)[:, 0].mean())
