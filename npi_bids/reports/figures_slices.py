"""Slices of images: subcortical regions on a template, and outlines of an atlas on a run."""

from __future__ import annotations

import base64
import importlib.util
import io
from dataclasses import dataclass
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
from npi_bids.reports.palette_images import encode_palette

_STEP = 2.0  # mm of a slice
_SLICES, _PER_ROW = 8, 4
_SLICE_WIDTH = 1.4  # inches, in figures of slices
_PANEL = (5.8, 3.9)  # inches
# Slices by axis, as shares of the field of view, of a run that is in the space of no template.
_SHARES = ((2, (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)), (1, (0.25, 0.42, 0.58, 0.75)),
           (0, (0.3, 0.52, 0.7)))  # fmt: skip
_FINE = 1.0  # mm of the check of registration
_HEAD = 0.2  # of the brightest value, above which a voxel is taken to be in the head
_MARGIN = 8.0  # mm around the head


@dataclass(frozen=True, slots=True)
class FieldOfView:
    """The box (mm) that slices show, and the slices of a mosaic: axis, and positions (mm)."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    slices: tuple[tuple[int, tuple[float, ...]], ...] = ()


MNI152 = FieldOfView(
    (-92.0, -128.0, -72.0), (92.0, 92.0, 110.0),
    ((2, (-30, -15, 0, 15, 30, 45, 60)), (1, (-80, -50, -20, 10)), (0, (-35, 3, 35))),
)  # fmt: skip


def find_field_of_view(image: Any) -> FieldOfView:
    """Return the box around the head of a mean volume, in the space of the image."""
    data = _image_data(image)
    voxels = np.argwhere(data > _HEAD * data.max())
    if not len(voxels):
        voxels = np.array([[0, 0, 0], np.array(data.shape) - 1])
    places = voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
    low, high = places.min(axis=0) - _MARGIN, places.max(axis=0) + _MARGIN
    slices = tuple(
        (axis, tuple(float(low[axis] + share * (high[axis] - low[axis])) for share in shares))
        for axis, shares in _SHARES
    )
    x, y, z = zip(low.tolist(), high.tolist(), strict=True)
    return FieldOfView((x[0], y[0], z[0]), (x[1], y[1], z[1]), slices)


@lru_cache(maxsize=1)
def read_template() -> Any:
    """Return the T1 template of MNI152 that nilearn has in its wheel."""
    # Importing nilearn takes seconds; its file is read without it.
    package = importlib.util.find_spec("nilearn")
    folder = Path(next(iter(package.submodule_search_locations or []))) if package else Path()
    name = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    return nib.load(folder / name)


def sample_slice(
    image: Any,
    height: float,
    *,
    order: int = 1,
    axis: int = 2,
    step: float = _STEP,
    view: FieldOfView = MNI152,
) -> Array:
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
    step
        Size of a pixel (mm).
    view
        The box that is shown.

    Returns
    -------
    ndarray
        Rows go down, columns to the right of the image: left is left.
    """
    from scipy.ndimage import map_coordinates

    across, up = [other for other in range(3) if other != axis]
    columns = np.arange(view.low[across], view.high[across], step)
    rows = np.arange(view.high[up], view.low[up], -step)
    points = np.empty((3, len(rows), len(columns)))
    points[axis] = height
    points[across], points[up] = np.meshgrid(columns, rows)
    inverse = np.linalg.inv(image.affine)
    voxels = np.einsum("ij,jrc->irc", inverse[:3, :3], points) + inverse[:3, 3, None, None]
    sampled: Array = map_coordinates(
        _image_data(image), voxels, order=order, mode="constant", cval=0.0
    )
    return sampled


def _image_data(image: Any) -> Array:
    data: Array = image.get_fdata(dtype=np.float32)  # which the image keeps
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
    image: Any = nib.load(atlas)
    data = np.rint(_image_data(image)).astype(np.int64)
    chosen = np.argwhere(np.isin(data, values))
    heights = chosen @ image.affine[2, :3] + image.affine[2, 3]
    low, high = np.percentile(heights, [4, 96])
    places = np.linspace(float(low), float(high), _SLICES)
    index = np.full(max(int(data.max()), int(values.max())) + 1, -1, dtype=np.int64)
    index[values] = np.arange(len(values))
    template = read_template()
    limit = float(np.nanmax(np.abs(numbers), initial=0.0)) or 1.0
    norm = mpl.colors.Normalize(-limit, limit)
    colours = mpl.colormaps[SIGNED_COLOURS].with_extremes(bad="#9aa5b1")
    canvas = Canvas(figsize=(6.6, _PANEL[1]))
    # One panel in inches: a panel for each slice takes twice the time.
    panel = canvas.add_axes((0.0, 0.0, _PANEL[0] / 6.6, 1.0))
    panel.axis("off")
    for number, height in enumerate(places.tolist()):
        background = sample_slice(template, height)
        half = 0.5 * _SLICE_WIDTH * background.shape[0] / background.shape[1]
        row, column = divmod(number, _PER_ROW)
        left, middle = 1.03 * _SLICE_WIDTH * column, _PANEL[1] * (0.73 - 0.5 * row)
        place = (left, left + _SLICE_WIDTH, middle - half, middle + half)
        panel.imshow(background, cmap="gray", interpolation="bilinear", extent=place,
                     aspect="auto")  # fmt: skip
        regions = index[np.rint(sample_slice(image, height, order=0)).astype(np.int64)]
        pixels = colours(norm(np.ma.masked_invalid(np.append(numbers, np.nan)[regions])))
        pixels[regions < 0] = 0.0
        panel.imshow(pixels, interpolation="nearest", extent=place, aspect="auto")
        panel.text(left + _SLICE_WIDTH / 2, place[3] + 6 / 72, f"z = {height:.0f}", fontsize=8,
                   ha="center")  # fmt: skip
    panel.set(xlim=(0, _PANEL[0]), ylim=(0, _PANEL[1]))
    canvas.colorbar(
        mpl.cm.ScalarMappable(norm, colours), cax=canvas.add_axes((0.9, 0.2, 0.02, 0.6))
    )
    return svg_text(canvas)


def draw_registration(
    mean: Path,
    atlas: Path,
    values: NDArray[np.int64],
    covered: NDArray[np.bool_],
    *,
    in_template: bool = True,
) -> str:
    """Draw the outlines of an atlas on the mean of a run, as SVG.

    Parameters
    ----------
    mean
        Mean volume of the run.
    atlas
        Image of labels in the space of the run.
    values
        Labels of the regions.
    covered
        Whether each of them is covered; outlines of the others are orange.
    in_template
        Whether that is MNI space: slices are those of the MNI152 template, which is shown in turn
        with the run. Otherwise slices lie evenly in the head, and the run is shown alone.
    """
    bold: Any = nib.load(mean)
    labels: Any = nib.load(atlas)
    data = np.rint(_image_data(labels)).astype(np.int64)
    index = np.zeros(max(int(data.max()), int(values.max())) + 1, dtype=np.int64)
    index[values] = np.arange(1, len(values) + 1)
    view = MNI152 if in_template else find_field_of_view(bold)
    regions = np.rint(_make_mosaic(labels, view, order=0)).astype(np.int64)
    outlines = encode_palette(_draw_outlines(index[np.maximum(regions, 0)], covered), _OUTLINES)
    height, width = regions.shape
    template = [(_template_mosaic(), "")] if in_template else []
    layers = [
        *template,
        (_encode(_scale(_make_mosaic(bold, view))), ' class="flicker-over"' if template else ""),
        (outlines, ""),
    ]
    images = "".join(
        f'<image width="{width}" height="{height}"{marked} href="data:image/png;base64,{png}"/>'
        for png, marked in layers
    )
    names = '<text x="4" y="14" font-size="12" fill="#ffffff" font-family="sans-serif">L</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
        f"<style>{_FLICKER}</style>{images}{names}</svg>\n"
    )


# The mean of the run lies on the template, and is hidden every other second; pointing at the
# figure, or a wish for less motion, stops that.
_FLICKER = (
    ".flicker-over { animation: flicker-over 3s steps(1) infinite; } "
    "@keyframes flicker-over { 60% { opacity: 0; } } "
    "svg:hover .flicker-over { animation: none; } "
    "@media (prefers-reduced-motion: reduce), print { .flicker-over { animation: none; } }"
)


@lru_cache(maxsize=1)
def _template_mosaic() -> str:
    return _encode(_scale(_make_mosaic(read_template(), MNI152)))


def _make_mosaic(image: Any, view: FieldOfView, order: int = 1) -> Array:
    """Return axial slices in one row, coronal and sagittal ones in another."""
    rows = []
    for parts in (view.slices[:1], view.slices[1:]):
        slices = [sample_slice(image, float(place), order=order, axis=axis, step=_FINE, view=view)
                  for axis, places in parts for place in places]  # fmt: skip
        height = max(one.shape[0] for one in slices)
        rows.append(np.hstack([
            np.pad(one, ((0, height - one.shape[0]), (0, 0))) for one in slices
        ]))  # fmt: skip
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]))) for row in rows])


def _scale(mosaic: Array) -> NDArray[np.uint8]:
    """Return brightness from 0 to 255."""
    high = float(np.percentile(mosaic[mosaic > 0], 99)) if (mosaic > 0).any() else 1.0
    scaled: NDArray[np.uint8] = (np.clip(mosaic / high, 0, 1) * 255).astype(np.uint8)
    return scaled


# Nothing, outlines of covered regions, and those of the others: red, green, blue, opacity.
_OUTLINES = np.array([[0, 0, 0, 0], [56, 217, 240, 190], [237, 137, 54, 255]], dtype=np.uint8)


def _draw_outlines(regions: NDArray[np.int64], covered: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the borders of regions as indices of their colours."""
    edge = np.zeros(regions.shape, dtype=bool)
    edge[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    edge[1:] |= regions[1:] != regions[:-1]
    # A border belongs to the region on either side, of which one may be the background.
    owner = np.maximum(regions, np.maximum(np.roll(regions, 1, 0), np.roll(regions, 1, 1)))
    lost = np.concatenate([[False], ~covered])
    return np.where(edge, 1 + lost[owner], 0).astype(np.uint8)


def _encode(pixels: NDArray[np.uint8]) -> str:
    """Return an image as PNG in base64."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
