"""Images within figures show the numbers that they were drawn from."""

import base64
import io
import re

import numpy as np
from matplotlib.figure import Figure as Canvas
from PIL import Image

from npi_bids.reports.figures_signals import svg_text

VALUES = np.array([[0.0, 1.0, np.nan], [-1.0, 0.5, 2.0]])


def draw(values, **options):
    canvas = Canvas(figsize=(3, 2))
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.imshow(values, cmap="gray", vmin=-1, vmax=1, aspect="auto",
                interpolation="nearest", **options)  # fmt: skip
    return canvas


def picture(svg):
    (encoded,) = re.findall(r'<image [^>]*base64,\s*([^"]+)"', svg)
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


def test_each_pixel_has_the_colour_of_its_number():
    image = picture(svg_text(draw(VALUES)))
    assert image.mode == "P"
    assert image.size == (450, 300)  # 150 per inch
    centres = np.asarray(image.convert("RGBA"))[75::150, 75::150]
    expected = np.array([[127.5, 255, np.nan], [0, 191.25, 255]])
    seen = np.isfinite(expected)
    np.testing.assert_allclose(centres[..., 0][seen], expected[seen], atol=1)
    assert centres[0, 2, 3] == 0  # missing numbers are transparent in this scale
    assert (centres[..., 3][seen] == 255).all()


def test_the_image_lies_where_matplotlib_draws_it():
    svg = svg_text(draw(VALUES, extent=(0, 3, 2, 0)))
    element = re.search(r"<image [^>]*>", svg)[0]
    assert 'transform="matrix(216 0 0 144 0 0)"' in element
    assert 'preserveAspectRatio="none"' in element
    assert "pixelated" not in element  # smooth where it is shown smaller, as before


def test_a_figure_can_be_drawn_again():
    canvas = draw(VALUES)
    first = svg_text(canvas)
    assert svg_text(canvas) == first
    assert [image.get_visible() for image in canvas.axes[0].images] == [True]


def test_images_of_colours_stay_as_they_are():
    assert picture(svg_text(draw(np.zeros((2, 3, 4))))).mode == "RGBA"
