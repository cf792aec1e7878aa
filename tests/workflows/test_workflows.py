"""Builders: every field is used, the graph expands, and the pieces work in others' workflows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from npi_bids.analysis import AnalysisSettings
from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs
from npi_bids.bids.runs import CombineSettings, group_runs
from npi_bids.cli.execution import Plugin, run_workflow
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.io.files import write_json
from npi_bids.io.tables import read_matrix, read_series
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.parcellation import save_parcellation
from npi_bids.surrogates.base import TrainSettings
from npi_bids.workflows.ec import init_ec_wf
from npi_bids.workflows.parcellate import init_parcellate_wf
from npi_bids.workflows.participant import init_participant_wf
from npi_bids.workflows.subject import PreparedAtlas, Task
from tests.conftest import tiny_parcellation

BUILDERS = {
    "parcellate": lambda: init_parcellate_wf(
        denoise=DenoiseSettings(), coverage=CoverageSettings()
    ),
    "ec": lambda: init_ec_wf(train=TrainSettings(), perturb=PerturbSettings()),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_every_field_of_inputnode_and_outputnode_is_connected(name):
    workflow = BUILDERS[name]()
    inputnode, outputnode = (workflow.get_node(node) for node in ("inputnode", "outputnode"))
    sent = {
        field if isinstance(field, str) else field[0]
        for _, _, data in workflow._graph.out_edges(inputnode, data=True)
        for field, _ in data["connect"]
    }
    received = {
        field
        for _, _, data in workflow._graph.in_edges(outputnode, data=True)
        for _, field in data["connect"]
    }
    assert sent == set(inputnode.inputs.copyable_trait_names())
    assert received == set(outputnode.inputs.copyable_trait_names())


@pytest.mark.parametrize("name", BUILDERS)
def test_every_field_is_described(name):
    builder = {"parcellate": init_parcellate_wf, "ec": init_ec_wf}[name]
    workflow = BUILDERS[name]()
    for node in ("inputnode", "outputnode"):
        for field in workflow.get_node(node).inputs.copyable_trait_names():
            assert f"\n    {field}\n" in builder.__doc__
    for section in ("Workflow Graph", "Parameters", "Inputs", "Outputs"):
        assert section in builder.__doc__


def tasks(tiny, tmp_path):
    save_parcellation(tiny_parcellation(), tmp_path / "atlas")
    runs = find_runs(find_datasets(tiny.root, {}), QuerySettings(participant_label=("01", "02")))
    atlas = PreparedAtlas({"atlas": "Tiny"}, tmp_path / "atlas", "atlas.tsv", 4)
    return [Task(unit, atlas, "simple") for unit in group_runs(runs, CombineSettings())]


def test_graph_has_a_branch_per_run_and_none_between_subjects(tiny, tmp_path):
    workflow = init_participant_wf(
        tasks=tasks(tiny, tmp_path),
        settings=AnalysisSettings(),
        out_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
    )
    graph = workflow._create_flat_graph()
    names = [node.name for node in graph.nodes]
    assert names.count("parcellate") == 4
    assert names.count("infer_ec") == names.count("save_model") == 2
    for one, other in graph.edges:
        assert str(one.fullname).split(".")[1] == str(other.fullname).split(".")[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "plugin",
    [Plugin("Linear", {}), Plugin("MultiProc", {"n_procs": 2, "mp_context": "forkserver"})],
    ids=lambda p: p.name,
)
def test_map_on_disk_is_the_map_of_the_data(run, weights, tmp_path, plugin):
    """The piece that other workflows use: series in, matrices out."""
    series = tmp_path / "timeseries.tsv"
    pd.DataFrame(run.data, columns=run.labels).to_csv(series, sep="\t", index=False)
    write_json(tmp_path / "run.json", {"tr": 2.0})
    workflow = init_ec_wf(train=TrainSettings(), perturb=PerturbSettings())
    workflow.base_dir = str(tmp_path / "work")
    workflow.inputs.inputnode.series = [str(series)]
    workflow.inputs.inputnode.summaries = [str(tmp_path / "run.json")]
    seen = []
    assert run_workflow(workflow, plugin, tmp_path, lambda node, status: seen.append(status))
    path = next((tmp_path / "work").rglob("npi.tsv"))
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(read_matrix(path).matrix[off], weights[off], atol=0.1)
    assert seen[0] == "start"


def test_parcellation_workflow_gives_series(tiny, tmp_path):
    save_parcellation(tiny_parcellation(5), tmp_path / "atlas")
    workflow = init_parcellate_wf(
        denoise=DenoiseSettings(denoise="none"), coverage=CoverageSettings()
    )
    workflow.base_dir = str(tmp_path / "work")
    workflow.inputs.inputnode.bold = str(tiny.file("sub-01/func/*bold.nii.gz"))
    workflow.inputs.inputnode.atlas = str(tmp_path / "atlas")
    assert run_workflow(workflow, Plugin("Linear", {}), tmp_path, lambda *_: None)
    path = next((tmp_path / "work").rglob("timeseries.tsv"))
    series = read_series(path, 2.0)
    assert series.labels == ("A", "B", "C", "D", "E")
    assert not series.covered[4]


def test_a_node_that_fails_leaves_a_crash_file_and_ends_in_false(tiny, tmp_path):
    save_parcellation(tiny_parcellation(), tmp_path / "atlas")
    workflow = init_parcellate_wf(denoise=DenoiseSettings(), coverage=CoverageSettings())
    workflow.base_dir = str(tmp_path / "work")
    workflow.inputs.inputnode.bold = str(tiny.file("sub-01/func/*bold.nii.gz"))
    workflow.inputs.inputnode.atlas = str(tmp_path / "atlas")
    assert not run_workflow(workflow, Plugin("Linear", {}), tmp_path / "crash", lambda *_: None)
    (crash,) = Path(tmp_path / "crash").glob("crash-*.txt")
    assert "no confounds table" in crash.read_text()
