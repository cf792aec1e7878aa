"""The files beside a run: mask, confounds, right hemisphere and sidecars."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

from npi_bids.bids.input_names import read_name
from npi_bids.bids.metadata import Listings, inherited_metadata, list_names
from npi_bids.bids.runs import GIFTI, NIFTI, TIMESERIES, BoldRun
from npi_bids.errors import NPIError
from npi_bids.settings import period_problem

# Confounds apply to a run in every space.
_SPATIAL = ("space", "res", "den", "desc", "label", "hemi")


def complete_run(run: BoldRun, listings: Listings, tr: float | None = None) -> BoldRun:
    """Add the files beside a run, its sampling period, and any problem with it.

    Parameters
    ----------
    run
        The run, as parsed from its name.
    listings
        Names in the folders read so far; extended in place.
    tr
        Sampling period (s) set by the user for tables without a sidecar.
    """
    if run.problem:
        return run
    try:
        return _complete(run, listings, tr)
    except NPIError as error:  # concerns this run only
        return replace(run, problem=str(error))
    except (OSError, ValueError, RecursionError) as error:
        return replace(run, problem=f"The files beside <{run.path}> cannot be read: {error}.")


def _complete(run: BoldRun, listings: Listings, tr: float | None) -> BoldRun:
    with_files = _with_files(run, list_names(run.path.parent, listings))
    stated = _repetition_time(run, listings)
    if stated is None and run.input_format == TIMESERIES:
        stated = tr
    return replace(
        with_files,
        tr=stated if _is_seconds(stated) else None,
        problem=_files_problem(with_files) or _problem(with_files, stated),
    )


def _with_files(run: BoldRun, names: list[str]) -> BoldRun:
    """Add the mask, the confounds and the right hemisphere, as the input format requires."""
    if run.input_format == TIMESERIES:
        return replace(
            run,
            mask=_find(run, names, "outliers", (None,), without=_SPATIAL),
            confounds=_find(run, names, "motion", (None,), without=_SPATIAL),
        )
    confounds = _find(run, names, "timeseries", ("confounds",), without=_SPATIAL) or _find(
        run, names, "regressors", ("confounds",), without=_SPATIAL
    )
    mask = right = None
    if run.input_format == NIFTI:
        mask = _find(run, names, "mask", ("brain",), without=("desc", "label"))
    if run.input_format == GIFTI:
        other = run.path.name.replace("_hemi-L_", "_hemi-R_")
        right = run.path.with_name(other) if other in names else None
    return replace(run, mask=mask, confounds=confounds, right=right)


def _find(
    run: BoldRun,
    names: list[str],
    suffix: str,
    marks: tuple[str | None, ...],
    *,
    without: tuple[str, ...],
) -> Path | None:
    """Return the file beside a run with the same entities, except some, and this suffix."""
    shared = {key: value for key, value in run.entities.items() if key not in without}
    for name in names:
        other = read_name(name)
        if other.suffix != suffix or not name.endswith((".nii.gz", ".nii", ".tsv")):
            continue
        entities = dict(other.entities)
        mark = entities.pop("desc", None) or entities.pop("label", None)
        if mark in marks and entities == shared:
            return run.path.with_name(name)
    return None


def _repetition_time(run: BoldRun, listings: Listings) -> object:
    """Return the value in the sidecars; for a table of series, also those of images beside it."""
    metadata = inherited_metadata(run.path, run.dataset, listings)
    if "RepetitionTime" in metadata or run.input_format != TIMESERIES:
        return metadata.get("RepetitionTime")
    rate = metadata.get("SamplingFrequency")
    if isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0:
        return 1 / rate
    shared = {key: value for key, value in run.entities.items() if key not in _SPATIAL}
    for name in list_names(run.path.parent, listings):
        other = read_name(name)
        if (
            other.suffix == "bold"
            and name.endswith(".json")
            and shared.items() <= other.entities.items()
        ):
            image = run.path.with_name(name).with_suffix(".nii.gz")
            return inherited_metadata(image, run.dataset, listings).get("RepetitionTime")
    return None


def _is_seconds(tr: object) -> TypeGuard[float]:
    return tr is not None and not period_problem(tr)


def _files_problem(run: BoldRun) -> str:
    """Return why a file of a run cannot be read, as far as can be told without reading it."""
    for path in run.files:
        if not path.exists():
            return (
                f"<{path}> is a link to a file that is not here; run `datalad get {path}` first."
            )
        if path.is_dir():
            return f"<{path}> is a folder; expected a file of that name. Rename or remove it."
        if not os.access(path, os.R_OK):
            return f"<{path}> cannot be read: permission denied. Change its permissions."
    return ""


def _problem(run: BoldRun, tr: object) -> str:
    if tr is not None and not _is_seconds(tr):
        return (
            f"The sidecar of <{run.path}> says RepetitionTime {tr!r}. It {period_problem(tr)} "
            "Correct the JSON."
        )
    if tr is None and run.input_format == TIMESERIES:
        return (
            f"The sampling period of <{run.path}> is unknown: no sidecar has a RepetitionTime or "
            "SamplingFrequency for it. Add one, or give --repetition-time SECONDS."
        )
    if run.input_format == GIFTI and run.right is None:
        return (
            f"<{run.path}> has no right hemisphere beside it; expected "
            f"{run.path.name.replace('_hemi-L_', '_hemi-R_')}."
        )
    return ""
