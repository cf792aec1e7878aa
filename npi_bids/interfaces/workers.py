"""Worker processes that run the nodes of workflows."""

from __future__ import annotations

from nipype.pipeline.plugins.multiproc import process_initializer

from npi_bids.interfaces.base import speak
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
