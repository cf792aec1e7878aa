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
    write_json,
)

# Sizes of the files that a node has made, written last.
SEAL = "_sizes.json"


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


def speak() -> None:
    """Let a process of its own say what it does, at the level that the command line set.

    The main process has handlers already, and keeps them.
    """
    logger = logging.getLogger("npi_bids")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(LOG_LINE, datefmt="%H:%M:%S"))
    handler.setLevel(os.environ.get(LOG_LEVEL, "WARNING"))
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
