"""Execution of workflows: plugin, memory, crash files of nodes that failed."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npi_bids.analysis import ResourceSettings
from npi_bids.cli.work_folder import drop_damaged
from npi_bids.errors import SettingsError
from npi_bids.io.failures import FAILURE, Failure, read_failure
from npi_bids.io.files import copy_file
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.families import families

if TYPE_CHECKING:
    from nipype.pipeline.engine import Node, Workflow

# The first two lines of a crash file.
_NODE = re.compile(r"^Node: (\S+)", re.MULTILINE)
_WORKING_DIR = re.compile(r"^Working directory: (.+)$", re.MULTILINE)
_UNKNOWN_FAILURE = Failure(
    "",
    1,
    "the step failed, and its reason could not be read: the disk may be full (make room then), or "
    "a shared file system may show the record only after some seconds; see its crash file, and "
    "run the same command again",
    False,
)
_LIBRARIES_GB, _PIECES_GB = 0.5, 0.4
# Of a worker that fits, in which shared pages count once (python -m benchmarks.estimates).
_WORKER_GB = 0.35
_VOXEL_GB = 60e-9  # of a volume whose arrays take more than the least
# Measured: the default of 2 s between checks of the queue costs 1 s per node.
_POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Crash:
    """One failed node: its full name, why it failed, and the crash file with the traceback."""

    node: str
    failure: Failure
    path: Path


def read_crashes(folder: Path) -> list[Crash]:
    """Return the crashes of a run in chronological order."""
    crashes = []
    for path in sorted(folder.glob("crash-*.txt")):
        node = _NODE.search(path.read_text(encoding="utf-8", errors="replace"))
        failure = read_failure(path.with_suffix(".json")) or _UNKNOWN_FAILURE
        crashes.append(Crash(node[1] if node else path.name, failure, path))
    return crashes


def _copy_failures(folder: Path) -> None:
    """Copy the failures of nodes beside their crash files; the work folder may be removed."""
    for path in folder.glob("crash-*.txt"):
        copy = path.with_suffix(".json")
        working_dir = _WORKING_DIR.search(path.read_text(encoding="utf-8", errors="replace"))
        if working_dir and not copy.is_file() and (Path(working_dir[1]) / FAILURE).is_file():
            with suppress(OSError):  # a full disk; the run goes on
                copy_file(Path(working_dir[1]) / FAILURE, copy)


def choose_plugin(settings: ResourceSettings) -> Plugin:
    """Return the plugin that runs the nodes: MultiProc, or that of the user's plugin file.

    Raises
    ------
    SettingsError
        The file cannot be read, names no plugin of Nipype, or has invalid arguments.
    """
    if settings.nipype_plugin_file:
        return _read_plugin(Path(settings.nipype_plugin_file))
    args: dict[str, Any] = {
        "n_procs": n_processes(settings),
        "raise_insufficient": False,
        # torch threads that were running when a process forks never wake up in the child.
        "mp_context": "forkserver",
        # Small jobs first: finishing a model takes precedence over starting the next, so that
        # results arrive one by one and a killed run loses little.
        "scheduler": "mem_thread",
        # Nipype takes a slot of the GPU for each thread of a node.
        "n_gpu_procs": settings.n_gpu_procs * settings.omp_nthreads,
    }
    if settings.memory_gb is not None:
        args["memory_gb"] = settings.memory_gb
    return Plugin("MultiProc", args)


def gpu_count() -> int:
    """Return the number of GPUs of this machine, as Nipype counts them."""
    if shutil.which("nvidia-smi") is None:  # answers without loading Nipype
        return 0
    from nipype.utils.gpu_count import gpu_count

    return int(gpu_count())


def uses_gpu(train: TrainSettings, n_regions: int) -> bool:
    """Return whether models are computed on a GPU, so that each takes one of its slots.

    Parameters
    ----------
    train
        Surrogate and device.
    n_regions
        Number of regions of the atlas.
    """
    family = families().get(train.surrogate)  # None for whole-brain models
    if family is None or not family.on_gpu:
        return False
    if train.device != "auto":
        return train.device.startswith("cuda")
    if not gpu_count():
        return False
    from npi_bids.surrogates.devices import find_device  # imports torch, which may see no GPU

    return find_device(train.device, n_regions).type == "cuda"


def n_processes(settings: ResourceSettings) -> int:
    """Return the number of parallel processes: as set, or all CPUs that this process may use."""
    if settings.n_procs is not None:
        return settings.n_procs
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_plugin(path: Path) -> Plugin:
    import yaml

    from npi_bids.workflows.participant import plugin_names

    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise SettingsError(f"--nipype-plugin-file <{path}> cannot be read: {error}") from error
    if not isinstance(content, dict) or "plugin" not in content:
        raise SettingsError(f"--nipype-plugin-file <{path}> must name a 'plugin'.")
    name, args = content["plugin"], content.get("plugin_args") or {}
    if name not in (plugins := plugin_names()):
        raise SettingsError(
            f"--nipype-plugin-file <{path}>: there is no plugin {name}; choose from "
            f"{', '.join(plugins)}."
        )
    if not isinstance(args, dict) or not all(isinstance(key, str) for key in args):
        raise SettingsError(
            f"--nipype-plugin-file <{path}>: 'plugin_args' must hold names with values, such as "
            "{'n_procs': 4}."
        )
    return Plugin(name, args)


def extraction_memory(files: Sequence[Path], n_voxels: int = 0) -> float:
    """Return the approximate memory (GB) to extract the series of the largest run.

    Parameters
    ----------
    files
        Image of each run.
    n_voxels
        Number of voxels of the largest volume.

    Notes
    -----
    Volumes and CIFTI files are read piece by piece, whatever their length; GIFTI files of both
    hemispheres are read at once and held twice (measured by ``python -m benchmarks.memory``).
    """
    surfaces = [path for path in files if path.name.endswith(".gii")]
    largest = max((2 * path.stat().st_size for path in surfaces), default=0) / 1e9
    is_streamed = any(path.name.endswith((".nii", ".nii.gz")) for path in files)
    in_pieces = max(_PIECES_GB, _VOXEL_GB * n_voxels) if is_streamed else 0.0
    return _LIBRARIES_GB + in_pieces + 2.5 * largest


def training_memory(n_regions: int) -> float:
    """Return the approximate memory (GB) to fit and assess one model."""
    return _WORKER_GB + n_regions**2 * 1.5e-6


@dataclass(frozen=True, slots=True)
class Plugin:
    """How Nipype runs nodes: all of them whatever fails, or (``stop``) up to the first crash."""

    name: str
    args: dict[str, Any]
    stop: bool = False


def write_graph(workflow: Workflow, folder: Path) -> list[Path]:
    """Write the graph of a workflow as ``workflow.dot``, and as SVG where graphviz is installed.

    Parameters
    ----------
    workflow
        Any workflow.
    folder
        Output folder.
    """
    dot = folder / "workflow.dot"
    workflow.write_hierarchical_dotfile(dotfilename=str(dot), colored=True, simple_form=True)
    if shutil.which("dot") is None:
        return [dot]
    svg = dot.with_suffix(".svg")
    command = ["dot", "-Tsvg", str(dot), "-o", str(svg)]
    subprocess.run(command, check=True, timeout=300)  # noqa: S603 (graphviz on our own file)
    return [dot, svg]


def run_workflow(
    workflow: Workflow, plugin: Plugin, crash_dir: Path, notify: Callable[[Node, str], None]
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
        Called with a node and ``start``, ``end`` or ``exception``, if the plugin supports it.

    Returns
    -------
    bool
        True where no node failed.
    """
    from npi_bids.cli.multiproc import SteadyMultiProcPlugin

    root = Path(workflow.base_dir) / workflow.name
    folders = [root.joinpath(*name.split(".")) for name in workflow.list_node_names()]
    drop_damaged(folders)
    for folder in folders:
        (folder / FAILURE).unlink(missing_ok=True)  # of an earlier run
    # A workflow keeps the configuration that was in force when it was built.
    workflow.config["execution"].update(_execution_config(crash_dir, plugin.stop))
    args = {**plugin.args, "status_callback": _FreezeThen(notify)}
    steady = None
    if plugin.name == "MultiProc":
        steady = SteadyMultiProcPlugin(args, _list_modules(workflow))
    try:
        if steady is None:
            workflow.run(plugin=plugin.name, plugin_args=args)
        else:
            workflow.run(plugin=steady)
    except RuntimeError:
        return False  # Nipype raises at the end; the crash files tell what failed
    finally:
        # No worker outlives a first crash that ends the run, or an interrupt.
        if steady is not None:
            steady.end()
        gc.unfreeze()
        _copy_failures(crash_dir)
    return True


def _list_modules(workflow: Workflow) -> list[str]:
    """Return the modules that the nodes of a workflow, and the pages after it, load, sorted."""
    from npi_bids.interfaces.report import ReportSubject

    nodes = (workflow.get_node(name) for name in workflow.list_node_names())
    modules = {module for node in nodes for module in getattr(node.interface, "modules", ())}
    return sorted({*modules, *ReportSubject.modules})


class _FreezeThen:
    """Freeze the garbage collector when the first job starts, then pass on every call.

    Measured: the scheduler collects garbage at every pass, 15 ms with 600 nodes. The graph is
    complete by the first call; frozen objects are not examined again.
    """

    def __init__(self, notify: Callable[[Node, str], None]) -> None:
        self._notify = notify
        self._frozen = False

    def __call__(self, node: Node, status: str) -> None:
        if not self._frozen:
            gc.collect()
            gc.freeze()
            self._frozen = True
        self._notify(node, status)


def _execution_config(crash_dir: Path, stop: bool) -> dict[str, str]:
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
