"""Figures of connectivity: interactive matrices, and connections on brains and of networks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure as Canvas

from npi_bids.assessment.settings import HIGH_FREQUENCY
from npi_bids.plotting import network_order
from npi_bids.records import Array
from npi_bids.reports.figures_brain import draw_named_connections, draw_on_brain
from npi_bids.reports.figures_signals import BLUE, ORANGE, make_canvas, svg_text
from npi_bids.reports.network_blocks import network_colours
from npi_bids.reports.packed_matrices import encode, pack

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Layer", "MatrixView", "draw_carpet", "draw_connectome", "draw_on_brain",
           "draw_spectrum", "keep_strongest"]  # fmt: skip

MOST_ARROWS = 15  # connections that a brain shows
_LEAST_NAMED = 0.05  # share of the rows of a carpet that a network needs for its name
_CARPET = mpl.colormaps["gray"].with_extremes(bad="#c05621")


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


def draw_connectome(
    matrix: Array, centres: Array, labels: Sequence[str] = (), number: int = MOST_ARROWS
) -> str:
    """Draw the strongest connections on a brain, with the names of their regions.

    Arrows point from source to target; connections that are the same in both directions are
    lines.

    Parameters
    ----------
    matrix
        Shape (n_regions, n_regions), indexed ``[source, target]``; NaN and 0 are not drawn.
    centres
        Shape (n_regions, 3) in mm.
    labels
        Names of the regions; without them, their numbers.
    number
        Connections that are drawn at most.
    """
    directed = not np.allclose(matrix, matrix.T, equal_nan=True)
    # A line stands for two equal entries.
    entries = keep_strongest(matrix, number if directed else 2 * number)
    names = labels or [str(region) for region in range(1, len(matrix) + 1)]
    return draw_named_connections(entries, centres, names, directed=directed)


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
    # Less than two decades have no powers of ten to write: 0.5, 1, 2 and 5 can be read.
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    return svg_text(canvas)


def draw_carpet(
    stages: Sequence[Sequence[Array]],
    displacement: Sequence[Array],
    left_out: Sequence[Array],
    tr: float,
    networks: Sequence[str] = (),
    threshold: float | None = None,
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
    networks
        Network of each region, by which regions are ordered; empty to keep their order.
    threshold
        Framewise displacement above which samples are censored (mm), or None.
    """
    fd, is_left_out = np.concatenate(list(displacement)), np.concatenate(list(left_out))
    time = tr * np.arange(len(fd))
    order = network_order(networks) if networks else list(range(stages[0][0].shape[1]))
    # Placed by hand: an automatic layout of images depends on what the process drew before.
    canvas = Canvas(figsize=(9.6, 6))
    motion, *carpets = canvas.subplots(3, 1, sharex=True, height_ratios=(1, 2.2, 2.2))
    canvas.subplots_adjust(left=0.12, right=0.9, top=0.98, bottom=0.09, hspace=0.16)
    motion.plot(time, fd, color=BLUE, linewidth=0.8)
    motion.fill_between(time, 0, 1, where=is_left_out > 0, transform=motion.get_xaxis_transform(),
                        color=ORANGE, alpha=0.3, linewidth=0, step="mid")  # fmt: skip
    if threshold is not None:
        motion.axhline(threshold, color=ORANGE, linestyle="--", linewidth=1)
    motion.set(ylabel="FD (mm)", ylim=(0, None))
    ends = np.cumsum([len(run) * tr for run in stages[0]])[:-1]
    for axes, runs, name in zip(carpets, stages, ("before", "after"), strict=True):
        signals = np.concatenate(list(runs)).T[order]
        image = axes.imshow(signals, aspect="auto", cmap=_CARPET, vmin=-2, vmax=2,
                            interpolation="nearest", extent=(0, time[-1] + tr, len(signals), 0),
                            )  # fmt: skip
        axes.set_title(f"{name} denoising", fontsize=9, loc="left")
        _mark_rows(axes, [networks[region] for region in order] if networks else [])
        for end in ends:
            axes.axvline(end, color=BLUE, linewidth=1)
    canvas.colorbar(image, cax=canvas.add_axes((0.92, 0.12, 0.012, 0.3)), label="SD")
    carpets[-1].set_xlabel("time (s)" + (", runs one after the other" if len(ends) else ""))
    return svg_text(canvas)


def _mark_rows(axes: Axes, ordered: Sequence[str]) -> None:
    """Write the networks beside the rows of a carpet, in their colours; no numbers of rows."""
    axes.set_yticks([])
    if not ordered:
        return
    starts = [row for row, name in enumerate(ordered) if row == 0 or name != ordered[row - 1]]
    colours = network_colours(ordered)
    for start, stop in zip(starts, [*starts[1:], len(ordered)], strict=True):
        name = ordered[start]
        axes.plot([-0.008, -0.008], [start, stop], color=colours[name], linewidth=5,
                  solid_capstyle="butt", transform=axes.get_yaxis_transform(), clip_on=False,
                  )  # fmt: skip
        if (stop - start) / len(ordered) > _LEAST_NAMED:
            axes.text(-0.016, (start + stop) / 2, name, fontsize=7, ha="right", va="center",
                      transform=axes.get_yaxis_transform())  # fmt: skip


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
