"""The whole-brain surrogate through the whole program."""

import json

import numpy as np
import pytest

from npi_bids.io.tables import read_matrix, read_table, write_matrix
from npi_bids.records import ECResult
from tests.end_to_end.conftest import validate

pytest.importorskip("neurolib")
QUICK = (
    *("--surrogate", "wbm", "--wbm-model", "hopf", "--wbm-grid", "2", "--wbm-minutes", "2.5"),
    *("--wbm-population", "5", "--wbm-generations", "1", "--wbm-states", "1", "--wbm-step", "0.2"),
)


@pytest.fixture
def sc(tmp_path):
    """Write structural connectivity of more regions than the atlas has, in another order."""
    labels = ("X", "D", "C", "B", "A", "E")
    weights = np.zeros((6, 6))
    weights[4, 3] = weights[3, 2] = weights[2, 4] = 1.0  # A to B to C to A
    weights[4, 5] = 0.5
    path = tmp_path / "sc.tsv"
    write_matrix(ECResult(weights, labels), path)
    return path


def test_mechanistic_map_follows_the_structure(tiny, npi_bids, tmp_path, sc):
    words = (tiny.root, "out", "participant", "--atlas", tiny.atlas, "--sc", sc)
    one = ("--participant-label", "01")
    code, out, err = npi_bids(*words, *one, *QUICK)
    assert code == 0, out + err
    folder = tmp_path / "out" / "sub-01" / "func"
    path = next(folder.glob("*_meas-npi_*_relmat.tsv"))
    found = read_matrix(path)
    a, b, c, d, e = map(found.labels.index, "ABCDE")
    assert found.matrix[a, b] > found.matrix[b, a]
    assert found.matrix[b, c] > found.matrix[c, b]
    assert found.matrix[d, a] == found.matrix[a, d] == 0
    assert np.isnan(found.matrix[e]).all()  # not covered in the images
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["Surrogate"] == "wbm"
    assert sidecar["Hazards"] == []
    assert sidecar["Verdict"] in ("caution", "fail")
    assert "stimulated" in sidecar["MeasureDescription"]
    table = read_table(next((tmp_path / "out").rglob("*_training.tsv")))
    assert list(table["stage"].unique()) == ["default", "grid", "evolution 0", "evolution 1"]
    assert sidecar["Training"]["RFc"] == pytest.approx(
        table.loc[table["fitness"].idxmax(), "r_fc"]
    )
    page = (tmp_path / "out" / "sub-01.html").read_text()
    for title in ("Parameter search", "Explored parameters", "Bifurcation diagram"):
        assert title in page
    assert "neurolib" in (tmp_path / "out" / "logs" / "CITATION.md").read_text()
    validate(tmp_path / "out")


def test_structure_that_lacks_regions_is_an_input_error(tiny, npi_bids, tmp_path, sc):
    words = (tiny.root, "out", "participant", "--atlas", tiny.atlas, *QUICK)
    one = ("--participant-label", "01")
    code, out, err = npi_bids(*words, *one)
    assert code != 0
    assert "--sc PATH" in out + err
    write_matrix(ECResult(np.ones((2, 2)), ("A", "B")), sc)
    code, out, err = npi_bids(*words, *one, "--sc", sc)
    assert code != 0
    assert "lacks 2 of the 4 regions" in " ".join((out + err).split())
