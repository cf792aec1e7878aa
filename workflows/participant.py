"""Participant level: the workflow of all subjects, and the Nipype plugins that can run it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe
from nipype.pipeline import plugins

from npi_bids.analysis import AnalysisSettings, Task
from npi_bids.interfaces.base import WORKFLOW
from npi_bids.workflows.subject import init_subject_wf


def plugin_names() -> list[str]:
    """Return the names of the plugins of Nipype, sorted."""
    names = [name for name in dir(plugins) if name.endswith("Plugin")]
    return sorted({"MultiProc", *(name.removesuffix("Plugin") for name in names)})


def init_participant_wf(
    *,
    tasks: list[Task],
    settings: AnalysisSettings,
    out_dir: Path,
    work_dir: Path,
    n_threads: int = 1,
    name: str = WORKFLOW,
) -> Any:
    """Build the workflow of the participant level, with one workflow per subject in it.

    Workflow Graph
        One :func:`~npi_bids.workflows.subject.init_subject_wf` per subject.

    Parameters
    ----------
    tasks
        All models to fit.
    settings
        Settings that determine the results.
    out_dir
        Root of the output dataset.
    work_dir
        Folder for intermediate results.
    n_threads
        Number of threads of each training.
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
        subject_wf = init_subject_wf(
            subject=subject,
            tasks=list(members),
            settings=settings,
            out_dir=out_dir,
            n_threads=n_threads,
        )
        workflow.add_nodes([subject_wf])
    return workflow
