"""The page of a subject: its matrix, its quality, its runs and its whole-brain model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any

from npi_bids import __version__
from npi_bids.assessment.grades import (
    DATA_LIMITS,
    NOT_SUPPORTED,
    SINGLE,
    STRENGTHS,
    describe_grades,
    explain_undirected,
    grade_letter,
)
from npi_bids.assessment.settings import VerdictSettings
from npi_bids.bids.derivatives import (
    DONE,
    Model,
    UnitStatus,
    find_models,
    find_statuses,
    list_subjects_of_units,
)
from npi_bids.bids.outputs import CATALOGUE, MODEL, UNCERTAINTIES, output_names
from npi_bids.bids.quality_columns import FIGURES, SAMPLES_PER_PARAMETER
from npi_bids.bids.sidecars import RunSidecar
from npi_bids.connectivity.network_measures import compute_flow
from npi_bids.errors import ReportError
from npi_bids.io.files import write_text
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import read_matrix
from npi_bids.plotting import MatrixStyle
from npi_bids.records import Array, Quality
from npi_bids.reports import figures_signals
from npi_bids.reports.advice import advise
from npi_bids.reports.brain_figures import (
    place_on_cortex,
    split_files,
    view_cortex,
    why_not_drawn,
)
from npi_bids.reports.components import (
    ALPHA,
    Figure,
    KeyFigure,
    ModelSection,
    Row,
    SortedTable,
    SubjectPage,
)
from npi_bids.reports.connections import Reading, name_strongest, tabulate_strongest
from npi_bids.reports.cortex import CortexView
from npi_bids.reports.figures_connectivity import Layer, MatrixView
from npi_bids.reports.index import model_title, page_context, read_methods
from npi_bids.reports.network_blocks import tabulate_networks
from npi_bids.reports.page import subject_page
from npi_bids.reports.parameters import tabulate_parameters, warn_of_position
from npi_bids.reports.subject_figures import (
    DATA_FIGURES,
    MAP_FIGURES,
    ModelResults,
    Runs,
    check_registration,
    draw_figures,
)
from npi_bids.surrogates.families import describe_kind
from npi_bids.wording import count_noun, format_range, join_items, rounded

# Columns of a table of connections beside the map: output, and heading.
_DETAILS = {output: CATALOGUE[output].label for output in UNCERTAINTIES if CATALOGUE[output].label}
_FC = ("pearsoncorrelation", "modelfc")
_TABLES = ("strength", "delays", "parameters", "posterior")
_ENOUGH_RETAINED = 1 - DATA_LIMITS.good_censored  # of the minutes of a subject
_UNITS = {"standard deviations of the source": "SD"}


class ModelMap:
    """The map of a model, with its views, tables and figures."""

    def __init__(self, model: Model, name: str) -> None:
        self.model, self.name = model, name
        self.ec = read_matrix(model.path("npi"))
        self.regions = Regions(model.regions_file, self.ec.labels)
        self.networks = self.regions.network
        self.companions = {
            output: read_matrix(model.path(output)).matrix
            for output in (*_FC, *_DETAILS)
            if model.path(output).is_file()
        }

    def view(self) -> MatrixView:
        """Return the matrices that the page shows."""
        ec = CATALOGUE["npi"]
        layers = [Layer(ec.label, ec.title, self.ec.matrix)]
        if "npiq" in self.companions:
            significant = self._significant()
            title = f"effective connectivity with q below {ALPHA:g}"
            layers.append(Layer(f"EC, q < {ALPHA:g}", title, significant, below=("q", ALPHA)))
        for fc in (CATALOGUE[output] for output in _FC if output in self.companions):
            matrix = self.companions[fc.name]
            layers.append(Layer(fc.label, fc.title, matrix, directed=fc.directed, limit=1.0))
        details = {"q": self.companions["npiq"]} if "npiq" in self.companions else {}
        if "npiupper" in self.companions:
            details["half"] = self.companions["npiupper"] - self.ec.matrix
        unit = "SD of the target"
        return MatrixView(self.name, self.ec.labels, self.networks, layers, details, unit)

    def cortex(self, name: str, *, directed: bool) -> CortexView | None:
        """Return the cortex of the page, if it is known where the regions lie on it."""
        vertices = place_on_cortex(self.regions)
        if vertices is None:
            return None
        return view_cortex(name, self.ec, self.regions, vertices, directed=directed)

    def summary(self) -> tuple[str, ...]:
        """Summarise the map in a few sentences."""
        fit = self.model.fit
        quality = fit.quality
        why_undirected = explain_undirected(quality, fit.grades, fit.verdict_thresholds)
        lines = self._strongest_lines(directed=not why_undirected)
        share = quality.antisymmetric_share if isfinite(quality.antisymmetric_share) else 0.0
        share_text = f"{rounded(100 * share)} % of its variance is directional (antisymmetric)."
        if why_undirected:  # said before any connection is named, unless none differs from zero
            text = f"Read the map as undirected: {why_undirected}; {share_text}"
            lines.insert(0 if self.has_significant else 1, text)
        else:
            named = fit.grades.direction in {SINGLE, STRENGTHS}
            lines += [
                *(self._net_lines() if named else []),
                f"The signals support the direction of the map; {share_text}",
            ]
        if isfinite(quality.expected_r):
            lines.append(
                "In simulations with comparable quality metrics, maps correlated r = "
                f"{rounded(quality.expected_r)} with the truth (90 % interval "
                f"{format_range(*quality.expected_r_interval)})."
            )
        if self.regions.centres is None and place_on_cortex(self.regions) is None:
            lines.append(f"Nothing is drawn on the brain, because {why_not_drawn(self.regions)}.")
        return tuple(lines)

    def _strongest_lines(self, *, directed: bool = True) -> list[str]:
        """State what single connections show: first of all if none differs from zero."""
        strongest = name_strongest(self.ec, self._reading(directed=directed))
        if "npiq" not in self.companions:
            return strongest
        n_all = int((self.companions["npiq"] >= 0).sum())
        if not self.has_significant:
            return [
                f"None of {count_noun(n_all, 'connection')} has q below {ALPHA:g}: no single "
                "connection can be told from zero."
            ]
        n_significant = int((self.companions["npiq"] < ALPHA).sum())
        return [*strongest, f"{n_significant} of {n_all} connections have q below {ALPHA:g}."]

    def _net_lines(self) -> list[str]:
        """Name the regions that send and receive most on balance."""
        flow = compute_flow(self.ec.matrix)
        sends, receives = find_net_extremes(self.ec.labels, flow.net_flow)
        if not sends:
            return []
        return [
            f"{sends} is the strongest net source and {receives} the strongest net sink "
            "(absolute strength)."
        ]

    @property
    def has_significant(self) -> bool:
        """Whether any connection differs from zero; True where that was not tested."""
        return self._reading(directed=True).significant

    def _reading(self, *, directed: bool) -> Reading:
        return Reading(directed, self.companions.get("npiq"))

    def strongest_table(self, *, directed: bool = True) -> SortedTable:
        """Return the strongest connections with their intervals, folded if none is significant."""
        details = {name: self.companions[output] for output, name in _DETAILS.items()
                   if output in self.companions}  # fmt: skip
        return tabulate_strongest(
            f"{self.name}-strongest",
            self.ec,
            details,
            self.networks,
            self._reading(directed=directed),
        )

    def matrices(self) -> list[Figure]:
        """Return matrices as static figures for download."""
        drawn = [("ec", "EC", self.ec.matrix, MatrixStyle(title="EC"))]
        for output, name in zip(_FC, ("fc", "modelfcmatrix"), strict=True):
            if output in self.companions:
                title = CATALOGUE[output].label
                style = MatrixStyle(title=title, directed=False, limit=1.0)
                drawn.append((name, title, self.companions[output], style))
        if "npiq" in self.companions:
            style = MatrixStyle(title=f"EC, q < {ALPHA:g}")
            drawn.append(("sure", "sure", self._significant(), style))
        matrices = [(matrix, style) for _, _, matrix, style in drawn]
        pictures = figures_signals.draw_matrices(matrices, self.networks, self.ec.labels)
        return [
            Figure(name, title, "", svg)
            for (name, title, _, _), svg in zip(drawn, pictures, strict=True)
        ]

    def _significant(self) -> Array:
        return figures_signals.only_significant(self.ec.matrix, self.companions["npiq"], ALPHA)


def find_net_extremes(labels: tuple[str, ...], net: Array) -> tuple[str, str]:
    """Return the regions with the largest and the smallest net flow, or empty names."""
    finite = [(value, label) for value, label in zip(net, labels, strict=True) if value == value]  # noqa: PLR0124 (NaN)
    if not finite:
        return "", ""
    return max(finite)[1], min(finite)[1]


def key_figures(model: Model, runs: Runs) -> tuple[KeyFigure, ...]:
    """Return the key metrics, each with its threshold and meaning."""
    quality, limits = model.fit.quality, model.fit.verdict_thresholds
    sidecars = [sidecar for _, sidecar in runs]
    metrics = [
        _grade_metric("skill over own past", quality.skill_own_history,
                      (limits.min_skill, limits.good_skill),
                      "reduction in held-out prediction error gained from other regions"),
        _grade_metric("skill over a ridge VAR", quality.skill_ridge_var, (None, 0.0),
                      "reduction in held-out prediction error compared with a ridge VAR of one "
                      "lag"),
        _grade_model_fc(quality, limits),
        _grade_metric("split-half r", quality.r_split,
                      (None if quality.shrunk else limits.min_split, limits.good_split),
                      "correlation of the maps of the two halves of the data"
                      + (", after subtracting the group map" if quality.shrunk else "")),
        _grade_direction(quality, limits),
        _grade_metric("expected accuracy (r)", quality.expected_r,
                      (limits.min_expected, limits.good_expected),
                      "correlation with the truth in comparable simulations; n/a: there are none"),
        _grade_low_metric("r(EC, FC)", quality.fc_r, limits.max_fc_r,
                          "similarity of the map to functional connectivity; matters where little "
                          "of the map is directed"),
        _grade_low_metric("stripes", quality.stripe_share, limits.max_stripes,
                          "fraction of the map's variance explained by the means of sources or of "
                          "targets"),
        _grade_metric("samples per parameter", quality.samples_per_parameter,
                      (None, limits.good_samples), SAMPLES_PER_PARAMETER),
        _grade_motion(quality.mean_fd),
        _grade_minutes(sidecars),
        _grade_coverage(model, sidecars),
    ]  # fmt: skip
    return tuple(metrics)


def _grade_metric(
    name: str, value: float, limits: tuple[float | None, float], note: str
) -> KeyFigure:
    """Grade a metric for which higher values are better."""
    bad, good = limits
    target = f"≥ {good:g}" + (f" (bad < {bad:g})" if bad is not None else "")
    if not isfinite(value):
        return KeyFigure(name, "n/a", target, note, "unknown")
    state = "good" if value >= good else "bad" if bad is not None and value < bad else "caution"
    return KeyFigure(name, rounded(value), target, note, state)


def _grade_low_metric(name: str, value: float, limit: float, note: str) -> KeyFigure:
    """Grade a metric for which lower values are better."""
    target = f"≤ {limit:g}"
    if not isfinite(value):
        return KeyFigure(name, "n/a", target, note, "unknown")
    return KeyFigure(name, rounded(value), target, note, "good" if value <= limit else "caution")


def _grade_direction(quality: Quality, limits: VerdictSettings) -> KeyFigure:
    yes = quality.direction_supported
    return KeyFigure(
        "direction supported",
        f"{'yes' if yes else 'no'} (p {rounded(quality.direction_p)})",
        f"p < {limits.direction_p:g}, ratio ≥ {limits.direction_ratio:g}",
        "time-reversal test: do the data carry directed information? If not, read the map as "
        "undirected",
        "good" if yes else "caution",
    )


def _grade_model_fc(quality: Quality, limits: VerdictSettings) -> KeyFigure:
    """Grade the free run: its functional connectivity, or that it diverged."""
    note = "correlation of the FC of the free-running surrogate with that of the data"
    figure = _grade_metric("model FC r", quality.model_fc_r, (None, limits.good_model_fc), note)
    if quality.free_run_diverged:
        return replace(figure, value="diverged", state="bad")
    return figure


def _grade_motion(mean_fd: float) -> KeyFigure:
    good, most = DATA_LIMITS.good_fd, DATA_LIMITS.max_fd
    target = f"≤ {good:g} mm (bad > {most:g})"
    note = "mean framewise displacement over all samples, including censored ones"
    if not isfinite(mean_fd):
        return KeyFigure("mean FD", "not known", target, note, "unknown")
    state = "good" if mean_fd <= good else "caution" if mean_fd <= most else "bad"
    return KeyFigure("mean FD", f"{rounded(mean_fd)} mm", target, note, state)


def _grade_minutes(sidecars: Sequence[RunSidecar]) -> KeyFigure:
    retained = sum(run.samples_kept * run.repetition_time for run in sidecars) / 60
    recorded = sum(run.number_of_samples * run.repetition_time for run in sidecars) / 60
    state = "good" if retained >= _ENOUGH_RETAINED * recorded else "caution"
    return KeyFigure(
        "minutes kept", f"{retained:.1f} of {recorded:.1f}", f"≥ {100 * _ENOUGH_RETAINED:g} %",
        "after removal of dummy scans and censoring, over all runs", state,
    )  # fmt: skip


def _grade_coverage(model: Model, sidecars: Sequence[RunSidecar]) -> KeyFigure:
    lost = {name for run in sidecars for name in run.regions_not_covered}
    inside = model.fit.regions_in_model
    return KeyFigure(
        "regions covered", f"{inside} of {inside + len(lost)}", "all",
        "other regions are n/a in all matrices",
        "good" if not lost else "caution",
    )  # fmt: skip


def write_subject_report(out_dir: Path, subject: str) -> Path:
    """Write ``sub-<label>.html`` and its figures from what the output dataset holds.

    Raises
    ------
    ReportError
        If the dataset has no results of the subject.
    """
    statuses = find_statuses(out_dir, subject)
    if not statuses:
        raise ReportError(
            f"<{out_dir}> holds no results of sub-{subject}; run the participant level."
        )
    models = {model.name: model for model in find_models(out_dir, subject)}
    sections = [
        _model_section(out_dir, status, models.get(status.name), number)
        for number, status in enumerate(statuses, start=1)
    ]
    pages = [f"sub-{label}" for label in list_subjects_of_units(out_dir)]
    context = page_context(out_dir, pages, f"sub-{subject}")
    page = SubjectPage(subject, __version__, tuple(sections), read_methods(out_dir), context)
    path = out_dir / f"sub-{subject}.html"
    write_text(path, subject_page(page))
    return path


def save_figures(out_dir: Path, prefix: str, figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """Save figures for download; return them with their paths.

    ``prefix`` is their path, relative to the dataset, up to the name of each.
    """
    saved = []
    for figure in figures:
        file = Path(f"{prefix}_{figure.name}.svg")
        write_text(out_dir / file, figure.svg)
        saved.append(replace(figure, file=file.as_posix()))
    return tuple(saved)


def _model_section(
    out_dir: Path, status: UnitStatus, model: Model | None, number: int
) -> ModelSection:
    title = model_title(status.entities)
    if status.status != DONE or model is None:
        crash = out_dir / status.crash if status.crash else None
        text = (
            crash.read_text(encoding="utf-8", errors="replace")
            if crash and crash.is_file()
            else ""
        )
        return ModelSection(title, status.status, reason=status.reason, crash=text)
    runs = model.runs()
    model_map = ModelMap(model, f"matrix-{number}")
    results = ModelResults(model, model_map.ec, model_map.regions, runs)
    directed = model.fit.grades.direction != NOT_SUPPORTED
    paths = [
        model.path(output)
        for output in (
            *output_names(MODEL, matrices=True),
            "strength",
            "delays",
            "parameters",
            "posterior",
        )
    ]
    paths += [path for path, _ in runs]
    prefix = f"sub-{status.entities['sub']}/figures/{status.name}"
    # Matrices are only saved as files: the page draws them itself, cell by cell.
    save_figures(out_dir, prefix, model_map.matrices())
    places, files = split_files(save_figures(out_dir, prefix, draw_figures(MAP_FIGURES, results)))
    cortex = model_map.cortex(f"cortex-{number}", directed=directed)
    return ModelSection(
        title,
        status.status,
        kind=describe_model_kind(model),
        verdict=model.fit.verdict,
        reasons=model.fit.verdict_reasons,
        grades=describe_grades(model.fit.grades),
        facts=_summary_box(model, runs),
        advice=advise(model.fit),
        key=key_figures(model, runs),
        summary=model_map.summary(),
        view=model_map.view(),
        blocks=tabulate_networks(model_map.ec, model_map.networks, directed=directed),
        tables=(
            model_map.strongest_table(directed=directed),
            *tabulate_parameters(model, f"parameters-{number}"),
        ),
        cortex=replace(cortex, files=files) if cortex else None,
        place_figures=places,
        processing=_processing_rows(model, runs),
        quality=_quality_rows(model, runs),
        warnings=_list_warnings(model, runs),
        figures=save_figures(out_dir, prefix, draw_figures(DATA_FIGURES, results)),
        files=tuple(p.relative_to(out_dir).as_posix() for p in paths if p.is_file()),
        registration=check_registration(results).explain(),
    )


def _summary_box(model: Model, runs: Runs) -> tuple[Row, ...]:
    """Return what a reader wants to know of a scan and its map before all else."""
    fit, sidecars = model.fit, [sidecar for _, sidecar in runs]
    kept, recorded = sum(fit.samples_kept_per_run), sum(fit.samples_per_run)
    atlas = " ".join(model.entities[key] for key in ("atlas", "seg", "scale")
                     if key in model.entities)  # fmt: skip
    minutes = kept * fit.repetition_time / 60
    grades = fit.grades
    return (
        Row("TR", f"{fit.repetition_time:g} s"),
        Row("volumes kept", f"{kept} of {recorded}", f"{minutes:.1f} min"),
        Row("runs", str(len(runs))),
        Row("space", model.entities.get("space", "individual")),
        Row("atlas", atlas, count_noun(fit.regions_in_model, "region")),
        Row("denoising", sidecars[0].denoising),
        Row("kind of fit", model.kind),
        Row("data", grades.data),
        Row("connections", f"{grade_letter(grades.connections)}: {grades.connections}"),
        Row("direction", grades.direction),
    )


def _processing_rows(model: Model, runs: Runs) -> tuple[Row, ...]:
    fit, sidecar = model.fit, runs[0][1]
    perturbation = fit.perturbation
    unit = _UNITS.get(perturbation.unit, perturbation.unit)
    return (
        Row("runs", "\n".join(path.name.split("_space")[0] for path, _ in runs)),
        Row("TR", f"{fit.repetition_time:g} s"),
        Row(
            "samples kept",
            f"{sum(fit.samples_kept_per_run)} of {sum(fit.samples_per_run)}",
        ),
        Row("windows per run", ", ".join(map(str, fit.windows_per_run))),
        Row("denoising", sidecar.denoising, f"{len(sidecar.regressors)} regressors"),
        Row("surrogate", fit.surrogate, _describe_surrogate(fit.training)),
        Row(
            "perturbation",
            f"{perturbation.sign}, {perturbation.strength:g} {unit}, {perturbation.kind}",
            f"response after {perturbation.lag_seconds:g} s",
        ),
        Row("seed, device", f"{fit.seed}, {fit.device}"),
        Row("configuration", model.configuration),
    )


def describe_model_kind(model: Model) -> str:
    """Return what kind of model was fitted to a subject, and who decided that if not its data."""
    fit, decision = model.fit, model.fit.kind_decision
    text = describe_kind(fit.surrogate, fit.training, shrunk=fit.pretrained is not None)
    if decision is None:
        return text
    n_chose = decision.subjects_of_kind.get(decision.kind, 0)
    text += (
        f" The kind of fit was decided for the dataset: {n_chose:g} of "
        f"{sum(decision.subjects_of_kind.values()):g} subjects chose {decision.kind}, while the "
        f"data of this subject alone chose {decision.own_kind}."
    )
    if model.kind != decision.kind:
        text += f" That kind could not be fitted; this is {model.kind}."
    return text


def _describe_surrogate(training: Mapping[str, Any]) -> str:
    if "fitted" not in training:
        return count_noun(int(training["n_lags"]), "lag")
    fitted = ", ".join(f"{name} {value:.3g}" for name, value in training["fitted"].items())
    return f"{training['model']} of neurolib, {fitted or 'its own parameters'}"


def _quality_rows(model: Model, runs: Runs) -> tuple[Row, ...]:
    quality = asdict(model.fit.quality)
    # A whole-brain model predicts nothing, so most metrics do not exist for it.
    metrics = [metric for metric in FIGURES if metric.displayed
             and (isfinite(quality[metric.name]) or model.fit.surrogate != "wbm")]  # fmt: skip
    rows = [Row(metric.title, rounded(quality[metric.name]), metric.note) for metric in metrics]
    rows += _own_share_rows(model.fit.quality)
    n_lost = len({name for _, sidecar in runs for name in sidecar.regions_not_covered})
    rows.append(
        Row("regions not covered", str(n_lost), "in at least one run; n/a in all matrices")
    )
    return tuple(rows)


def _own_share_rows(quality: Quality) -> list[Row]:
    """Say how much of a map that is shrunk towards a group is the subject's own."""
    if not quality.shrunk:
        return []
    if not isfinite(quality.own_share):
        return [Row("the subject's own share", "n/a", "there is no map without prior to tell it")]
    note = (
        f"{quality.own_share:.0%} of this map is the subject's own "
        f"({quality.own_share_symmetric:.0%} of the symmetric part, "
        f"{quality.own_share_antisymmetric:.0%} of the antisymmetric part); the rest is the mean "
        "of the group"
    )
    return [Row("the subject's own share", f"{quality.own_share:.0%}", note)]


def _list_warnings(model: Model, runs: Runs) -> tuple[str, ...]:
    warnings = []
    first = runs[0][1]
    space = model.entities.get("space", "individual")
    if first.atlas_space not in (space, "unknown"):
        warnings.append(
            f"The atlas is in {first.atlas_space} space, the images are in {space} space: "
            "regions are misplaced by some millimetres, or meaningless if the images are in "
            "individual space."
        )
    warnings += [
        f"Run {number} was excluded: {sidecar.excluded}."
        for number, (_, sidecar) in enumerate(runs, start=1)
        if sidecar.excluded
    ]
    warnings += [
        f"Run {number}: {sidecar.samples_damaged} of {sidecar.number_of_samples} samples were "
        "left out because the image is damaged there (constant, not finite, or far from "
        "neighbouring samples)."
        for number, (_, sidecar) in enumerate(runs, start=1)
        if sidecar.samples_damaged
    ]
    lost = sorted({name for _, sidecar in runs for name in sidecar.regions_not_covered})
    if lost:
        verb = "is" if len(lost) == 1 else "are"
        warnings.append(
            f"{count_noun(len(lost), 'region')} {verb} not covered in every run and thus n/a: "
            f"{join_items(lost, most=10)}."
        )
    return (*warnings, *warn_of_position(model), *model.fit.hazards)
