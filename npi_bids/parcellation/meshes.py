"""Meshes of the cortex: fsaverage5, which nilearn has in its wheel, and fsLR from TemplateFlow."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import InputDataError
from npi_bids.io.images import read_gifti
from npi_bids.parcellation.cifti import MESH_VERTICES
from npi_bids.parcellation.template_archive import find_template_file
from npi_bids.records import Array

SIDES = ("left", "right")
FSLR_VERTICES = 32492  # per hemisphere of fsLR 32k, the surface of CIFTI files of 91k
# Shapes of fsLR that TemplateFlow may hold, the one that shows most of the cortex first.
_SHAPES = ("inflated", "veryinflated", "midthickness")
_HEMISPHERES = dict(zip(SIDES, "LR", strict=True))

_logger = logging.getLogger(__name__)

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mesh:
    """Both hemispheres of a surface.

    Attributes
    ----------
    name
        Surface and shape, for captions.
    n_vertices
        Vertices per hemisphere.
    left, right
        GIFTI files of the hemispheres.
    """

    name: str
    n_vertices: int
    left: Path
    right: Path

    def read(self, side: str) -> tuple[Array, Numbers]:
        """Return the vertices (mm) and the triangles of one hemisphere."""
        return read_surface(self.left if side == "left" else self.right)


def find_mesh(n_vertices: int) -> Mesh | None:
    """Return the mesh with so many vertices per hemisphere, if it is on this computer.

    Nothing is downloaded: fsLR is used where it is in the archive of TemplateFlow.
    """
    if n_vertices == MESH_VERTICES:
        left, right = (nilearn_surface(f"infl_{side}") for side in SIDES)
        return Mesh("the inflated cortex (fsaverage5)", n_vertices, left, right)
    return _find_fslr() if n_vertices == FSLR_VERTICES else None


def _find_fslr() -> Mesh | None:
    for shape in _SHAPES:
        files = [find_template_file("fsLR", fslr_name(side, shape)) for side in SIDES]
        if files[0] and files[1] and all(_is_fslr(file) for file in files if file):
            words = {"inflated": "the inflated cortex", "veryinflated": "the very inflated cortex",
                     "midthickness": "the cortex at mid-thickness"}  # fmt: skip
            return Mesh(f"{words[shape]} (fsLR 32k)", FSLR_VERTICES, files[0], files[1])
    return None


def fslr_name(side: str, shape: str = _SHAPES[0]) -> str:
    """Return the name of a surface of fsLR in TemplateFlow, after ``tpl-fsLR_``."""
    return f"den-32k_hemi-{_HEMISPHERES[side]}_{shape}.surf.gii"


def _is_fslr(path: Path) -> bool:
    """Tell whether a file is such a surface; a damaged one is told, and used as if absent."""
    try:
        n_vertices = len(read_surface(path)[0])
    except InputDataError as error:
        _logger.warning("Not drawn on fsLR: %s", error)
        return False
    if n_vertices != FSLR_VERTICES:
        _logger.warning(
            "Not drawn on fsLR: <%s> has %d vertices, expected %d; download it again.",
            path, n_vertices, FSLR_VERTICES,
        )  # fmt: skip
    return n_vertices == FSLR_VERTICES


@lru_cache(maxsize=16)
def read_surface(path: Path) -> tuple[Array, Numbers]:
    """Return the vertices (mm) and the triangles of a surface.

    Raises
    ------
    InputDataError
        The file cannot be read, or holds no surface.
    """
    # Files in the wheel of nilearn are packed once more, and need no check.
    image: Any = nib.load(path) if path.suffix == ".gz" else read_gifti(path)
    arrays = image.darrays
    if len(arrays) < 2 or any(array.data.ndim != 2 for array in arrays[:2]):
        raise InputDataError(
            f"<{path}> holds {len(arrays)} arrays; expected the vertices and the triangles of a "
            "surface."
        )
    points, triangles = (array.data for array in arrays[:2])
    return points.astype(np.float64), triangles.astype(np.int64)


def nilearn_surface(name: str) -> Path:
    """Return a file of fsaverage5 in the wheel of nilearn, such as ``infl_left``."""
    # Importing nilearn takes seconds; its files are read without it.
    package = importlib.util.find_spec("nilearn")
    folder = Path(next(iter(package.submodule_search_locations or []))) if package else Path()
    return folder / f"datasets/data/fsaverage5/{name}.gii.gz"
