"""Errors that a user can act upon, each with the exit code of the command line.

NPIError
    SettingsError          2  the options contradict each other or the data
        UsageError         2  values on the command line or in --config-file cannot be used
    InputDataError         3  the contents of the dataset cannot be used
    NoUsableDataError      4  the data are sound, but too few of them remain
    ConfigurationError     5  the output folder holds results of another configuration
    ReportError            6  the results are complete, a report failed
    SurrogateError         1  a surrogate could not be trained or is not fit for use
"""

from typing import ClassVar


class NPIError(Exception):
    """Base of every error that npi-bids raises on purpose."""

    exit_code: ClassVar[int] = 1


class SettingsError(NPIError, ValueError):
    """The options contradict each other or the data."""

    exit_code = 2


class UsageError(SettingsError):
    """Values on the command line or in ``--config-file`` cannot be used; the help has more."""


class InputDataError(NPIError, ValueError):
    """The contents of the dataset cannot be used."""

    exit_code = 3


class NoUsableDataError(InputDataError):
    """The data are sound, but too few of them remain after the thresholds."""

    exit_code = 4


class ConfigurationError(NPIError, ValueError):
    """The output folder holds results of another configuration."""

    exit_code = 5


class ReportError(NPIError, RuntimeError):
    """The results are complete, but a report could not be written."""

    exit_code = 6


class SurrogateError(NPIError, RuntimeError):
    """A surrogate could not be trained or is not fit for use."""


def find_exit_code(name: str) -> int:
    """Return the exit code of an error class by its name; 1 if npi-bids has no such class.

    >>> find_exit_code("InputDataError"), find_exit_code("KeyError")
    (3, 1)
    """
    classes: list[type[NPIError]] = [NPIError]
    for error_class in classes:
        if error_class.__name__ == name:
            return error_class.exit_code
        classes += error_class.__subclasses__()
    return NPIError.exit_code
