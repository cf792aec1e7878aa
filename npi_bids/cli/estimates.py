"""Estimates of samples, memory and time of a model before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from npi_bids.analysis import AnalysisSettings
from npi_bids.bids.runs import TIMESERIES
from npi_bids.errors import InputDataError
from npi_bids.interfaces.parcellate import count_values, largest_volume
from npi_bids.surrogates.base import resolve
from npi_bids.surrogates.families import families
from npi_bids.workflows.subject import Task

__all__ = ("Estimate", "estimate", "largest_volume")
_READ = 3e-8  # seconds per voxel and volume (python -m benchmarks.speed)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one model will take.

    Attributes
    ----------
    samples, windows
        Before censoring, and what the surrogate learns from and is tested on, at most.
    parameters
        Weights between regions of the linear part, or None for networks alone.
    memory_gb, seconds
        Of the largest step, and of all steps on one core; about. Seconds are None where nobody
        measured how long a surrogate takes.
    problems
        Why runs cannot be read, in words.
    """

    samples: int
    windows: int
    parameters: int | None
    memory_gb: float
    seconds: float | None
    problems: tuple[str, ...] = ()


def estimate(task: Task, settings: AnalysisSettings) -> Estimate:
    """Estimate what a model will take, from the headers of its runs alone.

    Parameters
    ----------
    task
        The model.
    settings
        What shapes the result.
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
    known = families().get(train.surrogate)  # None for whole-brain models
    count = known.n_weights if known else None
    seconds = known.seconds if known else None
    return Estimate(
        samples=samples,
        windows=max(0, samples - n_lags * len(sizes)),
        parameters=count(n_regions, n_lags) if count else None,
        memory_gb=max(task.extract_gb, task.train_gb),
        seconds=seconds(samples, n_regions, train) + _READ * _values(task, sizes)
        if seconds
        else None,
        problems=tuple(problems),
    )


def _values(task: Task, sizes: Sequence[tuple[int, int]]) -> int:
    if task.unit.runs[0].kind == TIMESERIES:
        return 0
    return sum(n_samples * n_places for n_samples, n_places in sizes)
