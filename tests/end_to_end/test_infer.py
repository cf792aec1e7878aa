"""Posteriors of model parameters through the whole program."""

import json

import numpy as np
import pytest

from npi_bids.io.tables import read_matrix, read_table, write_matrix
from npi_bids.records import ECResult
from tests.end_to_end.conftest import validate

pytest.importorskip("sbi")
QUICK = (
    *("--infer", "hopf", "--infer-simulations", "100", "--infer-held-out", "50"),
    *("--infer-members", "1", "--infer-samples", "200"),
)


@pytest.fixture
def sc(tmp_path):
    """Write structural connectivity of the regions of the atlas and of another, shuffled."""
    labels = ("X", "D", "C", "B", "A", "E")
    weights = np.zeros((6, 6))
    weights[4, 3] = weights[3, 2] = weights[2, 4] = 1.0  # A to B to C to A
    weights[2, 1] = weights[1, 2] = 0.5
    path = tmp_path / "sc.tsv"
    write_matrix(ECResult(weights, labels), path)
    return path


@pytest.mark.slow
def test_parameters_are_inferred_beside_the_map(tiny, npi_bids, tmp_path, sc):
    words = (tiny.root, "out", "participant", "group", "--atlas", tiny.atlas, "--sc", sc)
    code, out, err = npi_bids(*words, *QUICK)
    assert code == 0, out + err
    root = tmp_path / "out"
    folder = root / "sub-01" / "func"
    beside = root / "derivatives" / "posteriors" / "sub-01" / "func"
    path = next(beside.glob("*_parameters.tsv"))
    table = read_table(path)
    assert list(table["name"])[:4] == ["coupling", "bifurcation", "noise", "frequency"]
    assert (table["q025"] < table["q975"]).all()
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["StructuralConnectivity"] == "sc.tsv"
    assert len(sidecar["Sources"]) == 2
    assert len(read_table(next(beside.glob("*_posterior.tsv")))) == 200
    predicted = read_matrix(next(folder.glob("*_meas-predictedfc_*_relmat.tsv")))
    assert np.isnan(predicted.matrix[predicted.labels.index("E")]).all()  # not covered
    assert np.isfinite(predicted.matrix[0, 1])
    page = (root / "sub-01.html").read_text()
    for text in ("Posterior of the parameters", "Posterior predictive FC", "halves agree",
                 "Calibration on simulated subjects"):  # fmt: skip
        assert text in page
    group = read_table(next((root / "derivatives" / "statistics").rglob("*_parametertests.tsv")))
    coupling = group[group["parameter"] == "coupling"].iloc[0]
    assert coupling["n"] + coupling["n_outside"] == 3
    validate(root)


def test_inference_without_structural_connectivity_is_refused(tiny, npi_bids):
    words = (tiny.root, "out", "participant", "--atlas", tiny.atlas)
    code, out, err = npi_bids(*words, "--infer", "hopf")
    assert code == 2
    assert "--infer hopf needs structural connectivity: --sc PATH" in out + err
