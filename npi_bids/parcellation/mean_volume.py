"""Mean of a run at a low resolution, by which the place of its regions is checked by eye."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from npi_bids.io.files import replacing
from npi_bids.parcellation.damaged_volumes import are_usable
from npi_bids.parcellation.resampling import Grid
from npi_bids.records import Array

_AVERAGED = 20  # volumes, evenly spaced over the run
_EDGE = 3.5  # mm of a voxel at least
_LARGEST = 250  # the brightest value as stored, in one byte
_BRIGHT = 99.5  # percentile of the signal that is as bright as that


@dataclass(frozen=True, slots=True, eq=False)
class MeanVolume:
    """A mean volume: brightness from 0 to 250, shape (3,), and its affine (4, 4)."""

    data: NDArray[np.uint8]
    affine: Array


class MeanOfVolumes:
    """Adds up some volumes of a run, evenly spaced, while it is read.

    Parameters
    ----------
    n_samples
        Volumes of the run.
    grid
        Grid of a volume.
    """

    def __init__(self, n_samples: int, grid: Grid) -> None:
        self._grid = grid
        self._step = max(1, n_samples // _AVERAGED)
        self._next = self._step // 2
        self._total = np.zeros(math.prod(grid.shape))
        self._number = 0

    def add(self, sample: int, volume: NDArray[np.number]) -> None:
        """Add a volume, flat in Fortran order, if it is one of those that are averaged."""
        if sample != self._next:
            return
        self._next += self._step
        self._number += 1
        usable = True if volume.dtype.kind != "f" else are_usable(volume)
        with np.errstate(invalid="ignore", over="ignore"):  # of values that are not added
            np.add(self._total, volume, out=self._total, where=usable)

    def finish(self) -> MeanVolume:
        """Return the mean, averaged over blocks of voxels of at least 3.5 mm."""
        shape = self._grid.shape
        mean = (self._total / max(self._number, 1)).reshape(shape, order="F")
        edges = np.linalg.norm(self._grid.affine[:3, :3], axis=0)
        blocks = [
            max(1, min(math.ceil(_EDGE / edge - 1e-6), n))
            for edge, n in zip(edges, shape, strict=True)
        ]
        kept = [n - n % block for n, block in zip(shape, blocks, strict=True)]
        split = [part for n, b in zip(kept, blocks, strict=True) for part in (n // b, b)]
        small = mean[: kept[0], : kept[1], : kept[2]].reshape(split).mean(axis=(1, 3, 5))
        affine = self._grid.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ ((np.array(blocks) - 1) / 2)
        affine[:3, :3] *= blocks
        low = float(min(small.min(), 0.0))
        high = float(np.percentile(small, _BRIGHT)) - low or 1.0
        scaled = np.clip((small - low) / high, 0, 1) * _LARGEST
        return MeanVolume(scaled.round().astype(np.uint8), affine)


def write_mean(mean: MeanVolume, path: Path) -> None:
    """Write a mean volume as ``.nii.gz``, with the same bytes each time."""
    image = nib.Nifti1Image(mean.data, mean.affine)
    image.header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
