from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from npi_bids.errors import InputDataError
from npi_bids.parcellation.parcellation import (
    Parcellation,
    centres,
    label_image,
    weights_image,
)
from npi_bids.parcellation.resampling import region_sizes, to_grid, to_template
from tests.conftest import tiny_parcellation
from tests.template_archive import ADULT, LINEAR, add_transform

TINY = tiny_parcellation()


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


@pytest.fixture
def cube():
    """Return an atlas of two single voxels, of which no axis or side is like another."""
    data = np.zeros((12, 14, 16), dtype=np.int32)
    data[7, 4, 9], data[3, 10, 5] = 1, 2
    affine = np.array([[-2.0, 0, 0, 12], [0, 2, 0, -14], [0, 0, 2, -16], [0, 0, 0, 1]])
    return Parcellation("Cube", ("A", "B"), (1, 2), LINEAR, label_image(data, affine))


def test_an_atlas_moves_by_the_inverse_of_the_mapping_of_points(cube, tmp_path):
    """ITK maps points of the new template to the old one, x -> M (x + d) + t, in LPS."""
    matrix, offset = np.diag([1.0, 2.0, 1.0]), np.array([4.0, -6.0, 2.0])
    displacement = np.array([2.0, 4.0, -6.0])
    transform = add_transform(
        tmp_path, LINEAR, ADULT, matrix=matrix, offset=offset, field=displacement
    )
    moved = to_template(cube, transform, ADULT)
    assert (moved.space, moved.labels) == (ADULT, cube.labels)
    flip = np.diag([-1.0, -1.0, 1.0])  # between LPS and RAS
    for label, old in zip((1, 2), centres(cube), strict=True):
        new = flip @ (np.linalg.inv(matrix) @ (flip @ old - offset) - displacement)
        voxel = np.linalg.inv(moved.image.affine) @ [*new, 1]
        index = tuple(np.rint(voxel[:3]).astype(int))
        np.testing.assert_allclose(voxel[:3], index, atol=1e-6)
        assert np.asarray(moved.image.dataobj)[index] == label


def test_maps_are_transformed_one_by_one(cube, tmp_path):
    data = np.asarray(cube.image.dataobj)
    weights = np.stack([data == 1, data == 2], axis=3).astype(np.float32)
    maps = replace(cube, image=weights_image(weights, cube.image.affine))
    transform = add_transform(tmp_path, LINEAR, ADULT, field=(2, 0, 0))
    moved = to_template(maps, transform, ADULT)
    np.testing.assert_allclose(centres(moved), centres(cube) + np.array([2, 0, 0]), atol=0.01)


def test_a_region_that_is_lost_is_named(cube, tmp_path, caplog):
    transform = add_transform(tmp_path, LINEAR, ADULT, matrix=np.diag([0.1, 0.1, 0.1]))
    to_template(cube, transform, ADULT)
    assert "Atlas Cube: 2 regions have no voxel in MNI152NLin2009cAsym (A, B)" in caplog.text


def test_a_damaged_transform_is_refused(cube, tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(InputDataError, match="cannot be read"):
        to_template(cube, path, ADULT)
