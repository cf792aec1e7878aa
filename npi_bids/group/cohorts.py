"""Groups of the models of an output dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean

from npi_bids.bids.derivatives import Model, find_models
from npi_bids.bids.outputs import WITHIN_GROUP, join_entities, parse_name
from npi_bids.errors import (
    ConfigurationError,
    InputDataError,
    NoUsableDataError,
    SettingsError,
)
from npi_bids.group.selection import (
    VERDICTS,
    Membership,
    SelectionSettings,
    mean_displacement,
    read_participants,
    select_models,
)
from npi_bids.wording import count_noun

# Columns of the subjects' table that come from the results.
RESULT_COLUMNS = (
    *("participant_id", "n_maps", "mean_fd", "minutes", "n_windows", "verdict", "r_split"),
    *("expected_r", "fc_r", "stripe_share", "direction_supported", "kind", "own_kind"),
)
SESSION = "session"  # column of the visits of subjects
# Columns that the description of a group adds to them.
_ADDED_COLUMNS = ("r_with_others", "outlier")


@dataclass(frozen=True, slots=True)
class Cohort:
    """The models that are averaged into one group.

    Attributes
    ----------
    entities, desc
        Entities and description label of the group's files, without what differs within subjects.
    subjects
        Models by subject label; a subject with several sessions or runs has several, which are
        averaged first.
    """

    entities: dict[str, str]
    desc: str
    subjects: dict[str, tuple[Model, ...]]

    @property
    def name(self) -> str:
        """Name of the group: its entities, joined."""
        return join_entities({**self.entities, "desc": self.desc})

    @property
    def space(self) -> str:
        """Space of the images, which names the group's folder."""
        return self.entities.get("space", "individual")


def find_cohorts(
    root: Path, settings: SelectionSettings, min_subjects: int
) -> tuple[list[Cohort], list[Membership]]:
    """Sort the models of an output dataset into groups by task, atlas and their other entities.

    Parameters
    ----------
    root
        The output dataset.
    settings
        Which subjects are left out, and how groups are formed.
    min_subjects
        Number of subjects that a group needs.

    Returns
    -------
    list of Cohort, list of Membership
        The groups that are large enough, and for every model whether it is in one.

    Raises
    ------
    NoUsableDataError
        There are no models, or no group is large enough.
    ConfigurationError
        Models of one group were fitted with different settings.
    InputDataError
        Models of one group differ in their sampling period.
    """
    groups: dict[tuple[tuple[tuple[str, str], ...], str], dict[str, list[Model]]] = {}
    members = select_models(find_models(root), root, settings)
    for member in members:
        model = member.model
        shared = {k: v for k, v in model.entities.items() if k not in WITHIN_GROUP}
        shared |= {"cohort": member.cohort} if member.cohort else {}
        key = (tuple(shared.items()), model.desc)
        if not member.reason:
            groups.setdefault(key, {}).setdefault(model.entities["sub"], []).append(model)
    cohorts = [
        Cohort(dict(shared), desc, {sub: tuple(models) for sub, models in subjects.items()})
        for (shared, desc), subjects in sorted(groups.items())
    ]
    if not members:
        raise NoUsableDataError(
            f"<{root}> holds no effective connectivity of any subject; run the participant level "
            "first, or see its reports for why there is none."
        )
    for cohort in cohorts:
        _check_equal(cohort, "configuration", _configuration, ConfigurationError)
        _check_equal(cohort, "sampling period", _sampling_period, InputDataError)
    large = [cohort for cohort in cohorts if len(cohort.subjects) >= min_subjects]
    if not large:
        sizes = ", ".join(f"{len(cohort.subjects)} of {cohort.name}" for cohort in cohorts)
        out = sum(bool(member.reason) for member in members)
        raise NoUsableDataError(
            f"No group has {min_subjects} subjects (--min-subjects); found {sizes or 'none'}"
            + (
                f", and {count_noun(out, 'map')} {'was' if out == 1 else 'were'} excluded."
                if out
                else "."
            )
        )
    return large, members


def participant_columns(columns: Iterable[str]) -> dict[str, str]:
    """Return the columns of ``participants.tsv`` by the names that the group level gives them.

    A column that has the name of one of the results is renamed.

    >>> participant_columns(["participant_id", "age", "mean_fd"])
    {'age': 'age', 'participants_mean_fd': 'mean_fd'}
    """
    return {
        f"participants_{name}"
        if name in (*RESULT_COLUMNS, *_ADDED_COLUMNS, SESSION)
        else name: name
        for name in columns
        if name != "participant_id"
    }


def subject_rows(cohort: Cohort, root: Path) -> list[dict[str, object]]:
    """Return one row for each subject of a group, with columns of the results and the participant.

    Parameters
    ----------
    cohort
        The group.
    root
        Output dataset; columns of its ``participants.tsv`` come after those of the results.
    """
    participants = read_participants(root)
    columns = participant_columns(next(iter(participants.values()), {}))
    rows: list[dict[str, object]] = []
    for subject, models in sorted(cohort.subjects.items()):
        participant = participants.get(subject, {})
        rows.append(
            {
                **model_row(subject, models),
                **{name: participant.get(column) or "n/a" for name, column in columns.items()},
            }
        )
    return rows


def model_row(subject: str, models: Sequence[Model]) -> dict[str, object]:
    """Return what the results say of a subject, from some of its models: ``RESULT_COLUMNS``."""
    runs = [sidecar for model in models for _, sidecar in model.runs()]
    quality = [model.fit.quality for model in models]
    verdicts = [model.fit.verdict for model in models]
    return {
        "participant_id": f"sub-{subject}",
        "n_maps": len(models),
        "mean_fd": mean_displacement(runs),
        "minutes": sum(run.samples_kept * run.repetition_time for run in runs) / 60,
        "n_windows": sum(figures.n_windows for figures in quality),
        "verdict": min(verdicts, key=VERDICTS.index),
        "r_split": _mean(figures.r_split for figures in quality),
        "expected_r": _mean(figures.expected_r for figures in quality),
        "fc_r": _mean(figures.fc_r for figures in quality),
        "stripe_share": _mean(figures.stripe_share for figures in quality),
        "direction_supported": _mean(float(figures.direction_supported) for figures in quality),
        "kind": " and ".join(dict.fromkeys(model.kind for model in models)),
        "own_kind": " and ".join(dict.fromkeys(model.own_kind for model in models)),
    }


def tested_rows(
    cohort: Cohort, rows: list[dict[str, object]], sessions: tuple[str, ...]
) -> list[dict[str, object]]:
    """Return the rows of the subjects that are tested: those with both sessions, if paired.

    Parameters
    ----------
    cohort
        The group.
    rows
        As :func:`subject_rows` returns them.
    sessions
        The two sessions, first and second; empty without pairs.
    """
    if not sessions:
        return rows
    pairs, _ = paired_models(cohort, sessions)
    return [row for row in rows if str(row["participant_id"]).removeprefix("sub-") in pairs]


def paired_models(
    cohort: Cohort, sessions: tuple[str, ...]
) -> tuple[dict[str, tuple[Model, Model]], dict[str, str]]:
    """Return the maps of both sessions of each subject, and why other subjects have no pair.

    Raises
    ------
    SettingsError
        No subject has both.
    """
    labels = [session.removeprefix("ses-") for session in sessions]
    pairs: dict[str, tuple[Model, Model]] = {}
    reasons = {}
    for subject, models in sorted(cohort.subjects.items()):
        by_session = {model.entities.get("ses", ""): model for model in models}
        if all(session in by_session for session in labels):
            pairs[subject] = (by_session[labels[0]], by_session[labels[1]])
        else:
            reasons[subject] = f"no map of both sessions {' and '.join(labels)} (--paired)"
    if not pairs:
        existing = sorted({m.entities.get("ses", "(none)") for ms in cohort.subjects.values()
                           for m in ms})  # fmt: skip
        raise SettingsError(
            f"--paired {' '.join(sessions)}: no subject of {cohort.name} has a map of each; found "
            f"sessions {', '.join(existing)}. Sessions that are pooled (--combine sessions) have "
            "one map."
        )
    return pairs, reasons


def paired_rows(cohort: Cohort, sessions: tuple[str, ...]) -> list[dict[str, object]]:
    """Return what the results say of each session of the subjects that have both.

    One row per subject and session, with the columns ``RESULT_COLUMNS`` and ``session``; the first
    session comes first.
    """
    pairs, _ = paired_models(cohort, sessions)
    return [
        {**model_row(subject, [model]), SESSION: session}
        for subject, pair in pairs.items()
        for session, model in zip(sessions, pair, strict=True)
    ]


def files_by_subject(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Return files by the subject label in their names, in their order.

    Raises
    ------
    InputDataError
        A name has no subject.

    >>> by_subject = files_by_subject([Path("sub-02_relmat.tsv"), Path("sub-01_relmat.tsv")])
    >>> list(by_subject)
    ['02', '01']
    """
    by_subject: dict[str, list[Path]] = {}
    for path in files:
        subject = parse_name(path.name).entities.get("sub")
        if subject is None:
            raise InputDataError(
                f"<{path}> does not name its subject; expected a name such as "
                "sub-01_task-rest_..._relmat.tsv."
            )
        by_subject.setdefault(subject, []).append(path)
    return by_subject


def pair_files(
    files: Mapping[str, Sequence[Path]], sessions: Sequence[str]
) -> dict[str, tuple[Path, Path]]:
    """Return the files of the first and the second session of each subject that has both.

    Parameters
    ----------
    files
        Files of each subject.
    sessions
        Labels of the two sessions.
    """
    first, second = (session.removeprefix("ses-") for session in sessions)
    pairs = {}
    for subject, paths in files.items():
        by_session = {parse_name(path.name).entities.get("ses", ""): path for path in paths}
        if first in by_session and second in by_session:
            pairs[subject] = (by_session[first], by_session[second])
    return pairs


def _mean(values: Iterable[float]) -> float | None:
    finite = [value for value in values if isfinite(value)]
    return fmean(finite) if finite else None


def _configuration(model: Model) -> str:
    return model.configuration


def _sampling_period(model: Model) -> float:
    return round(model.fit.repetition_time, 4)


def _check_equal(
    cohort: Cohort, quantity: str, value_of: Callable[[Model], object], error: type[Exception]
) -> None:
    """Refuse to mix models whose sidecars differ in a value; list the subjects by value."""
    values: dict[object, list[str]] = {}
    for subject, models in cohort.subjects.items():
        for model in models:
            values.setdefault(value_of(model), []).append(f"sub-{subject}")
    if len(values) > 1:
        listing = "; ".join(
            f"{value}: {', '.join(subjects[:5])}" for value, subjects in values.items()
        )
        raise error(
            f"Group {cohort.name}: subjects differ in {quantity} and are never mixed ({listing}). "
            "Put them into separate output datasets, or run them again with the same settings."
        )
