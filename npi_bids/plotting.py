"""Matrices drawn with matplotlib, on the axes of a report or of a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from npi_bids.matrices import off_diagonal
from npi_bids.records import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Blue to red through white, safe for colour-blind readers; regions not covered are grey.
SIGNED_COLOURS, UNSIGNED_COLOURS, NOT_COVERED = "RdBu_r", "viridis", "#d5dae0"
# Percentile of the absolute entries at which the colour scale ends, so that a few strong
# connections do not hide the others.
_SCALE_PERCENTILE = 99
_MOST_NETWORK_NAMES = 24
_MOST_REGION_NAMES = 30


def network_order(networks: Sequence[str]) -> list[int]:
    """Return the order of regions by network, networks in the order of their first region."""
    first = {name: number for number, name in reversed(list(enumerate(networks)))}
    return sorted(range(len(networks)), key=lambda region: (first[networks[region]], region))


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixStyle:
    """How a matrix is drawn.

    Attributes
    ----------
    title
        Title above the matrix.
    directed
        Whether to name the axes source and target.
    signed
        False for values that are never negative, whose scale begins at 0.
    limit
        End of the colour scale; if None, the 99th percentile of the absolute entries off the
        diagonal.
    """

    title: str
    directed: bool = True
    signed: bool = True
    limit: float | None = None


def plot_matrix(
    axes: Axes,
    matrix: Array,
    style: MatrixStyle,
    networks: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> Axes:
    """Draw a matrix with rows as sources and columns as targets.

    Parameters
    ----------
    axes
        Matplotlib axes to draw on.
    matrix
        Shape (n_regions, n_regions), indexed ``[source, target]``; NaN is drawn grey.
    style
        Title, labels of the axes and colour scale.
    networks
        Network of each region, by which regions are ordered; empty to keep their order.
    labels
        Region names, written along the axes, instead of those of networks, where there are few.

    Returns
    -------
    Axes
        The same axes.
    """
    import matplotlib as mpl

    order = network_order(networks) if networks else list(range(len(matrix)))
    ordered, limit = _order_matrix(matrix, order, style)
    colours = mpl.colormaps[SIGNED_COLOURS if style.signed else UNSIGNED_COLOURS]
    colours = colours.with_extremes(bad=NOT_COVERED)
    low, extend = (-limit, "both") if style.signed else (0.0, "max")
    image = axes.imshow(ordered, cmap=colours, vmin=low, vmax=limit, interpolation="nearest")
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, extend=extend)
    bar.ax.tick_params(labelsize=8)
    _name_axes(axes, style)
    _mark_networks(axes, [networks[region] for region in order] if networks else [])
    if 0 < len(labels) <= _MOST_REGION_NAMES:
        names = [labels[region] for region in order]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
    return axes


def replace_matrix(
    axes: Axes, matrix: Array, style: MatrixStyle, networks: Sequence[str] = ()
) -> None:
    """Draw another matrix of the same regions on the axes of :func:`plot_matrix`.

    Its values have signs like those of the first. This takes half of the time, since axes, ticks
    and names of networks are kept.
    """
    order = network_order(networks) if networks else list(range(len(matrix)))
    ordered, limit = _order_matrix(matrix, order, style)
    (image,) = axes.images
    image.set_data(ordered)
    image.set_clim(-limit if style.signed else 0.0, limit)
    _name_axes(axes, style)


def _order_matrix(matrix: Array, order: list[int], style: MatrixStyle) -> tuple[Array, float]:
    """Return a matrix in an order of regions, without diagonal, and the end of its colours."""
    ordered = matrix[np.ix_(order, order)].copy()
    np.fill_diagonal(ordered, np.nan)
    limit = style.limit
    if limit is None:
        entries = np.abs(off_diagonal(ordered))
        has_entries = np.isfinite(entries).any()
        limit = float(np.nanpercentile(entries, _SCALE_PERCENTILE)) if has_entries else 1.0
    return ordered, limit or 1.0


def _name_axes(axes: Axes, style: MatrixStyle) -> None:
    axes.set_title(style.title, fontsize=11)
    axes.set_xlabel("target" if style.directed else "region")
    axes.set_ylabel("source" if style.directed else "region")


def _mark_networks(axes: Axes, ordered: Sequence[str]) -> None:
    """Draw lines between networks, and name them along both axes where there are few."""
    starts = [n for n, name in enumerate(ordered) if n == 0 or name != ordered[n - 1]]
    for start in starts[1:]:
        axes.axhline(start - 0.5, color="black", linewidth=0.3)
        axes.axvline(start - 0.5, color="black", linewidth=0.3)
    if not starts or len(starts) > _MOST_NETWORK_NAMES:
        return
    middles = [(a + b - 1) / 2 for a, b in zip(starts, [*starts[1:], len(ordered)], strict=True)]
    names = [ordered[start] for start in starts]
    axes.set_xticks(middles, names, rotation=90, fontsize=7)
    axes.set_yticks(middles, names, fontsize=7)
    axes.tick_params(length=0)
