"""Groups of subjects."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from npi_bids.bids.cohorts import Cohort
from npi_bids.bids.names import MEASURES
from npi_bids.bids.selection import SelectionSettings
from npi_bids.core.group import GroupSettings
from npi_bids.interfaces.group import AverageGroup


def init_group_wf(
    *,
    cohorts: list[Cohort],
    settings: GroupSettings,
    selection: SelectionSettings | None = None,
    out_dir: Path,
    work_dir: Path,
    name: str = "group_wf",
) -> Any:
    """Build a workflow that averages every measure of every group.

    Workflow Graph
        One node per group and measure, not connected with each other.

    Parameters
    ----------
    cohorts
        The groups, from :func:`npi_bids.bids.cohorts.find_cohorts`.
    settings
        How to put subjects together.
    selection
        How the groups were made, for the sidecars.
    out_dir
        Root of the output dataset.
    work_dir
        Where intermediate results go.
    name
        Name of the workflow.

    Inputs
    ------
    None; the groups hold the files.

    Outputs
    -------
    None; everything goes into the output dataset.
    """
    workflow = pe.Workflow(name=name, base_dir=str(work_dir))
    for cohort in cohorts:
        for measure in MEASURES:
            files = {
                subject: [path for model in models if (path := model.path(measure)).is_file()]
                for subject, models in cohort.subjects.items()
            }
            files = {subject: paths for subject, paths in files.items() if paths}
            # The model FC of a surrogate that diverged is missing, and with it the group's.
            if len(files) >= settings.min_subjects:
                node = _init_average_node(cohort, measure, files, out_dir)
                node.inputs.settings = asdict(settings)
                facts = (selection or SelectionSettings()).facts
                node.inputs.links = {**node.inputs.links, **facts}
                workflow.add_nodes([node])
    return workflow


def _init_average_node(
    cohort: Cohort, measure: str, files: dict[str, list[Path]], out_dir: Path
) -> Any:
    node = pe.Node(AverageGroup(), name=f"{cohort.name}_{measure}".replace("-", "_"), mem_gb=0.5)
    root = out_dir.resolve()
    node.inputs.matrices = {key: [str(path) for path in paths] for key, paths in files.items()}
    node.inputs.sources = [
        f"bids::{path.resolve().relative_to(root).as_posix()}"
        for paths in files.values()
        for path in paths
    ]
    node.inputs.measure = measure
    node.inputs.out_dir = str(out_dir)
    node.inputs.entities, node.inputs.desc = cohort.entities, cohort.desc
    first = next(iter(cohort.subjects.values()))[0].sidecar
    node.inputs.links = {
        key: first[key]
        for key in ("NodeFiles", "ConfigurationHash", "RepetitionTime", "Surrogate")
        if key in first
    }
    return node
