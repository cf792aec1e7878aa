"""Maps that other programs have made: tables with names, lists of pairs, NumPy archives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from npi_bids.core.records import Array, ECResult
from npi_bids.errors import InputDataError

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
    except (OSError, ValueError, KeyError, pd.errors.ParserError) as error:
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
    table = pd.read_csv(
        path, sep=None, engine="python", na_values="n/a", encoding="utf-8-sig", comment="#"
    )
    names = {str(name).lower(): name for name in table.columns}
    source = next((names[name] for name in _SOURCE if name in names), None)
    target = next((names[name] for name in _TARGET if name in names), None)
    if source is not None and target is not None and source != target:
        return _from_pairs(table, str(source), str(target), column)
    labels = tuple(table.iloc[:, 0].astype(str))
    if labels != tuple(map(str, table.columns[1:])):
        unlike = sorted(set(labels) ^ set(map(str, table.columns[1:])))[:4]
        raise ValueError(f"rows and columns have other names: {unlike}")
    return ECResult(table.iloc[:, 1:].to_numpy(dtype=np.float64), labels)


def _from_pairs(table: pd.DataFrame, source: str, target: str, column: str) -> ECResult:
    numbers = [
        str(name)
        for name in table.columns
        if name not in (source, target) and pd.api.types.is_numeric_dtype(table[name])
    ]
    value = column or next(iter(numbers), "")
    if value not in table.columns:
        raise ValueError(f"there is no column {value!r}; columns of numbers are {numbers}")
    both = table[[source, target]].astype(str)
    if both.duplicated().any():
        raise ValueError(f"{int(both.duplicated().sum())} pair(s) are there twice")
    labels = tuple(dict.fromkeys([*both[source], *both[target]]))
    place = {label: number for number, label in enumerate(labels)}
    matrix = np.full((len(labels), len(labels)), np.nan)
    matrix[both[source].map(place), both[target].map(place)] = table[value].to_numpy(np.float64)
    return ECResult(matrix, labels)
