"""Tables of the documentation on what the program selects, and on its computing time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from statistics import median

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
    "extraction: decompression": "run of 600 volumes: decompression alone (ISA-L)",
    "extraction: one atlas": "extraction for one atlas",
    "extraction: four atlases": "extraction for four atlases",
    "extraction: nilearn, one atlas": "nilearn's masker, one atlas",
    "subject: two processes, all": "whole subject, 104 regions, two processes",
    "subject: in one process: all": "the same in one process",
    "subject: in one process: Parcellate": "of which extraction",
    "subject: in one process: TrainSurrogate": "of which fit",
    "subject: in one process: PerturbSurrogate": "of which perturbation",
    "subject: in one process: AssessConnectivity": "of which assessment",
    "subject: in one process: ReportSubject": "of which page of the subject",
    "subject: in one process: everything else": "of which loading, scheduling and all else",
    "subject: two processes, four atlases": "whole subject, four atlases (104, 438, 116, 44)",
    "subject: again, nothing to do": "the same command again, nothing to do",
    "subject: --help": "`--help`",
    "subject: unknown participant": "unknown participant, which is an error",
}


def _time_cells(results: Results, row: str) -> Iterator[Cell]:
    """Yield the median, both ends and the number of measurements, and ratios to decompression."""
    part, _, name = row.partition(": ")
    times = results.get(part, {})
    if name not in times:
        return
    found = times[name]
    yield median(found)
    yield (min(found), max(found)) if len(found) > 1 else None
    yield median(found) / median(times["decompression"]) if part == "extraction" else None


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
        ("", "CPU time (s)", "lowest, highest", "relative to decompression alone"), _TIMES,
        _time_cells, best="", digits=(2, (2, 2), 2), files=("stages",), seeds="0",
    ),
}  # fmt: skip
