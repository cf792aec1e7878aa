"""Export of matrices of an output dataset to the formats of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from npi_bids.bids.outputs import MEASURES
from npi_bids.bids.sidecars import Links
from npi_bids.bids.uris import regions_file
from npi_bids.bids.writing import find_atlas_image, flow_table, region_map_values
from npi_bids.connectivity.network_measures import compute_flow
from npi_bids.errors import InputDataError
from npi_bids.io.exports import WRITERS, write_pconn, write_peb
from npi_bids.io.files import replacing
from npi_bids.io.region_maps import MAP_WRITERS
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import read_matrix
from npi_bids.records import ECResult

PCONN, PEB = "pconn", "peb"
FORMATS = (*WRITERS, PEB, PCONN, *MAP_WRITERS)
_STANDARD_ERROR = "npistderr"


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
        Image of the atlas, for a pconn or maps of regions; that of the map's dataset where None.

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
    written: list[Path] = []
    for name in formats:
        if name in MAP_WRITERS:
            written += _export_region_maps(result, region_table, name, out / stem, atlas)
            continue
        suffix = {PCONN: ".pconn.nii", PEB: "_DCM.mat"}.get(name) or WRITERS[name][0]
        target = out / f"{stem}{suffix}"
        if name == PCONN:
            with replacing(target) as temporary:
                write_pconn(result, atlas or _find_dlabel(table), temporary)
        elif name == PEB:
            write_peb(result, read_matrix(_find_standard_error(path)), target)
        else:
            WRITERS[name][1](
                result,
                region_table.network if region_table else [],
                region_table.centres if region_table else None,
                target,
            )
        written.append(target)
    return written


def _export_region_maps(
    result: ECResult, regions: Regions | None, name: str, stem: Path, atlas: Path | None
) -> list[Path]:
    """Write out-strength, in-strength, net flow and hierarchy of a map as images.

    Raises
    ------
    InputDataError
        The regions or the atlas are unknown, or the atlas is not of the kind that is needed.
    """
    if regions is None:
        raise InputDataError(
            f"The format {name} needs the table of regions; name it with --regions."
        )
    surface = name != "nifti"
    image = atlas or find_atlas_image(regions.path, surface=surface)
    if image is None or image.name.endswith(".dlabel.nii") != surface:
        kind = "as .dlabel.nii" if surface else "as a volume (.nii.gz)"
        raise InputDataError(
            f"The format {name} needs the atlas {kind}, which the dataset does not have; name it "
            "with --atlas."
        )
    values = region_map_values(
        flow_table(regions, compute_flow(result.matrix)), regions.path, image
    )
    suffix, write = MAP_WRITERS[name]
    return write(values, image, stem.with_name(f"{stem.name}{suffix}"))


def _find_standard_error(path: Path) -> Path:
    """Return the standard errors beside a map.

    Raises
    ------
    InputDataError
        There are none.
    """
    name = path.name.replace(f"_meas-{MEASURES[0]}_", f"_meas-{_STANDARD_ERROR}_")
    beside = path.with_name(name)
    if beside == path or not beside.is_file():
        raise InputDataError(
            f"A DCM for SPM needs the standard errors of <{path}>; expected them beside it, in a "
            f"file named meas-{_STANDARD_ERROR}. Only maps of subjects (meas-{MEASURES[0]}) have "
            "them."
        )
    return beside


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
    image = find_atlas_image(table, surface=True) if table is not None else None
    if image is None:
        raise InputDataError(
            "A pconn needs the atlas as .dlabel.nii, which the dataset has only for "
            "greyordinates; name it with --atlas."
        )
    return image
