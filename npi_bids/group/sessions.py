"""Visits of subjects: their variables, and models over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from npi_bids.bids.description import sessions_file
from npi_bids.bids.outputs import parse_name
from npi_bids.errors import InputDataError, NoUsableDataError, SettingsError
from npi_bids.group.cohorts import RESULT_COLUMNS, SESSION, Cohort, model_row, participant_columns
from npi_bids.group.design import (
    build_design,
    check_formula,
    formula_columns,
    subject_frame,
)
from npi_bids.group.formula import CONSTANT
from npi_bids.group.selection import read_participants
from npi_bids.group.settings import ModelSettings
from npi_bids.group.tables import numeric_column
from npi_bids.group.within_subject import VisitModel
from npi_bids.io.tables import read_cells
from npi_bids.records import Array

ONE_SESSION = "one session only"
_ID = "session_id"


def read_sessions(root: Path, subject: str) -> dict[str, dict[str, str]]:
    """Return the rows of ``sub-*_sessions.tsv`` by session label; empty if there is no file.

    Raises
    ------
    InputDataError
        The file has no ``session_id``, or several rows of one session.
    """
    path = root / sessions_file(subject)
    if not path.is_file():
        return {}
    cells = read_cells(path)
    if _ID not in cells.names:
        raise InputDataError(
            f"<{path}> has the columns {', '.join(cells.names)}; expected a {_ID}."
        )
    rows = {}
    for row in cells.records():
        label = (row[_ID] or "").removeprefix("ses-")
        if label in rows:
            raise InputDataError(f"<{path}> has several rows of ses-{label}; expected one.")
        rows[label] = {name: value for name, value in row.items() if name != _ID}
    return rows


def session_columns(root: Path, subjects: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """Return the columns of ``sub-*_sessions.tsv`` by the names that the group level gives them.

    A column that has the name of one of the results or of ``participants.tsv`` (``taken``) is
    called ``sessions_NAME``.
    """
    names: dict[str, None] = {}
    for subject in subjects:
        rows = read_sessions(root, subject)
        names |= dict.fromkeys(next(iter(rows.values()), {}))
    occupied = {*taken, SESSION}
    return {f"sessions_{name}" if name in occupied else name: name for name in names}


def varies_over_visits(settings: ModelSettings, columns: Iterable[str]) -> bool:
    """Tell whether a model is over visits: whether its formula names a variable of sessions.

    ``columns`` are those of the tables of sessions.
    """
    if not settings.effective_formula:
        return False
    return bool({SESSION, *columns} & set(formula_columns(settings)))


def visit_rows(cohort: Cohort, root: Path, settings: ModelSettings) -> list[dict[str, object]]:
    """Return one row per subject and session; empty if the model is not over visits.

    Parameters
    ----------
    cohort
        The group.
    root
        Output dataset, with ``participants.tsv`` and ``sub-*_sessions.tsv``.
    settings
        The model.

    Raises
    ------
    SettingsError
        The model is over visits, and maps have no session or an option does not go with it.
    """
    if not settings.effective_formula:
        return []
    participants = read_participants(root)
    columns = participant_columns(next(iter(participants.values()), {}))
    taken = [*RESULT_COLUMNS, *columns]
    of_sessions = session_columns(root, cohort.subjects, taken)
    if not varies_over_visits(settings, of_sessions):
        return []
    check_options_of_visits(settings)
    rows: list[dict[str, object]] = []
    for subject, models in sorted(cohort.subjects.items()):
        participant, table = participants.get(subject, {}), read_sessions(root, subject)
        for session in sorted({model.entities.get("ses", "") for model in models}):
            if not session:
                raise SettingsError(
                    f"--model {settings.formula!r} is over sessions, and the map of sub-{subject} "
                    f"in {cohort.name} has none. Sessions that are pooled (--combine sessions) "
                    "have one map."
                )
            visit = [model for model in models if model.entities.get("ses", "") == session]
            values = table.get(session, {})
            rows.append({
                **model_row(subject, visit),
                SESSION: session,
                **{name: participant.get(column) or "n/a" for name, column in columns.items()},
                **{name: values.get(column) or "n/a" for name, column in of_sessions.items()},
            })  # fmt: skip
    return rows


def check_options_of_visits(settings: ModelSettings) -> None:
    """Raise a SettingsError where an option does not go with a model over visits."""
    if settings.paired:
        raise SettingsError(
            f"--paired takes the difference of two sessions, and --model {settings.formula!r} is "
            "over sessions; leave out --paired, which is --model 1 of two sessions."
        )
    if settings.harmonize:
        raise SettingsError(
            f"--harmonize is not available for a model over sessions ({settings.formula!r}). A "
            f"site that a subject does not change cancels out within subjects; add "
            f"C({settings.harmonize}) to the model for effects between subjects."
        )


def build_visit_model(rows: Sequence[Mapping[str, object]], settings: ModelSettings) -> VisitModel:
    """Build the design of a model over visits.

    Parameters
    ----------
    rows
        One row per subject and session, from :func:`visit_rows`.
    settings
        The model.

    Raises
    ------
    SettingsError
        The formula or a contrast cannot be used, has no constant, or names no column that varies
        within a subject; or subjects change the block within which they are exchanged.
    NoUsableDataError
        No subject has two visits.
    """
    table = _visit_frame(rows)
    check_formula(settings, list(map(str, table.columns)))
    built = build_design(
        table,
        settings.effective_formula,
        settings.contrast,
        motion=settings.motion_covariate,
        blocks=settings.exchange_within,
    )
    if built.terms is None or CONSTANT not in built.terms.formula.terms:
        raise SettingsError(
            f"--model {built.formula!r} has no constant, which a model over sessions needs; leave "
            "out '0 +' or '- 1'."
        )
    included = [row for row, is_included in zip(rows, built.rows, strict=True) if is_included]
    participants = tuple(str(row["participant_id"]) for row in included)
    if len(set(participants)) == len(participants):
        raise NoUsableDataError(
            f"--model {built.formula!r} is over sessions, and no subject has two of them."
        )
    _check_blocks(participants, built.design.blocks, settings.exchange_within)
    windows = numeric_column(included, "n_windows")
    counted = np.isfinite(windows).all() and (windows > 0).all()
    return VisitModel(
        built,
        participants,
        tuple(str(row[SESSION]) for row in included),
        windows if counted else np.ones(len(windows)),
    )


def _check_blocks(participants: Sequence[str], blocks: Array, column: str) -> None:
    """Refuse blocks of exchange that a subject changes, since it is exchanged as a whole."""
    names = np.array(participants)
    for subject in dict.fromkeys(participants):
        if np.ptp(blocks[names == subject]) > 0:
            raise SettingsError(
                f"--exchange-within {column} differs between the sessions of {subject}. All "
                "sessions of a subject are exchanged together; name a column that has one value "
                "per subject."
            )


def _visit_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return the table of visits; labels of sessions are names, also where they are digits."""
    table = subject_frame(rows)
    labels = pd.Series([str(row[SESSION]) for row in rows], dtype="category")
    return table.assign(**{SESSION: labels})


def left_out_visits(model: VisitModel, rows: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return why visits are not in the model, by subject and session."""
    return {
        f"{rows[index]['participant_id']}_ses-{rows[index][SESSION]}": reason
        for index, reason in model.built.reasons.items()
    }


def single_sessions(rows: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return the subjects with one visit, who are left out of tests within subjects.

    >>> single_sessions([{"participant_id": "sub-1", "session": s} for s in ("a", "b")]
    ...                 + [{"participant_id": "sub-2", "session": "b"}])
    {'sub-2': 'one session only (b)'}
    """
    sessions: dict[str, list[str]] = {}
    for row in rows:
        sessions.setdefault(str(row["participant_id"]), []).append(str(row[SESSION]))
    return {
        who: f"{ONE_SESSION} ({labels[0]})" for who, labels in sessions.items() if len(labels) == 1
    }


def add_sessions(
    subjects: Sequence[dict[str, object]], visits: Sequence[Mapping[str, object]]
) -> list[dict[str, object]]:
    """Add to the rows of subjects how many visits they have, and who has only one.

    Without visits the rows are returned as they are.
    """
    if not visits:
        return list(subjects)
    single = single_sessions(visits)
    names = [str(row["participant_id"]) for row in visits]
    return [
        {
            **row,
            "n_sessions": names.count(str(row["participant_id"])),
            "not_tested_within": single.get(str(row["participant_id"]), "n/a"),
        }
        for row in subjects
    ]


def group_by_visit(
    files: Mapping[str, Sequence[Path]], rows: Sequence[Mapping[str, object]]
) -> dict[str, list[Path]]:
    """Return the maps of each visit by its number, which sorts as ``rows``.

    Parameters
    ----------
    files
        Maps of each subject; empty where there are none.
    rows
        One row per subject and session, as :func:`visit_rows` orders them.
    """
    visits = {}
    for number, row in enumerate(rows if files else ()):
        paths = files[str(row["participant_id"]).removeprefix("sub-")]
        visits[f"{number:06d}"] = [
            path for path in paths if parse_name(path.name).entities.get("ses") == row[SESSION]
        ]
    return visits
