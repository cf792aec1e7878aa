"""Options from a TOML file, as ``--config-file`` reads it and every run writes it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from npi_bids.cli.options import flag, scalar_of

# What a run writes about itself that is no option.
_NOT_OPTIONS = ("npi_bids", "bids_dir", "out_dir", "levels", "strategy", "prior_digest")


def read_config(
    path: Path, classes: Sequence[type], problems: list[str]
) -> dict[type, dict[str, Any]]:
    """Return the options of a file by settings class; what is wrong is added to the problems.

    Options stand by the names of their flags or fields, in tables or not, so that the
    ``settings.toml`` of an earlier run can be given as it is.

    Parameters
    ----------
    path
        TOML.
    classes
        Settings classes whose fields are known.
    problems
        Gets one sentence for each thing that is wrong.
    """
    found: dict[type, dict[str, Any]] = {cls: {} for cls in classes}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"--config-file <{path}> cannot be read as TOML: {error}.")
        return found
    known: dict[str, tuple[type, Any]] = {}
    for cls in classes:
        for field in fields(cls):
            known[field.name.replace("_", "-")] = known[flag(field)[2:]] = (cls, field)
    for name, value in _leaves(content):
        key = name.replace("_", "-")
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; see npi-bids --help."
            problems.append(f"<{path}> has {name!r}, which is no option{hint}")
            continue
        cls, field = known[key]
        try:
            found[cls][field.name] = _typed(value, get_type_hints(cls)[field.name], field.default)
        except TypeError as error:
            problems.append(f"{name!r} in <{path}> must be {error}, not {value!r}.")
    return found


def _leaves(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if name in _NOT_OPTIONS:
            continue
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield name, value


def _typed(value: Any, hint: Any, default: Any) -> Any:
    """Return the value as the field has it; TOML knows numbers, words, lists and truth."""
    kind = scalar_of(hint)
    if isinstance(default, tuple):
        items = value if isinstance(value, list) else [value]
        return tuple(_single(item, kind) for item in items)
    return _single(value, kind)


def _single(value: Any, kind: type) -> Any:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise TypeError(words.get(kind, kind.__name__))
    return value
