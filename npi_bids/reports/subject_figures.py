"""Figures on the page of a subject, in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from npi_bids.assessment.grades import NOT_SUPPORTED
from npi_bids.assessment.quality import mean_spectrum
from npi_bids.bids.derivatives import Model, sibling
from npi_bids.bids.sidecars import PosteriorFields, RunSidecar
from npi_bids.connectivity.network_measures import Flow, compute_flow, network_map
from npi_bids.group.tables import least_coverage
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import read_matrix, read_series, read_table
from npi_bids.matrices import symmetric
from npi_bids.parcellation.cifti import project_to_surface
from npi_bids.records import HIGH_FREQUENCY, Array, ECResult
from npi_bids.reports import figures_connectivity, figures_signals
from npi_bids.reports.components import ALPHA, Figure, number
from npi_bids.reports.figures_connectivity import MOST_ARROWS
from npi_bids.reports.figures_posterior import draw_posterior_figures
from npi_bids.whole_brain.settings import CLOSE_FC, GOOD_FC
from npi_bids.wording import count_noun, join_items

if TYPE_CHECKING:
    import pandas as pd

Runs = list[tuple[Path, RunSidecar]]


@dataclass(frozen=True, slots=True, eq=False)
class ModelResults:
    """Results of one model, from which its figures are drawn.

    Attributes
    ----------
    model
        Files and sidecar of the model.
    ec
        Map of effective connectivity.
    regions
        Table of the regions of the map.
    runs
        Regional signals of each run, with their sidecars.
    """

    model: Model
    ec: ECResult
    regions: Regions
    runs: Runs

    def run_tables(self, output_name: str) -> list[pd.DataFrame]:
        """Return the tables of one output, one per run."""
        return [read_table(sibling(path, "timeseries", output_name)) for path, _ in self.runs]


def _draw_map(results: ModelResults) -> list[Figure]:
    path, ec = results.model.path("npiq"), results.ec
    significant = None
    if path.is_file():
        significant = figures_signals.only_significant(ec.matrix, read_matrix(path).matrix, ALPHA)
    return draw_connections(
        ec,
        results.regions,
        significant=significant,
        directed=results.model.fit.grades.direction != NOT_SUPPORTED,
    )


def draw_connections(
    ec: ECResult,
    regions: Regions,
    prefix: str = "",
    *,
    significant: Array | None = None,
    directed: bool = True,
) -> list[Figure]:
    """Return figures of the connections of a map, between networks and on the brain.

    Parameters
    ----------
    ec
        Map of effective connectivity.
    regions
        Table of the regions of the map.
    prefix
        Begins the names of the figures.
    significant
        The map with all other entries n/a; if None, all connections may be drawn on the brain.
    directed
        Whether direction is supported: arrows if it is, lines of the symmetric part if not.
    """
    figures = []
    absolute = ECResult(abs(ec.matrix), ec.labels)
    if regions.network:
        flow = network_map(absolute, regions.network)
        svg = figures_connectivity.draw_chord(flow.matrix, flow.labels, directed=directed)
        if svg is not None:
            ribbons = (
                "A ribbon has the colour of the sending network and ends short of the receiving "
                "one."
                if directed
                else "Direction is not supported, so ribbons hold both directions."
            )
            figures.append(
                Figure(
                    f"{prefix}chord",
                    "Connections between networks",
                    f"Mean absolute connection between the regions of two networks. {ribbons}",
                    svg,
                    "Chord diagram of connections between networks",
                )
            )
    strength = compute_flow(ec.matrix)
    if regions.centres is None:
        return [*figures, *_draw_surface(regions, strength, prefix, directed)]
    if significant is None or np.isfinite(significant).any():
        figures.append(_draw_on_glass_brain(ec, regions.centres, prefix, significant, directed))
    figures += [
        Figure(
            f"{prefix}{one.name}",
            one.title,
            f"{one.meaning}, drawn at its centre.",
            figures_connectivity.draw_on_brain(one.values, regions.centres),
            f"Glass brain with one point per region, coloured by {one.colour}",
            wide=True,
        )
        for one in _regional_strengths(strength, directed=directed)
    ]
    return figures


@dataclass(frozen=True, slots=True, eq=False)
class _RegionalStrength:
    """Strength of regions as drawn on a brain: name of the figure, texts, and values."""

    name: str
    title: str
    meaning: str
    colour: str
    values: Array


def _regional_strengths(strength: Flow, *, directed: bool) -> list[_RegionalStrength]:
    """Return what regions send and receive, or where direction is not supported, both together."""
    if not directed:
        return [
            _RegionalStrength(
                "brain",
                "Connections of each region",
                "Mean of the sums of the connections that a region sends and receives, which the "
                "signals do not tell apart",
                "the strength of its connections",
                (strength.out_strength + strength.in_strength) / 2,
            )
        ]
    return [
        _RegionalStrength(
            name,
            f"Connections that each region {verb}",
            f"Sum of the connections that a region {verb}",
            f"what it {verb}",
            values,
        )
        for name, values, verb in (
            ("brain", strength.out_strength, "sends"),
            ("brainin", strength.in_strength, "receives"),
        )
    ]


def _draw_on_glass_brain(
    ec: ECResult, centres: Array, prefix: str, significant: Array | None, directed: bool
) -> Figure:
    """Return the strongest connections on a glass brain, as arrows or as lines."""
    tested = "" if significant is None else f" with q below {ALPHA:g}"
    caption = f"The entries of largest absolute value{tested}, {MOST_ARROWS} at most. "
    matrix = ec.matrix if directed else symmetric(ec.matrix)
    if significant is not None:
        displayed = np.isfinite(significant)
        matrix = np.where(displayed if directed else displayed | displayed.T, matrix, np.nan)
    if directed:
        caption += "Arrows point from source to target; red: positive, blue: negative."
    else:
        caption += (
            "Direction is not supported, so lines show the mean of both directions; "
            "red: positive, blue: negative."
        )
    return Figure(
        f"{prefix}connectome",
        "The strongest connections on the brain",
        caption,
        figures_connectivity.draw_connectome(matrix, centres),
        "Glass brain with the strongest connections, which the table below lists",
        wide=True,
    )


def _draw_surface(regions: Regions, strength: Flow, prefix: str, directed: bool) -> list[Figure]:
    """Return figures of the strength of regions, if there is a mesh of the surface."""
    atlas = mesh_atlas(regions)
    figures = []
    for one in _regional_strengths(strength, directed=directed):
        sides = project_to_surface(atlas, regions.labels, one.values) if atlas else None
        if sides is not None:
            figures.append(
                Figure(
                    f"{prefix}{one.name}",
                    one.title,
                    f"{one.meaning}, drawn on fsaverage5.",
                    figures_connectivity.draw_on_surface(sides),
                    f"Cortical surface with regions coloured by {one.colour}",
                    wide=True,
                )
            )
    return figures


def _surface_atlases(regions: Regions) -> list[Path]:
    stem = regions.path.name.replace("_dseg.tsv", "*_dseg.dlabel.nii")
    return sorted(regions.path.parent.glob(stem))


def why_not_drawn(regions: Regions) -> str:
    """Return why nothing is drawn on the brain, of regions without centres or a usable mesh."""
    if _surface_atlases(regions):
        return "only the mesh of fsaverage5 is available and the atlas lies on another surface"
    return "the coordinates of the regions are not known"


def mesh_atlas(regions: Regions) -> Path | None:
    """Return the atlas of a map if it lies on a surface whose mesh is available."""
    for atlas in _surface_atlases(regions):
        if project_to_surface(atlas, (), []) is not None:
            return atlas
    return None


def _draw_delays(results: ModelResults) -> list[Figure]:
    """Return figures of the delays of the regions, if the model has any."""
    path, regions = results.model.path("delays"), results.regions
    if not path.is_file():
        return []
    table = read_table(path)
    delays, errors = (table[name].to_numpy(dtype=float) for name in ("delay", "standard_error"))
    caption = (
        "Time by which the signal of a region lags behind its state, minus the median over "
        "regions; most likely haemodynamic, and removed from the map."
    )
    figures = [
        Figure(
            "delays",
            "Delays of the regions",
            f"{caption} Bars are 95 % intervals.",
            figures_signals.draw_delays(delays, errors),
            "Delays of all regions in order of size, with intervals",
        )
    ]
    if regions.centres is not None:
        figures.append(
            Figure(
                "delaysbrain",
                "Delays on the brain",
                caption,
                figures_connectivity.draw_on_brain(delays, regions.centres),
                "Glass brain with one point per region, coloured by its delay",
            )
        )
    return figures


def _draw_fit(results: ModelResults) -> list[Figure]:
    model = results.model
    return _draw_search(model) if model.fit.surrogate == "wbm" else _draw_prediction(model)


def _draw_search(model: Model) -> list[Figure]:
    """Return the figures of the parameter search and of the whole-brain model."""
    table = read_table(model.path("training"))
    training = model.fit.training
    figures = [
        Figure(
            "search",
            "Parameter search",
            f"{describe_spread(table)} Of the {len(table)} simulations of "
            f"{training['sim_minutes']:g} minutes, the best has r = {number(training['r_fc'])} "
            "with empirical FC and a Kolmogorov-Smirnov distance of "
            f"{number(training['ks_fcd'])} of FC dynamics. Dashed: r = {GOOD_FC:g}, a good fit.",
            figures_signals.draw_search(table),
            f"Fitness over {len(table)} simulations; best r of FC {number(training['r_fc'])}",
        )
    ]
    landscape = figures_signals.draw_landscape(table)
    if landscape is not None:
        caption = "Correlation of simulated and empirical FC by coupling and excitability."
        figures.append(Figure("landscape", "Explored parameters", caption, landscape))
    if model.path("bifurcation").is_file():
        caption = (
            "Minimum and maximum activity of a single region without noise: it oscillates where "
            "they differ, and switches between states where they jump."
        )
        svg = figures_signals.draw_bifurcation(read_table(model.path("bifurcation")))
        figures.append(Figure("bifurcation", "Bifurcation diagram", caption, svg))
    return figures


def describe_spread(table: pd.DataFrame) -> str:
    """Say how far the parameters spread whose r of FC is within .02 of the best.

    Parameters
    ----------
    table
        Parameter search: ``evaluation``, ``stage``, parameters, ``r_fc``, ``ks_fcd``, ``fitness``.
    """
    close = table[table["r_fc"] >= table["r_fc"].max() - CLOSE_FC]
    names = [name for name in table.columns[2:-3] if close[name].notna().any()]
    spread = join_items(
        f"{name} from {number(float(close[name].min()))} to {number(float(close[name].max()))}"
        for name in names
    )
    return (
        f"FC alone does not identify the parameters: the {count_noun(len(close), 'simulation')} "
        f"whose r of FC is within {CLOSE_FC:g} of the best "
        f"{'has' if len(close) == 1 else 'have'} {spread or 'the parameters of the model'}."
    )


def _draw_prediction(model: Model) -> list[Figure]:
    """Return the figures of the prediction, the model FC and the training of a surrogate."""
    names = {
        "r2": "surrogate",
        "r2_ridge_var": "ridge VAR",
        "r2_own_history": "each region's own past",
        "r2_persistence": "last sample repeated",
    }
    quality = model.fit.quality
    r2 = {name: float(getattr(quality, key)) for key, name in names.items()}
    finite_r2 = {name: value for name, value in r2.items() if isfinite(value)}
    figures = [
        Figure(
            "prediction",
            "Prediction of held-out samples",
            "Mean R² over regions. The gain over each region's own past is due to connectivity.",
            figures_signals.draw_prediction(finite_r2),
            "; ".join(f"{name}: R² {number(value)}" for name, value in finite_r2.items()),
        )
    ]
    if model.path("modelfc").is_file():
        simulated = read_matrix(model.path("modelfc")).matrix
        fc = read_matrix(model.path("pearsoncorrelation")).matrix
        figures.append(
            Figure(
                "modelfc",
                "Functional connectivity of the surrogate",
                "FC of the free-running surrogate against FC of the data; one point per pair. Its "
                f"SD over pairs is {number(quality.model_fc_ratio)} times that of the data: a "
                "strong prior keeps the pattern, not the strength.",
                figures_signals.draw_agreement(simulated, fc, quality.model_fc_r),
                f"Scatter of model FC against FC, r {number(quality.model_fc_r)}",
            )
        )
    curve = read_table(model.path("training"))
    if len(curve) > 1:
        caption = (
            "Mean squared prediction error in training and held-out windows. Grey: other "
            "predictors of the held-out windows (about 1 - R²)."
        )
        baselines = {name: value for name, value in finite_r2.items() if name != "surrogate"}
        figures.append(
            Figure(
                "training", "Training", caption, figures_signals.draw_training(curve, baselines)
            )
        )
    return figures


def _draw_signals(results: ModelResults) -> list[Figure]:
    """Return the signals before and after denoising, and their spectrum after it."""
    runs, motion = results.runs, results.run_tables("outliers")
    before = [table.to_numpy(dtype=float) for table in results.run_tables("raw")]
    sidecar = runs[0][1]
    tr = sidecar.repetition_time
    series = [read_series(path, tr) for path, _ in runs]
    figures = [
        Figure(
            "carpet",
            "Signals, motion and censoring",
            "Framewise displacement (shaded: samples not used), and the signals of all regions "
            "before and after denoising, from -2 SD (black) to 2 SD (white). Orange: censored.",
            figures_connectivity.draw_carpet(
                [before, [run.data for run in series]],
                [table["framewise_displacement"].to_numpy(dtype=float) for table in motion],
                [table["left_out"].to_numpy(dtype=float) for table in motion],
                tr,
            ),
            "Carpet plots of the signals before and after denoising, below framewise displacement",
            wide=True,
        )
    ]
    spectrum = mean_spectrum(series)
    if spectrum is not None:
        figures.append(
            Figure(
                "spectrum",
                "Spectrum",
                "Mean power of the denoised signals. Dashed: the filter cut-offs and "
                f"{HIGH_FREQUENCY:g} Hz, above which low-passed signals have no power left.",
                figures_connectivity.draw_spectrum(
                    *spectrum, high_pass=sidecar.high_pass, low_pass=sidecar.low_pass
                ),
                "Mean power spectrum of the denoised signals",
            )
        )
    return figures


def _draw_coverage(results: ModelResults) -> list[Figure]:
    coverage, regions = results.run_tables("coverage"), results.regions
    if not any(table["coverage"].notna().any() for table in coverage):
        return []
    threshold = results.runs[0][1].minimum_coverage
    figures = [
        Figure(
            "coverage",
            "Coverage",
            "Fraction of each region covered by the run; regions below the threshold are n/a.",
            figures_signals.draw_coverage(coverage, threshold),
        )
    ]
    if regions.centres is not None:
        figures.append(
            Figure(
                "coveragebrain",
                "Coverage on the brain",
                "Fraction of each region covered by the run; minimum over runs.",
                figures_connectivity.draw_on_brain(
                    least_coverage(coverage), regions.centres, signed=False
                ),
                "Glass brain with one point per region, coloured by its coverage",
                wide=True,
            )
        )
    return figures


def _draw_motion(results: ModelResults) -> list[Figure]:
    motion, first = results.run_tables("outliers"), results.runs[0][1]
    if not any(table["framewise_displacement"].notna().any() for table in motion):
        return []
    svg = figures_signals.draw_motion(
        motion, first.framewise_displacement_threshold, first.repetition_time
    )
    caption = "Framewise displacement. Shaded samples were not used; no window crosses them."
    return [Figure("motion", "Motion and censoring", caption, svg)]


def _draw_posterior(results: ModelResults) -> list[Figure]:
    """Return the figures of the parameters of a whole-brain model, if they were inferred."""
    path = results.model.path("parameters")
    if not path.is_file():
        return []
    fields = PosteriorFields.read(path.with_suffix(".json"))
    return draw_posterior_figures(results.model.path, fields)


# The figures of a page, in their order: those beside the matrix, and those of fit and data. Each
# function returns the figures of one subject matter, or none where there is nothing to draw.
DrawFigures = Callable[[ModelResults], list[Figure]]
MAP_FIGURES: list[DrawFigures] = [_draw_map, _draw_delays]
DATA_FIGURES: list[DrawFigures] = [
    *(_draw_fit, _draw_posterior, _draw_signals, _draw_coverage, _draw_motion),
]


def draw_figures(functions: list[DrawFigures], results: ModelResults) -> list[Figure]:
    """Draw the figures of one of the lists."""
    return [figure for draw in functions for figure in draw(results)]
