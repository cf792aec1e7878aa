"""Long tables of the edges, regions, networks and subjects of a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from npi_bids.group.description import Description
from npi_bids.group.glm import Estimate
from npi_bids.group.permutation import Component, Permuted
from npi_bids.io.region_tables import Regions
from npi_bids.records import Array, ECResult, Mask
from npi_bids.wording import rounded

# Numbers, or names, of the edges, regions or pairs of networks of a table.
Column = NDArray[np.generic]


def description_columns(description: Description, subjects: Sequence[str]) -> dict[str, Column]:
    """Return the columns of a long table; the most influential subject is given by its label."""
    most_influential = [
        f"sub-{subjects[row]}" if is_finite else None
        for row, is_finite in zip(
            description.influential, np.isfinite(description.influence), strict=True
        )
    ]
    columns = {
        name: getattr(description, name)
        for name in (
            *("n", "mean", "sd", "tested_mean", "standard_error", "lower", "upper", "t", "p", "q"),
            *("sign_consistency", "median", "trimmed", "influence"),
        )
    }
    return {**columns, "most_influential": np.array(most_influential, dtype=object)}


def estimate_columns(estimate: Estimate) -> dict[str, Column]:
    """Return the columns of a long table of one contrast."""
    names = ("n", "effect", "standard_error", "statistic", "p", "q")
    return {name: getattr(estimate, name) for name in names}


def permuted_columns(permuted: Permuted | None, networks: str = "none") -> dict[str, Column]:
    """Return the columns that permutations add; empty without permutations.

    ``networks`` is the requested statistic of networks.
    """
    if permuted is None:
        return {}
    columns: dict[str, Column] = {"p_permuted": permuted.p, "p_fwe": permuted.p_fwe}
    columns |= {"p_nbs": permuted.p_nbs} if networks in ("nbs", "both") else {}
    return columns | ({"p_tfnbs": permuted.p_tfnbs} if networks in ("tfnbs", "both") else {})


def edge_table(
    labels: Sequence[str],
    columns: Mapping[str, Column],
    networks: Sequence[str] = (),
    *,
    diagonal: bool = False,
    first: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return one row per edge: source, target, and values.

    Parameters
    ----------
    labels
        Labels of the regions or networks.
    columns
        Values of all edges, flat, row by row.
    networks
        Network of each region, or empty.
    diagonal
        Whether the diagonal is a row too.
    first
        Columns that are the same in every row, before all others.
    """
    n = len(labels)
    source, target = np.divmod(np.arange(n * n), n)
    names = np.array(labels, dtype=object)
    table: dict[str, Any] = {**(first or {}), "source": names[source], "target": names[target]}
    if networks:
        network_names = np.array(networks, dtype=object)
        table |= {"source_network": network_names[source], "target_network": network_names[target]}
    rows = pd.DataFrame(table | {name: np.ravel(value) for name, value in columns.items()})
    return rows if diagonal else rows[source != target]


def rank_edges(result: ECResult, number: int) -> list[tuple[str, str, float]]:
    """Return the strongest connections: source, target, value; n/a is left out."""
    values = result.matrix.copy()
    np.fill_diagonal(values, np.nan)
    flat = values.ravel()
    nonzero = np.flatnonzero(np.isfinite(flat) & (flat != 0))
    order = nonzero[np.argsort(-np.abs(flat[nonzero]), kind="stable")][:number]
    names, n = result.labels, len(result.labels)
    return [(names[index // n], names[index % n], float(flat[index])) for index in order.tolist()]


def edge_rows(
    result: ECResult,
    details: Mapping[str, Array],
    networks: Sequence[str],
    number: int,
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return columns and rows, as text, of the strongest connections of a map."""
    index = {label: position for position, label in enumerate(result.labels)}
    columns = ("source", "target", "value", *details, *(("networks",) if networks else ()))
    rows = []
    for source, target, value in rank_edges(result, number):
        s, t = index[source], index[target]
        cells = [rounded(value), *(rounded(float(matrix[s, t])) for matrix in details.values())]
        between = [f"{networks[s]} → {networks[t]}"] if networks else []
        rows.append((source, target, *cells, *between))
    return columns, tuple(rows)


def table_cells(table: pd.DataFrame, columns: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return some columns of a table as text."""
    numbers = {name for name in columns if pd.api.types.is_float_dtype(table[name])}
    return tuple(
        tuple(
            rounded(float(value)) if name in numbers else str(value)
            for name, value in zip(columns, row, strict=True)
        )
        for row in table[list(columns)].itertuples(index=False)
    )


def region_table(
    regions: Regions, columns_by_figure: Mapping[str, Mapping[str, Column]]
) -> pd.DataFrame:
    """Return one row per figure and region, from the columns of each figure."""
    parts = []
    for figure, columns in columns_by_figure.items():
        table: dict[str, Any] = {"figure": figure, "region": regions.labels}
        if regions.network:
            table["network"] = regions.network
        parts.append(pd.DataFrame(table | dict(columns)))
    return pd.concat(parts, ignore_index=True)


def network_rows(
    pairs: Mapping[str, tuple[Sequence[str], Mapping[str, Column]]],
) -> pd.DataFrame:
    """Return one row per pair of networks; ``pairs`` holds names and columns by grouping."""
    parts = [
        edge_table(names, columns, diagonal=True, first={"grouping": grouping})
        for grouping, (names, columns) in pairs.items()
    ]
    return pd.concat(parts, ignore_index=True)


def least_coverage(runs: Sequence[pd.DataFrame]) -> Array:
    """Return the least coverage of each region over the tables of some runs."""
    least: Array = np.min([run["coverage"].to_numpy(dtype=np.float64) for run in runs], axis=0)
    return least


def numeric_column(rows: Sequence[Mapping[str, object]], name: str) -> Array:
    """Return one column of the subjects' table as numbers; NaN where it is not known."""
    values = [row.get(name) for row in rows]
    numbers: Array = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").to_numpy(
        dtype=np.float64
    )
    return numbers


def subject_table(
    rows: Sequence[Mapping[str, object]], correlations: Array, is_outlier: Mask
) -> pd.DataFrame:
    """Return one row per subject, with the agreement of its map with the others."""
    table = pd.DataFrame(list(rows))
    table.insert(1, "r_with_others", correlations)
    table.insert(2, "outlier", is_outlier)
    return table


def component_table(labels: Sequence[str], components: Sequence[Component]) -> pd.DataFrame:
    """Return one row per edge of every component."""
    rows = [
        {
            "component": number,
            "sign": "positive" if component.sign > 0 else "negative",
            "n_edges": component.n_edges,
            "p_fwe": component.p,
            "source": labels[source],
            "target": labels[target],
        }
        for number, component in enumerate(components, start=1)
        for source, target in component.edges
    ]
    names = ["component", "sign", "n_edges", "p_fwe", "source", "target"]
    return pd.DataFrame(rows, columns=names)
