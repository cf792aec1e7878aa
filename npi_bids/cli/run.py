"""Entry point of ``npi-bids``."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.cli.entry import run_command
from npi_bids.cli.signals import interruptible
from npi_bids.errors import NPIError
from npi_bids.wording import count_noun

_logger = logging.getLogger(__name__)
# Sockets have names of 107 bytes at most; what Python appends takes less than 40.
_LONGEST_SCRATCH = 65
# Why something failed, by exit code.
_REASONS = {
    2: ", because its options cannot be used",
    3: ", because the input cannot be used",
    4: ", because no usable data, or too little of them, are left after the thresholds",
    5: ", because out_dir holds results of several configurations",
}


if TYPE_CHECKING:
    from npi_bids.bids.derivatives import UnitStatus
    from npi_bids.cli.parser import Request


@interruptible("npi-bids", "run the same command again to go on.")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the requested levels and return the exit code."""
    return run_command("npi-bids", _run, argv)


def _run(words: Sequence[str]) -> int:
    from npi_bids.cli.dataset import check_folders
    from npi_bids.cli.parser import parse
    from npi_bids.cli.work_folder import prepare_work_dir

    request = parse(words)
    check_folders(request)
    work_dir = Path(request.output.work_dir).resolve()
    prepare_work_dir(work_dir, trusted=request.output.trust_work_dir)
    prepare_workers(work_dir, request.resources.omp_nthreads)
    return run_levels(request)


def run_levels(request: Request) -> int:
    """Run the levels of a request, one after the other, and return the exit code."""
    from npi_bids.cli.dataset import check_results
    from npi_bids.cli.execution import choose_plugin
    from npi_bids.cli.inputs import with_digest
    from npi_bids.cli.logs import start_logging, write_settings

    choose_plugin(request.resources)  # which says now what is wrong with a file
    request = with_digest(request)
    work_dir = Path(request.output.work_dir).resolve()
    again = request.output.reports_only or request.output.boilerplate_only
    fits = "participant" in request.levels and not again
    pretrains = "pretrain" in request.levels and not again
    if "group" in request.levels and (fits or pretrains):
        from npi_bids.cli.group import check_model

        check_model(request)
    if request.output.dry_run:
        return _print_plans(request, work_dir)
    if not fits and not pretrains:
        check_results(request.out_dir)
    run_dir = start_logging(request.out_dir, request.output)
    write_settings(request, run_dir)
    code = 0
    if pretrains:
        code, request = _pretrain(request, work_dir, run_dir)
        if code > 1 or request.levels == ("pretrain",):
            failed = "the pre-training failed" + _REASONS.get(code, "") if code else ""
            sys.stdout.write(_last_line(code, failed, request, run_dir) + "\n")
            return code
    with ExitStack() as claims:
        fitting = claims if fits else None
        return max(code, _run_models(request, work_dir, run_dir, fitting))


def _run_models(request: Request, work_dir: Path, run_dir: Path, claims: ExitStack | None) -> int:
    """Fit models, run the group level, write pages, and print the outcome.

    ``claims`` hold the output dataset for what is fitted; None where nothing is.
    """
    from npi_bids.bids.derivatives import find_statuses
    from npi_bids.cli.logs import print_table, write_settings
    from npi_bids.cli.participant import judge, make_plan, run_plan

    code, complete = 0, []
    if claims is not None:
        plan = make_plan(request, work_dir, claims)
        write_settings(plan.request, run_dir)  # cleaning follows the kind of input
        statuses = run_plan(plan, work_dir, run_dir)
        code, complete = judge(statuses), [status.name for status in plan.complete]
    else:
        statuses = find_statuses(request.out_dir)
    group_code = _run_group(request, work_dir, run_dir) if "group" in request.levels else 0
    pages = _write_pages(request, statuses, work_dir, run_dir, group=not group_code)
    failed = _failures(code, group_code)
    code = code or group_code or (0 if pages else 6)
    if not request.output.quiet:
        print_table(statuses, complete)
    sys.stdout.write(_last_line(code, failed, request, run_dir) + "\n")
    return code


def _pretrain(request: Request, work_dir: Path, run_dir: Path) -> tuple[int, Request]:
    """Run the level pretrain; return its code, and the request that goes on from it."""
    from npi_bids.cli.inputs import with_digest
    from npi_bids.cli.pretrain import run_pretrain

    code = run_pretrain(request, work_dir, run_dir)
    prior = replace(request.analysis.prior, pretrained=str(request.out_dir))
    after = replace(request, analysis=replace(request.analysis, prior=prior))
    return code, request if code > 1 else with_digest(after)


def _write_pages(
    request: Request, statuses: Sequence[UnitStatus], work_dir: Path, run_dir: Path, *, group: bool
) -> bool:
    """Write texts and pages, or the texts alone where these are wanted alone."""
    texts_alone = request.output.boilerplate_only
    # The group level changes nothing of a subject, whose page takes seconds.
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

    Nipype is kept from phoning home, chattering, and writing to HOME: it reads its configuration
    when it is imported, from a folder that this names. Libraries of linear algebra read their
    number of threads when they are loaded; torch alone gets the threads, because its pool and that
    of numpy wait for each other (two threads took twice the time of one). Scratch files go into
    the work folder, but where its name is too long for the sockets of worker processes.
    """
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["NIPYPE_NO_ET"] = "1"
    folder = work_dir / "nipype"
    folder.mkdir(parents=True, exist_ok=True)
    levels = "\n".join(f"{name}_level = CRITICAL" for name in ("workflow", "interface", "utils"))
    (folder / "nipype.cfg").write_text(f"[logging]\n{levels}\n", encoding="utf-8")
    os.environ["NIPYPE_CONFIG_DIR"] = str(folder)
    os.environ["MPLCONFIGDIR"] = str(work_dir / "matplotlib")
    scratch = work_dir / "tmp"
    if len(str(scratch)) <= _LONGEST_SCRATCH:
        scratch.mkdir(exist_ok=True)
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)


def _run_group(request: Request, work_dir: Path, run_dir: Path) -> int:
    """Run the group level on existing results; log why where that is not possible."""
    from npi_bids.cli.group import run_group

    if request.output.reports_only or request.output.boilerplate_only:
        return 0
    try:
        return run_group(request, work_dir, run_dir)
    except NPIError as error:
        if "participant" not in request.levels:
            raise
        _logger.error("Group level: %s", error)
        return error.exit_code


def _print_plans(request: Request, work_dir: Path) -> int:
    """Print what the levels would do; return the exit code of what is refused.

    The group level is included where all results of participants exist.
    """
    code, there = 0, request.levels == ("group",)
    if there:
        from npi_bids.cli.dataset import check_results

        check_results(request.out_dir)
    else:
        code, n_models = _print_plan(request, work_dir)
        there = not n_models and not code
    if there and "group" in request.levels:
        from npi_bids.cli.group import describe_plan

        sys.stdout.write(describe_plan(request) + "\n")
    return code


def _print_plan(request: Request, work_dir: Path) -> tuple[int, int]:
    """Print what would be fitted, and the time and memory it would take.

    Returns
    -------
    tuple
        The exit code of what is refused, and how many models would be fitted.
    """
    from npi_bids.cli.estimates import estimate
    from npi_bids.cli.execution import n_processes
    from npi_bids.cli.participant import judge, make_plan
    from npi_bids.surrogates.base import resolve

    plan = make_plan(request, work_dir)
    request = plan.request
    estimates = [estimate(task, request.analysis) for task in plan.tasks]
    lines = [f"{count_noun(len(plan.tasks), 'model')} to fit, {len(plan.complete)} complete:"]
    for task, found in zip(plan.tasks, estimates, strict=True):
        weights = f"{found.parameters} weights, " if found.parameters else ""
        lines.append(
            f"  {task.name} ({count_noun(len(task.unit.runs), 'run')}, {found.samples} samples, "
            f"{found.windows} windows, {task.atlas.n_regions} regions, {weights}up to "
            f"{found.memory_gb:.1f} GB, {_about(found.seconds)})"
        )
        lines += [f"    will fail: {problem}" for problem in found.problems]
    if plan.refused:
        lines.append(f"{count_noun(len(plan.refused), 'model')} that cannot be fitted:")
    lines += [f"  {status.name}: {status.reason}" for status in plan.refused]
    n_procs = n_processes(request.resources)
    known = [found.seconds for found in estimates if found.seconds is not None]
    total = sum(known) / n_procs if len(known) == len(estimates) else None
    processes = count_noun(n_procs, "process", "processes")
    lines.append(f"{_about(total).capitalize()} with {processes}, plus time for reports")
    train, denoise = resolve(request.analysis.train), request.analysis.denoise
    lags = count_noun(train.n_lags or 0, "lag")
    lines.append(f"Denoising {denoise.label}; surrogate {train.surrogate}, {lags}")
    lines.append(f"Configuration {request.analysis.configuration}")
    sys.stdout.write("\n".join(lines) + "\n")
    code = judge([*plan.refused, *plan.complete])
    return 1 if code and plan.tasks else code, len(plan.tasks)


def _about(seconds: float | None) -> str:
    """Say how long something takes, if that is known."""
    from npi_bids.cli.logs import duration

    return "unknown computing time" if seconds is None else f"about {duration(seconds)}"


def _failures(models: int, group: int) -> str:
    """Return what failed and why, from the exit codes of the models and of the group level."""
    said = []
    if models:
        what = "some models failed" if models == 1 else "no model could be fitted"
        said.append(what + _REASONS.get(models, ""))
    if group:
        said.append("the group level failed" + _REASONS.get(group, ""))
    return "; ".join(said)


def _last_line(code: int, failed: str, request: Request, run_dir: Path) -> str:
    """Return the outcome in one sentence; ``failed`` says what failed."""
    words = f"npi-bids finished, but {failed}; see the table, and the log and crash files in "
    words += f"{run_dir}."
    if code == 0:
        words = "npi-bids finished successfully."
    elif not failed:
        words = f"npi-bids finished, the results are complete, but a report failed; see {run_dir}."
    return f"{words} Results: {request.out_dir}"


def write_pages(
    request: Request, subjects: list[str], work_dir: Path, run_dir: Path, *, group: bool
) -> bool:
    """Write the report of each subject, the methods text, and the group's report where wanted.

    Returns
    -------
    bool
        True where every page was written.
    """
    from npi_bids.cli.execution import choose_plugin, read_crashes, run_workflow
    from npi_bids.workflows.report import init_report_wf

    # Pages are always written anew, so that other processes must not share their folder.
    with tempfile.TemporaryDirectory(dir=work_dir, prefix="reports_") as folder:
        workflow = init_report_wf(
            subjects=subjects, out_dir=request.out_dir, work_dir=Path(folder), group=group
        )
        well = run_workflow(workflow, choose_plugin(request.resources), run_dir, lambda *_: None)
    if not well:
        for crash in read_crashes(run_dir):
            if "report_wf" in crash.node:
                _logger.error("Report %s failed: %s", crash.node, crash.failure.message)
    return well


if __name__ == "__main__":
    sys.exit(main())
