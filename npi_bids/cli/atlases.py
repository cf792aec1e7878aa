"""Preparation of atlases before scheduling, so that a missing one stops the run at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from npi_bids import __version__
from npi_bids.analysis import PreparedAtlas
from npi_bids.bids.atlases import AtlasSpec
from npi_bids.bids.outputs import atlas_path
from npi_bids.errors import InputDataError
from npi_bids.io.files import read_json, write_json


def prepare_atlas(spec: AtlasSpec, folder: Path, *, offline: bool) -> PreparedAtlas:
    """Load and check an atlas in this process, and save it below a folder.

    Parameters
    ----------
    spec
        Atlas to prepare.
    folder
        Folder for prepared atlases.
    offline
        True if the network must not be used.

    Returns
    -------
    PreparedAtlas
        Its folder is named after its content; it has no table in an output dataset yet.

    Raises
    ------
    InputDataError
        The atlas is missing, damaged, or not as specified.
    """
    requests = [_request(part) for part in spec.parts or (spec,)]
    folder = folder.resolve()
    record = folder / f"{spec.name}-{_digest_sources(spec.name, requests)}.json"
    if (known := _read_prepared(spec, record)) is not None:
        return known
    from npi_bids.interfaces.atlas import PrepareAtlas

    interface = PrepareAtlas(
        name=spec.name, requests=requests, offline=offline, folder=str(folder)
    )
    folder.mkdir(parents=True, exist_ok=True)
    outputs = interface.run(cwd=str(folder)).outputs
    prepared = PreparedAtlas(spec.entities, Path(outputs.atlas), "", outputs.n_regions)
    files = {path.name: path.stat().st_size for path in sorted(prepared.folder.iterdir())}
    content = {"folder": prepared.folder.name, "n_regions": prepared.n_regions, "files": files}
    write_json(record, content)
    return prepared


def _digest_sources(name: str, requests: Sequence[Mapping[str, object]]) -> str:
    """Return a digest of requests, of the files that they name, and of those beside them."""
    state: list[object] = [__version__, name, os.environ.get("NILEARN_DATA", "")]
    for request in requests:
        state.append(sorted((key, str(value)) for key, value in request.items()))
        if path := request.get("path"):
            beside = sorted(Path(str(path)).resolve().parent.glob("*"))
            state += [
                (file.name, file.stat().st_size, file.stat().st_mtime_ns)
                for file in beside
                if file.is_file()
            ]
    return hashlib.sha256(repr(state).encode(errors="replace")).hexdigest()[:12]


def _read_prepared(spec: AtlasSpec, record: Path) -> PreparedAtlas | None:
    """Return an atlas that was prepared from the same sources; None if it is not complete."""
    try:
        content = read_json(record)
        folder, files = record.parent / str(content["folder"]), dict(content["files"])
        n_regions = int(content["n_regions"])
        sizes = {name: (folder / name).stat().st_size for name in files}
    except (InputDataError, OSError, KeyError, TypeError, ValueError):
        return None
    return PreparedAtlas(spec.entities, folder, "", n_regions) if sizes == files else None


def save_regions(spec: AtlasSpec, labels: tuple[str, ...], out_dir: Path, *, space: str) -> str:
    """Save the names of the regions of an atlas without an image.

    Returns
    -------
    str
        Path of the table, relative to the output dataset.
    """
    from npi_bids.bids.writing import save_region_names

    return save_region_names(labels, out_dir, space, spec.entities)


def save_atlas(
    spec: AtlasSpec, prepared: PreparedAtlas, out_dir: Path, *, space: str
) -> PreparedAtlas:
    """Save table and image of a prepared atlas into the output dataset, unless they are there.

    Parameters
    ----------
    spec
        Atlas to save.
    prepared
        The prepared atlas.
    out_dir
        Root of the output dataset.
    space
        Template, part of the file names.
    """
    from npi_bids.bids.made import MadeFiles

    table = atlas_path(space, spec.entities, "dseg", ".tsv")
    # The name of the folder holds a digest of its content.
    made, key = MadeFiles(out_dir), f"atlas {table.as_posix()}"
    if made.is_current(key, prepared.folder.name):
        return replace(prepared, node_file=str(table))
    from npi_bids.interfaces.atlas import SaveAtlas

    interface = SaveAtlas(
        atlas=str(prepared.folder), out_dir=str(out_dir), space=space, entities=spec.entities
    )
    outputs = interface.run(cwd=str(prepared.folder)).outputs
    entities = {f"{key}-{value}" for key, value in spec.entities.items()}
    files = [
        path
        for path in (out_dir / outputs.table).parent.iterdir()
        if entities <= set(path.name.partition(".")[0].split("_"))
    ]
    made.record(key, prepared.folder.name, files)
    made.save()
    return replace(prepared, node_file=outputs.table)


def _request(spec: AtlasSpec) -> dict[str, object]:
    """Return the fields of an AtlasRequest."""
    fields: dict[str, object] = {
        "name": spec.name,
        "path": spec.path,
        "space": spec.drawn_in or spec.space,
        "transform": spec.transform,
        "target": spec.space if spec.transform else "",
    }
    if spec.scale and not spec.path:
        fields["n_regions"] = int(spec.scale)
    if spec.seg.endswith("Networks") and not spec.path:
        fields["n_networks"] = int(spec.seg.removesuffix("Networks"))
    return fields
