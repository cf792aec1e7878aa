"""How long the stages of a command take, in this process and in its workers (``--profile``)."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

_logger = logging.getLogger(__name__)

FILE = "stages.tsv"
COMMAND = "command"  # where stages run that are no nodes of a workflow
WORKERS = "workers"


@dataclass(slots=True)
class Stage:
    """What all executions of a stage took together.

    Attributes
    ----------
    count
        Number of executions.
    seconds
        Sum of their durations; stages of workers overlap.
    cpu_seconds
        Computing time of their processes, all threads included.
    longest
        Longest duration (s).
    """

    count: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    longest: float = 0.0


class StageTimes:
    """Sums of the times of stages by their process and name, in order of their first end."""

    def __init__(self) -> None:
        self.stages: dict[tuple[str, str], Stage] = {}
        self._lock = threading.Lock()

    def add(self, process: str, name: str, seconds: float, cpu_seconds: float) -> None:
        """Add one execution of a stage.

        Parameters
        ----------
        process
            ``COMMAND`` or ``WORKERS``.
        name
            Name of the stage; that of a node may end in the number of a run.
        seconds, cpu_seconds
            Its duration and computing time.
        """
        with self._lock:  # each pool of workers has a thread that adds what they took
            entry = self.stages.setdefault((process, re.sub(r"_?\d+$", "", name)), Stage())
            entry.count += 1
            entry.seconds += seconds
            entry.cpu_seconds += cpu_seconds
            entry.longest = max(entry.longest, seconds)

    def write(self, folder: Path) -> Path:
        """Write the table of stages and return its path."""
        import pandas as pd

        from npi_bids.io.tables import write_table

        rows = [
            {
                "process": process,
                "stage": name,
                "count": entry.count,
                "seconds": entry.seconds,
                "cpu_seconds": entry.cpu_seconds,
                "longest": entry.longest,
            }
            for (process, name), entry in self.stages.items()
        ]
        path = folder / FILE
        write_table(pd.DataFrame(rows), path, "%.3f")
        return path


_current: ContextVar[StageTimes | None] = ContextVar("stage_times", default=None)


def current_times() -> StageTimes | None:
    """Return where times are recorded in this context; None where they are not."""
    return _current.get()


@contextmanager
def record_stages(folder: Path, *, wanted: bool) -> Iterator[None]:
    """Record the times of all stages in this context, and write them into a folder at its end.

    Parameters
    ----------
    folder
        Where the table goes.
    wanted
        Whether to record them.
    """
    if not wanted:
        yield
        return
    times = StageTimes()
    token = _current.set(times)
    try:
        yield
    finally:
        _current.reset(token)
        path = times.write(folder)
        _logger.info("Times of all stages: %s", path)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Record the time of a stage of the command; stages may be nested."""
    times = current_times()
    started, cpu_started = time.monotonic(), time.process_time()
    try:
        yield
    finally:
        if times is not None:
            seconds = time.monotonic() - started
            times.add(COMMAND, name, seconds, time.process_time() - cpu_started)
