"""All subjects in one workflow, and the way to run it."""

from __future__ import annotations

import gc
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe
from nipype.pipeline import plugins

from npi_bids.workflows.cache import drop_damaged
from npi_bids.workflows.multiproc import SteadyMultiProcPlugin
from npi_bids.workflows.settings import AnalysisSettings
from npi_bids.workflows.subject import Task, init_subject_wf

WORKFLOW = "npi_bids_wf"
# Measured: the default of 2 s between looks at the queue costs 1 s per node.
_POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Plugin:
    """How Nipype runs nodes; all of them whatever fails, or (``stop``) up to the first crash."""

    name: str
    args: dict[str, Any]
    stop: bool = False


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
        What shapes the results.
    out_dir
        Root of the output dataset.
    work_dir
        Where intermediate results go.
    n_threads
        Threads of each training.
    name
        Name of the workflow.

    Inputs
    ------
    None; the tasks hold the files.

    Outputs
    -------
    None; everything goes into the output dataset.
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


def write_graph(workflow: Any, folder: Path) -> list[Path]:
    """Write the graph of a workflow as ``workflow.dot``, and as SVG where graphviz is installed.

    Parameters
    ----------
    workflow
        Any workflow.
    folder
        Where to.
    """
    dot = folder / "workflow.dot"
    workflow.write_hierarchical_dotfile(dotfilename=str(dot), colored=True, simple_form=True)
    if shutil.which("dot") is None:
        return [dot]
    drawn = dot.with_suffix(".svg")
    command = ["dot", "-Tsvg", str(dot), "-o", str(drawn)]
    subprocess.run(command, check=True, timeout=300)  # noqa: S603 (graphviz on our own file)
    return [dot, drawn]


def run_workflow(
    workflow: Any, plugin: Plugin, crash_dir: Path, notify: Callable[[Any, str], None]
) -> bool:
    """Run a workflow to its end, whatever fails on the way.

    Parameters
    ----------
    workflow
        The workflow.
    plugin
        How to run it.
    crash_dir
        Where crash files go.
    notify
        Called with a node and ``start``, ``end`` or ``exception``, where the plugin can.

    Returns
    -------
    bool
        True where no node failed.
    """
    root = Path(workflow.base_dir) / workflow.name
    drop_damaged(root.joinpath(*name.split(".")) for name in workflow.list_node_names())
    # A workflow keeps the configuration that was in force when it was built.
    workflow.config["execution"].update(_execution(crash_dir, plugin.stop))
    args = {**plugin.args, "status_callback": _FreezeThen(notify)}
    steady = SteadyMultiProcPlugin(plugin_args=args) if plugin.name == "MultiProc" else None
    try:
        if steady is None:
            workflow.run(plugin=plugin.name, plugin_args=args)
        else:
            workflow.run(plugin=steady)
    except RuntimeError:
        return False  # Nipype raises when all is over; the crash files tell what failed
    finally:
        # Nothing runs on after a first crash that ends the run, or after an interrupt.
        if steady is not None:
            steady.end()
        gc.unfreeze()
    return True


class _FreezeThen:
    """Freeze the garbage collector when the first job starts, then pass every call on.

    Measured: the scheduler collects garbage at every pass, 15 ms with 600 nodes. The graph is
    complete by the first call; what is frozen then is not looked at again.
    """

    def __init__(self, notify: Callable[[Any, str], None]) -> None:
        self._notify = notify
        self._frozen = False

    def __call__(self, node: Any, status: str) -> None:
        if not self._frozen:
            gc.collect()
            gc.freeze()
            self._frozen = True
        self._notify(node, status)


def _execution(crash_dir: Path, stop: bool) -> dict[str, str]:
    return {
        "crashdump_dir": str(crash_dir),
        "crashfile_format": "txt",
        "hash_method": "content",
        "stop_on_first_crash": str(stop).lower(),
        "poll_sleep_duration": str(_POLL_SECONDS),
        "check_version": "false",
        "remove_unnecessary_outputs": "false",
        "create_report": "false",
    }
