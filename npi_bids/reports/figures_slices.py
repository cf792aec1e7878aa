"""Slices of images: subcortical regions on a template, and outlines of an atlas on a run."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from npi_bids.plotting import SIGNED_COLOURS
from npi_bids.records import Array
from npi_bids.reports.figures_signals import svg_text

_STEP = 2.0  # mm of a slice
_SLICES = 7
# The field of view in mm: that of the MNI152 template.
_LOW, _HIGH = np.array([-92.0, -128.0, -72.0]), np.array([92.0, 92.0, 110.0])


@lru_cache(maxsize=1)
def read_template() -> Any:
    """Return the T1 template of MNI152 that nilearn has in its wheel."""
    # Importing nilearn takes seconds; its file is read without it.
    package = importlib.util.find_spec("nilearn")
    folder = Path(next(iter(package.submodule_search_locations or []))) if package else Path()
    name = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    return nib.load(folder / name)  # type: ignore[attr-defined]


def sample_slice(image: Any, height: float, *, order: int = 1, axis: int = 2) -> Array:
    """Return one slice of an image in millimetres of its space.

    Parameters
    ----------
    image
        3D image.
    height
        Position of the slice (mm).
    order
        1 interpolates, 0 takes the nearest voxel (for labels).
    axis
        0 for a sagittal, 1 for a coronal, 2 for an axial slice.

    Returns
    -------
    ndarray
        Rows go down, columns to the right of the image: left is left.
    """
    from scipy.ndimage import map_coordinates

    across, up = [other for other in range(3) if other != axis]
    columns = np.arange(_LOW[across], _HIGH[across], _STEP)
    rows = np.arange(_HIGH[up], _LOW[up], -_STEP)
    points = np.empty((3, len(rows), len(columns)))
    points[axis] = height
    points[across], points[up] = np.meshgrid(columns, rows)
    inverse = np.linalg.inv(image.affine)
    voxels = np.einsum("ij,jrc->irc", inverse[:3, :3], points) + inverse[:3, 3, None, None]
    data = _image_data(image)
    sampled: Array = map_coordinates(data, voxels, order=order, mode="constant", cval=0.0)
    return sampled


def _image_data(image: Any) -> Array:
    data: Array = np.asarray(image.dataobj, dtype=np.float32)
    return data


def draw_slices(atlas: Path, values: NDArray[np.int64], numbers: Array) -> str:
    """Draw one number per region on axial slices of the template.

    Parameters
    ----------
    atlas
        Image of labels in MNI space.
    values
        Labels of the regions to draw.
    numbers
        Their numbers; NaN is grey.
    """
    image: Any = nib.load(atlas)  # type: ignore[attr-defined]
    data = np.rint(_image_data(image)).astype(np.int64)
    chosen = np.argwhere(np.isin(data, values))
    heights = chosen @ image.affine[2, :3] + image.affine[2, 3]
    places = np.linspace(*np.percentile(heights, [4, 96]), _SLICES)
    index = np.full(max(int(data.max()), int(values.max())) + 1, -1, dtype=np.int64)
    index[values] = np.arange(len(values))
    template = read_template()
    limit = float(np.nanmax(np.abs(numbers), initial=0.0)) or 1.0
    norm = mpl.colors.Normalize(-limit, limit)
    colours = mpl.colormaps[SIGNED_COLOURS].with_extremes(bad="#9aa5b1")
    canvas = Canvas(figsize=(11, 2.3))
    for number, height in enumerate(places.tolist()):
        axes = canvas.add_axes((0.135 * number, 0.0, 0.13, 0.9))
        axes.imshow(sample_slice(template, height), cmap="gray", interpolation="bilinear")
        regions = index[np.rint(sample_slice(image, height, order=0)).astype(np.int64)]
        pixels = colours(norm(np.ma.masked_invalid(np.append(numbers, np.nan)[regions])))
        pixels[regions < 0] = 0.0
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(f"z = {height:.0f}", fontsize=8)
        axes.axis("off")
    canvas.colorbar(
        mpl.cm.ScalarMappable(norm, colours), cax=canvas.add_axes((0.955, 0.1, 0.01, 0.75))
    )
    return svg_text(canvas)
