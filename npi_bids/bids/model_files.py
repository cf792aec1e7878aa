"""Files of one model, and those exchanged between its training, perturbation and assessment."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from npi_bids import __version__
from npi_bids.assessment.grades import grade
from npi_bids.assessment.settings import AssessSettings
from npi_bids.bids.outputs import MEASURES
from npi_bids.bids.sidecars import (
    DelayMapOrigin,
    ExpectedAccuracy,
    FittedModel,
    ModelOutcome,
    Perturbation,
    PretrainedOrigin,
    SeriesSummary,
    UncertaintySource,
)
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import PerturbedModel, SubjectEC, TrainedModel
from npi_bids.io.files import read_json, write_json
from npi_bids.io.tables import read_series, write_matrix, write_table
from npi_bids.records import RegionSeries, Table
from npi_bids.surrogates.base import TrainLog, TrainSettings, describe_training
from npi_bids.surrogates.devices import find_device
from npi_bids.surrogates.storage import read_tensors, save_surrogate, write_tensors

SUMMARY = "summary.json"
_DONE, _EXCLUDED = "done", "excluded"
_MATRICES = ("matrix", "jacobian", "members", "responses")
_ELSEWHERE = ("surrogate", "seed", "device")  # settings of the training with separate keys
_PACKAGES = ("numpy", "scipy", "torch", "nilearn", "nibabel", "nipype")


def _summary(path: str) -> SeriesSummary:
    return SeriesSummary.read(Path(path))


def read_runs(series: Sequence[str], summaries: Sequence[str]) -> list[RegionSeries]:
    """Read the series of a subject, with the sampling period from the summary of each run."""
    return [
        read_series(Path(path), tr=_summary(summary).tr)
        for path, summary in zip(series, summaries, strict=True)
    ]


def read_regressors(summaries: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all confounds that were regressed out of any run."""
    names = [name for path in summaries for name in _summary(path).regressors]
    return tuple(dict.fromkeys(names))


def read_hazards(summaries: Sequence[str]) -> tuple[str, ...]:
    """Return the possible problems with the series of each run, with the number of the run."""
    return tuple(
        f"Run {number}: {hazard}"
        for number, path in enumerate(summaries, start=1)
        for hazard in _summary(path).hazards
    )


def with_runs(
    result: SubjectEC, summaries: Sequence[str], account: Mapping[str, object] | None = None
) -> SubjectEC:
    """Return a result with hazards, motion and coverage of its runs, and additions to its account.

    Dummy scans do not count as censored.
    """
    runs = [_summary(path) for path in summaries]
    n_samples = sum(run.n_samples - run.n_dummy for run in runs)
    n_censored = sum(run.n_censored for run in runs)
    quality = replace(
        result.quality,
        mean_fd=_known_mean([run.mean_fd for run in runs]),
        censored_share=n_censored / n_samples if n_samples else result.quality.censored_share,
        lowest_coverage=min(
            (run.lowest_coverage for run in runs if math.isfinite(run.lowest_coverage)),
            default=float("nan"),
        ),
    )
    return replace(
        result,
        quality=quality,
        hazards=(*result.hazards, *read_hazards(summaries)),
        account={**result.account, **(account or {})},
    )


def _known_mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are known, or NaN."""
    known = [value for value in values if math.isfinite(value)]
    return fmean(known) if known else float("nan")


def write_training(trained: TrainedModel, folder: Path) -> Path:
    """Write the settings and the errors of a training as JSON, and return its path."""
    log = trained.log
    path = folder / "training.json"
    content = {
        "status": _DONE,
        "settings": asdict(trained.settings),
        "train": [_exact(error) for error in log.train],
        "valid": [_exact(error) for error in log.valid],
        "details": {name: _exact(value) for name, value in log.details},
        "best_epoch": log.best_epoch,
    }
    write_json(path, content)
    return path


def _exact(value: float) -> float | str:
    """Return a number in a form that JSON preserves, including infinity and NaN."""
    return float(value) if math.isfinite(value) else str(float(value))


def write_no_training(reason: str, folder: Path) -> Path:
    """Write why no surrogate was trained, and return the path of the file."""
    path = folder / "training.json"
    write_json(path, {"status": _EXCLUDED, "reason": reason})
    return path


def read_training(path: Path) -> tuple[TrainLog, TrainSettings]:
    """Read the output of :func:`write_training`: the log of the training and its settings."""
    content = read_json(path)
    train, valid = (tuple(map(float, content[side])) for side in ("train", "valid"))
    details = tuple((name, float(value)) for name, value in content["details"].items())
    log = TrainLog(train, valid, details, int(content["best_epoch"]))
    return log, TrainSettings(**content["settings"])


def read_exclusion(path: Path) -> str:
    """Return why no surrogate was trained, as written by :func:`write_no_training`."""
    return str(read_json(path)["reason"])


def write_perturbed(perturbed: PerturbedModel, folder: Path) -> Path:
    """Write the matrices of a perturbed surrogate as safetensors, and return their path."""
    path = folder / "connectivity.safetensors"
    write_tensors({name: getattr(perturbed, name) for name in _MATRICES}, path)
    return path


def read_perturbed(path: Path, perturb: PerturbSettings) -> PerturbedModel:
    """Read the output of :func:`write_perturbed` for these settings of the perturbation."""
    tensors = read_tensors(path)
    return PerturbedModel(**{name: tensors[name] for name in _MATRICES}, settings=perturb)


def write_subject(
    result: SubjectEC,
    runs: Sequence[RegionSeries],
    perturb: PerturbSettings,
    assess: AssessSettings,
    folder: Path,
) -> tuple[list[Path], Path]:
    """Write a fitted model into a folder.

    Parameters
    ----------
    result
        The model and its results.
    runs
        The series it was fitted to.
    perturb
        Settings of the perturbation.
    assess
        Settings of the assessment.
    folder
        Output folder.

    Returns
    -------
    files
        ``<measure>.tsv`` of each measure, ``training.tsv``, other tables of the model, and
        ``weights.safetensors``.
    summary
        JSON with the description of the model.
    """
    files = []
    for measure, matrix in result.measures.items():
        files.append(folder / f"{measure}.tsv")
        write_matrix(matrix, files[-1])
    for name, table in {"training": _curve(result), **result.tables}.items():
        files.append(folder / f"{name}.tsv")
        write_table(pd.DataFrame(table), files[-1])
    files.append(folder / "weights.safetensors")
    all_labels = result.measures[MEASURES[0]].labels
    labels = [label for label, inside in zip(all_labels, result.covered, strict=True) if inside]
    save_surrogate(
        result.surrogate, files[-1], family=result.settings.surrogate, labels=labels, tr=runs[0].tr
    )
    summary = folder / SUMMARY
    ModelOutcome(labels=all_labels, fit=_fit(result, runs, perturb, assess)).write(summary)
    return files, summary


def write_exclusion(
    reason: str, summaries: Sequence[str], folder: Path
) -> tuple[list[Path], Path]:
    """Write why there is no model, including the reasons for excluding single runs."""
    runs = [_summary(path).excluded for path in summaries]
    sentences = [reason, *(f"Run {n}: {text}." for n, text in enumerate(runs, start=1) if text)]
    summary = folder / SUMMARY
    ModelOutcome(reason=" ".join(sentences)).write(summary)
    return [], summary


def _curve(result: SubjectEC) -> Table:
    log = result.log
    epochs = range(1, len(log.train) + 1)
    return {"epoch": epochs, "train_mse": log.train, "held_out_mse": log.valid}


def _fit(
    result: SubjectEC,
    runs: Sequence[RegionSeries],
    perturb: PerturbSettings,
    assess: AssessSettings,
) -> FittedModel:
    """Return the description of a model; the account of a whole-brain model takes precedence."""
    settings, quality, account = result.settings, result.quality, dict(result.account)
    fitted = describe_training(settings, result.log)
    described = {key: value for key, value in fitted.items() if key not in _ELSEWHERE}
    perturb_fields: Any = account.get("perturbation") or asdict(perturb)
    origin: Any = account.get("pretrained")
    known_delays: Any = account.get("delay_map")
    training: Any = account.get("training") or described
    return FittedModel(
        repetition_time=runs[0].tr,
        surrogate=settings.surrogate,
        training=training,
        perturbation=_perturbation(perturb_fields, runs[0].tr),
        pretrained=PretrainedOrigin(**origin) if origin else None,
        delay_map=DelayMapOrigin(**known_delays) if known_delays else None,
        verdict=result.verdict.label,
        verdict_reasons=result.verdict.reasons,
        verdict_thresholds=assess.verdict,
        grades=grade(quality, result.verdict, assess.verdict),
        direction_supported=quality.direction_supported,
        expected_r=ExpectedAccuracy(
            value=quality.expected_r,
            interval_90=(quality.expected_r_lower, quality.expected_r_upper),
        ),
        expected_r_antisymmetric=ExpectedAccuracy(
            value=quality.expected_r_antisymmetric,
            interval_90=(
                quality.expected_r_antisymmetric_lower,
                quality.expected_r_antisymmetric_upper,
            ),
        ),
        hazards=result.hazards,
        uncertainty=UncertaintySource(
            method=result.uncertainty, resamples=assess.measures.n_bootstrap
        ),
        quality=quality,
        regions_in_model=int(result.covered.sum()),
        samples_per_run=tuple(len(run.keep) for run in runs),
        samples_kept_per_run=tuple(int(run.keep.sum()) for run in runs),
        windows_per_run=result.n_windows_per_run,
        seed=settings.seed,
        device=str(find_device(settings.device, int(result.covered.sum()))),
        software_versions={
            "npi-bids": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
    )


def _perturbation(perturb_fields: Mapping[str, Any], tr: float) -> Perturbation:
    """Return how a model was perturbed; a whole-brain model states the unit and the lag itself."""
    stated = {key: perturb_fields[key] for key in ("unit",) if key in perturb_fields}
    return Perturbation(
        strength=perturb_fields["strength"],
        sign=perturb_fields["sign"],
        kind=perturb_fields["perturbation"],
        sustained=perturb_fields["sustained"],
        together=tuple(perturb_fields.get("together", ())),
        steps_ahead=perturb_fields["steps_ahead"],
        lag_seconds=perturb_fields.get("lag_seconds", perturb_fields["steps_ahead"] * tr),
        **stated,
    )
