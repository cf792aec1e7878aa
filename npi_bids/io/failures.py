"""Why a step failed, in a file that another process reads: class, exit code and message."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from npi_bids.errors import InputDataError, NPIError
from npi_bids.io.files import read_json, write_text

# In the folder of the node that failed; Nipype's own files there begin with _ too.
FAILURE = "_failure.json"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that has left the process in which it was raised.

    Attributes
    ----------
    error
        Name of its class.
    exit_code
        Of the command that it ends.
    message
        Its words, with line breaks where it has some.
    on_purpose
        Whether npi-bids raised it to tell the user something; anything else is a fault of the
        program or of the machine.
    """

    error: str
    exit_code: int
    message: str
    on_purpose: bool


def failure_of(error: BaseException) -> Failure:
    """Describe an error.

    >>> failure_of(InputDataError("<a.tsv> is empty.")).exit_code
    3
    """
    # Names of files may hold bytes that are no text, which no file in UTF-8 can hold.
    message = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
    code = error.exit_code if isinstance(error, NPIError) else 1
    return Failure(
        type(error).__name__, code, message or type(error).__name__, isinstance(error, NPIError)
    )


def write_failure(error: BaseException, path: Path) -> None:
    """Write why a step failed as JSON; the folder is made where it is missing."""
    write_text(path, json.dumps(asdict(failure_of(error)), indent=2) + "\n")


def read_failure(path: Path) -> Failure | None:
    """Read what :func:`write_failure` wrote; None where there is no such file, or half of one."""
    try:
        return Failure(**read_json(path))
    except (InputDataError, TypeError):
        return None
