"""Regions of atlases on the cortex: left stays left, and what is not cortex is not drawn on it."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial import cKDTree

from npi_bids.parcellation import fsaverage
from npi_bids.parcellation.cifti import MESH_VERTICES
from npi_bids.reports import cortex
from npi_bids.reports.cortex import CortexView, RegionLayer
from tests.reports.markup import check

AFFINE = np.diag([4.0, 4, 4, 1])
AFFINE[:3, 3] = (-80, -120, -60)
PLACES = ("left", "right", "front", "thalamus")


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """Write an atlas: cortex of each side and of the front, and a block in the middle."""
    path = tmp_path_factory.mktemp("atlas") / "tpl-MNI_dseg.nii.gz"
    grid = np.indices((41, 50, 40)).reshape(3, -1).T
    x, y, z = (grid @ AFFINE[:3, :3].T + AFFINE[:3, 3]).T
    data = np.zeros(len(grid), dtype=np.int16)
    data[(x < -30) & (abs(y) < 40)] = 10
    data[(x > 30) & (abs(y) < 40)] = 20
    data[y > 50] = 30
    sheets = [fsaverage.read_mesh(kind, side)[0] for kind in ("white", "pial")
              for side in fsaverage.SIDES]  # fmt: skip
    distance, _ = cKDTree(np.concatenate(sheets)).query(np.column_stack([x, y, z]))
    data[distance > 4] = 0
    data[(abs(x) < 12) & (y > -25) & (y < -5) & (z > 2) & (z < 14)] = 40
    nib.save(nib.Nifti1Image(data.reshape(41, 50, 40), AFFINE), path)
    return path


def test_each_vertex_has_the_region_that_it_lies_in(volume):
    regions = fsaverage.project_volume(volume, (10, 20, 30, 40))
    left, right = regions[:MESH_VERTICES], regions[MESH_VERTICES:]
    assert (left == 1).sum() > 1000
    assert (right == 2).sum() > 1000
    assert not (right == 1).any()
    assert not (left == 2).any()
    points = fsaverage.read_mesh("pial", "left")[0]
    assert points[left == 3, 1].min() > 40  # the frontal pole is in front
    assert not (regions == 4).any()  # the thalamus is not cortex


def test_regions_follow_their_values_and_not_their_order(volume):
    swapped = fsaverage.project_volume(volume, (20, 10, 30, 40))
    assert (swapped[:MESH_VERTICES] == 2).sum() > 1000
    assert not (swapped[:MESH_VERTICES] == 1).any()


def test_the_front_of_the_brain_is_at_the_outer_end_of_a_lateral_view(volume):
    """A left hemisphere from its side looks to the left, a right one to the right."""
    regions = fsaverage.project_volume(volume, (10, 20, 30, 40))
    picture, shade, places = cortex.lay_out(regions)
    assert [name for name, *_ in places] == [
        "left, lateral", "right, lateral", "left, medial", "right, medial",
    ]  # fmt: skip
    front = np.flatnonzero((picture[: cortex.HEIGHT] == 3).any(axis=0))
    left, right = front[front < cortex.WIDTH], front[front >= cortex.WIDTH]
    assert left.mean() < 0.3 * cortex.WIDTH
    assert right.mean() > 1.7 * cortex.WIDTH
    assert not (picture[shade == 0]).any()


def test_a_page_holds_the_picture_and_the_values():
    regions = np.repeat([1, 2], MESH_VERTICES)
    layer = RegionLayer("out-strength", "Out-strength", np.array([0.5, np.nan]))
    view = CortexView("c", ("</script>", "B"), (), regions, [layer])
    assert "</script>" not in view.data
    content = json.loads(view.data)
    assert content["layers"][0]["values"] == [0.5, None]
    assert content["layers"][0]["limit"] == 0.5
    assert len(view.data) < 200_000
    check(cortex.draw_cortex(regions, layer))
