"""Submissions to a cluster: their records in the output dataset, and what became of their jobs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from npi_bids.bids.derivatives import DONE, EXCLUDED, FAILED, find_statuses
from npi_bids.cli.schedulers import GROUP_ID, PARTICIPANT_ID
from npi_bids.errors import InputDataError
from npi_bids.io.files import read_json, write_json

JOBS = "logs/jobs"  # in the output dataset; one folder for each submission
RECORD = "submission.json"
MISSING = "missing"
_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "RESIZING", "SUSPENDED")
_RUNNING = ("RUNNING", "COMPLETING", "STAGE_OUT")
# Seconds to wait for the answer of a scheduler.
_PATIENCE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One submission: an array of participants.

    Attributes
    ----------
    scheduler
        Name of the scheduler.
    configuration
        Hash of all settings that shape a result.
    participants
        Labels in the order of the tasks.
    per_task
        Number of participants of a task.
    models
        Names of the models of each participant that were not complete.
    has_group
        Whether a group job was submitted.
    """

    scheduler: str
    configuration: str
    participants: tuple[str, ...]
    per_task: int
    models: dict[str, list[str]]
    has_group: bool

    @property
    def n_tasks(self) -> int:
        """Number of tasks of the array."""
        return -(-len(self.participants) // self.per_task)

    def task(self, participant: str) -> int:
        """Return the number of the task of a participant, from 1."""
        return self.participants.index(participant) // self.per_task + 1

    def write(self, folder: Path) -> None:
        """Write the record into the folder of the submission."""
        write_json(folder / RECORD, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Submission:
        """Read the record of a submission.

        Raises
        ------
        InputDataError
            It is missing or damaged.
        """
        content = read_json(folder / RECORD)
        try:
            values = {field.name: content[field.name] for field in fields(cls)}
        except KeyError as error:
            raise InputDataError(f"<{folder / RECORD}> has no {error}.") from error
        return cls(**{**values, "participants": tuple(values["participants"])})


@dataclass(frozen=True, slots=True)
class ParticipantState:
    """What became of a participant.

    Attributes
    ----------
    label
        Label of the participant.
    models
        Status of each model by name; ``missing`` where there is none.
    job
        State of its job as the scheduler calls it; empty where it is not known any more.
    reason
        Why a model is missing or failed, as far as this is known.
    log
        Log of its last job.
    """

    label: str
    models: dict[str, str]
    job: str
    reason: str
    log: Path

    @property
    def is_complete(self) -> bool:
        """Whether every model has a result, or was excluded for a reason."""
        return set(self.models.values()) <= {DONE, EXCLUDED}

    @property
    def is_queued(self) -> bool:
        """Whether its job waits or runs."""
        return self.job in (*_WAITING, *_RUNNING)


def find_submissions(out_dir: Path) -> Iterator[tuple[Path, Submission]]:
    """Yield the folder and the record of each submission, from the oldest to the newest."""
    for path in sorted((out_dir / JOBS).glob(f"*/{RECORD}")):
        yield path.parent, Submission.read(path.parent)


def read_states(out_dir: Path) -> list[ParticipantState]:
    """Return the state of every participant that was ever submitted, sorted by label.

    Parameters
    ----------
    out_dir
        Output dataset.
    """
    statuses = {status.name: status for status in find_statuses(out_dir, skip_damaged=True)}
    states: dict[str, ParticipantState] = {}
    for folder, submission in find_submissions(out_dir):
        jobs = query_tasks(submission.scheduler, read_id(folder / PARTICIPANT_ID))
        earlier = {label: states[label].models for label in states}
        for label in submission.participants:
            task = submission.task(label)
            names = dict.fromkeys([*earlier.get(label, ()), *submission.models.get(label, ())])
            known = {name: statuses[name] for name in names if name in statuses}
            log = folder / f"participant_{task}.log"
            reasons = [s.reason for s in known.values() if s.status == FAILED and s.reason]
            if set(names) - set(known):
                reasons.append(last_line(log))
            states[label] = ParticipantState(
                label,
                {name: known[name].status if name in known else MISSING for name in names},
                jobs.get(task, ""),
                next(filter(None, reasons), ""),
                log,
            )
    return [states[label] for label in sorted(states)]


def read_id(path: Path) -> str:
    """Return the job that a submission wrote down; empty where it was not submitted."""
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def queued_jobs(out_dir: Path) -> list[str]:
    """Return the arrays of earlier submissions of which a task waits or runs."""
    jobs = []
    for folder, submission in find_submissions(out_dir):
        job = read_id(folder / PARTICIPANT_ID)
        states = query_tasks(submission.scheduler, job).values()
        if any(state in (*_WAITING, *_RUNNING) for state in states):
            jobs.append(job)
    return jobs


def group_state(out_dir: Path) -> tuple[str, Path] | None:
    """Return the state of the last group job and its log; None where there was none."""
    found = None
    for folder, submission in find_submissions(out_dir):
        if submission.has_group:
            job = read_id(folder / GROUP_ID)
            found = query_tasks(submission.scheduler, job).get(0, ""), folder / "group.log"
    return found


def query_tasks(scheduler: str, job: str) -> dict[int, str]:
    """Return the state of each task of a job that Slurm still knows; 0 for a job without tasks.

    Parameters
    ----------
    scheduler
        Name of the scheduler; others than Slurm are not asked.
    job
        Number of the job.
    """
    if scheduler != "slurm" or not job or shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={job}",
               "--format=%i|%T"]  # fmt: skip
    try:
        answer = subprocess.run(  # noqa: S603 (a number that sbatch has returned)
            command, capture_output=True, text=True, check=True, timeout=_PATIENCE
        ).stdout
    except (
        OSError,
        subprocess.SubprocessError,
    ):  # Slurm forgets jobs some minutes after their end
        return {}
    return parse_queue(answer.splitlines())


def parse_queue(lines: Iterable[str]) -> dict[int, str]:
    """Return the state of each task from lines such as ``17_3|RUNNING``.

    >>> parse_queue(["17_3|RUNNING", "18|PENDING"])
    {3: 'RUNNING', 0: 'PENDING'}
    """
    states = {}
    for line in lines:
        match = re.fullmatch(r"\d+(?:_(\d+))?\|(\w+)", line.strip())
        if match:
            states[int(match[1] or 0)] = match[2]
    return states


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty; empty where there is no log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def count_models(states: Sequence[ParticipantState]) -> Mapping[str, int]:
    """Count the models of all participants by status."""
    counts: dict[str, int] = {}
    for state in states:
        for status in state.models.values():
            counts[status] = counts.get(status, 0) + 1
    return dict(sorted(counts.items()))
