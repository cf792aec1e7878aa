"""Regions of an atlas on a mesh of the cortex: its own surface, or fsaverage5 for volumes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from npi_bids.parcellation.cifti import MESH_VERTICES, project_to_surface
from npi_bids.parcellation.meshes import (
    SIDES,
    Numbers,
    find_mesh,
    nilearn_surface,
    read_surface,
)
from npi_bids.records import Array

_REACH = 4.0  # mm between a region and the cortical ribbon
_DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # from the white matter to the pial surface
_MEDIAL_WALL = 1.0  # mm of cortical thickness
_SAMPLED = 60  # voxels of a region by which it is judged to be cortical
# From fsaverage (MNI305) to MNI152, in mm (https://surfer.nmr.mgh.harvard.edu/fswiki/
# CoordinateSystems, section 8b).
_TO_MNI152 = np.array([[0.9975, -0.0073, 0.0176, -0.0429], [0.0146, 1.0009, -0.0024, 1.5496],
                       [-0.0130, -0.0093, 0.9971, 1.1840]])  # fmt: skip


def read_mesh(kind: str, side: str) -> tuple[Array, Numbers]:
    """Return vertices (mm) and triangles of fsaverage5, which nilearn has in its wheel.

    Parameters
    ----------
    kind
        ``infl``, ``pial`` or ``white``.
    side
        ``left`` or ``right``.
    """
    return read_surface(nilearn_surface(f"{kind}_{side}"))


def find_vertices(atlas: Path, labels: Sequence[str], values: Sequence[int]) -> Numbers | None:
    """Return the region of each vertex of both hemispheres, from 1; 0 where there is none.

    Parameters
    ----------
    atlas
        ``dlabel.nii``, or an image of labels in MNI space, which is projected to fsaverage5.
    labels, values
        Names of the regions, and their values in an image.

    Returns
    -------
    ndarray or None
        One entry per vertex, those of the left hemisphere first; None where the mesh of the
        surface of the atlas is not on this computer.
    """
    if not atlas.name.endswith(".dlabel.nii"):
        return project_volume(atlas, tuple(values))
    sides = project_to_surface(atlas, labels, np.arange(1.0, len(labels) + 1))
    if sides is None or find_mesh(len(sides[SIDES[0]])) is None:
        return None
    both = np.concatenate([sides[side] for side in SIDES])
    return np.where(np.isfinite(both), both, 0).astype(np.int64)


@lru_cache(maxsize=8)
def project_volume(atlas: Path, values: tuple[int, ...]) -> Numbers:
    """Return the region of each vertex of fsaverage5, from an image of labels.

    A vertex belongs to the label that is most frequent through the thickness of the cortex, or
    else to the nearest one within 4 mm. Regions of which most voxels are further from the cortex
    are subcortical, and have no vertices.
    """
    from scipy.spatial import cKDTree

    image: Any = nib.load(atlas)
    data = np.rint(np.asarray(image.dataobj)).astype(np.int64)
    number = np.zeros(max(int(data.max()), max(values)) + 1, dtype=np.int64)
    number[list(values)] = np.arange(1, len(values) + 1)
    regions = np.where(data >= 0, number[np.maximum(data, 0)], 0)
    ribbon, is_cortex = _cortical_ribbon()
    voxels = np.argwhere(regions)
    places = voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
    owners = regions[tuple(voxels.T)]
    make_tree = partial(cKDTree, balanced_tree=False, compact_nodes=False)  # quicker to build
    cortical = _find_cortical(places, owners, make_tree(ribbon.reshape(-1, 3)), len(values))
    inside = cortical[owners]
    if not inside.any():
        return np.zeros(2 * MESH_VERTICES, dtype=np.int64)
    distance, nearest = make_tree(places[inside]).query(
        ribbon.reshape(-1, 3), distance_upper_bound=_REACH
    )
    labelled = np.append(owners[inside], 0)[nearest].reshape(ribbon.shape[:2])
    distance = distance.reshape(ribbon.shape[:2])
    # Depths that lie in a region vote with their nearness: a hit counts more than a neighbour.
    votes = np.zeros((ribbon.shape[1], len(values) + 1))
    for depth in range(len(ribbon)):
        weight = np.where(labelled[depth] > 0, 1 / (0.5 + np.minimum(distance[depth], 99)), 0)
        np.add.at(votes, (np.arange(votes.shape[0]), labelled[depth]), weight)
    found: Numbers = np.where(is_cortex & (votes.max(axis=1) > 0), votes.argmax(axis=1), 0)
    return found


def _find_cortical(
    places: Array, owners: Numbers, ribbon: Any, n_regions: int
) -> NDArray[np.bool_]:
    """Return which regions, by number, lie mostly in the cortex; False at 0."""
    cortical = np.zeros(n_regions + 1, dtype=bool)
    order = np.argsort(owners, kind="stable")
    regions, starts, counts = np.unique(owners[order], return_index=True, return_counts=True)
    for region, start, n_voxels in zip(regions, starts, counts, strict=True):
        mine = order[start : start + n_voxels]
        chosen = mine[:: max(1, len(mine) // _SAMPLED)]
        distance, _ = ribbon.query(places[chosen])
        cortical[region] = np.median(distance) <= _REACH
    return cortical


@lru_cache(maxsize=1)
def _cortical_ribbon() -> tuple[Array, NDArray[np.bool_]]:
    """Return points through the cortex in MNI152 space, and which vertices are not medial wall."""
    sheets, is_cortex = [], []
    for side in SIDES:
        white, pial = read_mesh("white", side)[0], read_mesh("pial", side)[0]
        sheets.append([white + depth * (pial - white) for depth in _DEPTHS])
        thickness: Any = nib.load(nilearn_surface(f"thick_{side}"))
        is_cortex.append(np.asarray(thickness.agg_data()) > _MEDIAL_WALL)
    points = np.concatenate(sheets, axis=1)  # (depth, vertex, axis)
    return points @ _TO_MNI152[:, :3].T + _TO_MNI152[:, 3], np.concatenate(is_cortex)
