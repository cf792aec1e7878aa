"""Take over the regional series of one run that another program has extracted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, Str, traits

from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec
from npi_bids.interfaces.parcellate import ParcellateOutputSpec


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
        from npi_bids.images.extract import summarise_given
        from npi_bids.io.files import write_json
        from npi_bids.io.given import SeriesRegions, read_given
        from npi_bids.io.tables import write_given

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
        write_json(summary, asdict(about))
        files = write_given(read.series, read.displacement, Path(runtime.cwd))
        self._results.update(summary=str(summary), **{k: str(v) for k, v in files.items()})
        return runtime
