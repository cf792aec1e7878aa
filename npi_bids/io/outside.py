"""Maps that other programs have made: tables with names, lists of pairs, NumPy archives."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from npi_bids.core.records import Array, ECResult
from npi_bids.errors import InputDataError
from npi_bids.io.tables import MISSING, Cells, read_cells

_SOURCE = ("source", "stimulated", "stim", "from")
_TARGET = ("target", "recorded", "response", "rec", "to")


def read_outside(path: Path, *, rows: str = "source", column: str = "") -> ECResult:
    """Read a map of any origin, indexed ``[source, target]``.

    Parameters
    ----------
    path
        A TSV or CSV with the names of the regions in its first row and first column; or a list of
        pairs, with columns such as source and target (or stimulated and recorded, as tables of
        cortico-cortical evoked potentials have them) and one of values; or an ``.npz`` with a
        matrix and ``labels``.
    rows
        What the rows are: ``source`` or ``target``.
    column
        Of a list of pairs: which column holds the values; the first of numbers where empty.

    Raises
    ------
    InputDataError
        The file cannot be read, or is none of these.
    """
    try:
        found = _read_archive(path) if path.suffix == ".npz" else _read_text(path, column)
    except (OSError, ValueError, KeyError) as error:
        raise InputDataError(
            f"<{path}> cannot be read as a map ({error}); expected a table with names of regions "
            "in its first row and first column, a list with columns source, target and a value, "
            "or an .npz with a matrix and labels."
        ) from error
    return ECResult(found.matrix.T.copy(), found.labels) if rows == "target" else found


def _read_archive(path: Path) -> ECResult:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    square = [name for name, a in arrays.items() if a.ndim == 2 and a.shape[0] == a.shape[1]]
    if len(square) != 1 or "labels" not in arrays:
        raise ValueError(f"it holds {sorted(arrays)}")
    matrix: Array = arrays[square[0]].astype(np.float64)
    return ECResult(matrix, tuple(map(str, arrays["labels"])))


def _read_text(path: Path, column: str) -> ECResult:
    cells = read_cells(path, _separator(path), comment="#")
    lower = {name.lower(): place for place, name in enumerate(cells.names)}
    source = next((lower[name] for name in _SOURCE if name in lower), None)
    target = next((lower[name] for name in _TARGET if name in lower), None)
    if source is not None and target is not None and source != target:
        return _from_pairs(cells, source, target, column)
    labels = tuple(row[0] for row in cells.rows)
    if labels != cells.names[1:]:
        unlike = sorted(set(labels) ^ set(cells.names[1:]))[:4]
        differing = (
            f"other names: {', '.join(unlike)}" if unlike else "the same names in another order"
        )
        raise ValueError(f"rows and columns have {differing}")
    numbers = [[_number(cell) for cell in row[1:]] for row in cells.rows]
    return ECResult(np.array(numbers).reshape(len(labels), len(labels)), labels)


def _from_pairs(cells: Cells, source: int, target: int, column: str) -> ECResult:
    numeric = [
        name
        for place, name in enumerate(cells.names)
        if place not in (source, target) and all(_is_number(row[place]) for row in cells.rows)
    ]
    value = column or next(iter(numeric), "")
    if value not in cells.names:
        raise ValueError(
            f"there is no column {value!r}; columns of numbers are {', '.join(numeric) or 'none'}"
        )
    pairs = [(row[source], row[target]) for row in cells.rows]
    if len(set(pairs)) < len(pairs):
        raise ValueError(f"{len(pairs) - len(set(pairs))} pair(s) are there twice")
    labels = tuple(dict.fromkeys([a for a, _ in pairs] + [b for _, b in pairs]))
    place = {label: number for number, label in enumerate(labels)}
    matrix = np.full((len(labels), len(labels)), np.nan)
    where = cells.names.index(value)
    for (a, b), row in zip(pairs, cells.rows, strict=True):
        matrix[place[a], place[b]] = _number(row[where])
    return ECResult(matrix, labels)


def _separator(path: Path) -> str:
    """Return what separates the cells of a table: what stands most often in its first row."""
    if path.suffix == ".tsv":
        return "\t"
    with path.open(encoding="utf-8-sig") as file:
        first = next((line for line in file if not line.startswith("#")), "")
    return max(("\t", ",", ";", " "), key=first.count)


def _number(cell: str) -> float:
    if cell in MISSING:
        return np.nan
    value = float(cell)
    if not np.isfinite(value):
        raise ValueError(f"{cell!r} is no finite number; write n/a for a missing value")
    return value


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True
