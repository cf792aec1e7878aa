"""Infer the parameters of a whole-brain model for one subject."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    File,
    InputMultiObject,
    OutputMultiObject,
    TraitedSpec,
    traits,
)

from npi_bids.interfaces.base import (
    WORKFLOW,
    NPIInterface,
    SubjectInputSpec,
    plain,
    set_up_worker_logging,
)

_logger = logging.getLogger(__name__)


class _InferInputSpec(SubjectInputSpec):
    designs = InputMultiObject(
        File(exists=True), mandatory=True, desc="confounds regressed out of each run"
    )
    infer = traits.Dict(mandatory=True, desc="fields of InferSettings")
    brain = traits.Dict(mandatory=True, desc="fields of BrainSettings")
    high_pass = traits.Float(0.0, usedefault=True, desc="cut-off of the filter (Hz); 0: none")
    low_pass = traits.Float(0.0, usedefault=True, desc="cut-off of the filter (Hz); 0: none")
    min_time = traits.Float(0.0, usedefault=True, desc="minimum duration of uncensored data (s)")
    seed = traits.Int(0, usedefault=True, desc="seed of all random numbers")


class _InferOutputSpec(TraitedSpec):
    files = OutputMultiObject(File(exists=True), desc="tables of the posterior; may be empty")


class InferParameters(NPIInterface):
    """Infer the posterior of the parameters of a whole-brain model.

    Too little data is a valid outcome, not an error: there are no files then.
    """

    input_spec = _InferInputSpec
    output_spec = _InferOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.bids.model_files import read_runs
        from npi_bids.errors import NoUsableDataError
        from npi_bids.surrogates.windows import check_time

        set_up_worker_logging()  # simulations take minutes
        runs = read_runs(self.inputs.series, self.inputs.summaries)
        try:
            check_time(runs, self.inputs.min_time)
            files = self._infer(runs, Path(runtime.cwd))
        except NoUsableDataError as error:
            _logger.warning("No parameters are inferred: %s", error)
            files = []
        self._results["files"] = [str(path) for path in files]
        return runtime

    def _infer(self, runs: Any, folder: Path) -> list[Path]:
        from npi_bids.bids.derivatives import RunCleaning
        from npi_bids.inverse.inference import (
            Cleaning,
            infer_subject,
            plan_subject,
            prepare_inference,
        )
        from npi_bids.inverse.observation import Filters
        from npi_bids.inverse.saving import write_posterior
        from npi_bids.inverse.settings import InferSettings
        from npi_bids.surrogates.training import threads
        from npi_bids.whole_brain.settings import BrainSettings

        inputs = self.inputs
        settings, brain = InferSettings(**inputs.infer), BrainSettings(**plain(inputs.brain))
        regressors = tuple(
            RunCleaning(design=Path(path)).read_regressors(len(run.keep))
            for path, run in zip(inputs.designs, runs, strict=True)
        )
        filters = Filters(inputs.high_pass or None, inputs.low_pass or None)
        plan = plan_subject(runs, Cleaning(regressors, filters), settings, brain, inputs.seed)
        cache = _shared_cache(folder)
        with threads(1):
            trained = prepare_inference(
                plan.experiment, settings, cache,
                n_procs=inputs.n_threads, on_progress=_logger.info,
            )  # fmt: skip
            posterior = infer_subject(trained, plan.runs, settings)
        return write_posterior(
            posterior, trained, folder,
            labels=runs[0].labels, covered=plan.covered, sc=Path(brain.sc).name,
        )  # fmt: skip


def _shared_cache(folder: Path) -> Path:
    """Return the folder of simulations, which all subjects of a workflow share."""
    owner = next((p for p in folder.parents if p.name == WORKFLOW), folder.parent)
    return owner / "inverse"
