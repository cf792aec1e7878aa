import nibabel as nib
import numpy as np
import pytest
from nibabel.cifti2 import Cifti2Image
from nibabel.cifti2.cifti2_axes import BrainModelAxis, LabelAxis

from npi_bids.errors import InputDataError
from npi_bids.images.surface import MESH_VERTICES, on_surface
from npi_bids.reports.figures_network import draw_on_surface


def write_atlas(path, n_vertices=MESH_VERTICES):
    """Write an atlas of two regions a side, without the last hundred vertices (medial wall)."""
    inside = np.arange(n_vertices - 100)
    axis = BrainModelAxis.from_surface(inside, n_vertices, "CortexLeft")
    axis += BrainModelAxis.from_surface(inside, n_vertices, "CortexRight")
    values = np.r_[np.where(inside < 50, 1, 2), np.where(inside < 50, 3, 4)]
    names = {0: ("???", (0, 0, 0, 0)), **{n: (f"R{n}", (0, 0, 0, 1)) for n in (1, 2, 3, 4)}}
    header = LabelAxis(["parcels"], [names]), axis
    nib.save(Cifti2Image(values[None].astype(np.float32), header=header), path)
    return path


def test_each_vertex_has_the_number_of_its_region(tmp_path):
    labels, values = ("R4", "R1", "R3"), np.array([4.0, 1.0, np.nan])
    found = on_surface(write_atlas(tmp_path / "a.dlabel.nii"), labels, values)
    assert found["left"][:50].tolist() == [1.0] * 50
    assert np.isnan(found["left"][50:]).all()  # R2 is not in the map, then the medial wall
    assert np.isnan(found["right"][:50]).all()  # R3 is not covered
    assert found["right"][60] == 4.0
    assert "<svg" in draw_on_surface(found)


def test_other_surfaces_have_no_mesh_here(tmp_path):
    path = write_atlas(tmp_path / "a.dlabel.nii", 32492)
    assert on_surface(path, ("R1",), np.array([1.0])) is None
    (tmp_path / "b.dlabel.nii").write_text("nothing")
    with pytest.raises(InputDataError, match="cannot be read"):
        on_surface(tmp_path / "b.dlabel.nii", ("R1",), np.array([1.0]))
