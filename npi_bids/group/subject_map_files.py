"""Files of the maps of subjects that are shrunk towards their group, and of how much they are."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from npi_bids.bids.outputs import WITHIN_GROUP, output_path
from npi_bids.bids.sidecars import (
    BLUP_NOTE,
    GroupFields,
    SubjectMapFields,
    describe_grid,
    subject_map_sidecar,
)
from npi_bids.group.analysis import GroupTarget, Matrices
from npi_bids.group.average import align, average
from npi_bids.group.map_stack import MapStack
from npi_bids.group.settings import GroupSettings
from npi_bids.group.subject_maps import fit_shrinkage, shrink
from npi_bids.group.tables import numeric_column
from npi_bids.group.tested_measures import UNSHRUNK
from npi_bids.io.files import check_case
from npi_bids.io.tables import read_matrix, write_matrix
from npi_bids.records import Array, ECResult

_LOGGER = logging.getLogger(__name__)
BLUP = "npiblup"
HALVES = ("npifirsthalf", "npisecondhalf")
_LEAST_SUBJECTS = 3  # with two halves or two visits
_FROM_HALVES, _FROM_VISITS = "halves of scans", "first two visits"
_NOT_UNSHRUNK = "not every subject has a map without prior (meas-npiunshrunk)"
_TOO_FEW = (
    f"fewer than {_LEAST_SUBJECTS} subjects have maps of both halves of a scan, or of two visits, "
    "from which the variance between subjects is estimated; fit the subjects again if they were "
    "fitted by an earlier version"
)
_NO_PAIR = (
    "no two subjects have both maps of the same pair of regions, from which the variance between "
    "subjects is estimated; lower --min-coverage, or leave out subjects that cover few regions"
)


@dataclass(frozen=True, slots=True)
class Halves:
    """Files of the maps without prior of the first and of the second halves, by subject."""

    first: Matrices
    second: Matrices


def save_subject_maps(
    stack: MapStack, halves: Halves, rows: Sequence[Mapping[str, object]], target: GroupTarget
) -> list[Path]:
    """Write the map of every subject shrunk towards the group, and a table of own shares.

    Parameters
    ----------
    stack
        Maps without prior of all subjects.
    halves
        Maps of the halves of their scans. Where fewer than three subjects have them, the first
        two visits of subjects take their place.
    rows
        One row of the subjects' table for each subject, in the order of their labels.
    target
        Where the files go.

    Returns
    -------
    list of Path
        The maps; empty, with a warning, where the variance between subjects cannot be estimated.
    """
    pairs, source = _choose_pairs(stack, halves)
    if stack.measure != UNSHRUNK or pairs is None:
        reason = _NOT_UNSHRUNK if stack.measure != UNSHRUNK else _TOO_FEW
        _LOGGER.warning("No maps of subjects are written (--subject-maps blup): %s", reason)
        return []
    shrinkage = fit_shrinkage(stack.maps, pairs, numeric_column(rows, "n_windows"))
    if not np.isfinite(shrinkage.between):
        _LOGGER.warning("No maps of subjects are written (--subject-maps blup): %s", _NO_PAIR)
        return []
    files = []
    for row, subject in enumerate(stack.subjects):
        unshrunk = stack.square(stack.maps[row]).matrix
        fields = SubjectMapFields(
            number_of_subjects=len(stack.subjects),
            cohort=target.entities.get("cohort"),
            own_share=float(shrinkage.own_shares[row]),
            variance_between_subjects=shrinkage.between,
            variance_from=source,
            note=BLUP_NOTE,
        )
        matrix = stack.square(shrink(unshrunk, shrinkage, row).ravel())
        files.append(_save_map(subject, matrix, target, fields))
    table = pd.DataFrame({
        "participant_id": [f"sub-{subject}" for subject in stack.subjects],
        "own_share": shrinkage.own_shares,
    })  # fmt: skip
    group = GroupFields(subjects=stack.subjects, number_of_subjects=len(stack.subjects))
    target.save_table("shrinkage", table, group)
    return files


def _choose_pairs(
    stack: MapStack, halves: Halves
) -> tuple[Iterator[tuple[Array, Array]] | None, str]:
    """Return two independent maps of each subject that has them, and what they are of."""
    in_both = [subject for subject in stack.subjects
               if halves.first.get(subject) and halves.second.get(subject)]  # fmt: skip
    if len(in_both) >= _LEAST_SUBJECTS:
        return _read_halves(stack.labels, halves, in_both), _FROM_HALVES
    visits = [np.flatnonzero(stack.owner == row)[:2] for row in range(len(stack.subjects))]
    repeated = [rows for rows in visits if len(rows) == 2]
    if len(repeated) >= _LEAST_SUBJECTS:
        return (
            (stack.square(stack.visits[a]).matrix, stack.square(stack.visits[b]).matrix)
            for a, b in repeated
        ), _FROM_VISITS
    return None, ""


def _read_halves(
    labels: tuple[str, ...], halves: Halves, subjects: Sequence[str]
) -> Iterator[tuple[Array, Array]]:
    """Yield the mean maps over visits of the first and of the second halves."""
    for subject in subjects:
        first, second = (
            average(
                [align(read_matrix(path), labels) for path in part[subject]],
                GroupSettings(min_subjects=1),
            ).mean
            for part in (halves.first, halves.second)
        )
        yield first, second


def _save_map(
    subject: str, matrix: ECResult, target: GroupTarget, fields: SubjectMapFields
) -> Path:
    """Write the map of one subject with its sidecar; its own maps are first among the sources."""
    entities = {k: v for k, v in target.entities.items() if k not in (*WITHIN_GROUP, "cohort")}
    path = target.folder / output_path(BLUP, {"sub": subject, **entities}, target.desc)
    check_case(path, target.folder)
    links, start = target.origin.links, f"bids::sub-{subject}/"
    sources = sorted(links.sources, key=lambda uri: not uri.startswith(start))
    links = replace(links, sources=tuple(sources))
    sidecar = subject_map_sidecar(BLUP, describe_grid(entities), links, fields)
    sidecar.write(path.with_suffix(".json"))
    write_matrix(matrix, path)
    return path
