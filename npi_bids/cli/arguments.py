"""Argument parsers whose help fits 80 columns and whose usage errors take two lines."""

from __future__ import annotations

import sys
from argparse import (
    SUPPRESS,
    Action,
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, NoReturn

from npi_bids.wording import join_items, suggest_word

if TYPE_CHECKING:
    from argparse import _ActionsContainer

_WIDTH = 80


class _ShowVersion(Action):
    """Print the version, which is looked up only then, and end."""

    def __call__(self, parser: ArgumentParser, *_: object) -> NoReturn:
        from npi_bids import __version__

        sys.stdout.write(f"npi-bids {__version__}\n")
        parser.exit()


class CommandParser(ArgumentParser):
    """A parser of one command: short usage, an example, and errors that suggest what was meant.

    Parameters
    ----------
    name
        Name of the command.
    usage
        Positional arguments, as in the usage line.
    description
        What the command does, in one or two sentences.
    example
        Command lines of common cases.
    epilog
        Text after the options, with its line breaks; may be empty.
    """

    def __init__(
        self, name: str, usage: str, description: str, *, example: str, epilog: str = ""
    ) -> None:
        indented = "\n".join("  " + line for line in example.splitlines())
        super().__init__(
            name,
            usage=f"{name} [options] {usage}".rstrip(),
            description=f"{fill(description, _WIDTH - 2)}\n\nexample:\n{indented}",
            epilog=epilog or None,
            formatter_class=_HelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        self._argv: tuple[str, ...] = ()

    def add_help_options(self, group: _ActionsContainer | None = None) -> None:
        """Add ``--help`` and ``--version``, to a group of options if there is one."""
        container = group or self
        container.add_argument("-h", "--help", action="help", help="show this help and exit")
        container.add_argument("--version", action=_ShowVersion, nargs=0, default=SUPPRESS,
                           help="show the version and exit")  # fmt: skip

    def read(self, argv: Sequence[str]) -> Namespace:
        """Parse command-line arguments; underscores in names of options are accepted.

        Raises
        ------
        SystemExit
            Help or the version was shown (0), or the arguments cannot be used (2).
        """
        arguments = [with_dashes(word) for word in argv]
        self._argv = tuple(arguments)
        flags = [flag for action in self._actions for flag in action.option_strings]
        end = arguments.index("--") if "--" in arguments else len(arguments)
        for word in arguments[:end]:
            flag = word.partition("=")[0]
            if flag.startswith("--") and flag not in flags:
                self.error(f"{flag} is not an option{suggest_word(flag, flags) or '.'}")
        return self.parse_args(arguments)

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and a message: the error, a hint, and where to find help."""
        hint = self._explain_taken() if "arguments are required" in message else ""
        self.exit(2, f"{self.prog}: {message}{hint}\n{help_line(self.prog)}")

    def _explain_taken(self) -> str:
        """Say which option took the arguments that are missing, if one did."""
        greedy = {
            flag
            for action in self._actions
            if action.nargs == "+"
            for flag in action.option_strings
        }
        taken: dict[str, list[str]] = {}
        flag = ""
        for word in self._argv:
            if word.startswith("-"):
                flag = word
            elif flag in greedy:
                taken.setdefault(flag, []).append(word)
        if not taken:
            return ""
        flag, words = max(taken.items(), key=lambda item: len(item[1]))
        return (
            f" ({flag} takes all arguments that follow it, here {' '.join(words)}; put it last, "
            "or -- after its values.)"
        )


def help_line(name: str) -> str:
    r"""Return the line that follows a usage error.

    >>> help_line("npi-ec")
    'See npi-ec --help.\n'
    """
    return f"See {name} --help.\n"


def with_dashes(word: str) -> str:
    """Accept the underscore spellings of other BIDS Apps.

    >>> with_dashes("--participant_label=a_b")
    '--participant-label=a_b'
    """
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def choice_type(choices: Sequence[str]) -> Callable[[str], str]:
    """Return an argparse type that accepts one of the choices; its error lists them all.

    >>> choice_type(("grid", "both"))("gird")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: must be one of grid, both, not gird; did you mean grid?
    """

    def check(word: str) -> str:
        if word not in choices:
            hint = suggest_word(word, choices) or "."
            raise ArgumentTypeError(f"must be one of {join_items(choices)}, not {word}{hint}")
        return word

    return check


class _HelpFormatter(RawDescriptionHelpFormatter):
    """Name the values of an option once: ``-t, --task-id LABEL ...``."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=_WIDTH)

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        metavar = self._format_args(action, (action.dest or "").upper())
        return f"{', '.join(action.option_strings)} {metavar}"

    def _format_args(self, action: Action, default_metavar: str) -> str:
        if action.nargs == "+":
            return f"{action.metavar or default_metavar} ..."
        return super()._format_args(action, default_metavar)
