"""Saving of results under their BIDS names in the output dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    File,
    InputMultiObject,
    OutputMultiObject,
    Str,
    TraitedSpec,
    traits,
)

from npi_bids.bids.outputs import RUN_TABLES
from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec, plain


class _SinkInputSpec(VersionedInputSpec):
    out_dir = Str(mandatory=True, desc="root of the output dataset")
    entities = traits.Dict(mandatory=True, desc="entities of the outputs, atlas included")
    desc = Str(mandatory=True, desc="label of the denoising strategy")
    links = traits.Dict(mandatory=True, desc="fields of Links: sources of the files")
    summary = File(exists=True, mandatory=True, desc="JSON of the step that wrote the files")


class _SinkOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(), desc="files written, including sidecars")
    # Nipype treats files with the same content as equal, whatever their paths.
    names = traits.List(Str, desc="the same, relative to the output dataset")


class _SaveRunInputSpec(_SinkInputSpec):
    denoise = traits.Dict(mandatory=True, desc="fields of DenoiseSettings")
    minimum = traits.Dict(mandatory=True, desc="fields of CoverageSettings")
    timeseries = File(exists=True, mandatory=True, desc="regional signals")
    coverage = File(exists=True, mandatory=True, desc="coverage of each region")
    outliers = File(exists=True, mandatory=True, desc="1 for each sample left out")
    design = File(exists=True, mandatory=True, desc="confounds that were regressed out")
    raw = File(exists=True, mandatory=True, desc="regional signals before denoising")
    mean = File(exists=True, desc="mean volume at a low resolution, of a run of volumes")


class SaveRun(NPIInterface):
    """Save the files of one run: timeseries, coverage, outliers, design, raw, mean."""

    input_spec = _SaveRunInputSpec
    output_spec = _SinkOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.bids.sidecars import Links
        from npi_bids.bids.writing import save_run
        from npi_bids.io.json_records import read_record
        from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
        from npi_bids.parcellation.extraction import RunSummary

        inputs = self.inputs.get_traitsfree()
        written = save_run(
            [Path(inputs[name]) for name in RUN_TABLES if name in inputs],
            Path(self.inputs.out_dir),
            (plain(self.inputs.entities), self.inputs.desc),
            summary=read_record(RunSummary, Path(self.inputs.summary)),
            settings=(
                DenoiseSettings(**self.inputs.denoise),
                CoverageSettings(**self.inputs.minimum),
            ),
            links=Links.from_json(plain(self.inputs.links)),
        )
        self._results["out_files"] = [str(path) for path in written]
        self._results["names"] = [
            path.relative_to(self.inputs.out_dir).as_posix() for path in written
        ]
        return runtime


class _SaveModelInputSpec(_SinkInputSpec):
    files = InputMultiObject(File(exists=True), desc="files, each named after its output")
    run_files = traits.List(Str, desc="files saved for the runs, relative to the dataset")
    kind = traits.Dict(
        desc="fields of KindDecision, if the kind of fit was decided by the dataset"
    )


class SaveModel(NPIInterface):
    """Save the matrices and the surrogate of one model, and finally the status of its unit."""

    input_spec = _SaveModelInputSpec
    output_spec = _SinkOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.bids.outputs import CLAIM
        from npi_bids.bids.sidecars import KindDecision, Links, ModelOutcome
        from npi_bids.bids.writing import save_model
        from npi_bids.io.claim import check_claim

        links = Links.from_json(plain(self.inputs.links))
        check_claim(Path(self.inputs.out_dir) / CLAIM, links.configuration_hash)
        inputs = self.inputs.get_traitsfree()
        files, before = inputs.get("files", []), inputs.get("run_files", [])
        outcome = ModelOutcome.read(Path(self.inputs.summary))
        if "kind" in inputs:
            outcome = outcome.with_kind(KindDecision.from_json(plain(inputs["kind"])))
        written = save_model(
            [Path(path) for path in files],
            Path(self.inputs.out_dir),
            (plain(self.inputs.entities), self.inputs.desc),
            outcome=outcome,
            links=links,
            before=[Path(self.inputs.out_dir) / name for name in before],
        )
        self._results["out_files"] = [str(path) for path in written]
        self._results["names"] = [
            path.relative_to(self.inputs.out_dir).as_posix() for path in written
        ]
        return runtime
