"""Nodes that save results into the output dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from npi_bids.bids.outputs import output_path
from npi_bids.bids.runs import BoldRun
from npi_bids.bids.sidecars import Links
from npi_bids.interfaces.sink import SaveModel, SaveRun
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings


def init_save_run_node(
    run: BoldRun,
    out_dir: Path,
    named: tuple[dict[str, str], str],
    *,
    node_file: str,
    settings: tuple[DenoiseSettings, CoverageSettings],
    name: str,
) -> Any:
    """Make the node that saves the tables of one run.

    Parameters
    ----------
    run
        The run, for the sources of its outputs.
    out_dir
        Root of the output dataset.
    named
        Entities (atlas included) and ``desc`` of the outputs.
    node_file
        Table of the regions, relative to the output dataset.
    settings
        Settings of its denoising and of coverage.
    name
        Name of the node.
    """
    sources = tuple(run.uri(path) for path in run.files)
    node = pe.Node(SaveRun(), name=name, mem_gb=0.1)
    node.inputs.out_dir = str(out_dir)
    node.inputs.entities, node.inputs.desc = named
    node.inputs.links = Links(node_files=(f"bids::{node_file}",), sources=sources).to_json()
    node.inputs.denoise, node.inputs.minimum = asdict(settings[0]), asdict(settings[1])
    return node


def init_save_model_node(
    runs: Sequence[dict[str, str]],
    out_dir: Path,
    named: tuple[dict[str, str], str],
    *,
    node_file: str,
    configuration: str,
    name: str = "save_model",
) -> Any:
    """Make the node that saves the files of one model.

    Parameters
    ----------
    runs
        Entities (atlas included) of each run that the model is fitted to.
    out_dir
        Root of the output dataset.
    named
        Entities (atlas included) and ``desc`` of the outputs.
    node_file
        Table of the regions, relative to the output dataset.
    configuration
        Hash of all settings that shape the result.
    name
        Name of the node.
    """
    desc = named[1]
    node = pe.Node(SaveModel(), name=name, mem_gb=0.1)
    node.inputs.out_dir = str(out_dir)
    node.inputs.entities, node.inputs.desc = named
    node.inputs.links = Links(
        node_files=(f"bids::{node_file}",),
        sources=tuple(f"bids::{output_path('timeseries', entities, desc)}" for entities in runs),
        configuration_hash=configuration,
    ).to_json()
    return node
