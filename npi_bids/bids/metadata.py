"""JSON files of the input, and the metadata of a file by the inheritance principle of BIDS."""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import lru_cache
from pathlib import Path

from npi_bids.bids.outputs import BIDSName, parse_name
from npi_bids.errors import InputDataError

Listings = dict[Path, list[str]]


def list_names(folder: Path, listings: Listings) -> list[str]:
    """Return the sorted names in a folder, which is read once and cached in ``listings``."""
    if folder not in listings:
        listings[folder] = sorted(os.listdir(folder))
    return listings[folder]


def inherited_metadata(path: Path, root: Path, listings: Listings) -> dict[str, object]:
    """Return the metadata of a file by the BIDS inheritance principle, the nearest JSON last.

    A JSON file applies if it has the suffix of the file and no entity that the file lacks.

    Parameters
    ----------
    path
        The file.
    root
        Root of its dataset.
    listings
        Names in the folders read so far; extended in place.

    Raises
    ------
    InputDataError
        An applicable JSON file cannot be read.
    """
    name = parse_name(path.name)
    folders = [path.parent]
    while folders[-1] != root and folders[-1] != folders[-1].parent:
        folders.append(folders[-1].parent)
    metadata: dict[str, object] = {}
    for folder in reversed(folders):
        candidates = []
        for sidecar in _sidecars(folder, listings):
            other = _parse_sidecar_name(sidecar)
            if other.suffix == name.suffix and other.entities.items() <= name.entities.items():
                candidates.append((len(other.entities), folder / sidecar))
        for _, sidecar_path in sorted(candidates):
            metadata.update(read_sidecar(sidecar_path))
    return metadata


@lru_cache(maxsize=1024)
def _parse_sidecar_name(name: str) -> BIDSName:
    return parse_name(name)


def _sidecars(folder: Path, listings: Listings) -> list[str]:
    """Return the names of the JSON files in a folder; a root has thousands of other names."""
    key = folder / "*.json"
    if key not in listings:
        names = list_names(folder, listings)
        listings[key] = [name for name in names if name.endswith(".json")]
    return listings[key]


def read_sidecar(path: Path) -> dict[str, object]:
    """Read a JSON file that contains an object, such as a sidecar; a byte order mark is ignored.

    Raises
    ------
    InputDataError
        The file cannot be read, or does not contain a JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text, object_pairs_hook=_once_each)
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


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; refuse repeated fields, for which JSON defines no precedence."""
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"it holds the field {twice!r} {counts[twice]} times; keep one of them")
    return content
