"""Error reporting of all commands, for expected and unexpected errors."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from npi_bids.cli.arguments import help_line
from npi_bids.errors import NPIError, UsageError
from npi_bids.io.files import is_full
from npi_bids.io.garbage import less_garbage_collection

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_FULL = "Make room and run the same command again; what is complete is kept."
_ISSUES = "https://github.com/npi-bids/npi-bids/issues"


def run_command(
    name: str, function: Callable[[list[str]], int], argv: Sequence[str] | None = None
) -> int:
    """Run a command and return its exit code; no error reaches the user as a traceback.

    An unexpected error is reported in one sentence that names the file with its traceback: the log
    of the run if there is one, else a file in the system's temporary folder. With ``-v``
    tracebacks are shown too.

    Parameters
    ----------
    name
        Name of the command.
    function
        Called with the command-line arguments; returns the exit code.
    argv
        Command-line arguments; those of this process if None.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with one_blas_thread(), less_garbage_collection():
            return function(arguments)
    except (NPIError, OSError) as error:
        _log_traceback(error, arguments)
        if isinstance(error, UsageError):
            sys.stderr.write(f"{name}: {_list_faults(str(error))}\n{help_line(name)}")
        elif is_full(error):
            sys.stderr.write(f"{name}: {error}. {_FULL}\n")
        else:
            sys.stderr.write(f"{name}: {error}\n")
        return error.exit_code if isinstance(error, NPIError) else 1
    except Exception as error:  # noqa: BLE001 (the last handler; what arrives here is a bug)
        path = _log_traceback(error, arguments) or _write_crash_file(name, error)
        sys.stderr.write(_describe_error(name, error, path))
        return 1
    finally:
        _close_log()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let the linear algebra of numpy run on one thread, here and in processes started from here.

    Two threads of OpenBLAS spin while they wait for each other: on small matrices and a busy
    machine they took 20 times the computing time of one, and results differed in their last bits.
    Variables that the user has set take precedence in processes started from here; torch takes
    its number of threads from OMP_NUM_THREADS.
    """
    for name in _THREADS:
        os.environ.setdefault(name, "1")
    if "numpy" not in sys.modules:  # which reads the variables when it is loaded
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def _list_faults(message: str) -> str:
    """Return a single fault as it is, and several as a list."""
    faults = message.splitlines()
    if len(faults) == 1:
        return message
    return "\n".join(["the options cannot be used:", *(f"  {fault}" for fault in faults)])


def _describe_error(name: str, error: Exception, path: Path | None) -> str:
    where = f"the traceback is in <{path}>" if path else "its traceback could not be written"
    if isinstance(error, MemoryError):
        return (
            f"{name}: there is not enough memory (MemoryError: {error}); {where}. Give more "
            "memory, or check the size of the input.\n"
        )
    return (
        f"{name}: stopped by an unexpected error, {type(error).__name__}: {error}; {where}. This "
        f"is a bug: please report it with that file at {_ISSUES}.\n"
    )


def _log_traceback(error: Exception, argv: Sequence[str]) -> Path | None:
    """Write the traceback into the log of the run and return its path; None where none is open."""
    logger = logging.getLogger("npi_bids")
    files = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
    if files:  # the terminal shows this level with -v alone
        logger.debug("The run ended with an error", exc_info=error)
        return Path(files[0].baseFilename)
    if {"-v", "--verbose"} & set(argv):
        traceback.print_exception(error)
    return None


def _write_crash_file(name: str, error: Exception) -> Path | None:
    """Write the traceback into a file of its own; never into the current folder."""
    folder = Path(tempfile.gettempdir())
    try:
        if folder.samefile(os.curdir):
            return None
        handle, path = tempfile.mkstemp(prefix=f"{name}_crash_", suffix=".txt", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return None
    return Path(path)


def _close_log() -> None:
    """Close the log file of the run, so that nothing that follows goes into it."""
    logger = logging.getLogger("npi_bids")
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            logger.removeHandler(handler)
            handler.close()
