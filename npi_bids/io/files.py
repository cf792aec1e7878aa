"""Atomic writing of files and folders, so that readers never see an incomplete one."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import logging
import math
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from npi_bids.errors import (
    InputDataError,
)

# Format of log messages, and the environment variable that sets the log level of workers.
LOG_LINE = "%(asctime)s %(levelname)-7s %(message)s"
LOG_LEVEL = "NPI_BIDS_LOG_LEVEL"
# Sizes of the output files of a workflow node; written last.
SEAL = "_sizes.json"
_PARTIAL = ".partial_"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Longest time in seconds for which a network file system may hide what another machine has
# written (attributes of folders on NFS: acdirmax of nfs(5)), and between two looks.
_LONGEST_LAG, _PAUSE = 60.0, 0.2


class LogFile(logging.FileHandler):
    """A log file whose loss, as on a full disk, neither ends a command nor shows tracebacks."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (of logging)
        """Drop a line that cannot be written; other errors are reported as usual."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file; lines that cannot be written are lost."""
        with suppress(OSError):
            super().close()


def is_full(error: BaseException) -> bool:
    """Tell whether an error is that of a full disk, a used up quota, or a limit of file sizes."""
    return isinstance(error, OSError) and error.errno in _FULL


def wait_until(condition: Callable[[], bool], seconds: float = _LONGEST_LAG) -> bool:
    """Wait until a condition holds, such as that the file of another machine can be seen.

    Parameters
    ----------
    condition
        The condition.
    seconds
        How long to wait at most.

    Returns
    -------
    bool
        Whether the condition held in the end.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE)
    return True


def partial_name() -> str:
    """Return the prefix of unfinished files, which identifies the process that writes them."""
    host = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())
    return f"{_PARTIAL}{host}-{os.getpid()}_"


def remove_leftovers(root: Path, skipped: Callable[[str], bool] = lambda _: False) -> int:
    """Remove unfinished files and folders of processes on this machine that were killed.

    Parameters
    ----------
    root
        Where to look for them.
    skipped
        Tells by its name whether a folder is left as it is.

    Returns
    -------
    int
        Number of files and folders removed.
    """
    removed = 0
    # Other processes may write here: os.walk skips what vanishes, while Path.rglob raises.
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            removed += _remove_leftover(Path(folder, name))
        folders[:] = [name for name in folders if not (name.startswith(_PARTIAL) or skipped(name))]
    return removed


def _remove_leftover(path: Path) -> bool:
    """Remove an unfinished file or folder if the process that wrote it, on this machine, ended."""
    host = partial_name().rpartition("-")[0]
    pid = path.name.removeprefix(f"{host}-").partition("_")[0]
    if not path.name.startswith(host) or not pid.isdigit() or _is_alive(int(pid)):
        return False
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return True


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
    """Yield a temporary path beside ``path``, which replaces ``path`` on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=partial_name(), suffix=f"_{path.name}")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; results are as readable as the user's umask says.
        temporary.chmod(0o666 & ~current_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_case(path: Path, root: Path) -> None:
    """Refuse a path that differs from an existing one only in upper and lower case.

    On case-insensitive file systems, one would overwrite the other.

    Parameters
    ----------
    path
        Path to be written.
    root
        Root of the dataset; the parts of the path below it are compared.

    Raises
    ------
    InputDataError
        Such a path exists; the message names both.
    """
    folder = root
    for name in path.relative_to(root).parts:
        existing = os.listdir(folder) if folder.is_dir() else []
        if twins := [
            other for other in existing if other != name and other.lower() == name.lower()
        ]:
            raise InputDataError(
                f"<{folder / name}> differs from <{folder / twins[0]}> only in capital letters, "
                "which some file systems do not distinguish; rename the label that they contain."
            )
        folder /= name


@contextmanager
def replacing_folder(path: Path, *, new: bool = False) -> Iterator[Path]:
    """Yield a temporary folder, whose content is moved into ``path`` on success.

    If ``path`` is missing or empty, it appears at once with all of its files. If it already
    contains files, each file is moved separately. Leftovers of earlier attempts by processes that
    were killed are removed.

    Parameters
    ----------
    path
        The folder.
    new
        Whether ``path`` must be missing or empty at the end.

    Yields
    ------
    Path
        A hidden folder beside ``path``, or inside it where the parent cannot be used.

    Raises
    ------
    OSError
        A folder that must be new contains files.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_attempts(path)
    parent = path if _must_stay(path) else path.parent
    temporary = Path(tempfile.mkdtemp(dir=parent, prefix=partial_name(), suffix=f"_{path.name}"))
    try:
        yield temporary
        temporary.chmod(path.stat().st_mode if path.is_dir() else 0o777 & ~current_umask())
        _install_folder(temporary, path, new=new)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_attempts(path: Path) -> None:
    """Remove unfinished copies of a folder that killed processes left behind."""
    path = path.resolve()
    for folder in (path.parent, path):
        for leftover in folder.glob(f"{_PARTIAL}*_{glob.escape(path.name)}"):
            _remove_leftover(leftover)


def _must_stay(path: Path) -> bool:
    """Tell whether a folder exists that cannot be replaced.

    It is mounted, as in a container, or contains the working directory.
    """
    if not path.is_dir():
        return False
    mounted = path.stat().st_dev != path.parent.stat().st_dev
    return mounted or not os.access(path.parent, os.W_OK) or Path.cwd().is_relative_to(path)


def _install_folder(folder: Path, path: Path, *, new: bool) -> None:
    if folder.parent != path:
        try:
            folder.rename(path)
            return
        except OSError as error:
            if new and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    elif new and any(entry != folder for entry in path.iterdir()):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
    _move_files(folder, path)


def _move_files(folder: Path, path: Path) -> None:
    for entry in sorted(folder.iterdir()):
        target = path / entry.name
        if entry.is_dir() and target.is_dir():
            _move_files(entry, target)
        else:
            entry.replace(target)


def current_umask() -> int:
    """Return the permission mask of new files, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON atomically; a number that is not finite becomes null."""
    write_text(path, json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputDataError
        The file is missing or does not contain a JSON object.
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


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def digest(path: Path) -> str:
    """Return a short hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
