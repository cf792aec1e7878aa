"""Options of settings classes: default, help and bounds, each defined once."""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, field, fields
from functools import cache
from numbers import Real
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from npi_bids.errors import SettingsError
from npi_bids.wording import join_items, suggest_word

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# The slowest protocols (sparse sampling in auditory studies) take 10 to 20 s per volume; larger
# values are in milliseconds.
LONGEST_TR = 20.0


@cache
def field_types(cls: type) -> Mapping[str, Any]:
    """Return the types of the fields of a class by name; annotations are slow to evaluate."""
    return MappingProxyType(get_type_hints(cls))


def period_problem(tr: object) -> str:
    """Say what is wrong with a sampling period in seconds; return an empty string if nothing is.

    >>> period_problem(2.0)
    ''
    >>> period_problem(2000)
    'must be in seconds, not milliseconds, and at most 20, not 2000 (2000 ms are 2 s).'
    """
    if isinstance(tr, bool) or not isinstance(tr, Real):
        return f"must be a number of seconds, not {tr!r}."
    try:
        seconds = float(tr)
    except OverflowError:  # an integer of more than 300 digits
        seconds = math.inf
    if not seconds > 0:
        return f"must be above 0 s, not {seconds:g}."
    if seconds <= LONGEST_TR:
        return ""
    hint = f" ({seconds:g} ms are {seconds / 1000:g} s)" if seconds <= 1000 * LONGEST_TR else ""
    return (
        f"must be in seconds, not milliseconds, and at most {LONGEST_TR:g}, not {seconds:g}{hint}."
    )


def option(default: object, help: str | Callable[[], str], **metadata: object) -> Any:  # noqa: A002
    """Declare a field of a settings class.

    Parameters
    ----------
    default
        Value if the user sets none; a tuple declares an option that takes several values.
    help
        Meaning of the option, with its unit, in one phrase; or a function that returns the phrase.
    **facts
        Any of: ``above``, ``at_least``, ``at_most``, ``below`` (bounds), ``choices`` (values,
        or a function that returns them), ``flag`` (name on the command line where it differs from
        the field), ``aliases`` (more names), ``metavar``, and ``result`` (False where the value
        does not shape the result).
    """
    unknown = set(metadata) - {
        *("above", "at_least", "at_most", "below"),
        *("choices", "flag", "aliases", "metavar", "result"),
    }
    if unknown:
        raise TypeError(f"Unknown metadata of an option: {join_items(sorted(unknown))}.")
    return field(default=default, metadata={"help": help, **metadata})


def check_options(settings: DataclassInstance) -> None:
    """Raise one SettingsError that names every option out of bounds, its value and its bound."""
    problems = list(option_problems(settings))
    if problems:
        raise SettingsError("\n".join(problems))


def option_problems(settings: DataclassInstance) -> Iterator[str]:
    """Yield one sentence for each field whose value is out of bounds; None is always accepted."""
    for field_ in fields(settings):
        value, choices = getattr(settings, field_.name), field_choices(field_.metadata)
        if value is None:
            continue
        name = "--" + field_.metadata.get("flag", field_.name.replace("_", "-"))
        for item in value if isinstance(value, tuple) else (value,):
            if (bound := _broken_bound(item, field_.metadata)) is not None:
                hint = suggest_word(item, choices) if isinstance(item, str) else ""
                yield f"{name} must be {bound}, not {item}{hint or '.'}"


_BOUNDS = (
    ("above", operator.gt, "above"),
    ("at_least", operator.ge, "at least"),
    ("at_most", operator.le, "at most"),
    ("below", operator.lt, "below"),
)


def _broken_bound(value: float | str, metadata: Mapping[str, Any]) -> str | None:
    for name, holds, phrase in _BOUNDS:
        bound = metadata.get(name)
        if bound is not None and not holds(value, bound):
            return f"{phrase} {bound:g}"
    choices = field_choices(metadata)
    if choices and value not in choices:
        return "one of " + join_items(choices)
    return None


def help_text(metadata: Mapping[str, object]) -> str:
    """Return the help text of a field, from its metadata."""
    text = metadata["help"]
    return str(text() if callable(text) else text)


def field_choices(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """Return the permitted values of a field, from its metadata; empty where any is permitted."""
    choices = cast("Iterable[str] | Callable[[], Iterable[str]]", metadata.get("choices", ()))
    return tuple(choices() if callable(choices) else choices)


def result_fields(settings: DataclassInstance) -> dict[str, object]:
    """Return the fields of a settings object that shape the result, by name."""
    values = asdict(settings)
    return {
        field_.name: values[field_.name]
        for field_ in fields(settings)
        if field_.metadata.get("result", True)
    }


def configuration_hash(*settings: DataclassInstance | str) -> str:
    """Return a short hash of all fields that shape the result.

    >>> from npi_bids.connectivity.perturbation import PerturbSettings
    >>> a, b = PerturbSettings(strength=1.0), PerturbSettings(strength=2.0)
    >>> configuration_hash(a) == configuration_hash(b)
    False
    """
    content = {
        type(item).__name__: item if isinstance(item, str) else result_fields(item)
        for item in settings
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
