"""What all builders have in common: every field is connected, and described."""

import re
from pathlib import Path

import pytest

from npi_bids.analysis import GroupAnalysis
from npi_bids.bids.derivatives import Model
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.group.cohorts import Cohort
from npi_bids.group.settings import GroupSettings, ModelSettings
from npi_bids.inverse.settings import InferSettings
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.surrogates.base import TrainSettings
from npi_bids.whole_brain.settings import BrainSettings
from npi_bids.workflows.ec import init_ec_wf
from npi_bids.workflows.group import init_group_wf
from npi_bids.workflows.infer import init_infer_wf
from npi_bids.workflows.parcellate import init_parcellate_wf
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
            group=GroupSettings(weights="quality", subject_maps="blup"),
            model=ModelSettings(formula="age"),
        ),
        measures=["jacobian", "pearsoncorrelation", "parameters"],
        out_dir=Path(),
    ),
    "infer": lambda: init_infer_wf(
        denoise=DenoiseSettings(), infer=InferSettings(infer="hopf"), brain=BrainSettings()
    ),
}
DOCUMENTED = {
    "parcellate": init_parcellate_wf,
    "ec": init_ec_wf,
    "group": init_group_wf,
    "infer": init_infer_wf,
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
    builder = DOCUMENTED[name]
    workflow = BUILDERS[name]()
    for node in ("inputnode", "outputnode"):
        for field in workflow.get_node(node).inputs.copyable_trait_names():
            assert re.search(rf"\n    (\w+, )*{field}(, .*)?\n", builder.__doc__)
    for section in ("Workflow Graph", "Parameters", "Inputs", "Outputs"):
        assert section in builder.__doc__
