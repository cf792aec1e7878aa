"""Preparation of atlases, once for all nodes, and their storage in the output dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import Directory, Str, TraitedSpec, traits

from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec, plain


class _PrepareAtlasInputSpec(VersionedInputSpec):
    name = Str(mandatory=True, desc="name of the atlas")
    requests = traits.List(
        traits.Dict, mandatory=True, desc="fields of AtlasRequest of each atlas to combine"
    )
    offline = traits.Bool(False, usedefault=True, desc="do not download anything")
    folder = Str(mandatory=True, desc="folder for prepared atlases")


class _PrepareAtlasOutputSpec(TraitedSpec):
    atlas = Directory(exists=True, desc="folder of the prepared parcellation")
    n_regions = traits.Int(desc="number of regions")


class PrepareAtlas(NPIInterface):
    """Load an atlas, check it, and save it under a name that depends on its content.

    Several requests are combined by :func:`npi_bids.parcellation.atlases.combine`.
    """

    input_spec = _PrepareAtlasInputSpec
    output_spec = _PrepareAtlasOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.parcellation.atlases import AtlasRequest, combine, load_atlas
        from npi_bids.parcellation.parcellation import digest, save_parcellation

        requests = [AtlasRequest(**fields) for fields in plain(self.inputs.requests)]
        loaded = [load_atlas(request, offline=self.inputs.offline) for request in requests]
        parcellation = combine(loaded, self.inputs.name)
        folder = Path(self.inputs.folder) / f"{self.inputs.name}-{digest(parcellation)}"
        save_parcellation(parcellation, folder)
        self._results.update(atlas=str(folder), n_regions=len(parcellation.labels))
        return runtime


class _SaveAtlasInputSpec(VersionedInputSpec):
    atlas = Directory(exists=True, mandatory=True, desc="folder of a prepared parcellation")
    out_dir = Str(mandatory=True, desc="root of the output dataset")
    space = Str(mandatory=True, desc="template in the names of the files")
    entities = traits.Dict(mandatory=True, desc="atlas, seg, scale")


class _SaveAtlasOutputSpec(TraitedSpec):
    table = Str(desc="table of regions, relative to the output dataset")
    n_regions = traits.Int(desc="number of regions")


class SaveAtlas(NPIInterface):
    """Save the table and the image of an atlas into the output dataset."""

    input_spec = _SaveAtlasInputSpec
    output_spec = _SaveAtlasOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.bids.writing import save_atlas
        from npi_bids.parcellation.parcellation import read_parcellation

        parcellation = read_parcellation(Path(self.inputs.atlas))
        self._results["n_regions"] = len(parcellation.labels)
        self._results["table"] = save_atlas(
            parcellation, Path(self.inputs.out_dir), self.inputs.space, plain(self.inputs.entities)
        )
        return runtime
