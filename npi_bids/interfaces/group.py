"""Group analysis: averages, descriptive statistics, tests over subjects, and their files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    Directory,
    File,
    InputMultiObject,
    OutputMultiObject,
    Str,
    TraitedSpec,
    isdefined,
    traits,
)

from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec, plain

# Nodes of groups always run, so that hashes of their thousands of files, which Nipype computes
# several times, would decide nothing.
_Maps = partial(InputMultiObject, File(exists=True), hash_files=False)


class _GroupInputSpec(VersionedInputSpec):
    matrices = _Maps(
        mandatory=True,
        desc="relmat.tsv files, whose names identify the subjects",
    )
    out_dir = Str(mandatory=True, desc="root of the dataset that the files belong to")
    entities = traits.Dict(mandatory=True, desc="entities of the outputs")
    desc = Str(mandatory=True, desc="label of the denoising strategy")
    origin = traits.Dict(mandatory=True, desc="fields of GroupOrigin: origin of the files")


class _GroupOutputSpec(TraitedSpec):
    files = OutputMultiObject(File(exists=True), desc="tables and matrices with their sidecars")


class _AverageInputSpec(_GroupInputSpec):
    measure = Str(mandatory=True, desc="measure of the matrices")
    settings = traits.Dict(mandatory=True, desc="fields of GroupSettings")


class _GroupInterface(NPIInterface):
    """Base class of the group interfaces: files by subject, and the target of the results."""

    _always_run = True  # it reads tables of the dataset that are not among its inputs

    def _target(self, runtime: Any, files: Any = None) -> Any:
        """Return where results go; ``files``, or the matrices, are their sources."""
        from dataclasses import replace

        from npi_bids.bids.sidecars import GroupOrigin
        from npi_bids.group.analysis import GroupTarget
        from npi_bids.group.saving import RESULTS

        inputs, root = self.inputs, Path(self.inputs.out_dir).resolve()
        sources = tuple(
            f"bids::{path.resolve().relative_to(root).as_posix()}"
            for paths in _by_subject(files or inputs.matrices).values()
            for path in paths
        )
        origin = GroupOrigin.from_json(plain(inputs.origin))
        origin = replace(origin, links=replace(origin.links, sources=sources))
        folder = Path(runtime.cwd) / RESULTS
        entities = plain(inputs.entities)
        return GroupTarget(Path(inputs.out_dir), entities, inputs.desc, origin, folder)

    def _list_files(self, target: Any) -> None:
        written = sorted(path for path in target.folder.rglob("*") if path.is_file())
        self._results["files"] = [str(path) for path in written]


def _by_subject(files: Any) -> dict[str, list[Path]]:
    """Return files by the label of their subject, in their original order."""
    from npi_bids.group.cohorts import files_by_subject

    return files_by_subject([Path(path) for path in files] if isdefined(files) else [])


class AverageGroup(_GroupInterface):
    """Average one measure over subjects, edge by edge."""

    input_spec = _AverageInputSpec
    output_spec = _GroupOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.group.analysis import save_averages
        from npi_bids.group.settings import GroupSettings

        matrices, target = _by_subject(self.inputs.matrices), self._target(runtime)
        settings = GroupSettings(**self.inputs.settings)
        save_averages(matrices, target, self.inputs.measure, settings)
        self._list_files(target)
        return runtime


class _DescribeInputSpec(_GroupInputSpec):
    unshrunk = _Maps(desc="maps without prior, of all subjects, which are tested")
    reversed = _Maps(desc="the same for the signals with time reversed")
    rows = traits.List(traits.Dict(), mandatory=True, desc="one row of variables per subject")
    settings = traits.Dict(mandatory=True, desc="fields of GroupSettings")


class _DescribeOutputSpec(_GroupOutputSpec):
    maps = Directory(exists=True, desc="folder with the maps that are tested as one array")


class DescribeGroup(_GroupInterface):
    """Describe the maps of a group: edges, regions, networks, subjects, motion, reliability."""

    input_spec = _DescribeInputSpec
    output_spec = _DescribeOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.group.analysis import SubjectMaps, save_description
        from npi_bids.group.settings import GroupSettings

        inputs, target = self.inputs, self._target(runtime)
        folder = save_description(
            SubjectMaps(*map(_by_subject, (inputs.matrices, inputs.unshrunk, inputs.reversed))),
            plain(self.inputs.rows),
            target,
            GroupSettings(**self.inputs.settings),
            Path(runtime.cwd),
        )
        self._results["maps"] = str(folder)
        self._list_files(target)
        return runtime


class _ShrinkInputSpec(_GroupInputSpec):
    unshrunk = _Maps(desc="maps without prior, of all subjects")
    first_halves = _Maps(desc="maps of the first halves of scans")
    second_halves = _Maps(desc="maps of the second halves")
    maps = Directory(exists=True, mandatory=True, desc="folder with all maps as one array")
    rows = traits.List(traits.Dict(), mandatory=True, desc="one row of variables per subject")


class ShrinkSubjects(_GroupInterface):
    """Shrink the map of each subject towards the mean of its group."""

    input_spec = _ShrinkInputSpec
    output_spec = _GroupOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.group.map_stack import read_stack
        from npi_bids.group.subject_map_files import Halves, save_subject_maps

        inputs = self.inputs
        read = [inputs.unshrunk, inputs.first_halves, inputs.second_halves]
        sources = [path for files in read if isdefined(files) for path in files]
        target = self._target(runtime, sources)
        halves = Halves(*map(_by_subject, (inputs.first_halves, inputs.second_halves)))
        save_subject_maps(read_stack(Path(inputs.maps)), halves, plain(inputs.rows), target)
        self._list_files(target)
        return runtime


class _TestInputSpec(_GroupInputSpec):
    unshrunk = _Maps(desc="maps without prior, of all subjects, for paired tests")
    proportional = _Maps(
        desc="maps with a prior in proportion to their windows, of all subjects, for tests of "
        "differences between subjects or sessions",
    )
    maps = Directory(exists=True, desc="folder with all maps as one array; not for paired tests")
    rows = traits.List(traits.Dict(), mandatory=True, desc="one row of variables per subject")
    visits = traits.List(
        traits.Dict(),
        desc="one row of variables per visit, for models over sessions and for paired tests",
    )
    model = traits.Dict(mandatory=True, desc="fields of ModelSettings")
    permute = traits.Dict(mandatory=True, desc="fields of PermuteSettings")
    network_table = Str("", usedefault=True, desc="table of additional networks")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="number of threads")


class _TestOutputSpec(_GroupOutputSpec):
    contrasts = traits.List(Str, desc="contrasts that were tested")


class TestGroup(_GroupInterface):
    """Test what explains the maps of a group."""

    input_spec = _TestInputSpec
    output_spec = _TestOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.group.cohorts import pair_files
        from npi_bids.group.inference import TestedMaps, save_tests, save_visit_tests
        from npi_bids.group.map_stack import read_stack, write_differences, write_stack
        from npi_bids.group.sessions import group_by_visit
        from npi_bids.group.settings import ModelSettings, PermuteSettings

        folder, target = Path(runtime.cwd), self._target(runtime)
        model = ModelSettings(**self.inputs.model)
        rows = plain(self.inputs.rows)
        visits = plain(self.inputs.visits) if isdefined(self.inputs.visits) else []
        proportional = _by_subject(self.inputs.proportional)
        files = _by_subject(self.inputs.unshrunk) or _by_subject(self.inputs.matrices)
        save = save_tests
        if model.paired:
            files = proportional or files
            pairs = pair_files(files, model.paired)
            rows = [row for row in rows if row["participant_id"].removeprefix("sub-") in pairs]
            maps = TestedMaps(write_differences(pairs, folder / "differences"), sessions=visits)
        elif visits:
            rows, save = visits, save_visit_tests
            stack = write_stack(group_by_visit(files, visits), folder / "all_visits")
            maps = TestedMaps(stack, group_by_visit(proportional, visits))
        else:
            proportional = _by_subject(self.inputs.proportional)
            maps = TestedMaps(read_stack(Path(self.inputs.maps)), proportional)
        settings = model, PermuteSettings(**self.inputs.permute)
        self._results["contrasts"] = save(
            maps, rows, target, settings, folder, self.inputs.network_table
        )
        self._list_files(target)
        return runtime


class _TestParametersInputSpec(_GroupInputSpec):
    rows = traits.List(traits.Dict(), mandatory=True, desc="one row of variables per subject")
    model = traits.Dict(mandatory=True, desc="fields of ModelSettings")


class TestParameters(_GroupInterface):
    """Average and test the parameters of whole-brain models; ``matrices`` are their tables."""

    input_spec = _TestParametersInputSpec
    output_spec = _GroupOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.group.parameters import save_parameters
        from npi_bids.group.settings import ModelSettings

        tables, target = _by_subject(self.inputs.matrices), self._target(runtime)
        model = ModelSettings(**self.inputs.model)
        save_parameters(tables, plain(self.inputs.rows), target, model)
        self._list_files(target)
        return runtime


class _SaveGroupsInputSpec(VersionedInputSpec):
    files = _Maps(mandatory=True, desc="results of all groups")
    out_dir = Str(mandatory=True, desc="root of the output dataset")


class SaveGroups(NPIInterface):
    """Save the results of all groups into the dataset, replacing earlier ones."""

    input_spec = _SaveGroupsInputSpec
    output_spec = _GroupOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.group.saving import replace_groups

        files = [Path(path) for path in self.inputs.files]
        saved = replace_groups(files, Path(self.inputs.out_dir))
        self._results["files"] = [str(path) for path in saved]
        return runtime
