"""Regional series that another program has extracted: BIDS ``timeseries.tsv`` of any origin."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from npi_bids.core.records import Array, Mask, RegionSeries, check_region_names
from npi_bids.errors import InputDataError
from npi_bids.io.tables import read_cells, read_column_names, read_numbers

_logger = logging.getLogger(__name__)

# First columns of tables that count samples instead of showing a region.
_COUNTERS = ("", "time", "index", "sample", "volume", "frame", "unnamed: 0")
_INDEX, _NAME = ("index", "label_index"), ("name", "label", "region")
_FD = "framewise_displacement"


@dataclass(frozen=True, slots=True)
class SeriesRegions:
    """The regions that the tables of series of one atlas share.

    Attributes
    ----------
    labels
        Their names, in the order of the results.
    indices
        Of each region in the table of its atlas, by which columns that are only numbered are
        known; empty where there is no such table.
    """

    labels: tuple[str, ...]
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GivenSeries:
    """Series of one run.

    Attributes
    ----------
    series
        Samples that are left out are NaN, and have their place in time.
    displacement
        Framewise displacement of each sample in mm; NaN where it is not known.
    matched_by
        How columns were assigned to regions: ``name``, ``index`` or ``position``.
    """

    series: RegionSeries
    displacement: Array
    matched_by: str = "name"


def shared_regions_of_tables(
    paths: Sequence[Path], atlas_table: Path | None = None
) -> SeriesRegions:
    """Return the regions that tables of series show.

    The names in the table of the atlas decide where a header has them too, or where headers only
    number their columns; otherwise the names that the most tables have, in the order of the first
    of these. A table with other names is refused when it is read.

    Parameters
    ----------
    paths
        All tables of one atlas; none where no run of it can be used.
    atlas_table
        Table of the atlas's regions, with columns index and name (or label, region).

    Raises
    ------
    InputDataError
        No table can be read; or the most common header repeats a name, has fewer than two, is a
        row of numbers, or another number of columns than the atlas has regions.
    """
    headers: dict[Path, tuple[str, ...]] = {}
    errors: list[InputDataError] = []
    for path in paths:
        try:
            headers[path] = _region_columns(path)
        except InputDataError as error:  # of this table; it fails alone when it is read
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
    """Return rows and columns of a table of series; 0 where it cannot be read."""
    try:
        with path.open("rb") as file:
            columns = len(file.readline().split(b"\t"))
            return sum(1 for _ in file), columns
    except OSError:
        return 0, 0


def read_given(
    path: Path,
    regions: SeriesRegions,
    tr: float,
    *,
    outliers: Path | None = None,
    motion: Path | None = None,
    standardize: bool = True,
) -> GivenSeries:
    """Read the series of one run, and put samples that were taken out back in their place.

    Columns are assigned to regions by name. Columns that are only numbered are assigned by the
    index in the table of the atlas, or by position where they count 0, 1, ... or 1, 2, ...

    Parameters
    ----------
    path
        One column per region, one row per sample; ``n/a`` is missing.
    regions
        Of the atlas; the result has them in this order.
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
        A value is not a number, the table shows other regions or has another number of rows, or a
        region is known in some samples only.
    """
    names = _region_columns(path)
    places, matched_by = _match_columns(path, names, regions)
    table = read_numbers(path)
    data = table[[names[place] for place in places]].to_numpy(dtype=np.float64)
    if outliers is not None:
        data = _in_place(data, _read_censored(outliers), path, outliers)
    keep = np.asarray(np.isfinite(data).any(axis=1))
    _check_whole(data[keep], regions.labels, path)
    if standardize:
        data = _standardised(data, keep)
    displacement = np.full(len(data), np.nan)
    if motion is not None:
        displacement = _read_displacement(motion, displacement)
    return GivenSeries(RegionSeries(data, regions.labels, tr, keep), displacement, matched_by)


def _region_columns(path: Path) -> tuple[str, ...]:
    """Return the names of the columns, without a first one that counts samples."""
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
    """Return the names of an atlas's table where they, or their number, are those of a header."""
    cells = read_cells(table)
    lower = {name.lower(): place for place, name in enumerate(cells.names)}
    index = next((lower[word] for word in _INDEX if word in lower), None)
    rows = [row for row in cells.rows if index is None or row[index] not in ("0", "0.0")]
    columns = [tuple(row[lower[word]] for row in rows) for word in _NAME if word in lower]
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
    """Return the column of each region, and how it was found."""
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
        f"<{path}> does not show the regions of the other tables of its atlas: "
        + "; ".join(
            f"{len(differing)} {what} ({', '.join(differing[:5])}"
            f"{', ...' if len(differing) > 5 else ''})"
            for what, differing in (("missing", absent), ("unknown", unknown))
            if differing
        )
        + f". Expected one column for each of the {len(labels)} regions, in any order."
    )


def _are_numbered(names: Sequence[str]) -> bool:
    return all(name.isdecimal() and name.isascii() for name in names)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


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
            f"{labels[part[0]]} (regions of this kind: {part.size}); expected n/a in whole rows "
            "(a censored sample) or whole columns (a region that is not covered)."
        )


def _standardised(data: Array, keep: Mask) -> Array:
    """Bring columns to mean 0 and SD 1; a column that does not vary becomes NaN (not covered)."""
    spread = data[keep].std(axis=0, ddof=1)
    usable = spread > 1e-12 * np.abs(data[keep]).max(axis=0, initial=0)
    scale = np.where(usable, spread, np.nan)
    scaled: Array = (data - data[keep].mean(axis=0)) / scale
    return scaled


def _read_censored(path: Path) -> Mask:
    """Return which samples a table of outliers marks: any value but 0."""
    table = read_numbers(path)
    marks = table[_FD] if _FD in table else table.iloc[:, 0]
    if marks.isna().any():
        raise InputDataError(
            f"<{path}> has n/a in column {marks.name!r}, line {int(marks.isna().argmax()) + 2}; "
            "expected 1 for a censored sample and 0 for one that is kept."
        )
    censored: Mask = marks.to_numpy(dtype=np.float64) != 0
    return censored


def _read_displacement(path: Path, unknown: Array) -> Array:
    """Return the framewise displacement of a table of motion; unknown where it has none."""
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
