"""The folder for intermediate results, which nobody else may write to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from npi_bids.errors import SettingsError

# A file that is in every work folder.
MADE_HERE = "nipype/nipype.cfg"
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
