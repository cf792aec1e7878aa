"""Regional series of one run, from images or from the tables of another program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.interfaces.parcellate import Parcellate, ReadSeries
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings


def init_parcellate_wf(
    *,
    denoise: DenoiseSettings,
    coverage: CoverageSettings,
    mem_gb: float = 1.0,
    name: str = "parcellate_wf",
) -> Any:
    """Build a workflow that extracts and cleans the regional series of one run.

    Workflow Graph
        .. workflow::
            :graph2use: orig
            :simple_form: yes

            from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
            wf = init_parcellate_wf(denoise=DenoiseSettings(), coverage=CoverageSettings())

    Parameters
    ----------
    denoise
        How to clean the signals.
    coverage
        Which regions count as seen.
    mem_gb
        Memory that the extraction needs.
    name
        Name of the workflow.

    Inputs
    ------
    bold
        4D image of preprocessed BOLD, greyordinates (``dtseries.nii``), or a left hemisphere
        (``func.gii``).
    right
        The right hemisphere where ``bold`` is the left one.
    mask
        Its brain mask; may stay unset.
    confounds
        Its ``desc-confounds_timeseries.tsv``; may stay unset where the strategy needs none.
    tr
        Sampling period that the sidecar states (s); unset where it does not.
    atlas
        Folder of a prepared parcellation (:func:`npi_bids.cli.atlases.prepare_atlas`).

    Outputs
    -------
    timeseries
        ``timeseries.tsv``, all regions in atlas order.
    coverage
        Table of the coverage of each region.
    outliers
        Table with 1 for each sample left out.
    design
        Table of the confounds that were regressed out.
    raw
        Regional signals before they were cleaned, in SD, with three digits.
    summary
        JSON: what happened to the run.
    """
    workflow = pe.Workflow(name=name)
    given = ["bold", "right", "mask", "confounds", "tr", "atlas"]
    made = ["timeseries", "coverage", "outliers", "design", "raw", "summary"]
    inputnode = pe.Node(niu.IdentityInterface(given), name="inputnode")
    outputnode = pe.Node(niu.IdentityInterface(made), name="outputnode")
    parcellate = pe.Node(
        Parcellate(denoise=asdict(denoise), coverage=asdict(coverage)),
        name="parcellate",
        mem_gb=mem_gb,
    )
    workflow.connect(inputnode, "bold", parcellate, "bold")
    workflow.connect(
        [
            (inputnode, parcellate, [(field, field) for field in given[1:]]),
            (parcellate, outputnode, [(field, field) for field in made]),
        ]
    )
    return workflow


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
