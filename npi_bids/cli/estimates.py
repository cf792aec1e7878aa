"""Estimates of samples, memory and time of a model before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from npi_bids.analysis import AnalysisSettings, Task
from npi_bids.bids.runs import TIMESERIES
from npi_bids.errors import InputDataError
from npi_bids.parcellation.run_files import largest_volume
from npi_bids.parcellation.volumes import count_values
from npi_bids.surrogates.base import resolve
from npi_bids.surrogates.families import families

__all__ = ("Estimate", "estimate", "largest_volume")
_READ_SECONDS = 3e-8  # s per voxel and volume (python -m benchmarks.speed)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Size of one model, and the resources that it will need.

    Attributes
    ----------
    samples, windows
        Number of samples before censoring, and of windows for training and testing at most.
    parameters
        Number of weights between regions in the linear part; None for networks without one.
    memory_gb, seconds
        Approximate memory of the largest step, and time of all steps on one core. Seconds are
        None for a surrogate whose speed was not measured.
    problems
        Why runs cannot be read, one sentence each.
    """

    samples: int
    windows: int
    parameters: int | None
    memory_gb: float
    seconds: float | None
    problems: tuple[str, ...] = ()


def estimate(task: Task, settings: AnalysisSettings) -> Estimate:
    """Estimate the resources of a model from the headers of its runs alone.

    Parameters
    ----------
    task
        The model.
    settings
        Settings of the analysis.
    """
    train = resolve(settings.train)
    n_regions, n_lags = task.atlas.n_regions, train.n_lags or 1
    sizes, problems = [], []
    for run in task.unit.runs:
        try:
            sizes.append(count_values(run.path))
        except InputDataError as error:
            problems.append(str(error))
    samples = sum(n_samples for n_samples, _ in sizes)
    family = families().get(train.surrogate)  # None for whole-brain models
    count_weights = family.n_weights if family else None
    seconds = family.seconds if family else None
    return Estimate(
        samples=samples,
        windows=max(0, samples - n_lags * len(sizes)),
        parameters=count_weights(n_regions, n_lags) if count_weights else None,
        memory_gb=max(task.extract_gb, task.train_gb),
        seconds=seconds(samples, n_regions, train)
        + _READ_SECONDS * _count_image_values(task, sizes)
        if seconds
        else None,
        problems=tuple(problems),
    )


def _count_image_values(task: Task, sizes: Sequence[tuple[int, int]]) -> int:
    if task.unit.runs[0].input_format == TIMESERIES:
        return 0
    return sum(n_samples * n_voxels for n_samples, n_voxels in sizes)
