"""Tables of the documentation on what the program selects, and on its computing time."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.site_table import Cell, Results, SiteTable
from tests.bids.filter_cases import CASES, LOOSER

_FILTERS = {
    text: f"`{text}`"
    for content in (*CASES.values(), *(content for content, _ in LOOSER.values()))
    for text in [json.dumps(content)]
}
_SPEED = {
    "training: times faster": "training, speed-up",
    "training: times the products alone": "training, relative to the matrix products",
    "map: times faster": "map, speed-up",
    "map: times the products alone": "map, relative to the matrix products",
    "Jacobian: times faster": "Jacobian, speed-up over autograd",
}


def _filter_cells(results: Results, content: str) -> Iterator[Cell]:
    found = results.get(content)
    if found:
        yield from (found["pybids"], None, found["npi-bids"])


def _speed_cells(results: Results, figure: str) -> Iterator[Cell]:
    """Yield ratios as text, since those of the Jacobian are thousands."""
    for size in ("N=20", "N=360"):
        value = results.get(size, {}).get(figure)
        yield None if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"


TABLES = {
    "filters": SiteTable(
        "python -m benchmarks.filters", ("filter file", "fMRIPrep", "before", "now"), _FILTERS,
        _filter_cells, best="", digits=(0, 0, 0), files=("filters",),
    ),
    "speed": SiteTable(
        "python -m benchmarks.speed",
        ("", "20 regions, 8000 samples", "360 regions, 4 runs of 1170"), _SPEED, _speed_cells,
        best="", digits=(0, 0), files=("speed",), seeds="0",
    ),
}  # fmt: skip
