"""Workflow of one subject: all units, from images to the output dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.analysis import AnalysisSettings, Task
from npi_bids.bids.outputs import RUN_TABLES
from npi_bids.bids.runs import TIMESERIES, BoldRun
from npi_bids.surrogates.delay_map import allows_delays
from npi_bids.workflows.ec import init_ec_wf
from npi_bids.workflows.infer import init_infer_wf
from npi_bids.workflows.outputs import init_save_model_node, init_save_run_node
from npi_bids.workflows.parcellate import (
    init_denoise_node,
    init_extract_node,
    init_parcellate_wf,
    init_series_wf,
    set_run_files,
)


def init_subject_wf(
    *,
    subject: str,
    tasks: list[Task],
    settings: AnalysisSettings,
    out_dir: Path,
    n_threads: int = 1,
    name: str | None = None,
) -> Any:
    """Build a workflow with all models of one subject, side by side.

    Workflow Graph
        One :func:`init_unit_wf` per unit and atlas. Runs that several of them need are read by
        extract_<run> -> denoise_<n> of each.

    Parameters
    ----------
    subject
        Label of the subject.
    tasks
        Models to fit.
    settings
        Settings that determine the results.
    out_dir
        Root of the output dataset.
    n_threads
        Number of threads of each training.
    name
        Name of the workflow; ``sub_<label>_wf`` where None.

    Inputs
    ------
    None; the tasks name the files.

    Outputs
    -------
    None; everything is written into the output dataset.
    """
    workflow = pe.Workflow(name=name or f"sub_{subject}_wf")
    shared = find_shared_runs(tasks)
    units = [
        init_unit_wf(
            task=task, settings=settings, out_dir=out_dir, n_threads=n_threads, shared=shared
        )
        for task in tasks
    ]
    workflow.add_nodes(units)
    connect_shared_runs(workflow, tasks, units, settings)
    return workflow


def find_shared_runs(tasks: Sequence[Task]) -> frozenset[Path]:
    """Return the images that several models need, which are read once for all of them."""
    counts = Counter(
        run.path for task in tasks for run in task.unit.runs if run.input_format != TIMESERIES
    )
    return frozenset(path for path, n_tasks in counts.items() if n_tasks > 1)


def connect_shared_runs(
    workflow: Any, tasks: Sequence[Task], units: Sequence[Any], settings: AnalysisSettings
) -> None:
    """Add the nodes that read shared runs, and connect them to the workflows of their models.

    Parameters
    ----------
    workflow
        Workflow that contains those of the models.
    tasks, units
        Models, and the workflow of each.
    settings
        Settings that determine the results.
    """
    shared = find_shared_runs(tasks)
    readers: dict[str, list[tuple[int, Task, Any]]] = {}
    for task, unit_wf in zip(tasks, units, strict=True):
        for number, (name, run) in enumerate(zip(task.extract_names, task.unit.runs, strict=True)):
            if run.path in shared:
                readers.setdefault(name, []).append((number, task, unit_wf))
    for name, members in readers.items():
        number, task, _ = members[0]
        extract = init_extract_node(
            task.unit.runs[number],
            [member.atlas.folder for _, member, _ in members],
            denoise=settings.denoise,
            coverage=settings.coverage,
            mem_gb=max(member.extract_gb for _, member, _ in members),
            name=name,
        )
        for position, (number, _, unit_wf) in enumerate(members):
            workflow.connect([
                (extract, unit_wf, [(("readings", _pick, position),
                                     f"denoise_{number + 1}.reading")]),
            ])  # fmt: skip


def _pick(readings: list[str], position: int) -> str:
    """Return the reading of one atlas."""
    return readings[position]


def init_unit_wf(
    *,
    task: Task,
    settings: AnalysisSettings,
    out_dir: Path,
    n_threads: int = 1,
    shared: Collection[Path] = (),
) -> Any:
    """Build the workflow of one unit and atlas: extract each run, fit one model, save.

    Workflow Graph
        parcellate_<n>_wf -> save_run_<n> -> saved, and all of them -> series, summaries ->
        ec_wf; both -> save_model. Where a run is shared, denoise_<n> is in the place of
        parcellate_<n>_wf. With ``--infer``, the runs also -> infer_wf, whose files join those of
        ec_wf.

    Parameters
    ----------
    task
        The model to fit.
    settings
        Settings that determine the result.
    out_dir
        Root of the output dataset.
    n_threads
        Number of threads of the training.
    shared
        Images that another node reads, for several models at once.

    Inputs
    ------
    denoise_<n>.reading
        What was read of the regions of each shared run (:func:`connect_shared_runs`). The task
        names all other files.

    Outputs
    -------
    None; everything is written into the output dataset.
    """
    workflow = pe.Workflow(name=task.node_name)
    runs = task.unit.runs
    train = settings.train.with_kind(task.kind.settings if task.kind else {})
    ec_wf = init_ec_wf(
        train=train,
        perturb=settings.perturb,
        assess=settings.assess,
        brain=settings.brain,
        min_time=settings.denoise.min_time,
        prior=(task.pretrained, task.entities["sub"]),
        delay_map=settings.prior.delay_map if allows_delays(train) else "",
        n_threads=n_threads,
        mem_gb=task.train_gb,
        use_gpu=task.use_gpu,
    )
    save_model = init_save_model_node(
        [{**run.entities, **task.atlas.entities} for run in runs],
        out_dir,
        (task.entities, task.desc),
        node_file=task.atlas.node_file,
        configuration=settings.configuration,
    )
    if task.kind is not None:
        save_model.inputs.kind = task.kind.to_json()
    series = _RunMerge(workflow, "series", (ec_wf, "inputnode.series"), len(runs))
    summaries = _RunMerge(workflow, "summaries", (ec_wf, "inputnode.summaries"), len(runs))
    # The status of the unit is written last, as evidence that all its files exist.
    saved = _RunMerge(workflow, "saved", (save_model, "run_files"), len(runs))
    sources = []
    for number, run in enumerate(
        connect_runs(workflow, task, settings, out_dir, shared=shared), start=1
    ):
        sources.append(run)
        series.add(run.source, f"{run.prefix}timeseries", number)
        summaries.add(run.source, f"{run.prefix}summary", number)
        saved.add(run.save, "names", number)
    workflow.connect(ec_wf, "outputnode.summary", save_model, "summary")
    if settings.infer.infer:
        infer_wf = init_infer_wf(
            denoise=settings.denoise, infer=settings.infer, brain=settings.brain,
            seed=settings.train.seed, n_threads=n_threads, mem_gb=task.train_gb,
        )  # fmt: skip
        _connect_inference(workflow, sources, infer_wf)
        all_files = pe.Node(niu.Merge(2), name="all_files", run_without_submitting=True)
        workflow.connect([
            (ec_wf, all_files, [("outputnode.files", "in1")]),
            (infer_wf, all_files, [("outputnode.files", "in2")]),
            (all_files, save_model, [("out", "files")]),
        ])  # fmt: skip
    else:
        workflow.connect(ec_wf, "outputnode.files", save_model, "files")
    return workflow


def _connect_inference(workflow: Any, runs: list[RunNodes], infer_wf: Any) -> None:
    """Connect the runs to the workflow that infers model parameters."""
    for field, output in (
        ("series", "timeseries"), ("summaries", "summary"), ("designs", "design"),
    ):  # fmt: skip
        target = (infer_wf, f"inputnode.{field}")
        merge = _RunMerge(workflow, f"infer_{field}", target, len(runs))
        for number, run in enumerate(runs, start=1):
            merge.add(run.source, f"{run.prefix}{output}", number)


@dataclass(frozen=True, slots=True)
class RunNodes:
    """The nodes of one run: the source of its tables, the prefix of its outputs, and the sink."""

    source: Any
    prefix: str
    save: Any


def connect_runs(
    workflow: Any,
    task: Task,
    settings: AnalysisSettings,
    out_dir: Path,
    *,
    shared: Collection[Path] = (),
) -> Iterator[RunNodes]:
    """Add the nodes that extract and save the series of each run, and yield them run by run."""
    for number, run in enumerate(task.unit.runs, start=1):
        if run.path in shared:
            prefix = ""
            source = init_denoise_node(
                run,
                task.atlas.folder,
                denoise=settings.denoise,
                coverage=settings.coverage,
                name=f"denoise_{number}",
            )
        else:
            prefix = "outputnode."
            source = _init_run_wf(run, task, settings, f"parcellate_{number}_wf")
        save_run = init_save_run_node(
            run,
            out_dir,
            ({**run.entities, **task.atlas.entities}, task.desc),
            node_file=task.atlas.node_file,
            settings=(settings.denoise, settings.coverage),
            name=f"save_run_{number}",
        )
        workflow.connect([
            (source, save_run, [(f"{prefix}{table}", table)
                                for table in ("summary", *RUN_TABLES)]),
        ])  # fmt: skip
        yield RunNodes(source, prefix, save_run)


class _RunMerge:
    """Connection of all runs to one input: through a merging node, or directly for a single run.

    A node costs the scheduler 10 ms, which matters for a thousand subjects with one run each.
    """

    def __init__(self, workflow: Any, name: str, target: tuple[Any, str], n_runs: int) -> None:
        self.workflow, self.target, self.merge = workflow, target, None
        if n_runs > 1:
            self.merge = pe.Node(niu.Merge(n_runs), name=name, run_without_submitting=True)
            workflow.connect(self.merge, "out", *target)

    def add(self, node: Any, output: str, number: int) -> None:
        """Connect the output of one run."""
        where = self.target if self.merge is None else (self.merge, f"in{number}")
        self.workflow.connect(node, output, *where)


def _init_run_wf(run: BoldRun, task: Task, settings: AnalysisSettings, name: str) -> Any:
    """Build the workflow that provides the regional series of a run, from images or tables."""
    if run.input_format == TIMESERIES:
        return _init_supplied_wf(run, task, settings, name)
    workflow = init_parcellate_wf(
        denoise=settings.denoise, coverage=settings.coverage, mem_gb=task.extract_gb, name=name
    )
    set_run_files(workflow.inputs.inputnode, run)
    workflow.inputs.inputnode.atlas = str(task.atlas.folder)
    return workflow


def _init_supplied_wf(run: BoldRun, task: Task, settings: AnalysisSettings, name: str) -> Any:
    workflow = init_series_wf(
        labels=task.atlas.labels,
        indices=task.atlas.indices,
        strategy=task.desc,
        standardize=settings.denoise.standardize == "zscore",
        name=name,
    )
    workflow.inputs.inputnode.series = str(run.path)
    workflow.inputs.inputnode.space = run.entities.get("space", "unknown")
    workflow.inputs.inputnode.tr = float(run.tr or 0)
    for field, value in (("outliers", run.mask), ("motion", run.confounds)):
        if value is not None:
            setattr(workflow.inputs.inputnode, field, str(value))
    return workflow
