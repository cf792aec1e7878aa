"""Maps as CIFTI pconn: parcels by parcels, for Connectome Workbench."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.cifti2.cifti2 import Cifti2Image
from nibabel.cifti2.cifti2_axes import BrainModelAxis, LabelAxis, ParcelsAxis

from npi_bids.core.records import ECResult
from npi_bids.errors import InputDataError
from npi_bids.images.opening import read_dlabel


def write_pconn(result: ECResult, atlas: Path, path: Path) -> None:
    """Write a map as ``.pconn.nii``: rows are sources, columns are targets.

    Parameters
    ----------
    result
        The map.
    atlas
        ``dlabel.nii`` whose labels are the regions of the map.
    path
        ``*.pconn.nii``.

    Raises
    ------
    InputDataError
        The atlas cannot be read, or lacks a region.
    """
    axis = _parcels(atlas, result.labels)
    image = Cifti2Image(result.matrix.astype(np.float32), header=(axis, axis))
    image.nifti_header.set_intent("ConnParcels", name="ConnParcels")
    nib.save(image, path)


def _parcels(atlas: Path, labels: tuple[str, ...]) -> ParcelsAxis:
    names, models, values = read_dlabel(atlas)
    if not isinstance(names, LabelAxis) or not isinstance(models, BrainModelAxis):
        raise InputDataError(f"<{atlas}> is no atlas of labels; expected a .dlabel.nii.")
    values = np.rint(values).astype(int)
    value_of = {name: value for value, (name, _) in names.label[0].items()}
    if missing := [label for label in labels if label not in value_of][:5]:
        raise InputDataError(f"The atlas <{atlas}> has no region {missing}; use the map's own.")
    parcels = [(label, models[np.flatnonzero(values == value_of[label])]) for label in labels]
    axis: ParcelsAxis = ParcelsAxis.from_brain_models(parcels)
    return axis
