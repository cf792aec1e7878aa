"""Builders: every field is used, the graph expands, and the pieces work in others' workflows."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from nipype.utils.filemanip import loadpkl

from npi_bids.analysis import AnalysisSettings, GroupAnalysis
from npi_bids.assessment.verdict import AssessSettings, VerdictSettings
from npi_bids.bids.derivatives import Model
from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs
from npi_bids.bids.runs import CombineSettings, group_runs
from npi_bids.bids.sidecars import ModelOutcome
from npi_bids.cli.execution import Plugin, run_workflow
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.group.cohorts import Cohort
from npi_bids.group.settings import GroupSettings, ModelSettings
from npi_bids.io.files import write_json
from npi_bids.io.tables import read_matrix, read_series
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.parcellation import save_parcellation
from npi_bids.surrogates.base import TrainSettings
from npi_bids.workflows.ec import init_ec_wf
from npi_bids.workflows.group import init_group_wf
from npi_bids.workflows.parcellate import init_parcellate_wf
from npi_bids.workflows.participant import init_participant_wf
from npi_bids.workflows.subject import PreparedAtlas, Task
from tests.conftest import tiny_parcellation
from tests.interfaces.conftest import NODES, group_inputs, group_rows, write_dataset
from tests.sidecars import model_sidecar

BUILDERS = {
    "parcellate": lambda: init_parcellate_wf(
        denoise=DenoiseSettings(), coverage=CoverageSettings()
    ),
    "ec": lambda: init_ec_wf(train=TrainSettings(), perturb=PerturbSettings()),
    "group": lambda: init_group_wf(
        cohort=Cohort(
            {"task": "rest"},
            "simple",
            {"01": (Model(Path(), {"sub": "01"}, "", model_sidecar()),)},
        ),
        settings=GroupAnalysis(
            group=GroupSettings(weights="precision"), model=ModelSettings(formula="age")
        ),
        measures=["jacobian", "pearsoncorrelation"],
        out_dir=Path(),
    ),
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
    builder = {"parcellate": init_parcellate_wf, "ec": init_ec_wf, "group": init_group_wf}[name]
    workflow = BUILDERS[name]()
    for node in ("inputnode", "outputnode"):
        for field in workflow.get_node(node).inputs.copyable_trait_names():
            assert re.search(rf"\n    (\w+, )*{field}(, .*)?\n", builder.__doc__)
    for section in ("Workflow Graph", "Parameters", "Inputs", "Outputs"):
        assert section in builder.__doc__


@pytest.mark.slow
def test_the_group_workflow_works_in_a_workflow_of_others(tmp_path):
    """Lists of files in, files out; nothing is written into the dataset."""
    dataset = write_dataset(tmp_path / "out")
    sidecar = {"NodeFiles": [f"bids::{NODES}"], "ConfigurationHash": "x"}
    model = Model(dataset, {"sub": "01"}, "simple", sidecar)
    group_wf = init_group_wf(
        cohort=Cohort({"task": "rest", "space": "T"}, "simple", {"01": (model,)}),
        settings=GroupAnalysis(),
        out_dir=dataset,
    )
    outer, sender = pe.Workflow("outer", base_dir=str(tmp_path)), niu.IdentityInterface(["maps"])
    source = pe.Node(sender, name="source")
    source.inputs.maps = group_inputs(dataset)["matrices"]
    keep = pe.Node(niu.Merge(1), name="keep")
    outer.connect([
        (source, group_wf, [("maps", "inputnode.npi")]),
        (group_wf, keep, [("outputnode.files", "in1")]),
    ])  # fmt: skip
    group_wf.inputs.inputnode.rows = group_rows()
    before = sorted(dataset.rglob("*"))
    assert run_workflow(outer, Plugin("Linear", {}), tmp_path, lambda *_: None)
    files = [Path(path) for path in loadpkl(tmp_path / "outer/keep/result_keep.pklz").outputs.out]
    mean = next(path for path in files if path.name.endswith("Groupmean_relmat.tsv"))
    matrix = read_matrix(mean).matrix
    assert matrix[0, 1] == pytest.approx(0.5)
    assert matrix[1, 0] == 0
    assert sorted(dataset.rglob("*")) == before


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
    for step in ("train_surrogate", "perturb_surrogate", "assess_connectivity", "save_model"):
        assert names.count(step) == 2
    for one, other in graph.edges:
        assert str(one.fullname).split(".")[1] == str(other.fullname).split(".")[1]


def test_a_subject_of_one_run_takes_six_nodes(tiny, tmp_path):
    """Each node costs the scheduler 10 ms, which counts with a thousand subjects."""
    workflow = init_participant_wf(
        tasks=[replace(task, unit=replace(task.unit, runs=task.unit.runs[:1]))
               for task in tasks(tiny, tmp_path)[:1]],
        settings=AnalysisSettings(),
        out_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
    )  # fmt: skip
    names = [node.name for node in workflow._create_flat_graph().nodes]
    assert sorted(name for name in names if not name.endswith("putnode")) == [
        *("assess_connectivity", "parcellate", "perturb_surrogate", "save_model"),
        *("save_run_1", "train_surrogate"),
    ]


def test_a_whole_brain_model_is_one_node_behind_the_same_fields():
    workflow = init_ec_wf(train=TrainSettings(surrogate="wbm"), perturb=PerturbSettings())
    assert workflow.get_node("fit_whole_brain")
    assert workflow.get_node("train_surrogate") is None
    assert workflow.get_node("outputnode").inputs.copyable_trait_names() == ["files", "summary"]


def ec_of_files(folder, run, **options):
    """Run the workflow of one subject from files; return where its steps leave theirs."""
    series, summary = folder / "timeseries.tsv", folder / "run.json"
    if not series.is_file():
        pd.DataFrame(run.data, columns=run.labels).to_csv(series, sep="\t", index=False)
        write_json(summary, {"tr": 2.0})
    settings = {"train": TrainSettings(surrogate="var"), "perturb": PerturbSettings()}
    workflow = init_ec_wf(**{**settings, **options})
    workflow.base_dir = str(folder / "work")
    workflow.inputs.inputnode.series = [str(series)]
    workflow.inputs.inputnode.summaries = [str(summary)]
    assert run_workflow(workflow, Plugin("Linear", {}), folder, lambda *_: None)
    return folder / "work" / "ec_wf"


def test_another_threshold_of_the_verdict_trains_and_perturbs_nothing_again(run, tmp_path):
    made = {}
    for threshold in (0.01, 0.9):
        assess = AssessSettings(verdict=VerdictSettings(good_skill=threshold))
        folder = ec_of_files(tmp_path, run, assess=assess)
        files = {"train_surrogate": "surrogate.safetensors",
                 "perturb_surrogate": "connectivity.safetensors",
                 "assess_connectivity": "summary.json"}  # fmt: skip
        made[threshold] = {
            step: (folder / step / file).stat().st_mtime_ns for step, file in files.items()
        }
    again = {step for step in made[0.01] if made[0.01][step] != made[0.9][step]}
    assert again == {"assess_connectivity"}
    assert ModelOutcome.read(folder / "assess_connectivity/summary.json").fit.verdict == "caution"


def test_another_strength_trains_nothing_again(run, tmp_path):
    turns = []
    for strength in (1.0, 2.0):
        perturb = PerturbSettings(strength=strength)
        folder = ec_of_files(tmp_path, run, perturb=perturb)
        trained = (folder / "train_surrogate/surrogate.safetensors").stat().st_mtime_ns
        found = read_matrix(folder / "assess_connectivity/npi.tsv").matrix
        turns.append((trained, found))
    assert turns[0][0] == turns[1][0]
    np.testing.assert_allclose(turns[1][1], 2 * turns[0][1], rtol=1e-6)


def test_too_little_data_runs_through_all_steps_and_is_said_at_the_end(run, tmp_path):
    folder = ec_of_files(tmp_path, run, min_time=1e6)
    assert not list(folder.rglob("*.safetensors"))
    summary = ModelOutcome.read(folder / "assess_connectivity" / "summary.json")
    assert summary.fit is None
    assert "--min-time" in summary.reason


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
