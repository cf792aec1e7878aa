"""Quality table, list of subjects and methods text of a dataset."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path

from npi_bids import __version__
from npi_bids.assessment.grades import grade_letter
from npi_bids.bids.atlases import describe_template
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
from npi_bids.io.files import write_text
from npi_bids.io.tables import write_rows
from npi_bids.parcellation.atlas_table import find_entry
from npi_bids.parcellation.damaged_volumes import CHANGE, ROBUST_SD, SHARE
from npi_bids.reports.citations import read_references, render_html, render_latex
from npi_bids.reports.components import IndexPage, SortedTable
from npi_bids.reports.contrasts import name_contrast
from npi_bids.reports.index import model_title, page_context
from npi_bids.reports.page import bibliography, index_page, methods_text
from npi_bids.reports.parameters import INSIDE, read_position
from npi_bids.surrogates.families import WHOLE_BRAIN, families
from npi_bids.whole_brain.settings import RESPONSE_SECONDS, STIMULUS_SECONDS
from npi_bids.wording import count_noun, format_range, rounded, spell_number

_SIGNS = {"positive": "increased", "negative": "decreased", "both": "increased and decreased"}
# Columns of the list of subjects: heading, and field of the quality table.
_INDEX_COLUMNS = {
    "data": "grade_data", "expected r": "expected_r",
    "split-half r": "r_split", "mean FD (mm)": "mean_fd", "minutes": "minutes_kept",
    "regions": "regions_in_model",
}  # fmt: skip

_VERDICTS = {"pass": "passed", "caution": "passed with caution", "fail": "failed"}
# Citations in the descriptions of denoising strategies.
_AUTHOR = re.compile(r"([A-Z]\w+) et al\. (\d{4})")
_AUTHORS = re.compile(rf"\(((?:{_AUTHOR.pattern}(?:; )?)+)\)")

# A row of the table of quality metrics, by column.
QualityRow = dict[str, str | float | None]


def write_texts(out_dir: Path) -> list[Path]:
    """Write the quality table and, if there is a model, the methods text with references."""
    models = list(find_models(out_dir))
    table = out_dir / QUALITY_TABLE
    quality_sidecar().write(table.with_suffix(".json"))
    write_rows(quality_rows(out_dir, models), table)
    if not models:
        return [table]
    logs = out_dir / "logs"
    text = methods_text(_methods_fields(out_dir, models))
    bibtex = bibliography(text)
    formats = {
        "md": text,
        "bib": bibtex,
        "html": render_html(text, read_references(bibtex)),
        "tex": render_latex(text),
    }
    for extension, content in formats.items():
        write_text(logs / f"CITATION.{extension}", content)
    return [table, *(logs / f"CITATION.{extension}" for extension in formats)]


def write_index(out_dir: Path) -> Path:
    """Write ``index.html``, the list of all subjects."""
    path = out_dir / "index.html"
    rows = quality_rows(out_dir, find_models(out_dir))
    write_text(path, index_page(_build_index(out_dir, rows)))
    return path


def quality_rows(out_dir: Path, models: Iterable[Model]) -> list[QualityRow]:
    """Return one row per model of the dataset, including those without a result."""
    by_name = {model.name: model for model in models}
    rows = []
    for status in find_statuses(out_dir):
        row: QualityRow = {
            "participant_id": f"sub-{status.entities['sub']}",
            "model": model_title(status.entities),
            "desc": status.desc,
            "status": status.status,
            "reason": status.reason or float("nan"),
        }
        model = by_name.get(status.name)
        if status.status == DONE and model is not None:
            row["kind"], row["own_kind"] = model.kind, model.own_kind
            row["kind_decided_by"] = model.kind_decided_by
            row["verdict"] = model.fit.verdict
            row |= _grade_columns(model)
            row["verdict_reasons"] = "; ".join(model.fit.verdict_reasons) or float("nan")
            row |= asdict(model.fit.quality)
            row["regions_in_model"] = model.fit.regions_in_model
        rows.append(row)
    return rows


def _build_index(out_dir: Path, rows: Sequence[QualityRow]) -> IndexPage:
    """Return the list of all subjects, with the reasons why some have no map."""
    common, own = split_titles([str(row["model"]) for row in rows])
    has_models = any(own)
    cells = tuple(
        (
            str(row["participant_id"]),
            *((title,) if has_models else ()),
            str(row.get("verdict") or row["status"]),
            _describe_grade(row),
            _read_reasons(row),
            *(_format_cell(row.get(field)) for field in _INDEX_COLUMNS.values()),
        )
        for row, title in zip(rows, own, strict=True)
    )
    head = ("participant", *(("model",) if has_models else ()), "result", "grade", "reason")
    table = SortedTable(
        "subjects",
        "All subjects",
        (*head, *_INDEX_COLUMNS),
        cells,
        tuple(f"{row['participant_id']}.html" for row in rows),
        caption=f"All maps: {common}" if common else "",
    )
    fates = Counter(str(row.get("verdict") or row["status"]) for row in rows)
    names = ("pass", "caution", "fail", EXCLUDED, FAILED)
    counts = tuple((name, fates[name]) for name in names if fates[name])
    return IndexPage(__version__, counts, table, page_context(out_dir, (), ""))


def split_titles(titles: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return what all titles of models have in common, and what is left of each.

    >>> split_titles(["task-rest run-1 atlas-AAL", "task-rest run-2 atlas-AAL"])
    ('task-rest atlas-AAL', ('run-1', 'run-2'))
    """
    words = [title.split() for title in titles]
    shared = [word for word in (words[0] if words else []) if all(word in row for row in words)]
    return " ".join(shared), tuple(
        " ".join(word for word in row if word not in shared) for row in words
    )


def _describe_grade(row: QualityRow) -> str:
    """Return the grade of the connections as a letter and in words."""
    grade = row.get("grade_connections")
    return f"{grade_letter(grade)}: {grade}" if isinstance(grade, str) else "n/a"


def _format_cell(value: str | float | None) -> str:
    return value if isinstance(value, str) else rounded(value)


def _read_reasons(row: QualityRow) -> str:
    for field in ("verdict_reasons", "reason"):
        if isinstance(row.get(field), str):
            return str(row[field])
    return ""


def _grade_columns(model: Model) -> QualityRow:
    grades = asdict(model.fit.grades)
    reasons = "; ".join(grades.pop("data_reasons")) or float("nan")
    return {f"grade_{name}": value for name, value in grades.items()} | {
        "grade_data_reasons": reasons
    }


def _methods_fields(out_dir: Path, models: Sequence[Model]) -> dict[str, object]:
    """Gather the numbers and names of the methods text from the sidecars."""
    statuses = find_statuses(out_dir)
    first = models[0].fit
    runs = [run for model in models for _, run in model.runs()]
    quality = {key: _format_range(getattr(m.fit.quality, key) for m in models) for key in
               ("r2", "r2_own_history", "r2_persistence", "r2_ridge_var")}  # fmt: skip
    means = find_group_maps(out_dir)
    group = GroupSidecar.read(means[0].with_suffix(".json")).group if means else None
    n_runs = {len(model.sidecar.links.sources) for model in models}
    training = first.training
    tests = [ContrastSidecar.read(path.with_suffix(".json")).test for path in find_tests(out_dir)]
    return {
        "version": __version__,
        "versions": first.software_versions,
        "n_models": len(models),
        "n_subjects": len({model.entities["sub"] for model in models}),
        "n_excluded": sum(status.status == EXCLUDED for status in statuses),
        "n_failed": sum(status.status == FAILED for status in statuses),
        "inputs": ", ".join(input_programs(out_dir)),
        "spaces": _join_unique(model.entities.get("space", "individual") for model in models),
        "trs": _join_unique(f"{model.fit.repetition_time:g}" for model in models),
        "pooled": _describe_pooling(n_runs, len(models)),
        "atlases": _join_unique(_describe_atlas(model, out_dir) for model in models),
        "external": all(not run.regressors and run.denoising != "none" for run in runs),
        "min_coverage": f"{runs[0].minimum_coverage:.0%}",
        "uncovered": _describe_uncovered([len(run.regions_not_covered) for run in runs]),
        "denoise": _denoise_fields(runs),
        "surrogate": _describe_surrogate(models),
        **_verdict_fields(models),
        "lags": training["n_lags"],
        **{key: training.get(key) for key in
           ("refit",)},
        "train_share": f"{training.get('train_fraction', 0):.0%}",
        "brain": training if first.surrogate == WHOLE_BRAIN else None,
        "brain_fit": _format_range(m.fit.quality.model_fc_r for m in models),
        "r2": quality["r2"],
        "r2_own": quality["r2_own_history"],
        "r2_persistence": quality["r2_persistence"],
        "r2_var": quality["r2_ridge_var"],
        "signs": _SIGNS,
        "sign": first.perturbation.sign,
        "strength": f"{first.perturbation.strength:g}",
        "seed": first.seed,
        "group": group,
        "tests": tests,
        "names": [name_contrast(test, out_dir) for test in tests],
        "pretrained": first.pretrained,
        **_posterior_fields(models),
        "damage": {"share": SHARE, "robust_sd": ROBUST_SD, "change": CHANGE},
        "response": {"stimulus": f"{STIMULUS_SECONDS:g}", "start": f"{RESPONSE_SECONDS[0]:g}",
                     "end": f"{RESPONSE_SECONDS[1]:g}"},
    }  # fmt: skip


def _posterior_fields(models: Sequence[Model]) -> dict[str, object]:
    """Return how parameters of a whole-brain model were inferred, and of how many maps."""
    inferred = [fields for model in models if (fields := read_position(model)) is not None]
    n_outside = sum(fields.position != INSIDE for fields in inferred)
    return {"inferred": inferred[0] if inferred else None, "n_outside": n_outside}


def _describe_surrogate(models: Sequence[Model]) -> str:
    """Return the sentences on the surrogate, as its family writes them."""
    name = models[0].fit.surrogate
    family = families().get(name)
    if family is None:  # a whole-brain model, which has its own paragraph, or a missing package
        return f"It was of the family {name}"
    text = family.describe([model.fit.training for model in models])
    decided = [model for model in models if model.fit.kind_decision]
    if decided:
        were = "was" if len(decided) == 1 else "were"
        text += (
            ". The kind of fit that was selected in most participants was used for all; "
            f"{count_noun(len(decided), 'model')} for which another had been selected {were} "
            "refitted"
        )
    return text


def _verdict_fields(models: Sequence[Model]) -> dict[str, object]:
    """Gather the fields on uncertainty and on the verdicts."""
    uncertain = models[0].fit.uncertainty
    errors = {
        "posterior": " Standard errors are closed-form posterior standard deviations.",
        "bootstrap": f" Standard errors were estimated from {uncertain.resamples} circular "
        "moving-block bootstrap samples of the windows.",
    }
    return {
        "uncertainty": errors.get(uncertain.method, ""),
        "verdicts": _describe_verdicts([model.fit.verdict for model in models]),
        "directed": _describe_share(
            sum(model.fit.direction_supported for model in models), len(models)
        ),
    }


def _describe_pooling(n_runs: set[int], n_models: int) -> str:
    """State the number of runs of a model.

    >>> _describe_pooling({1}, 1), _describe_pooling({2, 3}, 5)
    (' (one run)', ' (two or three runs each, pooled)')
    """
    numbers = " or ".join(map(spell_number, sorted(n_runs)))
    runs = f"{numbers} {'runs' if max(n_runs) > 1 else 'run'}{' each' if n_models > 1 else ''}"
    return f" ({runs}{', pooled' if max(n_runs) > 1 else ''})"


def _describe_uncovered(counts: Sequence[int]) -> str:
    if not any(counts):
        return "; no region was affected"
    return f" ({_format_range(counts)} {'region' if set(counts) == {1} else 'regions'} per run)"


def _denoise_fields(runs: Sequence[RunSidecar]) -> dict[str, object]:
    first = runs[0]
    retained = sum(run.samples_kept for run in runs) / sum(run.number_of_samples for run in runs)
    return {
        "strategy": first.denoising,
        "description": _cite_authors(first.denoising_description),
        "regressors": _format_range(len(run.regressors) for run in runs),
        "high_pass": first.high_pass,
        "low_pass": first.low_pass,
        "gsr": first.global_signal_regression,
        "smoothing": first.smoothing_fwhm,
        "fd_threshold": first.framewise_displacement_threshold,
        "standardize": first.standardize,
        "retained": f"{retained:.0%}",
        "dummies": _format_range(run.dummy_scans for run in runs),
        "censored": _format_range(run.samples_censored for run in runs),
        "n_damaged": sum(run.samples_damaged for run in runs),
    }


def _describe_atlas(model: Model, out_dir: Path) -> str:
    parts = [model.entities[key] for key in ("atlas", "seg", "scale") if key in model.entities]
    cite = (find_entry(parts[0]) or {}).get("cite")
    cited = f" [@{cite}]" if cite else ""
    name = "a custom atlas" if parts == ["custom"] else " ".join(parts)
    return name + cited + describe_template(out_dir, parts[0])


def _describe_verdicts(verdicts: Sequence[str]) -> str:
    """State how many maps passed, for the end of a sentence.

    >>> _describe_verdicts(["pass"]), _describe_verdicts(["fail", "pass", "pass"])
    ('it passed', 'two maps passed and one failed')
    >>> _describe_verdicts(["caution", "caution"])
    'both maps passed with caution'
    """
    counts = Counter(verdicts)
    parts = [(counts[verdict], text) for verdict, text in _VERDICTS.items() if counts[verdict]]
    if len(verdicts) == 1:
        return f"it {parts[0][1]}"
    if len(parts) == 1:
        all_maps = "both maps" if len(verdicts) == 2 else f"all {spell_number(len(verdicts))} maps"
        return f"{all_maps} {parts[0][1]}"
    texts = [f"{spell_number(number_)} {text}" for number_, text in parts]
    first = parts[0][0]
    texts[0] = f"{spell_number(first)} {'map' if first == 1 else 'maps'} {parts[0][1]}"
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _describe_share(number_: int, n_maps: int) -> str:
    """State in how many maps direction was supported.

    >>> _describe_share(1, 1), _describe_share(0, 1)
    ('supported', 'not supported')
    >>> _describe_share(0, 3), _describe_share(3, 3)
    ('supported in none of the three maps', 'supported in all three maps')
    """
    if n_maps == 1:
        return "supported" if number_ else "not supported"
    of_all = f"of the {spell_number(n_maps)} maps"
    if number_ == n_maps:
        return "supported in " + (
            "both maps" if n_maps == 2 else f"all {spell_number(n_maps)} maps"
        )
    return f"supported in {spell_number(number_) if number_ else 'none'} {of_all}"


def _cite_authors(description: str) -> str:
    """Replace authors and years in parentheses by the keys of their references.

    >>> _cite_authors("cosine high-pass (Fox et al. 2005; Friston et al. 1996)")
    'cosine high-pass [@fox2005; @friston1996]'
    """
    return _AUTHORS.sub(
        lambda match: "[" + "; ".join(
            f"@{name.lower()}{year}" for name, year in _AUTHOR.findall(match[1])
        ) + "]", description,
    )  # fmt: skip


def _join_unique(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _format_range(values: Iterable[float]) -> str:
    """Write one number, or the range of several."""
    finite = [float(value) for value in values if isfinite(value)]
    if not finite:
        return "n/a"
    are_counts = all(value.is_integer() for value in finite)
    low, high = (int(end) if are_counts else end for end in (min(finite), max(finite)))
    return rounded(low) if rounded(low) == rounded(high) else format_range(low, high)
