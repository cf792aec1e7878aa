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
    """Who holds a dataset, and for which configuration."""

    ConfigurationHash: str
    Host: str
    ProcessID: int
    Since: str


@contextmanager
def claimed(path: Path, configuration: str, check: Callable[[], object]) -> Iterator[None]:
    """Claim an output dataset for a configuration, until the block ends.

    Processes of one configuration hold a claim together. It can be taken over by another
    configuration when no process holds it any more, which the system knows by a lock that ends
    with its process. Where the file system knows no locks, the first claim stays.

    Parameters
    ----------
    path
        The file of the claim, in the dataset.
    configuration
        Hash of all settings that shape a result.
    check
        Raises a ConfigurationError where the dataset holds results that forbid this
        configuration. It is called again once nobody else can write any.

    Raises
    ------
    ConfigurationError
        Another configuration holds the claim.
    """
    check()
    path.parent.mkdir(parents=True, exist_ok=True)
    _create(path, configuration)
    with _open(path) as file:
        if _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB) and _holder(path) != configuration:
            check()
            file.seek(0)
            file.truncate()
            file.write(_content(configuration))
            file.flush()
        # Another configuration may take the claim between the two locks.
        _lock(file, fcntl.LOCK_SH)
        check_claim(path, configuration)
        yield


def check_claim(path: Path, configuration: str) -> None:
    """Raise a ConfigurationError where a dataset is claimed for another configuration.

    A dataset that nobody claimed may be written to by anybody.
    """
    claim = _read(path)
    other = _holder(path)
    if other in (None, configuration):
        return
    out_dir = path.parent.parent
    raise ConfigurationError(
        f"<{out_dir}> is being written with another configuration ({other}, by process "
        f"{claim.get('ProcessID')} on {claim.get('Host')} since {claim.get('Since')}); this one "
        f"is {configuration}. Use another out_dir, or wait until the other run has ended. Where "
        f"it has ended already, delete <{path}>."
    )


def _create(path: Path, configuration: str) -> None:
    """Create the file of a claim with its content, unless it is there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=partial_name())
    temporary = Path(name)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(_content(configuration))
    temporary.chmod(0o666 & ~current_umask())
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(_content(configuration))
    finally:
        temporary.unlink()


def _open(path: Path) -> IO[str]:
    """Open a claim to be locked; one of another user may be read only."""
    try:
        return path.open("r+", encoding="utf-8")
    except PermissionError:
        return path.open(encoding="utf-8")


def _read(path: Path) -> _Claim:
    """Return the claim; empty where there is none, or one that a power cut left in half."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return cast("_Claim", content) if isinstance(content, dict) else {}


def _holder(path: Path) -> str | None:
    return _read(path).get("ConfigurationHash")


def _content(configuration: str) -> str:
    content = {
        "ConfigurationHash": configuration,
        "Host": socket.gethostname(),
        "ProcessID": os.getpid(),
        "Since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    return json.dumps(content, indent=2) + "\n"


def _lock(file: IO[str], kind: int) -> bool:
    """Lock a file and return whether that went well; it does not where there are no locks."""
    try:
        fcntl.flock(file, kind)
    except OSError:
        return False
    return True
