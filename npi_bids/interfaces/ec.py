"""Infer the effective connectivity of one subject from its regional series."""

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

from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec
from npi_bids.surrogates.families import WHOLE_BRAIN


class _InferECInputSpec(VersionedInputSpec):
    series = InputMultiObject(
        File(exists=True), mandatory=True, desc="timeseries.tsv of each run of the subject"
    )
    summaries = InputMultiObject(
        File(exists=True), mandatory=True, desc="JSON of each run, in the same order"
    )
    train = traits.Dict(mandatory=True, desc="fields of TrainSettings")
    perturb = traits.Dict(mandatory=True, desc="fields of PerturbSettings")
    measures = traits.Dict(usedefault=True, desc="fields of MeasureSettings")
    verdict = traits.Dict(usedefault=True, desc="fields of VerdictSettings")
    brain = traits.Dict(usedefault=True, desc="fields of BrainSettings, for the surrogate wbm")
    pretrained = File(exists=True, desc="surrogate of a group, .safetensors with its .json")
    subject = Str("", usedefault=True, desc="label of the subject, to take out of the group")
    leave_out = traits.Bool(True, usedefault=True, desc="whether it is taken out")
    min_time = traits.Float(0.0, usedefault=True, desc="kept seconds that the model needs")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads that torch computes on")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="take one of the GPU slots")


class _InferECOutputSpec(TraitedSpec):
    files = OutputMultiObject(File(exists=True), desc="matrices, training curve and weights")
    summary = File(exists=True, desc="JSON: what the fit says of itself, or why there is none")


class InferEC(NPIInterface):
    """Train a surrogate on a subject's runs and perturb it.

    Too little data is an outcome and no error: the summary says so and there are no files.
    """

    input_spec = _InferECInputSpec
    output_spec = _InferECOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from dataclasses import replace

        from npi_bids.assessment.verdict import AssessSettings, VerdictSettings
        from npi_bids.bids.model_files import (
            read_hazards,
            read_regressors,
            read_runs,
            write_exclusion,
            write_subject,
        )
        from npi_bids.connectivity.measures import MeasureSettings
        from npi_bids.connectivity.settings import PerturbSettings
        from npi_bids.errors import NoUsableDataError
        from npi_bids.inference import ec_of_runs
        from npi_bids.surrogates.base import TrainSettings
        from npi_bids.surrogates.training import threads
        from npi_bids.surrogates.windows import check_time

        folder = Path(runtime.cwd)
        runs = read_runs(self.inputs.series, self.inputs.summaries)
        train, perturb = TrainSettings(**self.inputs.train), PerturbSettings(**self.inputs.perturb)
        assess = AssessSettings(
            measures=MeasureSettings(**self.inputs.measures),
            verdict=VerdictSettings(**self.inputs.verdict),
        )
        regressors = read_regressors(self.inputs.summaries)
        try:
            check_time(runs, self.inputs.min_time)
            if train.surrogate == WHOLE_BRAIN:
                result = self._fit_brain(runs, train, regressors, folder)
            else:
                prior = self._prior(runs, train)
                with threads(self.inputs.n_threads):
                    result = ec_of_runs(
                        runs, train=train, perturb=perturb, assess=assess, regressors=regressors,
                        prior=prior,
                    )  # fmt: skip
                result = self._with_origin(result, prior)
            hazards = (*result.hazards, *read_hazards(self.inputs.summaries))
            result = replace(result, hazards=hazards)
            files, summary = write_subject(result, runs, perturb, assess, folder)
        except NoUsableDataError as error:
            files, summary = write_exclusion(str(error), self.inputs.summaries, folder)
        self._results.update(files=[str(path) for path in files], summary=str(summary))
        return runtime

    def _prior(self, runs: Any, train: Any) -> Any:
        from npi_bids.surrogates.storage import read_pretrained

        path = self.inputs.get_traitsfree().get("pretrained")
        if path is None:
            return None
        stored = read_pretrained(Path(path), runs[0].labels, runs[0].tr, train.surrogate)
        return stored.prior_of(self.inputs.subject, leave_out=self.inputs.leave_out)

    def _with_origin(self, result: Any, prior: Any) -> Any:
        from dataclasses import replace

        from npi_bids.surrogates.storage import origin

        if prior is None:
            return result
        path, subject = Path(self.inputs.pretrained), self.inputs.subject
        about = {"pretrained": origin(path, subject=subject, left_out=prior.left_out)}
        return replace(result, account={**result.account, **about})

    def _fit_brain(self, runs: Any, train: Any, regressors: Any, folder: Path) -> Any:
        from npi_bids.interfaces.base import plain, speak
        from npi_bids.whole_brain.inference import brain_of_runs
        from npi_bids.whole_brain.settings import BrainSettings

        speak()  # the search takes hours
        return brain_of_runs(
            runs,
            train=train,
            brain=BrainSettings(**plain(self.inputs.brain)),
            cache=folder.parent / "search",  # Nipype empties the folder of a node that runs again
            regressors=regressors,
            n_procs=self.inputs.n_threads,
        )
