"""The work folder: private to its user, whole results are used again, damaged ones are not."""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import json
import os
import pickletools
import shutil
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from npi_bids.errors import (
    SettingsError,
)
from npi_bids.io.files import SEAL

# Files of a node that Nipype writes; their names begin with this, as that of the seal does.
_OWN = "_"
# Class of Nipype's results, which a pickle of one names in its first few opcodes.
_RESULT, _HEAD = "InterfaceResult", 6
# A file that is in every work folder.
MADE_HERE = "nipype/nipype.cfg"


def drop_damaged(nodes: Iterable[Path]) -> int:
    """Remove the folders of nodes whose results are not whole.

    A power cut leaves files that are cut off. Nipype takes a result as cached by what went into
    it, so that half a file would go into all that follows.

    Parameters
    ----------
    nodes
        Folders of nodes; may be missing.

    Returns
    -------
    int
        Folders that were removed.
    """
    damaged = [node for node in nodes if any(node.glob("result_*.pklz")) and not _whole(node)]
    for node in damaged:
        shutil.rmtree(node, ignore_errors=True)
    return len(damaged)


def _whole(node: Path) -> bool:
    if not all(_is_pickle(path) for path in node.glob("*.pklz")):
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


def _is_pickle(path: Path) -> bool:
    """Tell whether a compressed pickle is well formed, without making anything of it.

    A node's result must be one of Nipype's, too: anything else ends the whole run when the next
    node reads it.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
        arguments = [argument for _, argument, _ in pickletools.genops(content)]
    except (OSError, EOFError, zlib.error, ValueError, UnicodeError):
        return False
    is_result = path.name.startswith("result_")
    return not is_result or _RESULT in arguments[:_HEAD]


@contextmanager
def reserved(work_dir: Path, names: Iterable[str], own: str) -> Iterator[Path]:
    """Give a folder for workflows that no other process uses for the same units.

    Parameters
    ----------
    work_dir
        Where intermediate results go.
    names
        Of the units to compute.
    own
        Name of a folder below ``work_dir`` for the case that another process computes one of
        them already; it is removed at the end.

    Yields
    ------
    Path
        ``work_dir``, whose results are used again, or the folder of its own.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    with (work_dir / "units.lock").open("a+b") as lock:
        # One byte of a file stands for a unit: a thousand units need no thousand open files, and
        # the system frees them whatever ends the process.
        # Every unit is taken, also after one that is not free.
        taken = [_take(lock.fileno(), name) for name in names]
        free = all(taken)
        folder = work_dir if free else work_dir / own
        try:
            yield folder
        finally:
            if not free:
                shutil.rmtree(folder, ignore_errors=True)


def _take(lock: int, name: str) -> bool:
    byte = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError as error:
        # Some file systems of clusters know no locks; then nobody can tell.
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def prepare_work_dir(folder: Path, *, trusted: bool = False) -> None:
    """Make the work folder, readable and writable for its user alone, or check that it is safe.

    Nipype keeps results as pickles, and reading a pickle can run any code: whoever can write to
    the folder can run programs as the user. A folder that is there must belong to the user, and
    nobody else may write to it, unless it is empty. The mode of a folder that was made for other
    things, and that nobody else can write to, is left alone.

    Parameters
    ----------
    folder
        Absolute path without links.
    trusted
        Whether to take a folder as it is.

    Raises
    ------
    SettingsError
        The folder cannot be trusted.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
        return
    except FileExistsError:
        if not folder.is_dir():
            raise SettingsError(f"-w <{folder}> is no folder; choose another.") from None
    if trusted:
        return
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise SettingsError(_refusal(folder, f"belongs to user {found.st_uid}, not to you"))
    mode = stat.S_IMODE(found.st_mode)
    if mode & _OTHERS:
        folder.chmod(0o700)  # first, so that nobody puts a file there after the look at it
        if any(folder.iterdir()):
            folder.chmod(mode)
            raise SettingsError(_refusal(folder, f"can be written to by others (mode {mode:o})"))
    elif (folder / MADE_HERE).is_file():
        folder.chmod(0o700)  # made by an earlier version, as the umask had it


def _refusal(folder: Path, problem: str) -> str:
    return (
        f"The work folder <{folder}> {problem}. Intermediate results are read from it as pickles, "
        "which can run any code that somebody put there. Choose another folder (-w), or, where "
        "you trust all who can write to this one, give --trust-work-dir."
    )
