"""Preprocessed runs, and the units that models are fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from npi_bids.bids.entities import ENTITY_ORDER
from npi_bids.bids.outputs import printable
from npi_bids.settings import check_options, option

NIFTI, CIFTI, GIFTI, TIMESERIES = "nifti", "cifti", "gifti", "timeseries"
FOLDER = "folder"  # a folder that cannot be read and represents the runs that it may contain
# Entities that a pooled unit drops. Dropping any other makes files overwrite each other.
_POOLED = {"none": (), "runs": ("run",), "sessions": ("run", "ses")}
_SAME_TR = 1e-4  # seconds


@dataclass(frozen=True, slots=True)
class BoldRun:
    """One preprocessed run.

    Attributes
    ----------
    path
        The 4D image, the greyordinates, the left hemisphere, the table of regional series, or a
        folder that cannot be read.
    entities
        Entities in its name, without ``desc``.
    dataset
        Root of its dataset, and ``link``, the name of the dataset in ``DatasetLinks``.
    mask, confounds
        Files beside the run, or None. Beside a table of series, ``mask`` is the table of outliers
        and ``confounds`` that of motion.
    tr
        RepetitionTime of the sidecar in seconds, or None where it is not stated.
    problem
        Why the run cannot be used, or empty.
    input_format
        ``nifti``, ``cifti``, ``gifti``, ``timeseries``, or ``folder`` where a folder that cannot
        be read represents the runs in it.
    right
        The right hemisphere where the run consists of two files.
    regions
        Entities that identify the regions in the columns of a table of series.
    misnamed
        Whether the problem is the name, so that ``entities`` and ``regions`` contain only its
        readable parts.
    desc
        The entity ``desc`` of its name, or empty.
    """

    path: Path
    entities: dict[str, str]
    dataset: Path
    link: str
    mask: Path | None = None
    confounds: Path | None = None
    tr: float | None = None
    problem: str = ""
    input_format: str = NIFTI
    right: Path | None = None
    regions: dict[str, str] = field(default_factory=dict)
    misnamed: bool = False
    desc: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the run that are read."""
        return tuple(path for path in (self.path, self.right, self.mask, self.confounds) if path)

    @property
    def source(self) -> str:
        """Path of the run, for messages; that of a folder ends in ``/``."""
        return printable(self.path) + ("/" if self.input_format == FOLDER else "")

    def uri(self, path: Path) -> str:
        """Return the BIDS URI of a file of the run's dataset."""
        return f"bids:{self.link}:{path.relative_to(self.dataset).as_posix()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CombineSettings:
    """Which runs share a model."""

    combine: str = option(
        "runs",
        "fit one model to each run (none), to all runs of a session and task (runs), or to all "
        "runs and sessions of a task (sessions)",
        choices=tuple(_POOLED),
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class Unit:
    """The runs that one model is fitted to.

    Attributes
    ----------
    entities
        Entities that all runs share, without those that are pooled.
    runs
        The runs, in the order of their names.
    """

    entities: dict[str, str]
    runs: tuple[BoldRun, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the unit cannot be used; a unit is never fitted without one of its runs."""
        problems = tuple(dict.fromkeys(run.problem for run in self.runs if run.problem))
        return problems or _mixed_tr(self.runs)

    @property
    def source(self) -> str:
        """The input because of which the unit cannot be used, or an empty text."""
        return next((run.source for run in self.runs if run.problem), "")


def group_runs(runs: Sequence[BoldRun], settings: CombineSettings) -> list[Unit]:
    """Group runs into units, in the order of subject, session and the other entities."""
    dropped = _POOLED[settings.combine]
    groups: dict[tuple[tuple[str, str], ...], list[BoldRun]] = {}
    for run in runs:
        if run.input_format != FOLDER:
            groups.setdefault(_shared(run, dropped), []).append(run)
    # The content of an unreadable folder is unknown, so that no runs are pooled without it.
    for folder in (run for run in runs if run.input_format == FOLDER):
        folder_key = _shared(folder, dropped)
        affected = [key for key in groups if set(key) >= set(folder_key)]
        for key in affected or [folder_key]:
            groups.setdefault(key, []).append(folder)
    return [Unit(dict(shared), tuple(members)) for shared, members in groups.items()]


def _shared(run: BoldRun, dropped: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (key, run.entities[key])
        for key in ENTITY_ORDER
        if key in run.entities and key not in dropped
    )


def _mixed_tr(runs: Sequence[BoldRun]) -> tuple[str, ...]:
    """Return the problem that runs to be pooled have different sampling periods, if any."""
    with_tr = [run for run in runs if run.tr is not None]
    for run in with_tr:
        first = with_tr[0]
        if abs((run.tr or 0) - (first.tr or 0)) > _SAME_TR:
            return (
                f"Runs differ in their sampling period: {first.tr:g} s of <{first.path}> and "
                f"{run.tr:g} s of <{run.path}>; runs of different TR are never pooled. Choose "
                "with --task-id or --run-id, or fit each run (--combine none).",
            )
    return ()
