"""Regions of atlases on the cortex: left stays left, and what is not cortex is not drawn on it."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest
from nibabel.cifti2.cifti2_axes import BrainModelAxis
from nibabel.gifti import GiftiDataArray, GiftiImage
from scipy.spatial import ConvexHull, cKDTree

from npi_bids.io.region_tables import Regions
from npi_bids.parcellation import fsaverage, meshes
from npi_bids.parcellation.cifti import MESH_VERTICES
from npi_bids.parcellation.meshes import FSLR_VERTICES, SIDES, fslr_name
from npi_bids.reports import brain_figures, cortex
from npi_bids.reports.cortex import CortexView, RegionLayer
from tests.greyordinates import LEFT, RIGHT, write_labels
from tests.reports.markup import check
from tests.template_archive import add_file

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
              for side in SIDES]  # fmt: skip
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


@pytest.fixture(scope="module")
def sphere():
    """Return vertices and triangles of a sphere with as many vertices as fsLR 32k."""
    k = np.arange(FSLR_VERTICES) + 0.5
    height, angle = 1 - 2 * k / FSLR_VERTICES, np.pi * (1 + 5**0.5) * k
    around = np.sqrt(1 - height**2)
    points = 100 * np.column_stack([around * np.cos(angle), around * np.sin(angle), height])
    return points, ConvexHull(points).simplices


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Let an empty folder be TemplateFlow's archive."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "templateflow"))
    return tmp_path / "templateflow"


@pytest.fixture
def grey_regions(tmp_path, sphere):
    """Write an atlas of fsLR: one region in front on the left, one at the back on the right."""
    points, _ = sphere
    stem = tmp_path / "tpl-fsLR_atlas-Two"
    vertices = np.arange(FSLR_VERTICES)
    models = BrainModelAxis.from_surface(vertices, FSLR_VERTICES, LEFT)
    models += BrainModelAxis.from_surface(vertices, FSLR_VERTICES, RIGHT)
    values = np.r_[points[:, 1] > 60, 2 * (points[:, 1] < -60)]
    write_labels(f"{stem}_den-65k_dseg.dlabel.nii", models, values, {1: "front", 2: "back"})
    table = tmp_path / f"{stem.name}_dseg.tsv"
    table.write_text("index\tname\n1\tfront\n2\tback\n")
    return Regions(table, ("back", "front"))


def write_fslr(archive, sphere, sides=SIDES):
    for side in sides:
        points, triangles = sphere
        surface = GiftiImage(darrays=[
            GiftiDataArray(points.astype(np.float32), intent="NIFTI_INTENT_POINTSET"),
            GiftiDataArray(triangles.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE"),
        ])  # fmt: skip
        nib.save(surface, add_file(archive, "fsLR", fslr_name(side)))


def test_greyordinates_are_drawn_on_fslr_where_templateflow_has_it(archive, sphere, grey_regions):
    write_fslr(archive, sphere)
    vertices = brain_figures.place_on_cortex(grey_regions)
    assert len(vertices) == 2 * FSLR_VERTICES
    picture, _, _ = cortex.lay_out(vertices)
    lateral = picture[: cortex.HEIGHT]
    # By the order of the map, back is 1 and front 2; each is at the outer or the inner end.
    front, back = (np.flatnonzero((lateral == region).any(axis=0)) for region in (2, 1))
    assert front.max() < cortex.WIDTH < back.min()
    assert front.mean() < 0.4 * cortex.WIDTH
    assert back.mean() < 1.6 * cortex.WIDTH
    assert brain_figures.name_mesh(vertices) == "the inflated cortex (fsLR 32k)"


@pytest.mark.parametrize("damage", ["absent", "one hemisphere", "empty", "cut", "another mesh"])
def test_without_fslr_it_is_said_why_nothing_is_drawn(archive, sphere, grey_regions, damage):
    if damage != "absent":
        write_fslr(archive, sphere, SIDES[: 1 if damage == "one hemisphere" else 2])
    path = add_file(archive, "fsLR", fslr_name("right"))
    if damage == "empty":  # a placeholder of what is not downloaded
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "another mesh":
        path.write_bytes(gzip.decompress(meshes.nilearn_surface("infl_left").read_bytes()))
    assert brain_figures.place_on_cortex(grey_regions) is None
    assert "tpl-fsLR_den-32k_hemi-L_inflated.surf.gii" in brain_figures.why_not_drawn(grey_regions)
