"""Maps of regional values: NIfTI, CIFTI (pscalar, dscalar) and GIFTI, for viewers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.cifti2.cifti2 import Cifti2Image
from nibabel.cifti2.cifti2_axes import BrainModelAxis, LabelAxis, ParcelsAxis, ScalarAxis
from nibabel.gifti.gifti import GiftiDataArray, GiftiImage, GiftiMetaData
from nibabel.spatialimages import SpatialImage

from npi_bids.errors import InputDataError
from npi_bids.io.files import replacing
from npi_bids.io.images import load_image, read_data, read_dlabel
from npi_bids.records import Array
from npi_bids.wording import join_items

_HEMISPHERES = {
    "CIFTI_STRUCTURE_CORTEX_LEFT": ("L", "CortexLeft"),
    "CIFTI_STRUCTURE_CORTEX_RIGHT": ("R", "CortexRight"),
}


def write_volume(values: pd.DataFrame, atlas: Path, path: Path) -> list[Path]:
    """Write regional values as a 4D NIfTI on the grid of the atlas, one volume per column.

    Parameters
    ----------
    values
        One row per region; the index holds the values of the regions in a label image, or the
        positions of their maps, counted from 1, in a 4D atlas. NaN where a region is not covered.
    atlas
        Image of the atlas: labels, or one map of weights per region; a voxel then belongs to the
        region with the largest weight.
    path
        ``*.nii.gz``.

    Returns
    -------
    list of Path
        The file written. Voxels outside of regions are NaN, as are those of regions that are not
        covered.
    """
    image = cast("SpatialImage", load_image(atlas))
    data = read_data(atlas, image)
    if data.ndim == 4 and data.shape[3] > 1:
        data = np.where(data.max(axis=3) > 0, data.argmax(axis=3) + 1, 0)
    labels = np.rint(data).astype(np.int64).reshape(data.shape[:3])
    lookup = np.full((max(labels.max(), values.index.max()) + 1, values.shape[1]), np.nan)
    lookup[values.index.to_numpy()] = values.to_numpy()
    result = nib.Nifti1Image(lookup[labels].astype(np.float32), image.affine)
    result.header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        nib.save(result, temporary)
    return [path]


def write_pscalar(values: pd.DataFrame, atlas: Path, path: Path) -> list[Path]:
    """Write regional values as ``.pscalar.nii``: one row per column, one parcel per region.

    Parameters
    ----------
    values
        One row per region; the index holds their names.
    atlas
        ``dlabel.nii`` whose labels are the regions.
    path
        ``*.pscalar.nii``.

    Raises
    ------
    InputDataError
        The atlas cannot be read, or lacks a region.
    """
    parcels = read_parcels(atlas, tuple(values.index))
    return _write_cifti(values.to_numpy().T, values, parcels, "ConnParcelScalr", path)


def write_dscalar(values: pd.DataFrame, atlas: Path, path: Path) -> list[Path]:
    """Write regional values as ``.dscalar.nii``: the value of its region at each greyordinate.

    Parameters are those of :func:`write_pscalar`. Greyordinates outside of regions are NaN.
    """
    models, data = _spread(values, atlas)
    return _write_cifti(data, values, models, "ConnDenseScalar", path)


def write_gifti(values: pd.DataFrame, atlas: Path, path: Path) -> list[Path]:
    """Write regional values as one ``.func.gii`` per hemisphere, one array per column.

    Parameters are those of :func:`write_pscalar`; ``path`` contains ``{hemi}``, in which L or R is
    filled in. Vertices outside of regions are NaN.
    """
    models, data = _spread(values, atlas)
    written = []
    for structure, columns, model in models.iter_structures():
        if structure not in _HEMISPHERES:
            continue
        side, anatomy = _HEMISPHERES[structure]
        vertices = np.full((len(data), model.nvertices[structure]), np.nan, dtype=np.float32)
        vertices[:, model.vertex] = data[:, columns]
        arrays = [
            GiftiDataArray(
                row, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32",
                meta=GiftiMetaData({"Name": name}),
            )
            for name, row in zip(values.columns, vertices, strict=True)
        ]  # fmt: skip
        meta = GiftiMetaData({"AnatomicalStructurePrimary": anatomy})
        target = path.with_name(path.name.format(hemi=side))
        with replacing(target) as temporary:
            nib.save(GiftiImage(meta=meta, darrays=arrays), temporary)
        written.append(target)
    if not written:
        raise InputDataError(f"The atlas <{atlas}> has no cortical surface, which a GIFTI needs.")
    return written


MapWriter = Callable[[pd.DataFrame, Path, Path], list[Path]]
# Ending of the name, and function, by format; all but the first need an atlas of greyordinates.
MAP_WRITERS: Mapping[str, tuple[str, MapWriter]] = {
    "nifti": (".nii.gz", write_volume),
    "pscalar": (".pscalar.nii", write_pscalar),
    "dscalar": (".dscalar.nii", write_dscalar),
    "gifti": ("_hemi-{hemi}.func.gii", write_gifti),
}


def read_parcels(atlas: Path, labels: tuple[str, ...]) -> ParcelsAxis:
    """Return the regions of an atlas of greyordinates as the axis of a CIFTI file.

    Raises
    ------
    InputDataError
        The atlas is not a ``dlabel.nii``, or lacks a region.
    """
    models, values, value_of = _read_regions(atlas, labels)
    parcels = [(label, models[np.flatnonzero(values == value_of[label])]) for label in labels]
    axis: ParcelsAxis = ParcelsAxis.from_brain_models(parcels)
    return axis


def _read_regions(
    atlas: Path, labels: tuple[str, ...]
) -> tuple[BrainModelAxis, Array, dict[str, int]]:
    """Return the greyordinates of an atlas, their values, and the value of each region."""
    names, models, values = read_dlabel(atlas)
    if not isinstance(names, LabelAxis) or not isinstance(models, BrainModelAxis):
        raise InputDataError(f"<{atlas}> is not an atlas of labels; expected a .dlabel.nii.")
    value_of = {name: value for value, (name, _) in names.label[0].items()}
    if missing := [label for label in labels if label not in value_of]:
        raise InputDataError(
            f"The atlas <{atlas}> lacks the regions {join_items(missing, most=5)}; use the atlas "
            "that the matrix is based on."
        )
    return models, np.rint(values).astype(np.int64), value_of


def _spread(values: pd.DataFrame, atlas: Path) -> tuple[BrainModelAxis, Array]:
    """Return the value of its region at each greyordinate, shape (n_columns, n_greyordinates)."""
    models, grey, value_of = _read_regions(atlas, tuple(values.index))
    data = np.full((values.shape[1], len(grey)), np.nan)
    for label, row in zip(values.index, values.to_numpy(), strict=True):
        data[:, grey == value_of[label]] = row[:, np.newaxis]
    return models, data


def _write_cifti(
    data: Array, values: pd.DataFrame, axis: BrainModelAxis | ParcelsAxis, intent: str, path: Path
) -> list[Path]:
    image = Cifti2Image(data.astype(np.float32), header=(ScalarAxis(list(values.columns)), axis))
    image.nifti_header.set_intent(intent, name=intent)
    with replacing(path) as temporary:
        nib.save(image, temporary)
    return [path]
