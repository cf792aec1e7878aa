"""What the page of a subject shows of a whole-brain model."""

from __future__ import annotations

from npi_bids.bids.results import Model
from npi_bids.io.tables import read_table
from npi_bids.reports import figures_brain
from npi_bids.reports.facts import number
from npi_bids.reports.records import Figure


def draw_brain(model: Model) -> list[Figure]:
    """Return the pictures of search and model."""
    table = read_table(model.path("training"))
    training = model.sidecar["Training"]
    drawn = [
        Figure(
            "search",
            "Search of the parameters",
            f"{len(table)} simulations of {training['sim_minutes']:g} minutes; the fittest has r "
            f"{number(training['r_fc'])} of FC and a distance of FC dynamics of "
            f"{number(training['ks_fcd'])} (Kolmogorov-Smirnov). Dashed: r 0.5, a good fit.",
            figures_brain.draw_search(table),
            f"Fitness over {len(table)} simulations; best r of FC {number(training['r_fc'])}",
        )
    ]
    landscape = figures_brain.draw_landscape(table)
    if landscape is not None:
        caption = "r of simulated and empirical FC over coupling and excitability."
        drawn.append(Figure("landscape", "What was explored", caption, landscape))
    if model.path("bifurcation").is_file():
        caption = (
            "Lowest and highest activity of one region alone without noise: it oscillates where "
            "they part, and switches between states where they jump."
        )
        svg = figures_brain.draw_bifurcation(read_table(model.path("bifurcation")))
        drawn.append(Figure("bifurcation", "Where the model works", caption, svg))
    return drawn
