"""Figure of responses to perturbations, over time and by strength."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd

from npi_bids.reports.figures_signals import GREY, make_canvas, svg_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

_MOST_SOURCES = 6
_MOST_REGIONS = 8


def draw_responses(table: pd.DataFrame, perturbed: Mapping[str, Set[str]]) -> str:
    """Draw the responses of the regions that respond most, as SVG; one row per source.

    On the left is the response over time to the strongest perturbation (bars if there is a single
    sample). If there are several strengths, the response by strength is on the right, at the
    sample where it is largest. A band is one standard deviation over the states.

    Parameters
    ----------
    table
        ``source``, ``strength``, ``step``, ``time`` (s), ``region``, ``response`` and ``sd``.
    perturbed
        The perturbed regions of each source, whose responses are drawn grey.
    """
    sources = list(dict.fromkeys(table["source"]))[:_MOST_SOURCES]
    strengths = sorted(set(table["strength"]))
    n_columns = 2 if len(strengths) > 1 else 1
    canvas, panels = make_canvas(
        4.6 * n_columns + 1.6, 2.9 * len(sources), len(sources), n_columns
    )
    for row, source in enumerate(sources):
        responses = table[table["source"] == source]
        responding = _find_responding_regions(responses, perturbed[source])
        names = [*responding, *sorted(perturbed[source])[: _MOST_REGIONS - len(responding) or 1]]
        colours = {name: mpl.colormaps["tab10"](index) for index, name in enumerate(responding)}
        course = panels[row * n_columns]
        _draw_time_course(
            course, responses[responses["strength"] == max(strengths, key=abs)], names, colours
        )
        course.set_title(f"{source}, {max(strengths, key=abs):+g} SD", fontsize=10, loc="left")
        if n_columns == 2:
            _draw_by_strength(panels[row * n_columns + 1], responses, names, colours)
        if panels[(row + 1) * n_columns - 1].get_legend_handles_labels()[1]:
            panels[(row + 1) * n_columns - 1].legend(
                fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0)
            )
    return svg_text(canvas)


def _find_responding_regions(responses: pd.DataFrame, perturbed: Set[str]) -> list[str]:
    """Return the regions with the largest responses, except those that were perturbed."""
    sizes = responses.assign(size=responses["response"].abs().replace(np.inf, np.nan))
    largest = sizes[~sizes["region"].isin(perturbed)].groupby("region", sort=False)["size"].max()
    return largest.dropna().nlargest(_MOST_REGIONS - 1).index.tolist()


def _draw_time_course(
    axes: Axes, responses: pd.DataFrame, names: list[str], colours: Mapping[str, ColorType]
) -> None:
    if responses["step"].nunique() == 1:
        rows = responses.set_index("region").loc[names[::-1]]
        axes.barh(names[::-1], rows["response"], xerr=rows["sd"] if rows["sd"].any() else None,
                  color=[colours.get(name, GREY) for name in names[::-1]])  # fmt: skip
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlabel(f"response after {responses['time'].iloc[0]:g} s (SD)")
        return
    for name in names:
        rows = responses[responses["region"] == name]
        colour = colours.get(name, GREY)
        axes.plot(rows["time"], rows["response"], color=colour, label=name, marker=".",
                  markersize=3, linewidth=1.2)  # fmt: skip
        if rows["sd"].any():
            low, high = rows["response"] - rows["sd"], rows["response"] + rows["sd"]
            axes.fill_between(rows["time"], low, high, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="time after the perturbation (s)", ylabel="response (SD)")


def _draw_by_strength(
    axes: Axes, responses: pd.DataFrame, names: list[str], colours: Mapping[str, ColorType]
) -> None:
    for name in names:
        rows = responses[responses["region"] == name]
        largest = rows.iloc[int(rows["response"].abs().to_numpy().argmax())]
        rows = rows[rows["step"] == largest["step"]].sort_values("strength")
        axes.plot(rows["strength"], rows["response"], color=colours.get(name, GREY), label=name,
                  marker="o", markersize=3, linewidth=1.2)  # fmt: skip
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="strength (SD)", ylabel="response where it is largest (SD)")
