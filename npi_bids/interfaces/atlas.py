"""Load an atlas once, check it, and put it where all nodes find it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import Directory, Str, TraitedSpec, traits

from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec, plain


class _PrepareAtlasInputSpec(VersionedInputSpec):
    name = Str(mandatory=True, desc="name of the atlas")
    n_regions = traits.Int(0, usedefault=True, desc="regions of Schaefer2018")
    n_networks = traits.Int(7, usedefault=True, desc="networks of Schaefer2018")
    path = Str("", usedefault=True, desc="image of the user's")
    space = Str("unknown", usedefault=True, desc="template that the image is drawn in")
    offline = traits.Bool(False, usedefault=True, desc="never touch the network")
    folder = Str(mandatory=True, desc="where prepared atlases go")


class _PrepareAtlasOutputSpec(TraitedSpec):
    atlas = Directory(exists=True, desc="folder of the prepared parcellation")
    n_regions = traits.Int(desc="number of regions")


class PrepareAtlas(NPIInterface):
    """Load an atlas as a checked parcellation and save it under a name made from its content."""

    input_spec = _PrepareAtlasInputSpec
    output_spec = _PrepareAtlasOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.images.atlases import AtlasRequest, load_atlas
        from npi_bids.images.parcellation import digest, save_parcellation

        given = self.inputs.get_traitsfree()
        fields = ("name", "n_regions", "n_networks", "path", "space")
        request = AtlasRequest(**{key: given[key] for key in fields})
        parcellation = load_atlas(request, offline=self.inputs.offline)
        folder = Path(self.inputs.folder) / f"{request.name}-{digest(parcellation)}"
        save_parcellation(parcellation, folder)
        self._results.update(atlas=str(folder), n_regions=len(parcellation.labels))
        return runtime


class _SaveAtlasInputSpec(VersionedInputSpec):
    atlas = Directory(exists=True, mandatory=True, desc="folder of a prepared parcellation")
    out_dir = Str(mandatory=True, desc="root of the output dataset")
    space = Str(mandatory=True, desc="template that names the files")
    entities = traits.Dict(mandatory=True, desc="atlas, seg, scale")


class _SaveAtlasOutputSpec(TraitedSpec):
    table = Str(desc="table of regions, relative to the output dataset")
    n_regions = traits.Int(desc="number of regions")


class SaveAtlas(NPIInterface):
    """Save table and image of an atlas into the output dataset."""

    input_spec = _SaveAtlasInputSpec
    output_spec = _SaveAtlasOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.images.parcellation import read_parcellation
        from npi_bids.interfaces.outputs import save_atlas

        parcellation = read_parcellation(Path(self.inputs.atlas))
        self._results["n_regions"] = len(parcellation.labels)
        self._results["table"] = save_atlas(
            parcellation, Path(self.inputs.out_dir), self.inputs.space, plain(self.inputs.entities)
        )
        return runtime
