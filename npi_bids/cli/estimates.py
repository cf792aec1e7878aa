"""Estimates of samples, memory and time of a model before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from npi_bids.analysis import AnalysisSettings
from npi_bids.bids.runs import TIMESERIES
from npi_bids.errors import InputDataError
from npi_bids.interfaces.parcellate import count_values, largest_volume
from npi_bids.surrogates.base import resolve
from npi_bids.workflows.subject import Task

__all__ = ("Estimate", "estimate", "largest_volume")
_NETWORKS = ("mlp", "cnn", "rnn")
# Seconds on one core, fitted to runs of 20 to 1000 regions (python -m benchmarks.speed).
_READ = 3e-8  # per voxel and volume
_PROCESS = (1.5, 0.013, 4.2e-7)  # per model, region, and region cubed
_LINEAR = 2.3e-6  # per sample and region
_EPOCH = (5.6e-6, 2e-9)  # per sample, and per sample and region squared


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
        Of the largest step, and of all steps on one core; about.
    problems
        Why runs cannot be read, in words.
    """

    samples: int
    windows: int
    parameters: int | None
    memory_gb: float
    seconds: float
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
    networks, lagged = train.surrogate in _NETWORKS, train.surrogate == "var"
    return Estimate(
        samples=samples,
        windows=max(0, samples - n_lags * len(sizes)),
        # The process has one matrix, whatever the lags that its moments come from.
        parameters=None if networks else n_regions**2 * (n_lags if lagged else 1),
        memory_gb=max(task.extract_gb, task.train_gb),
        seconds=_fitting(train.surrogate, samples, n_regions)
        * (train.n_seeds or 1 if networks else 1)
        * ((train.epochs or 80) if networks else 1)
        + _READ * _values(task, sizes),
        problems=tuple(problems),
    )


def _fitting(surrogate: str, samples: int, n_regions: int) -> float:
    """Return the seconds of a fit with its verdict; of an epoch for networks."""
    if surrogate in _NETWORKS:
        return samples * (_EPOCH[0] + _EPOCH[1] * n_regions**2)
    if surrogate == "var":
        return _LINEAR * samples * n_regions
    base, each, cubed = _PROCESS
    return base + each * n_regions + cubed * n_regions**3


def _values(task: Task, sizes: Sequence[tuple[int, int]]) -> int:
    if task.unit.runs[0].kind == TIMESERIES:
        return 0
    return sum(n_samples * n_places for n_samples, n_places in sizes)
