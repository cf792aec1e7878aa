"""Resampling of atlases to the grid of the images, which are themselves never resampled."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import ArrayLike, NDArray

from npi_bids.errors import InputDataError
from npi_bids.io.volume_stream import VolumeStream
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

_NEAREST, _LINEAR = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The grid of an image: shape of a volume (3,), and affine (4, 4) from voxels to mm."""

    shape: tuple[int, ...]
    affine: Array

    @classmethod
    def of(cls, image: SpatialImage) -> Grid:
        """Return the grid of an image."""
        return cls(tuple(image.shape[:3]), np.asarray(image.affine, dtype=np.float64))


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
    grid = Grid.of(reference)
    if not parcellation.probabilistic:
        return label_image(labels_on_grid(parcellation, grid), grid.affine)
    weights = np.zeros((*grid.shape, len(parcellation.labels)), dtype=np.float32, order="F")
    for position, box, values in weights_on_grid(parcellation, grid):
        weights[..., position][box] = values
    return weights_image(weights, grid.affine)


def labels_on_grid(parcellation: Parcellation, grid: Grid) -> NDArray[np.int32]:
    """Return the label of each voxel of a grid, by nearest neighbour; 0 where there is none."""
    from scipy.ndimage import affine_transform

    data = label_data(parcellation.image, parcellation.name)
    atlas_grid = Grid.of(parcellation.image)
    if _are_same(atlas_grid, grid):
        return data
    matrix, offset = _transform(atlas_grid, grid)
    resampled: NDArray[np.int32] = affine_transform(
        data, matrix, offset=offset, output_shape=grid.shape, order=_NEAREST, cval=0
    )
    return resampled


def weights_on_grid(
    parcellation: Parcellation, grid: Grid
) -> Iterator[tuple[int, tuple[slice, ...], NDArray[np.float32]]]:
    """Yield the weights of one map after the other on a grid, by linear interpolation.

    Yields
    ------
    tuple
        Position of the map, the box of the grid outside which it is 0, and its weights there
        (negative ones as 0). Maps without weights are left out.
    """
    from scipy.ndimage import affine_transform

    atlas_grid = Grid.of(parcellation.image)
    same = _are_same(atlas_grid, grid)
    matrix, offset = _transform(atlas_grid, grid)
    for position, weights in enumerate(_maps(parcellation)):
        box = _bounding_box(weights)
        if box and not same:
            box = _box_on_grid(box, atlas_grid, grid)
        if not box:
            continue
        if same:
            yield position, box, np.clip(weights[box], 0, None)
            continue
        start = np.array([part.start for part in box])
        shift = matrix * start if matrix.ndim == 1 else matrix @ start
        values = affine_transform(
            weights,
            matrix,
            offset=offset + shift,
            output_shape=tuple(part.stop - part.start for part in box),
            order=_LINEAR,
            cval=0.0,
        )
        yield position, box, np.clip(values, 0, None)


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
    return count_labels(label_data(image, parcellation.name), parcellation)


def count_labels(labels: ArrayLike, parcellation: Parcellation) -> Array:
    """Return how often each region occurs among labels, shape (n_regions,)."""
    flat = np.ravel(labels, order="K").astype(np.int64)
    counts = np.bincount(flat, minlength=max(parcellation.values) + 1)
    return counts[list(parcellation.values)].astype(np.float64)


def _are_same(grid: Grid, other: Grid) -> bool:
    return grid.shape == other.shape and np.allclose(grid.affine, other.affine)


def _transform(source: Grid, target: Grid) -> tuple[Array, Array]:
    """Return the matrix (its diagonal if it is diagonal) and offset from target to source."""
    if np.array_equal(source.affine, target.affine):
        return np.ones(3), np.zeros(3)
    transform = np.linalg.inv(source.affine) @ target.affine
    matrix, offset = transform[:3, :3], transform[:3, 3]
    diagonal = np.diag(matrix)
    # SciPy has a faster method for a matrix that is given as its diagonal.
    return (diagonal.copy() if np.array_equal(np.diag(diagonal), matrix) else matrix), offset


def _maps(parcellation: Parcellation) -> Iterator[NDArray[np.float32]]:
    """Yield the maps as 32-bit floats, one at a time from a file."""
    image = parcellation.image
    file = image.get_filename() if nib.is_proxy(image.dataobj) else None
    if file is None:
        data = np.asanyarray(image.dataobj)
        yield from (data[..., k].astype(np.float32) for k in range(data.shape[3]))
        return
    stream = VolumeStream(Path(file), image)
    for volume in stream:
        values = volume.reshape(stream.shape, order="F") * stream.slope + stream.intercept
        yield values.astype(np.float32)


def _bounding_box(weights: NDArray[np.float32]) -> tuple[slice, ...]:
    """Return the box that holds all weights; empty if there are none."""
    there = np.nonzero(weights)
    if not there[0].size:
        return ()
    return tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in there)


def _box_on_grid(box: tuple[slice, ...], source: Grid, target: Grid) -> tuple[slice, ...]:
    """Return the box of another grid that holds a box with a margin; empty if it lies outside."""
    to_target = np.linalg.inv(target.affine) @ source.affine
    # Linear interpolation reaches one voxel of the source beyond its last weight.
    ends = [(part.start - 1, part.stop) for part in box]
    corners = np.array([(*corner, 1) for corner in itertools.product(*ends)])
    places = (corners @ to_target.T)[:, :3]
    low = np.clip(np.floor(places.min(axis=0)), 0, target.shape).astype(int)
    high = np.clip(np.ceil(places.max(axis=0)) + 1, 0, target.shape).astype(int)
    if (high <= low).any():
        return ()
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
