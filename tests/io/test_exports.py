"""What other programs read: rows stay sources in every format."""

import networkx as nx
import nibabel as nib
import numpy as np
from scipy.io import loadmat

from npi_bids.cli.export import main
from tests.greyordinates import axis, write_labels
from tests.io.conftest import LABELS, MATRIX


def export(given, *formats):
    out = given.parent / "out"
    words = [given, "--regions", given.parent / "regions.tsv", "-o", out, "--to", *formats]
    assert main([str(word) for word in words]) == 0
    return out


def test_graphml_points_from_source_to_target(map_file):
    graph = nx.read_graphml(export(map_file, "graphml") / "map.graphml")
    edges = {(a, b): facts["weight"] for a, b, facts in graph.edges(data=True)}
    assert edges == {("A", "B"): 0.5, ("B", "A"): -0.25, ("B", "C"): 1.5}
    assert graph.edges["B", "A"]["sign"] == "negative"
    assert graph.nodes["C"]["network"] == "y"
    assert graph.nodes["B"]["z"] == 5


def test_mat_and_npz_hold_the_matrix_as_it_is(map_file):
    out = export(map_file, "mat", "npz")
    np.testing.assert_array_equal(loadmat(out / "map.mat")["W"], MATRIX)
    with np.load(out / "map.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["ec"], MATRIX)
        assert archive["labels"].tolist() == list(LABELS)


def test_brainnet_has_a_line_per_region(map_file):
    out = export(map_file, "brainnet")
    nodes = [line.split("\t") for line in (out / "map.node").read_text().splitlines()]
    assert nodes[1] == ["3.0", "4.0", "5.0", "2", "1.75", "B"]
    edges = np.loadtxt(out / "map.edge")
    assert edges[1].tolist() == [-0.25, 0, 1.5]


def test_pconn_has_sources_in_rows_and_parcels_of_the_atlas(map_file, tmp_path):
    models = axis()
    values = np.arange(len(models)) % 4
    names = {0: "???", 1: "A", 2: "B", 3: "C"}
    atlas = write_labels(tmp_path / "atlas.dlabel.nii", models, values, names)
    out = tmp_path / "p"
    words = [map_file, "--to", "pconn", "--atlas", atlas, "-o", out]
    assert main([str(word) for word in words]) == 0
    image = nib.load(out / "map.pconn.nii")
    np.testing.assert_allclose(image.get_fdata(), MATRIX)
    rows, columns = (image.header.get_axis(place) for place in (0, 1))
    assert rows.name.tolist() == columns.name.tolist() == list(LABELS)
    assert image.nifti_header.get_intent()[0] == "ConnParcels"


def test_what_cannot_be_exported_is_said(map_file, capsys, tmp_path):
    assert main([str(map_file), "--to", "pconn", "-o", str(tmp_path / "o")]) == 3
    assert "pconn needs the atlas as .dlabel.nii" in capsys.readouterr().err
    assert main([str(map_file), "--to", "brainnet", "-o", str(tmp_path / "o")]) == 3
    assert "needs the centre of every region" in capsys.readouterr().err
    assert main([str(tmp_path / "nothing.tsv")]) == 3
    assert main([str(tmp_path), "--to", "npz"]) == 3
