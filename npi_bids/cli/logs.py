"""What a run says: lines on the terminal, a log file, its settings, and the table that ends it."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import tomli_w

from npi_bids import __version__
from npi_bids.bids.results import UnitStatus
from npi_bids.cli.settings import OutputSettings, Request
from npi_bids.io.files import LOG_LEVEL, LOG_LINE, write_text


def start_logging(out_dir: Path, output: OutputSettings) -> Path:
    """Send messages to the terminal and to a file of this run.

    Returns
    -------
    Path
        Folder of this run, ``logs/<run id>``.
    """
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder = out_dir / "logs" / f"{stamp}_{uuid4().hex[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("npi_bids")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel("ERROR" if output.quiet else "DEBUG" if output.verbose else "INFO")
    os.environ[LOG_LEVEL] = logging.getLevelName(terminal.level)
    file = logging.FileHandler(folder / "npi-bids.log", encoding="utf-8")
    for handler in (terminal, file):
        handler.setFormatter(logging.Formatter(LOG_LINE, datefmt="%H:%M:%S"))
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    if not output.verbose:
        warnings.filterwarnings("ignore", module="nipype")
    return folder


def write_settings(request: Request, folder: Path) -> None:
    """Write the settings of this run as TOML; options that are not set are left out."""
    content = {
        "npi_bids": {
            "version": __version__,
            "configuration": request.analysis.configuration,
            "command": shlex.join(sys.argv),
        },
        **_plain(asdict(request)),
    }
    write_text(folder / "settings.toml", tomli_w.dumps(content))


def print_table(statuses: Iterable[UnitStatus], skipped: Iterable[str]) -> None:
    """Print what became of each model: participant, status, reason."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("participant", "model", "status", box=None, pad_edge=False)
    table.add_column("reason", overflow="fold")  # a path that is cut off helps nobody
    colours = {"done": "green", "excluded": "yellow", "failed": "red"}
    done_before = set(skipped)
    for status in statuses:
        entities = {key: value for key, value in status.entities.items() if key != "sub"}
        model = " ".join(f"{key}-{value}" for key, value in entities.items())
        word = "complete" if status.name in done_before else status.status
        reason = status.reason + (f" [crash file: {status.crash}]" if status.crash else "")
        table.add_row(
            f"sub-{status.entities['sub']}",
            model,
            Text(word, colours.get(status.status, "")),
            Text(reason or ("nothing to do" if word == "complete" else "")),
        )
    width = None if sys.stdout.isatty() else 160
    Console(file=sys.stdout, width=width, soft_wrap=False).print(table)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
