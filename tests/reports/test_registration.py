"""The check of registration: outlines where regions are, on the mean of a run."""

import base64
import io
import re

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from npi_bids.parcellation.mean_volume import MeanOfVolumes, write_mean
from npi_bids.parcellation.resampling import Grid
from npi_bids.reports import figures_slices
from tests.reports.markup import check

AFFINE = np.diag([2.0, 2, 2, 1])
AFFINE[:3, 3] = (-90, -126, -72)


@pytest.fixture
def files(tmp_path):
    """Write a mean and an atlas of two cubes: one on the left, one on the right."""
    atlas = np.zeros((91, 109, 91), dtype=np.int16)
    atlas[20:30, 50:70, 35:60] = 5  # left: small x
    atlas[60:70, 50:70, 35:60] = 7
    nib.save(nib.Nifti1Image(atlas, AFFINE), tmp_path / "atlas.nii.gz")
    nib.save(nib.Nifti1Image((atlas > 0).astype(np.uint8) * 200, AFFINE), tmp_path / "mean.nii.gz")
    return tmp_path / "mean.nii.gz", tmp_path / "atlas.nii.gz"


def pictures(svg):
    found = re.findall(r"base64,([^\"]+)", svg)
    images = [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]
    return [np.asarray(one.convert("RGBA") if one.mode == "P" else one) for one in images]


def test_outlines_surround_regions_and_tell_which_are_covered(files):
    svg = figures_slices.draw_registration(*files, np.array([5, 7]), np.array([True, False]))
    check(svg)
    _, bold, outlines = pictures(svg)
    drawn = outlines[..., 3] > 0
    assert 0.002 < drawn.mean() < 0.1
    first = drawn[:182, 2 * 184 : 3 * 184]  # the third axial slice
    columns = np.flatnonzero(first.any(axis=0))
    orange = (outlines[:182, 2 * 184 : 3 * 184, 0] > 200) & first
    assert np.flatnonzero(orange.any(axis=0)).min() > 92  # the one not covered is on the right
    assert columns.min() < 92
    # Bright voxels of the run lie within the outlines.
    _, bright = np.nonzero(bold[:182, 2 * 184 : 3 * 184] > 150)
    assert columns.min() - 2 <= bright.min() < bright.max() <= columns.max() + 2


def test_a_slice_has_left_on_the_left_and_the_front_above(files):
    _, atlas = files
    image = nib.load(atlas)
    slice_ = figures_slices.sample_slice(image, 10.0, order=0)
    assert np.nonzero(slice_ == 5)[1].mean() < np.nonzero(slice_ == 7)[1].mean()
    front = np.zeros((91, 109, 91), dtype=np.int16)
    front[40:50, 95:105, 35:60] = 1
    ahead = figures_slices.sample_slice(nib.Nifti1Image(front, AFFINE), 10.0, order=0)
    assert np.nonzero(ahead)[0].mean() < 0.3 * len(ahead)


def test_the_mean_of_a_run_is_that_of_its_blocks_of_voxels(tmp_path):
    rng = np.random.default_rng(0)
    volumes = rng.uniform(10, 20, (40, 6, 4, 4))
    volumes[:, :2] = 100.0
    mean = MeanOfVolumes(40, Grid((6, 4, 4), AFFINE))
    for number, volume in enumerate(volumes):
        mean.add(number, volume.ravel(order="F"))
    found = mean.finish()
    assert found.data.shape == (3, 2, 2)
    assert found.data[0].min() > 2 * found.data[1:].max()
    # The first block holds voxels 0 and 1: its centre lies between them.
    assert found.affine[:3, 3] == pytest.approx(AFFINE[:3, 3] + 1)
    assert np.linalg.norm(found.affine[:3, :3], axis=0) == pytest.approx([4, 4, 4])
    write_mean(found, tmp_path / "mean.nii.gz")
    first = (tmp_path / "mean.nii.gz").read_bytes()
    write_mean(found, tmp_path / "mean.nii.gz")
    assert (tmp_path / "mean.nii.gz").read_bytes() == first
    assert np.array_equal(nib.load(tmp_path / "mean.nii.gz").dataobj, found.data)


def test_values_that_are_not_finite_do_not_spoil_the_mean():
    mean = MeanOfVolumes(4, Grid((2, 2, 2), AFFINE))
    for number in range(4):
        volume = np.full(8, 5.0)
        volume[number] = np.nan
        mean.add(number, volume)
    assert np.isfinite(mean.finish().data).all()
    assert mean.finish().data.max() > 0
