"""The space and the resolution in which all runs are read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from npi_bids.errors import InputDataError
from npi_bids.wording import count_noun, join_items

_logger = logging.getLogger(__name__)
# Spaces in the order of preference of `--space auto`; atlases are drawn in the first.
PREFERRED = ("MNI152NLin6Asym", "MNI152NLin2009cAsym")


class HasEntities(Protocol):
    """An object with the entities of a file name."""

    @property
    def entities(self) -> dict[str, str]:
        """Entities by their short names."""


_Run = TypeVar("_Run", bound=HasEntities)


def choose_space(runs: Sequence[_Run], requested: str, resolution: str) -> list[_Run]:
    """Return the runs in one space and one resolution, so that no run is used twice.

    Parameters
    ----------
    runs
        Runs in all spaces.
    requested
        The space, or ``auto`` for the preferred one of those that most runs have.
    resolution
        Label of ``res`` (volumes) or ``den`` (greyordinates), or ``auto`` for the only one.

    Raises
    ------
    InputDataError
        No run is in that space, or the resolution is ambiguous.
    """
    spaces = {run.entities.get("space", "") for run in runs}
    if requested != "auto" and requested not in spaces:
        present = ", ".join(sorted(filter(None, spaces))) or "none (native space only)"
        raise InputDataError(f"--space {requested}: no run is in that space; found {present}.")
    space = _best_space(runs) if requested == "auto" else requested
    chosen = [run for run in runs if run.entities.get("space", "") == space]
    chosen = _without_single_echoes(chosen)
    entity = "den" if any("den" in run.entities for run in chosen) else "res"
    resolutions = sorted({run.entities.get(entity, "") for run in chosen})
    if resolution != "auto":
        return _in_resolution(chosen, entity, resolution)
    if len(resolutions) > 1 and len({_key(run) for run in chosen}) < len(chosen):
        listed = ", ".join(resolution or "(none)" for resolution in resolutions)
        raise InputDataError(
            f"Runs in space {space} come in several resolutions: {listed}; choose with --res."
        )
    return chosen


def _in_resolution(runs: Sequence[_Run], entity: str, label: str) -> list[_Run]:
    matches = [run for run in runs if run.entities.get(entity) == label]
    if not matches:
        present = sorted({run.entities.get(entity, "(none)") for run in runs})
        raise InputDataError(
            f"--res {label}: no run matches; found {entity}: {', '.join(present)}."
        )
    return matches


def find_unavailable(runs: Sequence[_Run], chosen: Sequence[_Run]) -> list[_Run]:
    """Return the runs that are not available in the chosen space, and warn of them."""
    available = {_key(run) for run in chosen}
    unavailable = list({_key(run): run for run in runs if _key(run) not in available}.values())
    if unavailable:
        names = [
            "_".join(f"{key}-{value}" for key, value in run.entities.items() if key != "space")
            for run in unavailable
        ]
        space = chosen[0].entities.get("space", "(native)")
        _logger.warning(
            "Not available in space %s and left out: %s (%s); choose another with --space",
            space, count_noun(len(unavailable), "run"), join_items(names, most=5),
        )  # fmt: skip
    return unavailable


def _best_space(runs: Sequence[_Run]) -> str:
    """Return the preferred space among those in which most runs are available."""
    runs_in: dict[str, set[Any]] = {}
    for run in runs:
        runs_in.setdefault(run.entities.get("space", ""), set()).add(_key(run))

    def rank(space: str) -> tuple[int, int, int, str]:
        preference = PREFERRED.index(space) if space in PREFERRED else len(PREFERRED)
        return -len(runs_in[space]), preference, not space.startswith("MNI"), space

    return min(runs_in, key=rank)


def _without_single_echoes(runs: list[_Run]) -> list[_Run]:
    """Leave out single echoes of runs whose optimal combination is also available."""
    combined = {_key(run) for run in runs if "echo" not in run.entities}
    return [run for run in runs if "echo" not in run.entities or _key(run) not in combined]


def _key(run: HasEntities) -> frozenset[tuple[str, str]]:
    left_out = ("space", "res", "den", "echo", "part")
    return frozenset((k, v) for k, v in run.entities.items() if k not in left_out)
