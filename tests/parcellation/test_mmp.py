from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from npi_bids.errors import InputDataError
from npi_bids.parcellation.mmp import load_mmp, mmp_labels
from npi_bids.parcellation.parcellation import centres, label_image

LOW, HIGH = np.arange(1, 181), np.arange(181, 361)


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
