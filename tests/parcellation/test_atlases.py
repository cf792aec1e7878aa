"""Atlases by name and from files, atlases put together, and the odd ones that labs have."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest

from npi_bids.errors import InputDataError
from npi_bids.parcellation.atlases import (
    AtlasRequest,
    combine,
    load_atlas,
    load_cached,
    load_file,
    sphere_atlases,
)
from npi_bids.parcellation.parcellation import Parcellation, centres, weights_image
from npi_bids.parcellation.resampling import region_sizes
from tests.conftest import block, tiny_parcellation, write_atlas
from tests.template_archive import ADULT, LINEAR, add_schaefer, add_transform

ODD = {
    # name: (regions, table that the lab writes beside it; None where there is one)
    "BNA-maxprob-thr0-2mm": 246,
    "MRIcroGL_aal_1mm_RAS": 116,
    "Schaefer_62Parcels_7Networks_AAL3_FSLMNI152_2mm_2_sym": 74,
    "Schaefer_62Parcels_7Networks_order_FSLMNI152_2mm": 62,
    "xcpEngine_aal116MNI": 116,
    "xcpEngine_schaefer100x7MNI": 100,
}

TINY = tiny_parcellation()


def test_regions_follow_each_other_and_the_first_keeps_what_both_have():
    first, second = tiny_parcellation(), block("Sub", (3, 3, 1), size=5)
    both = combine([first, second], "TinySub")
    assert both.labels == (*first.labels, "X")
    assert both.values == (1, 2, 3, 4, 5)
    assert both.networks == (*first.networks, "Sub")
    data = both.image.get_fdata()
    own = first.image.get_fdata()
    np.testing.assert_array_equal(data[own > 0], own[own > 0])
    assert 0 < (data == 5).sum() < 125


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (block("Sub", (1, 1, 1)), "covered completely by the first"),
        (block("Sub", (6, 6, 6), label="A"), "names that repeat: A"),
        (block("Sub", (6, 6, 6), space="MNI152NLin2009cAsym"), "expected atlases of one space"),
        (Parcellation("W", ("X",), (1,), "unknown",
                      weights_image(np.ones((9, 9, 9, 1)), np.eye(4))), "is a set of weight maps"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(other, words):
    with pytest.raises(InputDataError, match=words):
        combine([tiny_parcellation(), other], "Both")


def test_schaefer_with_the_real_subcortex(shared_data, monkeypatch):
    monkeypatch.setenv("NILEARN_DATA", str(shared_data / "nilearn_data"))
    cortex = load_atlas(AtlasRequest("Schaefer2018", 100), offline=True)
    path = shared_data / "tian_subcortex" / "Tian_Subcortex_S2_3T.nii.gz"
    both = combine([cortex, load_file(path, AtlasRequest("Tian", path=str(path)))], "Both")
    assert len(both.labels) == 132
    assert both.labels[100] == "aHIP-rh"
    released = (
        "Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S2_MNI152NLin6Asym_2mm.nii.gz"
    )
    theirs = nib.load(shared_data / "tian_subcortex" / "cortex_subcortex" / released).get_fdata()
    ours = both.image.get_fdata()
    turned = np.where(ours > 100, ours - 100, np.where(ours > 0, ours + 32, 0))
    assert np.mean(turned[(theirs > 0) | (ours > 0)] == theirs[(theirs > 0) | (ours > 0)]) > 0.97


@pytest.mark.parametrize(("name", "n_regions"), list(ODD.items()))
def test_odd_atlases_need_a_table_and_then_work(shared_data, tmp_path, name, n_regions):
    """Trailing axes, floats for labels, values that skip: all of them are read."""
    path = tmp_path / f"{name}.nii.gz"
    shutil.copy(shared_data / "custom_atlases" / path.name, path)
    request = AtlasRequest("Odd", path=str(path))
    with pytest.raises(InputDataError, match="has no table of region names beside it; expected"):
        load_file(path, request)
    values = np.unique(nib.load(path).get_fdata()).astype(int)
    rows = [f"{value}\tR{value}" for value in values if value]
    path.with_name(f"{name}.tsv").write_text("index\tname\n" + "\n".join(rows) + "\n")
    atlas = load_file(path, request)
    assert len(atlas.labels) == n_regions
    assert len(atlas.image.shape) == 3
    path.with_name(f"{name}.tsv").write_text("index\tname\n" + "\n".join(rows[:-1]) + "\n")
    with pytest.raises(InputDataError, match="1 value that no region has"):
        load_file(path, request)


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


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Return the folder of TemplateFlow; nilearn's cache is empty."""
    for name in ("NILEARN_DATA", "NILEARN_SHARED_DATA"):
        monkeypatch.setenv(name, str(tmp_path / "nilearn"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "tf"))
    return tmp_path / "tf"


def test_schaefer_in_the_template_of_the_images(caches):
    image = add_schaefer(caches)
    atlas = load_atlas(AtlasRequest("Schaefer2018", 100, space=ADULT), offline=True)
    assert (len(atlas.labels), atlas.labels[0], atlas.networks[0]) == (
        100,
        "LH_SomMot_1",
        "SomMot",
    )
    assert atlas.space == ADULT
    np.testing.assert_array_equal(atlas.image.get_fdata(), image.get_fdata())


def test_a_filled_archive_is_enough_for_the_template_of_nilearn(caches, caplog):
    add_schaefer(caches, LINEAR)
    with caplog.at_level("INFO", "npi_bids"):
        atlas = load_atlas(AtlasRequest("Schaefer2018", 100), offline=True)
    assert (len(atlas.labels), atlas.space) == (100, LINEAR)
    assert "is not in the cache of nilearn and is taken from" in caplog.text
    with pytest.raises(InputDataError, match="not in the cache and --offline"):
        load_atlas(AtlasRequest("Schaefer2018", 200), offline=True)


def test_an_archive_without_the_atlas_says_how_to_fill_it(caches):
    add_schaefer(caches, LINEAR)
    request = AtlasRequest("Schaefer2018", 100, space=ADULT)
    with pytest.raises(InputDataError, match="--offline is set") as caught:
        load_atlas(request, offline=True)
    for words in ("npi-bids-fetch Schaefer2018:seg-7Networks:scale-100:tpl-MNI152NLin2009cAsym",
                  "TEMPLATEFLOW_HOME", "Schaefer2018:tpl-MNI152NLin6Asym"):  # fmt: skip
        assert words in str(caught.value)


def test_an_atlas_is_loaded_and_then_transformed(caches):
    transform = add_transform(caches, LINEAR, ADULT, field=(8, 0, 0))
    own = load_atlas(AtlasRequest("Power2011"), offline=True)
    request = AtlasRequest("Power2011", transform=str(transform), target=ADULT)
    moved = load_atlas(request, offline=True)
    assert moved.space == ADULT
    np.testing.assert_allclose(centres(moved), centres(own) + np.array([8, 0, 0]), atol=0.01)


def test_looking_into_the_cache_leaves_nothing_and_no_barrier(caches, tmp_path):
    """Nilearn takes the first folder of that name, even an empty one."""
    import requests

    send = requests.Session.send
    (tmp_path / "nilearn").mkdir()
    assert load_cached(AtlasRequest("MSDL")) is None
    assert not list((tmp_path / "nilearn").iterdir())
    assert requests.Session.send is send
