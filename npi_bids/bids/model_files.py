"""The files of one model, and those that travel between its training, perturbation, assessment."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from npi_bids import __version__
from npi_bids.assessment.verdict import AssessSettings
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import PerturbedModel, SubjectEC, TrainedModel
from npi_bids.io.files import read_json, write_json
from npi_bids.io.tables import read_series, write_matrix, write_table
from npi_bids.records import RegionSeries, Table
from npi_bids.surrogates.base import TrainLog, TrainSettings
from npi_bids.surrogates.storage import read_tensors, save_surrogate, write_tensors
from npi_bids.surrogates.training import find_device

SUMMARY = "summary.json"
_DONE, _EXCLUDED = "done", "excluded"
_MATRICES = ("matrix", "jacobian", "members", "responses")
_PACKAGES = ("numpy", "scipy", "torch", "nilearn", "nibabel", "nipype")


def read_runs(series: Sequence[str], summaries: Sequence[str]) -> list[RegionSeries]:
    """Read the series of a subject; the summary of each run knows its sampling period."""
    return [
        read_series(Path(path), tr=float(read_json(Path(summary))["tr"]))
        for path, summary in zip(series, summaries, strict=True)
    ]


def read_regressors(summaries: Sequence[str]) -> tuple[str, ...]:
    """Return the names of what was regressed out of any run."""
    found = [name for path in summaries for name in read_json(Path(path)).get("regressors", ())]
    return tuple(dict.fromkeys(found))


def read_hazards(summaries: Sequence[str]) -> tuple[str, ...]:
    """Return what may have spoilt the series of each run, with the number of the run."""
    return tuple(
        f"Run {number}: {hazard}"
        for number, path in enumerate(summaries, start=1)
        for hazard in read_json(Path(path)).get("hazards", ())
    )


def with_hazards(
    result: SubjectEC, summaries: Sequence[str], account: Mapping[str, object] | None = None
) -> SubjectEC:
    """Return a result with the hazards of its runs, and more of what it says of itself."""
    return replace(
        result,
        hazards=(*result.hazards, *read_hazards(summaries)),
        account={**result.account, **(account or {})},
    )


def write_training(trained: TrainedModel, folder: Path) -> Path:
    """Write the settings and the errors of a training as JSON, and return where it lies."""
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
    """Return a number that comes back from JSON as it was, infinite or none included."""
    return float(value) if math.isfinite(value) else str(float(value))


def write_no_training(reason: str, folder: Path) -> Path:
    """Write why nothing was trained, and return where it lies."""
    path = folder / "training.json"
    write_json(path, {"status": _EXCLUDED, "reason": reason})
    return path


def read_training(path: Path) -> tuple[TrainLog, TrainSettings]:
    """Read what :func:`write_training` wrote: what training saw, and its settings."""
    content = read_json(path)
    train, valid = (tuple(map(float, content[side])) for side in ("train", "valid"))
    details = tuple((name, float(value)) for name, value in content["details"].items())
    log = TrainLog(train, valid, details, int(content["best_epoch"]))
    return log, TrainSettings(**content["settings"])


def read_exclusion(path: Path) -> str:
    """Return why nothing was trained, as :func:`write_no_training` wrote it."""
    return str(read_json(path)["reason"])


def write_perturbed(perturbed: PerturbedModel, folder: Path) -> Path:
    """Write the matrices of a perturbed surrogate as safetensors, and return where they lie."""
    path = folder / "connectivity.safetensors"
    write_tensors({name: getattr(perturbed, name) for name in _MATRICES}, path)
    return path


def read_perturbed(path: Path, perturb: PerturbSettings) -> PerturbedModel:
    """Read what :func:`write_perturbed` wrote of a surrogate that was perturbed in this way."""
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
        The model and what came out of it.
    runs
        The series it was fitted to.
    perturb
        How it was perturbed.
    assess
        How it was judged.
    folder
        Where to.

    Returns
    -------
    files
        ``<measure>.tsv`` of each measure, ``training.tsv``, other tables of the model, and
        ``weights.safetensors``.
    summary
        JSON with the model's account of itself.
    """
    files = []
    for measure, matrix in result.measures.items():
        files.append(folder / f"{measure}.tsv")
        write_matrix(matrix, files[-1])
    for name, table in {"training": _curve(result), **result.tables}.items():
        files.append(folder / f"{name}.tsv")
        write_table(pd.DataFrame(table), files[-1])
    files.append(folder / "weights.safetensors")
    labels = [
        label
        for label, inside in zip(result.measures["npi"].labels, result.covered, strict=True)
        if inside
    ]
    save_surrogate(
        result.surrogate, files[-1], family=result.settings.surrogate, labels=labels, tr=runs[0].tr
    )
    summary = folder / SUMMARY
    write_json(summary, {"status": _DONE, **_account(result, runs, perturb, assess)})
    return files, summary


def write_exclusion(
    reason: str, summaries: Sequence[str], folder: Path
) -> tuple[list[Path], Path]:
    """Write why there is no model, with what was said of each run before."""
    runs = [str(read_json(Path(path)).get("excluded", "")) for path in summaries]
    words = [reason, *(f"Run {n}: {text}." for n, text in enumerate(runs, start=1) if text)]
    summary = folder / SUMMARY
    write_json(summary, {"status": _EXCLUDED, "reason": " ".join(words)})
    return [], summary


def _curve(result: SubjectEC) -> Table:
    log = result.log
    epochs = range(1, len(log.train) + 1)
    return {"epoch": epochs, "train_mse": log.train, "held_out_mse": log.valid}


def _account(
    result: SubjectEC,
    runs: Sequence[RegionSeries],
    perturb: PerturbSettings,
    assess: AssessSettings,
) -> dict[str, Any]:
    settings = result.settings
    training = {
        key: value
        for key, value in asdict(settings).items()
        if key not in ("surrogate", "seed", "device")
    }
    return {
        "tr": runs[0].tr,
        "labels": result.measures["npi"].labels,
        "regions_in_model": int(result.covered.sum()),
        "n_samples_per_run": [len(run.keep) for run in runs],
        "n_kept_per_run": [int(run.keep.sum()) for run in runs],
        "n_windows_per_run": result.n_windows_per_run,
        "surrogate": settings.surrogate,
        "training": {**training, **dict(result.log.details)},
        "perturbation": asdict(perturb),
        "quality": asdict(result.quality),
        "verdict": asdict(result.verdict),
        "thresholds": asdict(assess.verdict),
        "hazards": result.hazards,
        "uncertainty": {"Method": result.uncertainty, "Resamples": assess.measures.n_bootstrap},
        "seed": settings.seed,
        "device": str(find_device(settings.device)),
        "versions": {
            "npi-bids": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
        **result.account,
    }
