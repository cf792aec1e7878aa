"""Regional series of one run: extracted from images, or taken over from another program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.base import Directory, File, Str, TraitedSpec, traits

from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec


class _ParcellateInputSpec(VersionedInputSpec):
    bold = File(exists=True, mandatory=True, desc="4D image of preprocessed BOLD")
    right = File(exists=True, desc="right hemisphere, where bold is the left one (func.gii)")
    mask = File(exists=True, desc="brain mask on the grid of the image")
    confounds = File(exists=True, desc="desc-confounds_timeseries.tsv")
    tr = traits.Float(desc="sampling period that the sidecar states (s)")
    atlas = Directory(exists=True, mandatory=True, desc="folder of a prepared parcellation")
    denoise = traits.Dict(mandatory=True, desc="fields of DenoiseSettings")
    coverage = traits.Dict(mandatory=True, desc="fields of CoverageSettings")


class ParcellateOutputSpec(TraitedSpec):
    """What is known of a run, wherever its regional series come from."""

    timeseries = File(exists=True, desc="timeseries.tsv, all regions in atlas order")
    coverage = File(exists=True, desc="coverage of each region")
    outliers = File(exists=True, desc="1 for each sample left out")
    design = File(exists=True, desc="confounds that were regressed out")
    raw = File(exists=True, desc="regional signals before they were cleaned, in SD")
    summary = File(exists=True, desc="JSON: what happened to the run")


class Parcellate(NPIInterface):
    """Extract the regional series of one run, clean them, and measure coverage."""

    input_spec = _ParcellateInputSpec
    output_spec = ParcellateOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.io.json_records import write_record
        from npi_bids.io.tables import write_run
        from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
        from npi_bids.parcellation.extraction import extract_run, summarise
        from npi_bids.parcellation.parcellation import read_parcellation
        from npi_bids.parcellation.run_files import RunFiles

        given = self.inputs.get_traitsfree()
        paths = {
            key: Path(given[key]) for key in ("bold", "right", "mask", "confounds") if key in given
        }
        parcellation = read_parcellation(Path(self.inputs.atlas))
        denoise = DenoiseSettings(**self.inputs.denoise)
        coverage = CoverageSettings(**self.inputs.coverage)
        extracted = extract_run(
            RunFiles(**paths, tr=given.get("tr")), parcellation, denoise, coverage
        )
        summary = self._file(runtime, "summary.json")
        write_record(summarise(extracted, parcellation, denoise), summary)
        files = write_run(
            extracted.series,
            extracted.coverage,
            extracted.confounds.regressors,
            (extracted.confounds.framewise_displacement, extracted.raw),
            Path(runtime.cwd),
        )
        self._results.update(summary=str(summary), **{k: str(v) for k, v in files.items()})
        return runtime


def largest_volume(paths: Sequence[Path]) -> int:
    """Return the voxels of the largest volume of some runs, from their headers; 0 without any."""
    from npi_bids.parcellation.run_files import count_voxels

    volumes = [path for path in paths if path.name.endswith((".nii", ".nii.gz"))]
    return max(
        (count_voxels(path) for path in volumes if not path.name.endswith(".dtseries.nii")),
        default=0,
    )


def count_values(path: Path) -> tuple[int, int]:
    """Return samples and places (voxels, greyordinates, regions) of a run, from its header.

    Raises
    ------
    InputDataError
        An image cannot be read, or its header cannot be true.
    """
    from npi_bids.io.tables import count_cells
    from npi_bids.parcellation.volumes import count_places

    return count_cells(path) if path.suffix == ".tsv" else count_places(path)


class _ReadSeriesInputSpec(VersionedInputSpec):
    series = File(exists=True, mandatory=True, desc="timeseries.tsv, one column per region")
    outliers = File(exists=True, desc="table with 1 for each censored sample")
    motion = File(exists=True, desc="table with framewise_displacement")
    tr = traits.Float(mandatory=True, desc="sampling period (s)")
    labels = traits.List(Str, mandatory=True, desc="names of the regions")
    indices = traits.List(traits.Int, desc="index of each region in the table of its atlas")
    space = Str("unknown", usedefault=True, desc="template of the images")
    strategy = Str(mandatory=True, desc="what the series say of their cleaning")
    standardize = traits.Bool(True, usedefault=True, desc="bring regions to SD 1")


class ReadSeries(NPIInterface):
    """Read the regional series of one run, and check them."""

    input_spec = _ReadSeriesInputSpec
    output_spec = ParcellateOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.io.json_records import write_record
        from npi_bids.io.tables import SeriesRegions, read_given, write_given
        from npi_bids.parcellation.extraction import summarise_given

        given = self.inputs.get_traitsfree()
        others = {key: Path(given[key]) for key in ("outliers", "motion") if key in given}
        read = read_given(
            Path(self.inputs.series),
            SeriesRegions(tuple(self.inputs.labels), tuple(given.get("indices", ()))),
            self.inputs.tr,
            **others,
            standardize=self.inputs.standardize,
        )
        summary = self._file(runtime, "summary.json")
        about = summarise_given(
            read.series,
            read.displacement,
            self.inputs.strategy,
            self.inputs.space,
            matched_by=read.matched_by,
        )
        write_record(about, summary)
        files = write_given(read.series, read.displacement, Path(runtime.cwd))
        self._results.update(summary=str(summary), **{k: str(v) for k, v in files.items()})
        return runtime
