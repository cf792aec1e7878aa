"""Errors that a user can act upon, each with the exit code of the command line.

NPIError
    SettingsError          2  the options contradict each other or the data
        UsageError         2  values on the command line or in --config-file cannot be used
    InputDataError         3  what the dataset holds cannot be used
    NoUsableDataError      4  the data are sound, but too little of them is left
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
    """What the dataset holds cannot be used."""

    exit_code = 3


class NoUsableDataError(InputDataError):
    """The data are sound, but too little of them is left after the thresholds."""

    exit_code = 4


class ConfigurationError(NPIError, ValueError):
    """The output folder holds results of another configuration."""

    exit_code = 5


class ReportError(NPIError, RuntimeError):
    """The results are complete, but a report could not be written."""

    exit_code = 6


class SurrogateError(NPIError, RuntimeError):
    """A surrogate could not be trained or is not fit for use."""


def exit_code_of(name: str) -> int:
    """Return the exit code of the error class of a name; 1 where it is none of npi-bids.

    >>> exit_code_of("InputDataError"), exit_code_of("KeyError")
    (3, 1)
    """
    kinds: list[type[NPIError]] = [NPIError]
    for kind in kinds:
        if kind.__name__ == name:
            return kind.exit_code
        kinds += kind.__subclasses__()
    return NPIError.exit_code
