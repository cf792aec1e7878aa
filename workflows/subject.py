"""Workflow of one subject: all units, from images to the output dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.analysis import AnalysisSettings
from npi_bids.bids.outputs import RUN_TABLES, unit_name
from npi_bids.bids.runs import TIMESERIES, BoldRun, Unit
from npi_bids.bids.sidecars import KindDecision
from npi_bids.workflows.ec import init_ec_wf
from npi_bids.workflows.infer import init_infer_wf
from npi_bids.workflows.outputs import init_save_model_node, init_save_run_node
from npi_bids.workflows.parcellate import init_parcellate_wf, init_series_wf


@dataclass(frozen=True, slots=True)
class PreparedAtlas:
    """An atlas that is ready for use.

    Attributes
    ----------
    entities
        ``atlas``, ``seg``, ``scale``.
    folder
        Folder of the prepared parcellation.
    node_file
        Table of its regions, relative to the output dataset.
    n_regions
        Number of regions.
    labels
        Names of the regions of supplied series; empty where there is an image.
    indices
        Indices of these regions in the table of their atlas; empty where there is none.
    """

    entities: dict[str, str]
    folder: Path
    node_file: str
    n_regions: int = 0
    labels: tuple[str, ...] = ()
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One model to fit: a unit, an atlas, and the memory required by its steps (GB).

    With ``use_gpu`` its fit takes one of the slots of the GPU.
    """

    unit: Unit
    atlas: PreparedAtlas
    desc: str
    extract_gb: float = 1.0
    train_gb: float = 1.0
    pretrained: str = ""  # file of the group surrogate towards which the model is shrunk
    use_gpu: bool = False
    kind: KindDecision | None = None  # kind of fit decided for the dataset, if not by the subject

    @property
    def entities(self) -> dict[str, str]:
        """Entities of the model's files."""
        return {**self.unit.entities, **self.atlas.entities}

    @property
    def name(self) -> str:
        """Name of the model: its entities, joined."""
        return unit_name({**self.entities, "desc": self.desc})

    @property
    def node_name(self) -> str:
        """Name of the model's workflow; Nipype allows no dashes."""
        return self.name.replace("-", "_")


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
        One :func:`init_unit_wf` per unit and atlas, without connections between them.

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
    workflow.add_nodes([
        init_unit_wf(task=task, settings=settings, out_dir=out_dir, n_threads=n_threads)
        for task in tasks
    ])  # fmt: skip
    return workflow


def init_unit_wf(
    *, task: Task, settings: AnalysisSettings, out_dir: Path, n_threads: int = 1
) -> Any:
    """Build the workflow of one unit and atlas: extract each run, fit one model, save.

    Workflow Graph
        parcellate_<n>_wf -> save_run_<n> -> saved, and all of them -> series, summaries ->
        ec_wf; both -> save_model. With ``--infer``, the runs also -> infer_wf,
        whose files join those of ec_wf.

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

    Inputs
    ------
    None; the task names the files.

    Outputs
    -------
    None; everything is written into the output dataset.
    """
    workflow = pe.Workflow(name=task.node_name)
    runs = task.unit.runs
    ec_wf = init_ec_wf(
        train=settings.train.with_kind(task.kind.settings if task.kind else {}),
        perturb=settings.perturb,
        assess=settings.assess,
        brain=settings.brain,
        min_time=settings.denoise.min_time,
        prior=(task.pretrained, task.entities["sub"]),
        delay_map=settings.prior.delay_map,
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
    parcellate_wfs = []
    for number, (parcellate_wf, save_run) in enumerate(
        connect_runs(workflow, task, settings, out_dir), start=1
    ):
        parcellate_wfs.append(parcellate_wf)
        series.add(parcellate_wf, "outputnode.timeseries", number)
        summaries.add(parcellate_wf, "outputnode.summary", number)
        saved.add(save_run, "names", number)
    workflow.connect(ec_wf, "outputnode.summary", save_model, "summary")
    if settings.infer.infer:
        infer_wf = init_infer_wf(
            denoise=settings.denoise, infer=settings.infer, brain=settings.brain,
            seed=settings.train.seed, n_threads=n_threads, mem_gb=task.train_gb,
        )  # fmt: skip
        _connect_inference(workflow, parcellate_wfs, infer_wf)
        all_files = pe.Node(niu.Merge(2), name="all_files", run_without_submitting=True)
        workflow.connect([
            (ec_wf, all_files, [("outputnode.files", "in1")]),
            (infer_wf, all_files, [("outputnode.files", "in2")]),
            (all_files, save_model, [("out", "files")]),
        ])  # fmt: skip
    else:
        workflow.connect(ec_wf, "outputnode.files", save_model, "files")
    return workflow


def _connect_inference(workflow: Any, parcellate_wfs: list[Any], infer_wf: Any) -> None:
    """Connect the runs to the workflow that infers model parameters."""
    for field, output in (
        ("series", "timeseries"), ("summaries", "summary"), ("designs", "design"),
    ):  # fmt: skip
        target = (infer_wf, f"inputnode.{field}")
        merge = _RunMerge(workflow, f"infer_{field}", target, len(parcellate_wfs))
        for number, parcellate_wf in enumerate(parcellate_wfs, start=1):
            merge.add(parcellate_wf, f"outputnode.{output}", number)


def connect_runs(
    workflow: Any, task: Task, settings: AnalysisSettings, out_dir: Path
) -> Iterator[tuple[Any, Any]]:
    """Add the nodes that extract and save the series of each run, and yield them run by run."""
    for number, run in enumerate(task.unit.runs, start=1):
        parcellate_wf = _init_run_wf(run, task, settings, f"parcellate_{number}_wf")
        save_run = init_save_run_node(
            run,
            out_dir,
            ({**run.entities, **task.atlas.entities}, task.desc),
            node_file=task.atlas.node_file,
            settings=(settings.denoise, settings.coverage),
            name=f"save_run_{number}",
        )
        workflow.connect([
            (parcellate_wf, save_run, [(f"outputnode.{table}", table)
                                       for table in ("summary", *RUN_TABLES)]),
        ])  # fmt: skip
        yield parcellate_wf, save_run


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
    workflow.inputs.inputnode.bold = str(run.path)
    workflow.inputs.inputnode.atlas = str(task.atlas.folder)
    optional = (("right", run.right), ("mask", run.mask), ("confounds", run.confounds))
    for field, value in optional:
        if value is not None:
            setattr(workflow.inputs.inputnode, field, str(value))
    if run.tr is not None:
        workflow.inputs.inputnode.tr = float(run.tr)
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
