"""Entry point of ``npi-bids-slurm``: a study as jobs of a cluster, and what became of them."""

from __future__ import annotations

import math
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from npi_bids.cli.arguments import CommandParser, choice_type
from npi_bids.cli.entry import run_command
from npi_bids.cli.signals import interruptible
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.wording import count_noun, join_items

if TYPE_CHECKING:
    from npi_bids.cli.estimates import Estimate, JobEstimate
    from npi_bids.cli.parser import Request
    from npi_bids.cli.participant import Plan
    from npi_bids.cli.schedulers import JobRequest
    from npi_bids.cli.submissions import ParticipantState, Submission

_NAME = "npi-bids-slurm"
_SCHEDULERS = ("slurm", "sge", "pbs", "loop")
_EXAMPLE = f"""{_NAME} /data/fmriprep /data/npi participant group \\
    --atlas Schaefer2018:scale-100 --submit
{_NAME} status /data/npi"""
# The default of Slurm's MaxArraySize allows 1000 tasks.
_MOST_TASKS = 1000
# The whole time of a task may be this many times the estimate; no job is shorter than 15 minutes.
_TIME_MARGIN, _SHORTEST_MINUTES = 2.0, 15
_MEMORY_MARGIN = 1.5
_GROUP_GB, _GROUP_MINUTES = 4.0, 120
_KIND_NOTE = (
    "Tasks of single participants do not decide on one kind of fit for the dataset. When all have "
    "ended, 'npi-bids ... participant group' with the same options and without "
    "--participant-label fits those of other kinds again, and then computes the group.\n"
)


@interruptible(_NAME, "run the same command again to go on.")
def main(argv: Sequence[str] | None = None) -> int:
    """Write or submit the jobs of a study, or show their state."""
    return run_command(_NAME, _main, argv)


def _main(argv: Sequence[str]) -> int:
    if argv[:1] == ["status"]:
        return _show_status(argv[1:])
    return _write_jobs(argv)


def build_parser() -> CommandParser:
    """Return the parser: that of npi-bids, with the options of the jobs."""
    from npi_bids.cli.parser import build_parser as build_npi_bids_parser

    parser = build_npi_bids_parser(
        _NAME,
        "Write the jobs of a study for a cluster: an array with one task per participant, and a "
        "group job that waits for it. Participants that are complete are left out, so that the "
        "same command again completes what failed. 'npi-bids-slurm status out_dir' shows the "
        "state of all participants.",
        _EXAMPLE,
    )
    group = parser.add_argument_group("jobs")
    group.add_argument("--submit", action="store_true",
                       help="submit the jobs (with --scheduler loop: run them)")  # fmt: skip
    group.add_argument("--scheduler", type=choice_type(_SCHEDULERS), default="slurm",
                       metavar="{" + ",".join(_SCHEDULERS) + "}",
                       help="scheduler, or loop for none (default: slurm)")  # fmt: skip
    group.add_argument("--job-mem", type=_read_memory, default=None, metavar="SIZE",
                       help="memory of a task, such as 8G (default: 1.5 times the estimate "
                       "of --dry-run)")  # fmt: skip
    group.add_argument("--job-time", type=_read_minutes, default=None, metavar="H:MM",
                       help="longest duration of a task (default: twice the estimate of "
                       "--dry-run, 15 minutes at least)")  # fmt: skip
    group.add_argument("--per-task", type=_read_count, default=None, metavar="N",
                       help="participants of a task (default: 1, or more where an array would "
                       f"have more than {_MOST_TASKS} tasks)")  # fmt: skip
    group.add_argument("--at-once", type=_read_count, default=0, metavar="N",
                       help="tasks that may run at the same time (default: no limit; with "
                       "--scheduler loop: 1)")  # fmt: skip
    group.add_argument("--group-when", type=choice_type(("complete", "ended")),
                       default="complete", metavar="{complete,ended}",
                       help="compute the group where every model has a result or was excluded, or "
                       "when all tasks have ended, whatever their outcome (default: complete)",
                       )  # fmt: skip
    group.add_argument("--group-mem", type=_read_memory, default=_GROUP_GB, metavar="SIZE",
                       help=f"memory of the group job (default: {_GROUP_GB:g}G)")  # fmt: skip
    group.add_argument("--group-time", type=_read_minutes, default=_GROUP_MINUTES,
                       metavar="H:MM",
                       help="longest duration of the group job (default: 2:00)")  # fmt: skip
    group.add_argument("--directive", action="append", default=[], metavar="TEXT",
                       help="one more option of the scheduler, such as "
                       "--directive=--partition=long; may be repeated")  # fmt: skip
    group.add_argument("--before", action="append", default=[], metavar="LINE",
                       help="a shell line that the jobs run first, such as 'module load "
                       "apptainer'; may be repeated")  # fmt: skip
    group.add_argument("--command", default="", metavar="TEXT",
                       help="command that starts npi-bids in the jobs, such as 'apptainer run "
                       "npi-bids.sif' (default: this installation)")  # fmt: skip
    return parser


def _read_memory(text: str) -> float:
    from npi_bids.analysis import ResourceSettings

    try:
        memory = ResourceSettings(mem=text).memory_gb
    except SettingsError:
        memory = None
    if memory is None:
        raise ArgumentTypeError(f"{text} needs a number and a unit, such as 16G")
    return memory


def _read_count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise ArgumentTypeError(f"must be a whole number above 0, not {text}")
    return int(text)


def _read_minutes(text: str) -> int:
    """Read hours and minutes."""
    hours, colon, minutes = text.partition(":")
    if not (colon and hours.isdigit() and minutes.isdigit() and int(minutes) < 60):
        raise ArgumentTypeError(f"{text} must be hours and minutes, such as 1:30")
    if not (total := int(hours) * 60 + int(minutes)):
        raise ArgumentTypeError("must be at least one minute")
    return total


def _write_jobs(argv: Sequence[str]) -> int:
    """Write the jobs of what is not complete, and submit them if requested."""
    parser = build_parser()
    args = parser.read(argv)
    from npi_bids.cli.parser import parse

    request = parse(argv, parser)
    _check_arguments(args, request)
    plan = _make_plan(request)
    queued = _queued_participants(request.out_dir)
    models = _models_to_fit(plan, queued)
    if queued:
        sys.stdout.write(
            f"{count_noun(len(queued), 'participant')} of earlier submissions still in the queue, "
            f"not submitted again: {join_items(queued, 10)}\n"
        )
    _say_what_failed_before(
        plan, waits="group" in request.levels and args.group_when == "complete"
    )
    if not models and "group" not in request.levels:
        sys.stdout.write(
            f"Nothing to submit: {count_noun(len(plan.complete), 'model')} complete.\n"
        )
        return 0
    folder = _write_submission(args, request, plan, models)
    if not args.submit:
        sys.stdout.write(f"Not submitted; to do so, run: bash {folder / 'submit.sh'}\n")
        return 0
    return _submit(folder)


def _check_arguments(args: Namespace, request: Request) -> None:
    if "pretrain" in request.levels:
        raise SettingsError(
            "pretrain needs all participants in one job; run 'npi-bids ... pretrain' first, then "
            f"{_NAME} with --pretrained."
        )
    if "participant" not in request.levels:
        raise SettingsError(f"{_NAME} needs the level participant; submit the group with it.")
    output, resources = request.output, request.resources
    if output.dry_run or output.reports_only or output.boilerplate_only:
        raise SettingsError(
            "--dry-run, --reports-only and --boilerplate-only need no jobs; run npi-bids instead."
        )
    if resources.nipype_plugin_file:
        raise SettingsError("--nipype-plugin-file would submit jobs from within jobs; omit it.")
    if args.submit and args.scheduler != "loop":
        program = {"slurm": "sbatch"}.get(args.scheduler, "qsub")
        if shutil.which(program) is None:
            raise SettingsError(
                f"--submit needs {program}, which is not here; submit from a login node, or omit "
                "--submit to write the scripts alone."
            )


def _make_plan(request: Request) -> Plan:
    from npi_bids.cli.dataset import check_folders
    from npi_bids.cli.inputs import add_prior_digest
    from npi_bids.cli.participant import make_plan
    from npi_bids.cli.run import prepare_workers
    from npi_bids.cli.work_folder import prepare_work_dir

    check_folders(request)
    work_dir = Path(request.output.work_dir).resolve()
    prepare_work_dir(work_dir, trusted=request.output.trust_work_dir)
    prepare_workers(work_dir, request.resources.omp_nthreads)
    request = add_prior_digest(request)
    if "group" in request.levels:
        from npi_bids.cli.group import check_model

        check_model(request)
    dry = replace(request, output=replace(request.output, dry_run=True))
    return make_plan(dry, work_dir)


def _say_what_failed_before(plan: Plan, *, waits: bool) -> None:
    """Name the models that are not submitted again, for which the group may wait."""
    if not plan.failed:
        return
    names = [status.name for status in plan.failed]
    sys.stdout.write(
        f"Not submitted: {count_noun(len(names), 'model')} that failed before and whose input is "
        f"unchanged ({join_items(names, 5)}); correct the input, or use --retry-failed."
        + (" Until then, the group is not computed (--group-when ended)." if waits else "")
        + "\n"
    )


def _queued_participants(out_dir: Path) -> list[str]:
    from npi_bids.cli.submissions import read_states

    return [state.label for state in read_states(out_dir) if state.is_queued]


def _models_to_fit(plan: Plan, queued: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of the models of each participant that are not complete.

    Models that their input refuses are submitted as well: their status is recorded then.
    """
    models: dict[str, list[str]] = {}
    names = [(task.entities["sub"], task.name) for task in plan.tasks]
    names += [(status.entities["sub"], status.name) for status in plan.refused]
    for label, name in names:
        if label not in queued:
            models.setdefault(label, []).append(name)
    return {label: sorted(models[label]) for label in sorted(models)}


def _write_submission(
    args: Namespace, request: Request, plan: Plan, models: Mapping[str, list[str]]
) -> Path:
    """Write the folder of a submission and say what is in it."""
    from npi_bids.cli import schedulers, submissions
    from npi_bids.cli.estimates import estimate, estimate_job
    from npi_bids.cli.machine import find_speed
    from npi_bids.io.files import write_text

    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder = request.out_dir / submissions.JOBS / f"{stamp}_{uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    submission = submissions.Submission(
        scheduler=args.scheduler,
        configuration=plan.request.analysis.configuration,
        participants=tuple(models),
        per_task=args.per_task or max(1, math.ceil(len(models) / _MOST_TASKS)),
        models=dict(models),
        has_group="group" in request.levels,
    )
    submission.write(folder)
    speed = find_speed(Path(request.output.work_dir).resolve())
    estimates: dict[str, list[Estimate]] = {label: [] for label in models}
    for task in plan.tasks:
        if (label := task.entities["sub"]) in estimates:
            estimates[label].append(estimate(task, plan.request.analysis, speed))
    expected = estimate_job(
        estimates,
        n_procs=request.resources.n_procs or 1,
        per_task=submission.per_task,
        machine=speed,
    )
    array, group = _describe_jobs(args, request, folder, submission.n_tasks, expected)
    names = sorted(
        [task.name for task in plan.tasks]
        + [status.name for status in (*plan.refused, *plan.failed, *plan.complete)]
    )
    write_text(folder / schedulers.PARTICIPANTS, "".join(f"{label}\n" for label in models))
    write_text(folder / schedulers.MODELS, "".join(f"{name}\n" for name in names))
    _write_scripts(args, request, submission, array, group)
    sys.stdout.write(_describe_submission(submission, array, group))
    if request.analysis.kinds.fit_kind == "auto" and len({*models, *_subjects(plan)}) > 1:
        sys.stdout.write(_KIND_NOTE)
    return folder


def _subjects(plan: Plan) -> set[str]:
    """Return the participants whose models are complete."""
    return {status.entities["sub"] for status in plan.complete}


def _describe_jobs(
    args: Namespace, request: Request, folder: Path, n_tasks: int, expected: JobEstimate
) -> tuple[JobRequest, JobRequest | None]:
    from npi_bids.cli.schedulers import JobRequest

    seconds = expected.seconds
    if seconds is None and args.job_time is None and n_tasks:
        raise SettingsError("The computing time is not known for this surrogate; give --job-time.")
    minutes = max(_SHORTEST_MINUTES, math.ceil(_TIME_MARGIN * (seconds or 0) / 60))
    array = JobRequest(
        name="participant",
        folder=folder,
        memory_gb=args.job_mem or _MEMORY_MARGIN * expected.memory_gb,
        minutes=args.job_time or minutes,
        n_cpus=(request.resources.n_procs or 1) * request.resources.omp_nthreads,
        n_tasks=n_tasks,
        most_at_once=args.at_once,
        directives=tuple(args.directive),
    )
    if "group" not in request.levels:
        return array, None
    group = replace(array, name="group", memory_gb=args.group_mem, minutes=args.group_time,
                    n_tasks=0, most_at_once=0)  # fmt: skip
    return array, group


def _write_scripts(
    args: Namespace,
    request: Request,
    submission: Submission,
    array: JobRequest,
    group: JobRequest | None,
) -> None:
    """Write the settings of the study, and the scripts that use them."""
    from npi_bids.cli import schedulers
    from npi_bids.cli.logs import write_settings
    from npi_bids.cli.submissions import queued_jobs
    from npi_bids.io.files import write_text

    folder = array.folder
    work_dir = str(Path(request.output.work_dir).resolve())
    request = replace(request, output=replace(request.output, work_dir=work_dir, config_file=""))
    write_settings(request, folder, program=_NAME)
    scheduler = schedulers.SCHEDULERS[args.scheduler]
    # Relative paths among the options are meant from here.
    before = [*args.before, f"cd {shlex.quote(str(Path.cwd()))}"]
    n_procs = ["--n-procs", str(request.resources.n_procs or 1)]
    start = shlex.split(args.command) or [sys.executable, "-m", "npi_bids"]
    start += [str(request.bids_dir), str(request.out_dir)]
    options = ["--config-file", str(folder / schedulers.SETTINGS), *n_procs]
    command = [*start, "participant", *options, "--participant-label"]
    write_text(array.script, schedulers.write_participant_script(
        scheduler, array, command, per_task=submission.per_task, before=before
    ))  # fmt: skip
    if group is not None:
        write_text(group.script, schedulers.write_group_script(
            scheduler, group, [*start, "group", *options], request.out_dir,
            complete=args.group_when == "complete", before=before,
        ))  # fmt: skip
    after = queued_jobs(request.out_dir)
    text = schedulers.write_submit_script(scheduler, array, group, after)
    write_text(folder / "submit.sh", text)


def _describe_submission(
    submission: Submission, array: JobRequest, group: JobRequest | None
) -> str:
    """Say what the jobs do, and what they ask for."""
    from npi_bids.cli.schedulers import format_clock

    n_models = sum(map(len, submission.models.values()))
    lines = [
        f"{count_noun(n_models, 'model')} of "
        f"{count_noun(len(submission.participants), 'participant')} in "
        f"{count_noun(array.n_tasks, 'task')}: {array.megabytes} MB, "
        f"{format_clock(array.minutes)}, {count_noun(array.n_cpus, 'CPU')} each"
    ]
    if group is not None:
        lines.append(f"group after them: {group.megabytes} MB, {format_clock(group.minutes)}")
    lines.append(f"Scripts, settings and logs: {array.folder}")
    return "\n".join(lines) + "\n"


def _submit(folder: Path) -> int:
    """Submit the jobs of a folder.

    Raises
    ------
    InputDataError
        The scheduler has refused them.
    """
    from npi_bids.cli.schedulers import GROUP_ID, PARTICIPANT_ID
    from npi_bids.cli.submissions import Submission, read_id

    done = subprocess.run(["bash", str(folder / "submit.sh")], check=False)  # noqa: S603, S607 (our own script)
    if done.returncode:
        raise InputDataError(
            f"<{folder / 'submit.sh'}> ended with exit code {done.returncode}; see above for the "
            "reason, correct it in the scripts or with --directive, and submit again."
        )
    if Submission.read(folder).scheduler == "loop":
        return 0
    ids = {name: read_id(folder / name) for name in (PARTICIPANT_ID, GROUP_ID)}
    sys.stdout.write(
        "".join(
            f"Submitted: {name.removesuffix('.id')} {job}\n" for name, job in ids.items() if job
        )
    )
    return 0


# --- State -----------------------------------------------------------------------------------


def _show_status(argv: Sequence[str]) -> int:
    """Print the state of each participant; return 1 where models are missing or have failed."""
    parser = CommandParser(
        f"{_NAME} status",
        "out_dir",
        "Show which participants of all submissions are complete, wait, run, or have failed and "
        "why. The exit code is 1 where some are not complete.",
        example=f"{_NAME} status /data/npi",
    )
    parser.add_argument("out_dir", type=Path, help="output dataset")
    parser.add_help_options()
    parser.add_argument("--all", action="store_true",
                        help="list the complete participants as well")  # fmt: skip
    args = parser.read(argv)
    from npi_bids.cli.submissions import JOBS, count_models, group_state, read_states

    states = read_states(args.out_dir)
    if not states and group_state(args.out_dir) is None:
        raise InputDataError(
            f"<{args.out_dir / JOBS}> holds no submission; name the out_dir of {_NAME}."
        )
    _print_states([state for state in states if args.all or not state.is_complete])
    counts = join_items(f"{number} {status}" for status, number in count_models(states).items())
    n_complete = sum(state.is_complete for state in states)
    sys.stdout.write(
        f"{n_complete} of {count_noun(len(states), 'participant')} complete"
        + (f" (models: {counts})\n" if counts else "\n")
    )
    if (group := group_state(args.out_dir)) is not None:
        from npi_bids.cli.submissions import last_line

        job, log = group
        sys.stdout.write(
            f"Group: {job.lower() or 'not in the queue'}; {last_line(log) or 'no log'}\n"
        )
    return 0 if n_complete == len(states) else 1


def _print_states(states: Sequence[ParticipantState]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not states:
        return
    table = Table("participant", "models", "job", box=None, pad_edge=False)
    table.add_column("reason", overflow="fold")
    table.add_column("log", overflow="fold")
    for state in states:
        counts: dict[str, int] = {}
        for status in state.models.values():
            counts[status] = counts.get(status, 0) + 1
        models = join_items(f"{number} {status}" for status, number in sorted(counts.items()))
        log = str(state.log) if state.log.is_file() else ""
        table.add_row(f"sub-{state.label}", models, state.job.lower(), state.reason, log)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    sys.exit(main())
