import numpy as np
import pandas as pd
import pytest

from npi_bids.assessment.settings import AssessSettings, VerdictSettings
from npi_bids.bids.sidecars import ModelOutcome
from npi_bids.cli.execution import Plugin, run_workflow
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.io.files import write_json
from npi_bids.io.tables import read_matrix
from npi_bids.surrogates.base import TrainSettings
from npi_bids.workflows.ec import init_ec_wf


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
