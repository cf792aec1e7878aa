"""Worker processes that run the nodes of workflows."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from traceback import format_exception
from typing import Any

from nipype.pipeline.plugins.multiproc import process_initializer

from npi_bids.interfaces.base import set_up_worker_logging
from npi_bids.io.failures import FAILURE, write_failure
from npi_bids.io.garbage import DEFAULT_THRESHOLDS
from npi_bids.io.lifeline import end_with_parent, start_fork_server, start_tracker


def prepare_worker(cwd: str, log_file: str = "") -> None:
    """Prepare a worker process as Nipype does, and tie its life to the process that started it.

    Its warnings appear on the terminal, and all of its messages in the log file. It collects
    garbage as often as Python does by default, unlike the fork server.

    Parameters
    ----------
    cwd
        Working directory.
    log_file
        Log file; none where empty.
    """
    end_with_parent()
    gc.freeze()  # or each collection looks at all that was loaded, a tenth of the time of a page
    gc.set_threshold(*DEFAULT_THRESHOLDS)
    process_initializer(cwd)
    set_up_worker_logging(log_file, "WARNING")


def prepare_pools(modules: Iterable[str] = ()) -> None:
    """Start the resources that pools of processes share, before the first pool is created.

    Parameters
    ----------
    modules
        Modules that the fork server loads once for all workers, unless it is running already.
        Loading torch starts no threads, which would not survive the fork.
    """
    names = ["__main__", "npi_bids.interfaces.preloading", __name__, *modules]
    multiprocessing.set_forkserver_preload(names)
    start_tracker()
    start_fork_server()


def run_node(node: Any, updatehash: bool, taskid: int) -> dict[str, Any]:
    """Run a node as Nipype's plugin does, and record the error if it fails.

    Interfaces of npi-bids record their own errors; this covers errors before and after them, such
    as a missing input or a full disk.

    Parameters
    ----------
    node
        The node.
    updatehash
        Whether to accept existing outputs as the result of these inputs.
    taskid
        Number of the task.

    Returns
    -------
    dict
        ``result``, ``traceback`` (None on success) and ``taskid``; ``error`` where it could not be
        recorded, as on a full disk; ``seconds`` and ``cpu_seconds`` that it took.
    """
    outcome: dict[str, Any] = {"result": None, "traceback": None, "taskid": taskid}
    started, cpu_started = time.monotonic(), time.process_time()
    try:
        outcome["result"] = node.run(updatehash=updatehash)
    except BaseException as error:  # noqa: BLE001 (the waiting process must learn of any error)
        outcome["traceback"] = format_exception(error)
        try:
            note_failure(node, error)
        except OSError as problem:
            # The problem is the cause of an error without a recorded reason, or follows from it.
            outcome["error"] = problem
        with suppress(OSError):
            outcome["result"] = node.result
    outcome["seconds"] = time.monotonic() - started
    outcome["cpu_seconds"] = time.process_time() - cpu_started
    return outcome


def note_failure(node: Any, error: BaseException, *, replace: bool = False) -> None:
    """Write why a node failed into its folder, unless a reason is recorded and kept."""
    path = Path(node.output_dir()) / FAILURE
    if replace or not path.is_file():
        write_failure(error, path)
