"""Groups of subjects."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from npi_bids.analysis import GroupAnalysis
from npi_bids.bids.outputs import MEASURES
from npi_bids.bids.sidecars import GroupOrigin
from npi_bids.group.cohorts import Cohort, paired_models, subject_rows, tested_rows
from npi_bids.group.pretraining import pretrained_on
from npi_bids.group.settings import GroupSettings
from npi_bids.interfaces.group import AverageGroup, DescribeGroup, TestGroup

MAP = MEASURES[0]


def init_group_wf(
    *,
    cohorts: list[Cohort],
    settings: GroupAnalysis,
    out_dir: Path,
    work_dir: Path,
    n_threads: int = 1,
    name: str = "group_wf",
) -> Any:
    """Build a workflow that describes every group, averages its measures, and tests its maps.

    Workflow Graph
        For each group: describe -> test (where a model is asked for), and beside them one node
        per further measure.

    Parameters
    ----------
    cohorts
        The groups, from :func:`npi_bids.group.cohorts.find_cohorts`.
    settings
        How to put subjects together, and what is tested.
    out_dir
        Root of the output dataset.
    work_dir
        Where intermediate results go.
    n_threads
        Threads of each test.
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
        rows = subject_rows(cohort, out_dir)
        describe = _init_describe_node(cohort, rows, settings.group)
        nodes = {MAP: describe} | _init_average_nodes(cohort, settings.group)
        for measure, node in nodes.items():
            _set_target(node, cohort, _files(cohort, measure), out_dir, settings)
        workflow.add_nodes(list(nodes.values()))
        if settings.model.wanted:
            test = _init_test_node(cohort, rows, settings, n_threads)
            _set_target(test, cohort, _files(cohort, MAP), out_dir, settings)
            workflow.add_nodes([test])
            if not settings.model.paired:
                workflow.connect(describe, "maps", test, "maps")
    return workflow


def _files(cohort: Cohort, kind: str) -> dict[str, list[Path]]:
    """Return the files of each subject that has some."""
    found = {
        subject: [path for model in models if (path := model.path(kind)).is_file()]
        for subject, models in cohort.subjects.items()
    }
    return {subject: paths for subject, paths in found.items() if paths}


def _words(files: dict[str, list[Path]]) -> dict[str, list[str]]:
    return {subject: [str(path) for path in paths] for subject, paths in files.items()}


def _init_describe_node(
    cohort: Cohort, rows: list[dict[str, Any]], settings: GroupSettings
) -> Any:
    node = pe.Node(DescribeGroup(rows=rows), name=_node_name(cohort, "describe"), mem_gb=1.5)
    node.inputs.settings = asdict(settings)
    node.inputs.matrices = _words(_files(cohort, MAP))
    if settings.weights == "precision":
        node.inputs.errors = _words(_files(cohort, "npistderr"))
    return node


def _init_average_nodes(cohort: Cohort, settings: GroupSettings) -> dict[str, Any]:
    """Return a node for each measure beside the map that enough subjects have."""
    nodes = {}
    for measure in MEASURES[1:]:
        files = _files(cohort, measure)
        # The model FC of a surrogate that diverged is missing, and with it the group's.
        if len(files) >= settings.min_subjects:
            node = pe.Node(AverageGroup(), name=_node_name(cohort, measure), mem_gb=0.5)
            node.inputs.matrices, node.inputs.measure = _words(files), measure
            node.inputs.settings = asdict(settings)
            nodes[measure] = node
    return nodes


def _init_test_node(
    cohort: Cohort, rows: list[dict[str, Any]], settings: GroupAnalysis, n_threads: int
) -> Any:
    node = pe.Node(
        TestGroup(rows=rows), name=_node_name(cohort, "test"), mem_gb=1.5, n_procs=n_threads
    )
    node.inputs.model, node.inputs.permute = asdict(settings.model), asdict(settings.permute)
    node.inputs.network_table = settings.group.network_table
    if settings.model.paired:
        pairs, _ = paired_models(cohort, settings.model.paired)
        node.inputs.pairs = {
            subject: [str(model.path(MAP)) for model in both] for subject, both in pairs.items()
        }
        node.inputs.rows = tested_rows(cohort, rows, settings.model.paired)
    return node


def _node_name(cohort: Cohort, step: str) -> str:
    return f"{cohort.name}_{step}".replace("-", "_")


def _set_target(
    node: Any,
    cohort: Cohort,
    files: dict[str, list[Path]],
    out_dir: Path,
    settings: GroupAnalysis,
) -> None:
    """Tell a node where its files go and what their sidecars say of their origin."""
    root = out_dir.resolve()
    node.inputs.out_dir = str(out_dir)
    node.inputs.entities, node.inputs.desc = cohort.entities, cohort.desc
    sidecars = [model.sidecar for models in cohort.subjects.values() for model in models]
    sources = (
        f"bids::{path.resolve().relative_to(root).as_posix()}"
        for paths in files.values()
        for path in paths
    )
    first = sidecars[0]
    node.inputs.origin = GroupOrigin(
        links=replace(first.links, sources=tuple(sources)),
        repetition_time=first.fit.repetition_time,
        surrogate=first.fit.surrogate,
        pretrained_on=pretrained_on(sidecar.fit.pretrained for sidecar in sidecars),
        selection=settings.selection.facts,
    ).to_json()
