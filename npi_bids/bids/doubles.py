"""Runs and subjects whose results would overwrite each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from npi_bids.bids.names import printable
from npi_bids.bids.runs import BoldRun
from npi_bids.errors import InputDataError

_NUMBERS = ("run", "echo", "chunk")  # run-1 and run-01 are the same


def refuse_doubles(runs: Sequence[BoldRun]) -> list[BoldRun]:
    """Say of each run whose results would overwrite those of another that it cannot be used.

    That is the same run twice, from two datasets, in two formats or with two spellings of its
    number; and subjects or runs whose names differ in nothing but upper and lower case, which
    many file systems do not tell apart.

    Parameters
    ----------
    runs
        Of all subjects, in one space.

    Raises
    ------
    InputDataError
        Every run is there twice, in several datasets: the choice of datasets is wrong.
    """
    same: dict[frozenset[tuple[str, str]], list[BoldRun]] = {}
    spellings: dict[str, set[str]] = {}
    for run in runs:
        same.setdefault(_identity(run), []).append(run)
        spellings.setdefault(run.entities["sub"].casefold(), set()).add(run.entities["sub"])
    doubles = [members for members in same.values() if len(members) > 1]
    if doubles and all(len({run.dataset for run in members}) > 1 for members in same.values()):
        raise InputDataError(_same_run(doubles[0]))
    found = []
    for run in runs:
        members, labels = same[_identity(run)], spellings[run.entities["sub"].casefold()]
        problem = _same_subject(labels) if len(labels) > 1 else ""
        if not problem and len(members) > 1:
            problem = _same_run(members)
        found.append(replace(run, problem=run.problem or problem))
    return found


def _identity(run: BoldRun) -> frozenset[tuple[str, str]]:
    """Return what tells a run from all others, whatever the case and the spelling of numbers."""
    return frozenset(
        (key, str(int(label)) if key in _NUMBERS and label.isdecimal() else label.casefold())
        for key, label in (run.entities | run.regions).items()
    )


def _same_run(runs: Sequence[BoldRun]) -> str:
    named = " and ".join(f"<{printable(run.path)}>" for run in runs)
    return (
        f"{named} are the same run, or differ only in upper and lower case; their results would "
        "overwrite each other. Remove or rename one of the files, or name one dataset with -d."
    )


def _same_subject(labels: set[str]) -> str:
    named = " and ".join(f"sub-{label}" for label in sorted(labels))
    return (
        f"{named} differ only in upper and lower case, so that their results would overwrite each "
        "other on macOS and Windows. Rename one of them."
    )
