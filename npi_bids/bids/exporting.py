"""Matrices of an output dataset in the formats of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from npi_bids.bids.sidecars import Links
from npi_bids.bids.uris import regions_file
from npi_bids.errors import InputDataError
from npi_bids.io.exports import WRITERS, write_pconn
from npi_bids.io.files import replacing
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import read_matrix

PCONN = "pconn"
FORMATS = (*WRITERS, PCONN)


def export_matrix(
    path: Path, formats: Sequence[str], out: Path, *, regions: Path | None, atlas: Path | None
) -> list[Path]:
    """Write one map in some formats.

    Parameters
    ----------
    path
        ``*_relmat.tsv``.
    formats
        Some of ``FORMATS``.
    out
        Folder.
    regions
        Table of the regions; that of the map's dataset where None.
    atlas
        ``dlabel.nii`` for a pconn; that of the map's dataset where None.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InputDataError
        A file is missing, or the format cannot hold the map.
    """
    result = read_matrix(path)
    table = regions or table_of(path)
    known = Regions(table, result.labels) if table else None
    stem = path.name.removesuffix(".tsv").removesuffix("_relmat")
    written = []
    for name in formats:
        if name == PCONN:
            target = out / f"{stem}.pconn.nii"
            drawn = atlas or _dlabel_of(table)
            with replacing(target) as temporary:
                write_pconn(result, drawn, temporary)
        else:
            suffix, write = WRITERS[name]
            target = out / f"{stem}{suffix}"
            write(
                result,
                known.network if known else [],
                known.centres if known else None,
                target,
            )
        written.append(target)
    return written


def table_of(path: Path) -> Path | None:
    """Return the table of regions of a map that lies in a dataset of npi-bids, or None."""
    sidecar = path.with_suffix(".json")
    roots = [folder for folder in path.resolve().parents
             if (folder / "dataset_description.json").is_file()]  # fmt: skip
    if not roots or not sidecar.is_file():
        return None
    node_files = Links.read(sidecar).node_files
    if not node_files:
        return None
    table = regions_file(node_files, roots[0])
    return table if table.is_file() else None


def _dlabel_of(table: Path | None) -> Path:
    found = []
    if table is not None:
        found = sorted(table.parent.glob(table.name.replace("_dseg.tsv", "*_dseg.dlabel.nii")))
    if not found:
        raise InputDataError(
            "A pconn needs the atlas as .dlabel.nii, which the dataset has for greyordinates "
            "alone; name it with --atlas."
        )
    return found[0]
