"""Write files so that a reader never meets half of one."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from npi_bids.errors import InputDataError

# How a message looks, and the environment variable that tells workers which are shown.
LOG_LINE = "%(asctime)s %(levelname)-7s %(message)s"
LOG_LEVEL = "NPI_BIDS_LOG_LEVEL"
_PARTIAL = ".partial_"


def _mark() -> str:
    """Return how the name of a file in the making begins: it tells who makes it."""
    host = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())
    return f"{_PARTIAL}{host}-{os.getpid()}_"


def remove_leftovers(root: Path) -> int:
    """Remove files in the making whose makers were killed, on this machine.

    Returns
    -------
    int
        How many were removed.
    """
    host = _mark().rpartition("-")[0]
    removed = 0
    # Others may write here now: os.walk passes over what vanishes, where Path.rglob raises.
    for folder, _, names in os.walk(root):
        for name in names:
            if not name.startswith(host):
                continue
            pid = name.removeprefix(f"{host}-").partition("_")[0]
            if pid.isdigit() and not _is_alive(int(pid)):
                Path(folder, name).unlink(missing_ok=True)
                removed += 1
    return removed


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and put it in its place when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_mark(), suffix=f"_{path.name}")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; results are as readable as the user's umask says.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_case(path: Path, root: Path) -> None:
    """Refuse a path that differs from one that is there in nothing but capital letters.

    On file systems that do not tell them apart, one would overwrite the other.

    Parameters
    ----------
    path
        Where something is to be written.
    root
        Folder of the dataset; what is below it is compared.

    Raises
    ------
    InputDataError
        There is such a path; names both.
    """
    folder = root
    for name in path.relative_to(root).parts:
        there = os.listdir(folder) if folder.is_dir() else []
        if twins := [other for other in there if other != name and other.lower() == name.lower()]:
            raise InputDataError(
                f"<{folder / name}> differs from <{folder / twins[0]}> only in capital letters, "
                "which not every file system tells apart; rename what they are called after."
            )
        folder /= name


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically; a number that is not finite becomes null."""
    write_text(path, json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputDataError
        The file is missing or does not hold a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputDataError(f"<{path}> cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputDataError(f"<{path}> holds {type(content).__name__}; expected a JSON object.")
    return content


def copy_file(source: Path, target: Path) -> None:
    """Copy a file atomically."""
    with replacing(target) as temporary:
        temporary.write_bytes(source.read_bytes())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
