"""Names of the regions of a user's atlas, from the table that lies beside its image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from npi_bids.errors import InputDataError

_EXTENSIONS = (".tsv", ".csv", ".txt", ".lut")
_INDEX = ("index", "value", "label_index", "id", "region_id")
_NAME = ("name", "label", "region", "regions", "roi", "labelname")
_NETWORK = ("network", "network_label", "networks")
_RESOLUTION = re.compile(r"_res-[A-Za-z0-9]+")


def find_table(image: Path) -> Path:
    """Return the table of names beside an atlas image.

    Looks for the image's own name with ``.tsv``, ``.csv``, ``.txt`` or ``.lut``, the same with
    ``_label`` or ``_labels``, and the BIDS name without ``res``.

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
    raise InputDataError(
        f"The atlas <{image}> has no table of region names beside it; expected "
        f"{stem}.tsv with the columns 'index' and 'name' (or a .csv, .txt or .lut)."
    )


def read_names(path: Path) -> pd.DataFrame:
    """Read a table of region names.

    Takes a TSV or CSV with a header, a look-up table (``index name r g b [a]``), or a plain list
    with one name per line, whose regions are numbered from 1.

    Returns
    -------
    DataFrame
        Columns ``index`` and ``name``, and ``network`` where the table has it; without the
        background (index 0), in increasing order of the index.

    Raises
    ------
    InputDataError
        Nothing can be made of the file.
    """
    if path.suffix in (".tsv", ".csv"):
        table = _read_with_header(path)
    else:
        table = pd.DataFrame(_read_lines(path), columns=["index", "name"])
    if table.empty:
        raise InputDataError(f"<{path}> names no region.")
    table["index"] = pd.to_numeric(table["index"], errors="coerce")
    if table["index"].isna().any() or (table["index"] % 1 != 0).any():
        raise InputDataError(f"<{path}> has an 'index' that is not a whole number.")
    table = table[table["index"] != 0].astype({"index": int}).sort_values("index")
    return table.reset_index(drop=True)


def _read_with_header(path: Path) -> pd.DataFrame:
    separator = "\t" if path.suffix == ".tsv" else ","
    table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    lower = {column.lower(): column for column in table.columns}
    index, name, network = (
        next((lower[word] for word in words if word in lower), None)
        for words in (_INDEX, _NAME, _NETWORK)
    )
    if name is None:
        raise InputDataError(
            f"<{path}> has the columns {list(table.columns)[:8]}; expected 'index' and 'name'."
        )
    numbers = table[index] if index else pd.Series(range(1, len(table) + 1)).astype(str)
    columns = {"index": numbers, "name": table[name]}
    if network:
        columns["network"] = table[network]
    return pd.DataFrame(columns)


def _read_lines(path: Path) -> Iterator[tuple[str, str]]:
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) > 1 and words[0].isdigit():
            yield words[0], words[1]
        else:
            yield str(number), line
