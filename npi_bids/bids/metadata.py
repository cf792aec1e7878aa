"""Sidecar metadata by the inheritance principle of BIDS."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from npi_bids.bids.names import parse_name
from npi_bids.errors import InputDataError

Listings = dict[Path, list[str]]


def list_names(folder: Path, listings: Listings) -> list[str]:
    """Return the sorted names in a folder, which is read once and kept in ``listings``."""
    if folder not in listings:
        listings[folder] = sorted(os.listdir(folder))
    return listings[folder]


def inherited_metadata(path: Path, root: Path, listings: Listings) -> dict[str, Any]:
    """Return the metadata of a file: every JSON from its root down that applies, nearest last.

    A JSON applies where it has the file's suffix and no entity that the file has not.

    Parameters
    ----------
    path
        The file.
    root
        Of its dataset.
    listings
        Names in the folders seen so far; grows.

    Raises
    ------
    InputDataError
        A JSON that applies cannot be read.
    """
    name = parse_name(path.name)
    folders = [path.parent]
    while folders[-1] != root and folders[-1] != folders[-1].parent:
        folders.append(folders[-1].parent)
    found: dict[str, Any] = {}
    for folder in reversed(folders):
        candidates = []
        for sidecar in _sidecars(folder, listings):
            other = parse_name(sidecar)
            if other.suffix == name.suffix and other.entities.items() <= name.entities.items():
                candidates.append((len(other.entities), folder / sidecar))
        for _, sidecar_path in sorted(candidates):
            found.update(read_sidecar(sidecar_path))
    return found


def _sidecars(folder: Path, listings: Listings) -> list[str]:
    """Return the names of the JSON files in a folder; a root holds thousands of other names."""
    key = folder / "*.json"
    if key not in listings:
        names = list_names(folder, listings)
        listings[key] = [name for name in names if name.endswith(".json")]
    return listings[key]


def read_sidecar(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object, such as a sidecar; a BOM is passed over.

    Raises
    ------
    InputDataError
        It cannot be read, or holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise InputDataError(
            f"The file <{path}> cannot be read as JSON: it is nested too deeply. Correct it."
        ) from error
    except (OSError, ValueError) as error:
        raise InputDataError(f"The file <{path}> cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
        raise InputDataError(
            f"The file <{path}> holds {kinds.get(type(content), 'a number')}; expected a JSON "
            "object, in braces."
        )
    return content
