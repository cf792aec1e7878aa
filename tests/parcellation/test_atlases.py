"""Atlases put together, and the odd ones that labs have."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest

from npi_bids.bids.atlases import atlas_description, locate
from npi_bids.errors import InputDataError
from npi_bids.parcellation.atlases import AtlasRequest, combine, load_atlas, load_file
from npi_bids.parcellation.parcellation import Parcellation, label_image, weights_image
from tests.conftest import tiny_parcellation

ODD = {
    # name: (regions, table that the lab writes beside it; None where there is one)
    "BNA-maxprob-thr0-2mm": 246,
    "MRIcroGL_aal_1mm_RAS": 116,
    "Schaefer_62Parcels_7Networks_AAL3_FSLMNI152_2mm_2_sym": 74,
    "Schaefer_62Parcels_7Networks_order_FSLMNI152_2mm": 62,
    "xcpEngine_aal116MNI": 116,
    "xcpEngine_schaefer100x7MNI": 100,
}


def block(name, corner, size=2, label="X", space="MNI152NLin6Asym", step=4.0):
    data = np.zeros((9, 9, 9), dtype=np.int32)
    x, y, z = corner
    data[x : x + size, y : y + size, z : z + size] = 7
    return Parcellation(name, (label,), (7,), space, label_image(data, np.diag([step] * 3 + [1])))


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
                      weights_image(np.ones((9, 9, 9, 1)), np.eye(4))), "is maps of weights"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(other, words):
    with pytest.raises(InputDataError, match=words):
        combine([tiny_parcellation(), other], "Both")


def test_a_plus_b_on_the_command_line(tmp_path):
    path = tmp_path / "Sub.nii.gz"
    nib.save(block("Sub", (6, 6, 6)).image, path)
    spec = locate(f"Schaefer2018:scale-200+{path}")
    assert spec.entities == {"atlas": "Schaefer2018Sub", "seg": "7Networks", "scale": "200"}
    assert [part.name for part in spec.parts] == ["Schaefer2018", "Sub"]
    assert spec.space == "MNI152NLin6Asym"
    about = atlas_description(spec)
    assert " and Sub" in about["Name"]
    assert len(about["ReferencesAndLinks"]) > 1


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
