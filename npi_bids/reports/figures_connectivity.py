"""Figures of connectivity: interactive matrices, and connections on brains and of networks."""

from __future__ import annotations

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
from npi_bids.reports.figures_signals import BLUE, GREY, ORANGE, make_canvas, svg_text
from npi_bids.reports.packed_matrices import encode, pack

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

MOST_ARROWS = 60  # connections that a connectome shows
_MOST_NETWORKS = 24
_GAP = 0.02  # of the circle, between networks


def keep_strongest(matrix: Array, number: int = MOST_ARROWS) -> Array:
    """Keep the off-diagonal entries of largest absolute value; all others become 0.

    Entries that are not covered also become 0, since they cannot be drawn.
    """
    magnitude = np.abs(matrix)
    np.fill_diagonal(magnitude, np.nan)
    finite = np.sort(magnitude[np.isfinite(magnitude)])
    if not finite.size:
        return np.zeros_like(matrix)
    least = finite[-min(number, finite.size)]
    return np.where(np.isfinite(magnitude) & (magnitude >= least) & (magnitude > 0), matrix, 0.0)


def draw_on_brain(values: Array, centres: Array, *, signed: bool = True) -> str:
    """Draw one number per region on a glass brain, as dots at its centre.

    Parameters
    ----------
    values
        Shape (n_regions,); regions that are not covered (NaN) are left out.
    centres
        Shape (n_regions, 3) in mm.
    signed
        False for fractions, which range from 0 to 1.
    """
    from nilearn import plotting

    finite = np.isfinite(values) & np.isfinite(centres).all(axis=1)
    canvas = Canvas(figsize=(11, 2.6))
    if finite.any():
        limit = float(np.max(np.abs(values[finite]))) or 1.0
        plotting.plot_markers(
            values[finite], centres[finite], node_size=18,
            node_cmap="RdBu_r" if signed else "viridis", node_vmin=-limit if signed else 0.0,
            node_vmax=limit if signed else 1.0, figure=canvas, display_mode="lyrz", colorbar=True,
        )  # fmt: skip
    return svg_text(canvas)


def draw_on_surface(sides: dict[str, Array]) -> str:
    """Draw one number per vertex on fsaverage5, in lateral and medial view.

    Parameters
    ----------
    sides
        ``left`` and ``right``, shape (10242,); NaN is drawn grey.
    """
    from nilearn import datasets, plotting

    mesh = datasets.load_fsaverage("fsaverage5")["inflated"]
    finite = np.concatenate([values[np.isfinite(values)] for values in sides.values()])
    limit = float(np.max(np.abs(finite), initial=0.0)) or 1.0
    canvas = Canvas(figsize=(9, 2.6))
    panels = canvas.subplots(1, 4, subplot_kw={"projection": "3d"})
    canvas.subplots_adjust(left=0.01, right=0.88, top=0.92, bottom=0.02, wspace=0.02)
    views = [(side, view) for side in ("left", "right") for view in ("lateral", "medial")]
    for axes, (side, view) in zip(panels, views, strict=True):
        plotting.plot_surf(
            mesh.parts[side], sides[side], hemi=side, view=view, cmap="RdBu_r", vmin=-limit,
            vmax=limit, axes=axes, figure=canvas, colorbar=False, engine="matplotlib",
        )  # fmt: skip
        for surface in axes.collections:
            surface.set_rasterized(True)  # twenty thousand triangles are too many for vectors
        axes.set_title(f"{side}, {view}", fontsize=8)
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(-limit, limit), mpl.colormaps["RdBu_r"])
    canvas.colorbar(scale, cax=canvas.add_axes((0.91, 0.15, 0.012, 0.7)))
    return svg_text(canvas)


def draw_connectome(matrix: Array, centres: Array, number: int = MOST_ARROWS) -> str:
    """Draw the strongest connections on a glass brain; arrows point from source to target."""
    from nilearn import plotting

    entries = keep_strongest(matrix, number)
    placed = np.isfinite(centres).all(axis=1)
    canvas = Canvas(figsize=(11, 2.6))
    inside = np.ix_(placed, placed)
    limit = float(np.max(np.abs(entries))) or 1.0
    with warnings.catch_warnings():
        # The warning says that an asymmetric matrix is drawn as a directed graph, as intended.
        warnings.filterwarnings("ignore", message="'adjacency_matrix' is not symmetric")
        plotting.plot_connectome(
            entries[inside], centres[placed], node_size=8, node_color="#4a5568", figure=canvas,
            display_mode="lyrz", colorbar=True, edge_vmin=-limit, edge_vmax=limit,
            edge_cmap="RdBu_r",
        )  # fmt: skip
    return svg_text(canvas)


def draw_chord(flow: Array, names: Sequence[str], *, directed: bool = True) -> str | None:
    """Draw connections between networks as ribbons in a circle; None if there are too many.

    Parameters
    ----------
    flow
        Shape (n_networks, n_networks), indexed ``[source, target]``, not negative; the diagonal
        is left out. A ribbon has the colour of its source, is as wide as the flow at both ends,
        and ends short of the circle at its target.
    names
        Names of the networks.
    directed
        If False, there is one grey ribbon for each pair of networks, with the same ends.
    """
    n = len(names)
    sizes = np.where(np.isfinite(flow), flow, 0.0)
    np.fill_diagonal(sizes, 0.0)
    if not directed:
        sizes = np.triu(sizes + sizes.T)
    total = float(sizes.sum())
    if not 2 <= n <= _MOST_NETWORKS or total <= 0:
        return None
    canvas, (axes,) = make_canvas(6.2, 5.6)
    share = (sizes.sum(axis=1) + sizes.sum(axis=0)) / (2 * total) * (1 - n * _GAP)
    starts = np.concatenate([[0.0], np.cumsum(share + _GAP)])[:-1]
    colours = [mpl.colormaps["tab20"](network % 20) for network in range(n)]
    scale = (1 - n * _GAP) / (2 * total)
    cursor = starts.copy()
    for source in range(n):
        for target in range(n):
            width = sizes[source, target] * scale
            if width > 0:
                a, b = cursor[source], cursor[target] + (width if source == target else 0)
                cursor[source] += width
                cursor[target] += width
                colour, radius = (colours[source], 0.9) if directed else (GREY, 0.99)
                _draw_ribbon(axes, (a, a + width), (b, b + width), colour, radius)
    for network, name in enumerate(names):
        ends = 90 - 360 * (starts[network] + share[network]), 90 - 360 * starts[network]
        axes.add_patch(Wedge((0, 0), 1.06, *ends, width=0.06, color=colours[network]))
        _write_name(axes, (starts[network] + share[network] / 2), name)
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.35, 1.35), aspect="equal")
    axes.axis("off")
    return svg_text(canvas)


def _point_on_circle(fraction: float, radius: float) -> tuple[float, float]:
    angle = np.pi / 2 - 2 * np.pi * fraction
    return radius * float(np.cos(angle)), radius * float(np.sin(angle))


def _points_on_arc(start: float, stop: float, radius: float) -> list[tuple[float, float]]:
    steps = max(2, int(abs(stop - start) * 120))
    return [_point_on_circle(fraction, radius) for fraction in np.linspace(start, stop, steps)]


def _draw_ribbon(
    axes: Axes,
    sent: tuple[float, float],
    received: tuple[float, float],
    colour: ColorType,
    radius: float,
) -> None:
    """Draw a ribbon from one arc of the circle to another, which it reaches at a radius."""
    out, back = _points_on_arc(*sent, 0.99), _points_on_arc(*received, radius)
    points = [*out, (0.0, 0.0), back[0], *back[1:], (0.0, 0.0), out[0]]
    codes = (
        [Path.MOVETO] + [Path.LINETO] * (len(out) - 1) + [Path.CURVE3, Path.CURVE3]
        + [Path.LINETO] * (len(back) - 1) + [Path.CURVE3, Path.CURVE3]
    )  # fmt: skip
    axes.add_patch(PathPatch(Path(points, codes), facecolor=colour, alpha=0.6, linewidth=0))


def _write_name(axes: Axes, fraction: float, name: str) -> None:
    x, y = _point_on_circle(fraction, 1.12)
    side = "left" if x > 0.05 else "right" if x < -0.05 else "center"
    axes.text(x, y, name, ha=side, va="center", fontsize=8)


def draw_spectrum(
    frequency: Array, power: Array, *, high_pass: float | None, low_pass: float | None
) -> str:
    """Draw the mean power spectrum of the regions, with the limits of the passband.

    Parameters
    ----------
    frequency, power
        Shape (n_frequencies,); in Hz, and share of the total power per Hz.
    high_pass, low_pass
        Cut-offs of the filters in Hz, or None.
    """
    canvas, (axes,) = make_canvas(5.6, 3.0)
    axes.plot(frequency, power, color=BLUE)
    for edge, label in (
        (high_pass, "high-pass"),
        (low_pass, "low-pass"),
        (HIGH_FREQUENCY, f"{HIGH_FREQUENCY:g} Hz"),
    ):
        if edge is not None and edge < frequency[-1]:
            axes.axvline(edge, color=ORANGE, linestyle="--", linewidth=1)
            axes.text(edge, axes.get_ylim()[1], f" {label}", fontsize=7, va="top")
    axes.set(xlabel="frequency (Hz)", ylabel="share of power per Hz", yscale="log")
    return svg_text(canvas)


def draw_carpet(
    stages: Sequence[Sequence[Array]],
    displacement: Sequence[Array],
    left_out: Sequence[Array],
    tr: float,
) -> str:
    """Draw the signals of all regions over time, with motion and the samples that were left out.

    Parameters
    ----------
    stages
        Signals of each run before and after cleaning, shape (n_samples, n_regions); a row of NaN
        is censored.
    displacement, left_out
        Framewise displacement of each sample in mm, and 1 where the sample was left out.
    tr
        Sampling period (s).
    """
    fd, is_left_out = np.concatenate(list(displacement)), np.concatenate(list(left_out))
    time = tr * np.arange(len(fd))
    # Placed by hand: an automatic layout of images depends on what the process drew before.
    canvas = Canvas(figsize=(9, 6))
    motion, *carpets = canvas.subplots(3, 1, sharex=True, height_ratios=(1, 2.2, 2.2))
    canvas.subplots_adjust(left=0.09, right=0.98, top=0.98, bottom=0.09, hspace=0.08)
    motion.plot(time, fd, color=BLUE, linewidth=0.8)
    motion.fill_between(time, 0, 1, where=is_left_out > 0, transform=motion.get_xaxis_transform(),
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
        Short name, and description.
    matrix
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    directed
        Whether rows and columns differ.
    signed
        False for a matrix that is never negative.
    limit
        End of the colour scale; if None, the 99th percentile off the diagonal.
    below
        Name of a detail and a limit, for a layer that shows the entries of the first layer whose
        detail is below the limit; its matrix is then not packed again.
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
    """Matrices of the same regions that a page shows together.

    Attributes
    ----------
    name
        Identifier of the element on the page.
    labels, networks
        Names and networks of the regions; networks may be empty.
    layers
        Matrices to choose from; the first one is displayed first.
    details
        Further matrices whose values are given for each entry, by name, such as ``q``; ``half``
        is half the width of the 95 % interval.
    unit
        Unit of the first layer.
    """

    name: str
    labels: Sequence[str]
    networks: Sequence[str]
    layers: Sequence[Layer]
    details: Mapping[str, Array]
    unit: str = ""

    @property
    def data(self) -> str:
        """The view as JSON; see :mod:`npi_bids.reports.packed_matrices`."""
        limits = {layer.below[0]: layer.below[1] for layer in self.layers if layer.below}
        bases = {
            number: encode(layer.matrix)
            for number, layer in enumerate(self.layers)
            if not layer.below
        }
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
                    "limit": colour_limit(layer),
                    **({"below": layer.below} if layer.below else pack(bases[number])),
                }
                for number, layer in enumerate(self.layers)
            ],
            "details": {
                name: pack(encode(matrix, limits.get(name)), bases)
                for name, matrix in self.details.items()
            },
        }
        return json.dumps(content, allow_nan=False).replace("<", "\\u003c")


def colour_limit(layer: Layer) -> float:
    """Return the limit of the colour scale of a layer."""
    if layer.limit is not None:
        return layer.limit
    off = np.abs(layer.matrix[~np.eye(len(layer.matrix), dtype=bool)])
    finite = off[np.isfinite(off)]
    return float(np.percentile(finite, 99)) or 1.0 if finite.size else 1.0
