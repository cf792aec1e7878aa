"""The files of one fitted model: matrices, training curve, weights, and what it says of itself."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from npi_bids import __version__
from npi_bids.assessment.verdict import AssessSettings
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import SubjectEC
from npi_bids.io.files import read_json, write_json
from npi_bids.io.tables import read_series, write_matrix, write_table
from npi_bids.records import RegionSeries, Table
from npi_bids.surrogates.storage import save_surrogate
from npi_bids.surrogates.training import find_device

SUMMARY = "summary.json"
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
    write_json(summary, {"status": "done", **_account(result, runs, perturb, assess)})
    return files, summary


def write_exclusion(
    reason: str, summaries: Sequence[str], folder: Path
) -> tuple[list[Path], Path]:
    """Write why there is no model, with what was said of each run before."""
    runs = [str(read_json(Path(path)).get("excluded", "")) for path in summaries]
    words = [reason, *(f"Run {n}: {text}." for n, text in enumerate(runs, start=1) if text)]
    summary = folder / SUMMARY
    write_json(summary, {"status": "excluded", "reason": " ".join(words)})
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
