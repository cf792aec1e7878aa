"""Numbers of regions on the cortical surface, for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nibabel.cifti2.cifti2_axes import BrainModelAxis, LabelAxis

from npi_bids.core.records import Array
from npi_bids.images.opening import read_dlabel

# Vertices of a hemisphere of the one mesh that nilearn ships: fsaverage5.
MESH_VERTICES = 10242
_SIDES = {"left": "CIFTI_STRUCTURE_CORTEX_LEFT", "right": "CIFTI_STRUCTURE_CORTEX_RIGHT"}


def on_surface(
    atlas: Path, labels: Sequence[str], values: Sequence[float] | Array
) -> dict[str, Array] | None:
    """Return the number of the region of each vertex, by hemisphere.

    Parameters
    ----------
    atlas
        ``dlabel.nii`` of the regions.
    labels, values
        Names and numbers of the regions.

    Returns
    -------
    dict or None
        ``left`` and ``right``, shape (10242,), NaN where there is no region; None where the atlas
        does not lie on fsaverage5, of which alone a mesh is at hand.

    Raises
    ------
    InputDataError
        The atlas cannot be read.
    """
    names, models, data = read_dlabel(atlas)
    if not isinstance(names, LabelAxis) or not isinstance(models, BrainModelAxis):
        return None
    data = np.rint(data).astype(int)
    known = dict(zip(labels, values, strict=True))
    lookup = {value: known.get(name, np.nan) for value, (name, _) in names.label[0].items()}
    found = {}
    for side, structure in _SIDES.items():
        if models.nvertices.get(structure) != MESH_VERTICES:
            return None
        shown = np.full(MESH_VERTICES, np.nan)
        rows = np.flatnonzero(models.name == structure)
        shown[models.vertex[rows]] = [lookup.get(value, np.nan) for value in data[rows].tolist()]
        found[side] = shown
    return found
