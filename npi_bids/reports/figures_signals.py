"""Figures of signals and of fitted models; each returns one SVG with its fonts as outlines."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from npi_bids.plotting import MatrixStyle, plot_matrix, replace_matrix
from npi_bids.records import INTERVAL_QUANTILE, Array
from npi_bids.reports.palette_images import insert_images, palette_images
from npi_bids.whole_brain.settings import GOOD_FC

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#2b6cb0", "#c05621", "#9aa5b1"
_DPI = 150  # of images within figures
_EDGE = 4.2  # hundredths of an inch around a panel, as in matplotlib's layouts
_OUTLINE, _LONG = re.compile(r' d="[^"]*"'), re.compile(r"(\.\d\d)\d+")


def draw_shares(shares: Array) -> str:
    """Draw the share of each subject's shrunken map that is its own, in order of size.

    Parameters
    ----------
    shares
        Shape (n_subjects,); NaN is not drawn.
    """
    ordered = np.sort(shares[np.isfinite(shares)])[::-1]
    canvas, axes = _canvas(4.2, 1.8)
    axes.bar(np.arange(1, len(ordered) + 1), 100 * ordered, color=BLUE)
    axes.set(xlabel="subject, in order of size", ylabel="own share (%)", ylim=(0, 100))
    return svg_text(canvas)


def draw_reliability(n_subjects: int, sizes: Array, curves: Mapping[str, Array]) -> str:
    """Draw the reliability of mean maps against the number of subjects, with that of the group.

    Parameters
    ----------
    n_subjects
        Number of subjects of the group, marked by a line and points.
    sizes
        Shape (n_sizes,); numbers of subjects, in order.
    curves
        Reliability of each part of the map at these sizes, by the name of the part.
    """
    canvas, axes = _canvas(4.2, 2.6)
    axes.axvline(n_subjects, color=GREY, linestyle="--", linewidth=1)
    for colour, (name, curve) in zip((BLUE, GREY, ORANGE), curves.items(), strict=False):
        axes.plot(sizes, curve, color=colour, label=name)
        axes.plot(
            n_subjects, np.interp(n_subjects, sizes, curve), "o", color=colour, clip_on=False
        )
    axes.set(xlabel="number of subjects", ylabel="reliability", xlim=(0, sizes[-1]), ylim=(0, 1))
    axes.legend(fontsize=8, frameon=False)
    return svg_text(canvas)


def draw_matrix(
    matrix: Array,
    networks: Sequence[str],
    *,
    title: str,
    labels: Sequence[str] = (),
    directed: bool = True,
    limit: float | None = None,
) -> str:
    """Draw a matrix with rows as sources and columns as targets, ordered by network.

    Parameters
    ----------
    matrix
        Shape (n_regions, n_regions), indexed ``[source, target]``; NaN is drawn grey.
    networks
        Network of each region, or empty to keep the order of the atlas.
    title
        Title above the matrix.
    labels
        Region names, written along the axes where there are few.
    directed
        Whether to name the axes source and target.
    limit
        End of the colour scale; if None, the 99th percentile off the diagonal.
    """
    style = MatrixStyle(title=title, directed=directed, limit=limit)
    (svg,) = draw_matrices([(matrix, style)], networks, labels)
    return svg


def draw_matrices(
    matrices: Sequence[tuple[Array, MatrixStyle]], networks: Sequence[str], labels: Sequence[str]
) -> list[str]:
    """Draw several matrices of the same regions, one figure each, as :func:`draw_matrix` does."""
    # Placed by hand: an automatic layout draws everything twice.
    canvas = Canvas(figsize=(5.6, 5.0))
    axes = canvas.add_axes((0.2, 0.2, 0.62, 0.7))
    figures: list[str] = []
    for matrix, style in matrices:
        if figures:
            replace_matrix(axes, matrix, style, networks)
        else:
            plot_matrix(axes, matrix, style, networks, labels)
        figures.append(svg_text(canvas))
    return figures


def only_significant(matrix: Array, q: Array, limit: float) -> Array:
    """Return the entries of a map whose q is below a limit, the others NaN."""
    significant: Array = np.where(q < limit, matrix, np.nan)
    return significant


def draw_training(curve: pd.DataFrame, baselines: dict[str, float] | None = None) -> str:
    """Draw the errors of training and of held-out windows over epochs.

    Parameters
    ----------
    curve
        ``epoch``, ``train_mse``, ``held_out_mse``.
    baselines
        R² of other predictors of the held-out windows, by name; signals have a variance of 1,
        so that their error is about ``1 - R²``.
    """
    canvas, axes = _canvas(5.6, 3.2)
    axes.plot(curve["epoch"], curve["train_mse"], color=BLUE, label="training")
    axes.plot(curve["epoch"], curve["held_out_mse"], color=ORANGE, label="held out")
    for style, (name, r2) in zip(("--", "-.", ":"), (baselines or {}).items(), strict=False):
        axes.axhline(1 - r2, color=GREY, linestyle=style, linewidth=1, label=name)
    axes.set(xlabel="epoch", ylabel="mean squared error")
    axes.legend(fontsize=8, frameon=False)
    return svg_text(canvas)


def draw_prediction(r2: dict[str, float]) -> str:
    """Draw how well held-out samples are predicted, one bar per predictor."""
    canvas, axes = _canvas(5.6, 0.6 + 0.5 * len(r2))
    names = list(r2)[::-1]
    values = [r2[name] for name in names]
    bars = axes.barh(names, values, color=[GREY] * (len(names) - 1) + [BLUE])
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.margins(x=0.15)
    axes.set_xlabel("R² of the next sample, held out")
    return svg_text(canvas)


def draw_agreement(model_fc: Array, fc: Array, r: float) -> str:
    """Draw the free-running surrogate's FC against the data's, one point per pair."""
    canvas, axes = _canvas(4.2, 4.0)
    pairs = np.tril_indices(len(fc), -1)
    axes.axline((0, 0), slope=1, color=GREY, linewidth=1)
    axes.plot(fc[pairs], model_fc[pairs], ".", color=BLUE, markersize=2, alpha=0.5,
              rasterized=True)  # fmt: skip
    # A strong prior shrinks the surrogate's FC: each axis has its range.
    axes.set(xlim=_span(fc[pairs]), ylim=_span(model_fc[pairs]), xlabel="FC of the data",
             ylabel="FC of the surrogate")  # fmt: skip
    axes.set_title(f"r = {r:.2f}", fontsize=11)
    return svg_text(canvas)


def _span(values: Array) -> tuple[float, float]:
    """Return the range of values with some room on both sides."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return -1.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    room = 0.05 * ((high - low) or 1.0)
    return low - room, high + room


def draw_coverage(coverage: Sequence[tuple[float, str]], threshold: float) -> str:
    """Draw the coverage of regions as bars, the lowest first.

    Parameters
    ----------
    coverage
        Fraction and name of each region.
    threshold
        Coverage below which regions are not available.
    """
    shares, names = [share for share, _ in coverage][::-1], [name for _, name in coverage][::-1]
    canvas, axes = _canvas(5.6, 0.8 + 0.2 * len(names))
    colours = [BLUE if share >= threshold else ORANGE for share in shares]
    bars = axes.barh(range(len(names)), shares, color=colours)
    axes.bar_label(bars, fmt=lambda share: f"{share:.0%}", padding=3, fontsize=7)
    axes.axvline(threshold, color=GREY, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set(xlim=(0, 1.1), xlabel="fraction with signal")
    return svg_text(canvas)


def make_canvas(
    width: float, height: float, n_rows: int = 1, n_columns: int = 1
) -> tuple[Canvas, list[Axes]]:
    """Return a figure (inches) and its panels, row by row."""
    canvas = Canvas(figsize=(width, height), layout="compressed")
    panels = canvas.subplots(n_rows, n_columns, squeeze=False).ravel().tolist()
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return canvas, panels


def _canvas(width: float, height: float) -> tuple[Canvas, Axes]:
    canvas, panels = make_canvas(width, height)
    return canvas, panels[0]


def _place_panel(canvas: Canvas) -> None:
    """Place the panel of a figure that has one alone, as its layout would.

    With a layout, matplotlib draws everything twice and measures all text three times.
    """
    if canvas.get_layout_engine() is None or len(canvas.axes) != 1:
        return
    (axes,) = canvas.axes
    canvas.set_layout_engine("none")
    inner, outer = axes.bbox, axes.get_tightbbox(for_layout_only=True)
    if outer is None:
        return
    left, right = inner.x0 - outer.x0 + _EDGE, canvas.bbox.width - (outer.x1 - inner.x1) - _EDGE
    bottom, top = inner.y0 - outer.y0 + _EDGE, canvas.bbox.height - (outer.y1 - inner.y1) - _EDGE
    width, height = canvas.bbox.width, canvas.bbox.height
    axes.set_position(
        (left / width, bottom / height, (right - left) / width, (top - bottom) / height)
    )


def svg_text(canvas: Canvas) -> str:
    """Return the figure as SVG without its XML header, with the same bytes each time."""
    _place_panel(canvas)
    buffer = io.StringIO()
    settings: Any = {"svg.fonttype": "path", "svg.hashsalt": "npi-bids", "savefig.dpi": _DPI}
    with mpl.rc_context(settings), palette_images(canvas, _DPI) as images:
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "npi-bids"})
    text = insert_images(buffer.getvalue(), images)
    # A hundredth of a point is finer than any screen or printer, and outlines are long.
    text = _OUTLINE.sub(lambda match: _LONG.sub(r"\1", match[0]), text)
    return text[text.index("<svg") :]


def draw_delays(delays: Array, errors: Array) -> str:
    """Draw the delays of the regions with their 95 % intervals, in order of size.

    Parameters
    ----------
    delays, errors
        Shape (n_regions,), in seconds; regions without one (NaN) are left out.
    """
    finite = np.flatnonzero(np.isfinite(delays))
    order = finite[np.argsort(delays[finite])]
    canvas, (axes,) = make_canvas(5.6, 3.0)
    axes.errorbar(
        range(1, len(order) + 1), delays[order], yerr=INTERVAL_QUANTILE * errors[order], fmt=".",
        color=BLUE, ecolor=GREY, elinewidth=1, markersize=4,
    )  # fmt: skip
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="regions, sorted by delay", ylabel="delay (s)")
    return svg_text(canvas)


def draw_search(table: pd.DataFrame) -> str:
    """Draw the fitness of all simulations, in order, and the best so far.

    Parameters
    ----------
    table
        One row per simulation: ``evaluation``, ``stage``, ``r_fc``, ``fitness``.
    """
    canvas, (axes,) = make_canvas(5.6, 3.2)
    colours = {"default": GREY, "grid": BLUE, "evolution": ORANGE}
    stage = table["stage"].str.split(" ").str[0]
    for name, colour in colours.items():
        simulations = table[stage == name]
        if len(simulations):
            axes.plot(
                simulations["evaluation"], simulations["r_fc"], ".", color=colour, label=name
            )
    axes.plot(table["evaluation"], table["r_fc"].cummax(), color="black", linewidth=1,
              drawstyle="steps-post", label="highest so far")  # fmt: skip
    axes.axhline(GOOD_FC, color=GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="simulation", ylabel="r of simulated and empirical FC")
    axes.legend(fontsize=8, frameon=False)
    return svg_text(canvas)


def draw_landscape(table: pd.DataFrame) -> str | None:
    """Draw r of FC over the grid of coupling and excitability; None if there was no grid."""
    grid = table[table["stage"] == "grid"]
    if grid.empty:
        return None
    names = [name for name in grid.columns[2:-3] if grid[name].notna().all()][:2]
    square = grid.pivot(index=names[1], columns=names[0], values="r_fc")
    canvas, (axes,) = make_canvas(5.0, 4.0)
    limit = max(0.1, float(np.nanmax(np.abs(square.to_numpy()))))
    heatmap = axes.imshow(square, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-limit,
                        vmax=limit)  # fmt: skip
    for (row, column), value in np.ndenumerate(square.to_numpy()):
        axes.text(column, row, "n/a" if np.isnan(value) else f"{value:.2f}", ha="center",
                  va="center", fontsize=8,
                  color="white" if abs(value) > 0.6 * limit else "black")  # fmt: skip
    axes.set_xticks(range(len(square.columns)), [f"{v:.3g}" for v in square.columns])
    axes.set_yticks(range(len(square.index)), [f"{v:.3g}" for v in square.index])
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.spines[:].set_visible(False)
    canvas.colorbar(heatmap, ax=axes, label="r of FC")
    return svg_text(canvas)


def draw_bifurcation(table: pd.DataFrame) -> str:
    """Draw the lowest and highest activity of an isolated region against its excitability.

    Parameters
    ----------
    table
        ``parameter``, ``value``, ``lowest``, ``highest``, ``fitted``.
    """
    canvas, (axes,) = make_canvas(5.6, 3.2)
    axes.fill_between(table["value"], table["lowest"], table["highest"], color=BLUE, alpha=0.15,
                      linewidth=0)  # fmt: skip
    axes.plot(table["value"], table["highest"], ".-", color=BLUE, label="highest")
    axes.plot(table["value"], table["lowest"], ".--", color=BLUE, label="lowest")
    axes.axvline(table["fitted"].iloc[0], color=ORANGE, label="fitted")
    axes.set(xlabel=str(table["parameter"].iloc[0]), ylabel="activity of one region, no noise")
    axes.legend(fontsize=8, frameon=False)
    return svg_text(canvas)
