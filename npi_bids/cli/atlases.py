"""Preparation of atlases before scheduling, so that a missing one stops the run at once."""

from __future__ import annotations

from pathlib import Path

from npi_bids.bids.atlases import AtlasSpec
from npi_bids.interfaces.atlas import PrepareAtlas, SaveAtlas
from npi_bids.workflows.subject import PreparedAtlas


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
    interface = PrepareAtlas(
        name=spec.name,
        requests=[_request(part) for part in spec.parts or (spec,)],
        offline=offline,
        folder=str(folder.resolve()),
    )
    folder.mkdir(parents=True, exist_ok=True)
    outputs = interface.run(cwd=str(folder)).outputs
    return PreparedAtlas(spec.entities, Path(outputs.atlas), "", outputs.n_regions)


def save_regions(spec: AtlasSpec, labels: tuple[str, ...], out_dir: Path, *, space: str) -> str:
    """Save the names of the regions of an atlas without an image.

    Returns
    -------
    str
        Path of the table, relative to the output dataset.
    """
    from npi_bids.bids.writing import save_region_names

    return save_region_names(labels, out_dir, space, spec.entities)


def save_atlas(spec: AtlasSpec, prepared: Path, out_dir: Path, *, space: str) -> PreparedAtlas:
    """Save table and image of a prepared atlas into the output dataset.

    Parameters
    ----------
    spec
        Atlas to save.
    prepared
        Folder of the prepared parcellation.
    out_dir
        Root of the output dataset.
    space
        Template, part of the file names.
    """
    interface = SaveAtlas(
        atlas=str(prepared), out_dir=str(out_dir), space=space, entities=spec.entities
    )
    outputs = interface.run(cwd=str(prepared)).outputs
    return PreparedAtlas(spec.entities, prepared, outputs.table, outputs.n_regions)


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
