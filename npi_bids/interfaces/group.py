"""Put the matrices of subjects together, and test what explains them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import Str, TraitedSpec, traits

from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec, plain


class _GroupInputSpec(VersionedInputSpec):
    out_dir = Str(mandatory=True, desc="root of the output dataset")
    entities = traits.Dict(mandatory=True, desc="entities of the outputs")
    desc = Str(mandatory=True, desc="label of the denoising strategy")
    origin = traits.Dict(mandatory=True, desc="fields of GroupOrigin: what the files come from")


class _AverageInputSpec(_GroupInputSpec):
    matrices = traits.Dict(mandatory=True, desc="relmat.tsv files of each subject, by its label")
    measure = Str(mandatory=True, desc="measure of the matrices")
    settings = traits.Dict(mandatory=True, desc="fields of GroupSettings")


class _AverageOutputSpec(TraitedSpec):
    n_subjects = traits.Int(desc="subjects that were put together")


class _GroupInterface(NPIInterface):
    """What all of these share: where their files go."""

    _always_run = True

    def _target(self) -> Any:
        from npi_bids.bids.sidecars import GroupOrigin
        from npi_bids.group.analysis import GroupTarget

        given = self.inputs
        origin = GroupOrigin.from_json(plain(given.origin))
        return GroupTarget(Path(given.out_dir), plain(given.entities), given.desc, origin)

    @staticmethod
    def _paths(files: Any) -> dict[str, list[Path]]:
        return {subject: [Path(path) for path in paths] for subject, paths in files.items()}


class AverageGroup(_GroupInterface):
    """Average one measure over subjects, edge by edge, and save what they share."""

    input_spec = _AverageInputSpec
    output_spec = _AverageOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.group.analysis import save_averages
        from npi_bids.group.settings import GroupSettings

        matrices = self._paths(self.inputs.matrices)
        settings = GroupSettings(**self.inputs.settings)
        save_averages(matrices, self._target(), self.inputs.measure, settings)
        self._results["n_subjects"] = len(matrices)
        return runtime


class _DescribeInputSpec(_GroupInputSpec):
    matrices = traits.Dict(mandatory=True, desc="maps of each subject, by its label")
    errors = traits.Dict(usedefault=True, desc="their standard errors, where they are wanted")
    rows = traits.List(traits.Dict(), mandatory=True, desc="what is known of each subject")
    settings = traits.Dict(mandatory=True, desc="fields of GroupSettings")


class _DescribeOutputSpec(TraitedSpec):
    maps = Str(desc="folder of all maps as one array")


class DescribeGroup(_GroupInterface):
    """Describe the maps of a group: edges, regions, networks, subjects, motion, reliability."""

    input_spec = _DescribeInputSpec
    output_spec = _DescribeOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.group.analysis import save_description
        from npi_bids.group.settings import GroupSettings

        folder = save_description(
            self._paths(self.inputs.matrices),
            self._paths(self.inputs.errors),
            plain(self.inputs.rows),
            self._target(),
            GroupSettings(**self.inputs.settings),
            Path(runtime.cwd),
        )
        self._results["maps"] = str(folder)
        return runtime


class _TestInputSpec(_GroupInputSpec):
    maps = Str(desc="folder of all maps as one array")
    pairs = traits.Dict(usedefault=True, desc="maps of two sessions of each subject, instead")
    rows = traits.List(traits.Dict(), mandatory=True, desc="what is known of each subject")
    model = traits.Dict(mandatory=True, desc="fields of ModelSettings")
    permute = traits.Dict(mandatory=True, desc="fields of PermuteSettings")
    network_table = Str("", usedefault=True, desc="table of further networks")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads to compute on")


class _TestOutputSpec(TraitedSpec):
    contrasts = traits.List(Str, desc="what was tested")


class TestGroup(_GroupInterface):
    """Test what explains the maps of a group."""

    input_spec = _TestInputSpec
    output_spec = _TestOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.group.inference import save_tests
        from npi_bids.group.map_stack import read_stack, write_differences
        from npi_bids.group.settings import ModelSettings, PermuteSettings

        folder = Path(runtime.cwd)
        pairs = self._paths(self.inputs.pairs)
        differences = {subject: (first, second) for subject, (first, second) in pairs.items()}
        stack = (
            write_differences(differences, folder / "differences")
            if pairs
            else read_stack(Path(self.inputs.maps))
        )
        settings = ModelSettings(**self.inputs.model), PermuteSettings(**self.inputs.permute)
        rows, further = plain(self.inputs.rows), self.inputs.network_table
        tested = save_tests(stack, rows, self._target(), settings, folder, further)
        self._results["contrasts"] = tested
        return runtime
