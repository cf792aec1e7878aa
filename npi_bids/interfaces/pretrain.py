"""Train one surrogate on the series of a group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, Str, TraitedSpec, traits

from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec, plain


class _PretrainInputSpec(VersionedInputSpec):
    series = traits.Dict(mandatory=True, desc="timeseries.tsv of each subject, in the dataset")
    out_dir = Str(mandatory=True, desc="root of the output dataset")
    file = Str(mandatory=True, desc="path of the surrogate in the dataset")
    train = traits.Dict(mandatory=True, desc="fields of TrainSettings")
    links = traits.Dict(mandatory=True, desc="fields of PretrainedLinks: its sources")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="number of threads for torch")


class _PretrainOutputSpec(TraitedSpec):
    surrogate = File(exists=True, desc="the pre-trained surrogate")


class PretrainGroup(NPIInterface):
    """Train one surrogate on the series of all subjects of a group, and save it."""

    input_spec = _PretrainInputSpec
    output_spec = _PretrainOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.surrogates.base import TrainSettings
        from npi_bids.surrogates.training import threads

        with threads(self.inputs.n_threads):
            path = save_pretrained(
                plain(self.inputs.series),
                Path(self.inputs.out_dir),
                self.inputs.file,
                train=TrainSettings(**self.inputs.train),
                links=plain(self.inputs.links),
            )
        self._results["surrogate"] = str(path)
        return runtime


def save_pretrained(
    series: Mapping[str, Sequence[str]],
    out_dir: Path,
    file: str,
    *,
    train: Any,
    links: Mapping[str, Any],
) -> Path:
    """Train on series of the output dataset, write the surrogate, and return its path."""
    from npi_bids.bids.sidecars import SeriesSidecar
    from npi_bids.io.tables import read_series
    from npi_bids.surrogates.base import resolve
    from npi_bids.surrogates.pretraining import pretrain
    from npi_bids.surrogates.storage import PretrainedLinks, write_pretrained

    def read_runs(paths: Sequence[str]) -> list[Any]:
        files = [out_dir / path for path in paths]
        return [
            read_series(path, tr=SeriesSidecar.read(path.with_suffix(".json")).repetition_time)
            for path in files
        ]

    def subjects() -> Iterator[tuple[str, list[Any]]]:
        for subject in sorted(series):
            yield subject, read_runs(series[subject])

    pretrained = pretrain(subjects, train)
    first = read_runs(series[min(series)])[0]
    path = out_dir / file
    write_pretrained(
        pretrained,
        path,
        labels=first.labels,
        tr=first.tr,
        settings=resolve(train),
        links=PretrainedLinks.from_json(links),
    )
    return path
