"""Group runs into units: what one model is fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from npi_bids.bids.inputs import FOLDER
from npi_bids.bids.names import ENTITY_ORDER
from npi_bids.bids.runs import BoldRun
from npi_bids.core.options import check_options, option

# Entities that a pooled unit drops. Dropping any other makes files overwrite each other.
_POOLED = {"none": (), "runs": ("run",), "sessions": ("run", "ses")}

_SAME_TR = 1e-4  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class CombineSettings:
    """Which runs share a model."""

    combine: str = option(
        "runs",
        "what one model is fitted to: each run (none), all runs of a session and task (runs), "
        "all runs and sessions of a task (sessions)",
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
