"""Rewrite the tables of the documentation, the descriptor, and the table of entities of BIDS.

The command is ``python docs/tables.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from npi_bids.bids.entities import format_table, read_schema
from npi_bids.bids.outputs import catalogue_table
from npi_bids.bids.sidecars import ContrastSidecar, GroupSidecar, ModelSidecar, RunSidecar
from npi_bids.cli.descriptor import descriptor_text
from npi_bids.io.json_records import key_table

ENTITIES = Path(__file__).parents[1] / "npi_bids" / "data" / "entities.json"
_TABLE = re.compile(r"(<!-- table (\w+) -->\n\n)(?:\|.*\n)*")
_RECORDS = (RunSidecar, ModelSidecar, GroupSidecar, ContrastSidecar)
TABLES: dict[str, Callable[[], str]] = {
    "outputs": catalogue_table,
    **{record.__name__: partial(key_table, record) for record in _RECORDS},
}


def update_tables(text: str) -> str:
    """Return a page with the tables below its comments ``<!-- table NAME -->`` up to date."""
    return _TABLE.sub(lambda match: match[1] + TABLES[match[2]](), text)


def main() -> None:
    """Rewrite the tables of all pages in place."""
    descriptor = Path(__file__).parents[1] / "descriptors" / "npi-bids.boutiques.json"
    descriptor.write_text(descriptor_text(), encoding="utf-8")
    for path in sorted(Path(__file__).parent.glob("*.md")):
        path.write_text(update_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
    ENTITIES.write_text(format_table(read_schema()), encoding="utf-8")


if __name__ == "__main__":
    main()
