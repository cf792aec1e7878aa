"""Names of contrasts and of columns of tables, as readers would say them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from npi_bids.bids.sidecars import ContrastFields
from npi_bids.io.tables import read_table

_LEVEL = re.compile(r"(?:C\()?(\w+)[^\[]*\[(?:T\.)?([^\]]+)\]")
# Columns of statistics tables whose names are not words.
HEADINGS = {
    "n_edges": "connections", "p_fwe": "family-wise p", "p_nbs": "network p", "figure": "measure",
    "statistic": "statistic", "n": "subjects",
}  # fmt: skip


def name_contrast(test: ContrastFields, out_dir: Path) -> str:
    """Return what a test compares, in words.

    The level that a factor is compared with is looked up in ``participants.tsv``.
    """
    if test.title != test.contrast:
        return f"the {test.title}"
    path = out_dir / "participants.tsv"
    people = read_table(path) if path.is_file() else pd.DataFrame()
    levels = {str(name): [str(level) for level in people[name].dropna().unique()]
              for name in people.columns}  # fmt: skip
    return describe_contrast(test.contrast, test.columns, levels)


def describe_contrast(
    contrast: str, columns: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> str:
    """Return a contrast in words.

    Parameters
    ----------
    contrast
        Name of a column of the design, or an expression of them.
    columns
        Columns of the design.
    levels
        Levels of each variable.

    >>> levels = {"group": ["control", "patient"]}
    >>> describe_contrast("group[T.patient]", ["group[T.patient]"], levels)
    'patient minus control (group)'
    >>> describe_contrast("age", ["age"], {}), describe_contrast("age:iq", ["age:iq"], {})
    ('the effect of age', 'the interaction of age and iq')
    """
    if contrast not in columns:
        return contrast
    parts = [_describe_part(part, columns, levels) for part in contrast.split(":")]
    if len(parts) > 1:
        return f"the interaction of {' and '.join(parts)}"
    return parts[0] if _LEVEL.fullmatch(contrast) else f"the effect of {parts[0]}"


def _describe_part(part: str, columns: Sequence[str], levels: Mapping[str, Sequence[str]]) -> str:
    found = _LEVEL.fullmatch(part)
    if not found:
        return part
    name, level = found.groups()
    compared = {match[2] for column in columns for match in _LEVEL.finditer(column)
                if match[1] == name}  # fmt: skip
    reference = [other for other in levels.get(name, ()) if other not in compared]
    if len(reference) == 1:
        return f"{level} minus {reference[0]} ({name})"
    return f"{level} minus the reference ({name})"


def name_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the headings of columns in words.

    >>> name_columns(["source", "p_fwe"])
    ('source', 'family-wise p')
    """
    return tuple(HEADINGS.get(column, column.replace("_", " ")) for column in columns)
