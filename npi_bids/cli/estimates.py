"""Estimates of samples, memory and time of models and jobs before they are run.

Durations were measured as CPU seconds of one core (``python -m benchmarks.estimates``). They scale
with the speed of this machine, which :mod:`npi_bids.cli.machine` measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from npi_bids.analysis import AnalysisSettings, Task
from npi_bids.bids.runs import TIMESERIES
from npi_bids.cli.machine import REFERENCE, MachineSpeed
from npi_bids.errors import InputDataError
from npi_bids.parcellation.run_files import largest_volume
from npi_bids.parcellation.volumes import count_values
from npi_bids.surrogates.base import resolve
from npi_bids.surrogates.families import families

__all__ = (
    "Estimate",
    "JobEstimate",
    "command_seconds",
    "estimate",
    "estimate_job",
    "largest_volume",
)
_READ_SECONDS = 3e-8  # per voxel and volume (python -m benchmarks.speed)
# Start of the command and of its workers, and a page; memory of the command beside its workers.
_START_SECONDS, _PAGE_SECONDS, _COMMAND_GB = 9.0, 2.5, 0.27


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


@dataclass(frozen=True, slots=True)
class JobEstimate:
    """Memory of all processes of a job (GB), and its duration in seconds, if it is known."""

    memory_gb: float
    seconds: float | None


def estimate(
    task: Task, settings: AnalysisSettings, machine: MachineSpeed = REFERENCE
) -> Estimate:
    """Estimate the resources of a model from the headers of its runs alone.

    Parameters
    ----------
    task
        The model.
    settings
        Settings of the analysis.
    machine
        Speed of the machine that will run it.
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
        seconds=machine.arrays * seconds(samples, n_regions, train)
        + machine.python * _READ_SECONDS * _count_image_values(task, sizes)
        if seconds
        else None,
        problems=tuple(problems),
    )


def estimate_job(
    estimates: Mapping[str, Sequence[Estimate]],
    *,
    n_procs: int = 1,
    per_task: int = 1,
    machine: MachineSpeed = REFERENCE,
) -> JobEstimate:
    """Estimate a job that runs the most demanding participants of a study.

    Parameters
    ----------
    estimates
        Models of each participant.
    n_procs
        Number of processes.
    per_task
        Number of participants of the job.
    machine
        Speed of the machine that will run it.
    """
    every = [expected for models in estimates.values() for expected in models]
    steps = sorted((expected.memory_gb for expected in every), reverse=True)
    memory = _COMMAND_GB + sum(steps[:1]) * min(n_procs, max(1, len(every)))
    durations = []
    for models in estimates.values():
        seconds = [expected.seconds for expected in models]
        if None in seconds:
            return JobEstimate(memory, None)
        durations.append(sum(filter(None, seconds)))
    work = sum(sorted(durations, reverse=True)[:per_task])
    return JobEstimate(memory, work / n_procs + command_seconds(per_task, machine))


def command_seconds(n_participants: int, machine: MachineSpeed = REFERENCE) -> float:
    """Return the time beside the models: to start the command, and to draw pages."""
    return machine.python * (_START_SECONDS + n_participants * _PAGE_SECONDS)


def _count_image_values(task: Task, sizes: Sequence[tuple[int, int]]) -> int:
    if task.unit.runs[0].input_format == TIMESERIES:
        return 0
    return sum(n_samples * n_voxels for n_samples, n_voxels in sizes)
