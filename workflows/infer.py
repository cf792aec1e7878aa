"""Posterior of the parameters of a whole-brain model for one subject."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.interfaces.infer import InferParameters
from npi_bids.inverse.settings import InferSettings
from npi_bids.parcellation.denoising import DenoiseSettings
from npi_bids.whole_brain.settings import BrainSettings


def init_infer_wf(  # noqa: PLR0913 (one settings class per concern)
    *,
    denoise: DenoiseSettings,
    infer: InferSettings,
    brain: BrainSettings,
    seed: int = 0,
    n_threads: int = 1,
    mem_gb: float = 1.0,
    name: str = "infer_wf",
) -> Any:
    """Build a workflow that infers the parameters of a whole-brain model for one subject.

    Workflow Graph
        .. workflow::
            :graph2use: orig
            :simple_form: yes

            from npi_bids.inverse.settings import InferSettings
            from npi_bids.parcellation.denoising import DenoiseSettings
            from npi_bids.whole_brain.settings import BrainSettings
            wf = init_infer_wf(
                denoise=DenoiseSettings(), infer=InferSettings(infer="hopf"),
                brain=BrainSettings(sc="sc.tsv"),
            )

    Parameters
    ----------
    denoise
        How the runs were cleaned, which is applied to simulated signals as well.
    infer
        Which model, and the effort of the inference.
    brain
        Names the table of structural connectivity.
    seed
        Seed of all random numbers.
    n_threads
        Number of processes of the simulations.
    mem_gb
        Memory required by the inference (GB).
    name
        Name of the workflow.

    Inputs
    ------
    series
        ``timeseries.tsv`` of each run.
    summaries
        JSON of each run from :func:`~npi_bids.workflows.parcellate.init_parcellate_wf`, in the
        same order.
    designs
        Table of the confounds that were regressed out of each run, in the same order.

    Outputs
    -------
    files
        Tables of the parameters, of samples of the posterior and of its calibration, and predicted
        FC; none if too few samples remain.
    """
    workflow = pe.Workflow(name=name)
    fields = ["series", "summaries", "designs"]
    inputnode = pe.Node(niu.IdentityInterface(fields), name="inputnode")
    outputnode = pe.Node(niu.IdentityInterface(["files"]), name="outputnode")
    infer_parameters = pe.Node(
        InferParameters(
            infer=asdict(infer), brain=asdict(brain), high_pass=denoise.high_pass or 0.0,
            low_pass=denoise.low_pass or 0.0, min_time=denoise.min_time, seed=seed,
            n_threads=n_threads,
        ),
        name="infer_parameters", mem_gb=mem_gb, n_procs=n_threads,
    )  # fmt: skip
    workflow.connect([
        (inputnode, infer_parameters, [(field, field) for field in fields]),
        (infer_parameters, outputnode, [("files", "files")]),
    ])  # fmt: skip
    return workflow
