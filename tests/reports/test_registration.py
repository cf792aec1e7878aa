"""The check of registration: outlines where regions are, on the mean of a run."""

import base64
import io
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2.cifti2_axes import BrainModelAxis
from PIL import Image

from npi_bids.bids.derivatives import sibling
from npi_bids.io.region_tables import Regions
from npi_bids.parcellation.cifti import MESH_VERTICES
from npi_bids.parcellation.mean_volume import MeanOfVolumes, write_mean
from npi_bids.parcellation.resampling import Grid
from npi_bids.reports import figures_slices
from npi_bids.reports.registration import RegistrationCheck
from tests.greyordinates import LEFT, RIGHT, write_labels
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


@pytest.fixture
def native(tmp_path):
    """Write a run and its atlas in a space of their own, turned and far from that of MNI."""
    turn = np.array([[0.98, -0.2, 0, 0], [0.2, 0.98, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    affine = turn @ np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = (150, -400, 220)
    head = np.zeros((40, 40, 40), dtype=np.uint8)
    head[5:35, 5:35, 5:35] = 120
    head[8:14, 10:30, 10:30] = 240  # on the left: small x
    labels = np.where(head == 240, 3, 0).astype(np.int16)
    nib.save(nib.Nifti1Image(head, affine), tmp_path / "mean.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "tpl-T1w_atlas-One_res-3_dseg.nii.gz")
    table = tmp_path / "tpl-T1w_atlas-One_dseg.tsv"
    table.write_text("index\tname\n3\tleft\n")
    return tmp_path / "mean.nii.gz", Regions(table, ("left",))


def test_a_run_in_its_own_space_is_shown_whole_and_without_a_template(native):
    mean, regions = native
    atlas = regions.path.parent / "tpl-T1w_atlas-One_res-3_dseg.nii.gz"
    svg = figures_slices.draw_registration(
        mean, atlas, np.array([3]), np.array([True]), in_template=False
    )
    check(svg)
    bold, outlines = pictures(svg)  # and no template
    assert "flicker-over" not in svg.partition("</style>")[2]
    drawn = outlines[..., 3] > 0
    assert drawn.any()
    view = figures_slices.find_field_of_view(nib.load(mean))
    width = len(np.arange(view.low[0], view.high[0]))
    height = len(np.arange(view.low[1], view.high[1]))
    middle = np.s_[:height, 3 * width : 4 * width]  # an axial slice through the region
    rows, columns = np.nonzero(bold[middle] > 230)
    edge_rows, edge_columns = np.nonzero(drawn[middle])
    assert edge_columns.min() - 4 <= columns.min() <= columns.max() <= edge_columns.max() + 4
    assert edge_rows.min() - 4 <= rows.min() <= rows.max() <= edge_rows.max() + 4
    assert columns.mean() < 0.4 * width  # left is left


def test_a_head_without_signal_is_shown_whole():
    view = figures_slices.find_field_of_view(nib.Nifti1Image(np.zeros((9, 9, 9)), AFFINE))
    assert view.low[0] < -90
    assert view.high[0] > -90 + 16


class TestExplanation:
    """The page says what is shown, and why no more."""

    @staticmethod
    def explain(regions, runs=(), space="T1w", coverage=1.0, names=("left",)):
        table = pd.DataFrame({"name": names, "coverage": coverage})
        return RegistrationCheck(regions, runs, space, [table])

    @staticmethod
    def run(folder, *, with_mean=True):
        series = folder / "sub-1" / "func" / "sub-1_task-rest_desc-simple_timeseries.tsv"
        if with_mean:
            mean = sibling(series, "timeseries", "mean")
            mean.parent.mkdir(parents=True)
            mean.write_bytes((folder / "mean.nii.gz").read_bytes())
        return series, Lost()

    def test_of_a_run_in_its_own_space(self, native):
        mean, regions = native
        found = self.explain(regions, [self.run(mean.parent)], coverage=0.8)
        (figure,) = found.figures()
        assert "no template to compare with" in figure.caption
        assert "in its own space (T1w)" in found.explain()
        assert "left 80%" in found.explain()

    def test_of_a_run_whose_mean_is_not_there(self, native):
        mean, regions = native
        found = self.explain(regions, [self.run(mean.parent, with_mean=False)])
        assert found.figures() == []
        assert "1 run has no mean volume in the output dataset" in found.explain()

    def test_of_regional_series(self, native):
        found = self.explain(native[1], coverage=np.nan)
        assert found.explain().startswith("Not shown: the input was regional series")

    def test_of_a_probabilistic_atlas(self, tmp_path):
        table = tmp_path / "tpl-MNI152NLin6Asym_atlas-MSDL_dseg.tsv"
        table.write_text("index\tname\n1\tleft\n")
        (tmp_path / "tpl-MNI152NLin6Asym_atlas-MSDL_res-3_probseg.nii.gz").write_bytes(b"")
        found = self.explain(Regions(table, ("left",)))
        assert "its regions are probabilistic" in found.explain()
        assert found.figures() == []

    @pytest.mark.parametrize(("n_vertices", "is_drawn"), [(MESH_VERTICES, True), (20, False)])
    def test_of_greyordinates(self, tmp_path, n_vertices, is_drawn):
        models = BrainModelAxis.from_surface(np.arange(n_vertices), n_vertices, LEFT)
        models += BrainModelAxis.from_surface(np.arange(n_vertices), n_vertices, RIGHT)
        values = np.repeat([1, 2], n_vertices)
        write_labels(tmp_path / "tpl-S_atlas-G_den-1k_dseg.dlabel.nii", models, values,
                     {1: "left", 2: "right"})  # fmt: skip
        table = tmp_path / "tpl-S_atlas-G_dseg.tsv"
        table.write_text("index\tname\n1\tleft\n2\tright\n")
        regions = Regions(table, ("left", "right"))
        found = self.explain(regions, coverage=[1.0, 0.6], names=("left", "right"))
        assert "have no volume to draw outlines on" in found.explain()
        assert "right 60%" in found.explain()
        assert len(found.figures()) == is_drawn
        assert ("is not drawn, because the mesh" in found.explain()) is not is_drawn


class Lost:
    """A sidecar of a run in which all regions are covered."""

    regions_not_covered = ()
