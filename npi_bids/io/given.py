"""Regional series that another program has extracted: BIDS ``timeseries.tsv`` of any origin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from npi_bids.core.records import Array, Mask, RegionSeries
from npi_bids.errors import InputDataError

# First columns of tables that count samples instead of showing a region.
_COUNTERS = ("", "time", "index", "sample", "volume", "frame", "unnamed: 0")
_INDEX, _NAME = ("index", "label_index"), ("name", "label", "region")


@dataclass(frozen=True, slots=True, eq=False)
class GivenSeries:
    """Series of one run as they were found.

    Attributes
    ----------
    series
        Samples that are left out are NaN, and have their place in time.
    displacement
        Framewise displacement of each sample in mm; NaN where it is not known.
    """

    series: RegionSeries
    displacement: Array


def region_names(path: Path, atlas_table: Path | None = None) -> tuple[str, ...]:
    """Return the names of the regions of a table of series.

    Parameters
    ----------
    path
        The table; its header names the regions, or numbers them.
    atlas_table
        Table of the atlas's regions (columns index and name or label), which names columns that
        are only numbered.

    Raises
    ------
    InputDataError
        The table cannot be read, names a region twice, or has another number of columns than the
        atlas has regions.
    """
    names = _header(path)
    if atlas_table is not None:
        table = _lower(_read(atlas_table))
        name = next((column for column in _NAME if column in table), None)
        if name is not None:
            index = next((column for column in _INDEX if column in table), None)
            table = table[pd.to_numeric(table[index], errors="coerce") != 0] if index else table
            known = tuple(table[name].astype(str))
            if len(known) != len(names):
                raise InputDataError(
                    f"<{path}> has {len(names)} columns but the atlas <{atlas_table}> has "
                    f"{len(known)} regions; expected one column per region. Is it the table of "
                    "another atlas?"
                )
            if all(column.isdigit() for column in names):
                names = known
    if twice := sorted({name for name in names if names.count(name) > 1})[:5]:
        raise InputDataError(f"<{path}> names regions twice: {twice}; expected unique names.")
    if len(names) < 2:
        raise InputDataError(
            f"<{path}> has {len(names)} column(s) of regions; expected one per region, separated "
            "by tabs, with their names in the first row."
        )
    return names


def count_cells(path: Path) -> tuple[int, int]:
    """Return rows and columns of a table of series; 0 where it cannot be read."""
    try:
        with path.open("rb") as file:
            columns = len(file.readline().split(b"\t"))
            return sum(1 for _ in file), columns
    except OSError:
        return 0, 0


def read_given(
    path: Path,
    labels: tuple[str, ...],
    tr: float,
    *,
    outliers: Path | None = None,
    motion: Path | None = None,
    standardize: bool = True,
) -> GivenSeries:
    """Read the series of one run, and put samples that were taken out back in their place.

    Parameters
    ----------
    path
        One column per region, one row per sample; ``n/a`` is missing.
    labels
        Names of the regions, in the order of the columns.
    tr
        Sampling period (s).
    outliers
        Table of XCP-D with 1 for each sample that was censored. Where the series have as many
        rows as it has zeros, the censored rows are gone, and come back as NaN.
    motion
        Table with ``framewise_displacement``.
    standardize
        Whether to bring each region to mean 0 and SD 1 over the kept samples.

    Raises
    ------
    InputDataError
        A value is not a number, the number of columns or rows does not fit, or a region is known
        in some samples only.
    """
    table = _read(path)
    if len(table.columns) != len(labels):
        raise InputDataError(
            f"<{path}> has {len(table.columns)} columns but the first run of its atlas has "
            f"{len(labels)}; expected the same regions in all runs."
        )
    try:
        data = table.to_numpy(dtype=np.float64)
    except ValueError as error:
        raise InputDataError(f"<{path}> holds values that are not numbers: {error}") from error
    data = np.where(np.isfinite(data), data, np.nan)
    if outliers is not None:
        data = _in_place(data, _first_column(outliers) > 0, path, outliers)
    keep = np.asarray(np.isfinite(data).any(axis=1))
    _check_whole(data[keep], labels, path)
    if standardize:
        data = _standardised(data, keep)
    displacement = np.full(len(data), np.nan)
    if motion is not None:
        moved = _read(motion).get("framewise_displacement")
        if moved is not None and len(moved) == len(data):
            displacement = pd.to_numeric(moved, errors="coerce").to_numpy(dtype=np.float64)
    return GivenSeries(RegionSeries(data, labels, tr, keep), displacement)


def _in_place(data: Array, censored: Mask, path: Path, outliers: Path) -> Array:
    whole = np.full((len(censored), data.shape[1]), np.nan)
    if len(data) == len(censored):
        whole[~censored] = data[~censored]
    elif len(data) == (~censored).sum():
        whole[~censored] = data
    else:
        raise InputDataError(
            f"<{path}> has {len(data)} rows but <{outliers}> has {len(censored)}, of which "
            f"{censored.sum()} are censored; expected {len(censored)} rows, or "
            f"{(~censored).sum()} without the censored ones."
        )
    return whole


def _check_whole(kept: Array, labels: tuple[str, ...], path: Path) -> None:
    if not len(kept):
        raise InputDataError(f"<{path}> has no sample with values.")
    missing = np.isnan(kept)
    part = np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0))
    if part.size:
        raise InputDataError(
            f"<{path}> has n/a in {missing[:, part[0]].sum()} of {len(kept)} samples of region "
            f"{labels[part[0]]} ({part.size} such region(s)); expected n/a in whole rows (a "
            "censored sample) or whole columns (a region that is not covered)."
        )


def _standardised(data: Array, keep: Mask) -> Array:
    """Bring columns to mean 0 and SD 1; a column that does not vary becomes NaN (not covered)."""
    spread = data[keep].std(axis=0, ddof=1)
    usable = spread > 1e-12 * np.abs(data[keep]).max(axis=0, initial=0)
    scale = np.where(usable, spread, np.nan)
    scaled: Array = (data - data[keep].mean(axis=0)) / scale
    return scaled


def _first_column(path: Path) -> Array:
    table = _read(path)
    column = table.get("framewise_displacement", table.iloc[:, 0])
    values: Array = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    return values


def _header(path: Path) -> tuple[str, ...]:
    """Return the first row, which pandas would make unique, without a column that counts."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            names = tuple(file.readline().rstrip("\r\n").split("\t"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputDataError(f"<{path}> cannot be read as a table: {error}") from error
    return names[1:] if names[0].lower() in _COUNTERS and len(names) > 2 else names


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_table(path, na_values="n/a", encoding="utf-8-sig")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputDataError(f"<{path}> cannot be read as a table: {error}") from error
    first = str(table.columns[0]).lower() if len(table.columns) else ""
    return table.iloc[:, 1:] if first in _COUNTERS and len(table.columns) > 2 else table


def _lower(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=str.lower)
