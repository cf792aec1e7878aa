"""Time series, relationship matrices and other tables as TSV."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from npi_bids.core.records import Array, ECResult, RegionSeries
from npi_bids.errors import InputDataError
from npi_bids.io.files import replacing

Table = pd.DataFrame
_DIGITS = "%.9g"
# What stands in the place of a value that is not there (BIDS 1.11.1, "Tabular files").
MISSING = ("n/a", "")


def write_table(table: pd.DataFrame, path: Path, digits: str = _DIGITS) -> None:
    """Write a table without an index; what is missing is ``n/a``."""
    with replacing(path) as temporary:
        table.to_csv(temporary, sep="\t", na_rep="n/a", index=False, float_format=digits)


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a table from one mapping per row; what a row lacks is ``n/a``."""
    write_table(pd.DataFrame(list(rows)), path)


@dataclass(frozen=True, slots=True)
class Cells:
    """A table as text: the names of its columns, and the cells of each row."""

    names: tuple[str, ...]
    rows: list[list[str]]

    def records(self) -> list[dict[str, str]]:
        """Return one dictionary per row."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


def read_cells(path: Path, separator: str = "\t", comment: str = "") -> Cells:
    """Read a table as text; every row has as many cells as the header has names.

    Every table that npi-bids reads goes through this function. A TSV knows no quotes (BIDS
    1.11.1, "Tabular files"); a table with another separator has those of CSV. A byte order mark
    and any line ending are understood, blanks around a cell are removed, and a last column that
    has neither a name nor a value is dropped.

    Parameters
    ----------
    path
        The file.
    separator
        Between cells.
    comment
        Lines that begin with this are skipped; none where empty.

    Raises
    ------
    InputDataError
        The file cannot be read, is empty or binary, a row is longer or shorter than the header,
        or a column has no name or that of another one. The first column may lack a name.
    """
    lines = _read_lines(path, comment)
    if separator == "\t":
        rows = [(number, line.split("\t")) for number, line in lines]
    else:
        rows = [(n, next(csv.reader([line], delimiter=separator), [""])) for n, line in lines]
    rows = [(number, [cell.strip() for cell in cells]) for number, cells in rows]
    names = rows[0][1]
    _check_lengths(path, [(number, len(cells)) for number, cells in rows])
    if len(names) > 1 and not any(cells[-1] for _, cells in rows):
        rows = [(number, cells[:-1]) for number, cells in rows]
        names = names[:-1]
    _check_names(path, names)
    return Cells(tuple(names), [cells for _, cells in rows[1:]])


def read_column_names(path: Path) -> tuple[str, ...]:
    """Return the names of the columns of a TSV without reading the rest of it.

    Raises
    ------
    InputDataError
        See :func:`read_cells`.
    """
    try:
        with path.open("rb") as file:
            first = file.readline().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputDataError(f"<{path}> cannot be read as a table: {error}.") from error
    names = [name.strip() for name in first.rstrip("\r\n").split("\r")[0].split("\t")]
    if "\0" in first or not any(names):
        raise InputDataError(
            f"<{path}> cannot be read as a table: it has no first row with the names of columns."
        )
    if len(names) > 1 and not names[-1]:
        names = names[:-1]
    _check_names(path, names)
    return tuple(names)


def read_table(path: Path, text: Collection[str] = ()) -> pd.DataFrame:
    """Read a TSV with numbers as numbers; ``n/a`` and empty cells are missing, nothing else is.

    Parameters
    ----------
    path
        The file.
    text
        Columns that stay text whatever they hold.

    Returns
    -------
    DataFrame
        A column that holds a word is text as a whole.

    Raises
    ------
    InputDataError
        See :func:`read_cells`.
    """
    lines = _read_lines(path)
    names = [name.strip() for name in lines[0][1].split("\t")]
    _check_lengths(path, [(number, line.count("\t") + 1) for number, line in lines])
    table = pd.read_csv(
        StringIO("".join(f"{line}\n" for _, line in lines[1:])),
        sep="\t",
        header=None,
        names=range(len(names)),
        dtype=dict.fromkeys((names.index(name) for name in text if name in names), "str"),
        index_col=False,
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
        na_values=list(MISSING),
        skip_blank_lines=False,
        low_memory=False,
    )
    if len(names) > 1 and not names[-1] and table.iloc[:, -1].isna().all():
        names, table = names[:-1], table.iloc[:, :-1]
    _check_names(path, names)
    table = table.set_axis(names, axis=1)
    for name in table.columns.difference(list(text)):
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = _without_blanks(table[name])
    return table


def read_numbers(
    path: Path, columns: Collection[str] | None = None, *, finite: bool = True
) -> pd.DataFrame:
    """Read a TSV in which some columns, or all, hold nothing but numbers.

    Parameters
    ----------
    path
        The file.
    columns
        Those that must be numbers, where the table has them; all where None.
    finite
        Whether an infinite number is refused.

    Raises
    ------
    InputDataError
        A word stands in such a column (says which, and in which line); or see :func:`read_cells`.
    """
    table = read_table(path)
    for name in table.columns if columns is None else columns:
        if name in table:
            table[name] = _as_numbers(table[name], path, finite=finite)
    return table


def _read_lines(path: Path, comment: str = "") -> list[tuple[int, str]]:
    """Return the lines of a text file with their numbers, without those that are empty at its end.

    At least one line, the header, is there.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputDataError(f"<{path}> cannot be read as a table: {error}.") from error
    if "\0" in text:
        raise InputDataError(f"<{path}> cannot be read as a table: it is a binary file.")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    numbered = [
        (number, line)
        for number, line in enumerate(lines, start=1)
        if not (comment and line.startswith(comment))
    ]
    if not numbered or not numbered[0][1].strip():
        raise InputDataError(
            f"<{path}> cannot be read as a table: it has no first row with the names of columns."
        )
    return numbered


def _check_lengths(path: Path, lengths: Sequence[tuple[int, int]]) -> None:
    """Refuse rows that are longer or shorter than the header."""
    expected = lengths[0][1]
    wrong = [(number, n_cells) for number, n_cells in lengths if n_cells != expected]
    if not wrong:
        return
    number, n_cells = wrong[0]
    tab = " Is there a tab at the end of the rows?" if n_cells == expected + 1 else ""
    raise InputDataError(
        f"<{path}> has {expected} columns in its header but {n_cells} cells in line {number} "
        f"({len(wrong)} such {'rows' if len(wrong) > 1 else 'row'}); expected one cell per "
        f"column, with n/a for a missing value.{tab}"
    )


def _check_names(path: Path, names: Sequence[str]) -> None:
    if repeated := sorted({name for name in names if names.count(name) > 1})[:5]:
        raise InputDataError(
            f"<{path}> has several columns of the same name: "
            f"{', '.join(name or '(no name)' for name in repeated)}; expected unique names."
        )
    if "" in names[1:]:
        raise InputDataError(
            f"<{path}> has no name for column {names.index('', 1) + 1}; expected a name for each."
        )


def _without_blanks(column: pd.Series[Any]) -> pd.Series[Any]:
    """Remove blanks around words; a column that is one of numbers without them becomes one."""
    if pd.api.types.is_bool_dtype(column):
        return column
    words = column.map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
    words = words.mask(words.isin(list(MISSING)))
    numbers = pd.to_numeric(words, errors="coerce")
    return numbers if bool((numbers.notna() == words.notna()).all()) else words


def _as_numbers(column: pd.Series[Any], path: Path, *, finite: bool) -> pd.Series[Any]:
    wrong = pd.Series(data=False, index=column.index)
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        wrong = column.notna() & pd.to_numeric(column.astype("str"), errors="coerce").isna()
    elif finite:
        wrong = np.isinf(column)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputDataError(
            f"<{path}> holds {str(column.iloc[row])!r} in column {column.name!r}, line {row + 2}"
            f"{f' ({int(wrong.sum())} such cells)' if wrong.sum() > 1 else ''}; expected "
            f"{'finite ' if finite else ''}numbers, and n/a for a missing value."
        )
    return column


def write_series(series: RegionSeries, path: Path) -> None:
    """Write a ``timeseries.tsv``: one column per region, with its name; no index.

    A row of ``n/a`` is a censored sample, a column of ``n/a`` a region that is not covered.
    """
    data = series.data.copy()
    data[~series.keep] = np.nan
    write_table(pd.DataFrame(data, columns=list(series.labels)), path)


def read_series(path: Path, tr: float) -> RegionSeries:
    """Read a ``timeseries.tsv``, all its regions included.

    Parameters
    ----------
    path
        The file.
    tr
        Sampling period (s).

    Raises
    ------
    InputDataError
        A kept row of a covered region holds something that is not a number.
    """
    table = read_numbers(path)
    data = table.to_numpy(dtype=np.float64)
    keep = ~np.isnan(data).all(axis=1)
    return RegionSeries(data, tuple(table.columns), tr, keep)


def with_regions_of(first: RegionSeries, other: RegionSeries, path: Path) -> RegionSeries:
    """Return series with their columns in the order of those of another run.

    Parameters
    ----------
    first
        The run whose order counts.
    other
        Series of the same regions in any order.
    path
        Where they come from, for the message.

    Raises
    ------
    InputDataError
        The regions are not the same; says which differ.
    """
    if differing := sorted(set(first.labels) ^ set(other.labels)):
        raise InputDataError(
            f"<{path}> has other regions than the first table: {', '.join(differing[:5])}"
            f"{', ...' if len(differing) > 5 else ''} are in one of them alone. Expected the same "
            "regions in all tables, in any order."
        )
    order = [other.labels.index(label) for label in first.labels]
    return RegionSeries(other.data[:, order], first.labels, other.tr, other.keep)


def write_matrix(result: ECResult, path: Path) -> None:
    """Write a ``relmat.tsv``: one row per source with its label first, one column per target."""
    table = pd.DataFrame(result.matrix, columns=list(result.labels))
    table.insert(0, "source", list(result.labels))
    write_table(table, path)


def read_matrix(path: Path) -> ECResult:
    """Read a matrix written by :func:`write_matrix`, indexed ``[source, target]``.

    Raises
    ------
    InputDataError
        Rows and columns do not name the same regions in the same order.
    """
    table = read_table(path, text=["source"])
    if table.columns[0] != "source" or list(table["source"].astype(str)) != list(
        table.columns[1:]
    ):
        raise InputDataError(
            f"<{path}> does not name the same regions in rows ('source') and columns."
        )
    matrix = table.drop(columns="source").to_numpy(dtype=np.float64)
    return ECResult(matrix, tuple(table.columns[1:]))


def write_given(series: RegionSeries, displacement: Array, folder: Path) -> dict[str, Path]:
    """Write the tables of a run whose series were given; as :func:`write_run`.

    A region is covered where it has values; of voxels nothing is known.
    """
    unknown = np.full(len(series.labels), np.nan)
    coverage = pd.DataFrame({
        "index": range(1, len(series.labels) + 1),
        "name": series.labels,
        "n_voxels": unknown,
        "coverage": unknown,
        "covered": ~np.isnan(series.data).all(axis=0),
    })  # fmt: skip
    nothing = pd.DataFrame(index=range(len(series.keep)))
    return write_run(series, coverage, nothing, (displacement, series.data), folder)


def write_run(
    series: RegionSeries,
    coverage: pd.DataFrame,
    regressors: pd.DataFrame,
    seen: tuple[Array, Array],
    folder: Path,
) -> dict[str, Path]:
    """Write the tables of one run into a folder.

    Parameters
    ----------
    series
        Regional signals.
    coverage
        One row per region.
    regressors
        One row per sample; may have no columns.
    seen
        Framewise displacement of each sample (mm), NaN where it is not known; and the signals
        before they were cleaned, shape of the series.
    folder
        Where to.

    Returns
    -------
    dict
        Paths of timeseries, coverage, outliers, design and raw.
    """
    kinds = ("timeseries", "coverage", "outliers", "design", "raw")
    displacement, raw = seen
    paths = {kind: folder / f"{kind}.tsv" for kind in kinds}
    write_series(series, paths["timeseries"])
    write_table(coverage, paths["coverage"])
    left_out = (~series.keep).astype(int)
    motion = {"left_out": left_out, "framewise_displacement": displacement}
    write_table(pd.DataFrame(motion), paths["outliers"])
    # A table needs a column: the constant is part of every fit.
    constant = pd.DataFrame({"constant": np.ones(len(series.keep), dtype=int)})
    write_table(pd.concat([constant, regressors.reset_index(drop=True)], axis=1), paths["design"])
    # For people to look at: three digits are enough, and half the size.
    write_table(pd.DataFrame(raw, columns=list(series.labels)), paths["raw"], digits="%.3g")
    return paths
