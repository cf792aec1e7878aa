"""The page of a subject: its matrix, its quality, its runs and its whole-brain model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from npi_bids import __version__
from npi_bids.assessment.quality import mean_spectrum
from npi_bids.assessment.verdict import VerdictSettings
from npi_bids.bids.derivatives import DONE, Model, UnitStatus, find_models, find_statuses, sibling
from npi_bids.bids.outputs import CATALOGUE, MEASURES, UNCERTAINTIES
from npi_bids.bids.quality_columns import FIGURES
from npi_bids.bids.sidecars import RunSidecar
from npi_bids.connectivity.network_measures import Flow, flow_of, network_map
from npi_bids.errors import ReportError
from npi_bids.group.selection import mean_displacement
from npi_bids.group.tables import edge_rows, least_coverage, ranked
from npi_bids.io.files import write_text
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import read_matrix, read_series, read_table
from npi_bids.parcellation.cifti import on_surface
from npi_bids.records import HIGH_FREQUENCY, Array, ECResult, Quality
from npi_bids.reports import figures_connectivity, figures_signals
from npi_bids.reports.components import (
    Figure,
    KeyFigure,
    ModelSection,
    Row,
    SortedTable,
    SubjectPage,
    number,
)
from npi_bids.reports.figures_connectivity import MOST_ARROWS, Layer, MatrixView
from npi_bids.reports.index import place_of, read_methods, title_of
from npi_bids.reports.page import subject_page
from npi_bids.whole_brain.settings import GOOD_FC
from npi_bids.wording import count_noun, join_words

if TYPE_CHECKING:
    import pandas as pd

# q below which a connection is significant, and how many connections a table lists.
ALPHA, LISTED = 0.05, 100
# What a table of connections shows beside the map, by the name of its column.
_DETAILS = {kind: CATALOGUE[kind].label for kind in UNCERTAINTIES if CATALOGUE[kind].label}
_FC = ("pearsoncorrelation", "modelfc")
# Mean FD (mm) above which motion is considerable, and high: near the stringent and the lenient
# exclusion thresholds (0.25 and 0.55 mm) of Parkes et al. (2018,
# doi:10.1016/j.neuroimage.2017.12.073).
_HIGH_MOTION = (0.25, 0.5)
_ENOUGH_KEPT = 0.8  # of the minutes of a subject
_UNITS = {"standard deviations of the source": "SD"}


def draw_brain(model: Model) -> list[Figure]:
    """Return the pictures of search and model."""
    table = read_table(model.path("training"))
    training = model.fit.training
    drawn = [
        Figure(
            "search",
            "Parameter search",
            f"{len(table)} simulations of {training['sim_minutes']:g} minutes. The best has r = "
            f"{number(training['r_fc'])} with empirical FC and a Kolmogorov-Smirnov distance of "
            f"{number(training['ks_fcd'])} of FC dynamics. Dashed: r = {GOOD_FC:g}, a good fit.",
            figures_signals.draw_search(table),
            f"Fitness over {len(table)} simulations; best r of FC {number(training['r_fc'])}",
        )
    ]
    landscape = figures_signals.draw_landscape(table)
    if landscape is not None:
        caption = "Correlation of simulated and empirical FC by coupling and excitability."
        drawn.append(Figure("landscape", "Explored parameters", caption, landscape))
    if model.path("bifurcation").is_file():
        caption = (
            "Minimum and maximum activity of a single region without noise: it oscillates where "
            "they differ, and switches between states where they jump."
        )
        svg = figures_signals.draw_bifurcation(read_table(model.path("bifurcation")))
        drawn.append(Figure("bifurcation", "Bifurcation diagram", caption, svg))
    return drawn


class MapOfModel:
    """The map of a model, with the views, tables and figures of it."""

    def __init__(self, model: Model, name: str) -> None:
        self.model, self.name = model, name
        self.ec = read_matrix(model.path("npi"))
        self.regions = Regions(model.regions_file, self.ec.labels)
        self.networks = self.regions.network
        self.others = {
            kind: read_matrix(model.path(kind)).matrix
            for kind in (*_FC, *_DETAILS)
            if model.path(kind).is_file()
        }

    def view(self) -> MatrixView:
        """Return the matrices that the page shows."""
        ec = CATALOGUE["npi"]
        layers = [Layer(ec.label, ec.title, self.ec.matrix)]
        if "npiq" in self.others:
            significant = self._significant()
            title = f"effective connectivity with q below {ALPHA:g}"
            layers.append(Layer(f"EC, q < {ALPHA:g}", title, significant, below=("q", ALPHA)))
        for fc in (CATALOGUE[kind] for kind in _FC if kind in self.others):
            matrix = self.others[fc.kind]
            layers.append(Layer(fc.label, fc.title, matrix, directed=fc.directed, limit=1.0))
        details = {"q": self.others["npiq"]} if "npiq" in self.others else {}
        if "npiupper" in self.others:
            details["half"] = self.others["npiupper"] - self.ec.matrix
        unit = "SD of the target"
        return MatrixView(self.name, self.ec.labels, self.networks, layers, details, unit)

    def summary(self) -> tuple[str, ...]:
        """Return the map in a few sentences."""
        flow = flow_of(self.ec.matrix)
        lines = []
        best = next(iter(ranked(self.ec, 1)), None)
        if best is not None:
            source, target, value = best
            lines.append(f"The strongest connection is {source} → {target} ({number(value)}).")
        if "npiq" in self.others:
            n_significant = int((self.others["npiq"] < ALPHA).sum())
            n_all = int((self.others["npiq"] >= 0).sum())
            lines.append(f"{n_significant} of {n_all} connections have q below {ALPHA:g}.")
        sends, receives = ranked_regions(self.ec.labels, flow.net_flow)
        if sends:
            lines.append(
                f"{sends} is the strongest net source and {receives} the strongest net sink "
                "(absolute strength)."
            )
        quality = self.model.fit.quality
        supported = "" if quality.direction_supported else "not "
        directed = quality.antisymmetric_share if isfinite(quality.antisymmetric_share) else 0.0
        lines.append(
            f"Direction is {supported}supported by the signals; "
            f"{number(100 * directed)} % of the map's variance is directional (antisymmetric)."
        )
        if isfinite(quality.expected_r):
            lines.append(
                "In simulations with comparable quality metrics, maps correlated r = "
                f"{number(quality.expected_r)} with the truth (90 % interval "
                f"{number(quality.expected_r_lower)} to {number(quality.expected_r_upper)})."
            )
        if self.regions.centres is None and _mesh_atlas(self.regions) is None:
            lines.append(
                "Nothing is drawn on the brain, because only the mesh of fsaverage5 is available "
                "and the atlas lies on another surface."
            )
        return tuple(lines)

    def strongest_table(self) -> SortedTable:
        """Return the strongest connections with their intervals."""
        columns, rows = edge_rows(
            self.ec, {name: self.others[kind] for kind, name in _DETAILS.items()
                      if kind in self.others}, self.networks, LISTED,
        )  # fmt: skip
        return SortedTable(
            f"{self.name}-strongest", f"The {len(rows)} strongest connections", columns, rows
        )

    def matrices(self) -> list[Figure]:
        """Return matrices as static figures for download."""
        draw = figures_signals.draw_matrix
        drawn = [Figure("ec", "EC", "", draw(self.ec.matrix, self.networks, title="EC"))]
        for kind, name in zip(_FC, ("fc", "modelfcmatrix"), strict=True):
            if kind in self.others:
                title = CATALOGUE[kind].label
                svg = draw(
                    self.others[kind], self.networks, title=title, directed=False, limit=1.0
                )
                drawn.append(Figure(name, title, "", svg))
        if "npiq" in self.others:
            svg = draw(self._significant(), self.networks, title=f"EC, q < {ALPHA:g}")
            drawn.append(Figure("sure", "sure", "", svg))
        return drawn

    def figures(self) -> list[Figure]:
        """Return where connections lie: between networks, and on the brain."""
        return [*draw_places(self.ec, self.regions), *_draw_delays(self.model, self.regions)]

    def _significant(self) -> Array:
        return figures_signals.only_significant(self.ec.matrix, self.others["npiq"], ALPHA)


def _draw_delays(model: Model, regions: Regions) -> list[Figure]:
    """Return pictures of the delays of the regions, where the map allows for some."""
    path = model.path("delays")
    if not path.is_file():
        return []
    table = read_table(path)
    delays, errors = (table[name].to_numpy(dtype=float) for name in ("delay", "standard_error"))
    caption = (
        "Time by which the signal of a region lags behind its state, less the median over "
        "regions; most likely haemodynamic, and taken out of the map."
    )
    drawn = [
        Figure(
            "delays",
            "Delays of the regions",
            f"{caption} Bars are 95 % intervals.",
            figures_signals.draw_delays(delays, errors),
            "Delays of all regions in order of size, with intervals",
        )
    ]
    if regions.centres is not None:
        drawn.append(
            Figure(
                "delaysbrain",
                "Delays on the brain",
                caption,
                figures_connectivity.draw_on_brain(delays, regions.centres),
                "Glass brain with one point per region, coloured by its delay",
            )
        )
    return drawn


def draw_places(ec: ECResult, regions: Regions, prefix: str = "") -> list[Figure]:
    """Return pictures of where the connections of a map lie."""
    drawn = []
    size = ECResult(abs(ec.matrix), ec.labels)
    if regions.network:
        flow = network_map(size, regions.network)
        svg = figures_connectivity.draw_chord(flow.matrix, flow.labels)
        if svg is not None:
            drawn.append(
                Figure(
                    f"{prefix}chord",
                    "Connections between networks",
                    "Mean absolute connection between the regions of two networks. A ribbon has "
                    "the colour of the sending network and ends short of the receiving one.",
                    svg,
                    "Chord diagram of connections between networks",
                )
            )
    strength = flow_of(ec.matrix)
    if regions.centres is None:
        return [*drawn, *_draw_surface(regions, strength, prefix)]
    drawn.append(
        Figure(
            f"{prefix}connectome",
            "The strongest connections on the brain",
            f"The {MOST_ARROWS} entries of largest absolute value. Arrows point from source to "
            "target; red: positive, blue: negative.",
            figures_connectivity.draw_connectome(ec.matrix, regions.centres),
            "Glass brain with the strongest connections, which the table below lists",
        )
    )
    for name, values, words in (
        ("brain", strength.out_strength, "sends"),
        ("brainin", strength.in_strength, "receives"),
    ):
        drawn.append(
            Figure(
                f"{prefix}{name}",
                f"Connections that each region {words}",
                f"Sum of the connections that a region {words}, drawn at its centre.",
                figures_connectivity.draw_on_brain(values, regions.centres),
                f"Glass brain with one point per region, coloured by what it {words}",
            )
        )
    return drawn


def _draw_surface(regions: Regions, strength: Flow, prefix: str) -> list[Figure]:
    """Return what regions send and receive on the cortex, where there is a mesh of it."""
    atlas = _mesh_atlas(regions)
    drawn = []
    for name, values, words in (
        ("brain", strength.out_strength, "sends"),
        ("brainin", strength.in_strength, "receives"),
    ):
        sides = on_surface(atlas, regions.labels, values) if atlas else None
        if sides is not None:
            drawn.append(
                Figure(
                    f"{prefix}{name}",
                    f"Connections that each region {words}",
                    f"Sum of the connections that a region {words}, drawn on fsaverage5.",
                    figures_connectivity.draw_on_surface(sides),
                    f"Cortical surface, coloured by what each region {words}",
                )
            )
    return drawn


def _mesh_atlas(regions: Regions) -> Path | None:
    """Return the atlas of a map where it lies on a surface of which a mesh is at hand."""
    stem = regions.path.name.replace("_dseg.tsv", "*_dseg.dlabel.nii")
    for atlas in sorted(regions.path.parent.glob(stem)):
        if on_surface(atlas, (), []) is not None:
            return atlas
    return None


def ranked_regions(labels: tuple[str, ...], net: Array) -> tuple[str, str]:
    """Return the region with the largest and that with the smallest net flow, or nothing."""
    known = [(value, label) for value, label in zip(net, labels, strict=True) if value == value]  # noqa: PLR0124 (NaN)
    if not known:
        return "", ""
    return max(known)[1], min(known)[1]


Runs = list[tuple[Path, RunSidecar]]


def key_figures(model: Model, runs: Runs) -> tuple[KeyFigure, ...]:
    """Return the figures that decide, each with its threshold and what it means."""
    quality, limits = model.fit.quality, model.fit.verdict_thresholds
    about = [sidecar for _, sidecar in runs]
    found = [
        _graded("skill over own past", quality.skill_own_history,
                (limits.min_skill, limits.good_skill),
                "reduction in held-out prediction error gained from other regions"),
        _graded("skill over a ridge VAR", quality.skill_ridge_var, (None, 0.0),
                "reduction in held-out prediction error compared with a ridge VAR of one lag"),
        _graded("model FC r", quality.model_fc_r, (None, limits.good_model_fc),
                "correlation of the FC of the free-running surrogate with that of the data"),
        _graded("split-half r", quality.r_split,
                (None if quality.shrunk else limits.min_split, limits.good_split),
                "correlation of the maps of the two halves of the data"
                + (", after subtracting the group map" if quality.shrunk else "")),
        _direction(quality, limits),
        _graded("expected accuracy (r)", quality.expected_r,
                (limits.min_expected, limits.good_expected),
                "correlation with the truth in comparable simulations; n/a: there are none"),
        _graded("samples per parameter", quality.samples_per_parameter,
                (None, limits.good_samples), "effective samples per region and lag"),
        _motion(mean_displacement(about)),
        _minutes(about),
        _coverage(model, about),
    ]  # fmt: skip
    return tuple(found)


def _graded(name: str, value: float, limits: tuple[float | None, float], note: str) -> KeyFigure:
    """Grade a figure of which more is better."""
    bad, good = limits
    target = f"≥ {good:g}" + (f" (bad < {bad:g})" if bad is not None else "")
    if not isfinite(value):
        return KeyFigure(name, "n/a", target, note, "unknown")
    state = "good" if value >= good else "bad" if bad is not None and value < bad else "caution"
    return KeyFigure(name, number(value), target, note, state)


def _direction(quality: Quality, limits: VerdictSettings) -> KeyFigure:
    yes = quality.direction_supported
    return KeyFigure(
        "direction supported",
        f"{'yes' if yes else 'no'} (p {number(quality.direction_p)})",
        f"p < {limits.direction_p:g}, ratio ≥ {limits.direction_ratio:g}",
        "time-reversal test: do the data carry directed information? If not, read the map as "
        "undirected",
        "good" if yes else "caution",
    )


def _motion(mean_fd: float | None) -> KeyFigure:
    target = f"≤ {_HIGH_MOTION[0]:g} mm (bad > {_HIGH_MOTION[1]:g})"
    note = "mean framewise displacement over all samples, including censored ones"
    if mean_fd is None:
        return KeyFigure("mean FD", "n/a", target, note, "unknown")
    state = (
        "good"
        if mean_fd <= _HIGH_MOTION[0]
        else "caution"
        if mean_fd <= _HIGH_MOTION[1]
        else "bad"
    )
    return KeyFigure("mean FD", f"{number(mean_fd)} mm", target, note, state)


def _minutes(about: Sequence[RunSidecar]) -> KeyFigure:
    kept = sum(run.samples_kept * run.repetition_time for run in about) / 60
    whole = sum(run.number_of_samples * run.repetition_time for run in about) / 60
    state = "good" if kept >= _ENOUGH_KEPT * whole else "caution"
    return KeyFigure(
        "minutes kept", f"{kept:.1f} of {whole:.1f}", f"≥ {100 * _ENOUGH_KEPT:g} %",
        "after removal of dummy scans and censoring, over all runs", state,
    )  # fmt: skip


def _coverage(model: Model, about: Sequence[RunSidecar]) -> KeyFigure:
    lost = {name for run in about for name in run.regions_not_covered}
    inside = model.fit.regions_in_model
    return KeyFigure(
        "regions covered", f"{inside} of {inside + len(lost)}", "all",
        "other regions are n/a in all matrices",
        "good" if not lost else "caution",
    )  # fmt: skip


def draw_signals(
    runs: Runs, motion: Sequence[pd.DataFrame], before: Sequence[Array]
) -> list[Figure]:
    """Return the carpet before and after cleaning, and the spectrum after it."""
    about = runs[0][1]
    tr = about.repetition_time
    series = [read_series(path, tr) for path, _ in runs]
    drawn = [
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
        )
    ]
    spectrum = mean_spectrum(series)
    if spectrum is not None:
        drawn.append(
            Figure(
                "spectrum",
                "Spectrum",
                "Mean power of the denoised signals. Dashed: the filter cut-offs and "
                f"{HIGH_FREQUENCY:g} Hz, above which low-passed signals have no power left.",
                figures_connectivity.draw_spectrum(
                    *spectrum, high_pass=about.high_pass, low_pass=about.low_pass
                ),
                "Mean power spectrum of the denoised signals",
            )
        )
    return drawn


def write_subject_report(out_dir: Path, subject: str) -> Path:
    """Write ``sub-<label>.html`` and its figures from what the output dataset holds.

    Raises
    ------
    ReportError
        The dataset knows nothing of the subject.
    """
    everybody = find_statuses(out_dir)
    statuses = [status for status in everybody if status.entities["sub"] == subject]
    if not statuses:
        raise ReportError(f"<{out_dir}> holds nothing of sub-{subject}.")
    models = {model.name: model for model in find_models(out_dir, subject)}
    sections = [
        _section(out_dir, status, models.get(status.name), number)
        for number, status in enumerate(statuses, start=1)
    ]
    pages = sorted({f"sub-{status.entities['sub']}" for status in everybody})
    place = place_of(out_dir, pages, f"sub-{subject}")
    page = SubjectPage(subject, __version__, tuple(sections), read_methods(out_dir), place)
    path = out_dir / f"sub-{subject}.html"
    write_text(path, subject_page(page))
    return path


def save_figures(out_dir: Path, prefix: str, drawn: Sequence[Figure]) -> tuple[Figure, ...]:
    """Save figures for download; return them with their paths.

    ``prefix`` is their path, relative to the dataset, up to the name of each.
    """
    saved = []
    for figure in drawn:
        file = Path(f"{prefix}_{figure.name}.svg")
        write_text(out_dir / file, figure.svg)
        saved.append(replace(figure, file=file.as_posix()))
    return tuple(saved)


def _section(out_dir: Path, status: UnitStatus, model: Model | None, number: int) -> ModelSection:
    title = title_of(status.entities)
    if status.status != DONE or model is None:
        crash = out_dir / status.crash if status.crash else None
        text = (
            crash.read_text(encoding="utf-8", errors="replace")
            if crash and crash.is_file()
            else ""
        )
        return ModelSection(title, status.status, reason=status.reason, crash=text)
    runs = model.runs()
    shown = MapOfModel(model, f"matrix-{number}")
    whole_brain = model.fit.surrogate == "wbm"
    drawn = [
        *(draw_brain(model) if whole_brain else _draw_fit(model)),
        *_draw_runs(runs, shown.regions),
    ]
    paths = [model.path(kind) for kind in (*MEASURES, *UNCERTAINTIES, "strength", "npinetworks")]
    paths += [path for path, _ in runs]
    prefix = f"sub-{status.entities['sub']}/figures/{status.name}"
    # Matrices are files alone: the page draws them itself, cell by cell.
    save_figures(out_dir, prefix, shown.matrices())
    return ModelSection(
        title,
        status.status,
        verdict=model.fit.verdict,
        reasons=model.fit.verdict_reasons,
        key=key_figures(model, runs),
        summary=shown.summary(),
        view=shown.view(),
        tables=(shown.strongest_table(),),
        map_figures=save_figures(out_dir, prefix, shown.figures()),
        done=_done(model, runs),
        quality=_quality(model, runs),
        warnings=_warnings(model, runs),
        figures=save_figures(out_dir, prefix, drawn),
        files=tuple(p.relative_to(out_dir).as_posix() for p in paths if p.is_file()),
    )


def _draw_fit(model: Model) -> list[Figure]:
    names = {
        "r2": "surrogate",
        "r2_ridge_var": "ridge VAR",
        "r2_own_history": "each region's own past",
        "r2_persistence": "last sample repeated",
    }
    quality = model.fit.quality
    shown = {name: float(getattr(quality, key)) for key, name in names.items()}
    known = {name: value for name, value in shown.items() if isfinite(value)}
    drawn = [
        Figure(
            "prediction",
            "Prediction of held-out samples",
            "Mean R² over regions. The gain over each region's own past is due to connectivity.",
            figures_signals.draw_prediction(known),
            "; ".join(f"{name}: R² {number(value)}" for name, value in known.items()),
        )
    ]
    if model.path("modelfc").is_file():
        simulated = read_matrix(model.path("modelfc")).matrix
        fc = read_matrix(model.path("pearsoncorrelation")).matrix
        drawn.append(
            Figure(
                "modelfc",
                "Functional connectivity of the surrogate",
                "FC of the free-running surrogate against FC of the data; one point per pair.",
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
        baselines = {name: value for name, value in known.items() if name != "surrogate"}
        drawn.append(
            Figure(
                "training", "Training", caption, figures_signals.draw_training(curve, baselines)
            )
        )
    return drawn


def _draw_runs(runs: Runs, regions: Regions) -> list[Figure]:
    coverage = [read_table(sibling(path, "timeseries", "coverage")) for path, _ in runs]
    motion = [read_table(sibling(path, "timeseries", "outliers")) for path, _ in runs]
    about = runs[0][1]
    before = [
        read_table(sibling(path, "timeseries", "raw")).to_numpy(dtype=float) for path, _ in runs
    ]
    drawn = draw_signals(runs, motion, before)
    if any(table["coverage"].notna().any() for table in coverage):
        drawn.append(
            Figure(
                "coverage",
                "Coverage",
                "Fraction of each region covered by the run; regions below the threshold are n/a.",
                figures_signals.draw_coverage(coverage, about.minimum_coverage),
            )
        )
        if regions.centres is not None:
            drawn.append(
                Figure(
                    "coveragebrain",
                    "Coverage on the brain",
                    "Fraction of each region covered by the run; minimum over runs.",
                    figures_connectivity.draw_on_brain(
                        least_coverage(coverage), regions.centres, signed=False
                    ),
                    "Glass brain with one point per region, coloured by its coverage",
                )
            )
    if any(table["framewise_displacement"].notna().any() for table in motion):
        drawn.append(
            Figure(
                "motion",
                "Motion and censoring",
                "Framewise displacement. Shaded samples were not used; no window crosses them.",
                figures_signals.draw_motion(
                    motion, about.framewise_displacement_threshold, about.repetition_time
                ),
            )
        )
    return drawn


def _done(model: Model, runs: Runs) -> tuple[Row, ...]:
    fit, about = model.fit, runs[0][1]
    push = fit.perturbation
    return (
        Row("runs", "\n".join(path.name.split("_space")[0] for path, _ in runs)),
        Row("TR", f"{fit.repetition_time:g} s"),
        Row(
            "samples kept",
            f"{sum(fit.samples_kept_per_run)} of {sum(fit.samples_per_run)}",
        ),
        Row("windows per run", ", ".join(map(str, fit.windows_per_run))),
        Row("denoising", about.denoising, f"{len(about.regressors)} regressors"),
        Row("surrogate", fit.surrogate, _about_surrogate(fit.training)),
        Row(
            "perturbation",
            f"{push.sign}, {push.strength:g} {_UNITS.get(push.unit, push.unit)}, {push.kind}",
            f"response after {push.lag_seconds:g} s",
        ),
        Row("seed, device", f"{fit.seed}, {fit.device}"),
        Row("configuration", model.configuration),
    )


def _about_surrogate(training: Mapping[str, Any]) -> str:
    if "fitted" not in training:
        return count_noun(int(training["n_lags"]), "lag")
    fitted = ", ".join(f"{name} {value:.3g}" for name, value in training["fitted"].items())
    return f"{training['model']} of neurolib, {fitted or 'its own parameters'}"


def _quality(model: Model, runs: Runs) -> tuple[Row, ...]:
    quality = asdict(model.fit.quality)
    # A whole-brain model predicts nothing, so most figures do not exist for it.
    shown = [figure for figure in FIGURES if figure.shown
             and (isfinite(quality[figure.name]) or model.fit.surrogate != "wbm")]  # fmt: skip
    rows = [Row(figure.title, number(quality[figure.name]), figure.note) for figure in shown]
    fd = [about.mean_framewise_displacement for _, about in runs]
    known = [value for value in fd if value is not None]
    rows.append(Row("mean FD", f"{number(fmean(known)) if known else 'n/a'} mm"))
    n_lost = len({name for _, about in runs for name in about.regions_not_covered})
    rows.append(
        Row("regions not covered", str(n_lost), "in at least one run; n/a in all matrices")
    )
    return tuple(rows)


def _warnings(model: Model, runs: Runs) -> tuple[str, ...]:
    found = []
    about = runs[0][1]
    space = model.entities.get("space", "individual")
    if about.atlas_space not in (space, "unknown"):
        found.append(
            f"The atlas is in {about.atlas_space} space, the images are in {space} space: "
            "regions are misplaced by some millimetres, or meaningless if the images are in "
            "individual space."
        )
    found += [
        f"Run {number} was excluded: {sidecar.excluded}."
        for number, (_, sidecar) in enumerate(runs, start=1)
        if sidecar.excluded
    ]
    found += [
        f"Run {number}: {sidecar.samples_damaged} of {sidecar.number_of_samples} samples were "
        "left out because the image is damaged there (constant, not finite, or far from "
        "neighbouring samples)."
        for number, (_, sidecar) in enumerate(runs, start=1)
        if sidecar.samples_damaged
    ]
    lost = sorted({name for _, sidecar in runs for name in sidecar.regions_not_covered})
    if lost:
        verb = "is" if len(lost) == 1 else "are"
        found.append(
            f"{count_noun(len(lost), 'region')} {verb} not covered in every run and thus n/a: "
            f"{join_words(lost, most=10)}."
        )
    return (*found, *model.fit.hazards)
