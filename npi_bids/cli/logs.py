"""Logs of a run: lines on the terminal, progress, a log file, settings, and the final table."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import tomli_w

from npi_bids import __version__
from npi_bids.bids.derivatives import UnitStatus, find_models
from npi_bids.cli.parser import OutputSettings, Request
from npi_bids.io.files import LOG_LEVEL, LOG_LINE, LogFile, write_text
from npi_bids.wording import rounded

if TYPE_CHECKING:
    from nipype.pipeline.engine import Node
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_logger = logging.getLogger(__name__)
SETTINGS_FILE = "settings.toml"
# What the nodes that take longest do, for the line on the terminal.
_STAGES = {
    "extract": "extracting signals",
    "parcellate": "extracting signals",
    "train_surrogate": "fitting",
    "perturb_surrogate": "perturbing",
    "assess_connectivity": "assessing",
    "fit_whole_brain": "fitting",
}


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
    file = LogFile(folder / "npi-bids.log", encoding="utf-8")
    for handler in (terminal, file):
        handler.setFormatter(logging.Formatter(LOG_LINE, datefmt="%H:%M:%S"))
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    if not output.verbose:
        warnings.filterwarnings("ignore", module="nipype")
    return folder


def write_settings(request: Request, folder: Path, program: str = "npi-bids") -> None:
    """Write the settings of this run as TOML; options that are not set are left out.

    Parameters
    ----------
    request
        The request of the user.
    folder
        Where ``settings.toml`` goes.
    program
        Name of the command that was run.
    """
    content = {
        "npi_bids": {
            "version": __version__,
            "configuration": request.analysis.configuration,
            "command": shlex.join([program, *sys.argv[1:]]),  # also where Python ran the module
        },
        **cast("dict[str, object]", to_toml(asdict(request))),
    }
    write_text(folder / SETTINGS_FILE, tomli_w.dumps(content))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the final table says of a map.

    Attributes
    ----------
    verdict
        ``pass``, ``caution`` or ``fail``.
    expected_r
        Expected accuracy, rounded.
    kind
        Kind of fit.
    reason
        The most serious reason of the verdict, shortened.
    """

    verdict: str = ""
    expected_r: str = ""
    kind: str = ""
    reason: str = ""


def print_table(
    statuses: Iterable[UnitStatus],
    skipped: Iterable[str],
    outcomes: Mapping[str, Outcome] | None = None,
    out_dir: Path | None = None,
) -> None:
    """Print the outcome of each model: status, verdict, expected accuracy, kind, and reason.

    The reason is that of the status, or else of the verdict; models that were complete before have
    "nothing to do".

    What all models have in common is said once, above the table, and the page of a participant,
    relative to ``out_dir``, is on a line of its own, so that rows are narrow.

    Parameters
    ----------
    statuses
        Status of each model.
    skipped
        Names of models that were complete before.
    outcomes
        Outcomes of the models that have a map, by name.
    out_dir
        Output dataset; only pages that it has are named.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    statuses = list(statuses)
    shared = _shared_entities([status.entities for status in statuses])
    has_models = any(set(status.entities) - {"sub", *shared} for status in statuses)
    headings = ["participant", *["model"] * has_models, "status", "verdict", "expected r",
                "fit", "reason"]  # fmt: skip
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")  # names and paths must not be truncated
    colours = {"done": "green", "excluded": "yellow", "failed": "red", "absent": "yellow"}
    done_before = set(skipped)
    for status in statuses:
        label = "complete" if status.name in done_before else status.status
        outcome = (outcomes or {}).get(status.name, Outcome())
        reason = status.reason + (f" [crash file: {status.crash}]" if status.crash else "")
        participant = f"sub-{status.entities['sub']}"
        page = f"{participant}.html"
        has_page = out_dir is not None and (out_dir / page).is_file()
        own = {key: value for key, value in status.entities.items() if key not in shared}
        table.add_row(
            participant + (f"\n  {page}" if has_page else ""),
            *[_join_entities(own)] * has_models,
            Text(label, colours.get(status.status, "")),
            outcome.verdict,
            outcome.expected_r,
            outcome.kind,
            Text(reason or ("nothing to do" if label == "complete" else outcome.reason)),
        )
    width = None if sys.stdout.isatty() else 160
    console = Console(file=sys.stdout, width=width, soft_wrap=False)
    if shared:
        label = "All models" if len(statuses) > 1 else "Model"
        console.print(f"{label}: {_join_entities(shared)}", highlight=False, soft_wrap=True)
    console.print(table)


def _shared_entities(models: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the entities, without the subject, that all models have in common."""
    return {
        key: value
        for key, value in (models[0] if models else {}).items()
        if key != "sub" and all(other.get(key) == value for other in models)
    }


def _join_entities(entities: Mapping[str, str]) -> str:
    return " ".join(f"{key}-{value}" for key, value in entities.items() if key != "sub")


def find_outcomes(out_dir: Path, *subjects: str) -> dict[str, Outcome]:
    """Return the outcome of each model that has a map, by the name of the model.

    Parameters
    ----------
    out_dir
        Root of the output dataset; damaged results are left out.
    *subjects
        Labels of the subjects; all of them if there are none.
    """
    return {
        model.name: Outcome(
            model.fit.verdict,
            rounded(model.fit.quality.expected_r),
            model.kind,
            _shorten_reasons(model.fit.verdict_reasons),
        )
        for model in find_models(out_dir, *subjects, skip_damaged=True)
    }


def _shorten_reasons(reasons: Sequence[str]) -> str:
    """Return the first reason without details and advice, and the number of further reasons.

    >>> _shorten_reasons(["direction is not supported: p = 0.3", "little data: 0.2 samples"])
    'direction is not supported (and 1 more)'
    """
    first = re.split(r"[:;] | \(", reasons[0])[0] if reasons else ""
    return first + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "")


def to_toml(value: object) -> object:
    """Return settings as a TOML file holds them: without those that are not set."""
    if isinstance(value, dict):
        return {key: to_toml(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [to_toml(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class Progress:
    """Count models that are done or have failed, as Nipype reports on its nodes.

    Parameters
    ----------
    names
        Name of each model by the name of its workflow.
    readers
        Names of the models that need the output of a node that reads a run for several of them,
        by the name of the node.
    live
        Whether to keep a line at the bottom of the terminal with the models done, running and
        failed, and the time left.
    clock
        Clock in seconds; replaced in tests.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        readers: Mapping[str, Sequence[str]] | None = None,
        *,
        live: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names, self._readers, self._clock = names, readers or {}, clock
        self._over: set[str] = set()  # several nodes of a model can fail, and some report twice
        self._failed: set[str] = set()
        self._running: dict[str, str] = {}  # what is being done, by the name of the model
        self._started = clock()
        self._bar: Any = None
        self._task: Any = None
        if live:
            self._bar, self._task = _make_bar(len(names))

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, node: Node, status: str) -> None:
        """Record a node that starts, ends or fails."""
        unit, failed = parse_unit(str(node.fullname)), status == "exception"
        models = self._readers.get(unit) or [self._names[unit]]
        for name in models:
            if status == "start":
                self._running[name] = _STAGES.get(node.name.rstrip("_0123456789"), "")
            elif failed or (status == "end" and node.name == "save_model"):
                self._end(name, node.name if failed else "")
        self._show()

    @property
    def saved(self) -> set[str]:
        """Names of the models that were saved."""
        return self._over - self._failed

    def state(self) -> str:
        """Return how many models are done, running (doing what) and failed, and the time left."""
        n_over = len(self._over)
        parts = [f"{n_over - len(self._failed)} of {len(self._names)} done"]
        stages = " and ".join(sorted({stage for stage in self._running.values() if stage}))
        parts.append(f"{len(self._running)} running" + (f" ({stages})" if stages else ""))
        if self._failed:
            parts.append(f"{len(self._failed)} failed")
        if n_over:
            remaining = (self._clock() - self._started) / n_over * (len(self._names) - n_over)
            parts.append(f"about {format_duration(remaining)} left")
        return ", ".join(parts)

    def _end(self, name: str, failed_in: str) -> None:
        self._running.pop(name, None)
        if name in self._over:
            return
        self._over.add(name)
        position = f"[{len(self._over)}/{len(self._names)}]"
        if failed_in:
            self._failed.add(name)
            _logger.error("%s %s failed in %s", position, name, failed_in)
        else:
            _logger.info("%s %s", position, name)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=len(self._over), state=self.state())


def parse_unit(node: str) -> str:
    """Return the name of a model's workflow, or of a node that reads a run for several models.

    Parameters
    ----------
    node
        Full name of a node.
    """
    parts = node.split(".")
    return parts[2] if len(parts) > 2 else ""


def _make_bar(n_models: int) -> tuple[Bar, TaskID]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn()
    bar = Bar(*columns, console=Console(file=sys.stderr), transient=True, refresh_per_second=1)
    return bar, bar.add_task("models", total=n_models, state="starting")


@contextmanager
def show_elapsed_time(activity: str) -> Iterator[None]:
    """Show on a terminal what is done within a context, and for how long."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), TimeElapsedColumn()
    console = Console(file=sys.stderr)
    with Bar(*columns, console=console, transient=True, refresh_per_second=1) as bar:
        bar.add_task(activity, total=None)
        yield


def format_duration(seconds: float) -> str:
    """Format a duration for people.

    >>> format_duration(20), format_duration(200), format_duration(20_000)
    ('20 s', '3 min', '5 h 33 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
