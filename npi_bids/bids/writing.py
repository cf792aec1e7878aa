"""Write results with their sidecars under their BIDS names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from npi_bids.bids import sidecars
from npi_bids.bids.derivatives import DONE, EXCLUDED, FAILED, UnitStatus
from npi_bids.bids.outputs import CATALOGUE, MEASURES, atlas_path, output_path, parse_name
from npi_bids.bids.sidecars import FittedModel, Links, ModelOutcome
from npi_bids.bids.uris import regions_file
from npi_bids.connectivity.network_measures import FLOW_FIELDS, Flow, compute_flow, network_map
from npi_bids.errors import InputDataError
from npi_bids.io.files import copy_file, read_json, replacing, write_json
from npi_bids.io.json_records import Record
from npi_bids.io.region_maps import write_pscalar, write_volume
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import (
    read_matrix,
    read_table,
    write_connections,
    write_matrix,
    write_rows,
    write_table,
)
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import RunSummary
from npi_bids.parcellation.parcellation import (
    Parcellation,
    save_image,
    table_with_centres,
    voxel_size,
)
from npi_bids.records import ECResult

_DLABEL = ".dlabel.nii"
# Measures of regions that are drawn on the brain, in the order of the volumes.
REGION_MAPS = ("out_strength", "in_strength", "net_flow", "hierarchy")
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
    """Save the tables of one run; each file is named after its output.

    Parameters
    ----------
    files
        ``timeseries.tsv``, ``coverage.tsv``, ``outliers.tsv``, ``design.tsv``, ``raw.tsv``, and
        ``mean.nii.gz`` of a run of volumes.
    out_dir
        Root of the output dataset.
    named
        Entities and ``desc``.
    summary
        Summary of the extraction and the denoising of the run.
    settings
        Settings of its denoising and of coverage.
    links
        Files that the tables are derived from.

    Returns
    -------
    list of Path
        The files written.
    """
    grid = sidecars.describe_grid(named[0])
    written = []
    for path in files:
        output_name = path.name.partition(".")[0]
        sidecar: Record
        if output_name == "coverage":
            sidecar = sidecars.coverage_sidecar(grid, links)
        elif output_name == "mean":
            sidecar = sidecars.mean_sidecar(grid, links)
        else:
            sidecar = sidecars.run_sidecar(output_name, summary, settings, grid, links)
        written += _save(path, out_dir / output_path(output_name, *named), sidecar)
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
    """Save the files of one model; the EC matrix comes last, followed only by the unit status.

    Files of an earlier fit of the same model that the new one does not have are removed.

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
        Description of the model, or the reason why there is none.
    links
        Files that the model is derived from, and its configuration.
    before
        Files saved for the runs, whose sizes the status also records.

    Returns
    -------
    list of Path
        The files written.
    """
    written: list[Path] = []
    earlier = _withdraw_status(out_dir, named)
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
    for name in earlier - set(status.files):
        (out_dir / name).unlink(missing_ok=True)
    write_json(out_dir / status.path, asdict(status))
    return [*written, out_dir / status.path]


def _withdraw_status(out_dir: Path, named: Named) -> set[str]:
    """Remove the status of a model, and return the names of its files.

    Without a status, files that are replaced in part do not look complete.
    """
    path = out_dir / UnitStatus(*named, status=FAILED, configuration="").path
    try:
        files = read_json(path).get("files", {})
    except InputDataError:  # there is none, or it is damaged
        files = {}
    path.unlink(missing_ok=True)
    return set(files) if isinstance(files, dict) else set()


def _save_fit(
    files: Sequence[Path],
    out_dir: Path,
    named: Named,
    fit: FittedModel,
    labels: tuple[str, ...],
    links: Links,
) -> list[Path]:
    """Save the files of a model with their sidecars, the EC matrix last."""
    model_sidecars = sidecars.ModelSidecars(
        fit, labels, sidecars.describe_grid(named[0]), links,
        f"bids::{output_path(MEASURES[0], *named).with_suffix('.json')}",
    )  # fmt: skip
    written = _save_flow(files, out_dir, named, model_sidecars)
    for path in sorted(files, key=lambda path: path.stem == MEASURES[0]):
        output_name, target = path.stem, out_dir / output_path(path.stem, *named)
        if CATALOGUE[output_name].is_matrix:
            written += _save(path, target, model_sidecars.describe_matrix(output_name))
        elif output_name == "delays":
            written += _save(path, target, model_sidecars.describe_delays())
        elif output_name in ("parameters", "posterior"):
            fields_ = sidecars.PosteriorFields.read(path.with_name("inference.json"))
            written += _save(path, target, model_sidecars.describe_posterior(output_name, fields_))
        elif output_name == "weights":
            written += _save(path, target, model_sidecars.describe_weights())
        else:
            copy_file(path, target)
            written.append(target)
    return written


def _save_flow(
    files: Sequence[Path], out_dir: Path, named: Named, model_sidecars: sidecars.ModelSidecars
) -> list[Path]:
    """Save the regional measures of the map and, if there are networks, the map between them."""
    ec = read_matrix(next(path for path in files if path.stem == MEASURES[0]))
    regions = Regions(regions_file(model_sidecars.links.node_files, out_dir), ec.labels)
    target = out_dir / output_path("strength", *named)
    model_sidecars.describe_strength().write(target.with_suffix(".json"))
    flow = flow_table(regions, compute_flow(ec.matrix))
    write_table(flow, target)
    written = [target.with_suffix(".json"), target]
    written += _save_region_maps(flow, regions.path, out_dir, named, model_sidecars)
    written += _save_connections(ec, files, out_dir, named, model_sidecars)
    if regions.network:
        target = out_dir / output_path("npinetworks", *named)
        model_sidecars.describe_networks().write(target.with_suffix(".json"))
        write_matrix(network_map(ec, regions.network), target)
        written += [target.with_suffix(".json"), target]
    return written


def _save_region_maps(
    flow: pd.DataFrame,
    table: Path,
    out_dir: Path,
    named: Named,
    model_sidecars: sidecars.ModelSidecars,
) -> list[Path]:
    """Save regional measures as an image on the grid of the atlas, if there is an atlas image."""
    atlas = find_atlas_image(table)
    if atlas is None:
        return []
    entities, desc = named
    space = parse_name(table.name).entities.get("tpl", "")
    placed = {key: value for key, value in entities.items() if key not in ("res", "den")}
    target = out_dir / output_path("strengthmap", {**placed, "space": space}, desc)
    values = region_map_values(flow, table, atlas)
    if atlas.name.endswith(_DLABEL):
        target = target.with_name(target.name.replace(".nii.gz", ".pscalar.nii"))
        write_pscalar(values, atlas, target)
    else:
        write_volume(values, atlas, target)
    sidecar = target.with_name(target.name.partition(".")[0] + ".json")
    model_sidecars.describe_region_maps(space, REGION_MAPS).write(sidecar)
    return [sidecar, target]


def find_atlas_image(table: Path, *, surface: bool | None = None) -> Path | None:
    """Return the image of the atlas whose table of regions a dataset of npi-bids holds, or None.

    ``surface`` is whether it must be one of greyordinates; either where None.
    """
    stem = table.name.removesuffix("_dseg.tsv")
    volumes = [f"{stem}_res-*_{suffix}.nii.gz" for suffix in ("dseg", "probseg")]
    grey = [f"{stem}_den-*_dseg{_DLABEL}"]
    patterns = [*([] if surface else volumes), *([] if surface is False else grey)]
    images = (path for pattern in patterns for path in sorted(table.parent.glob(pattern)))
    return next(images, None)


def region_map_values(flow: pd.DataFrame, table: Path, atlas: Path) -> pd.DataFrame:
    """Return the measures of regions that are drawn, indexed as the image of the atlas needs it.

    Parameters
    ----------
    flow
        Measures of the regions, from :func:`flow_table`.
    table
        Table of the regions, which states their values in a volume.
    atlas
        Image of the atlas.
    """
    values = flow.set_index("name")[list(REGION_MAPS)].astype(float)
    if not atlas.name.endswith(_DLABEL):
        regions = read_table(table, text=["name"]).set_index("name")
        values.index = pd.Index([int(regions["index"][name]) for name in values.index])
    return values


def _save_connections(
    ec: ECResult,
    files: Sequence[Path],
    out_dir: Path,
    named: Named,
    model_sidecars: sidecars.ModelSidecars,
) -> list[Path]:
    """Save the long table of the connections of a map, with what is known of each."""
    columns = {"value": ec.matrix}
    for column, measure in (("error", "npistderr"), ("q", "npiq")):
        path = next((path for path in files if path.stem == measure), None)
        columns[column] = read_matrix(path).matrix if path else np.full_like(ec.matrix, np.nan)
    target = out_dir / output_path("connections", *named)
    sidecar = target.with_name(target.name.partition(".")[0] + ".json")
    model_sidecars.describe_connections().write(sidecar)
    write_connections(ec.labels, columns, target)
    return [sidecar, target]


def _save(path: Path, target: Path, sidecar: Record) -> list[Path]:
    """Write the sidecar before copying the file, so that every existing file is described."""
    sidecar_path = target.with_name(target.name.partition(".")[0] + ".json")
    sidecar.write(sidecar_path)
    copy_file(path, target)
    return [sidecar_path, target]


def save_region_names(
    labels: Sequence[str], out_dir: Path, space: str, entities: dict[str, str]
) -> str:
    """Save a table of regions for which only the names are known; see :func:`save_atlas`.

    Raises
    ------
    InputDataError
        The output dataset already has a table of that atlas with other regions.
    """
    table = atlas_path(space, entities, "dseg", ".tsv")
    if (out_dir / table).is_file():
        existing = set(read_table(out_dir / table, text=["name"])["name"])
        if differing := sorted(existing ^ set(labels)):
            raise InputDataError(
                f"<{out_dir / table}> has other regions than the series that are to be mapped: "
                f"{', '.join(differing[:5])}{', ...' if len(differing) > 5 else ''} are in only "
                "one of them. Expected the same regions for all subjects; use another out_dir for "
                "another parcellation."
            )
    sidecars.region_names_sidecar(space).write(out_dir / table.with_suffix(".json"))
    rows = [{"index": index, "name": label} for index, label in enumerate(labels, start=1)]
    write_rows(rows, out_dir / table)
    return str(table)


def save_atlas(
    parcellation: Parcellation, out_dir: Path, space: str, entities: dict[str, str]
) -> str:
    """Save the table and the image of an atlas as it was used, in its original grid.

    Parameters
    ----------
    parcellation
        The atlas.
    out_dir
        Root of the output dataset.
    space
        Template in the names of the files.
    entities
        ``atlas``, ``seg``, ``scale``.

    Returns
    -------
    str
        Path of the table, relative to the output dataset.
    """
    table = atlas_path(space, entities, "dseg", ".tsv")
    sidecars.atlas_table_sidecar(space).write(out_dir / table.with_suffix(".json"))
    write_table(table_with_centres(parcellation), out_dir / table)
    if parcellation.grey:
        _save_grey_atlas(parcellation, out_dir, space, entities)
        return str(table)
    voxel_mm = voxel_size(parcellation)
    resolution = f"{sum(voxel_mm) / 3:.2f}".rstrip("0").rstrip(".").replace(".", "p")
    suffix = "probseg" if parcellation.probabilistic else "dseg"
    image = atlas_path(space, {**entities, "res": resolution}, suffix, ".nii.gz")
    sidecar = out_dir / str(image).replace(".nii.gz", ".json")
    sidecars.atlas_image_sidecar(space, voxel_mm, parcellation.labels).write(sidecar)
    with replacing(out_dir / image) as temporary:
        save_image(parcellation, temporary)
    return str(table)


def _save_grey_atlas(
    parcellation: Parcellation, out_dir: Path, space: str, entities: dict[str, str]
) -> None:
    """Save the labels of the greyordinates, with the number of greyordinates as density."""
    n_grey = parcellation.image.shape[1]
    image = atlas_path(space, {**entities, "den": f"{round(n_grey / 1000)}k"}, "dseg", _DLABEL)
    sidecar = out_dir / str(image).replace(_DLABEL, ".json")
    sidecars.grey_atlas_sidecar(space, n_grey, parcellation.labels).write(sidecar)
    with replacing(out_dir / image) as temporary:
        save_image(parcellation, temporary)


def flow_table(regions: Regions, flow: Flow) -> pd.DataFrame:
    """Return a table with one row per region and its measures in a map."""
    table: dict[str, Any] = {"index": range(1, len(regions.labels) + 1), "name": regions.labels}
    if regions.network:
        table["network"] = regions.network
    return pd.DataFrame(table | {name: getattr(flow, name) for name in FLOW_FIELDS})
