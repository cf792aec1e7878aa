"""Export of matrices of an output dataset to the formats of other programs."""

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
    """Write one map in several formats.

    Parameters
    ----------
    path
        The map, ``*_relmat.tsv``.
    formats
        Names from ``FORMATS``.
    out
        Output folder.
    regions
        Table of the regions; that of the map's dataset where None.
    atlas
        ``dlabel.nii`` for a pconn; that of the map's dataset where None.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputDataError
        A file is missing, or a format cannot represent the map.
    """
    result = read_matrix(path)
    table = regions or find_region_table(path)
    region_table = Regions(table, result.labels) if table else None
    stem = path.name.removesuffix(".tsv").removesuffix("_relmat")
    written = []
    for name in formats:
        if name == PCONN:
            target = out / f"{stem}.pconn.nii"
            dlabel = atlas or _find_dlabel(table)
            with replacing(target) as temporary:
                write_pconn(result, dlabel, temporary)
        else:
            suffix, write = WRITERS[name]
            target = out / f"{stem}{suffix}"
            write(
                result,
                region_table.network if region_table else [],
                region_table.centres if region_table else None,
                target,
            )
        written.append(target)
    return written


def find_region_table(path: Path) -> Path | None:
    """Return the table of regions of a map in a dataset written by npi-bids, or None."""
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


def _find_dlabel(table: Path | None) -> Path:
    matches = []
    if table is not None:
        matches = sorted(table.parent.glob(table.name.replace("_dseg.tsv", "*_dseg.dlabel.nii")))
    if not matches:
        raise InputDataError(
            "A pconn needs the atlas as .dlabel.nii, which the dataset has only for "
            "greyordinates; name it with --atlas."
        )
    return matches[0]
