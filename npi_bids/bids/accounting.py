"""What was requested and is not analysed: participants, and their sessions, tasks and runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from npi_bids.bids.entities import NUMBERS
from npi_bids.bids.outputs import printable
from npi_bids.bids.runs import FOLDER, BoldRun
from npi_bids.wording import join_items

_logger = logging.getLogger(__name__)

Item = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Absence:
    """A participant, or one of its sessions, tasks or runs, that is not analysed, and why."""

    entities: dict[str, str]
    reason: str


class Account:
    """Follow what was requested through the steps of the selection of runs.

    Parameters
    ----------
    subjects
        Labels of the participants.
    labels
        Labels of the sessions, tasks and runs that were requested of each participant, by the key
        of the entity.

    Attributes
    ----------
    absences
        What has been lost so far, with the reason.
    """

    def __init__(self, subjects: Iterable[str], labels: Mapping[str, Sequence[str]]) -> None:
        self._labels = {
            key: {_spell(key, label): label for label in requested}
            for key, requested in labels.items()
        }
        self._remaining: set[Item] = set()
        for subject in map(printable, subjects):
            self._remaining |= {(("sub", subject),), *self._parts(subject)}
        self.absences: list[Absence] = []

    def _parts(self, subject: str) -> Iterator[Item]:
        for key, requested in self._labels.items():
            yield from ((("sub", subject), (key, label)) for label in requested.values())

    def keep(self, runs: Iterable[BoldRun], reason: str) -> None:
        """Record what is not among the runs any more, with the reason.

        A run whose name cannot be used, and a folder that cannot be read, may be any run of the
        participant.
        """
        present = self._find_present(runs)
        lost = self._remaining - present
        self._remaining &= present
        for item in sorted(lost):
            is_part = len(item) > 1
            if not (is_part and item[:1] in lost):
                self.absences.append(Absence(dict(item), reason))
        gone = {item[0] for item in lost if len(item) == 1}
        self._remaining = {item for item in self._remaining if item[0] not in gone}

    def lose(self, entities: Mapping[str, str], reason: str) -> None:
        """Record a single run that is left out while others of the participant are not."""
        if (("sub", entities["sub"]),) in self._remaining:
            self.absences.append(Absence(dict(entities), reason))

    def _find_present(self, runs: Iterable[BoldRun]) -> set[Item]:
        if not self._labels:
            return {(("sub", subject),) for subject in {run.entities["sub"] for run in runs}}
        return {item for run in runs for item in self._items(run)}

    def _items(self, run: BoldRun) -> Iterator[Item]:
        subject = run.entities["sub"]
        yield (("sub", subject),)
        if run.misnamed or run.input_format == FOLDER:
            yield from self._parts(subject)
            return
        for key, requested in self._labels.items():
            label = requested.get(_spell(key, run.entities.get(key, "")))
            if label is not None:
                yield (("sub", subject), (key, label))

    def warn(self) -> None:
        """Write one line to the log for each reason, with what it concerns."""
        reasons: dict[str, list[str]] = {}
        for absence in self.absences:
            name = "_".join(f"{key}-{label}" for key, label in absence.entities.items())
            reasons.setdefault(absence.reason, []).append(name)
        for reason, names in reasons.items():
            _logger.warning("Left out, %s: %s", reason, join_items(names, most=10))


def _spell(key: str, label: str) -> str:
    """Return a label in one spelling; run-1 and run-01 are the same."""
    return str(int(label)) if key in NUMBERS and label.isdecimal() else label
