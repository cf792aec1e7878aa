"""How voxels add up to regions, for several atlases at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npi_bids.parcellation.parcellation import Parcellation
from npi_bids.parcellation.resampling import Grid, count_labels, labels_on_grid, weights_on_grid
from npi_bids.records import Array, Mask

# Singular values of the Gram matrix of the maps below this share of the largest count as 0, so
# that maps which are sums of others share their signal.
_RCOND = 1e-11
_MOST_LISTED = 2_000_000  # values that a table may list


@dataclass(frozen=True, slots=True, eq=False)
class RegionSignals:
    """What a run holds of the regions of one atlas.

    Attributes
    ----------
    n_voxels
        Shape (n_regions,); size on the grid: voxels of a label, summed weights of a map.
    n_with_signal
        Shape (n_regions,); size of the part that holds signal.
    sums
        Shape (n_samples, n_regions); sum over voxels with signal, weighted by the map.
    gram
        Shape (n_regions, n_regions); products of the maps over voxels with signal. None
        for labels.
    """

    n_voxels: Array
    n_with_signal: Array
    sums: Array
    gram: Array | None = None

    def signals(self, covered: Mask) -> Array:
        """Return the signals of the covered regions, shape (n_samples, n_covered).

        The mean of a label; for maps, the coefficients of the least-squares fit of the covered
        maps to each volume.
        """
        if self.gram is None:
            means: Array = self.sums[:, covered] / self.n_with_signal[covered]
            return means
        gram = self.gram[np.ix_(covered, covered)]
        solution = np.linalg.lstsq(gram, self.sums[:, covered].T, rcond=_RCOND)[0]
        return np.asarray(solution.T, dtype=np.float64)


class RegionSums:
    """The voxels of all atlases on a grid, in an order in which regions are sums of stretches.

    A stretch holds the voxels that have the same label in every atlas of labels, so that each
    volume is summed once, whatever the number of atlases.

    Attributes
    ----------
    voxels
        Shape (n_voxels,); the voxels of the atlases inside the mask, as positions in a volume
        that is flat in Fortran order.
    """

    def __init__(self, parcellations: Sequence[Parcellation], grid: Grid, inside: Mask) -> None:
        labels = {
            k: np.ravel(labels_on_grid(atlas, grid), order="F")
            for k, atlas in enumerate(parcellations)
            if not atlas.probabilistic
        }
        maps = {
            k: _flat_maps(atlas, grid)
            for k, atlas in enumerate(parcellations)
            if atlas.probabilistic
        }
        used = np.zeros(math.prod(grid.shape), dtype=bool)
        for flat in labels.values():
            used |= flat != 0
        for matrix in maps.values():
            used[matrix.indices] = True
        voxels = np.flatnonzero(used & inside)
        cells = np.zeros(voxels.size, dtype=np.int64)
        for flat in labels.values():
            label = _number_values(flat[voxels])
            cells = _number_values(cells * (int(label.max(initial=0)) + 1) + label)
        # Whole numbers of 16 bits are sorted in a tenth of the time.
        few = cells.max(initial=0) <= np.iinfo(np.uint16).max
        order = np.argsort(cells.astype(np.uint16) if few else cells, kind="stable")
        self.voxels: NDArray[np.int64] = voxels[order].astype(np.int64)
        self._starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
        first = self.voxels[self._starts]
        self._atlases: list[_Labels | _Maps] = [
            _Labels(atlas, labels[k], first) if k in labels else _Maps(maps[k], self.voxels)
            for k, atlas in enumerate(parcellations)
        ]

    def add_up(self, values: Array) -> list[Array]:
        """Return the sum over each region of each atlas of the values of the voxels."""
        if not self.voxels.size:
            return [np.zeros(len(atlas.n_voxels)) for atlas in self._atlases]
        cells = np.add.reduceat(values, self._starts)
        return [atlas.add_up(values, cells) for atlas in self._atlases]

    def complete(self, sums: Sequence[Array], reference: Array, lost: Mask) -> list[RegionSignals]:
        """Return the signals of each atlas.

        Parameters
        ----------
        sums
            Of each atlas, shape (n_samples, n_regions): sums of differences from the reference,
            in which lost voxels are 0.
        reference
            Shape (n_voxels,); value of each voxel that was subtracted.
        lost
            Shape (n_voxels,); voxels without signal.
        """
        held = np.where(lost, 0.0, 1.0)
        sizes, levels = self.add_up(held), self.add_up(np.where(lost, 0.0, reference))
        return [
            RegionSignals(atlas.n_voxels, size, total + level, atlas.gram(held))
            for atlas, total, size, level in zip(self._atlases, sums, sizes, levels, strict=True)
        ]


def _number_values(values: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the position of each value among those that occur, in their order."""
    highest = int(values.max(initial=0))
    if highest > _MOST_LISTED:
        return np.asarray(np.unique(values, return_inverse=True)[1], dtype=np.int64)
    is_there = np.zeros(highest + 1, dtype=np.int64)  # quicker than sorting
    is_there[values] = 1
    numbers: NDArray[np.int64] = (np.cumsum(is_there) - 1)[values]
    return numbers


class _Labels:
    """Regions of labels, each a sum of stretches."""

    def __init__(self, atlas: Parcellation, flat: NDArray[np.int32], first: NDArray[Any]) -> None:
        self.n_voxels = count_labels(flat, atlas)
        label = flat[first]
        self._stretches = np.flatnonzero(label)
        self._regions = np.searchsorted(np.asarray(atlas.values), label[self._stretches])

    def add_up(self, _values: Array, cells: Array) -> Array:
        weights = cells[self._stretches]
        sums = np.bincount(self._regions, weights=weights, minlength=len(self.n_voxels))
        return sums.astype(np.float64, copy=False)  # whole numbers where there is no stretch

    def gram(self, _held: Array) -> Array | None:
        return None


class _Maps:
    """Weighted maps, shape (n_maps, n_voxels)."""

    def __init__(self, flat: Any, voxels: NDArray[np.int64]) -> None:
        self.n_voxels: Array = np.asarray(flat.sum(axis=1)).ravel()
        self._weights = flat[:, voxels]

    def add_up(self, values: Array, _cells: Array) -> Array:
        sums: Array = self._weights @ values
        return sums

    def gram(self, held: Array) -> Array | None:
        weights = self._weights.multiply(held).tocsr()
        products: Array = (weights @ weights.T).toarray()
        return products


def _flat_maps(atlas: Parcellation, grid: Grid) -> Any:
    """Return the maps of an atlas on a grid, sparse, shape (n_maps, voxels in Fortran order)."""
    from scipy.sparse import csr_matrix

    n_voxels = math.prod(grid.shape)
    strides = np.array([1, grid.shape[0], grid.shape[0] * grid.shape[1]])
    rows: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)] * len(atlas.labels)
    weights: list[Array] = [np.zeros(0)] * len(atlas.labels)
    for position, box, values in weights_on_grid(atlas, grid):
        there = np.nonzero(values.T)[::-1]  # in the order of the voxels of a volume
        places = sum(
            (axis + part.start) * stride
            for axis, part, stride in zip(there, box, strides, strict=True)
        )
        rows[position] = np.asarray(places, dtype=np.int32)
        weights[position] = values[there].astype(np.float64)
    ends = np.cumsum([0, *map(len, rows)])
    matrix = csr_matrix(
        (np.concatenate(weights), np.concatenate(rows), ends), shape=(len(rows), n_voxels)
    )
    matrix.sort_indices()
    return matrix
