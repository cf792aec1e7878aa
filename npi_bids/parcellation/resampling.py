"""Resampling of atlases to the grid of the images, which are themselves never resampled."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from npi_bids.parcellation.parcellation import (
    Parcellation,
    label_data,
    label_image,
    weights_image,
)
from npi_bids.records import Array


def to_grid(parcellation: Parcellation, reference: SpatialImage) -> nib.Nifti1Image:
    """Resample an atlas to the grid of a reference image.

    Parameters
    ----------
    parcellation
        The atlas; left untouched.
    reference
        3D or 4D image that defines the grid.

    Returns
    -------
    Nifti1Image
        Labels resampled by nearest neighbour, maps linearly (never negative).
    """
    from nilearn.image import resample_to_img
    from nilearn.image.resampling import BoundingBoxError

    shape = reference.shape[:3]
    try:
        resampled = resample_to_img(
            parcellation.image,
            nib.Nifti1Image(np.zeros(shape, dtype=np.uint8), reference.affine),
            interpolation="linear" if parcellation.probabilistic else "nearest",
            force_resample=True,
            copy_header=True,
        )
    except BoundingBoxError:  # the image and the atlas do not overlap: no region is covered
        full_shape = (*shape, len(parcellation.labels)) if parcellation.probabilistic else shape
        resampled = nib.Nifti1Image(np.zeros(full_shape, dtype=np.int32), reference.affine)
    if parcellation.probabilistic:
        weights = np.clip(np.asarray(resampled.dataobj, dtype=np.float32), 0, None)
        return weights_image(weights, resampled.affine)
    return label_image(label_data(resampled, parcellation.name), resampled.affine)


def region_sizes(image: SpatialImage, parcellation: Parcellation) -> Array:
    """Return the size of each region on its grid: voxels of a label, summed weights of a map."""
    if parcellation.probabilistic:
        sums: Array = np.asarray(image.dataobj, dtype=np.float64).sum(axis=(0, 1, 2))
        return sums
    data = label_data(image, parcellation.name).ravel()
    counts = np.bincount(data, minlength=max(parcellation.values) + 1)
    return counts[list(parcellation.values)].astype(np.float64)
