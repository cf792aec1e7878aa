"""Parcellations made of spheres around published coordinates, which ship with nilearn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from npi_bids.images.parcellation import Parcellation, label_image

# The 2 mm grid of MNI152NLin6Asym, on which the spheres are drawn.
_SHAPE = (91, 109, 91)
_AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
_RADIUS = 5.0


def load_spheres(name: str) -> Parcellation:
    """Draw Dosenbach2010, Power2011 or Seitzman2018 as a label image.

    A voxel within the radius of several centres goes to the nearest one. The radius is 5 mm,
    or what the authors give for each region (Seitzman2018: 4 or 5 mm).
    """
    coordinates, radii, labels, networks = _FETCH[name]()
    return Parcellation(
        name=name,
        labels=labels,
        values=tuple(range(1, len(labels) + 1)),
        space="MNI152NLin6Asym",
        image=label_image(_draw(coordinates, radii), _AFFINE),
        networks=networks,
    )


def sphere_atlases() -> tuple[str, ...]:
    """Return the names of the atlases that need no download."""
    return tuple(_FETCH)


def _draw(centres: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.int32]:
    voxels = np.indices(_SHAPE).reshape(3, -1).T
    distance, nearest = cKDTree(centres).query(voxels @ _AFFINE[:3, :3].T + _AFFINE[:3, 3])
    inside = distance <= radii[nearest]
    return np.where(inside, nearest + 1, 0).reshape(_SHAPE).astype(np.int32)


_Spheres = tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...], tuple[str, ...]]


def _dosenbach() -> _Spheres:
    from nilearn.datasets import fetch_coords_dosenbach_2010

    found = fetch_coords_dosenbach_2010()
    return _record(found.rois[["x", "y", "z"]], found.labels, found.networks)


def _power() -> _Spheres:
    from nilearn.datasets import fetch_coords_power_2011

    found = fetch_coords_power_2011()
    labels = [f"Power_{int(roi):03d}" for roi in found.rois["roi"]]
    return _record(found.rois[["x", "y", "z"]], labels, ())


def _seitzman() -> _Spheres:
    from nilearn.datasets import fetch_coords_seitzman_2018

    found = fetch_coords_seitzman_2018()
    labels = [f"{network}_{n + 1:03d}" for n, network in enumerate(found.networks)]
    record = _record(found.rois[["x", "y", "z"]], labels, found.networks)
    return record[0], np.asarray(found.radius, dtype=np.float64), *record[2:]


def _record(rois: Any, labels: Sequence[str], networks: Sequence[str]) -> _Spheres:
    centres = np.asarray(rois, dtype=np.float64)
    radii = np.full(len(centres), _RADIUS)
    return centres, radii, tuple(map(str, labels)), tuple(map(str, networks))


_FETCH = {"Dosenbach2010": _dosenbach, "Power2011": _power, "Seitzman2018": _seitzman}
