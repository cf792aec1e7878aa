"""Images of numbers within an SVG, as PNG with a palette.

Matplotlib colours all pixels at the resolution of the file and compresses them as RGBA. One byte
per pixel takes a quarter of the time, and half of the space.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.image import AxesImage
from numpy.typing import NDArray

_LEVELS = 255  # colours of a scale; the last one of the palette is that of missing numbers
_PREFIX = "palette-image-"
_ELEMENT = re.compile(rf'<image [^>]*id="({_PREFIX}\d+)"[^>]*>')
_SOURCE, _STYLE = re.compile(r'xlink:href="[^"]*"'), re.compile(r' style="[^"]*"')


@contextmanager
def palette_images(canvas: Canvas, dpi: float) -> Iterator[dict[str, str]]:
    """Replace the images of numbers in a figure by one pixel each while it is saved as SVG.

    Parameters
    ----------
    canvas
        Figure; images of colours, and those that are interpolated, are left as they are.
    dpi
        Resolution of the images.

    Yields
    ------
    dict
        PNG in base64 of each image, by the identifier of its element; see :func:`insert_images`.
    """
    encoded: dict[str, str] = {}
    with ExitStack() as replaced:
        for image in [one for axes in canvas.axes for one in axes.images]:
            if _has_palette(image):
                name = f"{_PREFIX}{len(encoded) + 1}"
                encoded[name] = encode_palette(*_sample_image(image, dpi))
                replaced.enter_context(_single_pixel(image, name))
        yield encoded


def insert_images(text: str, encoded: dict[str, str]) -> str:
    """Return an SVG with images in place of their single pixels."""

    def insert(match: re.Match[str]) -> str:
        source = (
            f'preserveAspectRatio="none" xlink:href="data:image/png;base64,{encoded[match[1]]}"'
        )
        element = _STYLE.sub("", match[0].replace(f' id="{match[1]}"', ""))
        return _SOURCE.sub(lambda _: source, element, count=1)

    return _ELEMENT.sub(insert, text)


def encode_palette(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> str:
    """Return an image as PNG in base64.

    Parameters
    ----------
    indices
        Shape (height, width); the colour of each pixel.
    colours
        Shape (n_colours, 4), from 0 to 255; red, green, blue and opacity.
    """
    from PIL import Image

    image = Image.fromarray(indices)
    image.putpalette(np.ascontiguousarray(colours[:, :3]).tobytes())
    opacity = colours[:, 3]
    options = {} if (opacity == 255).all() else {"transparency": opacity.tobytes()}
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return base64.b64encode(buffer.getvalue()).decode()


def _has_palette(image: AxesImage) -> bool:
    values = image.get_array()
    return (
        values is not None
        and values.ndim == 2
        and image.origin == "upper"
        and image.get_interpolation() == "nearest"
        and image.get_alpha() is None
    )


def _sample_image(image: AxesImage, dpi: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the index of the colour of each pixel at a resolution, and the palette."""
    stored = np.ma.filled(np.ma.asarray(image.get_array(), dtype=np.float64), np.nan)
    image.axes.apply_aspect()
    box, scale = image.get_window_extent(), dpi / image.axes.figure.dpi
    (rows, row_of), (columns, column_of) = (
        np.unique(_nearest(n_stored, length * scale), return_inverse=True)
        for n_stored, length in zip(stored.shape, (box.height, box.width), strict=True)
    )
    shares = np.ma.filled(image.norm(stored[np.ix_(rows, columns)]), np.nan)
    missing = ~np.isfinite(shares)
    shares[missing] = 0.0
    levels = np.clip(shares * _LEVELS, 0, _LEVELS - 1).astype(np.uint8)
    levels[missing] = _LEVELS
    scale_points = np.append((np.arange(_LEVELS) + 0.5) / _LEVELS, np.nan)
    return levels[np.ix_(row_of, column_of)], image.get_cmap()(scale_points, bytes=True)


def _nearest(n_stored: int, length: float) -> NDArray[np.int64]:
    """Return the row of an image that each row of pixels shows."""
    n_pixels = max(1, round(length))
    return np.minimum(
        ((np.arange(n_pixels) + 0.5) * n_stored / n_pixels).astype(np.int64), n_stored - 1
    )


@contextmanager
def _single_pixel(image: AxesImage, name: str) -> Iterator[None]:
    """Show one pixel of the same extent in place of an image."""
    pixel = AxesImage(
        image.axes, extent=image.get_extent(), interpolation="none", zorder=image.get_zorder()
    )
    pixel.set_data(np.zeros((1, 1, 4), dtype=np.uint8))
    pixel.set_gid(name)
    image.set_visible(False)
    image.axes.add_image(pixel)
    try:
        yield
    finally:
        pixel.remove()
        image.set_visible(True)
