"""Train a surrogate on the regional series of one subject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, TraitedSpec, traits

from npi_bids.interfaces.base import (
    NPIInterface,
    PriorInputSpec,
    read_known_delays,
    read_prior,
)


class _TrainInputSpec(PriorInputSpec):
    train = traits.Dict(mandatory=True, desc="fields of TrainSettings")
    min_time = traits.Float(0.0, usedefault=True, desc="minimum duration of uncensored data (s)")


class _TrainOutputSpec(TraitedSpec):
    surrogate = File(exists=True, desc="the fitted surrogate; none if too little data remains")
    checked = File(exists=True, desc="the same, fitted to the training windows alone")
    training = File(exists=True, desc="JSON: settings and errors, or why there is no surrogate")


class TrainSurrogate(NPIInterface):
    """Train a surrogate on a subject's runs.

    Too little data is a valid outcome, not an error: the record of the training states it, and
    there is no surrogate.
    """

    input_spec = _TrainInputSpec
    output_spec = _TrainOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.bids.model_files import read_runs, write_no_training, write_training
        from npi_bids.errors import NoUsableDataError
        from npi_bids.inference import train_runs
        from npi_bids.surrogates.base import TrainSettings
        from npi_bids.surrogates.storage import save_surrogate
        from npi_bids.surrogates.training import threads
        from npi_bids.surrogates.windows import check_time, shared_regions

        folder = Path(runtime.cwd)
        runs = read_runs(self.inputs.series, self.inputs.summaries)
        train = TrainSettings(**self.inputs.train)
        try:
            check_time(runs, self.inputs.min_time)
            prior = read_prior(self.inputs, runs, train.surrogate)
            known_delays = read_known_delays(self.inputs, runs)
            with threads(self.inputs.n_threads):
                trained = train_runs(runs, train=train, prior=prior or known_delays)
        except NoUsableDataError as error:
            self._results["training"] = str(write_no_training(str(error), folder))
            return runtime
        labels = shared_regions(runs)[0][0].labels
        for name in ("surrogate", "checked"):
            path = folder / f"{name}.safetensors"
            save_surrogate(
                getattr(trained, name), path, family=train.surrogate, labels=labels, tr=runs[0].tr
            )
            self._results[name] = str(path)
        self._results["training"] = str(write_training(trained, folder))
        return runtime
