"""Entities of file names: their names, their order, and which of them are numbers.

The table in ``data/entities.json`` is that of the BIDS schema (``bidsschematools``), written by
``docs/tables.py``; a test compares it with the installed schema. Loading the schema itself would
take longer than all of ``--help``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

_TABLE = "entities.json"


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity: its name in the schema, its key in file names, and the format of its labels."""

    name: str
    key: str
    format: str


def read_schema() -> list[Entity]:
    """Read the entities from the installed schema, in the order of file names."""
    from bidsschematools.schema import load_schema

    schema = load_schema()
    specifications = [(name, schema.objects.entities[name]) for name in schema.rules.entities]
    return [Entity(name, spec.name, spec.format) for name, spec in specifications]


def read_table() -> list[Entity]:
    """Read the entities from the table that is shipped, in the order of file names."""
    text = (files("npi_bids.data") / _TABLE).read_text(encoding="utf-8")
    return [Entity(*row) for row in json.loads(text)]


def format_table(entities: list[Entity]) -> str:
    """Return the table of entities as it is shipped, one entity per line."""
    rows = [json.dumps([entity.name, entity.key, entity.format]) for entity in entities]
    return "[\n" + ",\n".join(f"  {row}" for row in rows) + "\n]\n"


def _insert_measure(entities: list[Entity]) -> tuple[Entity, ...]:
    """Insert the measure of BEP017, a draft of the standard, before the description."""
    return (*entities[:-1], Entity("measure", "meas", "label"), entities[-1])


ENTITIES = _insert_measure(read_table())
ENTITY_ORDER = tuple(entity.key for entity in ENTITIES)
# Entities whose labels are numbers, so that run-1 and run-01 are the same.
NUMBERS = tuple(entity.key for entity in ENTITIES if entity.format == "index")
# Entities of other programs and drafts, which are understood but never written: XCP-D.
_FOREIGN = (Entity("statistic", "stat", "label"),)
_SPELLINGS = {
    spelling: entity.key for entity in (*ENTITIES, *_FOREIGN)
    for spelling in (entity.name, entity.key)
}  # fmt: skip


def find_key(spelling: str) -> str | None:
    """Return the key in file names of an entity that is given by its name or its key.

    >>> find_key("acquisition"), find_key("acq"), find_key("taks")
    ('acq', 'acq', None)
    """
    return _SPELLINGS.get(spelling)


def is_same_number(label: str, other: str) -> bool:
    """Tell whether two labels are the same number, or the same text.

    >>> is_same_number("01", "1"), is_same_number("1", "2"), is_same_number("a", "a")
    (True, False, True)
    """
    return label == other or (label.isdecimal() and other.isdecimal() and int(label) == int(other))
