"""Quality table, list of subjects and methods text of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path

from npi_bids import __version__
from npi_bids.bids.atlases import known_atlases
from npi_bids.bids.derivatives import (
    DONE,
    EXCLUDED,
    FAILED,
    Model,
    find_group_maps,
    find_models,
    find_statuses,
    find_tests,
)
from npi_bids.bids.description import input_programs
from npi_bids.bids.outputs import QUALITY_TABLE
from npi_bids.bids.quality_columns import quality_sidecar
from npi_bids.bids.sidecars import ContrastSidecar, GroupSidecar, RunSidecar
from npi_bids.group.selection import mean_displacement
from npi_bids.io.files import write_text
from npi_bids.io.tables import write_rows
from npi_bids.parcellation.damaged_volumes import CHANGE, ROBUST_SD, SHARE
from npi_bids.reports.components import IndexPage, SortedTable, number
from npi_bids.reports.index import place_of, title_of
from npi_bids.reports.page import bibliography, index_page, methods_text
from npi_bids.surrogates.families import WHOLE_BRAIN, families
from npi_bids.whole_brain.settings import RESPONSE_SECONDS, STIMULUS_SECONDS
from npi_bids.wording import count_noun

_SIGNS = {"positive": "increased", "negative": "decreased", "both": "increased and decreased"}
# Columns of the list of subjects: heading, and field of the table of quality.
_SHOWN = {
    "status": "status", "verdict": "verdict", "expected accuracy (r)": "expected_r", "R²": "r2",
    "skill over own past": "skill_own_history", "split-half r": "r_split",
    "model FC r": "model_fc_r", "direction p": "direction_p", "mean FD (mm)": "mean_fd",
    "minutes": "minutes_kept", "regions": "regions_in_model",
}  # fmt: skip

# A row of the table of quality metrics, by column.
QualityRow = dict[str, str | float | None]


def write_texts(out_dir: Path) -> list[Path]:
    """Write the table of quality, and methods text with references where there is a model."""
    models = list(find_models(out_dir))
    table = out_dir / QUALITY_TABLE
    quality_sidecar().write(table.with_suffix(".json"))
    write_rows(quality_rows(out_dir, models), table)
    if not models:
        return [table]
    logs = out_dir / "logs"
    text = methods_text(_methods_facts(out_dir, models))
    write_text(logs / "CITATION.md", text)
    write_text(logs / "CITATION.bib", bibliography(text))
    return [table, logs / "CITATION.md", logs / "CITATION.bib"]


def write_index(out_dir: Path) -> Path:
    """Write ``index.html``, the list of all subjects."""
    path = out_dir / "index.html"
    rows = quality_rows(out_dir, find_models(out_dir))
    write_text(path, index_page(_index(out_dir, rows)))
    return path


def quality_rows(out_dir: Path, models: Iterable[Model]) -> list[QualityRow]:
    """Return one row per model of the dataset, those without a result included."""
    by_name = {model.name: model for model in models}
    rows = []
    for status in find_statuses(out_dir):
        row: QualityRow = {
            "participant_id": f"sub-{status.entities['sub']}",
            "model": title_of(status.entities),
            "desc": status.desc,
            "status": status.status,
            "reason": status.reason or float("nan"),
        }
        model = by_name.get(status.name)
        if status.status == DONE and model is not None:
            row["verdict"] = model.fit.verdict
            row["verdict_reasons"] = "; ".join(model.fit.verdict_reasons) or float("nan")
            row |= asdict(model.fit.quality) | _motion(model)
        rows.append(row)
    return rows


def _index(out_dir: Path, rows: Sequence[QualityRow]) -> IndexPage:
    """Return the list of all subjects, with why some of them have no map."""
    cells = tuple(
        (
            str(row["participant_id"]),
            str(row["model"]),
            *(_cell(row.get(field)) for field in _SHOWN.values()),
            _flags(row),
        )
        for row in rows
    )
    table = SortedTable(
        "subjects",
        "All subjects",
        ("participant", "model", *_SHOWN, "reasons"),
        cells,
        tuple(f"{row['participant_id']}.html" for row in rows),
    )
    fates = Counter(str(row.get("verdict") or row["status"]) for row in rows)
    names = ("pass", "caution", "fail", EXCLUDED, FAILED)
    counts = tuple((name, fates[name]) for name in names if fates[name])
    return IndexPage(__version__, counts, table, place_of(out_dir, (), ""))


def _cell(value: str | float | None) -> str:
    return value if isinstance(value, str) else number(value)


def _flags(row: QualityRow) -> str:
    for field in ("verdict_reasons", "reason"):
        if isinstance(row.get(field), str):
            return str(row[field])
    return ""


def _motion(model: Model) -> dict[str, float]:
    runs = [sidecar for _, sidecar in model.runs()]
    moved = mean_displacement(runs)
    kept = sum(run.samples_kept * run.repetition_time for run in runs)
    return {
        "mean_fd": float("nan") if moved is None else moved,
        "minutes_kept": kept / 60,
        "regions_in_model": model.fit.regions_in_model,
    }


def _methods_facts(out_dir: Path, models: Sequence[Model]) -> dict[str, object]:
    """Gather every number and word of the methods text from sidecars."""
    statuses = find_statuses(out_dir)
    first = models[0].fit
    runs = [run for model in models for _, run in model.runs()]
    quality = {key: _spread(getattr(m.fit.quality, key) for m in models) for key in
               ("r2", "r2_own_history", "r2_persistence", "r2_ridge_var")}  # fmt: skip
    means = find_group_maps(out_dir)
    group = GroupSidecar.read(means[0].with_suffix(".json")).group if means else None
    n_runs = {len(model.sidecar.links.sources) for model in models}
    training = first.training
    return {
        "version": __version__,
        "versions": first.software_versions,
        "n_models": len(models),
        "n_subjects": len({model.entities["sub"] for model in models}),
        "n_excluded": sum(status.status == EXCLUDED for status in statuses),
        "n_failed": sum(status.status == FAILED for status in statuses),
        "inputs": ", ".join(input_programs(out_dir)),
        "spaces": _words(model.entities.get("space", "individual") for model in models),
        "trs": _words(f"{model.fit.repetition_time:g}" for model in models),
        "pooled": _pooled_words(n_runs),
        "atlases": _words(_atlas_words(model) for model in models),
        "given": all(not run.regressors and run.denoising != "none" for run in runs),
        "min_coverage": f"{runs[0].minimum_coverage:.0%}",
        "uncovered": _uncovered_words([len(run.regions_not_covered) for run in runs]),
        "denoise": _denoise_facts(runs),
        "surrogate_words": _surrogate_words(models),
        **_trust_facts(models),
        "lags": training["n_lags"],
        **{key: training.get(key) for key in
           ("refit",)},
        "train_share": f"{training.get('train_fraction', 0):.0%}",
        "brain": training if first.surrogate == WHOLE_BRAIN else None,
        "brain_fit": _spread(m.fit.quality.model_fc_r for m in models),
        "r2": quality["r2"],
        "r2_own": quality["r2_own_history"],
        "r2_persistence": quality["r2_persistence"],
        "r2_var": quality["r2_ridge_var"],
        "signs": _SIGNS,
        "sign": first.perturbation.sign,
        "strength": f"{first.perturbation.strength:g}",
        "seed": first.seed,
        "group": group,
        "tests": [ContrastSidecar.read(path.with_suffix(".json")).test
                  for path in find_tests(out_dir)],
        "pretrained": first.pretrained,
        "damage": {"share": SHARE, "robust_sd": ROBUST_SD, "change": CHANGE},
        "response": {"stimulus": f"{STIMULUS_SECONDS:g}", "start": f"{RESPONSE_SECONDS[0]:g}",
                     "end": f"{RESPONSE_SECONDS[1]:g}"},
    }  # fmt: skip


def _surrogate_words(models: Sequence[Model]) -> str:
    """Return the sentences on the surrogate, as its family words them."""
    name = models[0].fit.surrogate
    known = families().get(name)
    if known is None:  # a whole-brain model, which has a paragraph of its own, or a lost package
        return f"It was of the kind {name}"
    return known.describe([model.fit.training for model in models])


def _trust_facts(models: Sequence[Model]) -> dict[str, object]:
    """Gather what the text says of the linear part, of uncertainty, and of the verdicts."""
    uncertain = models[0].fit.uncertainty
    errors = {
        "posterior": " Standard errors are posterior standard deviations in closed form.",
        "bootstrap": f" Standard errors were estimated from {uncertain.resamples} circular "
        "moving-block bootstrap samples of the windows.",
    }
    return {
        "uncertainty": errors.get(uncertain.method, ""),
        "verdicts": _counts(model.fit.verdict for model in models),
        "directed": f"{sum(m.fit.direction_supported for m in models)} of "
        f"{count_noun(len(models), 'map')}",
    }


def _pooled_words(n_runs: set[int]) -> str:
    numbers = " or ".join(map(str, sorted(n_runs)))
    return f", pooling {numbers} runs" if max(n_runs) > 1 else ", one run each"


def _uncovered_words(counts: Sequence[int]) -> str:
    if not any(counts):
        return "; no region was affected"
    return f" ({_spread(counts)} {'region' if set(counts) == {1} else 'regions'} per run)"


def _denoise_facts(runs: Sequence[RunSidecar]) -> dict[str, object]:
    first = runs[0]
    kept = sum(run.samples_kept for run in runs) / sum(run.number_of_samples for run in runs)
    return {
        "strategy": first.denoising,
        "description": first.denoising_description,
        "regressors": _spread(len(run.regressors) for run in runs),
        "high_pass": first.high_pass,
        "low_pass": first.low_pass,
        "gsr": first.global_signal_regression,
        "smoothing": first.smoothing_fwhm,
        "fd_threshold": first.framewise_displacement_threshold,
        "standardize": first.standardize,
        "kept": f"{kept:.0%}",
        "dummies": _spread(run.dummy_scans for run in runs),
        "censored": _spread(run.samples_censored for run in runs),
        "n_damaged": sum(run.samples_damaged for run in runs),
    }


def _atlas_words(model: Model) -> str:
    parts = [model.entities[key] for key in ("atlas", "seg", "scale") if key in model.entities]
    cite = known_atlases().get(parts[0], {}).get("cite")
    return " ".join(parts) + (f" [@{cite}]" if cite else "")


def _counts(values: Iterable[str]) -> str:
    """Write how often each value is there: ``2 pass, 1 fail``."""
    found = Counter(values)
    return ", ".join(f"{number_} {value}" for value, number_ in found.most_common())


def _words(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _spread(values: Iterable[float]) -> str:
    """Write one number, or the range of several."""
    known = [float(value) for value in values if isfinite(value)]
    if not known:
        return "n/a"
    low, high = min(known), max(known)
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
