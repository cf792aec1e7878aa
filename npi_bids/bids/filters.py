"""Filter files: which runs to use, in the format of fMRIPrep and with the meaning of pybids."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npi_bids.bids.entities import find_key
from npi_bids.bids.metadata import read_sidecar
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.wording import suggest_word

# Keys of a filter file: images, and tables of regional series.
BOLD, SERIES = "bold", "timeseries"
KINDS = (BOLD, SERIES)
_EXAMPLE = '{"bold": {"task": "rest"}}'
# Arguments of `BIDSLayout.get` that a filter file may set; all other keys are entities.
_ARGUMENTS = ("regex_search", "scope", "invalid_filters")
_FORBIDDEN = ("return_type", "target", "filters", "absolute_paths")
# Values with a meaning of their own, as fMRIPrep reads and stores them.
_SPECIAL = re.compile(r"<?Query\.(?P<name>[A-Za-z_]+)(: \d+>)?")
NONE, ANY, OPTIONAL = "NONE", "ANY", "OPTIONAL"
_SPECIAL_NAMES = {NONE: NONE, ANY: ANY, "REQUIRED": ANY, OPTIONAL: OPTIONAL}


@dataclass(frozen=True, slots=True)
class Special:
    """A condition on an entity without a label: NONE (absent), ANY (present) or OPTIONAL."""

    name: str


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters for one kind of input.

    Attributes
    ----------
    source
        The filter file, for messages; empty where there is none.
    entities
        The permitted labels of each entity, named as in the file; an empty list permits any.
    metadata
        The permitted values of fields of sidecars, such as ``RepetitionTime``.
    arguments
        Arguments of ``BIDSLayout.get``.
    """

    source: str = ""
    entities: dict[str, list[object]] = field(default_factory=dict)
    metadata: dict[str, list[object]] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.entities or self.metadata or self.arguments)

    def has(self, key: str) -> bool:
        """Tell whether there is a filter for an entity, given by its key in file names."""
        return any(key in (name, find_key(name)) for name in self.entities)

    @property
    def regex(self) -> bool:
        """Whether labels are regular expressions."""
        return bool(self.arguments.get("regex_search", False))


def read_filters(name: str) -> dict[str, Filters]:
    """Read a filter file such as ``{"bold": {"task": "rest", "run": [1, 2], "acq": null}}``.

    Labels may be a list, of which one has to match. ``null`` and ``Query.NONE`` mean that the
    entity is absent, ``"*"``, ``Query.ANY`` and ``Query.REQUIRED`` that it is present,
    ``Query.OPTIONAL`` either. Keys that begin with a capital letter are fields of sidecars.

    Parameters
    ----------
    name
        Path of the file; empty for no filters.

    Returns
    -------
    dict
        Filters for images (``bold``) and for tables of series (``timeseries``).

    Raises
    ------
    SettingsError
        The file cannot be read, or has a key or a value without meaning.
    """
    if not name:
        return {kind: Filters() for kind in KINDS}
    source = f"--bids-filter-file <{name}>"
    try:
        content = read_sidecar(Path(name))
    except InputDataError as error:
        raise SettingsError(f"{source} must hold an object such as {_EXAMPLE}. {error}") from error
    for key, entries in content.items():
        if key not in KINDS:
            raise SettingsError(_unknown_kind(source, key))
        if not isinstance(entries, dict):
            raise SettingsError(
                f"{source} must hold an object such as {_EXAMPLE}; found {json.dumps(entries)} "
                f"under {key}."
            )
    return {kind: _read_kind(source, _entries(content, kind)) for kind in KINDS}


def _entries(content: Mapping[str, object], kind: str) -> Mapping[str, object]:
    entries = content.get(kind, {})
    return entries if isinstance(entries, dict) else {}


def _unknown_kind(source: str, key: str) -> str:
    hint = suggest_word(key, KINDS)
    return (
        f"{source}: the key {key!r} names no files that are read{hint or '.'} Filters stand under "
        "bold (images) or timeseries (regional series); remove all others."
    )


def _read_kind(source: str, entries: Mapping[str, object]) -> Filters:
    filters = Filters(source)
    for key, value in entries.items():
        if key in _FORBIDDEN:
            raise SettingsError(f"{source}: {key} is not a filter; remove it.")
        if key in _ARGUMENTS:
            filters.arguments[key] = value
            continue
        values = value if isinstance(value, list) else [value]
        labels = [_read_value(source, key, item) for item in values]
        (filters.metadata if key[:1].isupper() else filters.entities)[key] = labels
    if filters.regex:
        _check_patterns(filters)
    return filters


def _read_value(source: str, key: str, value: object) -> object:
    """Return a label, or a condition that is not one."""
    if value is None:
        return Special(NONE)
    if value == "*":
        return Special(ANY)
    if isinstance(value, dict | list):
        raise SettingsError(
            f"{source}: {key} is {json.dumps(value)}; expected a label, a list of labels, or null."
        )
    match = _SPECIAL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    if match["name"] not in _SPECIAL_NAMES:
        raise SettingsError(
            f"{source}: {key} is {value!r}; expected Query.NONE, Query.ANY or Query.OPTIONAL."
        )
    return Special(_SPECIAL_NAMES[match["name"]])


def _check_patterns(filters: Filters) -> None:
    for key, labels in (*filters.entities.items(), *filters.metadata.items()):
        for label in labels:
            try:
                re.compile("" if isinstance(label, Special) else str(label))
            except re.error as error:
                raise SettingsError(
                    f"{filters.source}: {key} is {label!r}, which is no regular expression: "
                    f"{error}. Correct it, or remove regex_search."
                ) from error


def format_filters(filters: Filters) -> str:
    """Return filters as text for messages, such as ``task: rest; run: 1, 2``."""
    return "; ".join(
        f"{key}: {', '.join(map(_format_label, labels))}"
        for key, labels in (
            *filters.entities.items(),
            *filters.metadata.items(),
            *((key, [value]) for key, value in filters.arguments.items()),
        )
    )


def _format_label(label: object) -> str:
    if not isinstance(label, Special):
        return str(label)
    return {NONE: "(none)", ANY: "(any)", OPTIONAL: "(any or none)"}[label.name]


def matches_metadata(value: object, permitted: list[object], *, regex: bool) -> bool:
    """Tell whether a field of a sidecar, None if absent, has one of the permitted values.

    Numbers are equal if their values are, so that 2 matches 2.0.

    >>> matches_metadata(2, [2.0], regex=False), matches_metadata(None, [2.0], regex=False)
    (True, False)
    """
    specials = {label.name for label in permitted if isinstance(label, Special)}
    if not permitted or OPTIONAL in specials or {NONE, ANY} <= specials:
        return True
    if value is None:
        return NONE in specials
    if ANY in specials:
        return True
    labels = [label for label in permitted if not isinstance(label, Special)]
    if regex:
        return any(re.search(str(label), str(value), re.IGNORECASE) for label in labels)
    return any(value == label or str(value) == str(label) for label in labels)
