"""The participant level: what is to be done, doing it, and what became of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

from npi_bids.bids.atlases import AtlasSpec
from npi_bids.bids.derivatives import DONE, FAILED, UnitStatus, find_models, find_statuses
from npi_bids.bids.layout import Dataset
from npi_bids.bids.outputs import CLAIM, printable, unit_name
from npi_bids.bids.runs import Unit
from npi_bids.cli.dataset import update_descriptions, write_dataset
from npi_bids.cli.estimates import largest_volume
from npi_bids.cli.execution import (
    Crash,
    choose_plugin,
    extraction_memory,
    read_crashes,
    run_workflow,
    training_memory,
    write_graph,
)
from npi_bids.cli.inputs import Inputs, find_pretrained, warn_of_spaces
from npi_bids.cli.logs import Progress, unit_of
from npi_bids.cli.parser import Request
from npi_bids.cli.work_folder import reserved
from npi_bids.errors import ConfigurationError, exit_code_of
from npi_bids.group.saving import remove_groups
from npi_bids.io.claim import claimed
from npi_bids.io.files import remove_leftovers, write_json
from npi_bids.surrogates.families import prior_support
from npi_bids.wording import count_noun
from npi_bids.workflows.participant import init_participant_wf
from npi_bids.workflows.subject import PreparedAtlas, Task

_logger = logging.getLogger(__name__)

# Models that Nipype is given at once: its scheduler looks at all nodes for each that ends, which
# took 12 ms with 1200 nodes and 80 with 7000.
AT_ONCE = 150


@dataclass(frozen=True, slots=True)
class Plan:
    """What the participant level is to do.

    Attributes
    ----------
    request
        As the user gave it, but that cleaning options follow the kind of input.
    datasets
        The inputs.
    tasks
        Models to fit.
    complete
        Models that are there already, with this configuration.
    refused
        Models that cannot be fitted because of their input.
    """

    request: Request
    datasets: list[Dataset]
    tasks: list[Task]
    complete: list[UnitStatus]
    refused: list[UnitStatus]


def make_plan(request: Request, work_dir: Path, claims: ExitStack | None = None) -> Plan:
    """Find the runs, prepare the atlases, and see what is there already.

    The output dataset is claimed for the configuration until ``claims`` are closed; without them
    nothing is claimed.

    Raises
    ------
    NPIError
        Nothing can be done; says why.
    """
    inputs = Inputs(request)
    request, specs = inputs.request, inputs.specs
    units = {spec: inputs.units(spec) for spec in specs}
    wanted = {
        unit_name({**unit.entities, **spec.entities, "desc": inputs.desc(spec)})
        for spec in specs
        for unit in units[spec]
    }
    check = partial(_check_configuration, request, wanted)
    if claims is not None:
        path = request.out_dir / CLAIM
        claims.enter_context(claimed(path, request.analysis.configuration, check))
        remove_groups(request.out_dir, request.analysis.configuration)
    done = check()
    n_runs = sum(len(unit.runs) for unit in units[specs[0]])
    subjects = {run.entities["sub"] for run in inputs.runs}
    _logger.info("Found %s of %s", count_noun(n_runs, "run"), count_noun(len(subjects), "subject"))
    if not request.output.dry_run:
        strategies = {inputs.desc(spec): inputs.cleaning for spec in specs}
        write_dataset(request.out_dir, inputs.datasets, specs, strategies)
    tasks = shrink(all_tasks(inputs, units, work_dir), request)
    return _sort_out(request, inputs.datasets, tasks, done)


def all_tasks(inputs: Inputs, units: Mapping[AtlasSpec, list[Unit]], work_dir: Path) -> list[Task]:
    """Prepare the atlases, and return what could be fitted with each of them."""
    tasks = []
    dry = inputs.request.output.dry_run
    for spec in inputs.specs:
        atlas = inputs.prepare(spec, work_dir / "atlases")
        sound = [unit for unit in units[spec] if not unit.problems] or units[spec]
        spaces = {unit.entities.get("space", "individual") for unit in sound}
        space = spec.space if spec.space != "unknown" else sorted(spaces)[0]
        if not inputs.given:
            warn_of_spaces(spec, spaces)
        if not dry:
            atlas = inputs.save(spec, atlas, space=space)
        tasks += [_task(unit, atlas, inputs.desc(spec)) for unit in units[spec]]
    return tasks


def shrink(tasks: Sequence[Task], request: Request) -> list[Task]:
    """Tell each task which pre-trained surrogate it starts from, where one is asked for.

    Raises
    ------
    InputDataError
        There is none for a task, or it is not one for its atlas.
    SettingsError
        The surrogate cannot be shrunk towards a group.
    """
    path = request.analysis.prior.pretrained
    if not path:
        return list(tasks)
    prior_support(request.analysis.train.surrogate)
    return [
        task
        if task.unit.problems
        else replace(task, pretrained=str(find_pretrained(Path(path), task)))
        for task in tasks
    ]


def run_plan(plan: Plan, work_dir: Path, run_dir: Path) -> list[UnitStatus]:
    """Run all tasks and return what became of every model of the plan.

    Parameters
    ----------
    plan
        What to do.
    work_dir
        Where intermediate results go.
    run_dir
        Folder of this run's logs and crash files.
    """
    request = plan.request
    out_dir = request.out_dir
    _forget_outdated(out_dir)
    for status in plan.refused:
        _logger.error("%s: %s", status.name, status.reason)
        _write_status(status, out_dir)
    if plan.tasks:
        for task in plan.tasks:
            (out_dir / _status(task, request, FAILED).path).unlink(missing_ok=True)
        _fit(plan.tasks, request, work_dir, run_dir)
    with suppress(OSError):  # tidying up must not fail a run
        remove_leftovers(out_dir)  # of workers that were killed, now or in a run before
    configuration = request.analysis.configuration
    found = {
        status.name: status
        for status in find_statuses(out_dir, whole=True)
        if status.configuration == configuration
    }
    crashes = {unit_of(crash.node): crash for crash in reversed(read_crashes(run_dir))}
    fresh = [
        found.get(task.name) or _failure(task, request, crashes.get(task.node_name))
        for task in plan.tasks
    ]
    for status in fresh:
        if status.error == ConfigurationError.__name__:
            raise ConfigurationError(status.reason)
        if status.status == FAILED:
            _write_status(status, out_dir)
    update_descriptions(out_dir)
    if plan.tasks:
        _warn_of_lost_regions(out_dir, plan.tasks)
    return sorted([*plan.complete, *plan.refused, *fresh], key=lambda status: status.name)


def _forget_outdated(out_dir: Path) -> None:
    """Remove what earlier runs said of inputs that are not there any more, or can be read now."""
    for status in find_statuses(out_dir, whole=True):
        if status.status == FAILED and status.is_outdated:
            (out_dir / status.path).unlink(missing_ok=True)


def _write_status(status: UnitStatus, out_dir: Path) -> None:
    try:
        write_json(out_dir / status.path, asdict(status))
    except OSError as error:  # such as a name that is too long; the others go on
        _logger.error("The status of %s cannot be written: %s", status.name, error)


def _fit(tasks: list[Task], request: Request, work_dir: Path, run_dir: Path) -> None:
    """Build workflows of all tasks, some at a time, and run them."""
    names = {task.node_name: task.name for task in tasks}
    live = sys.stderr.isatty() and not request.output.quiet
    with (
        reserved(work_dir, sorted(names), f"parallel_{run_dir.name}") as folder,
        Progress(names, live=live) as progress,
    ):
        for start in range(0, len(tasks), AT_ONCE):
            some = tasks[start : start + AT_ONCE]
            well = _fit_some(some, request, folder, run_dir, progress)
            if request.output.stop_on_first_crash and not well:
                break


def _fit_some(
    tasks: list[Task], request: Request, folder: Path, run_dir: Path, progress: Progress
) -> bool:
    """Build the workflow of some tasks and run it; return whether no node failed."""
    workflow = init_participant_wf(
        tasks=tasks,
        settings=request.analysis,
        out_dir=request.out_dir,
        work_dir=folder,
        n_threads=request.resources.omp_nthreads,
    )
    if request.output.write_graph:
        for path in write_graph(workflow, run_dir):
            _logger.info("Graph of the workflow: %s", path)
    plugin = choose_plugin(request.resources)
    _logger.info("Fitting %s with %s", count_noun(len(tasks), "model"), plugin.name)
    stop = request.output.stop_on_first_crash
    return run_workflow(workflow, replace(plugin, stop=stop), run_dir, progress)


def judge(statuses: Sequence[UnitStatus]) -> int:
    """Return the exit code that the fate of all models amounts to."""
    codes = {exit_code_of(status.error) for status in statuses if status.status == FAILED}
    done = any(status.status == DONE for status in statuses)
    if not codes:
        return 0 if done or not statuses else 4
    return 1 if done else min(codes)


def _task(unit: Unit, atlas: PreparedAtlas, desc: str) -> Task:
    usable = [run.path for run in unit.runs if not run.problem]
    return Task(
        unit,
        atlas,
        desc,
        extract_gb=extraction_memory(usable, largest_volume(usable)),
        train_gb=training_memory(atlas.n_regions),
    )


def _check_configuration(request: Request, wanted: set[str]) -> set[str]:
    """Return the wanted models that are there, and refuse to mix configurations.

    This comes before anything is written.
    """
    configuration = request.analysis.configuration
    done = set()
    for model in find_models(request.out_dir, whole=True):
        name = model.name
        found = model.configuration
        replaced = request.output.overwrite and name in wanted
        if found != configuration and not replaced:
            raise ConfigurationError(
                f"<{request.out_dir}> holds results of another configuration ({found}; this one "
                f"is {configuration}), for example of {name}. Use another out_dir, or "
                "--overwrite with all of its subjects and atlases."
            )
        if found == configuration and not replaced:
            done.add(name)
    return done & wanted


def _sort_out(
    request: Request, datasets: list[Dataset], tasks: list[Task], done: set[str]
) -> Plan:
    """Tell models that are there from models to fit, and those from what cannot be fitted."""
    statuses = {
        status.name: status
        for status in find_statuses(request.out_dir, whole=True)
        if status.status == DONE
        and status.configuration == request.analysis.configuration
        and status.is_whole(request.out_dir)
    }
    complete = [statuses[name] for name in sorted(done & set(statuses))]
    there = {status.name for status in complete}
    todo = [task for task in tasks if task.name not in there]
    refused = [
        _status(
            task,
            request,
            FAILED,
            reason=printable(" ".join(task.unit.problems)),
            error="InputDataError",
            source=task.unit.source,
        )
        for task in todo
        if task.unit.problems
    ]
    usable = [task for task in todo if not task.unit.problems]
    return Plan(request, datasets, usable, complete, refused)


def _failure(task: Task, request: Request, crash: Crash | None) -> UnitStatus:
    if crash is not None:
        path = str(crash.path.relative_to(request.out_dir))
        reason = printable(" ".join(crash.failure.message.splitlines()))
        error = crash.failure.error
        return _status(task, request, FAILED, reason=reason, error=error, crash=path)
    if request.output.stop_on_first_crash:
        reason = "not run: another model failed before (--stop-on-first-crash); run it again"
        return _status(task, request, FAILED, reason=reason)
    reason = (
        "a worker process ended without a word, most likely killed for lack of memory; give "
        "more memory, or fewer processes (--n-procs 1)"
    )
    return _status(task, request, FAILED, reason=reason)


class _StatusFields(TypedDict, total=False):
    """Why a model is missing; as :class:`UnitStatus` has it."""

    reason: str
    error: str
    crash: str
    source: str


def _status(
    task: Task, request: Request, status: str, **facts: Unpack[_StatusFields]
) -> UnitStatus:
    configuration = request.analysis.configuration
    return UnitStatus(task.entities, task.desc, status, configuration, **facts)


def _warn_of_lost_regions(out_dir: Path, tasks: list[Task]) -> None:
    n_regions = {task.name: task.atlas.n_regions for task in tasks}
    for model in find_models(out_dir, whole=True):
        whole, kept = n_regions.get(model.name, 0), model.fit.regions_in_model
        if kept < whole:
            _logger.warning(
                "%s: %d of %d regions are not covered in every run and are n/a",
                model.name, whole - kept, whole,
            )  # fmt: skip
