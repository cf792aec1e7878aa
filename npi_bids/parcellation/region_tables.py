"""Names of the regions of a user's atlas, from the table beside its image."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from npi_bids.errors import InputDataError
from npi_bids.io.tables import read_cells

_EXTENSIONS = (".tsv", ".csv", ".txt", ".lut")
_INDEX = ("index", "value", "label_index", "id", "region_id")
_NAME = ("name", "label", "region", "regions", "roi", "labelname")
_NETWORK = ("network", "network_label", "networks")
NUMBERED_BY_ORDER = "numbered by their order"
_MISSING = ("", "n/a", "nan", "none")
_BACKGROUND = "background"
_NUMBER = re.compile(r"\d+(\.\d+)?")
_INDEX_WORD = re.compile(r"[-+]?\d+(\.\d+)?")
# ITK-SNAP: index, red, green, blue, alpha, visible, mesh, "name".
_ITK_SNAP = re.compile(r'([-+]?\d+(?:\.\d+)?)(?:\s+\S+){6}\s+"(.+)"')
_RESOLUTION = re.compile(r"_res-[A-Za-z0-9]+")
# Folders of a dataset in which files of an atlas may lie.
_ENTITY_FOLDER = re.compile(r"(atlas|tpl|cohort)-[A-Za-z0-9]+$|anat$")


def find_table(image: Path) -> Path:
    """Return the table of names beside an atlas image.

    Looks for the image's own name with ``.tsv``, ``.csv``, ``.txt`` or ``.lut``, the same with
    ``_label`` or ``_labels``, and the BIDS name without ``res``; and then for the table that
    applies to the image by the inheritance of BIDS: a ``dseg.tsv`` in its folder, or in those
    above within its dataset, whose entities the image has, too. The closest one is taken, and in a
    folder that with most entities.

    Raises
    ------
    InputDataError
        There is none.
    """
    stem = image.name.split(".nii")[0]
    stems = [stem, f"{stem}_label", f"{stem}_labels", _RESOLUTION.sub("", stem)]
    candidates = [image.with_name(name + ext) for name in stems for ext in _EXTENSIONS]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if (inherited := _find_inherited(image)) is not None:
        return inherited
    raise InputDataError(
        f"The atlas <{image}> has no table of region names beside it; expected "
        f"{stem}.tsv with the columns 'index' and 'name' (or a .csv, .txt or .lut)."
    )


def _find_inherited(image: Path) -> Path | None:
    """Return the table of regions that applies to an image by the inheritance principle."""
    if not _entity_pairs(image):
        return None
    folder = image.absolute().parent
    while True:
        tables = [
            table
            for table in sorted(folder.glob("*_dseg.tsv"))
            if "atlas-" in table.name and _entity_pairs(table) <= _entity_pairs(image)
        ]
        if tables:
            return max(tables, key=lambda table: len(_entity_pairs(table)))
        if (folder / "dataset_description.json").is_file() or not _ENTITY_FOLDER.match(
            folder.name
        ):
            return None
        folder = folder.parent


def _entity_pairs(path: Path) -> set[str]:
    """Return the entities in the name of a file, with their values."""
    return {part for part in path.name.partition(".")[0].split("_") if "-" in part}


def read_names(path: Path) -> pd.DataFrame:
    """Read a table of region names.

    Takes a TSV or CSV with a header, a look-up table (``index name [r g b [a]]``, as FreeSurfer
    and ITK-SNAP write them), or a plain list with one name per line. Regions without an index are
    numbered from 1 in their order, after a background entry is dropped, as in nilearn's lists.

    Returns
    -------
    DataFrame
        Columns ``index`` and ``name``, and ``network`` where the table has it; without the
        background, in increasing order of the index. ``attrs`` say whether regions were numbered
        here, because the file does not number them.

    Raises
    ------
    InputDataError
        The file is none of these.
    """
    with_header = path.suffix in (".tsv", ".csv")
    table = _read_with_header(path) if with_header else _read_look_up_table(path)
    if table.empty:
        raise InputDataError(f"<{path}> names no region.")
    index = pd.to_numeric(table["index"], errors="coerce")
    wrong = index.isna() | (index % 1 != 0)
    if wrong.any():
        raise InputDataError(
            f"<{path}> has the index {table['index'][wrong].iloc[0]!r} for the region "
            f"{table['name'][wrong].iloc[0]!r}; expected a whole number."
        )
    table["index"] = index.astype(int)
    named = table[table["index"] != 0].sort_values("index").reset_index(drop=True)
    named.attrs[NUMBERED_BY_ORDER] = table.attrs.get(NUMBERED_BY_ORDER, False)
    return named


def _read_with_header(path: Path) -> pd.DataFrame:
    cells = read_cells(path, separator="\t" if path.suffix == ".tsv" else ",")
    position_of = {column.lower(): position for position, column in enumerate(cells.names)}
    index, name, network = (
        next((position_of[alias] for alias in aliases if alias in position_of), None)
        for aliases in (_INDEX, _NAME, _NETWORK)
    )
    if name is None:
        raise InputDataError(
            f"<{path}> has the columns {', '.join(cells.names[:8])}; expected 'index' and 'name'."
        )
    rows = cells.rows
    if index is None:
        rows = [row for row in rows if row[name].lower() != _BACKGROUND]
        numbers = [str(number) for number in range(1, len(rows) + 1)]
    else:
        numbers = [row[index] for row in rows]
    columns = {"index": numbers, "name": [row[name] for row in rows]}
    if network is not None:
        columns["network"] = _fill_networks(cells.names, rows, network)
    table = pd.DataFrame(columns)
    table.attrs[NUMBERED_BY_ORDER] = index is None
    return table


def _fill_networks(names: Sequence[str], rows: Sequence[Sequence[str]], column: int) -> list[str]:
    """Return the network of each region, or the name of its part of a combined atlas."""
    lower = [name.lower() for name in names]
    other = lower.index("atlas_name") if "atlas_name" in lower else column
    networks = [row[other] if row[column].lower() in _MISSING else row[column] for row in rows]
    return ["none" if network.lower() in _MISSING else network for network in networks]


def _read_look_up_table(path: Path) -> pd.DataFrame:
    """Read lines of index, name and colour; the name may hold blanks and end in a number."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputDataError(f"<{path}> cannot be read as text: {error}.") from error
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    fields = [line.split() for line in lines]
    numbered = [len(line) > 1 and _INDEX_WORD.fullmatch(line[0]) is not None for line in fields]
    if not any(numbered):
        names = [line for line in lines if line.lower() != _BACKGROUND]
        table = pd.DataFrame({"index": range(1, len(names) + 1), "name": names})
        table.attrs[NUMBERED_BY_ORDER] = True
        return table
    if not all(numbered):
        unnumbered = numbered.index(False)
        raise InputDataError(
            f"<{path}> says {lines[unnumbered]!r} where other lines begin with the index of a "
            "region; expected an index and a name in every line, or names alone."
        )
    if quoted := [_ITK_SNAP.fullmatch(line) for line in lines]:
        matches = [match for match in quoted if match]
        if len(matches) == len(lines):
            return pd.DataFrame(
                {"index": [match[1] for match in matches], "name": [match[2] for match in matches]}
            )
    # Either every line ends with a colour or none does; a name may itself end in numbers.
    n_colours = min(_count_numbers_at_end(line[1:]) for line in fields)
    n_colours = min(n_colours, 4) if n_colours >= 3 else 0
    names = [" ".join(line[1 : len(line) - n_colours]) for line in fields]
    return pd.DataFrame({"index": [line[0] for line in fields], "name": names})


def _count_numbers_at_end(fields: Sequence[str]) -> int:
    numbers = itertools.takewhile(lambda word: _NUMBER.fullmatch(word), reversed(fields))
    return min(len(list(numbers)), len(fields) - 1)
