"""Options of the command line, made from the fields of settings classes and read back."""

from __future__ import annotations

import types
from argparse import SUPPRESS, Namespace
from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any, get_args, get_type_hints

from npi_bids.errors import SettingsError

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def add_options(group: Any, settings: type, without: Sequence[str] = ()) -> None:
    """Add one option for each field of a settings class, but some, to an argparse group."""
    hints = get_type_hints(settings)
    for field in fields(settings):
        if field.name not in without:
            _add_option(group, field, hints[field.name])


def given_options(args: Namespace, settings: type, problems: list[str]) -> dict[str, Any]:
    """Return what the user gave, converted; what cannot be converted is added to the problems."""
    hints = get_type_hints(settings)
    values: dict[str, Any] = {}
    for field in fields(settings):
        if not hasattr(args, field.name):
            continue
        raw = getattr(args, field.name)
        try:
            values[field.name] = _convert(raw, hints[field.name])
        except ValueError:
            kind = scalar_of(hints[field.name])
            words = {int: "a whole number", float: "a number", bool: "yes or no"}[kind]
            problems.append(f"{flag(field)} must be {words}, not {raw!r}.")
    return values


def make_settings(args: Namespace, classes: Sequence[type]) -> dict[type, Any]:
    """Return one settings object of each class, from the options that were given.

    Raises
    ------
    SettingsError
        Values are wrong; all of them are named together.
    """
    problems: list[str] = []
    given = {cls: given_options(args, cls, problems) for cls in classes}
    return checked_settings(given, problems)


def checked_settings(given: dict[type, dict[str, Any]], problems: list[str]) -> dict[type, Any]:
    """Return one settings object of each class; raise all problems together."""
    made: dict[type, Any] = {}
    for cls, values in given.items():
        try:
            made[cls] = cls(**values)
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))
    return made


def with_dashes(word: str) -> str:
    """Accept the underscore spellings of other BIDS Apps: ``--participant_label``."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def flag(field: Field[Any]) -> str:
    """Return the long flag of a field."""
    return "--" + str(field.metadata.get("flag", field.name.replace("_", "-")))


def _add_option(group: Any, field: Field[Any], hint: Any) -> None:
    aliases = [f"-{a}" if len(a) == 1 else f"--{a}" for a in field.metadata.get("aliases", ())]
    text = field.metadata["help"].replace("%", "%%")
    options: dict[str, Any] = {"dest": field.name, "default": SUPPRESS}
    if hint is bool and field.default is False:
        options["action"] = "store_true"
    else:
        choices = field.metadata.get("choices")
        options["metavar"] = "{" + ",".join(map(str, choices)) + "}" if choices else (
            field.metadata.get("metavar", "VALUE")
        )  # fmt: skip
        if isinstance(field.default, tuple):
            options["nargs"] = "+"
        if field.default not in (None, "", ()):
            shown = field.default
            words = " ".join(map(str, shown)) if isinstance(shown, tuple) else shown
            text += f" ({words})"
    group.add_argument(*aliases, flag(field), help=text, **options)


def _convert(raw: Any, hint: Any) -> Any:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, list):
        inner = get_args(hint)[0] if get_args(hint) else str
        return tuple(_convert(item, inner) for item in raw)
    kind = scalar_of(hint)
    if kind is bool:
        if raw.lower() not in _TRUE + _FALSE:
            raise ValueError(raw)
        return raw.lower() in _TRUE
    return kind(raw)


def scalar_of(hint: Any) -> type:
    """Return the plain type of a field: int for ``int | None`` and for a tuple of int."""
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if get_args(hint):
        hint = get_args(hint)[0]
    kind: type = hint if isinstance(hint, type) else str
    return kind
