"""The page of any matrix: what it shows is what the file holds, from source to target."""

import json
import re

import html5lib
import numpy as np
import pytest
from scipy.io import savemat

from npi_bids.cli.view import main
from npi_bids.io.exports import write_mat, write_npz
from npi_bids.io.tables import write_matrix
from npi_bids.records import ECResult
from npi_bids.reports.packed_matrices import unpack
from tests.reports.markup import check

LABELS = ("LH_Vis_1", "LH_Vis_2", "RH_Default_1")
MATRIX = np.array([[0.0, 0.5, np.nan], [-0.25, 0.0, 1.5], [np.nan, 0.0, 0.0]])
RESULT = ECResult(MATRIX, LABELS)


def view(*words):
    return main([str(word) for word in words])


def shown(page):
    """Return the matrices of a page: labels, networks, and the layers by name."""
    found = []
    for text in re.findall(r'<script type="application/json">(.*?)</script>', page.read_text()):
        content = json.loads(text)
        layers = {layer["name"]: unpack(layer, len(content["labels"]))
                  for layer in content["layers"] if "values" in layer}  # fmt: skip
        found.append((content["labels"], content["networks"], layers))
    return found


def write_csv(path):
    rows = [["", *LABELS], *([label, *("n/a" if np.isnan(v) else f"{v}" for v in row)]
                             for label, row in zip(LABELS, MATRIX, strict=True))]  # fmt: skip
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")


WRITERS = {
    "map.tsv": lambda path: write_matrix(RESULT, path),
    "map.csv": write_csv,
    "map.npz": lambda path: write_npz(RESULT, [], None, path),
    "map.mat": lambda path: write_mat(RESULT, [], None, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_sources_whatever_the_file(tmp_path, name):
    path, page = tmp_path / name, tmp_path / "view.html"
    WRITERS[name](path)
    assert view(path, "-o", page) == 0
    ((labels, networks, layers),) = shown(page)
    assert labels == list(LABELS)
    assert networks == ["Vis", "Vis", "Default"]
    np.testing.assert_allclose(layers["matrix"], MATRIX, atol=1e-4)
    difference = MATRIX - MATRIX.T
    np.testing.assert_allclose(layers["difference"], difference, atol=1e-4)
    assert "The 3 strongest connections" in page.read_text()


def test_rows_that_are_targets_are_transposed(tmp_path):
    WRITERS["map.mat"](tmp_path / "map.mat")
    page = tmp_path / "view.html"
    assert view(tmp_path / "map.mat", "--rows", "target", "-o", page) == 0
    np.testing.assert_allclose(shown(page)[0][2]["matrix"], MATRIX.T, atol=1e-4)


def test_networks_and_centres_of_an_archive_are_drawn(tmp_path):
    centres = np.array([[-20.0, -90, 0], [-30, -80, 5], [10, 50, 20]])
    write_npz(RESULT, ["a", "a", "b"], centres, tmp_path / "map.npz")
    page = tmp_path / "view.html"
    assert view(tmp_path / "map.npz", "-o", page) == 0
    assert shown(page)[0][1] == ["a", "a", "b"]
    assert "Strongest connections of map.npz" in page.read_text()


def test_several_matrices_are_side_by_side_and_those_of_the_same_regions_compared(tmp_path):
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((5, 5))
    labels = tuple("abcde")
    order = [3, 1, 4, 0, 2]
    one = ECResult(matrix, labels)
    same = ECResult(matrix[np.ix_(order, order)], tuple(labels[n] for n in order))
    other = ECResult(matrix, tuple("vwxyz"))
    paths = [tmp_path / f"{name}.tsv" for name in ("one", "same", "other")]
    for path, result in zip(paths, (one, same, other), strict=True):
        write_matrix(result, path)
    page = tmp_path / "view.html"
    assert view(*paths, "-o", page, "--titles", "A", "B", "C") == 0
    text = page.read_text()
    assert text.count("<canvas") == 3
    table = text[text.index('id="agreement"') :].partition("</table>")[0]
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", table[table.index("<tbody>") :])
    assert cells == ["A", "B", "1.00", "1.00"]  # matched by name; C has other regions


def test_a_symmetric_matrix_has_no_direction(tmp_path):
    write_matrix(ECResult(np.array([[0.0, 1], [1, 0]]), ("a", "b")), tmp_path / "fc.tsv")
    assert view(tmp_path / "fc.tsv", "-o", tmp_path / "view.html") == 0
    assert list(shown(tmp_path / "view.html")[0][2]) == ["matrix"]


def test_files_that_are_no_matrices_are_refused(tmp_path, capsys):
    savemat(tmp_path / "a.mat", {"W": np.eye(3), "labels": np.array(["a", "b"], dtype=object)})
    assert view(tmp_path / "a.mat") == 3
    assert "W has 3 rows, and labels has 2 different names" in capsys.readouterr().err
    savemat(tmp_path / "b.mat", {"W": np.eye(3), "V": np.eye(3)})
    assert view(tmp_path / "b.mat") == 3
    assert "expected one square matrix and the names" in capsys.readouterr().err
    assert view(tmp_path / "none.tsv") == 3
    write_matrix(RESULT, tmp_path / "map.tsv")
    assert view(tmp_path / "map.tsv", "--titles", "a", "b") == 2


def test_the_published_resources_can_be_viewed(shared_data, tmp_path):
    paths = sorted((shared_data / "npi_group_ec").glob("EC_*.npz"))
    page = tmp_path / "resources.html"
    assert view(*paths, "-o", page) == 0
    sizes = [len(labels) for labels, *_ in shown(page)]
    assert sorted(sizes) == [39, 100, 116, 200, 300, 379, 400]
    assert page.stat().st_size < 10e6
    with np.load(paths[-1]) as archive:
        released = archive["ec_src_row"]
    np.testing.assert_allclose(
        shown(page)[-1][2]["matrix"], released, rtol=5.1e-3, atol=1e-6
    )  # three digits


def test_the_page_is_valid_html_that_refers_to_nothing_outside(tmp_path):
    write_matrix(RESULT, tmp_path / "map.tsv")
    page = tmp_path / "view.html"
    assert view(tmp_path / "map.tsv", tmp_path / "map.tsv", "-o", page) == 0
    html5lib.HTMLParser(strict=True).parse(page.read_text())
    check(page.read_text())
