"""What an interrupted run left in the work folder: whole results are used again, no others."""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from pathlib import Path

from npi_bids.interfaces.base import SEAL

# Files of a node that Nipype writes; their names begin with this, as that of the seal does.
_OWN = "_"


def drop_damaged(folder: Path) -> int:
    """Remove the folders of nodes below a folder whose results are not whole.

    A power cut leaves files that are cut off. Nipype takes a result as cached by what went into
    it, so that half a file would go into all that follows.

    Parameters
    ----------
    folder
        Of a workflow; may be missing.

    Returns
    -------
    int
        Folders that were removed.
    """
    damaged = [path.parent for path in folder.rglob("result_*.pklz") if not _whole(path.parent)]
    for node in damaged:
        shutil.rmtree(node, ignore_errors=True)
    return len(damaged)


def _whole(node: Path) -> bool:
    if not all(_is_gzip(path) for path in node.glob("*.pklz")):
        return False
    results = {path.name for path in node.iterdir() if path.is_file()}
    results = {
        name
        for name in results
        if not name.startswith(_OWN) and not name.endswith(".pklz") and name != "command.txt"
    }
    seal = node / SEAL
    if not seal.is_file():
        return not results
    try:
        sizes: dict[str, int] = json.loads(seal.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return all(
        (node / name).is_file() and (node / name).stat().st_size == size
        for name, size in sizes.items()
    )


def _is_gzip(path: Path) -> bool:
    """Tell whether a compressed file can be read to its end, without making anything of it."""
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return True
