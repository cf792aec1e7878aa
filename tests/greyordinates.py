"""Runs and atlases of greyordinates for tests, in CIFTI and in GIFTI."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.cifti2.cifti2 import Cifti2Image
from nibabel.cifti2.cifti2_axes import BrainModelAxis, LabelAxis, SeriesAxis
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiLabel, GiftiLabelTable

LEFT, RIGHT = "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"
N_VERTICES = 20


def axis(left=range(20), right=range(20), voxels=((1, 1, 1), (1, 1, 2), (2, 2, 2))):
    """Return a brain of 20 vertices per side and three voxels of the thalamus."""
    whole = BrainModelAxis.from_surface(np.array(left), N_VERTICES, LEFT)
    whole += BrainModelAxis.from_surface(np.array(right), N_VERTICES, RIGHT)
    if voxels:
        mask = np.zeros((4, 4, 4), dtype=bool)
        mask[tuple(np.array(voxels).T)] = True
        whole += BrainModelAxis.from_mask(mask, "CIFTI_STRUCTURE_THALAMUS_LEFT", np.eye(4))
    return whole


def write_series(path, models, data=None, tr=2.0, unit="SECOND"):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((30, len(models))) if data is None else data
    series = SeriesAxis(0, tr, len(data), unit)
    nib.save(Cifti2Image(data.astype(np.float32), header=(series, models)), path)
    return data


def write_labels(path, models, values, names):
    table = {0: ("???", (0, 0, 0, 0))} | {k: (name, (0, 0, 0, 1)) for k, name in names.items()}
    image = Cifti2Image(
        np.asarray(values, dtype=np.float32)[None],
        header=(LabelAxis(["parcels"], [table]), models),
    )
    image.nifti_header.set_intent("NIFTI_INTENT_CONNECTIVITY_DENSE_LABELS")
    nib.save(image, path)
    return path


def write_gifti(path, columns, table=None):
    image = GiftiImage()
    if table:
        image.labeltable = GiftiLabelTable()
        for key, name in table.items():
            label = GiftiLabel(key)
            label.label = name
            image.labeltable.labels.append(label)
    kind = "NIFTI_INTENT_LABEL" if table else "NIFTI_INTENT_TIME_SERIES"
    for column in columns:
        dtype = np.int32 if table else np.float32
        image.add_gifti_data_array(GiftiDataArray(np.asarray(column, dtype=dtype), intent=kind,
                                   meta={} if table else {"TimeStep": "2000.0"}))  # fmt: skip
    nib.save(image, path)
    return path
