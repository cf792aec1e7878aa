"""Tables on the terminal and in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def show(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[Any]]) -> None:
    """Print one table; numbers get three digits."""
    width = max(24, *(len(name) + 2 for name in rows)) if rows else 24
    print(f"\n{title}")
    widths = [max(12, len(column) + 2) for column in columns]
    head = zip(columns, widths, strict=True)
    print(" " * width + "".join(f"{column:>{wide}}" for column, wide in head))
    for name, values in rows.items():
        # A row may be shorter, such as one of the subjects below one of their means.
        cells = (f"{_text(value):>{wide}}" for value, wide in zip(values, widths, strict=False))
        print(f"{name:<{width}}" + "".join(cells), flush=True)


def save(name: str, content: Any) -> Path:
    """Write results as JSON beside the benchmarks."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1, default=float) + "\n", encoding="utf-8")
    return path


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
