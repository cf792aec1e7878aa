"""What will fail later, told from headers alone: confounds, masks and numbers of samples."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from npi_bids.analysis import Task
from npi_bids.bids.runs import GIFTI, NIFTI, TIMESERIES, BoldRun
from npi_bids.errors import InputDataError
from npi_bids.parcellation.confounds import check_columns, load_confounds, modern_confounds
from npi_bids.parcellation.denoising import DenoiseSettings
from npi_bids.parcellation.run_files import count_voxels
from npi_bids.parcellation.volumes import count_values
from npi_bids.wording import count_noun, join_items

_logger = logging.getLogger(__name__)


def find_problems(run: BoldRun, denoise: DenoiseSettings) -> list[str]:
    """Return why the extraction of a run will fail, one sentence each.

    The header of the image, that of the mask, and the first line and the number of lines of the
    confounds are read; values are not. Regional series are read in full when they are used.

    Parameters
    ----------
    run
        A run without a problem of its name or its files.
    denoise
        The strategy, which determines the columns that are needed.
    """
    if run.input_format == TIMESERIES:
        return []
    problems = []
    n_samples = None
    try:
        if run.input_format != GIFTI:  # whose header does not state the number of samples
            n_samples, n_voxels = count_values(run.path)
            problems += _check_mask(run, n_voxels)
    except InputDataError as error:
        problems.append(str(error))
    try:
        problems += _check_confounds(run, denoise, n_samples)
    except InputDataError as error:
        problems.append(str(error))
    return problems


def _check_mask(run: BoldRun, n_voxels: int) -> list[str]:
    n_masked = count_voxels(run.mask) if run.mask else 0
    if not n_masked or n_masked == n_voxels:
        return []
    return [
        f"The mask <{run.mask}> has {n_masked} voxels but its run {n_voxels}; expected the mask "
        "of the same space and resolution."
    ]


def _check_confounds(run: BoldRun, denoise: DenoiseSettings, n_samples: int | None) -> list[str]:
    """Return what is wrong with the confounds; raises where columns or the table are missing."""
    strategy = denoise.strategy
    if run.confounds is None:
        load_confounds(None, n_samples=n_samples or 0, tr=run.tr or 0.0, strategy=strategy,
                       dummy_scans=denoise.dummy_scans)  # fmt: skip
        return []
    columns, n_rows = _read_outline(run.confounds)
    if n_samples is not None and n_rows != n_samples:
        return [
            f"The confounds <{run.confounds}> have {count_noun(n_rows, 'row')} but the run has "
            f"{count_noun(n_samples, 'sample')}; expected one row per sample."
        ]
    table = pd.DataFrame(np.full((n_rows, len(columns)), np.nan), columns=columns)
    check_columns(modern_confounds(table), strategy, run.tr or 0.0, run.confounds)
    return []


def _read_outline(path: Path) -> tuple[list[str], int]:
    """Return the columns of a table and the number of its rows, without reading the values."""
    try:
        with path.open("rb") as file:
            columns = file.readline().decode("utf-8-sig").strip("\r\n").split("\t")
            n_rows = sum(not line.isspace() for line in file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputDataError(f"The confounds <{path}> cannot be read: {error}.") from error
    return columns, n_rows


def find_failing(tasks: Iterable[Task], denoise: DenoiseSettings) -> dict[str, list[str]]:
    """Return the problems of each model that will fail, by its name."""
    by_run: dict[Path, list[str]] = {}
    failing: dict[str, list[str]] = {}
    for task in tasks:
        for run in task.unit.runs:
            if run.path not in by_run:
                by_run[run.path] = find_problems(run, denoise)
            if by_run[run.path]:
                failing.setdefault(task.name, []).extend(by_run[run.path])
    return failing


def warn_of_problems(tasks: Sequence[Task], denoise: DenoiseSettings) -> None:
    """Name the models that will fail, and the runs whose brain mask is missing, in the log."""
    for name, problems in find_failing(tasks, denoise).items():
        _logger.warning("%s will fail: %s", name, " ".join(problems))
    images = {run.path.name: run for task in tasks for run in task.unit.runs
              if run.input_format == NIFTI}  # fmt: skip
    unmasked = sorted(name for name, run in images.items() if run.mask is None)
    if unmasked:
        _logger.warning(
            "Without a brain mask (*_desc-brain_mask) beside the image: %s (%s); regions are "
            "averaged over all of their voxels",
            count_noun(len(unmasked), "run"), join_items(unmasked, most=5),
        )  # fmt: skip
