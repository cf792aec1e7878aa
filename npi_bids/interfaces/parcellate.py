"""Regional series of one run: extracted from images, or supplied by another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    Directory,
    File,
    InputMultiObject,
    Str,
    TraitedSpec,
    traits,
)

from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec

if TYPE_CHECKING:
    from npi_bids.parcellation.denoising import DenoiseSettings
    from npi_bids.parcellation.extraction import ExtractedRun
    from npi_bids.parcellation.parcellation import Parcellation
    from npi_bids.parcellation.run_files import RunFiles


_MODULES = (
    "npi_bids.io.json_records",
    "npi_bids.parcellation.extraction",
    "nilearn.interfaces.fmriprep",
    "nilearn.signal",
    "scipy.ndimage",
    "scipy.sparse",
)


class _RunInputSpec(VersionedInputSpec):
    bold = File(exists=True, mandatory=True, desc="4D image of preprocessed BOLD")
    right = File(exists=True, desc="right hemisphere, where bold is the left one (func.gii)")
    mask = File(exists=True, desc="brain mask on the grid of the image")
    confounds = File(exists=True, desc="desc-confounds_timeseries.tsv")
    tr = traits.Float(desc="sampling period that the sidecar states (s)")
    denoise = traits.Dict(mandatory=True, desc="fields of DenoiseSettings")
    coverage = traits.Dict(mandatory=True, desc="fields of CoverageSettings")


class _ParcellateInputSpec(_RunInputSpec):
    atlas = Directory(exists=True, mandatory=True, desc="folder of a prepared parcellation")


class ParcellateOutputSpec(TraitedSpec):
    """The tables and the summary of a run, whether its series were extracted or supplied."""

    timeseries = File(exists=True, desc="timeseries.tsv, all regions in atlas order")
    coverage = File(exists=True, desc="coverage of each region")
    outliers = File(exists=True, desc="1 for each sample left out")
    design = File(exists=True, desc="confounds that were regressed out")
    raw = File(exists=True, desc="regional signals before denoising, in SD")
    mean = File(exists=True, desc="mean volume at a low resolution, of a run of volumes")
    summary = File(exists=True, desc="JSON summary of the run")


class Parcellate(NPIInterface):
    """Extract the regional series of one run for one atlas, denoise them, and measure coverage."""

    modules = _MODULES
    input_spec = _ParcellateInputSpec
    output_spec = ParcellateOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
        from npi_bids.parcellation.extraction import extract_run
        from npi_bids.parcellation.parcellation import read_parcellation

        parcellation = read_parcellation(Path(self.inputs.atlas))
        denoise = DenoiseSettings(**self.inputs.denoise)
        coverage = CoverageSettings(**self.inputs.coverage)
        extracted = extract_run(_run_files(self.inputs), parcellation, denoise, coverage)
        self._results.update(_write_extracted(extracted, parcellation, denoise, Path(runtime.cwd)))
        return runtime


class _ExtractInputSpec(_RunInputSpec):
    atlases = InputMultiObject(
        Directory(exists=True), mandatory=True, desc="folders of prepared parcellations"
    )


class _ExtractOutputSpec(TraitedSpec):
    readings = traits.List(
        File(exists=True), desc="mean signals of the regions of each atlas, in the same order"
    )


class ExtractRegions(NPIInterface):
    """Read the mean signals of the regions of several atlases, in one pass over a run.

    An atlas that cannot be used with the run stops :class:`DenoiseRegions` of that atlas alone.
    """

    modules = _MODULES
    input_spec = _ExtractInputSpec
    output_spec = _ExtractOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
        from npi_bids.parcellation.extraction import read_regions, save_reading
        from npi_bids.parcellation.parcellation import read_parcellation

        readings = read_regions(
            _run_files(self.inputs),
            [read_parcellation(Path(folder)) for folder in self.inputs.atlases],
            DenoiseSettings(**self.inputs.denoise),
            CoverageSettings(**self.inputs.coverage),
        )
        paths = [self._file(runtime, f"reading_{k}.npz") for k in range(1, len(readings) + 1)]
        for reading, path in zip(readings, paths, strict=True):
            save_reading(reading, path)
        self._results["readings"] = [str(path) for path in paths]
        return runtime


class _DenoiseInputSpec(_ParcellateInputSpec):
    bold = Str(mandatory=True, desc="name of the image, for messages; it is not read")
    reading = File(exists=True, mandatory=True, desc="mean signals of the regions of the atlas")


class DenoiseRegions(NPIInterface):
    """Denoise the regional series of one run for one atlas, which were read with others."""

    modules = _MODULES
    input_spec = _DenoiseInputSpec
    output_spec = ParcellateOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.parcellation.denoising import DenoiseSettings
        from npi_bids.parcellation.extraction import denoise_run, load_reading
        from npi_bids.parcellation.parcellation import read_parcellation

        parcellation = read_parcellation(Path(self.inputs.atlas))
        denoise = DenoiseSettings(**self.inputs.denoise)
        reading = load_reading(Path(self.inputs.reading))
        extracted = denoise_run(reading, _run_files(self.inputs), parcellation, denoise)
        self._results.update(_write_extracted(extracted, parcellation, denoise, Path(runtime.cwd)))
        return runtime


def _run_files(inputs: Any) -> RunFiles:
    from npi_bids.parcellation.run_files import RunFiles

    values = inputs.get_traitsfree()
    names = ("bold", "right", "mask", "confounds")
    paths = {name: Path(values[name]) for name in names if name in values}
    return RunFiles(**paths, tr=values.get("tr"))


def _write_extracted(
    extracted: ExtractedRun, parcellation: Parcellation, denoise: DenoiseSettings, folder: Path
) -> dict[str, str]:
    """Write the tables and the summary of a run, and return their paths."""
    from npi_bids.io.json_records import write_record
    from npi_bids.io.tables import write_run
    from npi_bids.parcellation.extraction import summarise_run
    from npi_bids.parcellation.mean_volume import write_mean

    summary = folder / "summary.json"
    write_record(summarise_run(extracted, parcellation, denoise), summary)
    files = write_run(
        extracted.series,
        extracted.coverage,
        extracted.confounds.regressors,
        (extracted.confounds.framewise_displacement, extracted.raw),
        folder,
    )
    if extracted.mean is not None:
        files["mean"] = folder / "mean.nii.gz"
        write_mean(extracted.mean, files["mean"])
    return {"summary": str(summary), **{name: str(path) for name, path in files.items()}}


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

    modules = ("npi_bids.io.json_records", "npi_bids.parcellation.extraction")
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
