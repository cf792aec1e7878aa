"""Gather what the reports show from the output dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from npi_bids import __version__
from npi_bids.bids.names import MEASURES, UNCERTAINTIES, output_path, parse_name
from npi_bids.bids.results import DONE, Model, UnitStatus, find_models, find_statuses
from npi_bids.errors import ReportError
from npi_bids.interfaces.pages_brain import draw_brain
from npi_bids.interfaces.pages_map import MapOfModel
from npi_bids.interfaces.pages_place import place_of, read_methods, title_of
from npi_bids.interfaces.pages_quality import draw_signals, key_figures
from npi_bids.io.files import write_text
from npi_bids.io.statistics import Regions, least_coverage
from npi_bids.io.tables import read_matrix, read_table
from npi_bids.reports import figures, figures_network
from npi_bids.reports.facts import QUALITY_NOTES, number
from npi_bids.reports.page import subject_page
from npi_bids.reports.records import Figure, ModelSection, Row, SubjectPage

_UNITS = {"standard deviations of the source": "SD"}


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
        raise ReportError(f"<{out_dir}> knows nothing of sub-{subject}.")
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
    """Save figures for use elsewhere; return them with where they lie.

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
    whole_brain = model.sidecar["Surrogate"] == "wbm"
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
        verdict=str(model.sidecar["Verdict"]),
        reasons=tuple(model.sidecar["VerdictReasons"]),
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


Runs = list[tuple[Path, dict[str, Any]]]


def _beside(path: Path, kind: str) -> Path:
    """Return another table of the same run."""
    entities = dict(parse_name(path.name).entities)
    desc = entities.pop("desc")
    return path.parent / output_path(kind, entities, desc).name


def _draw_fit(model: Model) -> list[Figure]:
    names = {
        "r2": "surrogate",
        "r2_ridge_var": "ridge VAR",
        "r2_own_history": "each region's own past",
        "r2_persistence": "last sample repeated",
    }
    quality = model.sidecar["Quality"]
    known = {name: quality[key] for key, name in names.items() if quality[key] is not None}
    drawn = [
        Figure(
            "prediction",
            "Does the surrogate predict?",
            "Held-out samples, mean over regions; what the surrogate adds is connectivity.",
            figures.draw_prediction(known),
            "; ".join(f"{name}: R² {number(value)}" for name, value in known.items()),
        )
    ]
    if model.path("modelfc").is_file():
        simulated = read_matrix(model.path("modelfc")).matrix
        fc = read_matrix(model.path("pearsoncorrelation")).matrix
        drawn.append(
            Figure(
                "modelfc",
                "Does the surrogate behave like the brain it was fitted to?",
                "FC of the free-running surrogate against FC of the data, one point per pair.",
                figures.draw_agreement(simulated, fc, quality["model_fc_r"] or float("nan")),
                f"Scatter of model FC against FC, r {number(quality['model_fc_r'])}",
            )
        )
    curve = read_table(model.path("training"))
    if len(curve) > 1:
        caption = (
            "Mean squared error of the next sample, in training and in held-out windows; grey: "
            "other ways to predict the held-out ones (about 1 - R²)."
        )
        baselines = {name: value for name, value in known.items() if name != "surrogate"}
        drawn.append(
            Figure("training", "Training", caption, figures.draw_training(curve, baselines))
        )
    return drawn


def _draw_runs(runs: Runs, regions: Regions) -> list[Figure]:
    coverage = [read_table(_beside(path, "coverage")) for path, _ in runs]
    motion = [read_table(_beside(path, "outliers")) for path, _ in runs]
    about = runs[0][1]
    before = [read_table(_beside(path, "raw")).to_numpy(dtype=float) for path, _ in runs]
    drawn = draw_signals(runs, motion, before)
    if any(table["coverage"].notna().any() for table in coverage):
        drawn.append(
            Figure(
                "coverage",
                "Coverage",
                "Share of each region that the run covers; regions below the threshold are n/a.",
                figures.draw_coverage(coverage, about["MinimumCoverage"]),
            )
        )
        if regions.centres is not None:
            drawn.append(
                Figure(
                    "coveragebrain",
                    "Coverage on the brain",
                    "Share of each region that the run covers, the least of all runs.",
                    figures_network.draw_on_brain(
                        least_coverage(coverage), regions.centres, signed=False
                    ),
                    "Glass brain with a dot per region, coloured by its coverage",
                )
            )
    if any(table["framewise_displacement"].notna().any() for table in motion):
        drawn.append(
            Figure(
                "motion",
                "Motion and censoring",
                "Framewise displacement; shaded samples were left out. No window crosses them.",
                figures.draw_motion(
                    motion, about["FramewiseDisplacementThreshold"], about["RepetitionTime"]
                ),
            )
        )
    return drawn


def _done(model: Model, runs: Runs) -> tuple[Row, ...]:
    sidecar, about = model.sidecar, runs[0][1]
    training, push = sidecar["Training"], sidecar["Perturbation"]
    return (
        Row("runs", "\n".join(path.name.split("_space")[0] for path, _ in runs)),
        Row("sampling period", f"{sidecar['RepetitionTime']:g} s"),
        Row(
            "samples kept",
            f"{sum(sidecar['SamplesKeptPerRun'])} of {sum(sidecar['SamplesPerRun'])}",
        ),
        Row("windows per run", ", ".join(map(str, sidecar["WindowsPerRun"]))),
        Row("denoising", about["Denoising"], f"{len(about['Regressors'])} regressors"),
        Row("surrogate", sidecar["Surrogate"], _about_surrogate(training)),
        Row(
            "perturbation",
            f"{push['Sign']}, {push['Strength']:g} {_UNITS.get(push['Unit'], push['Unit'])}, "
            f"{push['Kind']}",
            f"effect {push['LagSeconds']:g} s later",
        ),
        Row("seed, device", f"{sidecar['Seed']}, {sidecar['Device']}"),
        Row("configuration", sidecar["ConfigurationHash"]),
    )


def _about_surrogate(training: Mapping[str, Any]) -> str:
    if "fitted" not in training:
        return f"{training['n_lags']} lag(s)"
    fitted = ", ".join(f"{name} {value:.3g}" for name, value in training["fitted"].items())
    return f"{training['model']} of neurolib, {fitted or 'its own parameters'}"


def _quality(model: Model, runs: Runs) -> tuple[Row, ...]:
    quality = model.sidecar["Quality"]
    # A whole-brain model predicts nothing, so most figures do not exist for it.
    shown = [entry for entry in QUALITY_NOTES
             if quality[entry[0]] is not None or model.sidecar["Surrogate"] != "wbm"]  # fmt: skip
    rows = [Row(name, number(quality[key]), note) for key, name, note in shown]
    fd = [about["MeanFramewiseDisplacement"] for _, about in runs]
    known = [value for value in fd if value is not None]
    rows.append(Row("mean FD", f"{number(fmean(known)) if known else 'n/a'} mm"))
    n_lost = len({name for _, about in runs for name in about["RegionsNotCovered"]})
    rows.append(
        Row("regions not covered", str(n_lost), "in at least one run; n/a in all matrices")
    )
    return tuple(rows)


def _warnings(model: Model, runs: Runs) -> tuple[str, ...]:
    found = []
    about = runs[0][1]
    space = model.entities.get("space", "an individual's space")
    if about["AtlasSpace"] not in (space, "unknown"):
        found.append(
            f"The atlas is drawn in {about['AtlasSpace']}, the images are in {space}: regions are "
            "off by some millimetres, or meaningless if the space is an individual's."
        )
    found += [
        f"Run {number} was left out: {sidecar['Excluded']}."
        for number, (_, sidecar) in enumerate(runs, start=1)
        if sidecar["Excluded"]
    ]
    found += [
        f"Run {number}: {sidecar['SamplesDamaged']} of {sidecar['NumberOfSamples']} samples were "
        "left out because the image is damaged there (constant, not finite, or far from the "
        "samples around them)."
        for number, (_, sidecar) in enumerate(runs, start=1)
        if sidecar["SamplesDamaged"]
    ]
    lost = sorted({name for _, sidecar in runs for name in sidecar["RegionsNotCovered"]})
    if lost:
        names = ", ".join(lost[:10]) + (" ..." if len(lost) > 10 else "")
        found.append(f"{len(lost)} region(s) are not covered in every run and are n/a: {names}.")
    return (*found, *model.sidecar["Hazards"])
