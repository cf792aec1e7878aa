"""Figures and page of a comparison with known connectivity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npi_bids.records import Array
from npi_bids.reports.components import Figure
from npi_bids.reports.figures_signals import BLUE, GREY, ORANGE, make_canvas, svg_text
from npi_bids.reports.page import render


@dataclass(frozen=True, slots=True)
class ValidationPage:
    """The content of the page: a table of metrics by map, and figures."""

    version: str
    title: str
    intro: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()


def validation_page(page: ValidationPage) -> str:
    """Return the page: one file, no network."""
    return render("validation.html.j2", page)


def draw_recovery(
    pairs: Mapping[str, tuple[Array, Array]],
    unit: str,
    names: tuple[str, str] = ("truth", "estimate"),
) -> str:
    """Draw estimate against truth, one panel per map.

    Parameters
    ----------
    pairs
        By title: estimates and true values of the same entries.
    unit
        Unit of the truth.
    names
        Labels of the horizontal and of the vertical axis.
    """
    n_columns = min(3, len(pairs))
    n_rows = -(-len(pairs) // n_columns)
    canvas, panels = make_canvas(3.1 * n_columns, 3.0 * n_rows, n_rows, n_columns)
    for axes, (title, (estimate, true)) in zip(panels, pairs.items(), strict=False):
        axes.axhline(0, color=GREY, linewidth=0.6)
        axes.axvline(0, color=GREY, linewidth=0.6)
        axes.plot(true, estimate, ".", color=BLUE, markersize=3, alpha=0.5, rasterized=True)
        if true.std() > 0:
            slope, offset = np.polyfit(true, estimate, 1)
            ends = np.array([true.min(), true.max()])
            axes.plot(ends, slope * ends + offset, color=ORANGE, linewidth=1.2)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(names[0], fontsize=8)
        axes.set_ylabel(names[1], fontsize=8)
        axes.tick_params(labelsize=7)
    for axes in panels[len(pairs) :]:
        axes.set_visible(False)
    canvas.supxlabel(unit, fontsize=7)
    return svg_text(canvas)


def draw_power(
    curves: Mapping[str, Sequence[tuple[float, float, float, float]]],
    ylabel: str,
    target: float | None,
) -> str:
    """Draw accuracy against scan length, one line per method, with its spread.

    Parameters
    ----------
    curves
        By method: (minutes, mean, low, high), sorted by minutes.
    ylabel
        Label of the vertical axis.
    wanted
        An accuracy to mark, or None.
    """
    canvas, (axes,) = make_canvas(6.4, 3.8)
    styles: list[dict[str, Any]] = [
        {"color": BLUE, "marker": "o"},
        {"color": ORANGE, "marker": "s"},
        {"color": "#2f855a", "marker": "^"},
        {"color": "#6b46c1", "marker": "D"},
        {"color": "#4a5568", "marker": "v"},
        {"color": "#b7791f", "marker": "P"},
    ]
    for number, (name, points) in enumerate(curves.items()):
        minutes, mean, low, high = np.array(points).T
        style = styles[number % len(styles)]
        axes.fill_between(minutes, low, high, color=style["color"], alpha=0.12, linewidth=0)
        axes.plot(minutes, mean, label=name, linewidth=1.5, markersize=4, **style)
    if target is not None:
        axes.axhline(target, color=GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="minutes of data per subject", ylabel=ylabel)
    axes.set_xscale("log")
    ticks = sorted({point[0] for points in curves.values() for point in points})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.legend(fontsize=8, frameon=False)
    return svg_text(canvas)
