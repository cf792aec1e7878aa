"""Write results with their sidecars under their BIDS names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from npi_bids.bids import sidecars
from npi_bids.bids.derivatives import DONE, EXCLUDED, UnitStatus
from npi_bids.bids.outputs import MEASURES, UNCERTAINTIES, atlas_path, output_path
from npi_bids.bids.sidecars import FittedModel, Links, ModelOutcome
from npi_bids.bids.uris import regions_file
from npi_bids.connectivity.network_measures import FLOW_FIELDS, Flow, flow_of, network_map
from npi_bids.errors import InputDataError
from npi_bids.io.files import copy_file, replacing, write_json
from npi_bids.io.json_records import Record
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import read_matrix, read_table, write_matrix, write_rows, write_table
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import RunSummary
from npi_bids.parcellation.parcellation import (
    Parcellation,
    save_image,
    table_with_centres,
    voxel_size,
)

_DLABEL = ".dlabel.nii"
Named = tuple[dict[str, str], str]  # entities and desc


def save_run(
    files: Sequence[Path],
    out_dir: Path,
    named: Named,
    *,
    summary: RunSummary,
    settings: tuple[DenoiseSettings, CoverageSettings],
    links: Links,
) -> list[Path]:
    """Save the tables of one run; each file is named after its kind.

    Parameters
    ----------
    files
        ``timeseries.tsv``, ``coverage.tsv``, ``outliers.tsv``, ``design.tsv``, ``raw.tsv``.
    out_dir
        Root of the output dataset.
    named
        Entities and ``desc``.
    summary
        What happened to the run.
    settings
        How it was cleaned, and which regions count.
    links
        Files that the tables come from.

    Returns
    -------
    list of Path
        What was written.
    """
    place = sidecars.place_of(named[0])
    written = []
    for path in files:
        kind = path.stem
        sidecar: Record = (
            sidecars.coverage_sidecar(place, links)
            if kind == "coverage"
            else sidecars.run_sidecar(kind, summary, settings, place, links)
        )
        written += _save(path, out_dir / output_path(kind, *named), sidecar)
    return written


def save_model(
    files: Sequence[Path],
    out_dir: Path,
    named: Named,
    *,
    outcome: ModelOutcome,
    links: Links,
    before: Sequence[Path] = (),
) -> list[Path]:
    """Save the files of one model, the EC matrix last but for the status of the unit.

    Parameters
    ----------
    files
        A matrix per measure, ``training.tsv``, ``weights.safetensors``; none where the unit is
        excluded.
    out_dir
        Root of the output dataset.
    named
        Entities and ``desc``.
    outcome
        What the model says of itself, or the reason why there is none.
    links
        Files that the model comes from, and its configuration.
    before
        What was saved of the runs; the status holds the sizes of these too.

    Returns
    -------
    list of Path
        What was written.
    """
    written: list[Path] = []
    if outcome.fit is not None:
        written = _save_fit(files, out_dir, named, outcome.fit, outcome.labels, links)
    status = UnitStatus(
        *named,
        status=EXCLUDED if outcome.fit is None else DONE,
        configuration=links.configuration_hash,
        reason=outcome.reason,
        error="NoUsableDataError" if outcome.fit is None else "",
        files={
            path.relative_to(out_dir).as_posix(): path.stat().st_size
            for path in (*before, *written)
        },
    )
    write_json(out_dir / status.path, asdict(status))
    return [*written, out_dir / status.path]


def _save_fit(
    files: Sequence[Path],
    out_dir: Path,
    named: Named,
    fit: FittedModel,
    labels: tuple[str, ...],
    links: Links,
) -> list[Path]:
    """Save the files of a model with their sidecars, the EC matrix last."""
    described = sidecars.ModelSidecars(
        fit, labels, sidecars.place_of(named[0]), links,
        f"bids::{output_path(MEASURES[0], *named).with_suffix('.json')}",
    )  # fmt: skip
    written = _save_flow(files, out_dir, named, described)
    for path in sorted(files, key=lambda path: path.stem == MEASURES[0]):
        kind, target = path.stem, out_dir / output_path(path.stem, *named)
        if kind in (*MEASURES, *UNCERTAINTIES):
            written += _save(path, target, described.of_matrix(kind))
        elif kind == "delays":
            written += _save(path, target, described.of_delays())
        elif kind == "weights":
            written += _save(path, target, described.of_weights())
        else:
            copy_file(path, target)
            written.append(target)
    return written


def _save_flow(
    files: Sequence[Path], out_dir: Path, named: Named, described: sidecars.ModelSidecars
) -> list[Path]:
    """Save what the map says of regions and, where they have networks, of these."""
    ec = read_matrix(next(path for path in files if path.stem == MEASURES[0]))
    regions = Regions(regions_file(described.links.node_files, out_dir), ec.labels)
    target = out_dir / output_path("strength", *named)
    described.of_strength().write(target.with_suffix(".json"))
    write_table(flow_table(regions, flow_of(ec.matrix)), target)
    written = [target.with_suffix(".json"), target]
    if regions.network:
        target = out_dir / output_path("npinetworks", *named)
        described.of_networks().write(target.with_suffix(".json"))
        write_matrix(network_map(ec, regions.network), target)
        written += [target.with_suffix(".json"), target]
    return written


def _save(path: Path, target: Path, sidecar: Record) -> list[Path]:
    """Copy a file after its sidecar, so that a file that is there is always described."""
    described = target.with_suffix(".json")
    sidecar.write(described)
    copy_file(path, target)
    return [described, target]


def save_region_names(
    labels: Sequence[str], out_dir: Path, space: str, entities: dict[str, str]
) -> str:
    """Save a table of regions of which only the names are known; as :func:`save_atlas`.

    Raises
    ------
    InputDataError
        The output dataset has a table of that atlas with other regions.
    """
    table = atlas_path(space, entities, "dseg", ".tsv")
    if (out_dir / table).is_file():
        there = set(read_table(out_dir / table, text=["name"])["name"])
        if differing := sorted(there ^ set(labels)):
            raise InputDataError(
                f"<{out_dir / table}> has other regions than the series that are to be mapped: "
                f"{', '.join(differing[:5])}{', ...' if len(differing) > 5 else ''} are in one of "
                "them alone. Expected the same regions for all subjects; use another out_dir for "
                "another parcellation."
            )
    sidecars.region_names_sidecar(space).write(out_dir / table.with_suffix(".json"))
    rows = [{"index": index, "name": label} for index, label in enumerate(labels, start=1)]
    write_rows(rows, out_dir / table)
    return str(table)


def save_atlas(
    parcellation: Parcellation, out_dir: Path, space: str, entities: dict[str, str]
) -> str:
    """Save the table and the image of an atlas as it was used, in its own grid.

    Parameters
    ----------
    parcellation
        The atlas.
    out_dir
        Root of the output dataset.
    space
        Template that names the files.
    entities
        ``atlas``, ``seg``, ``scale``.

    Returns
    -------
    str
        Where the table lies, relative to the output dataset.
    """
    table = atlas_path(space, entities, "dseg", ".tsv")
    sidecars.atlas_table_sidecar(space).write(out_dir / table.with_suffix(".json"))
    write_table(table_with_centres(parcellation), out_dir / table)
    if parcellation.grey:
        _save_grey_atlas(parcellation, out_dir, space, entities)
        return str(table)
    size = voxel_size(parcellation)
    resolution = f"{sum(size) / 3:.2f}".rstrip("0").rstrip(".").replace(".", "p")
    kind = "probseg" if parcellation.probabilistic else "dseg"
    image = atlas_path(space, {**entities, "res": resolution}, kind, ".nii.gz")
    sidecar = out_dir / str(image).replace(".nii.gz", ".json")
    sidecars.atlas_image_sidecar(space, size, parcellation.labels).write(sidecar)
    with replacing(out_dir / image) as temporary:
        save_image(parcellation, temporary)
    return str(table)


def _save_grey_atlas(
    parcellation: Parcellation, out_dir: Path, space: str, entities: dict[str, str]
) -> None:
    """Save the labels of greyordinates, and how densely they lie."""
    n_grey = parcellation.image.shape[1]
    image = atlas_path(space, {**entities, "den": f"{round(n_grey / 1000)}k"}, "dseg", _DLABEL)
    sidecar = out_dir / str(image).replace(_DLABEL, ".json")
    sidecars.grey_atlas_sidecar(space, n_grey, parcellation.labels).write(sidecar)
    with replacing(out_dir / image) as temporary:
        save_image(parcellation, temporary)


def flow_table(regions: Regions, flow: Flow) -> pd.DataFrame:
    """Return one row per region, with what a map says of it."""
    table: dict[str, Any] = {"index": range(1, len(regions.labels) + 1), "name": regions.labels}
    if regions.network:
        table["network"] = regions.network
    return pd.DataFrame(table | {name: getattr(flow, name) for name in FLOW_FIELDS})
