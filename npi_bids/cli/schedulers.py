"""Job scripts of cluster schedulers, as text.

A study is an array of participant jobs, a group job that waits for it, and a script that submits
both. What differs between schedulers is in one :class:`Scheduler` each.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from npi_bids.bids.outputs import UNITS

# Files in the folder of a submission.
PARTICIPANTS, MODELS, SETTINGS = "participants.txt", "models.txt", "settings.toml"
PARTICIPANT_ID, GROUP_ID = "participant.id", "group.id"
# Seconds between the warning of a scheduler and the end of the job; the command ends within 5.
_WARNING_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """Resources of one job, and its place in an array.

    Attributes
    ----------
    name
        Name in the queue, and stem of its script and logs.
    folder
        Folder of the submission.
    memory_gb, minutes, n_cpus
        Memory of all processes of a task, its longest duration, and its number of CPUs.
    n_tasks
        Number of tasks of an array; 0 for a job of its own.
    most_at_once
        Number of tasks that may run at the same time; 0 for any.
    directives
        More options of the scheduler, as its scripts spell them.
    """

    name: str
    folder: Path
    memory_gb: float
    minutes: int
    n_cpus: int = 1
    n_tasks: int = 0
    most_at_once: int = 0
    directives: tuple[str, ...] = ()

    @property
    def megabytes(self) -> int:
        """Memory in whole MB."""
        return math.ceil(self.memory_gb * 1000)

    @property
    def script(self) -> Path:
        """Path of the job script."""
        return self.folder / f"{self.name}.sh"

    def log(self, task: str = "") -> Path:
        """Path of the log of a task, or of the job."""
        return self.folder / (f"{self.name}_{task}.log" if task else f"{self.name}.log")


@dataclass(frozen=True, slots=True)
class Scheduler:
    """How a scheduler spells a job.

    Attributes
    ----------
    prefix
        Beginning of the lines that the scheduler reads.
    header
        Returns these lines of a job, without prefix.
    task
        Shell expression of the number of a task, from 1.
    submit
        Returns the lines of the script that submits an array, and the group if there is one,
        after jobs that were submitted before.
    """

    prefix: str
    header: Callable[[JobRequest], list[str]]
    task: str
    submit: Callable[[JobRequest, JobRequest | None, Sequence[str]], list[str]]


def format_clock(minutes: int) -> str:
    """Write a duration in the form that all schedulers read.

    >>> format_clock(95)
    '01:35:00'
    """
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def write_participant_script(
    scheduler: Scheduler,
    job: JobRequest,
    command: Sequence[str],
    *,
    per_task: int,
    before: Sequence[str] = (),
) -> str:
    """Return the script of a task: the participants of its lines in the list, one command.

    The command replaces the shell, so that signals of the scheduler reach it.

    Parameters
    ----------
    scheduler
        The scheduler.
    job
        The array.
    command
        Words of the command, to which the labels of participants are appended.
    per_task
        Number of participants of a task.
    before
        Lines to run first, such as ``module load``.
    """
    labels = shlex.quote(str(job.folder / PARTICIPANTS))
    first = f"(task - 1) * {per_task} + 1"
    return "\n".join([
        *_beginning(scheduler, job, before),
        f"task={scheduler.task}",
        f'lines="$(( {first} )),$(( task * {per_task} ))p"',
        f'mapfile -t labels < <(sed -n "$lines" {labels})',
        f'exec {shlex.join(command)} "${{labels[@]}}"',
        "",
    ])  # fmt: skip


def write_group_script(
    scheduler: Scheduler,
    job: JobRequest,
    command: Sequence[str],
    out_dir: Path,
    *,
    complete: bool,
    before: Sequence[str] = (),
) -> str:
    """Return the script of the group level.

    Parameters
    ----------
    scheduler
        The scheduler.
    job
        The job.
    command
        Words of the command.
    out_dir
        Output dataset.
    complete
        Whether the group is computed only where every model of the study has a result, or was
        excluded for a reason. This is checked by the job, because not every scheduler can.
    before
        Lines to run first.
    """
    lines = [*_beginning(scheduler, job, before)]
    if complete:
        units, models = (shlex.quote(str(p)) for p in (out_dir / UNITS, job.folder / MODELS))
        lines += [
            f"units={units}",
            "incomplete=0",
            "while read -r model; do",
            '  if ! grep -qsE \'"status": "(done|excluded)"\' "$units/$model.json"; then',
            '    echo "$model has no result" >&2',
            "    incomplete=$(( incomplete + 1 ))",
            "  fi",
            f"done < {models}",
            "if (( incomplete )); then",
            '  echo "The group level was not run, because $incomplete models have no result.'
            " Submit again to fit these (correct the input of those that failed because of it),"
            ' or use --group-when ended." >&2',
            "  exit 1",
            "fi",
        ]
    return "\n".join([*lines, f"exec {shlex.join(command)}", ""])


def write_submit_script(
    scheduler: Scheduler, array: JobRequest, group: JobRequest | None, after: Sequence[str] = ()
) -> str:
    """Return the script that submits the array, and the group that waits for it.

    Parameters
    ----------
    scheduler
        The scheduler.
    array
        Array of participants; without tasks, only the group is submitted.
    group
        Job of the group; None without one.
    after
        Jobs of earlier submissions that the group also waits for.
    """
    lines = ["#!/bin/bash", "set -euo pipefail", f"cd {shlex.quote(str(array.folder))}"]
    return "\n".join([*lines, *scheduler.submit(array, group, after), ""])


def _beginning(scheduler: Scheduler, job: JobRequest, before: Sequence[str]) -> list[str]:
    directives = [*scheduler.header(job), *job.directives] if scheduler.prefix else []
    return [
        "#!/bin/bash",
        *(f"{scheduler.prefix} {directive}" for directive in directives),
        "set -euo pipefail",
        *before,
    ]


@dataclass(frozen=True, slots=True)
class _Submission:
    """How jobs are submitted to a scheduler.

    Attributes
    ----------
    command
        Command that submits a script and prints the number of its job.
    hold
        Option that lets a job wait for ``{jobs}``, whose numbers ``separator`` joins.
    trim
        Expansion of the shell that removes what is printed after the number, if anything is.
    """

    command: str
    hold: str
    separator: str = ":"
    trim: str = ""

    def __call__(
        self, array: JobRequest, group: JobRequest | None, after: Sequence[str]
    ) -> list[str]:
        """Return the commands that submit the array, and the group that waits for it."""
        lines, waits = [], list(after)
        if array.n_tasks:
            lines = [f"participant=$({self.command} {array.script.name})"]
            lines += [f'participant="${{participant{self.trim}}}"'] if self.trim else []
            lines += [f'echo "$participant" > {PARTICIPANT_ID}']
            waits.append("$participant")
        if group:
            hold = self.hold.format(jobs=self.separator.join(waits)) + " " if waits else ""
            number = f"${{group{self.trim}}}" if self.trim else "$group"
            lines += [
                f"group=$({self.command} {hold}{group.script.name})",
                f'echo "{number}" > {GROUP_ID}',
            ]
        return lines


# --- Slurm -----------------------------------------------------------------------------------


def _slurm_header(job: JobRequest) -> list[str]:
    lines = [
        f"--job-name=npi-bids-{job.name}",
        f"--cpus-per-task={job.n_cpus}",
        f"--mem={job.megabytes}M",
        f"--time={format_clock(job.minutes)}",
        f"--signal=B:USR1@{_WARNING_SECONDS}",
        "--open-mode=append",
        f"--output={job.log('%a' if job.n_tasks else '')}",
    ]
    at_once = f"%{job.most_at_once}" if job.most_at_once else ""
    return [*lines, f"--array=1-{job.n_tasks}{at_once}"] if job.n_tasks else lines


# --- Grid Engine -----------------------------------------------------------------------------


def _sge_header(job: JobRequest) -> list[str]:
    hard, soft = job.minutes * 60, max(1, job.minutes * 60 - _WARNING_SECONDS)
    # Memory is per slot. The soft limit sends SIGUSR1, the hard limit SIGKILL.
    per_slot = math.ceil(job.megabytes / job.n_cpus)
    lines = [
        f"-N npi-bids-{job.name}",
        "-S /bin/bash",
        "-V",
        f"-l h_vmem={per_slot}M",
        f"-l h_rt={hard}",
        f"-l s_rt={soft}",
        "-j y",
        f"-o {job.log('$TASK_ID' if job.n_tasks else '')}",
    ]
    lines += [f"-pe smp {job.n_cpus}"] if job.n_cpus > 1 else []
    lines += [f"-t 1-{job.n_tasks}"] if job.n_tasks else []
    return [*lines, f"-tc {job.most_at_once}"] if job.n_tasks and job.most_at_once else lines


# --- PBS -------------------------------------------------------------------------------------


def _pbs_header(job: JobRequest) -> list[str]:
    lines = [
        f"-N npi-{job.name}",  # older versions allow 15 characters
        "-S /bin/bash",
        "-V",
        f"-l select=1:ncpus={job.n_cpus}:mem={job.megabytes}mb",
        f"-l walltime={format_clock(job.minutes)}",
        "-j oe",
        f"-o {job.log('^array_index^' if job.n_tasks > 1 else '')}",
    ]
    # An array has two tasks at least.
    at_once = f"%{job.most_at_once}" if job.most_at_once else ""
    return [*lines, f"-J 1-{job.n_tasks}{at_once}"] if job.n_tasks > 1 else lines


# --- Without scheduler -----------------------------------------------------------------------


def _no_header(job: JobRequest) -> list[str]:
    del job
    return []


def _loop(array: JobRequest, group: JobRequest | None, after: Sequence[str]) -> list[str]:
    """Run tasks one after the other, or several at once; a task that fails stops no other."""
    del after
    lines = []
    if array.n_tasks:
        log = f"{array.name}_$1.log"
        run = f'bash {array.script.name} "$1" >> "{log}" 2>&1 || echo "task $1 failed, see {log}"'
        lines = [
            f"seq 1 {array.n_tasks} | xargs -n 1 -P {max(1, array.most_at_once)} "
            f"bash -c {shlex.quote(run)} task"
        ]
    return (
        [*lines, f"bash {group.script.name} 2>&1 | tee -a {group.log().name}"] if group else lines
    )


SCHEDULERS = {
    "slurm": Scheduler(
        "#SBATCH",
        _slurm_header,
        '"${SLURM_ARRAY_TASK_ID:-1}"',
        _Submission("sbatch --parsable", '--dependency="afterany:{jobs}"', trim="%%;*"),
    ),
    "sge": Scheduler(
        "#$",
        _sge_header,
        '"${SGE_TASK_ID:-1}"',
        _Submission("qsub -terse", '-hold_jid "{jobs}"', separator=",", trim="%%.*"),
    ),
    "pbs": Scheduler(
        "#PBS",
        _pbs_header,
        '"${PBS_ARRAY_INDEX:-1}"',
        _Submission("qsub", '-W depend="afterany:{jobs}"'),
    ),
    "loop": Scheduler("", _no_header, '"${1:-1}"', _loop),
}
