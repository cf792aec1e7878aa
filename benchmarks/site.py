"""Tables of the documentation from the results of the benchmarks.

usage: python -m benchmarks.site [RESULTS]

Reads the results in a folder (``benchmarks/results``) and writes ``docs/data/*.json``,
which ``docs/tables.py`` sets into the pages. A cell that a run did not compute, or of which it
computed fewer systems than the table promises (``--quick``), keeps its earlier value. Each row
states the version of npi-bids with which it was computed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import site_accuracy, site_assessment, site_inference, site_program
from benchmarks.site_table import SiteTable, fill
from benchmarks.table import RESULTS, read_versions

DATA = Path(__file__).parents[1] / "docs" / "data"
TABLES: dict[str, SiteTable] = {
    **site_accuracy.TABLES,
    **site_assessment.TABLES,
    **site_inference.TABLES,
    **site_program.TABLES,
}


def update(path: Path, table: SiteTable, folder: Path) -> None:
    """Write a data file from the results in a folder, and from what it held before."""
    results: dict[str, Any] = {}
    for file in (folder / f"{name}.json" for name in table.files):
        if file.is_file():
            results |= json.loads(file.read_text(encoding="utf-8"))
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": {}}
    versions = read_versions(folder)
    found = dict.fromkeys(versions[name] for name in table.files if name in versions)
    content = fill(
        table, results, earlier["rows"], version=", ".join(found),
        measured=earlier.get("measured with", {}),
    )  # fmt: skip
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written to {path}")


def main() -> int:
    """Write the data files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    DATA.mkdir(exist_ok=True)
    for name, table in TABLES.items():
        update(DATA / f"{name}.json", table, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
