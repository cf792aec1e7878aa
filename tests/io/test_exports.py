"""What other programs read: rows stay sources in every format."""

import networkx as nx
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from npi_bids.cli.export import main
from npi_bids.errors import InputDataError
from npi_bids.io.tables import read_external, write_matrix
from npi_bids.records import ECResult
from tests.greyordinates import axis, write_labels

LABELS = ("A", "B", "C")
MATRIX = np.array([[0.0, 0.5, np.nan], [-0.25, 0.0, 1.5], [np.nan, 0.0, 0.0]])


@pytest.fixture
def given(tmp_path):
    path = tmp_path / "map_relmat.tsv"
    write_matrix(ECResult(MATRIX, LABELS), path)
    table = pd.DataFrame({"name": LABELS, "network": ["x", "y", "y"]})
    table[["x", "y", "z"]] = np.arange(9.0).reshape(3, 3)
    table.to_csv(tmp_path / "regions.tsv", sep="\t", index=False)
    return path


def export(given, *formats):
    out = given.parent / "out"
    words = [given, "--regions", given.parent / "regions.tsv", "-o", out, "--to", *formats]
    assert main([str(word) for word in words]) == 0
    return out


def test_graphml_points_from_source_to_target(given):
    graph = nx.read_graphml(export(given, "graphml") / "map.graphml")
    edges = {(a, b): facts["weight"] for a, b, facts in graph.edges(data=True)}
    assert edges == {("A", "B"): 0.5, ("B", "A"): -0.25, ("B", "C"): 1.5}
    assert graph.edges["B", "A"]["sign"] == "negative"
    assert graph.nodes["C"]["network"] == "y"
    assert graph.nodes["B"]["z"] == 5


def test_mat_and_npz_hold_the_matrix_as_it_is(given):
    out = export(given, "mat", "npz")
    np.testing.assert_array_equal(loadmat(out / "map.mat")["W"], MATRIX)
    with np.load(out / "map.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["ec"], MATRIX)
        assert archive["labels"].tolist() == list(LABELS)


def test_brainnet_has_a_line_per_region(given):
    out = export(given, "brainnet")
    nodes = [line.split("\t") for line in (out / "map.node").read_text().splitlines()]
    assert nodes[1] == ["3.0", "4.0", "5.0", "2", "1.75", "B"]
    edges = np.loadtxt(out / "map.edge")
    assert edges[1].tolist() == [-0.25, 0, 1.5]


def test_pconn_has_sources_in_rows_and_parcels_of_the_atlas(given, tmp_path):
    models = axis()
    values = np.arange(len(models)) % 4
    names = {0: "???", 1: "A", 2: "B", 3: "C"}
    atlas = write_labels(tmp_path / "atlas.dlabel.nii", models, values, names)
    out = tmp_path / "p"
    words = [given, "--to", "pconn", "--atlas", atlas, "-o", out]
    assert main([str(word) for word in words]) == 0
    image = nib.load(out / "map.pconn.nii")
    np.testing.assert_allclose(image.get_fdata(), MATRIX)
    rows, columns = (image.header.get_axis(place) for place in (0, 1))
    assert rows.name.tolist() == columns.name.tolist() == list(LABELS)
    assert image.nifti_header.get_intent()[0] == "ConnParcels"


def test_what_cannot_be_exported_is_said(given, capsys, tmp_path):
    assert main([str(given), "--to", "pconn", "-o", str(tmp_path / "o")]) == 3
    assert "pconn needs the atlas as .dlabel.nii" in capsys.readouterr().err
    assert main([str(given), "--to", "brainnet", "-o", str(tmp_path / "o")]) == 3
    assert "needs the centre of every region" in capsys.readouterr().err
    assert main([str(tmp_path / "nothing.tsv")]) == 3
    assert main([str(tmp_path), "--to", "npz"]) == 3


def test_maps_of_any_origin_are_read_as_source_target(given, tmp_path):
    first = read_external(given)
    np.testing.assert_array_equal(first.matrix, MATRIX)
    np.testing.assert_array_equal(read_external(given, rows="target").matrix, MATRIX.T)
    table = pd.DataFrame(MATRIX, columns=LABELS, index=LABELS)
    table.to_csv(tmp_path / "square.csv")
    np.testing.assert_array_equal(read_external(tmp_path / "square.csv").matrix, MATRIX)
    pairs = pd.DataFrame({
        "Recorded": ["B", "C"], "Stimulated": ["A", "A"], "n": [3, 9], "probability": [0.1, 0.7],
    })  # fmt: skip
    pairs.to_csv(tmp_path / "ccep.tsv", sep="\t", index=False)
    found = read_external(tmp_path / "ccep.tsv", column="probability")
    assert found.matrix[found.labels.index("A"), found.labels.index("C")] == 0.7
    assert np.isnan(found.matrix[found.labels.index("C"), found.labels.index("A")])
    np.savez(tmp_path / "a.npz", ec=MATRIX, labels=np.array(LABELS))
    assert read_external(tmp_path / "a.npz").labels == LABELS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "x,A,B\nA,0,1\nC,1,0\n", "rows and columns have other names"),
        ("a.tsv", "source\ttarget\tw\nA\tB\t1\nA\tB\t2\n", "1 duplicate pair"),
        ("a.tsv", "source\ttarget\tname\nA\tB\tx\n", "no column"),
        ("a.npz", "nothing", "cannot be read as a map"),
    ],
)
def test_what_is_no_map_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputDataError, match=message):
        read_external(tmp_path / name)


def test_published_maps_are_found_to_be_nearly_symmetric(shared_data):
    found = read_external(shared_data / "npi_group_ec" / "EC_Schaefer100.npz")
    assert found.labels[0] == "7Networks_LH_Vis_1"
    off = ~np.eye(100, dtype=bool)
    assert np.corrcoef(found.matrix[off], found.matrix.T[off])[0, 1] > 0.98
