"""What pages say of single connections, by what is significant and whether direction is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from npi_bids.group.tables import edge_rows, rank_edges
from npi_bids.matrices import symmetric
from npi_bids.records import Array, ECResult
from npi_bids.reports.components import ALPHA, SortedTable
from npi_bids.wording import rounded

LISTED = 100  # connections in the table of the strongest
UNDIRECTED = ", whose direction may not be read"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """How a map may be read.

    Attributes
    ----------
    directed
        Whether its direction may be read; if not, connections are means of both directions.
    q
        q of its connections, n/a where they were not tested; None if none was.
    noun
        What an entry is: a connection, or a mean connection.
    """

    directed: bool
    q: Array | None = None
    noun: str = "connection"

    @property
    def tested(self) -> bool:
        """Whether any connection was tested."""
        return self.q is not None and bool(np.isfinite(self.q).any())

    @property
    def significant(self) -> bool:
        """Whether any connection differs from zero; True where none was tested."""
        return self.q is None or not self.tested or bool((self.q < ALPHA).any())


def name_strongest(ec: ECResult, reading: Reading) -> list[str]:
    """Return a sentence on the strongest connection; none where all are 0."""
    matrix = ec if reading.directed else ECResult(symmetric(ec.matrix), ec.labels)
    best = next(iter(rank_edges(matrix, 1)), None)
    if best is None:
        return []
    source, target, value = best
    if reading.directed:
        return [f"The strongest {reading.noun} is {source} → {target} ({rounded(value)})."]
    return [
        f"The strongest {reading.noun} is that between {source} and {target} ({rounded(value)}, "
        "mean of both directions)."
    ]


def tabulate_strongest(
    name: str,
    ec: ECResult,
    details: Mapping[str, Array],
    networks: Sequence[str],
    reading: Reading,
) -> SortedTable:
    """Return the table of the strongest connections, folded if they were tested and none is.

    Parameters
    ----------
    name
        Identifier of the table on the page.
    ec
        A map.
    details
        Further matrices of the same connections, by heading.
    networks
        Networks of the regions, or empty.
    reading
        How the map may be read.
    """
    columns, rows = edge_rows(ec, details, networks, LISTED)
    title = f"The {len(rows)} strongest {reading.noun}s"
    if not reading.significant:
        title += f", none of which has q below {ALPHA:g}"
    elif not reading.directed:
        title += UNDIRECTED
    return SortedTable(name, title, columns, rows, folded=not reading.significant)
