"""Selection of the subjects of a group, with reasons for exclusions."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from npi_bids.errors import InputDataError, SettingsError
from npi_bids.settings import check_options, option
from npi_bids.wording import join_items, rounded

if TYPE_CHECKING:  # slow to load, and not needed for --help
    from npi_bids.bids.derivatives import Model
    from npi_bids.bids.sidecars import RunSidecar, SelectionFields

_logger = logging.getLogger(__name__)
VERDICTS = ("fail", "caution", "pass")  # from worst to best
_RATINGS, _EXCLUDE = ["participant_id", "rating"], "exclude"  # of the table that pages export
_NO_LABEL = re.compile(r"[^A-Za-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionSettings:
    """Which subjects are in a group."""

    group_by: str = option(
        "", "participants.tsv column whose values define the groups", metavar="COLUMN"
    )
    exclude_file: str = option(
        "",
        "subjects to exclude, one label per line, optionally a reason after a tab",
        metavar="FILE",
    )
    min_verdict: str = option(
        "fail",
        "minimum verdict of the maps to include; fail includes all",
        choices=VERDICTS,
    )
    qc_max_mean_fd: float | None = option(
        None,
        "exclude maps whose runs have a higher mean framewise displacement (mm)",
        above=0,
        metavar="MM",
    )

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def sidecar_fields(self) -> SelectionFields:
        """Fields of a sidecar on the selection."""
        from npi_bids.bids.sidecars import SelectionFields

        return SelectionFields(
            grouped_by=self.group_by or None,
            exclusions_from=Path(self.exclude_file).name or None,
            minimum_verdict=self.min_verdict,
            maximum_mean_framewise_displacement=self.qc_max_mean_fd,
        )


@dataclass(frozen=True, slots=True)
class Membership:
    """Whether a model is in a group.

    ``cohort`` is the label of the group by ``--group-by``, or empty; ``reason`` says why
    the model is left out, and is empty where it is in.
    """

    model: Model
    cohort: str = ""
    reason: str = ""


def select_models(
    models: Iterable[Model], root: Path, settings: SelectionSettings
) -> list[Membership]:
    """Tell for each model whether it is in a group, and in which.

    Parameters
    ----------
    models
        Models of an output dataset.
    root
        Root of that dataset; its ``participants.tsv`` is read if a column defines the groups.
    settings
        Which subjects are left out, and how groups are formed.

    Raises
    ------
    SettingsError
        The column or the file of exclusions does not exist, or cannot be read.
    """
    excluded = read_exclusions(Path(settings.exclude_file)) if settings.exclude_file else {}
    cohorts = _read_cohorts(root, settings.group_by) if settings.group_by else None
    models = list(models)
    check_exclusions(excluded, {model.entities["sub"] for model in models})
    members = []
    for model in models:
        label = model.entities["sub"]
        cohort = "" if cohorts is None else _NO_LABEL.sub("", cohorts.get(label, ""))
        reason = excluded.get(label) or _exclusion_reason(model, settings)
        if cohorts is not None and not cohort and not reason:
            reason = f"participants.tsv has no {settings.group_by} for the subject"
        members.append(Membership(model, cohort, reason))
    return members


def read_exclusions(path: Path) -> dict[str, str]:
    """Return the reason of each subject that a file excludes, by label.

    The file holds one label per line (with or without ``sub-``), and a reason after a tab where
    there is one; surrounding blanks are ignored. A first line that begins with
    ``participant_id``, empty lines and lines that begin with ``#`` are skipped. Where that first
    line names a second column ``rating``, as in the table of ratings that pages export, only
    subjects rated ``exclude`` are excluded.

    Raises
    ------
    SettingsError
        The file cannot be read, or a line does not begin with a label.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--exclude-file <{path}> cannot be read: {error}.") from error
    excluded = {}
    rated = bool(lines) and [part.strip() for part in lines[0].split("\t")][:2] == _RATINGS
    for number, line in enumerate(lines, start=1):
        label, _, reason = (part.strip() for part in line.strip().partition("\t"))
        header = number == 1 and label.startswith("participant_id")
        if not label or label.startswith("#") or header:
            continue
        if rated:
            rating, _, reason = (part.strip() for part in reason.partition("\t"))
            if rating != _EXCLUDE:
                continue
            reason = f"rated {_EXCLUDE}" + (f": {reason}" if reason not in ("", "n/a") else "")
        label = label.removeprefix("sub-")
        if _NO_LABEL.search(label) or not label:
            raise SettingsError(
                f"--exclude-file <{path}>, line {number}: {label!r} is no label of a participant; "
                "expected one label per line (letters and digits, with or without sub-), and a "
                "reason after a tab where there is one."
            )
        excluded[label] = reason or "in the file of exclusions"
    return excluded


def check_exclusions(
    excluded: Mapping[str, str], existing: Collection[str], *, warn: bool = True
) -> None:
    """Warn of labels that have no map; refuse those that are most likely misspelt.

    Parameters
    ----------
    excluded
        Reason by label, from :func:`read_exclusions`.
    existing
        Labels of the existing participants.
    warn
        Whether to warn of labels that no participant has.

    Raises
    ------
    SettingsError
        A label differs from an existing one only in capital letters or leading zeros.
    """
    by_spelling = {_normalise_label(label): label for label in existing}
    absent = [label for label in excluded if label not in existing]
    for label in absent:
        if match := by_spelling.get(_normalise_label(label)):
            raise SettingsError(
                f"--exclude-file: there is no sub-{label}, but a sub-{match}. Write the label as "
                "in the dataset, so that the participant is left out."
            )
    if absent and warn:
        _logger.warning(
            "%d participants in --exclude-file have no map, so that nobody is excluded: sub-%s",
            len(absent), ", sub-".join(absent[:20]),
        )  # fmt: skip


def _normalise_label(label: str) -> str:
    return label.casefold().lstrip("0")


def mean_displacement(runs: Iterable[RunSidecar]) -> float | None:
    """Return the mean framewise displacement (mm) over sidecars of runs; None if unknown."""
    stated = [run.mean_framewise_displacement for run in runs]
    values = [mean_fd for mean_fd in stated if mean_fd is not None]
    return fmean(values) if values else None


def _exclusion_reason(model: Model, settings: SelectionSettings) -> str:
    verdict = model.fit.verdict
    if VERDICTS.index(verdict) < VERDICTS.index(settings.min_verdict):
        return f"verdict {verdict} (--min-verdict {settings.min_verdict})"
    if settings.qc_max_mean_fd is None:
        return ""
    mean_fd = mean_displacement(sidecar for _, sidecar in model.runs())
    if mean_fd is None:
        return "framewise displacement is not known (--qc-max-mean-fd)"
    if mean_fd > settings.qc_max_mean_fd:
        return f"mean FD {rounded(mean_fd)} mm (--qc-max-mean-fd {settings.qc_max_mean_fd:g})"
    return ""


def read_participants(root: Path, required_by: str = "") -> dict[str, dict[str, str]]:
    """Return the rows of ``participants.tsv`` by subject label; empty if the file does not exist.

    Raises
    ------
    SettingsError
        An option (``required_by``) needs the file, which does not exist.
    InputDataError
        The file is not a table of participants, or has several rows of one participant.
    """
    path = root / "participants.tsv"
    if not path.is_file():
        if not required_by:
            return {}
        raise SettingsError(
            f"{required_by}: <{path}> does not exist; put a participants.tsv with that column "
            "into the output dataset."
        )
    from npi_bids.io.tables import read_cells

    cells = read_cells(path)
    if "participant_id" not in cells.names:
        raise InputDataError(
            f"<{path}> has the columns {', '.join(cells.names)}; expected a participant_id."
        )
    rows = [(row["participant_id"].removeprefix("sub-"), {**row}) for row in cells.records()]
    labels = [label for label, _ in rows]
    if "" in labels or "n/a" in labels:
        line = next(n for n, label in enumerate(labels, start=2) if label in ("", "n/a"))
        raise InputDataError(f"<{path}> has no participant_id in line {line}.")
    if repeated := sorted({label for label in labels if labels.count(label) > 1})[:5]:
        raise InputDataError(
            f"<{path}> has several rows of sub-{', sub-'.join(repeated)}; expected one row per "
            "participant. Remove the others."
        )
    return dict(rows)


def _read_cohorts(root: Path, column: str) -> Mapping[str, str]:
    rows = read_participants(root, f"--group-by {column}")
    names = list(next(iter(rows.values()), {}))
    if column not in names:
        raise SettingsError(
            f"--group-by {column}: <{root / 'participants.tsv'}> has the columns "
            f"{join_items(names)}."
        )
    values = {label: row[column] or "" for label, row in rows.items()}
    labelled = {label: value for label, value in values.items() if value not in ("n/a", "")}
    _check_cohort_labels(sorted(set(labelled.values())), column)
    return labelled


def _check_cohort_labels(values: Iterable[str], column: str) -> None:
    """Refuse values that give the same label of a group, or an empty one."""
    spelled: dict[str, str] = {}
    for value in values:
        label = _NO_LABEL.sub("", value).lower()
        if not label or label in spelled:
            other = f" and {spelled[label]!r} make" if label else " makes"
            raise SettingsError(
                f"--group-by {column}: {value!r}{other} the label {label!r} of a group, which "
                "must be unique and have letters or digits (case is ignored); rename the values "
                "in participants.tsv."
            )
        spelled[label] = value
