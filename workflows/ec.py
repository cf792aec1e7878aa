"""Effective connectivity of one subject from its regional series."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.assessment.verdict import AssessSettings
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.interfaces.ec import InferEC
from npi_bids.surrogates.base import TrainSettings
from npi_bids.whole_brain.settings import BrainSettings


def init_ec_wf(  # noqa: PLR0913 (one settings class per concern)
    *,
    train: TrainSettings,
    perturb: PerturbSettings,
    assess: AssessSettings | None = None,
    brain: BrainSettings | None = None,
    min_time: float = 0.0,
    prior: tuple[str, str, bool] = ("", "", True),
    n_threads: int = 1,
    mem_gb: float = 1.0,
    name: str = "ec_wf",
) -> Any:
    """Build a workflow that infers the effective connectivity of one subject.

    Workflow Graph
        .. workflow::
            :graph2use: orig
            :simple_form: yes

            from npi_bids.connectivity.settings import PerturbSettings
            from npi_bids.surrogates.base import TrainSettings
            wf = init_ec_wf(train=TrainSettings(), perturb=PerturbSettings())

    Parameters
    ----------
    train
        Which surrogate, and how to train it.
    perturb
        How to perturb it.
    assess
        Which matrices to write, how sure they are, and the thresholds of the verdict.
    brain
        Which whole-brain model to fit, where ``train`` names the surrogate ``wbm``.
    min_time
        Seconds of kept samples that the model needs, all runs together.
    prior
        File of a pre-trained surrogate (or nothing), label of the subject, and whether the
        subject's own part of the group is taken out of it.
    n_threads
        Threads that torch computes on.
    mem_gb
        Memory that training needs.
    name
        Name of the workflow.

    Inputs
    ------
    series
        ``timeseries.tsv`` of each run.
    summaries
        JSON of each run from :func:`~npi_bids.workflows.parcellate.init_parcellate_wf`, in the
        same order.

    Outputs
    -------
    files
        A matrix per measure, indexed [source, target], the training curve and the weights.
    summary
        JSON: what the fit says of itself, or why there is none.
    """
    workflow = pe.Workflow(name=name)
    wanted = assess or AssessSettings()
    inputnode = pe.Node(niu.IdentityInterface(["series", "summaries"]), name="inputnode")
    outputnode = pe.Node(niu.IdentityInterface(["files", "summary"]), name="outputnode")
    infer_ec = pe.Node(
        InferEC(
            train=asdict(train),
            perturb=asdict(perturb),
            measures=asdict(wanted.measures),
            verdict=asdict(wanted.verdict),
            brain=asdict(brain or BrainSettings()),
            min_time=min_time,
            subject=prior[1],
            leave_out=prior[2],
            n_threads=n_threads,
            use_gpu=train.device.startswith("cuda"),
        ),
        name="infer_ec",
        mem_gb=mem_gb,
        n_procs=n_threads,
    )
    if prior[0]:
        infer_ec.inputs.pretrained = prior[0]
    workflow.connect([
        (inputnode, infer_ec, [("series", "series"),
                               ("summaries", "summaries")]),
        (infer_ec, outputnode, [("files", "files"),
                                ("summary", "summary")]),
    ])  # fmt: skip
    return workflow
