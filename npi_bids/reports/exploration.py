"""Page of an exploration of parameters: heat maps, line plots, history and genealogy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np

from npi_bids.records import Array
from npi_bids.reports.components import Figure
from npi_bids.reports.figures_signals import BLUE, GREY, ORANGE, make_canvas, svg_text
from npi_bids.reports.validation import ValidationPage, validation_page
from npi_bids.whole_brain.evolution import Fitness, Individual, pareto_front
from npi_bids.whole_brain.exploration import MEASURES, Point
from npi_bids.whole_brain.parameters import Axis
from npi_bids.wording import rounded

_MOST_ROWS = 20


def grid_page(version: str, title: str, axes: Sequence[Axis], points: Sequence[Point]) -> str:
    """Return the page of a grid: one file, no network.

    Parameters
    ----------
    version
        Version of npi-bids.
    title
        Title of the page.
    axes
        Parameters that were varied.
    points
        In the order of the grid.
    """
    figures = draw_grid(axes, points)
    intro = f"{len(points)} simulations over {' and '.join(axis.name for axis in axes)}."
    columns, rows = _tabulate_extremes(axes, points)
    return validation_page(ValidationPage(version, title, intro, columns, rows, tuple(figures)))


def draw_grid(axes: Sequence[Axis], points: Sequence[Point]) -> list[Figure]:
    """Draw every measure: as a heat map and lines for two parameters, as a line for one.

    The lowest and highest activity of one parameter share a figure, the bifurcation diagram.
    """
    names = list(points[0].measures)
    figures = []
    if len(axes) == 1:
        if {"max_rate", "min_rate"} <= set(names):
            svg = _draw_lines(axes[0], {n: _values(points, n) for n in ("max_rate", "min_rate")},
                              "activity")  # fmt: skip
            figures.append(Figure("bifurcation", "Bifurcation diagram", "Lowest and highest "
                                  "activity; where they differ, the model oscillates or "
                                  "fluctuates.", svg))  # fmt: skip
            names = [name for name in names if name not in ("max_rate", "min_rate")]
        figures += [
            Figure(name, name, MEASURES[name].summary,
                   _draw_lines(axes[0], {name: _values(points, name)}, _label(name)))
            for name in names
        ]  # fmt: skip
    if len(axes) == 2:
        for name in names:
            square = _values(points, name).reshape(axes[0].n_points, axes[1].n_points)
            figures.append(Figure(f"map-{name}", name, MEASURES[name].summary,
                                  _draw_map(axes, square, _label(name))))  # fmt: skip
            lines = {f"{axes[1].name} {axes[1].values[k]:.3g}": square[:, k]
                     for k in _spread(axes[1].n_points)}  # fmt: skip
            figures.append(Figure(f"lines-{name}", f"{name} along {axes[0].name}",
                                  "Some rows of the map.",
                                  _draw_lines(axes[0], lines, _label(name))))  # fmt: skip
    return figures


def evolution_page(
    version: str, title: str, individuals: Sequence[Individual], fitness: Fitness
) -> str:
    """Return the page of an evolution: one file, no network."""
    best = sorted(
        (i for i in individuals if np.isfinite(i.fitness)), key=lambda i: -i.fitness
    )[:_MOST_ROWS]  # fmt: skip
    names = list(individuals[0].point.parameters)
    columns = ("individual", "generation", "fitness", *names, *individuals[0].point.measures)
    rows = tuple(
        (str(i.number), str(i.generation), rounded(i.fitness),
         *(rounded(v) for v in i.point.parameters.values()),
         *(rounded(v) for v in i.point.measures.values()))
        for i in best
    )  # fmt: skip
    terms = ", ".join(f"{weight:g} {name}" for name, weight in fitness.weights.items())
    intro = (
        f"{len(individuals)} simulations in {individuals[-1].generation + 1} generations; fitness "
        f"is the sum of {terms}. The fittest:"
    )
    figures = draw_evolution(individuals, fitness)
    return validation_page(ValidationPage(version, title, intro, columns, rows, tuple(figures)))


def draw_evolution(individuals: Sequence[Individual], fitness: Fitness) -> list[Figure]:
    """Draw the history, the genealogy, and the Pareto front of the first two terms."""
    figures = [
        Figure("history", "History", "Fitness of every individual, and the best so far.",
               _draw_history(individuals)),
        Figure("genealogy", "Genealogy", "Lines lead from parents to offspring; the ancestors of "
               "the fittest individual are orange. In differential evolution the parent is the "
               "individual that is replaced by fitter offspring.", _draw_genealogy(individuals)),
    ]  # fmt: skip
    if len(fitness.weights) > 1:
        figures.append(Figure("front", "Pareto front", "Individuals of which none is better in "
                              "one term without being worse in another are orange.",
                              _draw_front(individuals, fitness)))  # fmt: skip
    return figures


def _values(points: Sequence[Point], name: str) -> Array:
    return np.array([point.measures[name] for point in points])


def _label(name: str) -> str:
    units = MEASURES[name].units
    return f"{name} ({units})" if units else name


def _spread(n_points: int) -> list[int]:
    return sorted({round(k) for k in np.linspace(0, n_points - 1, 5)})


def _tabulate_extremes(
    axes: Sequence[Axis], points: Sequence[Point]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return where each measure is lowest and highest."""
    columns = ("measure", "", "value", *(axis.name for axis in axes))
    rows = []
    for name in points[0].measures:
        finite = [point for point in points if np.isfinite(point.measures[name])]
        for word, pick in (("lowest", min), ("highest", max)) if finite else ():
            point = pick(finite, key=lambda point: point.measures[name])
            values = [rounded(point.parameters[axis.name]) for axis in axes]
            rows.append((name, word, rounded(point.measures[name]), *values))
        if len(finite) < len(points):
            missing = str(len(points) - len(finite))
            rows.append((name, "not defined", missing, *("" for _ in axes)))
    return columns, tuple(rows)


def _draw_lines(axis: Axis, lines: Mapping[str, Array], ylabel: str) -> str:
    canvas, (axes,) = make_canvas(5.6, 3.4)
    colours = mpl.colormaps["viridis"](np.linspace(0.1, 0.8, len(lines)))
    for (name, values), colour in zip(lines.items(), colours, strict=True):
        axes.plot(axis.values, values, ".-", color=colour, markersize=3, linewidth=1, label=name)
    axes.set(xlabel=axis.name, ylabel=ylabel)
    if len(lines) > 1:
        axes.legend(fontsize=8, frameon=False)
    return svg_text(canvas)


def _draw_map(axes: Sequence[Axis], square: Array, label: str) -> str:
    """Draw a map with the first parameter along the horizontal axis."""
    canvas, (panel,) = make_canvas(5.2, 4.2)
    steps = [(axis.high - axis.low) / (axis.n_points - 1) / 2 for axis in axes]
    extent = (axes[0].low - steps[0], axes[0].high + steps[0],
              axes[1].low - steps[1], axes[1].high + steps[1])  # fmt: skip
    colours = mpl.colormaps["viridis"].with_extremes(bad="#d5dae0")
    image = panel.imshow(square.T, origin="lower", aspect="auto", extent=extent, cmap=colours,
                         interpolation="nearest")  # fmt: skip
    panel.set(xlabel=axes[0].name, ylabel=axes[1].name)
    panel.spines[:].set_visible(False)
    canvas.colorbar(image, ax=panel, label=label)
    return svg_text(canvas)


def _draw_history(individuals: Sequence[Individual]) -> str:
    canvas, (axes,) = make_canvas(5.6, 3.2)
    fitness = np.array([i.fitness for i in individuals])
    axes.plot(fitness, ".", color=BLUE, markersize=4)
    best = np.fmax.accumulate(fitness)
    axes.plot(best, color="black", linewidth=1, drawstyle="steps-post", label="best so far")
    axes.set(xlabel="simulation", ylabel="fitness")
    axes.legend(fontsize=8, frameon=False)
    return svg_text(canvas)


def find_ancestors(individuals: Sequence[Individual]) -> set[int]:
    """Return the numbers of the fittest individual and of all its ancestors."""
    finite = [i for i in individuals if np.isfinite(i.fitness)]
    found: set[int] = set()
    open_numbers = [max(finite, key=lambda i: i.fitness).number] if finite else []
    while open_numbers:
        current = open_numbers.pop()
        if current not in found:
            found.add(current)
            open_numbers += individuals[current].parents
    return found


def _draw_genealogy(individuals: Sequence[Individual]) -> str:
    canvas, (axes,) = make_canvas(6.4, 4.0)
    ancestors = find_ancestors(individuals)
    for child in individuals:
        for parent in child.parents:
            line = child.number in ancestors and parent in ancestors
            axes.plot(
                (individuals[parent].generation, child.generation),
                (individuals[parent].fitness, child.fitness),
                color=ORANGE if line else GREY, linewidth=1.4 if line else 0.4,
                zorder=2 if line else 1,
            )  # fmt: skip
    for survived, colour in ((False, GREY), (True, BLUE)):
        chosen = [i for i in individuals if i.survived is survived]
        axes.plot([i.generation for i in chosen], [i.fitness for i in chosen], ".", color=colour,
                  markersize=4, label="final population" if survived else "others")  # fmt: skip
    axes.set(xlabel="generation", ylabel="fitness")
    axes.legend(fontsize=8, frameon=False)
    return svg_text(canvas)


def _draw_front(individuals: Sequence[Individual], fitness: Fitness) -> str:
    canvas, (axes,) = make_canvas(4.6, 4.0)
    first, second = list(fitness.weights)[:2]
    front = pareto_front(individuals, fitness)
    for chosen, colour in ((individuals, GREY), (front, ORANGE)):
        axes.plot([i.point.measures[first] for i in chosen],
                  [i.point.measures[second] for i in chosen], ".", color=colour)  # fmt: skip
    axes.set(xlabel=_label(first), ylabel=_label(second))
    return svg_text(canvas)
