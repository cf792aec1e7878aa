"""Rewrite the tables of the documentation, the descriptor, and the table of entities of BIDS.

The command is ``python docs/tables.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from npi_bids.bids.entities import format_table, read_schema
from npi_bids.bids.outputs import catalogue_table
from npi_bids.bids.sidecars import ContrastSidecar, GroupSidecar, ModelSidecar, RunSidecar
from npi_bids.cli.descriptor import descriptor_text
from npi_bids.cli.execution import training_memory
from npi_bids.io.json_records import key_table
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.families import families

ENTITIES = Path(__file__).parents[1] / "npi_bids" / "data" / "entities.json"
_TABLE = re.compile(r"(<!-- table (\w+) -->\n\n)(?:\|.*\n)*")
DATA = Path(__file__).parent / "data"
_N_REGIONS, _N_SAMPLES = (20, 100, 200, 400, 1000), 1200
_RECORDS = (RunSidecar, ModelSidecar, GroupSidecar, ContrastSidecar)


def resource_table() -> str:
    """Return memory and time of a model by number of regions, as ``--dry-run`` estimates them."""
    rows = ["| regions | " + " | ".join(f"{name}, time" for name in ("hybrid", "var", "rdcm"))
            + " | memory |", "|---|---|---|---|---|"]  # fmt: skip
    for n_regions in _N_REGIONS:
        cells = [_duration(name, n_regions) for name in ("hybrid", "var", "rdcm")]
        memory = f"{training_memory(n_regions):.1f} GB"
        rows.append(f"| {n_regions} | {' | '.join(cells)} | {memory} |")
    return "\n".join(rows) + "\n"


def _duration(surrogate: str, n_regions: int) -> str:
    seconds = families()[surrogate].seconds
    if seconds is None:
        return "not measured"
    settings = resolve(TrainSettings(surrogate=surrogate))
    duration = seconds(_N_SAMPLES, n_regions, settings)
    if duration < 1:
        return "below 1 s"
    return f"{duration:.0f} s" if duration < 100 else f"{duration / 60:.0f} min"


def data_table(path: Path) -> str:
    """Return the table in a data file of ``python -m benchmarks.site``.

    Parameters
    ----------
    path
        ``docs/data/*.json``.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    names, cells = list(content["rows"]), list(content["rows"].values())
    lines = [f"| {' | '.join(content['columns'])} |", "|---" * len(content["columns"]) + "|"]
    for name, row in zip(names, cells, strict=True):
        texts = [name]
        for column, (cell, digits) in enumerate(zip(row, content["digits"], strict=True)):
            by_row = content["best"] == "rows"
            rivals = row if by_row else [other[column] for other in cells]
            texts.append(_cell(cell, digits, rivals if content["best"] else []))
        lines.append("|" + "|".join(f" {text} " if text else " " for text in texts) + "|")
    return "\n".join(lines) + "\n"


def _cell(cell: Any, digits: int | list[int], rivals: Sequence[Any]) -> str:
    """Return a cell as text, with numbers in bold that are above all others at their place."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    if not isinstance(cell, list):
        own = digits if isinstance(digits, int) else digits[0]
        return _marked(cell, own, [rival for rival in rivals if isinstance(rival, float)])
    lists = [rival for rival in rivals if isinstance(rival, list)]
    each = digits if isinstance(digits, list) else [digits] * len(cell)
    return " / ".join(
        _marked(number, each[place], [rival[place] for rival in lists])
        for place, number in enumerate(cell)
    )


def _marked(number: float | None, digits: int, rivals: Sequence[float | None]) -> str:
    text = _number(number, digits)
    others = [_number(rival, digits) for rival in rivals if rival is not None]
    is_best = number is not None and len(others) > 1 and number == max(filter(None, rivals))
    return f"**{text}**" if is_best and others.count(text) == 1 else text


def _number(value: float | None, digits: int) -> str:
    """Return a number without a leading zero.

    >>> _number(0.9342, 3), _number(-0.2172, 3), _number(30.81, 1), _number(-0.002, 2)
    ('.934', '-.217', '30.8', '.00')
    """
    return "-" if value is None else re.sub(r"^(-?)0\.", r"\1.", f"{value:z.{digits}f}")


TABLES: dict[str, Callable[[], str]] = {
    "outputs": catalogue_table,
    **{record.__name__: partial(key_table, record) for record in _RECORDS},
    "resources": resource_table,
    **{f"bench_{path.stem}": partial(data_table, path) for path in sorted(DATA.glob("*.json"))},
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
