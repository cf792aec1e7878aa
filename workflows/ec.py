"""Effective connectivity of one subject from its regional series."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.assessment.settings import AssessSettings
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.interfaces.assess import AssessConnectivity
from npi_bids.interfaces.perturb import PerturbSurrogate
from npi_bids.interfaces.train import TrainSurrogate
from npi_bids.interfaces.whole_brain import FitWholeBrain
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.families import WHOLE_BRAIN
from npi_bids.whole_brain.settings import BrainSettings

# The scheduler starts jobs that need less memory first: each step requests slightly less than the
# previous one, so that a model is finished before the next one begins.
_LATER = 0.99


def init_ec_wf(  # noqa: PLR0913 (one settings class per concern)
    *,
    train: TrainSettings,
    perturb: PerturbSettings,
    assess: AssessSettings | None = None,
    brain: BrainSettings | None = None,
    min_time: float = 0.0,
    prior: tuple[str, str] = ("", ""),
    delay_map: str = "",
    n_threads: int = 1,
    mem_gb: float = 1.0,
    use_gpu: bool = False,
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

        A whole-brain model is one node, fit_whole_brain, between the same two.

    Parameters
    ----------
    train
        Which surrogate, and how to train it.
    perturb
        How to perturb it.
    assess
        Which matrices to write, how to quantify their uncertainty, and the thresholds of the
        verdict.
    brain
        Which whole-brain model to fit, where ``train`` names the surrogate ``wbm``.
    min_time
        Minimum duration of uncensored data (s), over all runs.
    prior
        File of a pre-trained surrogate (or empty), label of the subject, and whether the
        contribution of the subject to the group is removed.
    delay_map
        TSV of what is known of the delays of regions (or empty).
    n_threads
        Number of threads for torch.
    mem_gb
        Memory required by the training (GB).
    use_gpu
        Whether each step takes one of the slots of the GPU. The device is that of ``train``.
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
        JSON: description of the fit, or why there is none.
    """
    workflow = pe.Workflow(name=name)
    assess = assess or AssessSettings()
    inputnode = pe.Node(niu.IdentityInterface(["series", "summaries"]), name="inputnode")
    outputnode = pe.Node(niu.IdentityInterface(["files", "summary"]), name="outputnode")
    resources = {"n_threads": n_threads, "use_gpu": use_gpu}
    assessment = {"measures": asdict(assess.measures), "verdict": asdict(assess.verdict)}
    runs = [("series", "series"), ("summaries", "summaries")]
    results = [("files", "files"), ("summary", "summary")]
    if train.surrogate == WHOLE_BRAIN:
        fit_whole_brain = pe.Node(
            FitWholeBrain(
                train=asdict(train), perturb=asdict(perturb), min_time=min_time,
                brain=asdict(brain or BrainSettings()), **assessment, **resources,
            ),
            name="fit_whole_brain", mem_gb=mem_gb, n_procs=n_threads,
        )  # fmt: skip
        workflow.connect([
            (inputnode, fit_whole_brain, runs),
            (fit_whole_brain, outputnode, results),
        ])  # fmt: skip
        return workflow
    files = {"pretrained": prior[0], "delay_map": delay_map}
    group = {"subject": prior[1], **{name: file for name, file in files.items() if file}}
    train_surrogate = pe.Node(
        TrainSurrogate(train=asdict(train), min_time=min_time, **group, **resources),
        name="train_surrogate", mem_gb=mem_gb, n_procs=n_threads,
    )  # fmt: skip
    perturb_surrogate = pe.Node(
        PerturbSurrogate(perturb=asdict(perturb), **resources),
        name="perturb_surrogate", mem_gb=_LATER * mem_gb, n_procs=n_threads,
    )  # fmt: skip
    assess_connectivity = pe.Node(
        AssessConnectivity(perturb=asdict(perturb), **assessment, **group, **resources),
        name="assess_connectivity", mem_gb=_LATER**2 * mem_gb, n_procs=n_threads,
    )  # fmt: skip
    trained = [(name, name) for name in ("surrogate", "checked", "training")]
    workflow.connect([
        (inputnode, train_surrogate, runs),
        (inputnode, perturb_surrogate, runs),
        (inputnode, assess_connectivity, runs),
        (train_surrogate, perturb_surrogate, trained),
        (train_surrogate, assess_connectivity, trained),
        (perturb_surrogate, assess_connectivity, [("connectivity", "connectivity")]),
        (assess_connectivity, outputnode, results),
    ])  # fmt: skip
    return workflow
