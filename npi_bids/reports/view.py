"""Page of matrices from any source, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from npi_bids.connectivity.network_measures import compute_flow
from npi_bids.io.matrix_files import MatrixFile
from npi_bids.matrices import antisymmetric, off_diagonal, pearson
from npi_bids.records import ECResult
from npi_bids.reports import figures_connectivity
from npi_bids.reports.components import Figure, Row, SortedTable
from npi_bids.reports.connections import Reading, tabulate_strongest
from npi_bids.reports.figures_connectivity import Layer, MatrixView
from npi_bids.reports.page import render
from npi_bids.wording import count_noun, format_range, rounded

# From this share on, differences between the directions may be rounding errors.
_SYMMETRIC = 1e-6


@dataclass(frozen=True, slots=True)
class ViewSection:
    """One matrix: its name, properties, the matrix itself, tables and figures."""

    title: str
    rows: tuple[Row, ...]
    view: MatrixView
    tables: tuple[SortedTable, ...]
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class ViewPage:
    """The page: matrices side by side, and the agreement of those of the same regions."""

    version: str
    title: str
    sections: tuple[ViewSection, ...]
    agreement: SortedTable | None = None


def view_page(page: ViewPage) -> str:
    """Return the page: one file, no network."""
    return render("view.html.j2", page)


def describe_matrix(title: str, file: MatrixFile, position: int) -> ViewSection:
    """Return what the page shows of one matrix.

    Parameters
    ----------
    title
        Its name on the page.
    file
        The matrix, indexed ``[source, target]``, with what is known of its regions.
    position
        Number of the matrix on the page, from 1.
    """
    ec = file.result
    directed = not np.allclose(ec.matrix, ec.matrix.T, equal_nan=True)
    layers = [Layer("matrix", title, ec.matrix, directed=directed)]
    if directed:
        difference = 2 * antisymmetric(ec.matrix)
        layers.append(Layer("difference", "source to target minus target to source", difference))
    view = MatrixView(f"matrix-{position}", ec.labels, file.networks, layers, {})
    strongest = tabulate_strongest(
        f"strongest-{position}", ec, {}, file.networks, Reading(directed)
    )
    return ViewSection(
        title,
        _properties(ec, directed=directed),
        view,
        (strongest, _regions(file, position)),
        _draw(file, title),
    )


def compare_matrices(titles: Sequence[str], results: Sequence[ECResult]) -> SortedTable | None:
    """Return the correlations of matrices of the same regions; None if there are no such pairs."""
    rows = []
    for second, other in enumerate(results):
        for first, one in enumerate(results[:second]):
            if set(one.labels) != set(other.labels):
                continue
            order = [other.labels.index(label) for label in one.labels]
            aligned = other.matrix[np.ix_(order, order)]
            rows.append((
                titles[first], titles[second], rounded(pearson(one.matrix, aligned)),
                rounded(pearson(antisymmetric(one.matrix), antisymmetric(aligned))),
            ))  # fmt: skip
    if not rows:
        return None
    columns = ("matrix", "other matrix", "r of entries", "r of differences between directions")
    return SortedTable("agreement", "Agreement of matrices of the same regions", columns,
                       tuple(rows))  # fmt: skip


def _properties(ec: ECResult, *, directed: bool) -> tuple[Row, ...]:
    entries = off_diagonal(ec.matrix)
    finite = entries[np.isfinite(entries)]
    missing = entries.size - finite.size
    rows = [
        Row("Regions", str(len(ec.labels)), f"{count_noun(missing, 'entry', 'entries')} n/a"),
        Row("Range", format_range(float(finite.min(initial=0.0)), float(finite.max(initial=0.0))),
            "off the diagonal; 0 included"),
        Row("Share of entries that are not 0", rounded(float(np.mean(finite != 0)))
            if finite.size else "n/a"),
    ]  # fmt: skip
    both = pearson(ec.matrix, ec.matrix.T)
    note = "correlation of the matrix with its transpose"
    rows.append(Row("Symmetry", rounded(both) if directed else "symmetric", note))
    return tuple(rows)


def _regions(file: MatrixFile, position: int) -> SortedTable:
    """Return the table of what each region sends and receives."""
    flow = compute_flow(file.result.matrix)
    columns = ("region", *(("network",) if file.networks else ()),
               "out-strength", "in-strength", "net flow", "hierarchy")  # fmt: skip
    values = zip(flow.out_strength, flow.in_strength, flow.net_flow, flow.hierarchy, strict=True)
    rows = tuple(
        (
            label,
            *file.networks[index : index + 1],
            *(rounded(float(value)) for value in row),
        )
        for index, (label, row) in enumerate(zip(file.result.labels, values, strict=True))
    )
    return SortedTable(f"regions-{position}", "Regions", columns, rows, folded=True)


def _draw(file: MatrixFile, title: str) -> tuple[Figure, ...]:
    """Draw the strongest connections on a glass brain, where the centres are known."""
    if file.centres is None or not np.isfinite(file.centres).all():
        return ()
    strongest = figures_connectivity.keep_strongest(file.result.matrix)
    svg = figures_connectivity.draw_connectome(strongest, file.centres)
    caption = "The strongest connections at the centres of their regions."
    return (Figure("connectome", f"Strongest connections of {title}", caption, svg, wide=True),)
