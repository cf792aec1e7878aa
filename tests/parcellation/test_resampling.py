from __future__ import annotations

import nibabel as nib
import numpy as np

from npi_bids.parcellation.resampling import region_sizes, to_grid
from tests.conftest import tiny_parcellation

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
