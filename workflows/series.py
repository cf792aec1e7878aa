"""Regional series of one run that another program has extracted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.interfaces.series import ReadSeries


def init_series_wf(
    *,
    labels: Sequence[str],
    indices: Sequence[int] = (),
    strategy: str,
    standardize: bool = True,
    name: str = "series_wf",
) -> Any:
    """Build a workflow that takes over the regional series of one run.

    It stands where :func:`~npi_bids.workflows.parcellate.init_parcellate_wf` stands for images,
    and has its outputs.

    Workflow Graph
        .. workflow::
            :graph2use: orig
            :simple_form: yes

            from npi_bids.workflows.series import init_series_wf
            wf = init_series_wf(labels=["A", "B"], strategy="denoised")

    Parameters
    ----------
    labels
        Names of the regions, by which columns are known.
    indices
        Of each region in the table of its atlas, by which numbered columns are known.
    strategy
        What the series say of their cleaning.
    standardize
        Whether each region is brought to mean 0 and SD 1.
    name
        Name of the workflow.

    Inputs
    ------
    series
        ``timeseries.tsv``, one column per region.
    outliers
        Table with 1 for each censored sample; may stay unset.
    motion
        Table with ``framewise_displacement``; may stay unset.
    tr
        Sampling period (s).
    space
        Template of the images.

    Outputs
    -------
    timeseries, coverage, outliers, design, raw, summary
        As :func:`~npi_bids.workflows.parcellate.init_parcellate_wf` has them.
    """
    workflow = pe.Workflow(name=name)
    given = ["series", "outliers", "motion", "tr", "space"]
    made = ["timeseries", "coverage", "outliers", "design", "raw", "summary"]
    inputnode = pe.Node(niu.IdentityInterface(given), name="inputnode")
    outputnode = pe.Node(niu.IdentityInterface(made), name="outputnode")
    read = pe.Node(
        ReadSeries(
            labels=list(labels),
            indices=list(indices),
            strategy=strategy,
            standardize=standardize,
        ),
        name="read_series",
        mem_gb=0.3,
    )
    workflow.connect([
        (inputnode, read, [(field, field) for field in given]),
        (read, outputnode, [(field, field) for field in made]),
    ])  # fmt: skip
    return workflow
