"""Average the matrices of subjects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, OutputMultiObject, Str, TraitedSpec, traits

from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec, plain


class _AverageInputSpec(VersionedInputSpec):
    matrices = traits.Dict(mandatory=True, desc="relmat.tsv files of each subject, by its label")
    sources = traits.List(Str(), mandatory=True, desc="BIDS URIs of these files")
    measure = Str(mandatory=True, desc="measure of the matrices")
    settings = traits.Dict(mandatory=True, desc="fields of GroupSettings")
    out_dir = Str(mandatory=True, desc="root of the output dataset")
    entities = traits.Dict(mandatory=True, desc="entities of the outputs")
    desc = Str(mandatory=True, desc="label of the denoising strategy")
    links = traits.Dict(mandatory=True, desc="NodeFiles, ConfigurationHash and the like")


class _AverageOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(), desc="what was written, sidecars included")


class AverageGroup(NPIInterface):
    """Average one measure over subjects, edge by edge, and save what they share."""

    input_spec = _AverageInputSpec
    output_spec = _AverageOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.core.group import GroupSettings
        from npi_bids.interfaces.outputs_group import save_group

        written = save_group(
            {k: [Path(p) for p in paths] for k, paths in self.inputs.matrices.items()},
            Path(self.inputs.out_dir),
            (plain(self.inputs.entities), self.inputs.desc, self.inputs.measure),
            settings=GroupSettings(**self.inputs.settings),
            links={**plain(self.inputs.links), "Sources": list(self.inputs.sources)},
        )
        self._results["out_files"] = [str(path) for path in written]
        return runtime
