"""Tables: the TSV reader, time series and matrices, and tables of other programs."""

from __future__ import annotations

import csv
import gzip
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import simdjson

from npi_bids.errors import InputDataError
from npi_bids.io.files import replacing
from npi_bids.records import Array, ECResult, Mask, RegionSeries, check_region_names
from npi_bids.wording import count_noun, join_items

_DIGITS = "%.9g"
_TAB = "\t"
_QUOTED = re.compile(r'["\t\r\n]')  # text with one of these is written between quotes
_CELLS_AT_ONCE = 100_000
_SHORT = "%.6g"  # of long tables, whose matrices are written with all digits
# Representations of a missing value (BIDS 1.11.1, "Tabular files").
_MISSING = "n/a"
MISSING = (_MISSING, "")
_logger = logging.getLogger(__name__)
# Names of a first column that numbers the samples instead of containing a region.
_COUNTERS = ("", "time", "index", "sample", "volume", "frame", "unnamed: 0")
_INDEX, _NAME = ("index", "label_index"), ("name", "label", "region")
_FD = "framewise_displacement"
_SOURCE = ("source", "stimulated", "stim", "from")
_TARGET = ("target", "recorded", "response", "rec", "to")

Table = pd.DataFrame


def write_table(table: pd.DataFrame, path: Path, digits: str = _DIGITS) -> None:
    """Write a table without an index; missing values are ``n/a``."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(_to_text(table, digits))


def _to_text(table: pd.DataFrame, digits: str) -> Iterator[str]:
    """Yield the text of a table in parts; numbers and plain text faster than pandas does."""
    if not _is_plain(table):
        yield table.to_csv(
            sep="\t", na_rep=_MISSING, index=False, float_format=digits, lineterminator="\n"
        )
        return
    yield "\t".join(table.columns) + "\n"
    step = max(1, _CELLS_AT_ONCE // table.shape[1])
    for start in range(0, len(table), step):
        rows = table.iloc[start : start + step]
        columns = [_cells_of(rows.iloc[:, number], digits) for number in range(rows.shape[1])]
        yield "".join("\t".join(cells) + "\n" for cells in zip(*columns, strict=True))


def _is_plain(table: pd.DataFrame) -> bool:
    """Tell whether a table has several columns of numbers, or of text that needs no quotes."""
    texts = list(table.columns)
    for number in range(table.shape[1]):
        column = table.iloc[:, number]
        if column.dtype not in (np.float64, np.int64):
            others = column.dropna()
            if set(map(type, others)) - {str}:
                return False
            texts += others.unique().tolist()
    return table.shape[1] > 1 and all(
        isinstance(text, str) and not _QUOTED.search(text) for text in texts
    )


def _cells_of(column: pd.Series[Any], digits: str) -> list[str]:
    if column.dtype == np.float64:
        return format_numbers(column.to_numpy(), digits, "\n").split("\n")
    if column.dtype == np.int64:
        return list(map(str, column.tolist()))
    return column.astype("object").where(column.notna(), _MISSING).tolist()


def format_numbers(values: Array, digits: str, separator: str) -> str:
    """Return numbers as text; missing values are ``n/a``.

    >>> format_numbers(np.array([0.5, np.nan, -1e-5]), "%.9g", ", ")
    '0.5, n/a, -1e-05'
    """
    text = separator.join([digits] * len(values)) % tuple(values.tolist())
    return text.replace("nan", _MISSING)


def write_rows(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write a table from one mapping per row; columns that a row lacks are ``n/a``."""
    write_table(pd.DataFrame(list(rows)), path)


def write_connections(labels: Sequence[str], columns: Mapping[str, Array], path: Path) -> None:
    """Write matrices as a long table with one row per connection, compressed.

    Parameters
    ----------
    labels
        Names of the regions.
    columns
        Matrices indexed ``[source, target]``, by the name of their column; the diagonal is left
        out, and NaN is ``n/a``.
    path
        ``*.tsv.gz``. The same table gives the same bytes.
    """
    sources, targets = np.nonzero(~np.eye(len(labels), dtype=bool))
    names = np.array(labels, dtype=object)
    table = pd.DataFrame({"source": names[sources], "target": names[targets]})
    for column, matrix in columns.items():
        table[column] = matrix[sources, targets]
    text = "".join(_to_text(table, _SHORT))
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))


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

    A TSV has no quotes (BIDS 1.11.1, "Tabular files"); a table with another separator is quoted
    like CSV. A byte order mark and any line ending are accepted, blanks around a cell are removed,
    and a last column that has neither a name nor a value is dropped.

    Parameters
    ----------
    path
        The file.
    separator
        Character between cells.
    comment
        Prefix of lines to skip; none where empty.

    Raises
    ------
    InputDataError
        The file cannot be read, is empty or binary, a row is longer or shorter than the header,
        or column names are missing or repeated. Only the first column may lack a name.
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
    """Read a TSV, converting numbers; only ``n/a`` and empty cells are missing values.

    Parameters
    ----------
    path
        The file.
    text
        Columns that remain text whatever they contain.

    Returns
    -------
    DataFrame
        A column that contains any text is text throughout.

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
    """Read a TSV in which some columns, or all, must be numeric.

    Parameters
    ----------
    path
        The file.
    columns
        Columns that must be numeric if the table has them; all where None.
    finite
        Whether infinite numbers are refused.

    Raises
    ------
    InputDataError
        Such a column contains text (the message names the line); or see :func:`read_cells`.
    """
    table = read_table(path)
    for name in table.columns if columns is None else columns:
        if name in table:
            table[name] = _as_numbers(table[name], path, finite=finite)
    return table


def read_region_values(path: Path, column: str) -> dict[str, float]:
    """Read the values of one column of a table of regions, by name; NaN where missing.

    Raises
    ------
    InputDataError
        There is no such column or no column ``name``; or see :func:`read_numbers`.
    """
    table = read_table(path, text=["name"])
    if lacking := sorted({"name", column} - set(table.columns)):
        raise InputDataError(
            f"<{path}> lacks the {'column' if len(lacking) == 1 else 'columns'} "
            f"{join_items(lacking)}; expected a table of regions with name and {column}."
        )
    values = _as_numbers(table[column], path, finite=True)
    return dict(zip(table["name"], values.to_numpy(dtype=np.float64).tolist(), strict=True))


def _read_lines(path: Path, comment: str = "") -> list[tuple[int, str]]:
    """Return the numbered lines of a text file, without empty lines at its end.

    There is at least one line, the header.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputDataError(f"<{path}> cannot be read as a table: {error}.") from error
    if "\0" in text:
        raise InputDataError(f"<{path}> cannot be read as a table: it is a binary file.")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.rstrip("\n").split("\n")
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
    """Remove blanks around text, and convert the column to numbers if all remaining text is."""
    if pd.api.types.is_bool_dtype(column):
        return column
    stripped = column.map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
    stripped = stripped.mask(stripped.isin(list(MISSING)))
    numbers = pd.to_numeric(stripped, errors="coerce")
    return numbers if bool((numbers.notna() == stripped.notna()).all()) else stripped


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
    """Read a ``timeseries.tsv``, including regions that are not covered.

    Parameters
    ----------
    path
        The file.
    tr
        Sampling period (s).

    Raises
    ------
    InputDataError
        An uncensored sample of a covered region is not a number.
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
        The run that defines the order.
    other
        Series of the same regions in any order.
    path
        File of these series, for the message.

    Raises
    ------
    InputDataError
        The regions differ; the message lists the differences.
    """
    if differing := sorted(set(first.labels) ^ set(other.labels)):
        raise InputDataError(
            f"<{path}> has other regions than the first table: {', '.join(differing[:5])}"
            f"{', ...' if len(differing) > 5 else ''} are in only one of them. Expected the same "
            "regions in all tables, in any order."
        )
    order = [other.labels.index(label) for label in first.labels]
    return RegionSeries(other.data[:, order], first.labels, other.tr, other.keep)


def write_matrix(result: ECResult, path: Path) -> None:
    """Write a ``relmat.tsv``: one row per source with its label first, one column per target."""
    if _QUOTED.search("".join(result.labels)):
        table = pd.DataFrame(result.matrix, columns=list(result.labels))
        table.insert(0, "source", list(result.labels))
        write_table(table, path)
        return
    lines = ["\t".join(("source", *result.labels))]
    lines += [
        f"{label}\t{format_numbers(row, _DIGITS, _TAB)}"
        for label, row in zip(result.labels, result.matrix, strict=True)
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="")


def read_matrix(path: Path) -> ECResult:
    """Read a matrix written by :func:`write_matrix`, indexed ``[source, target]``.

    Raises
    ------
    InputDataError
        Rows and columns do not name the same regions in the same order.
    """
    header, *rows = (line for _, line in _read_lines(path))
    first, *labels = (name.strip() for name in header.split("\t"))
    parts = [row.partition("\t") for row in rows]
    same_names = [name.strip() for name, _, _ in parts] == labels == list(dict.fromkeys(labels))
    if rows and first == "source" and same_names:
        contents = [content for _, _, content in parts]
        for read in (_read_json_numbers, _read_numbers):
            matrix = read(contents)
            if matrix is not None and matrix.shape == (len(labels), len(labels)):
                return ECResult(matrix, tuple(labels))
    return _read_any_matrix(path)


def _read_json_numbers(rows: Sequence[str]) -> Array | None:
    """Return rows of cells; None unless each cell is a number as JSON writes it."""
    # Twice as fast as pandas, which matters to groups, whose thousands of maps rarely lack values.
    if any("," in row or "[" in row for row in rows):  # they would add cells, or lists of them
        return None
    text = "[[" + "],[".join(rows).replace("\t", ",") + "]]"
    if "-0," in text or "-0]" in text:  # JSON's integers have no -0
        return None
    try:
        lists = cast("simdjson.Array", simdjson.Parser().parse(text.encode()))
        (n_columns,) = {len(cast("simdjson.Array", cells)) for cells in lists}
        numbers: Array = np.array(np.frombuffer(lists.as_buffer(of_type="d")))
        return numbers.reshape(len(rows), n_columns)
    except (ValueError, TypeError, RuntimeError):  # RuntimeError: an integer of over 64 bits
        return None


def _read_numbers(rows: Sequence[str]) -> Array | None:
    """Return rows of cells, NaN for missing values; None if any other cell is not a number."""
    # All cells are read as one column, which is faster than several hundred.
    cells = "\n".join(rows).replace("\t", "\n")
    try:
        (n_columns,) = {row.count("\t") + 1 for row in rows}
        table = pd.read_csv(
            BytesIO(cells.encode()), sep="\t", header=None, dtype=np.float64,
            quoting=csv.QUOTE_NONE, keep_default_na=False, na_values=list(MISSING),
            skip_blank_lines=False, low_memory=False,
        )  # fmt: skip
        # Fails if the last cell is empty, which pandas drops.
        return np.array(table.to_numpy().reshape(len(rows), n_columns))
    except ValueError:
        return None


def _read_any_matrix(path: Path) -> ECResult:
    """Read a matrix column by column, or say what is wrong with it."""
    table = read_table(path, text=["source"])
    if table.columns[0] != "source" or list(table["source"].astype(str)) != list(
        table.columns[1:]
    ):
        raise InputDataError(
            f"<{path}> does not name the same regions in rows ('source') and columns."
        )
    try:
        matrix = table.drop(columns="source").to_numpy(dtype=np.float64)
    except ValueError as error:
        raise InputDataError(
            f"<{path}> has an entry that is not a number ({error}). Use a point as the decimal "
            "mark, and n/a for what is missing."
        ) from error
    return ECResult(matrix, tuple(table.columns[1:]))


def write_supplied_run(series: RegionSeries, displacement: Array, folder: Path) -> dict[str, Path]:
    """Write the tables of a run whose series were supplied; see :func:`write_run`.

    A region is covered if it has values; the numbers of voxels are unknown.
    """
    unknown = np.full(len(series.labels), np.nan)
    coverage = pd.DataFrame({
        "index": range(1, len(series.labels) + 1),
        "name": series.labels,
        "n_voxels": unknown,
        "coverage": unknown,
        "covered": ~np.isnan(series.data).all(axis=0),
    })  # fmt: skip
    no_regressors = pd.DataFrame(index=range(len(series.keep)))
    return write_run(series, coverage, no_regressors, (displacement, series.data), folder)


def write_run(
    series: RegionSeries,
    coverage: pd.DataFrame,
    regressors: pd.DataFrame,
    displacement_and_raw: tuple[Array, Array],
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
    displacement_and_raw
        Framewise displacement of each sample (mm), NaN where unknown; and the signals before
        denoising, in the shape of the series.
    folder
        Output folder.

    Returns
    -------
    dict
        Paths of timeseries, coverage, outliers, design and raw.
    """
    names = ("timeseries", "coverage", "outliers", "design", "raw")
    displacement, raw = displacement_and_raw
    paths = {name: folder / f"{name}.tsv" for name in names}
    write_series(series, paths["timeseries"])
    write_table(coverage, paths["coverage"])
    left_out = (~series.keep).astype(int)
    motion = {"left_out": left_out, "framewise_displacement": displacement}
    write_table(pd.DataFrame(motion), paths["outliers"])
    # A table needs a column; the constant is part of every fit.
    constant = pd.DataFrame({"constant": np.ones(len(series.keep), dtype=int)})
    write_table(pd.concat([constant, regressors.reset_index(drop=True)], axis=1), paths["design"])
    # For visual inspection three digits suffice, at half the file size.
    write_table(pd.DataFrame(raw, columns=list(series.labels)), paths["raw"], digits="%.3g")
    return paths


@dataclass(frozen=True, slots=True)
class SeriesRegions:
    """The regions that the tables of series of one atlas share.

    Attributes
    ----------
    labels
        Their names, in the order of the results.
    indices
        Index of each region in the table of its atlas, which identifies columns without names;
        empty where there is no such table.
    """

    labels: tuple[str, ...]
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class SuppliedSeries:
    """Supplied series of one run.

    Attributes
    ----------
    series
        Regional signals; censored samples are NaN and keep their position in time.
    displacement
        Framewise displacement of each sample in mm; NaN where unknown.
    matched_by
        How columns were assigned to regions: ``name``, ``index`` or ``position``.
    """

    series: RegionSeries
    displacement: Array
    matched_by: str = "name"


def shared_regions_of_tables(
    paths: Sequence[Path], atlas_table: Path | None = None
) -> SeriesRegions:
    """Return the regions that tables of series share.

    The names are those in the table of the atlas if a header has them too, or if headers only
    number their columns; otherwise those that most tables have, in the order of the first of
    these. A table with other names is refused when it is read.

    Parameters
    ----------
    paths
        All tables of one atlas; empty if none of its runs can be used.
    atlas_table
        Table of the regions of the atlas, with columns index and name (or label, region).

    Raises
    ------
    InputDataError
        No table can be read; or the most common header repeats a name, has fewer than two names,
        consists of numbers, or does not match the number of regions of the atlas.
    """
    headers: dict[Path, tuple[str, ...]] = {}
    errors: list[InputDataError] = []
    for path in paths:
        try:
            headers[path] = _region_columns(path)
        except InputDataError as error:  # concerns this table only, and recurs when it is read
            errors.append(error)
    if not headers:
        if errors:
            raise errors[0]
        return SeriesRegions(())
    counts = Counter(frozenset(names) for names in headers.values())
    path, names = max(headers.items(), key=lambda item: counts[frozenset(item[1])])
    _check_header(path, names)
    check_region_names(names, f"<{path}>")
    if atlas_table is None:
        return SeriesRegions(names)
    return _regions_of_atlas(atlas_table, path, names)


def count_cells(path: Path) -> tuple[int, int]:
    """Return the numbers of rows and columns of a table of series; 0 if it cannot be read."""
    try:
        with path.open("rb") as file:
            columns = len(file.readline().split(b"\t"))
            return sum(1 for _ in file), columns
    except OSError:
        return 0, 0


def read_supplied_series(
    path: Path,
    regions: SeriesRegions,
    tr: float,
    *,
    outliers: Path | None = None,
    motion: Path | None = None,
    standardize: bool = True,
) -> SuppliedSeries:
    """Read the series of one run, and reinsert censored samples that were removed.

    Columns are assigned to regions by name. Numbered columns are assigned by the index in the
    table of the atlas, or by position if the numbers are 0, 1, ... or 1, 2, ...

    Parameters
    ----------
    path
        Table with one column per region and one row per sample; ``n/a`` is a missing value.
    regions
        Regions of the atlas, which define the order of the result.
    tr
        Sampling period (s).
    outliers
        Table of XCP-D with 1 for each censored sample. If the series have as many rows as it has
        zeros, the censored rows were removed and are reinserted as NaN.
    motion
        Table with ``framewise_displacement``.
    standardize
        Whether to scale each region to mean 0 and SD 1 over the uncensored samples.

    Raises
    ------
    InputDataError
        A value is not a number, the table has other regions or another number of rows, or a region
        lacks values in some samples only.
    """
    names = _region_columns(path)
    columns, matched_by = _match_columns(path, names, regions)
    table = read_numbers(path)
    data = table[[names[column] for column in columns]].to_numpy(dtype=np.float64)
    if outliers is not None:
        data = _reinsert_censored(data, _read_censored(outliers), path, outliers)
    keep = np.asarray(np.isfinite(data).any(axis=1))
    _check_missing(data[keep], regions.labels, path)
    if standardize:
        data = _standardised(data, keep)
    displacement = np.full(len(data), np.nan)
    if motion is not None:
        displacement = _read_displacement(motion, displacement)
    return SuppliedSeries(RegionSeries(data, regions.labels, tr, keep), displacement, matched_by)


def _region_columns(path: Path) -> tuple[str, ...]:
    """Return the names of the columns, without a first column that numbers the samples."""
    names = read_column_names(path)
    return names[1:] if names[0].lower() in _COUNTERS and len(names) > 2 else names


def _check_header(path: Path, names: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise InputDataError(
            f"<{path}> has {len(names)} column of regions; expected one per region, separated by "
            "tabs, with their names in the first row."
        )
    if not _are_numbered(names) and all(_is_number(name) for name in names):
        raise InputDataError(
            f"<{path}> has numbers in its first row ({', '.join(names[:3])} ...) instead of the "
            "names of the regions; add a first row with the name of each column."
        )


def _regions_of_atlas(table: Path, path: Path, names: tuple[str, ...]) -> SeriesRegions:
    """Return the regions in the table of an atlas if their names or number match a header."""
    cells = read_cells(table)
    positions = {name.lower(): position for position, name in enumerate(cells.names)}
    index = next((positions[name] for name in _INDEX if name in positions), None)
    rows = [row for row in cells.rows if index is None or row[index] not in ("0", "0.0")]
    columns = [tuple(row[positions[name]] for row in rows) for name in _NAME if name in positions]
    if not columns:
        return SeriesRegions(names)
    if len(rows) != len(names):
        raise InputDataError(
            f"<{path}> has {len(names)} columns but the atlas <{table}> has {len(rows)} regions; "
            "expected one column per region. Is it the table of another atlas?"
        )
    numbers = [row[index] if index is not None else str(n) for n, row in enumerate(rows, 1)]
    indices = tuple(map(int, numbers)) if all(number.isdigit() for number in numbers) else ()
    if _are_numbered(names):
        check_region_names(columns[0], f"<{table}>")
        return SeriesRegions(columns[0], indices or tuple(range(1, len(rows) + 1)))
    for labels in columns:
        if set(labels) == set(names):
            return SeriesRegions(labels, indices)
    return SeriesRegions(names)


def _match_columns(
    path: Path, names: tuple[str, ...], regions: SeriesRegions
) -> tuple[list[int], str]:
    """Return the column of each region, and how columns were matched."""
    labels = regions.labels
    if set(names) == set(labels):
        return [names.index(label) for label in labels], "name"
    if len(names) == len(labels) and regions.indices and _are_numbered(names):
        numbers = [int(name) for name in names]
        if set(numbers) == set(regions.indices):
            return [numbers.index(index) for index in regions.indices], "index"
        if numbers in (list(range(len(names))), list(range(1, len(names) + 1))):
            return list(range(len(names))), "position"
    _check_header(path, names)
    absent = [label for label in labels if label not in set(names)]
    unknown = [name for name in names if name not in set(labels)]
    raise InputDataError(
        f"<{path}> does not have the regions of the other tables of its atlas: "
        + "; ".join(
            f"{len(differing)} {problem} ({', '.join(differing[:5])}"
            f"{', ...' if len(differing) > 5 else ''})"
            for problem, differing in (("missing", absent), ("unknown", unknown))
            if differing
        )
        + f". Expected one column for each of the {len(labels)} regions, in any order."
    )


def _are_numbered(names: Sequence[str]) -> bool:
    return all(name.isdecimal() and name.isascii() for name in names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reinsert_censored(data: Array, censored: Mask, path: Path, outliers: Path) -> Array:
    all_samples = np.full((len(censored), data.shape[1]), np.nan)
    if len(data) == len(censored):
        all_samples[~censored] = data[~censored]
    elif len(data) == (~censored).sum():
        all_samples[~censored] = data
    else:
        raise InputDataError(
            f"<{path}> has {len(data)} rows but <{outliers}> has {len(censored)}, of which "
            f"{censored.sum()} are censored; expected {len(censored)} rows, or "
            f"{(~censored).sum()} without the censored ones."
        )
    return all_samples


def _check_missing(uncensored: Array, labels: tuple[str, ...], path: Path) -> None:
    if not len(uncensored):
        raise InputDataError(f"<{path}> has no sample with values.")
    missing = np.isnan(uncensored)
    partial = np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0))
    if partial.size:
        raise InputDataError(
            f"<{path}> has n/a in {missing[:, partial[0]].sum()} of {len(uncensored)} samples of "
            f"region {labels[partial[0]]} (regions affected: {partial.size}); expected n/a in "
            "whole rows (a censored sample) or whole columns (a region that is not covered)."
        )


def _standardised(data: Array, keep: Mask) -> Array:
    """Scale columns to mean 0 and SD 1; a constant column becomes NaN (not covered)."""
    spread = data[keep].std(axis=0, ddof=1)
    usable = spread > 1e-12 * np.abs(data[keep]).max(axis=0, initial=0)
    scale = np.where(usable, spread, np.nan)
    scaled: Array = (data - data[keep].mean(axis=0)) / scale
    return scaled


def _read_censored(path: Path) -> Mask:
    """Return which samples a table of outliers marks with a value other than 0."""
    table = read_numbers(path)
    marks = table[_FD] if _FD in table else table.iloc[:, 0]
    if marks.isna().any():
        raise InputDataError(
            f"<{path}> has n/a in column {marks.name!r}, line {int(marks.isna().argmax()) + 2}; "
            "expected 1 for a censored sample and 0 for any other."
        )
    censored: Mask = marks.to_numpy(dtype=np.float64) != 0
    return censored


def _read_displacement(path: Path, unknown: Array) -> Array:
    """Return the framewise displacement in a motion table, or ``unknown`` if it has none."""
    table = read_numbers(path, [_FD])
    if _FD not in table:
        return unknown
    if len(table) != len(unknown):
        _logger.warning(
            "<%s> has %d rows for %d samples; framewise displacement of this run is n/a",
            path, len(table), len(unknown),
        )  # fmt: skip
        return unknown
    values: Array = pd.to_numeric(table[_FD]).to_numpy(dtype=np.float64)
    return values


def read_external(path: Path, *, rows: str = "source", column: str = "") -> ECResult:
    """Read a map from an external file, indexed ``[source, target]``.

    Parameters
    ----------
    path
        A TSV or CSV with the names of the regions in its first row and first column; or a list of
        pairs, with columns such as source and target (or stimulated and recorded, as in tables of
        cortico-cortical evoked potentials) and a column of values; or an ``.npz`` with a matrix
        and ``labels``.
    rows
        Meaning of the rows: ``source`` or ``target``.
    column
        Column of values in a list of pairs; the first numeric column where empty.

    Raises
    ------
    InputDataError
        The file cannot be read, or is none of these.
    """
    try:
        result = _read_archive(path) if path.suffix == ".npz" else _read_text(path, column)
    except (OSError, ValueError, KeyError) as error:
        raise InputDataError(
            f"<{path}> cannot be read as a map ({error}); expected a table with names of regions "
            "in its first row and first column, a list with columns source, target and a value, "
            "or an .npz with a matrix and labels."
        ) from error
    return ECResult(result.matrix.T.copy(), result.labels) if rows == "target" else result


def _read_archive(path: Path) -> ECResult:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    square = [name for name, a in arrays.items() if a.ndim == 2 and a.shape[0] == a.shape[1]]
    if len(square) != 1 or "labels" not in arrays:
        raise ValueError(f"it holds {join_items(sorted(arrays))}")
    matrix: Array = arrays[square[0]].astype(np.float64)
    return ECResult(matrix, tuple(map(str, arrays["labels"])))


def _read_text(path: Path, column: str) -> ECResult:
    cells = read_cells(path, _separator(path), comment="#")
    positions = {name.lower(): position for position, name in enumerate(cells.names)}
    source = next((positions[name] for name in _SOURCE if name in positions), None)
    target = next((positions[name] for name in _TARGET if name in positions), None)
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
        for index, name in enumerate(cells.names)
        if index not in (source, target) and all(_is_value(row[index]) for row in cells.rows)
    ]
    value = column or next(iter(numeric), "")
    if value not in cells.names:
        raise ValueError(
            f"there is no column '{value}'; numeric columns are {', '.join(numeric) or 'none'}"
        )
    pairs = [(row[source], row[target]) for row in cells.rows]
    if len(set(pairs)) < len(pairs):
        raise ValueError(f"{count_noun(len(pairs) - len(set(pairs)), 'duplicate pair')}")
    labels = tuple(dict.fromkeys([a for a, _ in pairs] + [b for _, b in pairs]))
    index = {label: number for number, label in enumerate(labels)}
    matrix = np.full((len(labels), len(labels)), np.nan)
    value_column = cells.names.index(value)
    for (a, b), row in zip(pairs, cells.rows, strict=True):
        matrix[index[a], index[b]] = _number(row[value_column])
    return ECResult(matrix, labels)


def _separator(path: Path) -> str:
    """Return the separator of the cells of a table: the most frequent one in its first row."""
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
        raise ValueError(f"{cell!r} is not a finite number; write n/a for a missing value")
    return value


def _is_value(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True
