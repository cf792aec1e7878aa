import numpy as np
import pytest

from npi_bids.errors import InputDataError
from npi_bids.io.given import SeriesRegions, read_given, shared_regions_of_tables

DATA = np.random.default_rng(0).standard_normal((30, 3)).cumsum(axis=0)


def write(path, header, data=DATA):
    rows = ["\t".join(f"{value:.6f}" for value in row) for row in data]
    path.write_text("\n".join(["\t".join(header), *rows]) + "\n")
    return path


def read(path, *regions):
    return read_given(path, SeriesRegions(*regions), 2.0, standardize=False)


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
    with pytest.raises(InputDataError, match="does not show the regions"):
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
