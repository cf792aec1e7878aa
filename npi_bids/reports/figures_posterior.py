"""Figures of the posterior of the parameters of a whole-brain model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npi_bids.bids.sidecars import PosteriorFields
from npi_bids.io.tables import read_matrix, read_table
from npi_bids.records import Array
from npi_bids.reports.components import Figure
from npi_bids.reports.figures_signals import BLUE, GREY, ORANGE, make_canvas, svg_text
from npi_bids.wording import format_estimate, rounded

if TYPE_CHECKING:
    import pandas as pd

_N_BINS = 24
_MOST_POINTS = 400  # of a scatter plot, which bounds the size of its file
_LEVELS = (50, 80, 95)
_FEWEST_PER_BIN = 10  # ranks of a histogram, where all are equally likely


def draw_posterior_figures(path: Callable[[str], Path], fields: PosteriorFields) -> list[Figure]:
    """Return the figures of a posterior: its parameters, predicted FC and calibration.

    Parameters
    ----------
    path
        Function that returns the path of an output.
    fields
        How the posterior was inferred.
    """
    table, samples = read_table(path("parameters")), read_table(path("posterior"))
    unread = (
        ""
        if fields.position == "inside"
        else " The subject is outside what the model can produce, so that it is not to be read."
    )
    figures = [
        Figure(
            "posterior",
            "Posterior of the parameters",
            f"{fields.model_description}. Histograms of single parameters over their priors, and "
            f"samples of pairs; orange: the simulation with the best r of FC.{unread}",
            draw_corner(samples, table),
            "; ".join(
                f"{row['name']}: {format_estimate(row['median'], row['q025'], row['q975'])}, "
                f"{row['identification']}"
                for _, row in table.iterrows()
            ),
            wide=True,
        )
    ]
    if path("pearsoncorrelation").is_file():
        fc, predicted = (read_matrix(path(name)).matrix
                         for name in ("pearsoncorrelation", "predictedfc"))  # fmt: skip
        caption = (
            "One point per pair of regions: FC of the subject, and mean FC of simulations with "
            f"parameters from the posterior (r = {rounded(fields.predicted_fc_r)})."
        )
        svg = draw_predicted_fc(fc, predicted)
        figures.append(Figure("predictedfc", "Posterior predictive FC", caption, svg))
    figures.append(
        Figure(
            "calibration",
            "Calibration on simulated subjects",
            f"{fields.number_held_out} simulated subjects that were held out. Left: share whose "
            "truth lies in the central interval, which should be on the line. Middle: ranks of "
            "the truth in the posterior, which should be even (simulation-based calibration). "
            "Right: the same for all parameters together (TARP, p = "
            f"{rounded(fields.tarp_p)}).",
            draw_calibration(read_table(path("calibration")), read_table(path("ranks"))),
            wide=True,
        )
    )
    return figures


def draw_corner(samples: pd.DataFrame, table: pd.DataFrame) -> str:
    """Draw histograms of all parameters and scatter plots of all pairs.

    Parameters
    ----------
    samples
        One column per parameter.
    table
        Table of the parameters, in the same order, with ``prior_low``, ``prior_high`` and
        ``best_fc``.
    """
    names, n = list(table["name"]), len(table)
    canvas, panels = make_canvas(1.3 * n + 0.6, 1.3 * n + 0.6, n, n)
    limits = table[["prior_low", "prior_high"]].to_numpy(dtype=np.float64)
    best = table["best_fc"].to_numpy(dtype=np.float64)
    thinned = samples.iloc[:: max(1, len(samples) // _MOST_POINTS)]
    for row in range(n):
        for column in range(n):
            panel = panels[row * n + column]
            if column > row:
                panel.set_axis_off()
            elif column == row:
                panel.hist(
                    samples[names[row]],
                    np.linspace(limits[row, 0], limits[row, 1], _N_BINS).tolist(),
                    color=BLUE,
                )
                panel.axvline(best[row], color=ORANGE, linewidth=1)
                panel.set(xlim=limits[row], yticks=[])
            else:
                panel.plot(thinned[names[column]], thinned[names[row]], ".", color=BLUE,
                           markersize=1.5, alpha=0.4)  # fmt: skip
                panel.plot(best[column], best[row], "+", color=ORANGE)
                panel.set(xlim=limits[column], ylim=limits[row])
            _label_outer(panel, names, row, column)
    return svg_text(canvas)


def draw_predicted_fc(fc: Array, predicted: Array) -> str:
    """Draw FC of simulations from the posterior against FC, one point per pair of regions."""
    canvas, (axes,) = make_canvas(4.2, 4.0)
    pairs = np.triu_indices(len(fc), 1)
    thin = max(1, len(pairs[0]) // 3000)
    axes.plot(
        fc[pairs][::thin], predicted[pairs][::thin], ".", color=BLUE, markersize=2, alpha=0.5
    )
    axes.axline((0, 0), slope=1, color=GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="FC of the subject", ylabel="posterior predictive FC")
    return svg_text(canvas)


def draw_calibration(calibration: pd.DataFrame, ranks: pd.DataFrame) -> str:
    """Draw coverage, ranks and TARP of held-out simulated subjects.

    Parameters
    ----------
    calibration
        One row per parameter, with ``coverage50``, ``coverage80``, ``coverage95``.
    ranks
        One row per subject: ranks of each parameter, and ``tarp``.
    """
    canvas, (left, middle, right) = make_canvas(9.0, 3.0, 1, 3)
    names = list(calibration["name"])
    nominal = np.array([0, *_LEVELS, 100])
    for name, (_, row) in zip(names, calibration.iterrows(), strict=True):
        observed = [100 * float(row[f"coverage{level}"]) for level in _LEVELS]
        left.plot(nominal, [0, *observed, 100], ".-", linewidth=1, label=name)
    _draw_diagonal(left, 100)
    left.set(xlabel="interval (%)", ylabel="truth inside (%)")
    left.legend(fontsize=6, frameon=False)
    n_bins = max(2, min(10, len(ranks) // _FEWEST_PER_BIN))
    middle.hist(ranks[names].to_numpy(), np.linspace(0, 1, n_bins + 1).tolist(), histtype="step")
    expected, spread = len(ranks) / n_bins, np.sqrt(len(ranks) / n_bins * (1 - 1 / n_bins))
    middle.axhspan(expected - 2 * spread, expected + 2 * spread, color=GREY, alpha=0.3)
    middle.set(xlabel="rank of the truth", ylabel="simulated subjects")
    credibility = np.sort(ranks["tarp"].to_numpy(dtype=np.float64))
    right.plot(credibility, (np.arange(len(credibility)) + 0.5) / len(credibility), color=BLUE)
    _draw_diagonal(right, 1)
    right.set(xlabel="credibility", ylabel="truth inside")
    return svg_text(canvas)


def _draw_diagonal(axes: Any, end: float) -> None:
    axes.plot([0, end], [0, end], color=GREY, linestyle="--", linewidth=1)


def _label_outer(axes: Any, names: list[str], row: int, column: int) -> None:
    """Name the parameters along the left and the lower edge of the grid."""
    axes.tick_params(labelsize=6)
    if row == len(names) - 1:
        axes.set_xlabel(names[column].replace("_", "\n"), fontsize=7)
    else:
        axes.set_xticklabels([])
    if column == 0 and row > 0:
        axes.set_ylabel(names[row].replace("_", "\n"), fontsize=7)
    elif column != row:
        axes.set_yticklabels([])
