"""What all interfaces of npi-bids share."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, traits

from npi_bids import __version__
from npi_bids.io.files import (
    LOG_LEVEL,
    LOG_LINE,
    SEAL,
    write_json,
)

_TERMINAL = "terminal of a worker"


class VersionedInputSpec(BaseInterfaceInputSpec):
    """Inputs with the version of npi-bids, so that cached nodes of another one run again."""

    version = traits.Str(__version__, usedefault=True, desc="version of npi-bids")


class NPIInterface(SimpleInterface):
    """An interface that calls one function of the library and handles its files."""

    def _post_run_hook(self, runtime: Any) -> Any:
        """Write down how large each file is, so that one that is cut off later is known."""
        folder = Path(runtime.cwd)
        # Hidden files are in the making, and may be another process's where a folder is shared.
        made = [path for path in folder.iterdir() if path.name[0] not in "_." and path.is_file()]
        write_json(folder / SEAL, {path.name: path.stat().st_size for path in sorted(made)})
        return runtime

    def _file(self, runtime: Any, name: str) -> Path:
        """Return the path of an output file in the folder of the node."""
        return Path(runtime.cwd) / name


def speak(log_file: str = "", level: str = "") -> None:
    """Let a process of its own say what it does, on the terminal and in the log of the run.

    The main process has handlers already, and keeps them.

    Parameters
    ----------
    log_file
        Log of the run; none where empty.
    level
        What is shown on the terminal at least; what the command line set where empty.
    """
    logger = logging.getLogger("npi_bids")
    shown = logging.getLevelNamesMapping().get(os.environ.get(LOG_LEVEL, ""), logging.WARNING)
    shown = max(shown, logging.getLevelNamesMapping().get(level, 0))
    for handler in logger.handlers:
        if handler.name == _TERMINAL:
            handler.setLevel(shown)
    if logger.handlers:
        return
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].set_name(_TERMINAL)
    handlers[0].setLevel(shown)
    if log_file:
        # Lines of several processes are appended whole.
        handlers.append(logging.FileHandler(log_file, encoding="utf-8", delay=True))
    for handler in handlers:
        handler.setFormatter(logging.Formatter(LOG_LINE, datefmt="%H:%M:%S"))
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def plain(value: Any) -> Any:
    """Return dicts and lists of traits as plain ones, which can be copied and written."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
