"""Preprocessed runs, and the units that models are fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from npi_bids.bids.outputs import ENTITY_ORDER, printable
from npi_bids.settings import check_options, option

NIFTI, CIFTI, GIFTI, TIMESERIES = "nifti", "cifti", "gifti", "timeseries"
FOLDER = "folder"  # a folder that cannot be read, in the place of the runs that it may hold
# Entities that a pooled unit drops. Dropping any other makes files overwrite each other.
_POOLED = {"none": (), "runs": ("run",), "sessions": ("run", "ses")}
_SAME_TR = 1e-4  # seconds


@dataclass(frozen=True, slots=True)
class BoldRun:
    """One preprocessed run.

    Attributes
    ----------
    path
        The 4D image, the greyordinates, the left hemisphere, or the table of regional series;
        of a folder that cannot be read, the folder.
    entities
        Of its name, without ``desc``.
    dataset
        Root of the dataset it lies in, and ``link``, its name in ``DatasetLinks``.
    mask, confounds
        Beside it, or None. Beside a table of series, ``mask`` is the table of outliers and
        ``confounds`` that of motion.
    tr
        RepetitionTime of the sidecar in seconds, or None where it does not say.
    problem
        Why the run cannot be used, or empty.
    kind
        ``nifti``, ``cifti``, ``gifti``, ``timeseries``, or ``folder`` where a folder that cannot
        be read stands for the runs in it.
    right
        The right hemisphere where the run comes in two files.
    regions
        Entities that say which regions the columns of a table of series are.
    misnamed
        Whether the problem is the name, so that ``entities`` and ``regions`` hold what of it can
        be read.
    """

    path: Path
    entities: dict[str, str]
    dataset: Path
    link: str
    mask: Path | None = None
    confounds: Path | None = None
    tr: float | None = None
    problem: str = ""
    kind: str = NIFTI
    right: Path | None = None
    regions: dict[str, str] = field(default_factory=dict)
    misnamed: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is read of the run."""
        return tuple(path for path in (self.path, self.right, self.mask, self.confounds) if path)

    @property
    def source(self) -> str:
        """Path of what is read, for messages; that of a folder ends in ``/``."""
        return printable(self.path) + ("/" if self.kind == FOLDER else "")

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
        What all runs share, by name, without what is pooled.
    runs
        In the order of their names.
    """

    entities: dict[str, str]
    runs: tuple[BoldRun, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the unit cannot be used; a unit never goes on without one of its runs."""
        found = tuple(dict.fromkeys(run.problem for run in self.runs if run.problem))
        return found or _mixed(self.runs)

    @property
    def source(self) -> str:
        """The input because of which the unit cannot be used, or nothing."""
        return next((run.source for run in self.runs if run.problem), "")


def group_runs(runs: Sequence[BoldRun], settings: CombineSettings) -> list[Unit]:
    """Group runs into units, in the order of subject, session and the other entities."""
    dropped = _POOLED[settings.combine]
    groups: dict[tuple[tuple[str, str], ...], list[BoldRun]] = {}
    for run in runs:
        if run.kind != FOLDER:
            groups.setdefault(_shared(run, dropped), []).append(run)
    # What a folder would add is not known, so that nothing is pooled without it.
    for folder in (run for run in runs if run.kind == FOLDER):
        own = _shared(folder, dropped)
        affected = [key for key in groups if set(key) >= set(own)]
        for key in affected or [own]:
            groups.setdefault(key, []).append(folder)
    return [Unit(dict(shared), tuple(members)) for shared, members in groups.items()]


def _shared(run: BoldRun, dropped: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (key, run.entities[key])
        for key in ENTITY_ORDER
        if key in run.entities and key not in dropped
    )


def _mixed(runs: Sequence[BoldRun]) -> tuple[str, ...]:
    """Say where the sidecars of runs that would be pooled state different sampling periods."""
    known = [run for run in runs if run.tr is not None]
    for run in known:
        first = known[0]
        if abs((run.tr or 0) - (first.tr or 0)) > _SAME_TR:
            return (
                f"Runs differ in their sampling period: {first.tr:g} s of <{first.path}> and "
                f"{run.tr:g} s of <{run.path}>; runs of different TR are never pooled. Choose "
                "with --task-id or --run-id, or fit each run (--combine none).",
            )
    return ()
