"""BIDS URIs of files that a sidecar names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from npi_bids.bids.outputs import printable
from npi_bids.errors import InputDataError

_SAME_DATASET = "bids::"


def resolve_uri(uri: object, root: Path) -> Path:
    """Return the path of a file that a sidecar of the same dataset names.

    Symbolic links are followed wherever they lead, since they are part of the dataset.

    Parameters
    ----------
    uri
        Value in the JSON: ``bids::sub-01/func/...``, or a path relative to the dataset.
    root
        Root of the dataset.

    Raises
    ------
    InputDataError
        It is not such a URI, names another dataset, or points outside this one.

    >>> resolve_uri("bids::sub-01/func/a.tsv", Path("out")).as_posix()
    'out/sub-01/func/a.tsv'
    """
    wrong = ""
    name = uri.removeprefix(_SAME_DATASET) if isinstance(uri, str) else ""
    path = PurePosixPath(name)
    if not isinstance(uri, str):
        wrong = "is not a string"
    elif not path.parts or not name.isprintable():
        wrong = "names no file"
    elif ":" in path.parts[0]:
        wrong = "names another dataset"
    elif path.is_absolute() or ".." in path.parts:
        wrong = "points outside the dataset"
    if wrong:
        raise InputDataError(
            f"A sidecar of <{root}> refers to {printable(uri)}, which {wrong}; expected a URI "
            "such as bids::sub-01/func/NAME."
        )
    return root / path


def regions_file(node_files: Sequence[str], root: Path) -> Path:
    """Return the table of the regions of a matrix, as its sidecar names it.

    Raises
    ------
    InputDataError
        The sidecar does not name it, or names a file outside the dataset.
    """
    return resolve_uri(node_files[0] if node_files else None, root)
