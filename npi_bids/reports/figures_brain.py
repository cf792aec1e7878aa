"""Points and connections on the outline of a brain, with the names of regions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import FancyArrowPatch

from npi_bids.parcellation.fsaverage import read_mesh
from npi_bids.parcellation.meshes import SIDES
from npi_bids.plotting import SIGNED_COLOURS, UNSIGNED_COLOURS
from npi_bids.records import Array, Mask
from npi_bids.reports.figures_signals import GREY, svg_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Views of a brain: name, the axes (of x, y, z) to the right and upwards, and the sign of the
# former; a side shows the regions of its hemisphere alone.
_VIEWS = {"left": (1, 2, -1.0), "above": (0, 1, 1.0), "right": (1, 2, 1.0)}
_MIDLINE = 5.0  # mm within which a region is shown on both sides
_WIDEST, _NARROWEST = 3.2, 0.8  # points, of arrows
_GAP = 7.0  # mm between the names beside a brain


def draw_on_brain(values: Array, centres: Array, *, signed: bool = True) -> str:
    """Draw one number per region as points on the outline of a brain.

    Parameters
    ----------
    values
        Shape (n_regions,); regions that are not covered (NaN) are left out.
    centres
        Shape (n_regions, 3) in mm.
    signed
        False for fractions, which range from 0 to 1.
    """
    finite = np.isfinite(values) & np.isfinite(centres).all(axis=1)
    limit = (float(np.max(np.abs(values[finite]), initial=0.0)) or 1.0) if signed else 1.0
    norm = mpl.colors.Normalize(-limit if signed else 0.0, limit)
    colours = mpl.colormaps[SIGNED_COLOURS if signed else UNSIGNED_COLOURS]
    canvas = Canvas(figsize=(9.6, 2.7))
    panels = canvas.subplots(1, 3, width_ratios=(1.2, 1, 1.2))
    canvas.subplots_adjust(left=0.01, right=0.9, top=0.92, bottom=0.02, wspace=0.03)
    for axes, view in zip(panels, _VIEWS, strict=True):
        _draw_outline(axes, view)
        shown = finite & _is_shown(centres, view)
        points = _project(centres[shown], view)
        axes.scatter(points[:, 0], points[:, 1], c=values[shown], cmap=colours, norm=norm, s=34,
                     edgecolors="#1a202c", linewidths=0.4, zorder=3)  # fmt: skip
    scale = mpl.cm.ScalarMappable(norm, colours)
    canvas.colorbar(scale, cax=canvas.add_axes((0.93, 0.15, 0.012, 0.7)))
    return svg_text(canvas)


def draw_named_connections(
    entries: Array, centres: Array, labels: Sequence[str], *, directed: bool
) -> str:
    """Draw connections on a brain seen from above, with the names of their regions beside it.

    Parameters
    ----------
    entries
        Shape (n_regions, n_regions), indexed ``[source, target]``; 0 is not drawn.
    centres
        Shape (n_regions, 3) in mm.
    labels
        Names of the regions.
    directed
        Whether to draw arrows from source to target, or one line per pair.
    """
    sources, targets = np.nonzero(entries if directed else np.triu(entries, 1))
    limit = float(np.max(np.abs(entries), initial=0.0)) or 1.0
    canvas = Canvas(figsize=(7.6, 4.6))
    axes = canvas.add_axes((0.0, 0.0, 1.0, 1.0))
    _draw_outline(axes, "above")
    points = _project(centres, "above")
    named = np.unique(np.concatenate([sources, targets]))
    placed = named[np.isfinite(points[named]).all(axis=1)]
    colours = mpl.colormaps[SIGNED_COLOURS]
    order = np.argsort(np.abs(entries[sources, targets]))
    for source, target in zip(sources[order].tolist(), targets[order].tolist(), strict=True):
        value = entries[source, target]
        share = abs(value) / limit
        if np.isfinite(points[[source, target]]).all():
            axes.add_patch(FancyArrowPatch(
                points[source], points[target], connectionstyle="arc3,rad=0.18",
                arrowstyle="-|>" if directed else "-", mutation_scale=6 + 6 * share,
                linewidth=_NARROWEST + (_WIDEST - _NARROWEST) * share, shrinkA=4, shrinkB=4,
                color=colours(0.9 if value > 0 else 0.1), alpha=0.85, zorder=2,
            ))  # fmt: skip
    axes.scatter(points[placed, 0], points[placed, 1], s=26, color="#1a202c", zorder=3)
    for is_left in (True, False):
        side = placed[(points[placed, 0] < 0) == is_left]
        _write_names(axes, points[side], [labels[region] for region in side], is_left=is_left)
    axes.set(xlim=(-165, 165), ylim=(-114, 82))
    return svg_text(canvas)


def _write_names(axes: Axes, points: Array, names: Sequence[str], *, is_left: bool) -> None:
    """Write names in a column beside the brain, in order of height, with lines to their points."""
    order = np.argsort(-points[:, 1])
    heights = points[order, 1]
    # Names keep a distance: first all are pushed down, then the column is centred again.
    placed = heights.copy()
    for row in range(1, len(placed)):
        placed[row] = min(placed[row], placed[row - 1] - _GAP)
    placed += (heights.mean() - placed.mean()) if len(placed) else 0.0
    edge = -84.0 if is_left else 84.0
    for row, height in zip(order.tolist(), placed.tolist(), strict=True):
        axes.plot([points[row, 0], edge], [points[row, 1], height], color=GREY, linewidth=0.5,
                  zorder=1)  # fmt: skip
        axes.text(edge + (-2 if is_left else 2), height, names[row], fontsize=8.5, va="center",
                  ha="right" if is_left else "left")  # fmt: skip


def _draw_outline(axes: Axes, view: str) -> None:
    """Draw the brain as a grey shape."""
    image, extent = _outline(view)
    axes.imshow(image, extent=extent, cmap="Greys", vmin=0, vmax=4, origin="lower",
                interpolation="bilinear", zorder=0)  # fmt: skip
    axes.set(aspect="equal")
    axes.axis("off")
    axes.set_title({"above": "from above"}.get(view, view), fontsize=8)


@lru_cache(maxsize=4)
def _outline(view: str) -> tuple[Array, tuple[float, float, float, float]]:
    """Return the shape of the pial surface as an image, and its extent in mm."""
    across, up, sign = _VIEWS[view]
    sides = SIDES if view == "above" else (view,)
    points = np.concatenate([read_mesh("pial", side)[0] for side in sides])
    x, y = sign * points[:, across], points[:, up]
    low, high = (x.min() - 3, y.min() - 3), (x.max() + 3, y.max() + 3)
    counts, _, _ = np.histogram2d(x, y, bins=90, range=[(low[0], high[0]), (low[1], high[1])])
    from scipy.ndimage import binary_closing, gaussian_filter

    shape = binary_closing(np.pad(counts > 0, 4), iterations=3)[4:-4, 4:-4].astype(float)
    relief = gaussian_filter(counts, 1.0)
    image = shape * (0.7 + 0.5 * relief / max(relief.max(), 1e-9))
    return np.where(shape > 0, image, 0.0).T, (low[0], high[0], low[1], high[1])


def _project(points: Array, view: str) -> Array:
    across, up, sign = _VIEWS[view]
    return np.column_stack([sign * points[:, across], points[:, up]])


def _is_shown(centres: Array, view: str) -> Mask:
    if view == "above":
        return np.ones(len(centres), dtype=bool)
    return np.asarray(centres[:, 0] <= _MIDLINE if view == "left" else centres[:, 0] >= -_MIDLINE)
