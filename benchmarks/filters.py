"""Runs that filter files select, by pybids as in fMRIPrep and by npi-bids.

usage: python -m benchmarks.filters
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from bids.layout import BIDSLayout

from benchmarks.table import save, show
from npi_bids.bids.datasets import find_datasets
from npi_bids.bids.layout import QuerySettings, select_runs
from npi_bids.errors import InputDataError, SettingsError
from tests.bids.filter_cases import (
    CASES,
    LOOSER,
    find_with_pybids,
    make_dataset,
    without_space,
    write_filters,
)


def count_with_pybids(layout: BIDSLayout, content: dict[str, Any]) -> str:
    """Return how many runs pybids selects with the defaults of fMRIPrep."""
    found = find_with_pybids(layout, content)
    return "error" if isinstance(found, type) else str(len(found) or "none")


def count_here(root: Path, folder: Path, content: dict[str, Any]) -> str:
    """Return how many runs npi-bids selects."""
    settings = QuerySettings(bids_filter_file=write_filters(folder, content))
    try:
        selection = select_runs(find_datasets(root, {}), settings)
    except SettingsError:
        return "error"
    except InputDataError:
        return "none"
    return str(len({without_space(run.path.name) for run in selection.runs if not run.problem}))


def main() -> int:
    """Run the benchmark."""
    contents = [*CASES.values(), *(content for content, _ in LOOSER.values())]
    rows = {}
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as other:
        root = make_dataset(Path(name))
        layout = BIDSLayout(root, validate=False, is_derivative=True)
        for content in contents:
            rows[json.dumps(content)] = {
                "pybids": count_with_pybids(layout, content),
                "npi-bids": count_here(root, Path(other), content),
            }
    show("Runs selected", ("pybids", "npi-bids"), {k: list(v.values()) for k, v in rows.items()})
    print(f"written to {save('filters', rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
