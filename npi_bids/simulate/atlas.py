"""Atlases to paint simulated signals on, in MNI space at 4 mm."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from scipy.spatial import cKDTree

from npi_bids.core.records import Array
from npi_bids.errors import SettingsError
from npi_bids.images.parcellation import Parcellation, label_data, label_image
from npi_bids.images.resample import to_grid
from npi_bids.images.spheres import load_spheres

# The 4 mm grid of MNI152NLin6Asym.
_SHAPE = (46, 55, 46)
_AFFINE = np.array([[-4.0, 0, 0, 90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
_SPHERES = "Dosenbach2010"
_CENTRE, _RADII = np.array([0.0, -18.0, 8.0]), np.array([66.0, 86.0, 58.0])  # of a brain (mm)
_MOST = 2000


def simulated_atlas(n_regions: int, labels: tuple[str, ...] = ()) -> Parcellation:
    """Return an atlas of so many regions: spheres of Dosenbach2010, or patches if there are more.

    Parameters
    ----------
    n_regions
        Up to 160 regions are taken from the spheres, evenly over their list; beyond, a
        brain-shaped ellipsoid is cut into patches of like size.
    labels
        Names of the regions; those of the spheres, or numbers by hemisphere, where empty.

    Raises
    ------
    SettingsError
        There is no room for so many regions.
    """
    if n_regions > _MOST:
        raise SettingsError(f"{n_regions} regions do not fit on a 4 mm grid; at most {_MOST} do.")
    whole = load_spheres(_SPHERES)
    if n_regions > len(whole.values):
        data, found, networks = _patches(n_regions)
        name, space = f"Patches{n_regions}", whole.space
    else:
        data, chosen = _spheres(whole, n_regions)
        found = tuple(whole.labels[value - 1] for value in chosen)
        networks = tuple(whole.networks[value - 1] for value in chosen)
        name, space = f"Dosenbach{n_regions}", whole.space
    return Parcellation(
        name=name,
        labels=labels or found,
        values=tuple(range(1, n_regions + 1)),
        space=space,
        image=label_image(data, _AFFINE),
        networks=networks,
    )


def _spheres(whole: Parcellation, n_regions: int) -> tuple[Array, Array]:
    grid = nib.Nifti1Image(np.zeros(_SHAPE, dtype=np.uint8), _AFFINE)
    data = label_data(to_grid(whole, grid), whole.name)
    values = np.asarray(whole.values)
    chosen = values[:: len(values) // n_regions][:n_regions]
    numbers = np.searchsorted(chosen, data).clip(0, n_regions - 1)
    return np.where(np.isin(data, chosen), numbers + 1, 0), chosen


def _patches(n_regions: int) -> tuple[Array, tuple[str, ...], tuple[str, ...]]:
    """Cut an ellipsoid into patches around evenly spread centres (Lloyd's algorithm)."""
    rng = np.random.default_rng(n_regions)
    voxels = np.argwhere(np.ones(_SHAPE, dtype=bool))
    places = voxels @ _AFFINE[:3, :3].T + _AFFINE[:3, 3]
    inside = (((places - _CENTRE) / _RADII) ** 2).sum(axis=1) < 1
    voxels, places = voxels[inside], places[inside]
    centres = places[rng.choice(len(places), n_regions, replace=False)]
    for _ in range(10):
        nearest = cKDTree(centres).query(places)[1]
        sizes = np.maximum(np.bincount(nearest, minlength=n_regions), 1)
        sums = [np.bincount(nearest, places[:, axis], n_regions) for axis in range(3)]
        centres = np.stack(sums, axis=1) / sizes[:, None]
    centres = centres[np.lexsort((centres[:, 1], centres[:, 0] > 0))]
    data = np.zeros(_SHAPE)
    data[tuple(voxels.T)] = cKDTree(centres).query(places)[1] + 1
    sides = tuple("L" if x <= 0 else "R" for x in centres[:, 0])
    labels = tuple(f"{side}_{number:04d}" for number, side in enumerate(sides, start=1))
    return data, labels, sides
