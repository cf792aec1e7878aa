"""Resampling of atlases to the grid of the images, which are themselves never resampled."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from npi_bids.errors import InputDataError
from npi_bids.parcellation.parcellation import (
    Parcellation,
    label_data,
    label_image,
    weights_image,
)
from npi_bids.records import Array
from npi_bids.wording import count_noun, join_items

_logger = logging.getLogger(__name__)
# Templates of the adult brain differ by less, so that no region leaves the extended grid.
_MARGIN_MM = 10.0


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


def to_template(parcellation: Parcellation, transform: Path, space: str) -> Parcellation:
    """Transform a volumetric atlas into another template.

    Parameters
    ----------
    parcellation
        The atlas; left untouched.
    transform
        File of the transform that resamples images from the template of the atlas into the other,
        as TemplateFlow distributes them (ITK composite, HDF5).
    space
        The other template.

    Returns
    -------
    Parcellation
        The atlas in ``space``, on its own grid extended by 10 mm on each side. Labels are
        resampled by nearest neighbour, maps linearly. A region without a voxel left causes a
        warning.

    Raises
    ------
    InputDataError
        The package nitransforms is missing, or the transform cannot be read.
    """
    try:
        from nitransforms.manip import TransformChain
        from nitransforms.resampling import apply
    except ImportError as error:
        raise InputDataError(
            f"The transform <{transform}> needs the package nitransforms; run pip install "
            "'npi-bids[templateflow]'."
        ) from error
    try:
        chain = TransformChain.from_filename(str(transform), fmt="itk")
    except (OSError, ValueError, KeyError) as error:
        raise InputDataError(f"The transform <{transform}> cannot be read: {error}.") from error
    order = 1 if parcellation.probabilistic else 0
    reference = _extended_grid(parcellation.image)
    data = parcellation.image.get_fdata(dtype=np.float32)
    volumes = np.moveaxis(data, 3, 0) if data.ndim == 4 else data[np.newaxis]
    moved = [
        apply(chain, nib.Nifti1Image(volume, parcellation.image.affine), reference, order=order)
        for volume in volumes
    ]
    if parcellation.probabilistic:
        maps = np.stack([image.get_fdata(dtype=np.float32) for image in moved], axis=3)
        image = weights_image(np.clip(maps, 0, None), reference.affine)
    else:
        image = label_image(label_data(moved[0], parcellation.name), reference.affine)
    result = replace(parcellation, image=image, space=space)
    lost = np.flatnonzero(region_sizes(image, result) == 0)
    if lost.size:
        _logger.warning(
            "Atlas %s: %s no voxel in %s (%s)", parcellation.name,
            "1 region has" if lost.size == 1 else f"{count_noun(lost.size, 'region')} have",
            space, join_items((parcellation.labels[index] for index in lost), most=5),
        )  # fmt: skip
    return result


def _extended_grid(image: SpatialImage) -> nib.Nifti1Image:
    """Return an empty image on the grid of another, extended on all sides."""
    voxels = np.ceil(_MARGIN_MM / np.linalg.norm(image.affine[:3, :3], axis=0)).astype(int)
    affine = image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ voxels
    return nib.Nifti1Image(np.zeros(np.add(image.shape[:3], 2 * voxels), dtype=np.uint8), affine)


def region_sizes(image: SpatialImage, parcellation: Parcellation) -> Array:
    """Return the size of each region on its grid: voxels of a label, summed weights of a map."""
    if parcellation.probabilistic:
        sums: Array = np.asarray(image.dataobj, dtype=np.float64).sum(axis=(0, 1, 2))
        return sums
    data = label_data(image, parcellation.name).ravel()
    counts = np.bincount(data, minlength=max(parcellation.values) + 1)
    return counts[list(parcellation.values)].astype(np.float64)
