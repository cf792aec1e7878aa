"""Figures of connectivity: matrices to read, connections on the brain and between networks."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import PathPatch, Wedge
from matplotlib.path import Path

from npi_bids.plotting import network_order
from npi_bids.records import HIGH_FREQUENCY, Array
from npi_bids.reports.figures_signals import BLUE, ORANGE, make_canvas, svg_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

MOST_ARROWS = 60  # connections that a connectome shows
_MOST_NETWORKS = 24
_GAP = 0.02  # of the circle, between networks
_MOST = 32767  # the largest number of 16 bits; what is missing is one below its negative
_MISSING = -32768


def strongest(matrix: Array, number: int = MOST_ARROWS) -> Array:
    """Return the strongest entries off the diagonal, in size; all others are 0.

    What is not covered is 0 here, as it is no connection that could be drawn.
    """
    size = np.abs(matrix)
    np.fill_diagonal(size, np.nan)
    known = np.sort(size[np.isfinite(size)])
    if not known.size:
        return np.zeros_like(matrix)
    least = known[-min(number, known.size)]
    return np.where(np.isfinite(size) & (size >= least) & (size > 0), matrix, 0.0)


def draw_on_brain(values: Array, centres: Array, *, signed: bool = True) -> str:
    """Draw one number per region on a glass brain, as dots at its centre.

    Parameters
    ----------
    values
        Shape (n_regions,); regions that are not covered (NaN) are left out.
    centres
        Shape (n_regions, 3) in mm.
    signed
        False for shares, which go from 0 to 1.
    """
    from nilearn import plotting

    known = np.isfinite(values) & np.isfinite(centres).all(axis=1)
    canvas = Canvas(figsize=(11, 2.6))
    if known.any():
        limit = float(np.max(np.abs(values[known]))) or 1.0
        plotting.plot_markers(
            values[known], centres[known], node_size=18,
            node_cmap="RdBu_r" if signed else "viridis", node_vmin=-limit if signed else 0.0,
            node_vmax=limit if signed else 1.0, figure=canvas, display_mode="lyrz", colorbar=True,
        )  # fmt: skip
    return svg_text(canvas)


def draw_on_surface(sides: dict[str, Array]) -> str:
    """Draw one number per vertex on fsaverage5, from outside and from inside.

    Parameters
    ----------
    sides
        ``left`` and ``right``, shape (10242,); NaN is drawn grey.
    """
    from nilearn import datasets, plotting

    mesh = datasets.load_fsaverage("fsaverage5")["inflated"]
    known = np.concatenate([values[np.isfinite(values)] for values in sides.values()])
    limit = float(np.max(np.abs(known), initial=0.0)) or 1.0
    canvas = Canvas(figsize=(9, 2.6))
    panels = canvas.subplots(1, 4, subplot_kw={"projection": "3d"})
    canvas.subplots_adjust(left=0.01, right=0.88, top=0.92, bottom=0.02, wspace=0.02)
    views = [(side, view) for side in ("left", "right") for view in ("lateral", "medial")]
    for axes, (side, view) in zip(panels, views, strict=True):
        plotting.plot_surf(
            mesh.parts[side], sides[side], hemi=side, view=view, cmap="RdBu_r", vmin=-limit,
            vmax=limit, axes=axes, figure=canvas, colorbar=False, engine="matplotlib",
        )  # fmt: skip
        for drawn in axes.collections:
            drawn.set_rasterized(True)  # twenty thousand triangles are no vector figure
        axes.set_title(f"{side}, {view}", fontsize=8)
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(-limit, limit), mpl.colormaps["RdBu_r"])
    canvas.colorbar(scale, cax=canvas.add_axes((0.91, 0.15, 0.012, 0.7)))
    return svg_text(canvas)


def draw_connectome(matrix: Array, centres: Array, number: int = MOST_ARROWS) -> str:
    """Draw the strongest connections on a glass brain; arrows point from source to target."""
    from nilearn import plotting

    shown = strongest(matrix, number)
    placed = np.isfinite(centres).all(axis=1)
    canvas = Canvas(figsize=(11, 2.6))
    inside = np.ix_(placed, placed)
    limit = float(np.max(np.abs(shown))) or 1.0
    with warnings.catch_warnings():
        # It says that a matrix which is not symmetric is drawn as a directed graph: as wanted.
        warnings.filterwarnings("ignore", message="'adjacency_matrix' is not symmetric")
        plotting.plot_connectome(
            shown[inside], centres[placed], node_size=8, node_color="#4a5568", figure=canvas,
            display_mode="lyrz", colorbar=True, edge_vmin=-limit, edge_vmax=limit,
            edge_cmap="RdBu_r",
        )  # fmt: skip
    return svg_text(canvas)


def draw_chord(flow: Array, names: Sequence[str]) -> str | None:
    """Draw what networks send each other as ribbons in a circle; None where they are too many.

    Parameters
    ----------
    flow
        Shape (n_networks, n_networks), indexed ``[source, target]``, not negative; the diagonal
        is left out. A ribbon has the colour of its source, is as wide as the flow at both ends,
        and ends short of the circle at its target.
    names
        Of the networks.
    """
    n = len(names)
    sizes = np.where(np.isfinite(flow), flow, 0.0)
    np.fill_diagonal(sizes, 0.0)
    total = float(sizes.sum())
    if not 2 <= n <= _MOST_NETWORKS or total <= 0:
        return None
    canvas, (axes,) = make_canvas(6.2, 5.6)
    share = (sizes.sum(axis=1) + sizes.sum(axis=0)) / (2 * total) * (1 - n * _GAP)
    starts = np.concatenate([[0.0], np.cumsum(share + _GAP)])[:-1]
    colours = [mpl.colormaps["tab20"](place % 20) for place in range(n)]
    scale = (1 - n * _GAP) / (2 * total)
    cursor = starts.copy()
    for source in range(n):
        for target in range(n):
            width = sizes[source, target] * scale
            if width > 0:
                a, b = cursor[source], cursor[target] + (width if source == target else 0)
                cursor[source] += width
                cursor[target] += width
                _ribbon(axes, (a, a + width), (b, b + width), colours[source])
    for place, name in enumerate(names):
        ends = 90 - 360 * (starts[place] + share[place]), 90 - 360 * starts[place]
        axes.add_patch(Wedge((0, 0), 1.06, *ends, width=0.06, color=colours[place]))
        _name(axes, (starts[place] + share[place] / 2), name)
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.35, 1.35), aspect="equal")
    axes.axis("off")
    return svg_text(canvas)


def _point(place: float, radius: float) -> tuple[float, float]:
    angle = np.pi / 2 - 2 * np.pi * place
    return radius * float(np.cos(angle)), radius * float(np.sin(angle))


def _arc(start: float, stop: float, radius: float) -> list[tuple[float, float]]:
    steps = max(2, int(abs(stop - start) * 120))
    return [_point(place, radius) for place in np.linspace(start, stop, steps)]


def _ribbon(
    axes: Axes, sent: tuple[float, float], received: tuple[float, float], colour: ColorType
) -> None:
    """Draw a ribbon from one stretch of the circle to another, which it does not quite reach."""
    out, back = _arc(*sent, 0.99), _arc(*received, 0.9)
    points = [*out, (0.0, 0.0), back[0], *back[1:], (0.0, 0.0), out[0]]
    codes = (
        [Path.MOVETO] + [Path.LINETO] * (len(out) - 1) + [Path.CURVE3, Path.CURVE3]
        + [Path.LINETO] * (len(back) - 1) + [Path.CURVE3, Path.CURVE3]
    )  # fmt: skip
    axes.add_patch(PathPatch(Path(points, codes), facecolor=colour, alpha=0.6, linewidth=0))


def _name(axes: Axes, place: float, name: str) -> None:
    x, y = _point(place, 1.12)
    side = "left" if x > 0.05 else "right" if x < -0.05 else "center"
    axes.text(x, y, name, ha=side, va="center", fontsize=8)


def draw_spectrum(
    frequency: Array, power: Array, *, high_pass: float | None, low_pass: float | None
) -> str:
    """Draw the mean power spectrum of the regions, with the ends of what was kept.

    Parameters
    ----------
    frequency, power
        Shape (n_frequencies,); in Hz, and as a share of all power per Hz.
    high_pass, low_pass
        Hz, or None.
    """
    canvas, (axes,) = make_canvas(5.6, 3.0)
    axes.plot(frequency, power, color=BLUE)
    for edge, words in (
        (high_pass, "high-pass"),
        (low_pass, "low-pass"),
        (HIGH_FREQUENCY, f"{HIGH_FREQUENCY:g} Hz"),
    ):
        if edge is not None and edge < frequency[-1]:
            axes.axvline(edge, color=ORANGE, linestyle="--", linewidth=1)
            axes.text(edge, axes.get_ylim()[1], f" {words}", fontsize=7, va="top")
    axes.set(xlabel="frequency (Hz)", ylabel="share of power per Hz", yscale="log")
    return svg_text(canvas)


def draw_carpet(
    stages: Sequence[Sequence[Array]],
    displacement: Sequence[Array],
    left_out: Sequence[Array],
    tr: float,
) -> str:
    """Draw the signals of all regions over time, with motion and what was left out.

    Parameters
    ----------
    stages
        Before cleaning and after it: signals of each run, shape (n_samples, n_regions); a row of
        NaN is censored.
    displacement, left_out
        Of each sample: framewise displacement in mm, and 1 where it was left out.
    tr
        Sampling period (s).
    """
    moved, gone = np.concatenate(list(displacement)), np.concatenate(list(left_out))
    time = tr * np.arange(len(moved))
    # Placed by hand: an automatic layout of images differs by what a process drew before.
    canvas = Canvas(figsize=(9, 6))
    motion, *carpets = canvas.subplots(3, 1, sharex=True, height_ratios=(1, 2.2, 2.2))
    canvas.subplots_adjust(left=0.09, right=0.98, top=0.98, bottom=0.09, hspace=0.08)
    motion.plot(time, moved, color=BLUE, linewidth=0.8)
    motion.fill_between(time, 0, 1, where=gone > 0, transform=motion.get_xaxis_transform(),
                        color=ORANGE, alpha=0.3, linewidth=0, step="mid")  # fmt: skip
    motion.set_ylabel("FD (mm)")
    colours = mpl.colormaps["gray"].with_extremes(bad="#c05621")
    ends = np.cumsum([len(run) * tr for run in stages[0]])[:-1]
    for axes, runs, name in zip(carpets, stages, ("before", "after"), strict=True):
        signals = np.concatenate(list(runs)).T
        axes.imshow(signals, aspect="auto", cmap=colours, vmin=-2, vmax=2,
                    interpolation="nearest", extent=(0, time[-1] + tr, len(signals), 0),
                    )  # fmt: skip
        axes.set_ylabel(f"region, {name}")
        for end in ends:
            axes.axvline(end, color=BLUE, linewidth=1)
    carpets[-1].set_xlabel("time (s), runs one after the other")
    return svg_text(canvas)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One matrix of a view.

    Attributes
    ----------
    name, title
        Short name and what it is, for people.
    matrix
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    directed
        Whether rows and columns differ.
    signed
        False for what is never negative.
    limit
        End of the colour scale; the 99th percentile off the diagonal where None.
    below
        Where the matrix is that of the first layer, but for entries whose detail of that name is
        not below a limit: name and limit. It is then not packed again.
    """

    name: str
    title: str
    matrix: Array
    directed: bool = True
    signed: bool = True
    limit: float | None = None
    below: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MatrixView:
    """Matrices of the same regions that a page shows one beside the other.

    Attributes
    ----------
    name
        Of the element on the page.
    labels, networks
        Of the regions; networks may be empty.
    layers
        What can be looked at, the first one first.
    details
        Further matrices that are told of each entry, by their names, such as ``q``; ``half`` is
        half of the width of the 95 % interval.
    unit
        Of the first layer.
    """

    name: str
    labels: Sequence[str]
    networks: Sequence[str]
    layers: Sequence[Layer]
    details: Mapping[str, Array]
    unit: str = ""

    @property
    def data(self) -> str:
        """JSON of all of it; matrices are little-endian whole numbers of 16 bits in base64."""
        content = {
            "labels": list(self.labels),
            "networks": list(self.networks),
            "order": network_order(self.networks) if self.networks else [],
            "unit": self.unit,
            "layers": [
                {
                    "name": layer.name,
                    "title": layer.title,
                    "directed": layer.directed,
                    "signed": layer.signed,
                    "limit": limit_of(layer),
                    **({"below": layer.below} if layer.below else pack(layer.matrix)),
                }
                for layer in self.layers
            ],
            "details": {name: pack(matrix) for name, matrix in self.details.items()},
        }
        return json.dumps(content, allow_nan=False).replace("<", "\\u003c")


def limit_of(layer: Layer) -> float:
    """Return where the colours of a layer end."""
    if layer.limit is not None:
        return layer.limit
    off = np.abs(layer.matrix[~np.eye(len(layer.matrix), dtype=bool)])
    known = off[np.isfinite(off)]
    return float(np.percentile(known, 99)) or 1.0 if known.size else 1.0


def pack(matrix: Array) -> dict[str, object]:
    """Return a matrix as whole numbers of 16 bits, and what to multiply them by.

    >>> packed = pack(np.array([[0.0, 2.0], [np.nan, -1.0]]))
    >>> unpack(packed, 2).round(3).tolist()
    [[0.0, 2.0], [nan, -1.0]]
    """
    known = np.isfinite(matrix)
    most = float(np.max(np.abs(matrix[known]), initial=0.0))
    step = most / _MOST if most > 0 else 1.0
    whole = np.where(known, np.rint(np.where(known, matrix, 0.0) / step), _MISSING)
    return {"step": step, "values": base64.b64encode(whole.astype("<i2").tobytes()).decode()}


def unpack(packed: Mapping[str, object], n_regions: int) -> Array:
    """Return the matrix that :func:`pack` packed."""
    whole = np.frombuffer(base64.b64decode(str(packed["values"])), dtype="<i2").astype(np.float64)
    step = float(packed["step"])  # type: ignore[arg-type]
    matrix: Array = np.where(whole == _MISSING, np.nan, whole * step)
    return matrix.reshape(n_regions, n_regions)
