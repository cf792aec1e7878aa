"""The claim of an output dataset for one configuration, which holds between processes."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, TypedDict, cast

from npi_bids.errors import ConfigurationError
from npi_bids.io.files import current_umask, partial_name


class _Claim(TypedDict, total=False):
    """The process that claims a dataset, and its configuration.

    ``OnlyConfiguration`` is true where the dataset held no results of another one.
    """

    ConfigurationHash: str
    OnlyConfiguration: bool
    Host: str
    ProcessID: int
    Since: str


@contextmanager
def claim_dataset(
    path: Path, configuration: str, check: Callable[[], object], *, sole: bool = False
) -> Iterator[None]:
    """Claim an output dataset for a configuration, until the block ends.

    Processes with the same configuration share a claim. Another configuration can take it over
    once no process holds it any more, which is ensured by a file lock that ends with its process.
    On file systems without locks, the first claim remains.

    Parameters
    ----------
    path
        The claim file in the dataset.
    configuration
        Hash of all settings that shape a result.
    check
        Raises a ConfigurationError if the dataset contains results that rule out this
        configuration. It is called again once no other process can write results.
    sole
        Whether a dataset that passes the check holds no results of another configuration.

    Raises
    ------
    ConfigurationError
        Another configuration holds the claim.
    """
    check()
    path.parent.mkdir(parents=True, exist_ok=True)
    _create(path, configuration, sole=sole)
    with _open(path) as file:
        is_stated = is_sole_configuration if sole else _is_holder
        if _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB) and not is_stated(path, configuration):
            check()
            file.seek(0)
            file.truncate()
            file.write(_content(configuration, sole=sole))
            file.flush()
        # Another configuration may take the claim between the two locks.
        _lock(file, fcntl.LOCK_SH)
        check_claim(path, configuration)
        yield


def is_sole_configuration(path: Path, configuration: str) -> bool:
    """Tell whether a claim says that all results of its dataset are of a configuration.

    Since every process that saves a result checks the claim, none of another can have come since.
    """
    claim = _read(path)
    return claim.get("ConfigurationHash") == configuration and (
        claim.get("OnlyConfiguration") is True
    )


def check_claim(path: Path, configuration: str) -> None:
    """Raise a ConfigurationError if a dataset is claimed for another configuration.

    Any process may write to a dataset without a claim.
    """
    claim = _read(path)
    other = _holder(path)
    if other in (None, configuration):
        return
    out_dir = path.parent.parent
    raise ConfigurationError(
        f"<{out_dir}> is being written with another configuration ({other}, by process "
        f"{claim.get('ProcessID')} on {claim.get('Host')} since {claim.get('Since')}); this one "
        f"is {configuration}. Use another out_dir, or wait until the other run has ended. If it "
        f"has already ended, delete <{path}>."
    )


def _create(path: Path, configuration: str, *, sole: bool) -> None:
    """Create the claim file with its content, unless it exists."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=partial_name())
    temporary = Path(name)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(_content(configuration, sole=sole))
    temporary.chmod(0o666 & ~current_umask())
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(_content(configuration, sole=sole))
    finally:
        temporary.unlink()


def _open(path: Path) -> IO[str]:
    """Open a claim file for locking; that of another user may be read-only."""
    try:
        return path.open("r+", encoding="utf-8")
    except PermissionError:
        return path.open(encoding="utf-8")


def _read(path: Path) -> _Claim:
    """Return the claim; empty if there is none, or if a power cut left it incomplete."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return cast("_Claim", content) if isinstance(content, dict) else {}


def _holder(path: Path) -> str | None:
    return _read(path).get("ConfigurationHash")


def _is_holder(path: Path, configuration: str) -> bool:
    return _holder(path) == configuration


def _content(configuration: str, *, sole: bool) -> str:
    content = {
        "ConfigurationHash": configuration,
        "OnlyConfiguration": sole,
        "Host": socket.gethostname(),
        "ProcessID": os.getpid(),
        "Since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    return json.dumps(content, indent=2) + "\n"


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Let one process after the other rewrite files of a folder, until the block ends.

    On file systems that cannot lock folders, it does not wait.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _lock(file: IO[str] | int, operation: int) -> bool:
    """Lock a file and return whether this succeeded; it fails on file systems without locks."""
    try:
        fcntl.flock(file, operation)
    except OSError:
        return False
    return True
