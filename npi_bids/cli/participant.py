"""The participant level: its plan, execution and outcome."""

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypedDict, Unpack

from npi_bids import __version__
from npi_bids.analysis import PreparedAtlas, Task
from npi_bids.bids.accounting import Absence
from npi_bids.bids.atlases import AtlasSpec
from npi_bids.bids.derivatives import ABSENT, DONE, FAILED, UnitStatus, find_models, find_statuses
from npi_bids.bids.description import is_other_subject
from npi_bids.bids.layout import Dataset
from npi_bids.bids.outputs import CLAIM, join_entities, parse_name, printable, unit_name
from npi_bids.bids.runs import Unit
from npi_bids.cli.dataset import update_descriptions, write_dataset
from npi_bids.cli.execution import (
    Crash,
    choose_plugin,
    extraction_memory,
    read_crashes,
    run_workflow,
    training_memory,
    uses_gpu,
    write_graph,
)
from npi_bids.cli.fit_kinds import (
    describe_failed_refit,
    find_decisions,
    find_refits,
    find_unchanged,
    who_decides,
)
from npi_bids.cli.inputs import Inputs, find_pretrained, warn_of_spaces
from npi_bids.cli.logs import Progress, parse_unit
from npi_bids.cli.parser import Request
from npi_bids.cli.preflight import warn_of_problems
from npi_bids.cli.stored_settings import describe_difference
from npi_bids.cli.work_folder import reserve_work_dir
from npi_bids.errors import (
    ConfigurationError,
    InputDataError,
    NPIError,
    SettingsError,
    find_exit_code,
)
from npi_bids.group.saving import remove_groups
from npi_bids.io.claim import claim_dataset, is_sole_configuration
from npi_bids.io.files import remove_leftovers, wait_until, write_json
from npi_bids.parcellation.run_files import largest_volume
from npi_bids.surrogates.base import check_prior, parse_passband
from npi_bids.surrogates.delay_map import check_delay_map, read_delay_map
from npi_bids.surrogates.families import WHOLE_BRAIN
from npi_bids.wording import count_noun

_logger = logging.getLogger(__name__)

# Models passed to Nipype at once: its scheduler checks all nodes whenever one ends, which took
# 12 ms with 1200 nodes and 80 ms with 7000.
BATCH_SIZE = 150
# Exit codes of errors that last as long as the input: it cannot be used, or holds too few data.
_INPUT_CODES = (3, 4)
_NOT_AGAIN = "(Not tried again, since the input is unchanged; --retry-failed tries it.)"


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of the participant level.

    Attributes
    ----------
    request
        As the user gave it, with cleaning options that suit the type of input.
    datasets
        Input datasets.
    tasks
        Models to fit.
    complete
        Models that exist already, with this configuration.
    complete_tasks
        How those among them would be fitted whose input can be read.
    refused
        Models that cannot be fitted because of their input.
    absences
        What was requested but has no runs to analyse.
    failed
        Models that failed before because of their input, which has not changed since.
    """

    request: Request
    datasets: list[Dataset]
    tasks: list[Task]
    complete: list[UnitStatus]
    complete_tasks: list[Task]
    refused: list[UnitStatus]
    absences: list[Absence] = field(default_factory=list)
    failed: list[UnitStatus] = field(default_factory=list)

    @property
    def absent(self) -> list[UnitStatus]:
        """Rows of the final table for what was requested but has no runs to analyse."""
        return [
            UnitStatus(absence.entities, "", ABSENT, "", reason=absence.reason)
            for absence in self.absences
        ]


def make_plan(request: Request, work_dir: Path, claims: ExitStack | None = None) -> Plan:
    """Find the runs, prepare the atlases, and check which models exist already.

    The output dataset is claimed for the configuration until ``claims`` are closed; without them
    nothing is claimed.

    Raises
    ------
    NPIError
        Nothing can be fitted; the message says why.
    """
    if request.analysis.infer.infer:
        from npi_bids.inverse.estimator import check_sbi

        check_sbi()
    inputs = Inputs(request)
    request, specs = inputs.request, inputs.specs
    units = {spec: inputs.units(spec) for spec in specs}
    requested = {
        _model_name(unit, spec, inputs.desc(spec)) for spec in specs for unit in units[spec]
    }
    check = partial(_check_configuration, request, requested)
    if claims is not None:
        path = request.out_dir / CLAIM
        sole = not request.output.overwrite  # which may end before it has replaced all models
        claims.enter_context(claim_dataset(path, request.analysis.configuration, check, sole=sole))
        remove_groups(request.out_dir, request.analysis.configuration)
    done = check()
    complete = _find_complete(request, done)
    unfinished = _find_unfinished(inputs, units, complete)
    for spec in unfinished:
        check_template(request, spec, units[spec], inputs.desc(spec))
    n_runs = sum(len(unit.runs) for unit in units[specs[0]])
    subjects = {run.entities["sub"] for run in inputs.runs}
    _logger.info("Found %s of %s", count_noun(n_runs, "run"), count_noun(len(subjects), "subject"))
    if not request.output.dry_run:
        strategies = {inputs.desc(spec): inputs.cleaning for spec in specs}
        write_dataset(request, inputs.datasets, unfinished, strategies, subjects)
    tasks = make_tasks(inputs, {spec: units[spec] for spec in unfinished}, work_dir)
    tasks = assign_pretrained(tasks, request)
    check_tasks_passband(tasks, request)
    check_known_delays(tasks, request)
    return replace(
        _classify_models(request, inputs.datasets, tasks, complete), absences=inputs.absences
    )


def _find_unfinished(
    inputs: Inputs, units: Mapping[AtlasSpec, list[Unit]], complete: Sequence[UnitStatus]
) -> list[AtlasSpec]:
    """Return the atlases with which some model has to be fitted, for the first time or again."""
    request, names = inputs.request, {status.name for status in complete}
    if names:
        names -= set(find_decisions(request, who_decides(request, inputs.datasets)))
    return [
        spec for spec in units
        if not all(_model_name(unit, spec, inputs.desc(spec)) in names for unit in units[spec])
    ]  # fmt: skip


def _model_name(unit: Unit, spec: AtlasSpec, desc: str) -> str:
    return unit_name({**unit.entities, **spec.entities, "desc": desc})


def check_template(request: Request, spec: AtlasSpec, units: Sequence[Unit], desc: str) -> None:
    """Refuse to add maps of an atlas in one template to those of the same atlas in another.

    The template depends on which files of TemplateFlow are on the computer.

    Raises
    ------
    ConfigurationError
        The output dataset holds maps of images in the same space with the atlas in another
        template, which are not replaced.
    """
    tables = request.out_dir.glob(f"tpl-*/anat/tpl-*_{join_entities(spec.entities)}_dseg.tsv")
    others = {path.name: parse_name(path.name).entities["tpl"] for path in tables}
    others = {name: template for name, template in others.items() if template != spec.space}
    if not others or spec.space == "unknown":
        return
    spaces = {unit.entities.get("space") for unit in units}
    replaced = {_model_name(unit, spec, desc) for unit in units if request.output.overwrite}
    for model in find_models(request.out_dir, skip_damaged=True):
        tables_used = [PurePosixPath(uri).name for uri in model.sidecar.links.node_files]
        template = next((others[name] for name in tables_used if name in others), "")
        if template and model.entities.get("space") in spaces and model.name not in replaced:
            raise ConfigurationError(
                f"<{request.out_dir}> holds maps with the atlas {spec.name} in {template}, for "
                f"example of {model.name}; it would now be taken in {spec.space}. Use another "
                f"out_dir, --overwrite with all of its subjects, or, for an atlas of "
                f"--list-atlases, --atlas {spec.name}:tpl-{template}."
            )


def make_tasks(
    inputs: Inputs, units: Mapping[AtlasSpec, list[Unit]], work_dir: Path
) -> list[Task]:
    """Prepare the atlases, and return the models that could be fitted with each of them."""
    tasks = []
    dry = inputs.request.output.dry_run
    for spec in units:
        atlas = inputs.prepare(spec, work_dir / "atlases")
        sound = [unit for unit in units[spec] if not unit.problems] or units[spec]
        spaces = {unit.entities.get("space", "individual") for unit in sound}
        space = spec.space if spec.space != "unknown" else sorted(spaces)[0]
        if not inputs.has_series:
            warn_of_spaces(spec, spaces)
        if not dry:
            atlas = inputs.save(spec, atlas, space=space)
        use_gpu = uses_gpu(inputs.request.analysis.train, atlas.n_regions)
        tasks += [
            replace(_make_task(unit, atlas, inputs.desc(spec)), use_gpu=use_gpu)
            for unit in units[spec]
        ]
    return tasks


def check_tasks_passband(tasks: Sequence[Task], request: Request) -> None:
    """Refuse a named passband that is too narrow for every model, from headers alone.

    Models of which only some would be refused fail in their fit, without keeping the others back.

    Raises
    ------
    SettingsError
        No model could use it.
    """
    passband = parse_passband(request.analysis.train.passband)
    known = [task for task in tasks if not task.unit.problems and task.unit.runs[0].tr]
    if passband is None or not known:
        return
    from npi_bids.parcellation.volumes import count_values
    from npi_bids.surrogates.selection_criteria import MIN_OBSERVATION_REGIONS
    from npi_bids.surrogates.spectral_selection import (
        check_passband_before,
        describe_few_regions,
        name_passband,
    )

    refused = []
    for task in known:
        n_regions, tr = task.atlas.n_regions, task.unit.runs[0].tr or 0.0
        if n_regions < MIN_OBSERVATION_REGIONS:
            reason = describe_few_regions(name_passband(passband), n_regions)
            _logger.warning("%s: %s", task.name, reason)
            continue
        try:
            n_samples = sum(count_values(run.path)[0] for run in task.unit.runs)
            check_passband_before(passband, tr, n_samples, n_regions)
        except SettingsError as error:
            refused.append(error)
        except InputDataError:  # extraction will say why the run cannot be read
            continue
    if len(refused) == len(tasks):
        raise refused[0]


def check_known_delays(tasks: Sequence[Task], request: Request) -> None:
    """Refuse a map of delays that does not fit the atlases, or would not be read.

    Raises
    ------
    InputDataError
        Its regions are not those of an atlas, or its values cannot be used.
    SettingsError
        The surrogate has no delays.
    """
    prior = request.analysis.prior
    if not prior.delay_map:
        return
    check_delay_map(request.analysis.train, pretrained=bool(prior.pretrained))
    for labels in {task.atlas.labels for task in tasks if task.atlas.labels}:
        read_delay_map(Path(prior.delay_map), labels)


def assign_pretrained(tasks: Sequence[Task], request: Request) -> list[Task]:
    """Assign to each task the pre-trained surrogate that it starts from, if requested.

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
    check_prior(request.analysis.train)
    return [
        task
        if task.unit.problems
        else replace(task, pretrained=str(find_pretrained(Path(path), task)))
        for task in tasks
    ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of the participant level.

    Attributes
    ----------
    statuses
        Status of every model of the plan, sorted by name.
    untouched
        Names of those that existed and were not fitted again.
    """

    statuses: list[UnitStatus]
    untouched: list[str]


def run_plan(plan: Plan, work_dir: Path, run_dir: Path) -> Outcome:
    """Run all tasks, and those again whose kind of fit is another than that of the dataset.

    Parameters
    ----------
    plan
        Models to fit.
    work_dir
        Where intermediate results go.
    run_dir
        Folder of this run's logs and crash files.
    """
    request = plan.request
    out_dir = request.out_dir
    saved: set[str] = set()
    _remove_outdated(request)
    for status in [*plan.refused, *plan.failed]:
        _logger.error("%s: %s", status.name, status.reason)
    for status in plan.refused:
        _write_status(status, out_dir)
    if plan.tasks:
        warn_of_problems(plan.tasks, request.analysis.denoise)
        remove_statuses(plan.tasks, request)
        saved = _fit(plan.tasks, request, work_dir, run_dir)
    fresh = read_outcomes(plan.tasks, request, run_dir, saved)
    _write_failures(fresh, out_dir)
    first = [*plan.complete, *fresh]
    refits = _plan_refits(plan, first)
    again = _fit_again(refits, request, work_dir, run_dir)
    statuses = [again.get(status.name, status) for status in first]
    subjects = request.query.labels("sub")
    with suppress(OSError):  # tidying up must not fail a run
        # Of workers killed in this run or an earlier one.
        remove_leftovers(out_dir, skipped=partial(is_other_subject, subjects=subjects))
    update_descriptions(out_dir, subjects)
    if plan.tasks:
        _warn_of_lost_regions(out_dir, plan.tasks)
    return Outcome(
        sorted([*statuses, *plan.refused, *plan.failed], key=lambda status: status.name),
        [status.name for status in plan.complete if status.name not in again],
    )


def _write_failures(statuses: Sequence[UnitStatus], out_dir: Path) -> None:
    """Write the statuses of failed models; raise where another configuration was first."""
    for status in statuses:
        if status.error == ConfigurationError.__name__:
            raise ConfigurationError(status.reason)
        if status.status == FAILED:
            _write_status(status, out_dir)


def remove_statuses(tasks: Sequence[Task], request: Request) -> None:
    """Remove what earlier runs said of models to fit.

    A model that another process has finished since this run was planned keeps its status, which
    that process has yet to read.

    Parameters
    ----------
    tasks
        Models to fit.
    request
        What to run.
    """
    complete = set()
    if not request.output.overwrite:
        names = {task.name for task in tasks}
        complete = {status.name for status in _find_complete(request, names)}
    for task in tasks:
        if task.name not in complete:
            (request.out_dir / _make_status(task, request, FAILED).path).unlink(missing_ok=True)


def read_outcomes(
    tasks: Sequence[Task], request: Request, run_dir: Path, saved: Set[str]
) -> list[UnitStatus]:
    """Return the status of each task that was run, from its file or from its crash.

    Another process that fits one of the saved models too takes its status away while it replaces
    the files; it is waited for.

    Parameters
    ----------
    tasks
        The tasks.
    request
        What was run.
    run_dir
        Folder of this run's crash files.
    saved
        Names of the models that were saved.
    """
    finished = _read_finished(request)
    if saved - set(finished):
        wait_until(lambda: not saved - set(_read_finished(request)))
        finished = _read_finished(request)
    crashes = _find_crashes(run_dir)
    return [
        finished.get(task.name) or _make_failure(task, request, _find_crash(task, crashes))
        for task in tasks
    ]


def _read_statuses(request: Request) -> list[UnitStatus]:
    """Return the statuses of the requested participants; tasks of an array read no others."""
    return find_statuses(request.out_dir, *request.query.labels("sub"), skip_damaged=True)


def _read_finished(request: Request) -> dict[str, UnitStatus]:
    """Return the statuses of this configuration by name of the model."""
    return {
        status.name: status
        for status in _read_statuses(request)
        if status.configuration == request.analysis.configuration
    }


def _find_crashes(run_dir: Path) -> dict[str, Crash]:
    """Return the first crash of each model, by the name of its workflow."""
    return {parse_unit(crash.node): crash for crash in reversed(read_crashes(run_dir))}


def _plan_refits(plan: Plan, statuses: Sequence[UnitStatus]) -> list[Task]:
    """Return the models to fit again, so that all are of the kind that was decided."""
    request = plan.request
    if request.output.stop_on_first_crash and any(map(has_failed, statuses)):
        return []
    tasks = [*plan.tasks, *plan.complete_tasks]
    return find_refits(tasks, statuses, request, who_decides(request, plan.datasets))


def _fit_again(
    refits: list[Task], request: Request, work_dir: Path, run_dir: Path
) -> dict[str, UnitStatus]:
    """Fit models again, and return their statuses by name.

    A model whose second fit fails keeps its first one; its status carries the error.
    """
    if not refits:
        return {}
    remove_groups(request.out_dir)  # they hold the maps that are replaced
    saved = _fit(refits, request, work_dir, run_dir)
    outcomes = {status.name: status for status in read_outcomes(refits, request, run_dir, saved)}
    crashes = _find_crashes(run_dir)
    for task in find_unchanged(refits, request):
        failure = _make_failure(task, request, _find_crash(task, crashes))
        reason = printable(describe_failed_refit(task, failure.reason))
        _logger.error("%s: %s", task.name, reason)
        outcomes[task.name] = replace(
            outcomes[task.name], reason=reason, error=failure.error or NPIError.__name__
        )
    return outcomes


def _find_crash(task: Task, crashes: Mapping[str, Crash]) -> Crash | None:
    """Return the crash of a node of a model, or of a node that reads its runs for several."""
    names = (task.node_name, *task.extract_names)
    return next((crashes[name] for name in names if name in crashes), None)


def _remove_outdated(request: Request) -> None:
    """Remove failures of earlier runs whose inputs no longer exist or can be read now."""
    for status in _read_statuses(request):
        if status.status == FAILED and status.is_outdated:
            (request.out_dir / status.path).unlink(missing_ok=True)


def _write_status(status: UnitStatus, out_dir: Path) -> None:
    try:
        write_json(out_dir / status.path, asdict(status))
    except OSError as error:  # such as a name that is too long; the others continue
        _logger.error("The status of %s cannot be written: %s", status.name, error)


def _fit(tasks: list[Task], request: Request, work_dir: Path, run_dir: Path) -> set[str]:
    """Build workflows of all tasks, batch by batch, run them, and return what was saved."""
    from npi_bids.interfaces.base import WORKFLOW

    names = {task.node_name: task.name for task in tasks}
    readers: dict[str, list[str]] = {}
    for task in tasks:
        for name in task.extract_names:
            readers.setdefault(name, []).append(task.name)
    live = sys.stderr.isatty() and not request.output.quiet
    folders = sorted({*names, *readers})
    with (
        reserve_work_dir(work_dir, folders, f"parallel_{run_dir.name}") as folder,
        Progress(names, readers, live=live) as progress,
    ):
        for batch in make_batches(tasks):
            succeeded = _fit_batch(batch, request, folder, run_dir, progress)
            if request.analysis.train.surrogate != WHOLE_BRAIN:  # its simulations serve others
                remove_intermediate(folder / WORKFLOW, [
                    task for task in batch
                    if (request.out_dir / _make_status(task, request, FAILED).path).is_file()
                ])  # fmt: skip
            if request.output.stop_on_first_crash and not succeeded:
                break
    return progress.saved


def make_batches(tasks: Sequence[Task]) -> list[list[Task]]:
    """Divide tasks into batches of about ``BATCH_SIZE``; tasks that share runs stay together."""
    by_unit: dict[tuple[Path, ...], list[Task]] = {}
    for task in tasks:
        by_unit.setdefault(tuple(run.path for run in task.unit.runs), []).append(task)
    batches: list[list[Task]] = [[]]
    for members in by_unit.values():
        if batches[-1] and len(batches[-1]) + len(members) > BATCH_SIZE:
            batches.append([])
        batches[-1].extend(members)
    return batches


def _fit_batch(
    tasks: list[Task], request: Request, folder: Path, run_dir: Path, progress: Progress
) -> bool:
    """Build the workflow of a batch of tasks and run it; return whether no node failed."""
    from npi_bids.workflows.participant import init_participant_wf

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


def has_failed(status: UnitStatus) -> bool:
    """Return whether a model could not be fitted, or not in the kind that was decided."""
    return status.status == FAILED or (status.status == DONE and bool(status.error))


def remove_intermediate(folder: Path, tasks: Sequence[Task]) -> None:
    """Remove intermediate results of models that are complete, except their extracted series.

    File systems of clusters limit the number of files. Series take the longest to make, and
    serve other surrogates; all else is in the output dataset, or follows from it.

    Parameters
    ----------
    folder
        Folder of the workflow of the participant level.
    tasks
        Complete models.
    """
    for task in tasks:
        unit = folder / f"sub_{task.entities['sub']}_wf" / task.node_name
        with suppress(OSError):  # tidying up must not fail a run
            for entry in unit.iterdir():
                if not entry.name.startswith("parcellate_"):
                    shutil.rmtree(entry, ignore_errors=True)


def choose_exit_code(statuses: Sequence[UnitStatus]) -> int:
    """Return the exit code for the outcome of all models."""
    codes = {find_exit_code(status.error) for status in statuses if has_failed(status)}
    done = any(status.status == DONE for status in statuses)
    if not codes:
        return 0 if done or not statuses else 4
    return 1 if done else min(codes)


def _make_task(unit: Unit, atlas: PreparedAtlas, desc: str) -> Task:
    usable = [run.path for run in unit.runs if not run.problem]
    return Task(
        unit,
        atlas,
        desc,
        extract_gb=extraction_memory(usable, largest_volume(usable)),
        train_gb=training_memory(atlas.n_regions),
    )


def _check_configuration(request: Request, requested: set[str]) -> set[str]:
    """Return the requested models that exist, and refuse to mix configurations.

    This is checked before anything is written. Models of participants that are not requested are
    read only where the claim of the dataset does not say that they are of this configuration.
    """
    configuration = request.analysis.configuration
    is_sole = is_sole_configuration(request.out_dir / CLAIM, configuration)
    subjects = request.query.labels("sub") if is_sole else ()
    done = set()
    for model in find_models(request.out_dir, *subjects, skip_damaged=True):
        name = model.name
        existing = model.configuration
        replaced = request.output.overwrite and name in requested
        if existing != configuration and not replaced:
            raise ConfigurationError(
                f"<{request.out_dir}> holds results of another configuration, for example of "
                f"{name}. {describe_difference(request.out_dir, existing, request.analysis)} Use "
                "another out_dir, or --overwrite with all of its subjects and atlases."
            )
        if existing == configuration and not replaced:
            done.add(name)
    return done & requested


def _find_complete(request: Request, done: set[str]) -> list[UnitStatus]:
    """Return the models among those that exist all of whose files are there."""
    return sorted(
        (
            status
            for status in _read_statuses(request)
            if status.name in done
            and status.status == DONE
            and status.configuration == request.analysis.configuration
            and status.is_complete(request.out_dir)
        ),
        key=lambda status: status.name,
    )


def _classify_models(
    request: Request, datasets: list[Dataset], tasks: list[Task], complete: list[UnitStatus]
) -> Plan:
    """Separate models that exist, models to fit, and models that cannot be fitted."""
    complete_names = {status.name for status in complete}
    todo = [task for task in tasks if task.name not in complete_names]
    refused = [
        _make_status(
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
    fitted = [task for task in tasks if task.name in complete_names and not task.unit.problems]
    failed = [] if request.output.retry_failed else _find_failures(request, usable)
    names = {status.name for status in failed}
    usable = [task for task in usable if task.name not in names]
    return Plan(request, datasets, usable, complete, fitted, refused, failed=failed)


def _find_failures(request: Request, tasks: Sequence[Task]) -> list[UnitStatus]:
    """Return the models that failed because of their input and would fail again."""
    statuses = {
        status.name: status
        for status in _read_statuses(request)
        if status.status == FAILED
        and status.inputs
        and status.configuration == request.analysis.configuration
    }
    return [
        replace(status, reason=f"{status.reason} {_NOT_AGAIN}")
        for task in tasks
        if (status := statuses.get(task.name)) and status.inputs == _digest_inputs(task)
    ]


def _digest_inputs(task: Task) -> str:
    """Return a digest of the files of a model by size and time; empty if one is missing."""
    state: list[object] = [__version__, task.atlas.folder.name]
    prior = Path(task.pretrained)
    try:
        if task.pretrained:
            state += [_describe_file(path) for path in (prior, prior.with_suffix(".json"))]
        for run in task.unit.runs:
            state.append(run.tr)
            state += [_describe_file(path) for path in run.files]
    except OSError:
        return ""
    return hashlib.sha256(repr(state).encode(errors="replace")).hexdigest()[:12]


def _describe_file(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def _make_failure(task: Task, request: Request, crash: Crash | None) -> UnitStatus:
    if crash is not None:
        path = str(crash.path.relative_to(request.out_dir))
        reason = printable(" ".join(crash.failure.message.splitlines()))
        error = crash.failure.error
        # Errors of the machine or of the program may not occur again.
        lasting = crash.failure.on_purpose and crash.failure.exit_code in _INPUT_CODES
        inputs = _digest_inputs(task) if lasting else ""
        return _make_status(
            task, request, FAILED, reason=reason, error=error, crash=path, inputs=inputs
        )
    if request.output.stop_on_first_crash:
        reason = "not run: another model failed before (--stop-on-first-crash); run it again"
        return _make_status(task, request, FAILED, reason=reason)
    reason = (
        "no reason could be recorded, most likely because a worker process was killed for lack of "
        "memory or the disk with out_dir is full; give more memory or fewer processes "
        "(--n-procs 1), or make room"
    )
    return _make_status(task, request, FAILED, reason=reason)


class _StatusFields(TypedDict, total=False):
    """Why a model is missing, in fields of :class:`UnitStatus`."""

    reason: str
    error: str
    crash: str
    source: str
    inputs: str


def _make_status(
    task: Task, request: Request, status: str, **fields: Unpack[_StatusFields]
) -> UnitStatus:
    configuration = request.analysis.configuration
    return UnitStatus(task.entities, task.desc, status, configuration, **fields)


def _warn_of_lost_regions(out_dir: Path, tasks: list[Task]) -> None:
    n_regions = {task.name: task.atlas.n_regions for task in tasks}
    subjects = {task.entities["sub"] for task in tasks}
    for model in find_models(out_dir, *subjects, skip_damaged=True):
        n_atlas, n_modelled = n_regions.get(model.name, 0), model.fit.regions_in_model
        if n_modelled < n_atlas:
            _logger.warning(
                "%s: %d of %d regions are not covered in every run and are n/a",
                model.name, n_atlas - n_modelled, n_atlas,
            )  # fmt: skip
