"""Regional series of one run: extracted from images, or supplied by another program."""

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
    """The tables and the summary of a run, whether its series were extracted or supplied."""

    timeseries = File(exists=True, desc="timeseries.tsv, all regions in atlas order")
    coverage = File(exists=True, desc="coverage of each region")
    outliers = File(exists=True, desc="1 for each sample left out")
    design = File(exists=True, desc="confounds that were regressed out")
    raw = File(exists=True, desc="regional signals before denoising, in SD")
    summary = File(exists=True, desc="JSON summary of the run")


class Parcellate(NPIInterface):
    """Extract the regional series of one run, denoise them, and measure coverage."""

    input_spec = _ParcellateInputSpec
    output_spec = ParcellateOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.io.json_records import write_record
        from npi_bids.io.tables import write_run
        from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
        from npi_bids.parcellation.extraction import extract_run, summarise_run
        from npi_bids.parcellation.parcellation import read_parcellation
        from npi_bids.parcellation.run_files import RunFiles

        inputs = self.inputs.get_traitsfree()
        names = ("bold", "right", "mask", "confounds")
        paths = {name: Path(inputs[name]) for name in names if name in inputs}
        parcellation = read_parcellation(Path(self.inputs.atlas))
        denoise = DenoiseSettings(**self.inputs.denoise)
        coverage = CoverageSettings(**self.inputs.coverage)
        extracted = extract_run(
            RunFiles(**paths, tr=inputs.get("tr")), parcellation, denoise, coverage
        )
        summary = self._file(runtime, "summary.json")
        write_record(summarise_run(extracted, parcellation, denoise), summary)
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
    """Return the number of voxels of the largest volume among runs, from headers; 0 if none."""
    from npi_bids.parcellation.run_files import count_voxels

    volumes = [path for path in paths if path.name.endswith((".nii", ".nii.gz"))]
    return max(
        (count_voxels(path) for path in volumes if not path.name.endswith(".dtseries.nii")),
        default=0,
    )


def count_values(path: Path) -> tuple[int, int]:
    """Return the numbers of samples and of voxels, greyordinates or regions, from the header.

    Raises
    ------
    InputDataError
        An image cannot be read, or its header is implausible.
    """
    from npi_bids.io.tables import count_cells
    from npi_bids.parcellation.volumes import read_series_shape

    return count_cells(path) if path.suffix == ".tsv" else read_series_shape(path)


class _ReadSeriesInputSpec(VersionedInputSpec):
    series = File(exists=True, mandatory=True, desc="timeseries.tsv, one column per region")
    outliers = File(exists=True, desc="table with 1 for each censored sample")
    motion = File(exists=True, desc="table with framewise_displacement")
    tr = traits.Float(mandatory=True, desc="sampling period (s)")
    labels = traits.List(Str, mandatory=True, desc="names of the regions")
    indices = traits.List(traits.Int, desc="index of each region in the table of its atlas")
    space = Str("unknown", usedefault=True, desc="template of the images")
    strategy = Str(mandatory=True, desc="description of the denoising of the series")
    standardize = traits.Bool(True, usedefault=True, desc="scale regions to SD 1")


class ReadSeries(NPIInterface):
    """Read the regional series of one run, and check them."""

    input_spec = _ReadSeriesInputSpec
    output_spec = ParcellateOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.io.json_records import write_record
        from npi_bids.io.tables import SeriesRegions, read_supplied_series, write_supplied_run
        from npi_bids.parcellation.extraction import summarise_external

        inputs = self.inputs.get_traitsfree()
        tables = {name: Path(inputs[name]) for name in ("outliers", "motion") if name in inputs}
        supplied = read_supplied_series(
            Path(self.inputs.series),
            SeriesRegions(tuple(self.inputs.labels), tuple(inputs.get("indices", ()))),
            self.inputs.tr,
            **tables,
            standardize=self.inputs.standardize,
        )
        summary = self._file(runtime, "summary.json")
        run_summary = summarise_external(
            supplied.series,
            supplied.displacement,
            self.inputs.strategy,
            self.inputs.space,
            matched_by=supplied.matched_by,
        )
        write_record(run_summary, summary)
        files = write_supplied_run(supplied.series, supplied.displacement, Path(runtime.cwd))
        self._results.update(summary=str(summary), **{k: str(v) for k, v in files.items()})
        return runtime
