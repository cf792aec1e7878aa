"""Perturb a trained surrogate to infer effective connectivity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, TraitedSpec, isdefined, traits

from npi_bids.interfaces.base import NPIInterface, TrainedInputSpec, load_trained


class _PerturbInputSpec(TrainedInputSpec):
    perturb = traits.Dict(mandatory=True, desc="fields of PerturbSettings")


class _PerturbOutputSpec(TraitedSpec):
    connectivity = File(
        exists=True, desc="safetensors of the matrices [source, target]; none without a surrogate"
    )


class PerturbSurrogate(NPIInterface):
    """Perturb every region of a trained surrogate, in every observed state."""

    input_spec = _PerturbInputSpec
    output_spec = _PerturbOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.bids.model_files import read_runs, write_perturbed
        from npi_bids.connectivity.settings import PerturbSettings
        from npi_bids.inference import perturb_model
        from npi_bids.surrogates.training import threads

        if not isdefined(self.inputs.surrogate):
            return runtime
        runs = read_runs(self.inputs.series, self.inputs.summaries)
        perturb = PerturbSettings(**self.inputs.perturb)
        with threads(self.inputs.n_threads):
            perturbed = perturb_model(runs, load_trained(self.inputs), perturb=perturb)
        self._results["connectivity"] = str(write_perturbed(perturbed, Path(runtime.cwd)))
        return runtime
