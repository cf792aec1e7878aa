"""What a table of the documentation is, and how its data file is filled from results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

_DIGITS = 6
Results = Mapping[str, Any]
# A number, several that stand together, text, or None where nothing was computed.
Cell = float | str | Sequence[float | None] | None


@dataclass(frozen=True, slots=True)
class SiteTable:
    """One table of the documentation.

    Attributes
    ----------
    command
        Command that computes the results.
    columns
        Names of all columns, that of the first with the names of the rows included.
    rows
        Name of each row in the table, by its name in the results.
    cells
        Yields the cells of a row, from the results and its name there.
    best
        ``rows`` to print the largest value of each row in bold, ``columns`` that of each
        column, or empty.
    digits
        Decimals of each column after the first; several for a cell of several numbers.
    files
        Names of the files of results.
    seeds
        Seeds of the systems, as words.
    """

    command: str
    columns: tuple[str, ...]
    rows: Mapping[str, str]
    cells: Callable[[Results, str], Iterator[Cell]]
    best: str
    digits: tuple[int | Sequence[int], ...]
    files: tuple[str, ...]
    seeds: str = ""


def full_cells(
    results: Results,
    row: str,
    *,
    sizes: Mapping[str, int] = MappingProxyType({}),
    section: str = "",
    n_cells: int | None = None,
) -> Iterator[Cell]:
    """Yield the numbers of a row, if the run was as large as the table promises.

    Parameters
    ----------
    results, row
        Results, and name of the row in them.
    sizes
        What the results must state of their size, such as the number of data sets.
    section
        Part of the results that holds the rows; empty: all of them.
    n_cells
        Numbers that the table shows, the first of the row; None: all.
    """
    is_complete = all(results.get(name, 0) >= size for name, size in sizes.items())
    rows = results.get(section, {}) if section else results
    found = list(rows.get(row, ())) if is_complete else []
    yield from found[:n_cells]


def mean(values: Sequence[float], n_systems: int) -> float | None:
    """Return the mean over systems; None unless all of the systems of a table were computed."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if len(values) == n_systems and finite else None


def fill(
    table: SiteTable,
    results: Results,
    earlier: Mapping[str, Sequence[Cell]],
    *,
    version: str = "",
    measured: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the content of a data file.

    Parameters
    ----------
    table
        The table.
    results
        Scores by section and method, or by condition and method.
    earlier
        Cells of the earlier data file, by the name of the row.
    version
        Version of npi-bids with which the results were computed.
    measured
        That of the earlier cells, by the name of the row.
    """
    rows, versions = {}, {}
    for key, name in table.rows.items():
        n_cells = len(table.columns) - 1
        found = [_rounded(cell) for cell in table.cells(results, key)] or [None] * n_cells
        before = list(earlier.get(name, [None] * n_cells))
        rows[name] = [old if new is None else new for new, old in zip(found, before, strict=True)]
        is_kept = any(
            new is None and old is not None for new, old in zip(found, before, strict=True)
        )
        earlier_version = measured.get(name, "")
        stated = [earlier_version]
        if version and any(new is not None for new in found):
            stated = [earlier_version.partition(" and ")[0]] * is_kept + [version]
        versions[name] = " and ".join(filter(None, dict.fromkeys(stated)))
    return {
        "made by": f"{table.command}; python -m benchmarks.site",
        **({"seeds": table.seeds} if table.seeds else {}),
        "measured with": {name: each for name, each in versions.items() if each},
        "columns": list(table.columns),
        "best": table.best,
        "digits": [each if isinstance(each, int) else list(each) for each in table.digits],
        "rows": rows,
    }


def _rounded(cell: Cell) -> Cell:
    """Return a cell with fewer digits; what is not a number is None."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, int | float):
        return round(cell, _DIGITS) if math.isfinite(cell) else None
    numbers = [_rounded(value) for value in cell]
    return numbers if any(number is not None for number in numbers) else None
