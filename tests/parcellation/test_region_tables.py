from __future__ import annotations

import pytest

from npi_bids.errors import InputDataError
from npi_bids.parcellation.region_tables import find_table, read_names


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "index\tname\n0\tBackground\n2\tB\n1\tA\n"),
        ("a.csv", "value,label\n1,A\n2,B\n"),
        ("a.txt", "1\tA\t10\t20\t30\t0\n2\tB\t1\t2\t3\t0\n"),
        ("a.txt", "# a comment\nA\nB\n"),
        ("a.lut", "1 A 0 0 0\n2 B 0 0 0\n"),
    ],
)
def test_tables_of_names_in_the_formats_that_lie_about(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    table = read_names(tmp_path / name)
    assert list(table["index"]) == [1, 2]
    assert list(table["name"]) == ["A", "B"]


def test_table_is_found_without_the_resolution(tmp_path):
    image = tmp_path / "tpl-X_atlas-Y_res-2_dseg.nii.gz"
    (tmp_path / "tpl-X_atlas-Y_dseg.tsv").write_text("index\tname\n1\tA\n")
    assert find_table(image).name == "tpl-X_atlas-Y_dseg.tsv"


@pytest.mark.parametrize(
    "text", ["index\tname\n", "index\tcolour\n1\tred\n", "index\tname\nx\tA\n"]
)
def test_a_table_that_names_nothing_is_refused(tmp_path, text):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(InputDataError):
        read_names(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("a.tsv", "name\nBackground\nA\nB\n", ["A", "B"]),
        ("a.csv", 'index,label\n0,Background\n1,"Pole, left"\n2,B\n', ["Pole, left", "B"]),
        ("a.txt", "Background\nFrontal Pole\nB\n", ["Frontal Pole", "B"]),
        ("a.lut", "0 Background 0 0 0 0\n1 Frontal Pole 9 8 7 0\n2 Area 2 1 1 1 0\n",
         ["Frontal Pole", "Area 2"]),
        ("a.lut", "1 Area 44\n2 Area 45\n", ["Area 44", "Area 45"]),
        ("a.txt", '1 255 0 0 1 1 1 "Frontal Pole"\n2 0 255 0 1 1 1 "B"\n', ["Frontal Pole", "B"]),
    ],
)  # fmt: skip
def test_names_of_regions_are_whole_and_the_background_is_none(tmp_path, name, text, names):
    (tmp_path / name).write_text(text)
    table = read_names(tmp_path / name)
    assert list(table["name"]) == names
    assert list(table["index"]) == [1, 2]


@pytest.mark.parametrize("index", ["2.5", "n/a", "x"])
def test_a_look_up_table_with_one_damaged_index_is_no_list_of_names(tmp_path, index):
    (tmp_path / "a.lut").write_text(f"1 Frontal Pole 9 8 7 0\n{index} Area 44 1 1 1 0\n")
    with pytest.raises(InputDataError, match="Area 44"):
        read_names(tmp_path / "a.lut")


def test_a_background_with_the_index_of_a_region_moves_no_name(tmp_path):
    (tmp_path / "a.tsv").write_text("index\tname\n2\tB\n0\tBackground\n1\tA\n")
    assert list(read_names(tmp_path / "a.tsv")["name"]) == ["A", "B"]


def test_a_table_is_inherited_by_the_images_that_have_its_entities(tmp_path):
    folder = tmp_path / "tpl-X" / "anat"
    folder.mkdir(parents=True)
    image = folder / "tpl-X_atlas-Foo_seg-7_res-2_dseg.nii.gz"
    for name in ("atlas-Bar_dseg.tsv", "atlas-Foo_seg-17_dseg.tsv", "dseg.tsv"):
        (tmp_path / name).touch()
    with pytest.raises(InputDataError, match="no table of region names beside it"):
        find_table(image)
    own = tmp_path / "atlas-Foo_dseg.tsv"
    own.touch()
    assert find_table(image) == own
    closer = tmp_path / "atlas-Foo_seg-7_dseg.tsv"  # more of its entities
    closer.touch()
    assert find_table(image) == closer
    (folder / "atlas-Foo_dseg.tsv").touch()  # a closer folder
    assert find_table(image) == folder / "atlas-Foo_dseg.tsv"


def test_no_table_is_inherited_from_outside_the_dataset(tmp_path):
    (tmp_path / "atlas-Foo_dseg.tsv").touch()
    root = tmp_path / "tpl-data"
    root.mkdir()
    (root / "dataset_description.json").write_text("{}")
    with pytest.raises(InputDataError):
        find_table(root / "atlas-Foo_res-2_dseg.nii.gz")
