"""Regions of an atlas on the cortex, drawn from several sides.

A side of the cortex is a picture of vertex numbers, found once: whatever the regions and their
values, a figure is a look-up in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import ReportError
from npi_bids.parcellation.meshes import SIDES, Mesh, Numbers, find_mesh
from npi_bids.records import Array
from npi_bids.reports.packed_matrices import deflate_bytes, deflate_codes

WIDTH, HEIGHT = 300, 230  # pixels of one view
_MANY_TRIANGLES = 50_000  # which are so small that few points of each are sampled
_VIEWS = tuple((side, view) for view in ("lateral", "medial") for side in SIDES)


@dataclass(frozen=True, slots=True, eq=False)
class ViewedMesh:
    """A mesh as it is seen: the vertex and the brightness of each pixel.

    Attributes
    ----------
    vertices
        Shape (height, width); -1 where there is nothing.
    shade
        Shape (height, width), from 1 to 255; 0 where there is nothing.
    """

    vertices: Numbers
    shade: NDArray[np.uint8]


def view_mesh(mesh: Mesh, side: str, view: str) -> ViewedMesh:
    """Return one hemisphere from its lateral or medial side, with the frontal pole in front."""
    return _view_hemisphere(mesh, side)[view]


@lru_cache(maxsize=8)
def _view_hemisphere(mesh: Mesh, side: str) -> dict[str, ViewedMesh]:
    """Draw a hemisphere from both sides.

    Triangles are sampled densely; the point next to the eye is what a pixel shows.
    """
    samples, owners, lights = _sample_triangles(mesh, side)
    points, _ = mesh.read(side)
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    scale = 0.94 * min(WIDTH / np.ptp(points[:, 1]), HEIGHT / np.ptp(points[:, 2]))
    forwards = scale * (samples[:, 1] - middle[1])
    rows = (HEIGHT / 2 - scale * (samples[:, 2] - middle[2])).astype(np.int64)
    seen = {}
    for view, sign in (("lateral", 1.0), ("medial", -1.0)):
        outwards = -sign if side == "left" else sign
        # Seen from the right the front of the brain is on the right, from the left on the left.
        pixels = rows * WIDTH + (WIDTH / 2 + outwards * forwards).astype(np.int64)
        depth = outwards * samples[:, 0]
        nearest = np.full(WIDTH * HEIGHT, -np.inf)
        np.maximum.at(nearest, pixels, depth)
        shown = np.flatnonzero(depth == nearest[pixels])
        vertices = np.full(WIDTH * HEIGHT, -1, dtype=np.int64)
        shade = np.zeros(WIDTH * HEIGHT, dtype=np.uint8)
        vertices[pixels[shown]], shade[pixels[shown]] = owners[shown], lights[shown]
        seen[view] = ViewedMesh(vertices.reshape(HEIGHT, WIDTH), shade.reshape(HEIGHT, WIDTH))
    return seen


def _sample_triangles(mesh: Mesh, side: str) -> tuple[Array, Numbers, NDArray[np.uint8]]:
    """Return points within all triangles (mm), the vertex next to each, and its brightness."""
    points, triangles = mesh.read(side)
    steps = np.linspace(0, 1, 8 if len(triangles) < _MANY_TRIANGLES else 5)
    weights = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-9])
    corners = points[triangles]
    samples = np.einsum("wc,tcd->twd", weights, corners).reshape(-1, 3)
    owners = triangles[:, weights.argmax(axis=1)].reshape(-1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    light = np.abs(normals[:, 0]) / np.maximum(np.linalg.norm(normals, axis=1), 1e-9)
    return samples, owners, np.repeat((150 + 105 * light).astype(np.uint8), len(weights))


@dataclass(frozen=True, slots=True, eq=False)
class RegionLayer:
    """One value per region: name and title, and the end of the colour scale if it is fixed."""

    name: str
    title: str
    values: Array
    signed: bool = True
    limit: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CortexView:
    """Regions on the cortex, for a page on which they can be pointed at.

    Attributes
    ----------
    name
        Identifier of the element on the page.
    labels, networks
        Names and networks of the regions; networks may be empty.
    regions
        Region of each vertex of both hemispheres, from 1.
    layers
        Values to choose from.
    directed
        Whether connections from and to a region are told apart.
    caption
        How to read it, and what is not drawn.
    files
        Titles and paths of static figures.
    """

    name: str
    labels: Sequence[str]
    networks: Sequence[str]
    regions: Numbers
    layers: Sequence[RegionLayer]
    directed: bool = True
    caption: str = ""
    files: tuple[tuple[str, str], ...] = ()

    @property
    def width(self) -> int:
        """Pixels of all views beside each other."""
        return 2 * WIDTH

    @property
    def height(self) -> int:
        """Pixels of all views above each other."""
        return 2 * (HEIGHT + 20)

    @property
    def titles(self) -> str:
        """The views in words."""
        return ", ".join(f"{side} hemisphere {view}" for side, view in _VIEWS)

    @property
    def data(self) -> str:
        """The view as JSON: pictures of region numbers and of brightness, deflated."""
        regions, shade, places = lay_out(self.regions)
        layers = [
            {"name": one.name, "title": one.title, "signed": one.signed,
             "limit": _find_limit(one),
             "values": [None if not np.isfinite(x) else float(f"{x:.3g}") for x in one.values]}
            for one in self.layers
        ]  # fmt: skip
        content = {
            "labels": list(self.labels), "networks": list(self.networks), "views": places,
            "directed": self.directed, "regions": deflate_codes(regions.ravel()),
            "shade": deflate_bytes(shade.ravel()), "layers": layers,
        }  # fmt: skip
        return json.dumps(content, allow_nan=False).replace("<", "\\u003c")


def lay_out(regions: Numbers) -> tuple[Numbers, NDArray[np.uint8], list[tuple[str, int, int]]]:
    """Return the region and the brightness of each pixel of all views, and where their names go.

    Parameters
    ----------
    regions
        Region of each vertex of both hemispheres, from 1; 0 where there is none.

    Raises
    ------
    ReportError
        There is no mesh with so many vertices.
    """
    mesh = find_mesh(len(regions) // 2)
    if mesh is None:
        raise ReportError(
            f"No mesh of {len(regions) // 2} vertices per hemisphere is at hand to draw on."
        )
    height = HEIGHT + 20
    picture = np.zeros((2 * height, 2 * WIDTH), dtype=np.int64)
    shade = np.zeros(picture.shape, dtype=np.uint8)
    places = []
    for number, (side, view) in enumerate(_VIEWS):
        row, column = divmod(number, 2)
        viewed = view_mesh(mesh, side, view)
        first = mesh.n_vertices * SIDES.index(side)
        found = np.where(viewed.vertices >= 0, regions[first + viewed.vertices], 0)
        where = np.s_[
            row * height + 20 : (row + 1) * height, column * WIDTH : (column + 1) * WIDTH
        ]
        picture[where], shade[where] = found, viewed.shade
        places.append((f"{side}, {view}", column * WIDTH + WIDTH // 2, row * height + 15))
    return picture, shade, places


def _find_limit(layer: RegionLayer) -> float:
    if layer.limit is not None:
        return layer.limit
    finite = np.abs(layer.values[np.isfinite(layer.values)])
    return float(f"{float(finite.max(initial=0.0)) or 1.0:.3g}")


def draw_cortex(regions: Numbers, layer: RegionLayer) -> str:
    """Draw one value per region on the cortex, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    from npi_bids.plotting import SIGNED_COLOURS, UNSIGNED_COLOURS
    from npi_bids.reports.figures_signals import svg_text

    picture, shade, places = lay_out(regions)
    limit = _find_limit(layer)
    colours = mpl.colormaps[SIGNED_COLOURS if layer.signed else UNSIGNED_COLOURS]
    norm = mpl.colors.Normalize(-limit if layer.signed else 0.0, limit)
    values = np.append(np.nan, layer.values)[picture]
    pixels = np.where(np.isfinite(values)[..., None], colours(norm(values))[..., :3], 0.78)
    edges = (picture != np.roll(picture, 1, 0)) | (picture != np.roll(picture, 1, 1))
    pixels = (
        pixels * (shade / 255)[..., None] * np.where(edges & (picture > 0), 0.72, 1)[..., None]
    )
    pixels[shade == 0] = 1.0
    canvas = Canvas(figsize=(6.6, 5.0))
    axes = canvas.add_axes((0, 0, 0.88, 1))
    axes.imshow(pixels, interpolation="nearest")
    axes.axis("off")
    for name, x, y in places:
        axes.text(x, y, name, ha="center", fontsize=8)
    scale = mpl.cm.ScalarMappable(norm, colours)
    canvas.colorbar(scale, cax=canvas.add_axes((0.9, 0.2, 0.02, 0.6)))
    return svg_text(canvas)
