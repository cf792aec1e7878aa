"""The work folder: private to its user; complete results are reused, damaged ones are not."""

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

# Prefix of the names of files that Nipype writes for a node, and of the seal.
_NIPYPE_PREFIX = "_"
# Class of Nipype's results, which their pickles name in the first few opcodes.
_RESULT, _HEAD = "InterfaceResult", 6
# A file that is in every work folder.
MARKER = "nipype/nipype.cfg"


def drop_damaged(nodes: Iterable[Path]) -> int:
    """Remove the folders of nodes whose results are incomplete.

    A power cut leaves truncated files. Nipype identifies a cached result by its inputs, so that a
    truncated file would enter all later steps.

    Parameters
    ----------
    nodes
        Folders of nodes; they may be missing.

    Returns
    -------
    int
        Number of removed folders.
    """
    damaged = [
        node for node in nodes if any(node.glob("result_*.pklz")) and not _is_complete(node)
    ]
    for node in damaged:
        shutil.rmtree(node, ignore_errors=True)
    return len(damaged)


def _is_complete(node: Path) -> bool:
    if not all(_is_pickle(path) for path in node.glob("*.pklz")):
        return False
    outputs = {path.name for path in node.iterdir() if path.is_file()}
    outputs = {
        name
        for name in outputs
        if not name.startswith(_NIPYPE_PREFIX)
        and not name.endswith(".pklz")
        and name != "command.txt"
    }
    seal = node / SEAL
    if not seal.is_file():
        return not outputs
    try:
        sizes: dict[str, int] = json.loads(seal.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return all(
        (node / name).is_file() and (node / name).stat().st_size == n_bytes
        for name, n_bytes in sizes.items()
    )


def _is_pickle(path: Path) -> bool:
    """Tell whether a compressed pickle is well formed, without loading it.

    The result of a node must also be one of Nipype's: anything else ends the whole run when the
    next node reads it.
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
def reserve_work_dir(work_dir: Path, names: Iterable[str], fallback: str) -> Iterator[Path]:
    """Reserve a folder for workflows that no other process uses for the same units.

    Parameters
    ----------
    work_dir
        Where intermediate results go.
    names
        Names of the units to compute.
    fallback
        Name of a folder below ``work_dir`` that is used if another process already computes one
        of them; it is removed at the end.

    Yields
    ------
    Path
        ``work_dir``, whose results are reused, or the fallback folder.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    with (work_dir / "units.lock").open("a+b") as lock:
        # One byte of a file stands for a unit: a thousand units need no thousand open files, and
        # the system releases the locks whatever ends the process.
        # Every unit is locked, even after one that is not free.
        locked = [_lock_unit(lock.fileno(), name) for name in names]
        free = all(locked)
        folder = work_dir if free else work_dir / fallback
        try:
            yield folder
        finally:
            if not free:
                shutil.rmtree(folder, ignore_errors=True)


def _lock_unit(lock: int, name: str) -> bool:
    byte = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError as error:
        # Some cluster file systems have no locks; then nobody can tell.
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


_WRITABLE_BEYOND_USER = stat.S_IWGRP | stat.S_IWOTH


def prepare_work_dir(folder: Path, *, trusted: bool = False) -> None:
    """Create the work folder, readable and writable for its user alone, or check it.

    Nipype keeps results as pickles, and reading a pickle can run any code: whoever can write to
    the folder can run programs as the user. An existing folder must belong to the user, and
    nobody else may write to it, unless it is empty. The mode of a folder that serves another
    purpose, and that nobody else can write to, is left unchanged.

    Parameters
    ----------
    folder
        Absolute path without links.
    trusted
        Whether to accept a folder as it is.

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
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise SettingsError(
            _refusal_message(folder, f"belongs to user {status.st_uid}, not to you")
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & _WRITABLE_BEYOND_USER:
        folder.chmod(0o700)  # first, so that nobody adds a file after the check
        if any(folder.iterdir()):
            folder.chmod(mode)
            raise SettingsError(
                _refusal_message(folder, f"can be written to by others (mode {mode:o})")
            )
    elif (folder / MARKER).is_file():
        folder.chmod(0o700)  # created by an earlier version, with the mode of the umask


def _refusal_message(folder: Path, problem: str) -> str:
    return (
        f"The work folder <{folder}> {problem}. Intermediate results are read from it as pickles, "
        "which can run any code that somebody put there. Choose another folder (-w), or, where "
        "you trust all who can write to this one, give --trust-work-dir."
    )
