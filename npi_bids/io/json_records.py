"""Records as JSON objects: one key per field, in CamelCase, checked by type when they are read."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Self,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from npi_bids.errors import InputDataError, NPIError
from npi_bids.io.files import read_json, write_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
_WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def entry(
    description: str,
    *,
    default: object = MISSING,
    factory: Any = MISSING,
    key: str = "",
    omit: bool = False,
    block: bool = False,
) -> Any:
    """Declare a field of a record.

    Parameters
    ----------
    description
        What the value is, in one sentence.
    default
        What a file of an older version, which lacks the key, is taken to say; without it the key
        must be there.
    factory
        The same as a function without arguments.
    key
        In the JSON; the name of the field in CamelCase where empty.
    omit
        Whether the key is left out where the value is the default.
    block
        Whether the value is a mapping whose keys are names of fields, in CamelCase in the JSON.
    """
    about = {"description": description, "key": key, "omit": omit, "block": block}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=about)
    return field(default=default, metadata=about)


def flat() -> Any:
    """Declare a field that is itself a record, whose keys stand beside those of its owner."""
    return field(metadata={"flat": True})


class Record:
    """A frozen dataclass that is stored as a JSON object; its fields come from :func:`entry`."""

    def to_json(self) -> dict[str, object]:
        """Return the record as a JSON object."""
        return encode(cast("DataclassInstance", self))

    def write(self, path: Path) -> None:
        """Write the record as JSON, atomically; a number that is not finite becomes null."""
        write_json(path, self.to_json())

    @classmethod
    def from_json(cls, content: Mapping[str, object], owner: str = "A record") -> Self:
        """Return the record that a JSON object holds.

        Parameters
        ----------
        content
            The object. Keys that the record does not have are passed over: a later version may
            say more.
        owner
            Whose content it is, to begin a message with.

        Raises
        ------
        InputDataError
            A key is missing, or its value is of another type.
        """
        return decode(cls, content, owner)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the record from a JSON file.

        Raises
        ------
        InputDataError
            The file cannot be read, a key is missing, or its value is of another type.
        """
        return cls.from_json(read_json(path), f"<{path}>")


def camel(name: str) -> str:
    """Return the key of a field.

    >>> camel("r2_own_history")
    'R2OwnHistory'
    """
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def snake(key: str) -> str:
    """Return the field of a key; the name of a field stays as it is.

    >>> snake("R2OwnHistory"), snake("r2_own_history")
    ('r2_own_history', 'r2_own_history')
    """
    return re.sub(r"(?<!^)(?<!_)(?=[A-Z])", "_", key).lower()


def key_of(entry_: Field[object]) -> str:
    """Return the key that a field of a record has in the JSON."""
    return str(entry_.metadata.get("key") or camel(entry_.name))


def described_keys(cls: type) -> dict[str, str]:
    """Return the description of every key of a record, those of records within it included."""
    found: dict[str, str] = {}
    for entry_ in fields(cls):
        if entry_.metadata.get("flat"):
            found |= described_keys(_types(cls)[entry_.name])
        else:
            found[key_of(entry_)] = str(entry_.metadata.get("description", ""))
    return found


def key_table(cls: type) -> str:
    """Return the keys of a record and their descriptions as a table in Markdown."""
    rows = (f"| `{key}` | {text} |" for key, text in described_keys(cls).items())
    return "\n".join(["| key | what |", "|---|---|", *rows]) + "\n"


def encode(record: DataclassInstance) -> dict[str, object]:
    """Return a dataclass as a JSON object, whatever its fields are.

    >>> from npi_bids.records import Verdict
    >>> encode(Verdict("caution", ("few samples",)))
    {'Label': 'caution', 'Reasons': ['few samples']}
    """
    content: dict[str, object] = {}
    for entry_ in fields(record):
        value, about = getattr(record, entry_.name), entry_.metadata
        if about.get("omit") and value == entry_.default:
            continue
        if about.get("flat"):
            content |= value.to_json()
        elif about.get("block"):
            content[key_of(entry_)] = {camel(key): _plain(item) for key, item in value.items()}
        else:
            content[key_of(entry_)] = _plain(value)
    return content


def _plain(value: object) -> object:
    if isinstance(value, Record):
        return value.to_json()
    if is_dataclass(value):
        return encode(cast("DataclassInstance", value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def decode(cls: type[T], content: Mapping[str, object], owner: str) -> T:
    """Return the dataclass that a JSON object holds; as :meth:`Record.from_json`.

    Keys in the style of older versions, which is that of the fields, are understood, and null is
    the default where there is one. A number that a dataclass which is no :class:`Record` needs
    and the object lacks is NaN.
    """
    values: dict[str, Any] = {}
    hints = _types(cls)  # type: ignore[arg-type]
    for entry_ in fields(cls):  # type: ignore[arg-type]
        hint = hints[entry_.name]
        if entry_.metadata.get("flat"):
            values[entry_.name] = hint.from_json(content, owner)
            continue
        key = next((name for name in (key_of(entry_), entry_.name) if name in content), None)
        if key is None:
            values |= _value_if_absent(cls, entry_, hint, owner)
        elif content[key] is not None or entry_.default in (MISSING, None):
            value = _with_fields(content[key]) if entry_.metadata.get("block") else content[key]
            values[entry_.name] = _typed(hint, value, f"{owner}, {key_of(entry_)}:")
    try:
        return cls(**values)
    except NPIError as error:  # a value out of its bounds
        raise InputDataError(f"{owner}: {error}") from error


def _value_if_absent(
    cls: type, entry_: Field[object], hint: object, owner: str
) -> dict[str, float]:
    """Return NaN by the name of the field, nothing where it has a default, or refuse it."""
    if entry_.default is not MISSING or entry_.default_factory is not MISSING:
        return {}
    if issubclass(cls, Record) or hint is not float:
        raise InputDataError(f"{owner} lacks {key_of(entry_)}.")
    return {entry_.name: float("nan")}


def _with_fields(block: object) -> object:
    """Return a block by the names of its fields."""
    return {snake(key): item for key, item in block.items()} if isinstance(block, dict) else block


_types = cache(get_type_hints)


def _typed(hint: Any, value: object, where: str) -> object:
    """Return a value of JSON as the type that a field has."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _typed(next(one for one in inside if one is not types.NoneType), value, where)
    if origin is tuple or (origin is not None and issubclass(origin, Sequence)):
        listed = _checked(list, value, where, "a list")
        return tuple(_typed(inside[0], item, where) for item in listed)
    if origin is not None and issubclass(origin, Mapping):
        items = _checked(dict, value, where, "an object")
        return {key: _typed(inside[1], item, where) for key, item in items.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        content = _checked(dict, value, where, "an object")
        return decode(hint, content, where.rstrip(":"))
    return value if hint in (Any, object) else _single(hint, value, where)


def _single(hint: type, value: object, where: str) -> object:
    if hint is float:
        if value is None:
            return float("nan")
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    elif isinstance(value, hint) and (hint is not int or not isinstance(value, bool)):
        return value
    raise InputDataError(f"{where} {_shown(value)}; expected {_WORDS[hint]}.")


def _checked(kind: type[T], value: object, where: str, words: str) -> T:
    if not isinstance(value, kind):
        raise InputDataError(f"{where} {_shown(value)}; expected {words}.")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def write_record(record: DataclassInstance, path: Path) -> None:
    """Write a dataclass as JSON, atomically."""
    write_json(path, encode(record))


def read_record(cls: type[T], path: Path) -> T:
    """Read a dataclass from JSON; as :meth:`Record.read`."""
    return decode(cls, read_json(path), f"<{path}>")
