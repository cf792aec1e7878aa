"""Time series, relationship matrices and other tables as TSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from npi_bids.core.records import Array, ECResult, RegionSeries
from npi_bids.errors import InputDataError
from npi_bids.io.files import replacing

Table = pd.DataFrame
_DIGITS = "%.9g"


def write_table(table: pd.DataFrame, path: Path, digits: str = _DIGITS) -> None:
    """Write a table without an index; what is missing is ``n/a``."""
    with replacing(path) as temporary:
        table.to_csv(temporary, sep="\t", na_rep="n/a", index=False, float_format=digits)


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a table from one mapping per row; what a row lacks is ``n/a``."""
    write_table(pd.DataFrame(list(rows)), path)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table written by :func:`write_table`; only ``n/a`` is missing.

    Raises
    ------
    InputDataError
        The file is missing or empty.
    """
    try:
        return pd.read_table(path, na_values="n/a", keep_default_na=False)
    except (OSError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise InputDataError(f"<{path}> cannot be read as a table: {error}") from error


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
    table = read_table(path)
    try:
        data = table.to_numpy(dtype=np.float64)
    except ValueError as error:
        raise InputDataError(f"<{path}> holds values that are not numbers: {error}") from error
    keep = ~np.isnan(data).all(axis=1)
    return RegionSeries(data, tuple(table.columns), tr, keep)


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
    table = read_table(path)
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
