"""Records as JSON objects: one CamelCase key per field, with types checked on reading."""

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
)

from npi_bids.errors import InputDataError, NPIError
from npi_bids.io.files import read_json, write_json
from npi_bids.settings import field_types

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
_TYPE_NAMES = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


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
        Meaning of the value, in one sentence.
    default
        Value for files of an older version that lack the key; without it the key is required.
    factory
        Function without arguments that returns the default.
    key
        Key in the JSON; the name of the field in CamelCase where empty.
    omit
        Whether the key is omitted if the value is the default.
    block
        Whether the value is a mapping whose keys are names of fields, in CamelCase in the JSON.
    """
    metadata = {"description": description, "key": key, "omit": omit, "block": block}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def flat() -> Any:
    """Declare a field that is a record, whose keys appear among those of its owner."""
    return field(metadata={"flat": True})


class Record:
    """A frozen dataclass stored as a JSON object, with fields declared by :func:`entry`."""

    def to_json(self) -> dict[str, object]:
        """Return the record as a JSON object."""
        return encode(cast("DataclassInstance", self))

    def write(self, path: Path) -> None:
        """Write the record as JSON, atomically; a number that is not finite becomes null."""
        write_json(path, self.to_json())

    @classmethod
    def from_json(cls, content: Mapping[str, object], owner: str = "A record") -> Self:
        """Return the record that a JSON object represents.

        Parameters
        ----------
        content
            The object. Unknown keys are ignored, since a later version may add some.
        owner
            Name of the object, which begins error messages.

        Raises
        ------
        InputDataError
            A key is missing, or its value has another type.
        """
        return decode(cls, content, owner)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the record from a JSON file.

        Raises
        ------
        InputDataError
            The file cannot be read, a key is missing, or its value has another type.
        """
        return cls.from_json(read_json(path), f"<{path}>")


@cache
def camel_case(name: str) -> str:
    """Return the key of a field.

    >>> camel_case("r2_own_history")
    'R2OwnHistory'
    """
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


@cache
def snake_case(key: str) -> str:
    """Return the field name of a key; field names remain unchanged.

    >>> snake_case("R2OwnHistory"), snake_case("r2_own_history")
    ('r2_own_history', 'r2_own_history')
    """
    return re.sub(r"(?<!^)(?<!_)(?=[A-Z])", "_", key).lower()


def json_key(entry_: Field[object]) -> str:
    """Return the JSON key of a field of a record."""
    return str(entry_.metadata.get("key") or camel_case(entry_.name))


def described_keys(cls: type) -> dict[str, str]:
    """Return the description of every key of a record, including nested flat records."""
    descriptions: dict[str, str] = {}
    for entry_ in fields(cls):
        if entry_.metadata.get("flat"):
            descriptions |= described_keys(field_types(cls)[entry_.name])
        else:
            descriptions[json_key(entry_)] = str(entry_.metadata.get("description", ""))
    return descriptions


def key_table(cls: type) -> str:
    """Return the keys of a record and their descriptions as a table in Markdown."""
    rows = (f"| `{key}` | {text} |" for key, text in described_keys(cls).items())
    return "\n".join(["| key | what |", "|---|---|", *rows]) + "\n"


def encode(record: DataclassInstance) -> dict[str, object]:
    """Return any dataclass as a JSON object.

    >>> from npi_bids.records import Verdict
    >>> encode(Verdict("caution", ("few samples",)))
    {'Label': 'caution', 'Reasons': ['few samples']}
    """
    content: dict[str, object] = {}
    for entry_ in fields(record):
        value, metadata = getattr(record, entry_.name), entry_.metadata
        if metadata.get("omit") and value == entry_.default:
            continue
        if metadata.get("flat"):
            content |= value.to_json()
        elif metadata.get("block"):
            content[json_key(entry_)] = {
                camel_case(key): _plain(item) for key, item in value.items()
            }
        else:
            content[json_key(entry_)] = _plain(value)
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
    """Return the dataclass that a JSON object represents; see :meth:`Record.from_json`.

    Keys in the style of older versions, which are the names of the fields, are accepted, and null
    stands for the default where there is one. If a dataclass is not a :class:`Record`, missing
    numbers become NaN.
    """
    values: dict[str, Any] = {}
    hints = field_types(cls)  # type: ignore[arg-type]
    for entry_ in fields(cls):  # type: ignore[arg-type]
        hint = hints[entry_.name]
        if entry_.metadata.get("flat"):
            values[entry_.name] = hint.from_json(content, owner)
            continue
        key = next((name for name in (json_key(entry_), entry_.name) if name in content), None)
        if key is None:
            values |= _value_if_absent(cls, entry_, hint, owner)
        elif content[key] is not None or entry_.default in (MISSING, None):
            value = _with_fields(content[key]) if entry_.metadata.get("block") else content[key]
            values[entry_.name] = _typed(hint, value, f"{owner}, {json_key(entry_)}:")
    try:
        return cls(**values)
    except NPIError as error:  # a value out of its bounds
        raise InputDataError(f"{owner}: {error}") from error


def _value_if_absent(
    cls: type, entry_: Field[object], hint: object, owner: str
) -> dict[str, float]:
    """Return NaN for the field, an empty mapping if it has a default, or raise an error."""
    if entry_.default is not MISSING or entry_.default_factory is not MISSING:
        return {}
    if issubclass(cls, Record) or hint is not float:
        raise InputDataError(f"{owner} lacks {json_key(entry_)}.")
    return {entry_.name: float("nan")}


def _with_fields(block: object) -> object:
    """Return a block with the names of its fields as keys."""
    return (
        {snake_case(key): item for key, item in block.items()}
        if isinstance(block, dict)
        else block
    )


def _typed(hint: Any, value: object, where: str) -> object:
    """Return a JSON value as the type of its field."""
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
    raise InputDataError(f"{where} {_short_repr(value)}; expected {_TYPE_NAMES[hint]}.")


def _checked(expected: type[T], value: object, where: str, type_name: str) -> T:
    if not isinstance(value, expected):
        raise InputDataError(f"{where} {_short_repr(value)}; expected {type_name}.")
    return value


def _short_repr(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def write_record(record: DataclassInstance, path: Path) -> None:
    """Write a dataclass as JSON, atomically."""
    write_json(path, encode(record))


def read_record(cls: type[T], path: Path) -> T:
    """Read a dataclass from JSON; see :meth:`Record.read`."""
    return decode(cls, read_json(path), f"<{path}>")
