"""Fit a whole-brain model to one subject and stimulate it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import traits

from npi_bids.interfaces.base import ModelOutputSpec, NPIInterface, SubjectInputSpec, plain, speak


class _FitWholeBrainInputSpec(SubjectInputSpec):
    train = traits.Dict(mandatory=True, desc="fields of TrainSettings")
    perturb = traits.Dict(mandatory=True, desc="fields of PerturbSettings")
    measures = traits.Dict(usedefault=True, desc="fields of MeasureSettings")
    verdict = traits.Dict(usedefault=True, desc="fields of VerdictSettings")
    brain = traits.Dict(usedefault=True, desc="fields of BrainSettings")
    min_time = traits.Float(0.0, usedefault=True, desc="kept seconds that the model needs")


class FitWholeBrain(NPIInterface):
    """Search the parameters of a whole-brain model, stimulate every region, and judge the map.

    One interface, since the search, the stimulation and the judgement share the simulated model.
    Too little data is an outcome and no error: the summary says so and there are no files.
    """

    input_spec = _FitWholeBrainInputSpec
    output_spec = ModelOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.bids.model_files import read_runs, write_exclusion
        from npi_bids.errors import NoUsableDataError
        from npi_bids.surrogates.windows import check_time

        folder = Path(runtime.cwd)
        speak()  # the search takes hours
        runs = read_runs(self.inputs.series, self.inputs.summaries)
        try:
            check_time(runs, self.inputs.min_time)
            files, summary = self._fit(runs, folder)
        except NoUsableDataError as error:
            files, summary = write_exclusion(str(error), self.inputs.summaries, folder)
        self._results.update(files=[str(path) for path in files], summary=str(summary))
        return runtime

    def _fit(self, runs: Any, folder: Path) -> tuple[list[Path], Path]:
        from npi_bids.assessment.verdict import AssessSettings, VerdictSettings
        from npi_bids.bids.model_files import read_regressors, with_hazards, write_subject
        from npi_bids.connectivity.measures import MeasureSettings
        from npi_bids.connectivity.settings import PerturbSettings
        from npi_bids.surrogates.base import TrainSettings
        from npi_bids.whole_brain.inference import brain_of_runs
        from npi_bids.whole_brain.settings import BrainSettings

        given = self.inputs
        result = brain_of_runs(
            runs,
            train=TrainSettings(**given.train),
            brain=BrainSettings(**plain(given.brain)),
            cache=folder.parent / "search",  # Nipype empties the folder of a node that runs again
            regressors=read_regressors(given.summaries),
            n_procs=given.n_threads,
        )
        assess = AssessSettings(
            measures=MeasureSettings(**given.measures), verdict=VerdictSettings(**given.verdict)
        )
        result = with_hazards(result, given.summaries)
        perturb = PerturbSettings(**given.perturb)
        return write_subject(result, runs, perturb, assess, folder)
