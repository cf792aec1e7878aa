"""Entry point of ``npi-bids``."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.cli.entry import run_command
from npi_bids.cli.signals import interruptible
from npi_bids.cli.stage_times import record_stages, stage
from npi_bids.errors import NPIError
from npi_bids.wording import count_noun

_logger = logging.getLogger(__name__)
# Names of sockets have 107 bytes at most, of which Python appends less than 40.
_LONGEST_SCRATCH = 65
_REUSED_BYTES = 32 << 20  # the largest threshold that glibc accepts
# Why something failed, by exit code.
_REASONS = {
    2: ", because its options cannot be used",
    3: ", because the input cannot be used",
    4: ", because no usable data, or too few of them, remain after the thresholds",
    5: ", because out_dir holds results of several configurations",
}


if TYPE_CHECKING:
    from npi_bids.bids.derivatives import UnitStatus
    from npi_bids.cli.estimates import Estimate
    from npi_bids.cli.parser import Request
    from npi_bids.cli.participant import Plan


@interruptible("npi-bids", "run the same command again to go on.")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the requested levels and return the exit code."""
    return run_command("npi-bids", _run, argv)


def _run(argv: Sequence[str]) -> int:
    from npi_bids.cli.parser import parse

    request = parse(argv)
    # Not before: help and errors in the options need none of what these import.
    from npi_bids.cli.dataset import check_folders
    from npi_bids.cli.work_folder import prepare_work_dir

    check_folders(request)
    work_dir = Path(request.output.work_dir).resolve()
    prepare_work_dir(work_dir, trusted=request.output.trust_work_dir)
    prepare_workers(work_dir, request.resources.omp_nthreads)
    return run_levels(request)


def run_levels(request: Request) -> int:
    """Run the levels of a request, one after the other, and return the exit code."""
    from npi_bids.cli.worker_pool import shared_workers

    with shared_workers():
        return _run_levels(request)


def _run_levels(request: Request) -> int:
    from npi_bids.cli.dataset import check_results
    from npi_bids.cli.execution import choose_plugin
    from npi_bids.cli.inputs import add_prior_digest
    from npi_bids.cli.logs import start_logging, write_settings

    choose_plugin(request.resources)  # reports errors in a plugin file now
    request = add_prior_digest(request)
    work_dir = Path(request.output.work_dir).resolve()
    reports_alone = request.output.reports_only or request.output.boilerplate_only
    fits = "participant" in request.levels and not reports_alone
    pretrains = "pretrain" in request.levels and not reports_alone
    if "group" in request.levels and (fits or pretrains):
        _check_model(request)
    if request.output.dry_run:
        return _print_plans(request, work_dir)
    if not fits and not pretrains:
        check_results(request.out_dir)
    run_dir = start_logging(request.out_dir, request.output)
    write_settings(request, run_dir)
    with record_stages(run_dir, wanted=request.output.profile):
        return _compute(request, work_dir, run_dir, pretrains=pretrains, fits=fits)


def _compute(
    request: Request, work_dir: Path, run_dir: Path, *, pretrains: bool, fits: bool
) -> int:
    """Pre-train, and run the other levels, as far as they were asked for."""
    code = 0
    if pretrains:
        with stage("pre-train"):
            code, request = _pretrain(request, work_dir, run_dir)
        if code > 1 or request.levels == ("pretrain",):
            failed = "the pre-training failed" + _REASONS.get(code, "") if code else ""
            sys.stdout.write(_last_line(code, failed, request, run_dir) + "\n")
            return code
    with ExitStack() as claims:
        fitting = claims if fits else None
        return max(code, _run_models(request, work_dir, run_dir, fitting))


def _check_model(request: Request) -> None:
    """Check the model of the group level, unless that has been computed with it already."""
    from npi_bids.cli.group_record import GroupRecord

    if not GroupRecord(request).is_current:
        from npi_bids.cli.group import check_model  # which loads SciPy and Nipype

        check_model(request)


def _run_models(request: Request, work_dir: Path, run_dir: Path, claims: ExitStack | None) -> int:
    """Fit models, run the group level, write pages, and print the outcome.

    ``claims`` reserve the output dataset while models are fitted; None if none are.
    """
    from npi_bids.bids.derivatives import find_statuses
    from npi_bids.cli.logs import find_outcomes, print_table, write_settings
    from npi_bids.cli.participant import choose_exit_code, make_plan, run_plan

    code, complete, absent = 0, [], []
    if claims is not None:
        with stage("find input"):
            plan = make_plan(request, work_dir, claims)
        write_settings(plan.request, run_dir)  # cleaning depends on the type of input
        with stage("fit models"):
            outcome = run_plan(plan, work_dir, run_dir)
        statuses, complete = outcome.statuses, outcome.untouched
        code = choose_exit_code(statuses)
        absent = plan.absent
    else:
        statuses = find_statuses(request.out_dir)
    group_code = 0
    if "group" in request.levels:
        with stage("group level"):
            group_code = _run_group(request, work_dir, run_dir)
    with stage("pages and texts"):
        pages = _write_pages(request, statuses, work_dir, run_dir, group=not group_code)
    failed = describe_failures(code, group_code, statuses)
    code = code or group_code or (0 if pages else 6)
    if not request.output.quiet:
        subjects = {status.entities["sub"] for status in statuses}
        outcomes = find_outcomes(request.out_dir, *subjects) if subjects else {}
        print_table([*statuses, *absent], complete, outcomes, request.out_dir)
    sys.stdout.write(_last_line(code, failed, request, run_dir) + "\n")
    return code


def _pretrain(request: Request, work_dir: Path, run_dir: Path) -> tuple[int, Request]:
    """Run the level pretrain; return its exit code, and the request for the next levels."""
    from npi_bids.cli.inputs import add_prior_digest
    from npi_bids.cli.pretrain import run_pretrain

    code = run_pretrain(request, work_dir, run_dir)
    prior = replace(request.analysis.prior, pretrained=str(request.out_dir))
    next_request = replace(request, analysis=replace(request.analysis, prior=prior))
    return code, request if code > 1 else add_prior_digest(next_request)


def _write_pages(
    request: Request, statuses: Sequence[UnitStatus], work_dir: Path, run_dir: Path, *, group: bool
) -> bool:
    """Write texts and pages, or the texts alone if only these are requested."""
    texts_alone = request.output.boilerplate_only
    # The group level does not change the page of a subject, which takes seconds to write.
    group_alone = request.levels == ("group",) and not request.output.reports_only
    subjects = sorted({status.entities["sub"] for status in statuses})
    return write_pages(
        request,
        [] if texts_alone or group_alone else subjects,
        work_dir,
        run_dir,
        group=group and "group" in request.levels and not texts_alone,
    )


def prepare_workers(work_dir: Path, n_threads: int) -> None:
    """Set the environment that worker processes start in.

    Nipype must not phone home, log to the terminal or write to HOME: it reads its configuration
    on import, from the folder that is set here. Linear algebra libraries read their number of
    threads when they are loaded; torch alone gets the threads, because its pool and that of numpy
    wait for each other (two threads took twice the time of one). Scratch files go into the work
    folder, unless its name is too long for the sockets of worker processes.
    """
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    # Arrays of some megabytes are reused instead of returned to the system, which took half of the
    # computing time of operations on them. Read by glibc when a process starts.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(_REUSED_BYTES))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(4 * _REUSED_BYTES))
    os.environ["NIPYPE_NO_ET"] = "1"
    folder = work_dir / "nipype"
    folder.mkdir(parents=True, exist_ok=True)
    levels = "\n".join(f"{name}_level = CRITICAL" for name in ("workflow", "interface", "utils"))
    (folder / "nipype.cfg").write_text(f"[logging]\n{levels}\n", encoding="utf-8")
    os.environ["NIPYPE_CONFIG_DIR"] = str(folder)
    os.environ["MPLCONFIGDIR"] = str(work_dir / "matplotlib")
    scratch = work_dir / "tmp"
    if len(os.fsencode(scratch)) <= _LONGEST_SCRATCH:
        scratch.mkdir(exist_ok=True)
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)


def _run_group(request: Request, work_dir: Path, run_dir: Path) -> int:
    """Run the group level on existing results; log the reason where that is impossible."""
    from npi_bids.cli.group_record import GroupRecord

    if request.output.reports_only or request.output.boilerplate_only:
        return 0
    record = GroupRecord(request)
    if record.is_current:
        _logger.info("Group level: nothing to do, since subjects, participants and settings are "
                     "unchanged; --overwrite computes it again")  # fmt: skip
        return 0
    from npi_bids.cli.group import run_group

    try:
        code = run_group(request, work_dir, run_dir)
        if not code:
            record.save()
        return code
    except NPIError as error:
        if "participant" not in request.levels:
            raise
        _logger.error("Group level: %s", error)
        return error.exit_code


def _print_plans(request: Request, work_dir: Path) -> int:
    """Print what the levels would do; return the exit code for refused models.

    The group level is included where all results of participants exist.
    """
    code, describes_group = 0, request.levels == ("group",)
    if describes_group:
        from npi_bids.cli.dataset import check_results

        check_results(request.out_dir)
    else:
        code, n_models = _print_plan(request, work_dir)
        describes_group = not n_models and not code
    if describes_group and "group" in request.levels:
        from npi_bids.cli.group import describe_plan

        sys.stdout.write(describe_plan(request) + "\n")
    return code


def _print_plan(request: Request, work_dir: Path) -> tuple[int, int]:
    """Print what would be fitted, and the time and memory it would take.

    Returns
    -------
    tuple
        The exit code for refused models, and the number of models that would be fitted.
    """
    from npi_bids.cli.estimates import command_seconds, estimate
    from npi_bids.cli.execution import n_processes
    from npi_bids.cli.machine import find_speed
    from npi_bids.cli.participant import choose_exit_code, make_plan
    from npi_bids.surrogates.base import resolve

    plan = make_plan(request, work_dir)
    request = plan.request
    speed = find_speed(work_dir)
    estimates = [estimate(task, request.analysis, speed) for task in plan.tasks]
    lines = _describe_models(plan, estimates)
    n_procs = n_processes(request.resources)
    durations = [expected.seconds for expected in estimates if expected.seconds is not None]
    subjects = {task.entities["sub"] for task in plan.tasks}
    work = sum(durations) / n_procs + command_seconds(len(subjects), speed)
    total = work if len(durations) == len(estimates) else None
    processes = count_noun(n_procs, "process", "processes")
    lines.append(f"{_format_time(total).capitalize()} with {processes}, reports included")
    train, denoise = resolve(request.analysis.train), request.analysis.denoise
    lags = count_noun(train.n_lags or 0, "lag")
    lines.append(f"Denoising {denoise.label}; surrogate {train.surrogate}, {lags}")
    lines.append(f"Configuration {request.analysis.configuration}")
    sys.stdout.write("\n".join(lines) + "\n")
    code = choose_exit_code([*plan.refused, *plan.failed, *plan.complete])
    return 1 if code and plan.tasks else code, len(plan.tasks)


def _describe_models(plan: Plan, estimates: Sequence[Estimate]) -> list[str]:
    """Return one line for each model, and one for each reason why it will fail or is missing."""
    from npi_bids.bids.outputs import unit_name
    from npi_bids.cli.preflight import find_failing

    failing = find_failing(plan.tasks, plan.request.analysis.denoise)
    lines = [f"{count_noun(len(plan.tasks), 'model')} to fit, {len(plan.complete)} complete:"]
    for task, expected in zip(plan.tasks, estimates, strict=True):
        weights = f"{expected.parameters} weights, " if expected.parameters else ""
        lines.append(
            f"  {task.name} ({count_noun(len(task.unit.runs), 'run')}, {expected.samples} "
            f"samples, {expected.windows} windows, {task.atlas.n_regions} regions, {weights}up to "
            f"{expected.memory_gb:.1f} GB, {_format_time(expected.seconds)})"
        )
        problems = dict.fromkeys([*expected.problems, *failing.get(task.name, [])])
        lines += [f"    will fail: {problem}" for problem in problems]
    unusable = [*plan.refused, *plan.failed]
    if unusable:
        lines.append(f"{count_noun(len(unusable), 'model')} that cannot be fitted:")
    lines += [f"  {status.name}: {status.reason}" for status in unusable]
    if plan.absent:
        lines.append("Without runs to analyse:")
    lines += [f"  {unit_name(status.entities)}: {status.reason}" for status in plan.absent]
    return lines


def _format_time(seconds: float | None) -> str:
    """Format an estimated time; None if it is unknown."""
    from npi_bids.cli.logs import format_duration

    return "unknown computing time" if seconds is None else f"about {format_duration(seconds)}"


def describe_failures(models: int, group: int, statuses: Sequence[UnitStatus]) -> str:
    """Return what failed and why.

    Parameters
    ----------
    models, group
        Exit codes of the models and of the group level.
    statuses
        Status of each model; the reason that the failed ones give is quoted.
    """
    from npi_bids.bids.derivatives import DONE
    from npi_bids.cli.participant import has_failed

    failures = []
    if models:
        outcome = "some models failed" if models == 1 else "no model could be fitted"
        reasons = dict.fromkeys(status.reason for status in statuses if has_failed(status))
        quoted = next((f": {reason.rstrip('.')}" for reason in reasons if reason), "")
        quoted += " (others for other reasons)" if quoted and len(reasons) > 1 else ""
        failures.append(outcome + _REASONS.get(models, "") + quoted)
    if group:
        is_empty = models and not any(status.status == DONE for status in statuses)
        failures.append(
            "so there is no group"
            if is_empty
            else "the group level failed" + _REASONS.get(group, "")
        )
    return "; ".join(failures)


def _last_line(code: int, failed: str, request: Request, run_dir: Path) -> str:
    """Return the outcome in one sentence; ``failed`` says what failed."""
    sentence = f"npi-bids finished, but {failed}; see the table, and the log and crash files in "
    sentence += f"{run_dir}."
    if code == 0:
        sentence = "npi-bids finished successfully."
    elif not failed:
        sentence = (
            f"npi-bids finished, the results are complete, but a report failed; see {run_dir}."
        )
    index = request.out_dir / "index.html"
    pages = f"; all pages: {index}" if index.is_file() else ""
    return f"{sentence} Results: {request.out_dir}{pages}"


def write_pages(
    request: Request, subjects: list[str], work_dir: Path, run_dir: Path, *, group: bool
) -> bool:
    """Write the report of each subject, the methods text, and the group's report if requested.

    Pages and texts that would show the same as before are kept, unless they alone are requested.

    Returns
    -------
    bool
        True where every page was written.
    """
    from npi_bids.bids.made import (
        MadeFiles,
        digest_dataset,
        digest_group_page,
        digest_subjects,
        group_page_files,
        page_files,
        text_files,
    )
    from npi_bids.bids.outputs import GROUP_PAGE

    out_dir, command = request.out_dir, shlex.join(sys.argv[1:])
    made = MadeFiles(out_dir)
    if not (request.output.reports_only or request.output.boilerplate_only):
        n_pages = len(subjects)
        digests = digest_subjects(out_dir, subjects, command)
        subjects = [
            subject
            for subject, digest in digests.items()
            if not made.is_current(f"sub-{subject}", digest)
        ]
        if n_pages > len(subjects):
            n_same = count_noun(n_pages - len(subjects), "page")
            _logger.info("%s would show the same as before and stay", n_same)
        group = group and not made.is_current(GROUP_PAGE, digest_group_page(out_dir, command))
        if (
            not subjects
            and not group
            and made.is_current("texts", digest_dataset(out_dir, command))
        ):
            return True
    if not _run_report_workflow(request, subjects, work_dir, run_dir, group=group):
        return False
    for subject, digest in digest_subjects(out_dir, subjects, command).items():
        made.record(f"sub-{subject}", digest, page_files(out_dir, subject))
    if group:
        made.record(GROUP_PAGE, digest_group_page(out_dir, command), group_page_files(out_dir))
    if not request.output.boilerplate_only:  # which writes no index
        made.record("texts", digest_dataset(out_dir, command), text_files(out_dir))
    made.save()
    return True


def _run_report_workflow(
    request: Request, subjects: list[str], work_dir: Path, run_dir: Path, *, group: bool
) -> bool:
    """Write texts and pages; log the failures, and return whether there were none."""
    from npi_bids.cli.execution import choose_plugin, read_crashes, run_workflow
    from npi_bids.workflows.report import init_report_wf

    # Pages are always written anew, so other processes must not share their folder.
    # Network file systems may keep or hide files of it for some time (.nfs...).
    with tempfile.TemporaryDirectory(
        dir=work_dir, prefix="reports_", ignore_cleanup_errors=True
    ) as folder:
        workflow = init_report_wf(
            subjects=subjects,
            out_dir=request.out_dir,
            work_dir=Path(folder),
            group=group,
            index=not request.output.boilerplate_only,
        )
        succeeded = run_workflow(
            workflow, choose_plugin(request.resources), run_dir, lambda *_: None
        )
    if not succeeded:
        for crash in read_crashes(run_dir):
            if "report_wf" in crash.node:
                _logger.error("Report %s failed: %s", crash.node, crash.failure.message)
    return succeeded


if __name__ == "__main__":
    sys.exit(main())
