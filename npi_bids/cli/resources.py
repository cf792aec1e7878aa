"""What the machine gives: processes, memory, and the plugin that runs the nodes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npi_bids.errors import SettingsError
from npi_bids.workflows.base import Plugin, plugin_names
from npi_bids.workflows.settings import ResourceSettings

_LIBRARIES_GB, _VOLUMES_GB = 0.5, 0.7
_VOXEL_GB = 60e-9  # of a volume that is larger than the parts that are read at once


def choose_plugin(settings: ResourceSettings) -> Plugin:
    """Return the plugin that runs the nodes: MultiProc, or what a file of the user's says.

    Raises
    ------
    SettingsError
        The file cannot be read, names no plugin of Nipype, or has arguments that are none.
    """
    if settings.nipype_plugin_file:
        return _read_plugin(Path(settings.nipype_plugin_file))
    args: dict[str, Any] = {
        "n_procs": n_processes(settings),
        "raise_insufficient": False,
        # torch threads that were running when a process forks never wake up in the child.
        "mp_context": "forkserver",
        # Small jobs first: what finishes a model goes before what begins the next, so that
        # results come one by one and a run that is killed has lost little.
        "scheduler": "mem_thread",
    }
    if settings.n_gpu_procs > 1:
        args["n_gpu_procs"] = settings.n_gpu_procs
    if settings.memory_gb is not None:
        args["memory_gb"] = settings.memory_gb
    return Plugin("MultiProc", args)


def n_processes(settings: ResourceSettings) -> int:
    """Return the processes at once: as asked, or all CPUs that this process may use."""
    if settings.n_procs is not None:
        return settings.n_procs
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_plugin(path: Path) -> Plugin:
    import yaml

    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise SettingsError(f"--nipype-plugin-file <{path}> cannot be read: {error}") from error
    if not isinstance(content, dict) or "plugin" not in content:
        raise SettingsError(f"--nipype-plugin-file <{path}> must name a 'plugin'.")
    name, args = content["plugin"], content.get("plugin_args") or {}
    if name not in (known := plugin_names()):
        raise SettingsError(
            f"--nipype-plugin-file <{path}>: there is no plugin {name}; choose from "
            f"{', '.join(known)}."
        )
    if not isinstance(args, dict) or not all(isinstance(key, str) for key in args):
        raise SettingsError(
            f"--nipype-plugin-file <{path}>: 'plugin_args' must hold names with values, such as "
            "{'n_procs': 4}."
        )
    return Plugin(name, args)


def extraction_memory(files: Sequence[Path], n_voxels: int = 0) -> float:
    """Return how many GB the extraction of the largest of some runs takes, about.

    Parameters
    ----------
    files
        Image of each run.
    n_voxels
        Of the largest volume.

    Notes
    -----
    Volumes are read a few at a time, whatever their number; greyordinates at once, and twice
    (measured by ``python -m benchmarks.memory``), both hemispheres of a pair.
    """
    grey = [path for path in files if path.name.endswith((".dtseries.nii", ".func.gii"))]
    volumes = any(path.name.endswith((".nii", ".nii.gz")) and path not in grey for path in files)
    sizes = [path.stat().st_size * (2 if path.name.endswith(".gii") else 1) for path in grey]
    largest = max(sizes, default=0) / 1e9
    in_parts = max(_VOLUMES_GB, _VOXEL_GB * n_voxels) if volumes else 0.0
    return _LIBRARIES_GB + in_parts + 2.5 * largest


def training_memory(n_regions: int) -> float:
    """Return how many GB it takes to fit and judge one model, about."""
    return _LIBRARIES_GB + 0.3 + n_regions**2 * 2e-6
