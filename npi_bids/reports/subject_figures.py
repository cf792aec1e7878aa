"""Figures on the page of a subject, in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.assessment.grades import NOT_SUPPORTED
from npi_bids.assessment.quality import mean_spectrum
from npi_bids.assessment.settings import HIGH_FREQUENCY
from npi_bids.bids.derivatives import Model, sibling
from npi_bids.bids.sidecars import PosteriorFields, RunSidecar
from npi_bids.group.tables import least_coverage
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import read_matrix, read_series, read_table
from npi_bids.records import ECResult
from npi_bids.reports import figures_connectivity, figures_signals
from npi_bids.reports.brain_figures import draw_connections
from npi_bids.reports.components import ALPHA, Figure
from npi_bids.reports.figures_posterior import draw_posterior_figures
from npi_bids.reports.registration import RegistrationCheck
from npi_bids.whole_brain.settings import CLOSE_FC, GOOD_FC
from npi_bids.wording import count_noun, format_range, join_items, rounded

if TYPE_CHECKING:
    import pandas as pd

Runs = list[tuple[Path, RunSidecar]]

_FULL = 0.95  # coverage that is not worth a bar
_MOST_BARS = 25  # regions whose coverage is drawn


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
            f"{training['sim_minutes']:g} minutes, the best has r = {rounded(training['r_fc'])} "
            "with empirical FC and a Kolmogorov-Smirnov distance of "
            f"{rounded(training['ks_fcd'])} of FC dynamics. Dashed: r = {GOOD_FC:g}, a good fit.",
            figures_signals.draw_search(table),
            f"Fitness over {len(table)} simulations; best r of FC {rounded(training['r_fc'])}",
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
        f"{name} from {format_range(float(close[name].min()), float(close[name].max()))}"
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
            "; ".join(f"{name}: R² {rounded(value)}" for name, value in finite_r2.items()),
        )
    ]
    if model.path("modelfc").is_file():
        simulated = read_matrix(model.path("modelfc")).matrix
        fc = read_matrix(model.path("pearsoncorrelation")).matrix
        figures.append(
            Figure(
                "modelfc",
                "Functional connectivity of the surrogate",
                "FC of the free-running surrogate against that of the data; one point per "
                "pair. Line: equality. Its "
                f"SD over pairs is {rounded(quality.model_fc_ratio)} times that of the data: a "
                "strong prior keeps the pattern, not the strength.",
                figures_signals.draw_agreement(simulated, fc, quality.model_fc_r),
                f"Scatter of model FC against FC, r {rounded(quality.model_fc_r)}",
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
            "Framewise displacement (shaded: samples not used, which no window crosses; dashed: "
            "threshold), and the signals of all regions before and after denoising"
            + (", by network" if results.regions.network else "")
            + ". Orange: censored.",
            figures_connectivity.draw_carpet(
                [before, [run.data for run in series]],
                [table["framewise_displacement"].to_numpy(dtype=float) for table in motion],
                [table["left_out"].to_numpy(dtype=float) for table in motion],
                tr,
                results.regions.network,
                sidecar.framewise_displacement_threshold,
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


def check_registration(results: ModelResults) -> RegistrationCheck:
    """Return what is known of where the regions lie in the runs."""
    space = results.model.entities.get("space", "individual")
    return RegistrationCheck(results.regions, results.runs, space, results.run_tables("coverage"))


def _draw_registration(results: ModelResults) -> list[Figure]:
    return check_registration(results).figures()


def _draw_coverage(results: ModelResults) -> list[Figure]:
    """Return the coverage of the regions that are not nearly covered, if there are any."""
    coverage = results.run_tables("coverage")
    if not any(table["coverage"].notna().any() for table in coverage):
        return []
    least = least_coverage(coverage)
    names = coverage[0]["name"].astype(str).tolist()
    partly = [(float(share), name) for share, name in zip(least, names, strict=True)
              if not share >= _FULL]  # fmt: skip
    if not partly:
        return []
    threshold = results.runs[0][1].minimum_coverage
    listed = sorted((share if isfinite(share) else 0.0, name) for share, name in partly)
    shown = listed[:_MOST_BARS]
    caption = (
        f"Fraction of each region with signal, minimum over runs; {len(partly)} of {len(names)} "
        f"regions are covered by less than {_FULL:.0%}"
        + (f", and the {_MOST_BARS} least covered are shown" if len(listed) > len(shown) else "")
        + f". Regions below {threshold:g} (dashed) are n/a."
    )
    svg = figures_signals.draw_coverage(shown, threshold)
    alt = ", ".join(f"{name} {share:.0%}" for share, name in shown)
    return [Figure("coverage", "Coverage of regions", caption, svg, alt)]


def _draw_posterior(results: ModelResults) -> list[Figure]:
    """Return the figures of the parameters of a whole-brain model, if they were inferred."""
    path = results.model.path("parameters")
    if not path.is_file():
        return []
    fields = PosteriorFields.read(path.with_suffix(".json"))
    return draw_posterior_figures(results.model.path, fields)


# The figures of a page, in their order: those on the brain, and those of fit and data. Each
# function returns the figures of one subject matter, or none where there is nothing to draw.
DrawFigures = Callable[[ModelResults], list[Figure]]
MAP_FIGURES: list[DrawFigures] = [_draw_map, _draw_delays]
DATA_FIGURES: list[DrawFigures] = [
    *(_draw_registration, _draw_fit, _draw_posterior, _draw_signals, _draw_coverage),
]


def draw_figures(functions: list[DrawFigures], results: ModelResults) -> list[Figure]:
    """Draw the figures of one of the lists."""
    return [figure for draw in functions for figure in draw(results)]
