"""Figure of the lesson on a spiking network: predicted against true input."""

from __future__ import annotations

import numpy as np

from npi_bids.inverse.lesson import HIGHEST_J, LOWEST_J, Predictions
from npi_bids.reports.figures_signals import BLUE, GREY, ORANGE, make_canvas, svg_text


def draw_predictions(predictions: Predictions) -> str:
    """Draw J_ext of held-out simulations against its predictions, as SVG.

    Parameters
    ----------
    predictions
        Predictions by ridge regression and, if there are posteriors, their means and central
        intervals of 95 %.
    """
    canvas, (axes,) = make_canvas(4.4, 4.2)
    truth = predictions.truth
    axes.plot(
        [LOWEST_J, HIGHEST_J], [LOWEST_J, HIGHEST_J], color=GREY, linestyle="--", linewidth=1
    )
    axes.plot(truth, predictions.ridge, "x", color=ORANGE, markersize=5, label="ridge regression")
    if predictions.posterior is not None:
        mean = predictions.posterior.mean(axis=0)
        low, high = np.quantile(predictions.posterior, (0.025, 0.975), axis=0)
        axes.vlines(truth, low, high, color=BLUE, linewidth=1)
        axes.plot(truth, mean, "o", color=BLUE, markersize=4, label="posterior, 95 % interval")
    axes.set(xlabel="true J_ext (pA)", ylabel="predicted J_ext (pA)")
    axes.legend(fontsize=8, frameon=False)
    return svg_text(canvas)
