"""The reference of the commands as a page, generated from their parsers."""

from __future__ import annotations

import re
from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Iterator, Mapping
from pathlib import Path

from npi_bids.cli import (
    cluster,
    demo,
    ec,
    explore,
    export,
    fetch,
    infer,
    lif,
    parser,
    perturb,
    simulate,
    validate,
    view,
)

_HEAD = """# Command line

Every option of every command, generated from the parsers. `npi-bids --help` shows the same text;
[Usage](usage.md) explains what belongs together.
"""
# Characters that mean something in Markdown.
_MARKUP = re.compile(r"([\\`*_<>\[\]{}$|#~@])")
# Commands that take all options of another one beside their own.
_TAKES_ALL = {"npi-bids-slurm": "npi-bids"}
_SEES = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]+)")


def parsers() -> dict[str, ArgumentParser]:
    """Return the parser of each command."""
    return {
        "npi-bids": parser.build_parser(),
        "npi-bids-demo": demo.build_parser(),
        "npi-bids-fetch": fetch.build_parser(),
        "npi-bids-slurm": cluster.build_parser(),
        "npi-ec": ec.build_parser(),
        "npi-infer": infer.build_parser(),
        "npi-perturb": perturb.build_parser(),
        "npi-explore": explore.build_parser()[0],
        "npi-export": export.build_parser(),
        "npi-simulate": simulate.build_parser()[0],
        "npi-simulate lif": lif.build_parser(),
        "npi-validate": validate.build_recovery_parser(),
        "npi-validate power": validate.build_power_parser()[0],
        "npi-validate compare": validate.build_parser(),
        "npi-view": view.build_parser(),
    }


def cli_reference() -> str:
    """Return the page as Markdown."""
    commands = parsers()
    lines = [_HEAD]
    for name, command in commands.items():
        known = _helps(commands[_TAKES_ALL[name]]) if name in _TAKES_ALL else {}
        lines += _command(command, known)
        if known:
            lines.append(f"All options of `{_TAKES_ALL[name]}` as well.\n")
    return "\n".join(lines) + "\n"


def write_cli_reference(path: Path) -> None:
    """Write the page if it has changed, so that Sphinx reads it again only then."""
    text = cli_reference()
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _helps(command: ArgumentParser) -> dict[str, str | None]:
    """Return the help of each option and argument."""
    return {action.dest: action.help for action in command._actions}


def _command(command: ArgumentParser, known: Mapping[str, str | None]) -> Iterator[str]:
    """Yield the section of a command, without what is known from another one."""
    description, _, example = (command.description or "").partition("\n\nexample:\n")
    yield f"\n## {command.prog}\n"
    yield escape(" ".join(description.split())) + "\n"
    yield f"```text\n{command.format_usage().removeprefix('usage: ').strip()}\n```\n"
    if example:
        lines = "\n".join(line.removeprefix("  ") for line in example.splitlines())
        yield f"Example:\n\n```bash\n{lines}\n```\n"
    for group in command._action_groups:
        actions = [
            action
            for action in group._group_actions
            if action.help not in (SUPPRESS, known.get(action.dest, SUPPRESS))
        ]
        if actions:
            title = group.title or "options"
            yield f"### {title[0].upper()}{title[1:]}\n"
            for action in actions:
                yield from _option(command, action)
    if command.epilog:
        yield f"```text\n{command.epilog.strip()}\n```\n"


def _option(command: ArgumentParser, action: Action) -> Iterator[str]:
    formatter = command._get_formatter()
    name = formatter._format_action_invocation(action)
    yield f"`` {name} ``"
    yield f": {escape(formatter._expand_help(action))}\n"


def escape(text: str) -> str:
    r"""Return a text with the characters of Markdown escaped, and names of options as code.

    >>> escape("rows are [source, target]; see --atlas")
    'rows are \\[source, target\\]; see `--atlas`'
    """
    return _SEES.sub(r"`\1`", _MARKUP.sub(r"\\\1", text))
