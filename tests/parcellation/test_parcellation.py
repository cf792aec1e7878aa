from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from npi_bids.errors import InputDataError
from npi_bids.parcellation.atlases import AtlasRequest, load_atlas, load_file, sphere_atlases
from npi_bids.parcellation.mmp import load_mmp, mmp_labels
from npi_bids.parcellation.parcellation import (
    centres,
    digest,
    label_image,
    read_parcellation,
    save_parcellation,
    weights_image,
)
from npi_bids.parcellation.region_tables import find_table, read_names
from npi_bids.parcellation.resampling import region_sizes, to_grid
from tests.conftest import tiny_parcellation, write_atlas

LOW, HIGH = np.arange(1, 181), np.arange(181, 361)

TINY = tiny_parcellation()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ("A", "B", "C")}, "3 names for 4 values"),
        ({"labels": ("A", "B", "C", "A")}, "repeat: A"),
        ({"values": (1, 2, 4, 3)}, "increasing"),
        ({"values": (0, 1, 2, 3)}, "positive"),
        ({"values": (1, 2, 3, 9)}, r"1 value that no region has \(4\)"),
        ({"networks": ("one",)}, "1 networks for 4 regions"),
        ({"image": label_image(np.zeros((2, 2)), np.eye(4))}, r"shape \(2, 2\)"),
        ({"image": weights_image(np.zeros((2, 2, 2, 3)), np.eye(4))}, "3 maps for 4 names"),
    ],
)
def test_an_atlas_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(InputDataError, match=message):
        replace(TINY, **change)


def test_values_that_are_not_whole_are_refused():
    image = nib.Nifti1Image(np.full((2, 2, 2), 0.5, dtype=np.float32), np.eye(4))
    with pytest.raises(InputDataError, match="not whole numbers"):
        replace(TINY, image=image)


def test_parcellation_survives_the_disk(tmp_path):
    save_parcellation(TINY, tmp_path / "a")
    back = read_parcellation(tmp_path / "a")
    assert (back.labels, back.values, back.space) == (TINY.labels, TINY.values, TINY.space)
    assert back.networks == TINY.networks
    assert digest(back) == digest(TINY)


def test_a_parcellation_that_is_there_is_kept(tmp_path):
    save_parcellation(TINY, tmp_path / "a")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    save_parcellation(TINY, tmp_path / "a")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()} == before
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_digest_follows_names_and_image():
    renamed = replace(TINY, labels=("A", "B", "C", "X"))
    moved = replace(TINY, image=label_image(TINY.image.get_fdata(), 2 * np.eye(4)))
    assert len({digest(p) for p in (TINY, renamed, moved)}) == 3


def test_centres_are_in_mm():
    np.testing.assert_allclose(centres(TINY)[:2], [[8, 8, 8], [8, 20, 8]])


def test_a_lost_region_has_no_size():
    shifted = np.diag([4.0, 4, 4, 1])
    shifted[2, 3] = 1000
    far = to_grid(TINY, nib.Nifti1Image(np.zeros((9, 9, 9), dtype=np.uint8), shifted))
    np.testing.assert_array_equal(region_sizes(far, TINY), 0)


def test_labels_are_resampled_by_nearest_neighbour():
    fine = nib.Nifti1Image(np.zeros((18, 18, 18), dtype=np.uint8), np.diag([2.0, 2, 2, 1]))
    resampled = to_grid(TINY, fine)
    assert set(np.unique(resampled.get_fdata())) == {0, 1, 2, 3, 4}
    sizes = region_sizes(resampled, TINY)
    assert (sizes > 27 * 4).all()


@pytest.mark.parametrize("name", sphere_atlases())
def test_spheres_need_no_download(name, monkeypatch, tmp_path):
    monkeypatch.setenv("NILEARN_DATA", str(tmp_path))
    atlas = load_atlas(AtlasRequest(name), offline=True)
    assert len(atlas.labels) == {"Dosenbach2010": 160, "Power2011": 264, "Seitzman2018": 300}[name]
    assert not list(tmp_path.iterdir())
    sizes = region_sizes(atlas.image, atlas)
    assert (sizes > 0).all()


def test_sphere_lies_at_its_coordinates():
    atlas = load_atlas(AtlasRequest("Power2011"), offline=True)
    np.testing.assert_allclose(centres(atlas)[0], [-25, -98, -12], atol=2)


def test_missing_atlas_offline_says_how_to_prefetch(monkeypatch, tmp_path):
    for name in ("NILEARN_DATA", "NILEARN_SHARED_DATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    request = AtlasRequest("Schaefer2018", n_regions=100)
    with pytest.raises(
        InputDataError, match="npi-bids-fetch Schaefer2018:seg-7Networks:scale-100"
    ):
        load_atlas(request, offline=True)


def test_failed_download_says_what_to_do_and_leaves_no_folder(monkeypatch, tmp_path):
    def fail(*words, **_):
        folder = words[3] if len(words) == 4 else tmp_path / "schaefer_2018"
        folder.mkdir(parents=True)
        raise ConnectionError("no route")

    for name in ("NILEARN_DATA", "NILEARN_SHARED_DATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("nilearn.datasets.fetch_atlas_schaefer_2018", fail)
    monkeypatch.setattr("pooch.retrieve", fail)
    for request in (AtlasRequest("Schaefer2018", n_regions=100), AtlasRequest("MMP")):
        with pytest.raises(InputDataError, match="no route"):
            load_atlas(request, offline=False)
        assert not [path for path in tmp_path.rglob("*") if path.is_dir()]


@pytest.mark.parametrize(
    ("request_", "n_regions", "first", "space"),
    [
        (AtlasRequest("Schaefer2018", 100), 100, "LH_Vis_1", "MNI152NLin6Asym"),
        (AtlasRequest("AAL"), 116, "Precentral_L", "MNIColin27"),
        (AtlasRequest("MSDL"), 39, "L Aud", "MNI152NLin6Asym"),
    ],
)
def test_named_atlases_from_the_cache(shared_data, monkeypatch, request_, n_regions, first, space):
    monkeypatch.setenv("NILEARN_DATA", str(shared_data / "nilearn_data"))
    atlas = load_atlas(request_, offline=True)
    assert (len(atlas.labels), atlas.labels[0], atlas.space) == (n_regions, first, space)


@pytest.mark.parametrize(
    "name", ["MNI_Glasser_HCP_v1.0.nii.gz", "xcpEngine_glasser360MNI_2mm.nii.gz"]
)
def test_every_numbering_of_the_mmp_puts_the_left_side_first(shared_data, name):
    atlas = load_mmp(shared_data / "hcp_mmp1_volumetric" / name)
    x = centres(atlas)[:, 0]
    assert atlas.labels[:2] == ("L_V1", "L_MST")
    assert atlas.labels[180] == "R_V1"
    assert (x[:180] < 2).all()
    assert (x[180:] > -2).all()


def synthetic_mmp(tmp_path, values):
    """Write 360 voxels, the first 180 of ``values`` on the left."""
    data = np.zeros((2, 180, 1), dtype=np.int32)
    data[0, :, 0], data[1, :, 0] = values[:180], values[180:]
    affine = np.eye(4)
    affine[0, 3] = -0.5
    path = tmp_path / "glasser.nii.gz"
    nib.save(label_image(data, affine), path)
    return path


@pytest.mark.parametrize("values", [[LOW, HIGH], [HIGH, LOW], [LOW, LOW + 1000]])
def test_renumbered_mmp_keeps_each_area_in_its_place(tmp_path, values):
    data = load_mmp(synthetic_mmp(tmp_path, np.concatenate(values))).image.get_fdata()
    np.testing.assert_array_equal(data[0, :, 0], LOW)
    np.testing.assert_array_equal(data[1, :, 0], HIGH)


def test_mmp_with_merged_hemispheres_is_refused(shared_data):
    path = next((shared_data / "hcp_mmp1_volumetric").glob("neuroparc*2mm.nii.gz"))
    with pytest.raises(InputDataError, match="share their numbers"):
        load_mmp(path)


def test_mmp_names_are_unique():
    assert len(set(mmp_labels())) == 360


def test_own_atlas_takes_names_and_networks_from_its_table(tmp_path):
    path = write_atlas(tmp_path, TINY)
    atlas = load_file(path, AtlasRequest("Tiny", path=str(path)))
    assert (atlas.labels, atlas.values, atlas.networks) == (
        TINY.labels,
        TINY.values,
        TINY.networks,
    )


def test_own_atlas_without_names_is_refused(tmp_path):
    path = write_atlas(tmp_path, TINY)
    path.with_name(path.name.replace(".nii.gz", ".tsv")).unlink()
    with pytest.raises(
        InputDataError, match=r"no table of region names beside it; expected .*tsv"
    ):
        load_file(path, AtlasRequest("Tiny", path=str(path)))


def test_unreadable_atlas_is_refused(tmp_path):
    path = write_atlas(tmp_path, TINY)
    path.write_bytes(b"nothing")
    with pytest.raises(InputDataError, match="cannot be read as an image"):
        load_file(path, AtlasRequest("Tiny", path=str(path)))


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


def test_maps_are_numbered_by_their_place_in_the_image(tmp_path):
    weights = np.random.default_rng(0).random((4, 4, 4, 3)).astype(np.float32)
    path = tmp_path / "atlas-Maps_dseg.nii.gz"
    nib.save(nib.Nifti1Image(weights, np.eye(4)), path)
    table = path.with_name("atlas-Maps_dseg.tsv")
    table.write_text("index\tname\n10\tA\n3\tB\n5\tC\n")
    with pytest.raises(InputDataError, match=r"numbers them 3, 5, 10 ...; expected 1 to 3"):
        load_file(path, AtlasRequest("Maps", path=str(path)))
    table.write_text("index\tname\n2\tA\n1\tB\n3\tC\n")
    assert load_file(path, AtlasRequest("Maps", path=str(path))).labels == ("B", "A", "C")


@pytest.mark.parametrize("first", ["Unknown", "???", "Medial_Wall"])
def test_names_without_an_index_never_move_by_one(tmp_path, first):
    data = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    path = tmp_path / "atlas-X_dseg.nii.gz"
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    names = [f"R{number}" for number in range(1, 8)]
    table = path.with_name("atlas-X_dseg.txt")
    table.write_text("\n".join([first, *names]) + "\n")
    with pytest.raises(InputDataError, match="7 values but its list has 8 names"):
        load_file(path, AtlasRequest("X", path=str(path)))
    table.write_text("\n".join(["Background", *names]) + "\n")
    assert load_file(path, AtlasRequest("X", path=str(path))).labels == tuple(names)


@pytest.mark.parametrize("name", ["n/a", "", "A\tB", "A\nB", " A"])
def test_a_name_that_no_table_can_hold_is_refused_before_the_fit(name):
    with pytest.raises(InputDataError, match="calls region 2"):
        replace(tiny_parcellation(), labels=("A", name, "C", "D"))
