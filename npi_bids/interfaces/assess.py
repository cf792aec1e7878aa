"""Assess how far the effective connectivity of one subject can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, isdefined, traits

from npi_bids.interfaces.base import (
    ModelOutputSpec,
    NPIInterface,
    PriorInputSpec,
    TrainedInputSpec,
    load_trained,
    prior_origin,
    read_prior,
)


class _AssessInputSpec(TrainedInputSpec, PriorInputSpec):
    connectivity = File(exists=True, desc="safetensors of the perturbed surrogate")
    perturb = traits.Dict(mandatory=True, desc="fields of PerturbSettings, for refits")
    measures = traits.Dict(usedefault=True, desc="fields of MeasureSettings")
    verdict = traits.Dict(usedefault=True, desc="fields of VerdictSettings")


class AssessConnectivity(NPIInterface):
    """Refit the surrogate to parts of the data, assess the map, and write all files of the model.

    If there is no surrogate because too little data remains, the summary states the reason and no
    files are written.
    """

    input_spec = _AssessInputSpec
    output_spec = ModelOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.bids.model_files import read_exclusion, write_exclusion
        from npi_bids.errors import NoUsableDataError

        folder = Path(runtime.cwd)
        try:
            if not isdefined(self.inputs.surrogate):
                raise NoUsableDataError(read_exclusion(Path(self.inputs.training)))
            files, summary = self._assess(folder)
        except NoUsableDataError as error:
            files, summary = write_exclusion(str(error), self.inputs.summaries, folder)
        self._results.update(files=[str(path) for path in files], summary=str(summary))
        return runtime

    def _assess(self, folder: Path) -> tuple[list[Path], Path]:
        from npi_bids.assessment.settings import AssessSettings, VerdictSettings
        from npi_bids.bids.model_files import (
            read_perturbed,
            read_regressors,
            read_runs,
            with_runs,
            write_subject,
        )
        from npi_bids.connectivity.settings import MeasureSettings, PerturbSettings
        from npi_bids.inference import assess_model
        from npi_bids.surrogates.training import threads

        inputs = self.inputs
        runs, trained = read_runs(inputs.series, inputs.summaries), load_trained(inputs)
        assess = AssessSettings(
            measures=MeasureSettings(**inputs.measures), verdict=VerdictSettings(**inputs.verdict)
        )
        perturbed = read_perturbed(Path(inputs.connectivity), PerturbSettings(**inputs.perturb))
        prior = read_prior(inputs, runs, trained.settings.surrogate)
        regressors = read_regressors(inputs.summaries)
        with threads(inputs.n_threads):
            result = assess_model(
                runs, trained, perturbed, assess=assess, regressors=regressors, prior=prior
            )
        result = with_runs(result, inputs.summaries, account=prior_origin(inputs, prior))
        return write_subject(result, runs, perturbed.settings, assess, folder)
