"""Worker processes that run the nodes of workflows."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from traceback import format_exception
from typing import Any

from nipype.pipeline.plugins.multiproc import process_initializer

from npi_bids.interfaces.base import speak
from npi_bids.io.failures import FAILURE, write_failure
from npi_bids.io.lifeline import end_with_parent, start_tracker


def prepare_worker(cwd: str, log_file: str = "") -> None:
    """Prepare a worker process as Nipype does, and let it end with the process that started it.

    Its warnings go to the terminal, and all that it says to the log of the run.

    Parameters
    ----------
    cwd
        Folder to work in.
    log_file
        Log of the run; none where empty.
    """
    end_with_parent()
    process_initializer(cwd)
    speak(log_file, "WARNING")


def prepare_pools() -> None:
    """Start what pools of processes share, before the first of them is made."""
    start_tracker()


def run_node(node: Any, updatehash: bool, taskid: int) -> dict[str, Any]:
    """Run a node as Nipype's plugin does, and write down the error where it fails.

    An interface of npi-bids has done so already; this serves errors before and after it, such as
    an input that is missing or a disk that is full.

    Parameters
    ----------
    node
        The node.
    updatehash
        Whether to take what is there for the result of these inputs.
    taskid
        Number of the task.

    Returns
    -------
    dict
        ``result``, ``traceback`` (None where all went well) and ``taskid``.
    """
    outcome: dict[str, Any] = {"result": None, "traceback": None, "taskid": taskid}
    try:
        outcome["result"] = node.run(updatehash=updatehash)
    except BaseException as error:  # noqa: BLE001 (the process that waits must be told of any)
        outcome["traceback"] = format_exception(error)
        with suppress(OSError):
            note_failure(node, error)
        with suppress(OSError):
            outcome["result"] = node.result
    return outcome


def note_failure(node: Any, error: BaseException, *, replace: bool = False) -> None:
    """Write why a node failed into its folder, where that is not known yet or to be replaced."""
    path = Path(node.output_dir()) / FAILURE
    if replace or not path.is_file():
        write_failure(error, path)
