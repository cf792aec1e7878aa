"""Pre-training of one surrogate on all subjects of a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from npi_bids.analysis import AnalysisSettings, Task
from npi_bids.bids.outputs import output_path
from npi_bids.interfaces.base import WORKFLOW
from npi_bids.interfaces.pretrain import PretrainGroup
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.storage import PretrainedLinks
from npi_bids.workflows.subject import (
    connect_runs,
    connect_shared_runs,
    find_shared_runs,
)


def init_extract_wf(
    *,
    tasks: Sequence[Task],
    settings: AnalysisSettings,
    out_dir: Path,
    work_dir: Path,
    name: str = WORKFLOW,
) -> Any:
    """Build a workflow that only extracts and saves the regional series of all runs.

    Its nodes have the same names as at the participant level, which reuses their results.

    Workflow Graph
        parcellate_<n>_wf -> save_run_<n> for each run of each task; extract_<run> -> denoise_<n>
        -> save_run_<n> where several tasks need a run.

    Parameters
    ----------
    tasks
        Tasks whose runs are read.
    settings
        Settings that determine the series.
    out_dir
        Root of the output dataset.
    work_dir
        Folder for intermediate results.
    name
        Name of the workflow.

    Inputs
    ------
    None; the tasks name the files.

    Outputs
    -------
    None; everything is written into the output dataset.
    """
    workflow = pe.Workflow(name=name, base_dir=str(work_dir))
    ordered = sorted(tasks, key=lambda task: task.entities["sub"])
    for subject, members in groupby(ordered, key=lambda task: task.entities["sub"]):
        subject_wf = pe.Workflow(name=f"sub_{subject}_wf")
        subject_tasks = list(members)
        shared, units = find_shared_runs(subject_tasks), []
        for task in subject_tasks:
            unit_wf = pe.Workflow(name=task.node_name)
            for _ in connect_runs(unit_wf, task, settings, out_dir, shared=shared):
                pass
            units.append(unit_wf)
        subject_wf.add_nodes(units)
        connect_shared_runs(subject_wf, subject_tasks, units, settings)
        workflow.add_nodes([subject_wf])
    return workflow


def init_pretrain_wf(
    *,
    groups: Mapping[str, Sequence[Task]],
    train: TrainSettings,
    out_dir: Path,
    work_dir: Path,
    n_threads: int = 1,
    name: str = "pretrain_wf",
) -> Any:
    """Build a workflow that trains one surrogate on the series of each group of subjects.

    Workflow Graph
        One node per group, without connections.

    Parameters
    ----------
    groups
        Tasks by the file of their surrogate, relative to the output dataset.
    train
        Which surrogate, and how to train it.
    out_dir
        Root of the output dataset, which contains the series.
    work_dir
        Folder for intermediate results.
    n_threads
        Number of threads for torch.
    name
        Name of the workflow.

    Inputs
    ------
    None; the output dataset contains the series.

    Outputs
    -------
    None; everything is written into the output dataset.
    """
    workflow = pe.Workflow(name=name, base_dir=str(work_dir))
    for number, (file, tasks) in enumerate(groups.items(), start=1):
        node = pe.Node(PretrainGroup(), name=f"group_{number}", mem_gb=2.0, n_procs=n_threads)
        series: dict[str, list[str]] = {}
        for task in tasks:
            paths = [
                output_path("timeseries", {**run.entities, **task.atlas.entities}, task.desc)
                for run in task.unit.runs
            ]
            series.setdefault(task.entities["sub"], []).extend(map(str, paths))
        node.inputs.series, node.inputs.file, node.inputs.out_dir = series, file, str(out_dir)
        node.inputs.train, node.inputs.n_threads = asdict(train), n_threads
        node.inputs.links = PretrainedLinks(
            atlas=tasks[0].atlas.entities,
            node_files=(f"bids::{tasks[0].atlas.node_file}",),
            sources=tuple(f"bids::{path}" for paths in series.values() for path in paths),
        ).to_json()
        workflow.add_nodes([node])
    return workflow
