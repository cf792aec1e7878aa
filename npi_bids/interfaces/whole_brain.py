"""Fit a whole-brain model to one subject and stimulate it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import traits

from npi_bids.interfaces.base import (
    ModelOutputSpec,
    NPIInterface,
    SubjectInputSpec,
    plain,
    set_up_worker_logging,
)


class _FitWholeBrainInputSpec(SubjectInputSpec):
    train = traits.Dict(mandatory=True, desc="fields of TrainSettings")
    perturb = traits.Dict(mandatory=True, desc="fields of PerturbSettings")
    measures = traits.Dict(usedefault=True, desc="fields of MeasureSettings")
    verdict = traits.Dict(usedefault=True, desc="fields of VerdictSettings")
    brain = traits.Dict(usedefault=True, desc="fields of BrainSettings")
    min_time = traits.Float(0.0, usedefault=True, desc="minimum duration of uncensored data (s)")


class FitWholeBrain(NPIInterface):
    """Fit the parameters of a whole-brain model, stimulate every region, and assess the map.

    This is one interface, since all three steps share the simulated model. Too little data is a
    valid outcome, not an error: the summary states it, and no files are written.
    """

    input_spec = _FitWholeBrainInputSpec
    output_spec = ModelOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.bids.model_files import read_runs, write_exclusion
        from npi_bids.errors import NoUsableDataError
        from npi_bids.surrogates.windows import check_time

        folder = Path(runtime.cwd)
        set_up_worker_logging()  # the search takes hours
        runs = read_runs(self.inputs.series, self.inputs.summaries)
        try:
            check_time(runs, self.inputs.min_time)
            files, summary = self._fit(runs, folder)
        except NoUsableDataError as error:
            files, summary = write_exclusion(str(error), self.inputs.summaries, folder)
        self._results.update(files=[str(path) for path in files], summary=str(summary))
        return runtime

    def _fit(self, runs: Any, folder: Path) -> tuple[list[Path], Path]:
        from npi_bids.assessment.settings import AssessSettings, VerdictSettings
        from npi_bids.bids.model_files import read_regressors, with_runs, write_subject
        from npi_bids.connectivity.settings import MeasureSettings, PerturbSettings
        from npi_bids.surrogates.base import TrainSettings
        from npi_bids.whole_brain.inference import fit_brain
        from npi_bids.whole_brain.settings import BrainSettings

        inputs = self.inputs
        result = fit_brain(
            runs,
            train=TrainSettings(**inputs.train),
            brain=BrainSettings(**plain(inputs.brain)),
            cache=folder.parent / "search",  # Nipype empties the folder of a node that runs again
            regressors=read_regressors(inputs.summaries),
            n_procs=inputs.n_threads,
        )
        assess = AssessSettings(
            measures=MeasureSettings(**inputs.measures), verdict=VerdictSettings(**inputs.verdict)
        )
        result = with_runs(result, inputs.summaries)
        perturb = PerturbSettings(**inputs.perturb)
        return write_subject(result, runs, perturb, assess, folder)
