"""Failures of workflow steps, passed between processes in a file: class, exit code, message."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from npi_bids.errors import InputDataError, NPIError
from npi_bids.io.files import is_full, read_json, write_text

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
        Exit code of the command that it terminates.
    message
        Text of the error, including line breaks.
    on_purpose
        Whether npi-bids raised it as a message to the user; any other error is a fault of the
        program or of the machine.
    """

    error: str
    exit_code: int
    message: str
    on_purpose: bool


def describe_failure(error: BaseException) -> Failure:
    """Describe an error.

    >>> describe_failure(InputDataError("<a.tsv> is empty.")).exit_code
    3
    """
    text = str(error)
    if isinstance(error, FileNotFoundError) and error.errno is None:
        # Nipype raises it with the path alone where the result of an earlier step is missing.
        text = (
            f"<{text}>, which an earlier step has written, is not there. A network file system "
            "may show it only after some seconds; run the same command again."
        )
    if is_full(error):
        text += "; make room on the disk, and run the same command again"
    # File names may contain bytes that cannot be encoded in UTF-8.
    message = text.encode("utf-8", "backslashreplace").decode("utf-8")
    code = error.exit_code if isinstance(error, NPIError) else 1
    return Failure(
        type(error).__name__, code, message or type(error).__name__, isinstance(error, NPIError)
    )


def write_failure(error: BaseException, path: Path) -> None:
    """Write why a step failed as JSON; a missing folder is created."""
    write_text(path, json.dumps(asdict(describe_failure(error)), indent=2) + "\n")


def read_failure(path: Path) -> Failure | None:
    """Read the output of :func:`write_failure`; None if the file is missing or incomplete."""
    try:
        return Failure(**read_json(path))
    except (InputDataError, TypeError):
        return None
