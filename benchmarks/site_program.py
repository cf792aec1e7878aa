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


_TIMES = {
    "extraction: decompression": "extraction: decompression of the run alone (ISA-L)",
    "extraction: one atlas": "extraction: one atlas",
    "extraction: four atlases": "extraction: four atlases",
    "extraction: nilearn, one atlas": "extraction: nilearn's masker, one atlas",
    "subject: in one process: all": "one subject in one process",
    "subject: in one process: Parcellate": "of which extraction",
    "subject: in one process: TrainSurrogate": "of which fit",
    "subject: in one process: AssessConnectivity": "of which assessment",
    "subject: in one process: ReportSubject": "of which page",
    "subject: two processes, all": "one subject in two processes",
    "subject: again, nothing to do": "the same command again, nothing to do",
}


def _time_cells(results: Results, row: str) -> Iterator[Cell]:
    """Yield seconds, and for the extraction their ratio to decompression alone."""
    part, _, name = row.partition(": ")
    found = results.get(part, {})
    if name not in found:
        return
    yield found[name]
    yield found[name] / found["decompression"] if part == "extraction" else None


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
    "stages": SiteTable(
        "python -m benchmarks.stages extraction subject",
        ("", "CPU time (s)", "relative to decompression alone"), _TIMES, _time_cells, best="",
        digits=(2, 1), files=("stages",), seeds="0",
    ),
}  # fmt: skip
