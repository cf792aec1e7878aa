"""Regional series of one run, from images or from the tables of another program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.bids.runs import BoldRun
from npi_bids.interfaces.parcellate import DenoiseRegions, ExtractRegions, Parcellate, ReadSeries
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings


def init_parcellate_wf(
    *,
    denoise: DenoiseSettings,
    coverage: CoverageSettings,
    mem_gb: float = 1.0,
    name: str = "parcellate_wf",
) -> Any:
    """Build a workflow that extracts and denoises the regional series of one run.

    Workflow Graph
        .. workflow::
            :graph2use: orig
            :simple_form: yes

            from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
            wf = init_parcellate_wf(denoise=DenoiseSettings(), coverage=CoverageSettings())

    Parameters
    ----------
    denoise
        How to denoise the signals.
    coverage
        Which regions count as covered.
    mem_gb
        Memory required by the extraction (GB).
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
        Its brain mask; may be unset.
    confounds
        Its ``desc-confounds_timeseries.tsv``; may be unset if the strategy needs none.
    tr
        Sampling period stated by the sidecar (s); unset if it states none.
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
        Regional signals before denoising, in SD, with three digits.
    mean
        Mean volume at a low resolution; unset for greyordinates.
    summary
        JSON summary of the run.
    """
    workflow = pe.Workflow(name=name)
    input_names = ["bold", "right", "mask", "confounds", "tr", "atlas"]
    output_names = ["timeseries", "coverage", "outliers", "design", "raw", "mean", "summary"]
    inputnode = pe.Node(niu.IdentityInterface(input_names), name="inputnode")
    outputnode = pe.Node(niu.IdentityInterface(output_names), name="outputnode")
    parcellate = pe.Node(
        Parcellate(denoise=asdict(denoise), coverage=asdict(coverage)),
        name="parcellate",
        mem_gb=mem_gb,
    )
    workflow.connect(inputnode, "bold", parcellate, "bold")
    workflow.connect(
        [
            (inputnode, parcellate, [(field, field) for field in input_names[1:]]),
            (parcellate, outputnode, [(field, field) for field in output_names]),
        ]
    )
    return workflow


def init_extract_node(
    run: BoldRun,
    atlases: Sequence[Path],
    *,
    denoise: DenoiseSettings,
    coverage: CoverageSettings,
    mem_gb: float = 1.0,
    name: str = "extract",
) -> Any:
    """Make the node that reads the regions of several atlases in one pass over a run.

    Parameters
    ----------
    run
        The run.
    atlases
        Folders of prepared parcellations; ``readings`` are in the same order.
    denoise, coverage
        How to denoise the signals, and which regions count as covered.
    mem_gb
        Memory required by the extraction (GB).
    name
        Name of the node.
    """
    node = pe.Node(
        ExtractRegions(denoise=asdict(denoise), coverage=asdict(coverage)),
        name=name,
        mem_gb=mem_gb,
    )
    set_run_files(node.inputs, run)
    node.inputs.atlases = [str(atlas) for atlas in atlases]
    return node


def init_denoise_node(
    run: BoldRun,
    atlas: Path,
    *,
    denoise: DenoiseSettings,
    coverage: CoverageSettings,
    name: str = "denoise",
) -> Any:
    """Make the node that denoises the regional series of one run for one atlas.

    It has the outputs of :func:`init_parcellate_wf`, and one input to connect: ``reading``, of
    :func:`init_extract_node`.

    Parameters
    ----------
    run
        The run.
    atlas
        Folder of a prepared parcellation.
    denoise, coverage
        How to denoise the signals, and which regions count as covered.
    name
        Name of the node.
    """
    node = pe.Node(
        DenoiseRegions(denoise=asdict(denoise), coverage=asdict(coverage)), name=name, mem_gb=0.6
    )
    set_run_files(node.inputs, run)
    node.inputs.atlas = str(atlas)
    return node


def set_run_files(inputs: Any, run: BoldRun) -> None:
    """Set the files of a run and its sampling period as inputs of a node."""
    files = {"bold": run.path, "right": run.right, "mask": run.mask, "confounds": run.confounds}
    for field, path in files.items():
        if path is not None:
            setattr(inputs, field, str(path))
    if run.tr is not None:
        inputs.tr = float(run.tr)


def init_series_wf(
    *,
    labels: Sequence[str],
    indices: Sequence[int] = (),
    strategy: str,
    standardize: bool = True,
    name: str = "series_wf",
) -> Any:
    """Build a workflow that reads the supplied regional series of one run.

    It replaces :func:`~npi_bids.workflows.parcellate.init_parcellate_wf` in the absence of images,
    and has the same outputs.

    Workflow Graph
        .. workflow::
            :graph2use: orig
            :simple_form: yes

            wf = init_series_wf(labels=["A", "B"], strategy="denoised")

    Parameters
    ----------
    labels
        Names of the regions, which identify the columns.
    indices
        Index of each region in the table of its atlas, which identifies numbered columns.
    strategy
        Description of the denoising of the series.
    standardize
        Whether each region is scaled to mean 0 and SD 1.
    name
        Name of the workflow.

    Inputs
    ------
    series
        ``timeseries.tsv``, one column per region.
    outliers
        Table with 1 for each censored sample; may be unset.
    motion
        Table with ``framewise_displacement``; may be unset.
    tr
        Sampling period (s).
    space
        Template of the images.

    Outputs
    -------
    timeseries, coverage, outliers, design, raw, mean, summary
        As in :func:`~npi_bids.workflows.parcellate.init_parcellate_wf`; ``mean`` is unset.
    """
    workflow = pe.Workflow(name=name)
    input_names = ["series", "outliers", "motion", "tr", "space"]
    output_names = ["timeseries", "coverage", "outliers", "design", "raw", "mean", "summary"]
    inputnode = pe.Node(niu.IdentityInterface(input_names), name="inputnode")
    outputnode = pe.Node(niu.IdentityInterface(output_names), name="outputnode")
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
        (inputnode, read, [(field, field) for field in input_names]),
        (read, outputnode, [(field, field) for field in output_names]),
    ])  # fmt: skip
    return workflow
