"""Tables on the terminal and in JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npi_bids import __version__

RESULTS = Path(__file__).parent / "results"
_VERSIONS = "versions.json"


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
    """Write results as JSON beside the benchmarks, and with which version they were computed."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1, default=float) + "\n", encoding="utf-8")
    versions = read_versions(RESULTS) | {name: find_version()}
    text = json.dumps(versions, indent=1, sort_keys=True)
    (RESULTS / _VERSIONS).write_text(text + "\n", encoding="utf-8")
    return path


def read_versions(folder: Path) -> dict[str, str]:
    """Return the versions of npi-bids with which results were computed, by their name."""
    path = folder / _VERSIONS
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def find_version() -> str:
    """Return the commit of this checkout, or the version of the package where there is none."""
    command = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return done.stdout.strip()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
