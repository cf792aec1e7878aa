import json
import math
import os

import numpy as np
import pytest

from npi_bids.core.records import ECResult, RegionSeries
from npi_bids.errors import InputDataError
from npi_bids.io.files import read_json, remove_leftovers, replacing, write_json
from npi_bids.io.tables import read_matrix, read_series, read_table, write_matrix, write_series
from npi_bids.io.weights import read_tensors, write_tensors


def test_uncovered_region_and_censored_sample_are_told_apart(tmp_path):
    path = tmp_path / "timeseries.tsv"
    path.write_text("A\tB\tC\n1\tn/a\t2\nn/a\tn/a\tn/a\n3\tn/a\t4\n")
    series = read_series(path, tr=2.0)
    assert series.labels == ("A", "B", "C")
    np.testing.assert_array_equal(series.keep, [True, False, True])
    np.testing.assert_array_equal(series.covered, [True, False, True])


def test_a_hole_in_a_covered_region_is_refused_and_never_zero(tmp_path):
    path = tmp_path / "timeseries.tsv"
    path.write_text("A\tB\n1\t1\n2\tn/a\n3\t4\n")
    with pytest.raises(InputDataError, match=r"\['B'\]"):
        read_series(path, tr=2.0)


def test_series_survive_the_disk(tmp_path):
    data = np.random.default_rng(0).standard_normal((6, 3))
    data[:, 1] = np.nan
    keep = np.array([True, True, False, True, True, True])
    write_series(RegionSeries(data, ("A", "NA", "C"), 2.0, keep), tmp_path / "t.tsv")
    text = (tmp_path / "t.tsv").read_text().splitlines()
    assert text[0] == "A\tNA\tC"
    assert text[3] == "n/a\tn/a\tn/a"
    back = read_series(tmp_path / "t.tsv", 2.0)
    np.testing.assert_allclose(back.data[keep], data[keep], rtol=1e-8)
    np.testing.assert_array_equal(back.keep, keep)


def test_matrix_survives_the_disk_with_rows_as_sources(tmp_path):
    matrix = np.array([[0.0, 1.5], [np.nan, 0.0]])
    write_matrix(ECResult(matrix, ("A", "B")), tmp_path / "relmat.tsv")
    assert (tmp_path / "relmat.tsv").read_text() == "source\tA\tB\nA\t0\t1.5\nB\tn/a\t0\n"
    back = read_matrix(tmp_path / "relmat.tsv")
    np.testing.assert_array_equal(back.matrix, matrix)
    assert back.labels == ("A", "B")


def test_matrix_whose_rows_and_columns_differ_is_refused(tmp_path):
    (tmp_path / "r.tsv").write_text("source\tA\tB\nB\t0\t1\nA\t1\t0\n")
    with pytest.raises(InputDataError, match="same regions"):
        read_matrix(tmp_path / "r.tsv")


def test_json_knows_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": math.nan, "y": [math.inf, 1.0], "z": {"w": (1, 2)}})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "x": None, "y": [None, 1.0], "z": {"w": [1, 2]},
    }  # fmt: skip


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_readable_by_others(tmp_path):
    write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json").stat().st_mode & 0o044


def test_weights_survive_the_disk(tmp_path):
    tensors = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.float32([1.5])}
    write_tensors(tensors, tmp_path / "w.safetensors")
    back = read_tensors(tmp_path / "w.safetensors")
    for name, value in tensors.items():
        np.testing.assert_array_equal(back[name], value)
        assert back[name].dtype == value.dtype


@pytest.mark.parametrize("reader", [read_tensors, read_table, read_json])
def test_damaged_files_are_named(tmp_path, reader):
    path = tmp_path / "damaged"
    path.write_bytes(b"")
    with pytest.raises(InputDataError, match="damaged"):
        reader(path)


def test_leftovers_of_dead_makers_are_removed_and_others_kept(tmp_path):
    (tmp_path / "sub-1").mkdir()
    with replacing(tmp_path / "sub-1" / "x.tsv") as mine:
        dead = mine.with_name(mine.name.replace(f"-{os.getpid()}_", "-999999999_"))
        elsewhere = mine.with_name(".partial_otherhost-999999999_abc_x.tsv")
        for path in (dead, elsewhere):
            path.write_text("half")
        assert remove_leftovers(tmp_path) == 1
        assert not dead.exists()
        assert mine.exists()
        assert elsewhere.exists()
        mine.write_text("whole")
    assert (tmp_path / "sub-1" / "x.tsv").read_text() == "whole"
