from pathlib import Path

import pytest
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from nipype.utils.filemanip import loadpkl

from npi_bids.analysis import GroupAnalysis
from npi_bids.bids.derivatives import Model
from npi_bids.cli.execution import Plugin, run_workflow
from npi_bids.group.cohorts import Cohort
from npi_bids.io.tables import read_matrix
from npi_bids.workflows.group import init_group_wf
from tests.interfaces.conftest import NODES, group_inputs, group_rows, write_dataset
from tests.sidecars import model_sidecar


@pytest.mark.slow
def test_the_group_workflow_works_in_a_workflow_of_others(tmp_path):
    """Lists of files in, files out; nothing is written into the dataset."""
    dataset = write_dataset(tmp_path / "out")
    sidecar = model_sidecar(NodeFiles=[f"bids::{NODES}"])
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
