"""What other programs read: rows stay sources in every format."""

import networkx as nx
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from npi_bids.bids.writing import REGION_MAPS
from npi_bids.cli.export import main
from npi_bids.connectivity.network_measures import compute_flow
from npi_bids.io.region_maps import write_volume
from npi_bids.io.tables import write_connections, write_matrix
from npi_bids.records import ECResult
from tests.greyordinates import N_VERTICES, axis, write_labels
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


def test_the_seeds_of_mne_are_the_sources(map_file):
    from mne_connectivity import read_connectivity

    path = export(map_file, "netcdf") / "map.nc"
    read = read_connectivity(path)
    assert list(read.names) == list(LABELS)
    dense = read.get_data("dense")
    np.testing.assert_array_equal(dense, MATRIX)
    assert not np.allclose(dense, dense.T, equal_nan=True)
    pairs = dict(zip(zip(*read.indices, strict=True), read.get_data(), strict=True))
    assert pairs[LABELS.index("A"), LABELS.index("B")] == 0.5
    assert pairs[LABELS.index("B"), LABELS.index("A")] == -0.25


@pytest.fixture
def estimated(tmp_path):
    """Write a map as npi-bids names it, with its standard errors; region D is not covered."""
    matrix = np.array([[0, 0.5, 0.1, np.nan], [-0.25, 0, 1.5, np.nan], [0.2, 0.3, 0, np.nan],
                       [np.nan] * 3 + [0]])  # fmt: skip
    error = np.where(np.isfinite(matrix), np.arange(1.0, 17).reshape(4, 4) / 10, np.nan)
    for measure, content in (("npi", matrix), ("npistderr", error)):
        path = tmp_path / f"sub-1_meas-{measure}_desc-simple_relmat.tsv"
        write_matrix(ECResult(content, ("A", "B", "C", "D")), path)
    return path.with_name("sub-1_meas-npi_desc-simple_relmat.tsv"), matrix, error


def test_a_dcm_of_spm_goes_from_columns_to_rows(estimated, tmp_path, caplog):
    path, matrix, error = estimated
    assert main([str(path), "--to", "peb", "-o", str(tmp_path / "out")]) == 0
    content = loadmat(tmp_path / "out" / "sub-1_meas-npi_desc-simple_DCM.mat", simplify_cells=True)
    dcm = content["DCM"]
    assert dcm["Ep"]["A"][1, 0] == 0.5  # from A, the first, to B, the second
    assert dcm["Ep"]["A"][0, 1] == -0.25
    # Parameters are in the order of A(:), column by column, in the mean and both covariances.
    vec = dcm["Ep"]["A"].ravel(order="F")
    variance = dcm["Cp"].diagonal()
    assert (vec[1], variance[1]) == (0.5, pytest.approx(error[0, 1] ** 2))
    free = np.isfinite(matrix) & ~np.eye(4, dtype=bool)
    np.testing.assert_array_equal(variance > 0, free.T.ravel(order="F"))
    np.testing.assert_array_equal(dcm["M"]["pC"].diagonal() > 0, variance > 0)
    assert dcm["M"]["pC"].diagonal().max() == pytest.approx(100 * np.var(matrix[free]))
    assert not dcm["M"]["pE"]["A"].any()
    assert dcm["not_covered"] == "D"
    assert "1 region not covered and fixed at 0 in the DCM (D)" in caplog.text


def test_a_dcm_needs_standard_errors(map_file, capsys, tmp_path):
    assert main([str(map_file), "--to", "peb", "-o", str(tmp_path / "o")]) == 3
    assert "A DCM for SPM needs the standard errors" in capsys.readouterr().err


def flow(matrix):
    return compute_flow(matrix).out_strength


def test_regional_maps_of_greyordinates_hold_the_value_of_each_region(map_file, tmp_path):
    models = axis(left=range(2, 20), right=range(5, 20))
    values = np.random.default_rng(0).integers(0, 4, len(models))
    names = {0: "???", 1: "A", 2: "B", 3: "C"}
    atlas = write_labels(tmp_path / "atlas.dlabel.nii", models, values, names)
    out = tmp_path / "m"
    words = [map_file, "--regions", tmp_path / "regions.tsv", "--atlas", atlas, "-o", out]
    formats = ("pscalar", "dscalar", "gifti")
    assert main([str(word) for word in (*words, "--to", *formats)]) == 0
    strength = flow(MATRIX)
    parcels = nib.load(out / "map.pscalar.nii")
    assert parcels.header.get_axis(0).name.tolist() == list(REGION_MAPS)
    assert parcels.header.get_axis(1).name.tolist() == list(LABELS)
    assert parcels.nifti_header.get_intent()[0] == "ConnParcelScalr"
    np.testing.assert_allclose(parcels.get_fdata()[0], strength)
    dense = nib.load(out / "map.dscalar.nii")
    assert dense.header.get_axis(1) == models
    expected = np.array([np.nan, *strength])[values]
    np.testing.assert_allclose(dense.get_fdata()[0], expected)
    left = np.concatenate([np.full(2, np.nan), expected[:18]])
    right = np.concatenate([np.full(5, np.nan), expected[18:33]])
    assert len(left) == len(right) == N_VERTICES
    for hemi, side in (("L", left), ("R", right)):
        surface = nib.load(out / f"map_hemi-{hemi}.func.gii")
        assert [array.meta["Name"] for array in surface.darrays] == list(REGION_MAPS)
        np.testing.assert_allclose(surface.darrays[0].data, side, rtol=1e-6)


def test_regional_maps_of_a_volume_are_nan_where_there_is_no_region(map_file, tmp_path):
    data = np.zeros((3, 4, 5), dtype=np.int16)
    data[0, 1, 2], data[2, 0, 4], data[1, 1, 1] = 10, 30, 20
    atlas = tmp_path / "atlas.nii.gz"
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 3, 4, 1])), atlas)
    table = tmp_path / "indexed.tsv"
    table.write_text("index\tname\n10\tB\n20\tC\n30\tA\n")
    out = tmp_path / "v"
    words = [map_file, "--regions", table, "--atlas", atlas, "-o", out, "--to", "nifti"]
    assert main([str(word) for word in words]) == 0
    image = nib.load(out / "map.nii.gz")
    a, b, c = flow(MATRIX)
    volume = image.get_fdata()[..., 0]
    assert image.shape == (3, 4, 5, len(REGION_MAPS))
    np.testing.assert_allclose([volume[2, 0, 4], volume[0, 1, 2], volume[1, 1, 1]], [a, b, c])
    assert np.isnan(volume).sum() == volume.size - 3
    np.testing.assert_array_equal(image.affine, np.diag([2.0, 3, 4, 1]))


def test_a_voxel_of_several_weight_maps_shows_the_region_with_the_largest(tmp_path):
    weights = np.zeros((2, 1, 1, 3), dtype=np.float32)
    weights[0, 0, 0] = [0.2, 0.7, 0.1]
    atlas = tmp_path / "atlas.nii.gz"
    nib.save(nib.Nifti1Image(weights, np.eye(4)), atlas)
    values = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=[1, 2, 3])
    (path,) = write_volume(values, atlas, tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(nib.load(path).get_fdata().ravel(), [2, np.nan])


def test_a_long_table_names_source_and_target_and_is_the_same_each_time(tmp_path):
    paths = [tmp_path / name for name in ("a.tsv.gz", "b.tsv.gz")]
    for path in paths:
        write_connections(LABELS, {"value": MATRIX, "q": MATRIX**2}, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    table = pd.read_csv(paths[0], sep="\t", na_values="n/a")
    assert len(table) == 6
    row = table[(table["source"] == "B") & (table["target"] == "A")].iloc[0]
    assert (row["value"], row["q"]) == (-0.25, 0.0625)
    assert table["value"].isna().sum() == 2
