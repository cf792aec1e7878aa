from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from npi_bids.errors import InputDataError
from npi_bids.io.files import read_json
from npi_bids.io.tables import (
    SeriesRegions,
    _read_json_numbers,
    _read_numbers,
    read_cells,
    read_column_names,
    read_external,
    read_matrix,
    read_numbers,
    read_series,
    read_supplied_series,
    read_table,
    shared_regions_of_tables,
    write_matrix,
    write_series,
    write_table,
)
from npi_bids.records import ECResult, RegionSeries
from npi_bids.surrogates.storage import read_tensors
from tests.io.conftest import LABELS, MATRIX

DATA = np.random.default_rng(0).standard_normal((30, 3)).cumsum(axis=0)


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
    with pytest.raises(InputDataError, match=r"of 1 region \(B\)"):
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


def test_an_empty_last_cell_is_missing(tmp_path):
    (tmp_path / "r.tsv").write_text("source\tA\tB\nA\t0\t1\nB\t3\t\n")
    np.testing.assert_array_equal(read_matrix(tmp_path / "r.tsv").matrix, [[0, 1], [3, np.nan]])


def test_a_cell_that_is_no_number_is_told(tmp_path):
    (tmp_path / "r.tsv").write_text("source\tA\tB\nA\t0\t0,1\nB\t3\t0\n")
    with pytest.raises(InputDataError, match=r"not a number.*0,1.*decimal mark"):
        read_matrix(tmp_path / "r.tsv")


@pytest.mark.parametrize("cell", ["[1]", "{}", "true", "null", '"1"', "1,2", "1 2", "0x1"])
def test_a_cell_that_is_not_a_number_is_refused(tmp_path, cell):
    (tmp_path / "r.tsv").write_text(f"source\tA\tB\nA\t0\t{cell}\nB\t3\t0\n")
    with pytest.raises(InputDataError, match="not a number"):
        read_matrix(tmp_path / "r.tsv")


@pytest.mark.parametrize("rows", ["A\t0,5\nB\t1,5", "A\t0\t1\nB\t1,5"])
def test_commas_do_not_separate_cells(tmp_path, rows):
    (tmp_path / "r.tsv").write_text(f"source\tA\tB\n{rows}\n")
    with pytest.raises(InputDataError, match=r"3 columns in its header but 2 cells in line"):
        read_matrix(tmp_path / "r.tsv")


@pytest.mark.parametrize(
    "cell",
    ["1e-5", "+1", ".5", "1.", "01", " 2 ", "12345678901234567890123", "1e-400", "1e400", "-0"],
)
def test_numbers_are_read_in_any_notation(tmp_path, cell):
    for row in (f"0\t{cell}", f"{cell}\t0"):
        (tmp_path / "r.tsv").write_text(f"source\tA\tB\nA\t{row}\nB\t{row}\n")
        read = read_matrix(tmp_path / "r.tsv").matrix
        expected = [[float(cell) for cell in row.split("\t")]] * 2
        np.testing.assert_array_equal(read, expected)
        np.testing.assert_array_equal(np.signbit(read), np.signbit(expected))


def test_numbers_of_a_matrix_are_read_to_the_nearest_double(tmp_path):
    values = np.random.default_rng(0).standard_normal((20, 20)) * 10.0 ** np.arange(-10, 10)
    labels = tuple(f"R{number}" for number in range(20))
    rows = ["\t".join(map(repr, row)) for row in values.tolist()]
    np.testing.assert_array_equal(_read_json_numbers(rows), values)
    np.testing.assert_array_equal(_read_numbers(rows), values)
    lines = ["\t".join(["source", *labels]), *map("\t".join, zip(labels, rows, strict=True))]
    (tmp_path / "r.tsv").write_text("\n".join([*lines, ""]))
    np.testing.assert_array_equal(read_matrix(tmp_path / "r.tsv").matrix, values)


def test_missing_values_are_not_numbers_of_json():
    assert _read_json_numbers(["0\tn/a", "1\t0"]) is None
    np.testing.assert_array_equal(_read_numbers(["0\tn/a", "1\t0"]), [[0, np.nan], [1, 0]])


@pytest.mark.parametrize("reader", [read_tensors, read_table, read_json])
def test_damaged_files_are_named(tmp_path, reader):
    path = tmp_path / "damaged"
    path.write_bytes(b"")
    with pytest.raises(InputDataError, match="damaged"):
        reader(path)


READERS = (read_cells, read_table, read_numbers)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tb\n1\t2\t\n", "2 columns in its header but 3 cells in line 2.*tab at the end"),
        (b"a\tb\n1\t2\n3\n", "1 cells in line 3"),
        (b"a\tb\n\n1\t2\n", "1 cells in line 2"),
        (b"a\ta\n1\t2\n", "several columns of the same name: a"),
        (b"a\t\tb\n1\t2\t3\n", "no name for column 2"),
        (b"", "no first row"),
        (b"\n\n", "no first row"),
        (b"a\x00b\n1\n", "binary"),
        (b"\xff\xfe\n", "cannot be read"),
    ],
)
def test_a_table_whose_rows_and_columns_are_not_clear_is_refused(
    tmp_path, reader, content, message
):
    (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(InputDataError, match=message):
        reader(tmp_path / "t.tsv")


@pytest.mark.parametrize("reader", READERS)
def test_the_first_column_is_never_taken_for_an_index(tmp_path, reader):
    (tmp_path / "t.tsv").write_bytes(b"\xef\xbb\xbfa\tb\t\r\n1\t2\t\r\n")
    found = reader(tmp_path / "t.tsv")
    names = found.names if reader is read_cells else tuple(found.columns)
    assert names == read_column_names(tmp_path / "t.tsv") == ("a", "b")
    assert (found.rows if reader is read_cells else found.to_numpy().tolist()) in (
        [["1", "2"]], [[1, 2]],
    )  # fmt: skip


def test_a_quote_is_a_character_of_a_tsv_and_quotes_a_cell_of_a_csv(tmp_path):
    (tmp_path / "t.tsv").write_text('id\tnote\tage\n1\t"left\t20\n2\tok"\t30\n')
    assert read_table(tmp_path / "t.tsv")["age"].tolist() == [20, 30]
    (tmp_path / "t.csv").write_text('id,note\n1,"a, b"\n')
    assert read_cells(tmp_path / "t.csv", ",").rows == [["1", "a, b"]]


def test_only_n_a_and_empty_cells_are_missing(tmp_path):
    (tmp_path / "t.tsv").write_text("a\tb\tc\n n/a \tNA\t\n1\tnull\t2\n")
    table = read_table(tmp_path / "t.tsv")
    assert table["a"].isna().tolist() == table["c"].isna().tolist() == [True, False]
    assert table["b"].tolist() == ["NA", "null"]


@pytest.mark.parametrize("word", ["x", "nan", "NA", "1,5", "True", "12y"])
def test_a_word_among_numbers_is_named_with_its_line(tmp_path, word):
    (tmp_path / "t.tsv").write_text(f"a\tb\n1\t2\n3\t{word}\n")
    with pytest.raises(InputDataError, match=f"'{word}' in column 'b', line 3"):
        read_numbers(tmp_path / "t.tsv")
    assert read_numbers(tmp_path / "t.tsv", ["a"])["b"].astype(str).tolist()[1] == word


def test_an_infinite_number_is_refused_unless_it_is_allowed(tmp_path):
    (tmp_path / "t.tsv").write_text("a\n1\n-inf\n")
    with pytest.raises(InputDataError, match="'-inf' in column 'a', line 3"):
        read_numbers(tmp_path / "t.tsv")
    assert read_numbers(tmp_path / "t.tsv", finite=False)["a"].tolist() == [1, -math.inf]


def write(path, header, data=DATA):
    rows = ["\t".join(f"{value:.6f}" for value in row) for row in data]
    path.write_text("\n".join(["\t".join(header), *rows]) + "\n")
    return path


def read(path, *regions):
    return read_supplied_series(path, SeriesRegions(*regions), 2.0, standardize=False)


def test_columns_are_assigned_by_name_and_not_by_position(tmp_path):
    path = write(tmp_path / "a.tsv", "CAB", DATA[:, [2, 0, 1]])
    found = read(path, tuple("ABC"))
    assert found.series.labels == tuple("ABC")
    assert found.matched_by == "name"
    np.testing.assert_allclose(found.series.data, DATA, atol=1e-6)


def test_the_names_of_most_tables_are_those_of_all(tmp_path):
    odd = write(tmp_path / "a.tsv", "QRS")
    first, second = write(tmp_path / "b.tsv", "BAC"), write(tmp_path / "c.tsv", "ABC")
    assert shared_regions_of_tables([odd, first, second]).labels == tuple("BAC")


def test_a_damaged_table_leaves_the_names_to_the_others(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"\xff\xfe\x00")
    good = write(tmp_path / "b.tsv", "ABC")
    assert shared_regions_of_tables([tmp_path / "a.tsv", good]).labels == tuple("ABC")


def test_other_names_are_refused_with_those_that_differ(tmp_path):
    path = write(tmp_path / "a.tsv", "ABQ")
    with pytest.raises(InputDataError, match=r"1 missing \(C\); 1 unknown \(Q\)"):
        read(path, tuple("ABC"))


@pytest.mark.parametrize(
    ("header", "matched_by", "places"),
    [
        (("20", "10", "30"), "index", [1, 0, 2]),
        (("0", "1", "2"), "position", [0, 1, 2]),
        (("1", "2", "3"), "position", [0, 1, 2]),
    ],
)
def test_numbered_columns_are_known_by_index_or_by_position(tmp_path, header, matched_by, places):
    found = read(write(tmp_path / "a.tsv", header), tuple("ABC"), (10, 20, 30))
    assert found.matched_by == matched_by
    np.testing.assert_allclose(found.series.data, DATA[:, places], atol=1e-6)


@pytest.mark.parametrize("header", [("3", "1", "2"), ("10", "20", "31")])
def test_numbers_that_are_no_order_are_refused(tmp_path, header):
    with pytest.raises(InputDataError, match="does not have the regions"):
        read(write(tmp_path / "a.tsv", header), tuple("ABC"), (10, 20, 30))


def test_numbered_columns_are_unknown_without_a_table_of_the_atlas(tmp_path):
    with pytest.raises(InputDataError, match=r"3 missing \(A, B, C\); 3 unknown \(1, 2, 3\)"):
        read(write(tmp_path / "a.tsv", "123"), tuple("ABC"))


def test_the_order_is_that_of_the_atlas_where_it_names_the_columns(tmp_path):
    table = tmp_path / "atlas.tsv"
    table.write_text("index\tlabel\n0\tBackground\n5\tC\n7\tA\n9\tB\n")
    found = shared_regions_of_tables([write(tmp_path / "a.tsv", "ABC")], table)
    assert found == SeriesRegions(tuple("CAB"), (5, 7, 9))
    found = shared_regions_of_tables([write(tmp_path / "a.tsv", ("5", "7", "9"))], table)
    assert found == SeriesRegions(tuple("CAB"), (5, 7, 9))
    other = shared_regions_of_tables([write(tmp_path / "a.tsv", "XYZ")], table)
    assert other.labels == tuple("XYZ")  # the names of the tables, never those of the atlas


def test_a_table_without_a_header_is_refused(tmp_path):
    path = write(tmp_path / "a.tsv", ("0.5", "-1.25", "3"))
    with pytest.raises(InputDataError, match=r"numbers in its first row \(0.5, -1.25"):
        shared_regions_of_tables([path])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A\tB\n1\t2\t\n3\t4\t\n", "3 cells in line 2 \\(2 such rows\\).*tab at the end"),
        ("A\tB\n1\t2\n3\tinf\n", "'inf' in column 'B', line 3"),
        ("A\tB\n1\t2\nnan\t4\n", "'nan' in column 'A', line 3"),
        ("A\tB\n1,5\t2\n3\t4\n", "'1,5' in column 'A', line 2"),
    ],
)
def test_cells_that_are_no_numbers_are_named(tmp_path, text, message):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(InputDataError, match=message):
        read(tmp_path / "a.tsv", ("A", "B"))


def test_a_counter_byte_order_mark_and_line_ends_of_windows_are_no_harm(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(
        b"\xef\xbb\xbfindex\tB\tA\r\n0\t1\t2\r\n1\t3\tn/a\r\n\r\n".replace(b"n/a", b"5")
    )
    found = read(path, ("A", "B"))
    np.testing.assert_array_equal(found.series.data, [[2, 1], [5, 3]])


def test_maps_of_any_origin_are_read_as_source_target(map_file, tmp_path):
    first = read_external(map_file)
    np.testing.assert_array_equal(first.matrix, MATRIX)
    np.testing.assert_array_equal(read_external(map_file, rows="target").matrix, MATRIX.T)
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


def _table(**columns):
    rng = np.random.default_rng(0)
    size = len(next(iter(columns.values())))
    numbers = rng.standard_normal(size) * 10.0 ** rng.integers(-20, 20, size)
    return pd.DataFrame({"first": numbers, **columns})


@pytest.mark.parametrize(
    "table",
    [
        _table(b=[0.0, -0.0, math.inf, -math.inf, math.nan]),
        _table(b=["x", "nan", "", "ü", "n/a"], c=[1, -2, 3, 4, 5]),
        _table(b=["x", None, math.nan, "y", "z"]),
        _table(b=["x", 'with "quotes"', "a\tb", "c\nd", "e\rf"]),
        _table(b=[True, False, True, False, True]),
        _table(b=["x", 1.5, None, 2, "z"]),
        _table(b=pd.Categorical(["x", None, "y", "x", "y"])),
        _table(b=np.array([1, 2, 3], dtype=np.float32) / 3),
        _table(b=[1.0]).rename(columns={"b": 'a"b'}),
        _table(b=[1.0]).rename(columns={"b": "first"}),
        _table(b=[1.0])[["b"]],
        _table(b=[1.0]).iloc[:0],
    ],
)
def test_tables_are_written_as_pandas_writes_them(table, tmp_path, monkeypatch):
    monkeypatch.setattr("npi_bids.io.tables._CELLS_AT_ONCE", 4)  # in several parts
    write_table(table, tmp_path / "table.tsv")
    expected = table.to_csv(sep="\t", na_rep="n/a", index=False, float_format="%.9g")
    assert (tmp_path / "table.tsv").read_bytes() == expected.encode()


@pytest.mark.parametrize("labels", [("A", "B"), ('A "left"', "ü")])
def test_matrices_are_written_as_pandas_writes_them(labels, tmp_path):
    matrix = np.array([[math.nan, -0.0], [math.pi * 1e-7, 12345678912.0]])
    write_matrix(ECResult(matrix, labels), tmp_path / "matrix.tsv")
    table = pd.DataFrame({"source": labels, labels[0]: matrix[:, 0], labels[1]: matrix[:, 1]})
    expected = table.to_csv(sep="\t", na_rep="n/a", index=False, float_format="%.9g")
    assert (tmp_path / "matrix.tsv").read_bytes() == expected.encode()
