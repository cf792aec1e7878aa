"""Group runs into units: what one model is fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from npi_bids.bids.runs import BoldRun
from npi_bids.core.options import check_options, option

# Entities that a pooled unit drops. Dropping any other makes files overwrite each other.
_POOLED = {"none": (), "runs": ("run",), "sessions": ("run", "ses")}


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
        return tuple(run.problem for run in self.runs if run.problem)


def group_runs(runs: Sequence[BoldRun], settings: CombineSettings) -> list[Unit]:
    """Group runs into units, in the order of subject, session and the other entities."""
    dropped = _POOLED[settings.combine]
    groups: dict[tuple[tuple[str, str], ...], list[BoldRun]] = {}
    for run in runs:
        shared = {key: value for key, value in run.entities.items() if key not in dropped}
        groups.setdefault(tuple(shared.items()), []).append(run)
    return [Unit(dict(shared), tuple(members)) for shared, members in groups.items()]
