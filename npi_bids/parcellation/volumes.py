"""Regional signals of a 4D image for any number of atlases, in one pass over the file.

Each volume is decompressed once, its voxels are gathered and added up, and the volume is
forgotten. Which voxels hold signal is known only at the end; so the sums are those of the
differences from one volume, to which voxels that never change contribute nothing. Rare images
are read a second time: those with voxels that cease to be finite, that vary in censored volumes
alone, or that are to be smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import InputDataError
from npi_bids.io.images import load_image, read_data, read_gifti
from npi_bids.io.volume_stream import VolumeStream
from npi_bids.parcellation.damaged_volumes import SampleStatistics, Survey, are_usable
from npi_bids.parcellation.mean_volume import MeanOfVolumes
from npi_bids.parcellation.parcellation import Parcellation
from npi_bids.parcellation.region_sums import RegionSignals, RegionSums
from npi_bids.parcellation.resampling import Grid
from npi_bids.parcellation.run_files import RunFiles, sampling_period
from npi_bids.records import Array, Mask

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

_FWHM_PER_SD = math.sqrt(8 * math.log(2))


class VolumeScan:
    """A run of volumes, with the atlases on its grid.

    Parameters
    ----------
    run
        Files of the run.
    parcellations
        The atlases, on any grid.
    smoothing
        FWHM in mm of a Gaussian filter before averaging; 0 for none.

    Attributes
    ----------
    n_samples, tr
        Number of volumes, and sampling period (s).
    mean
        Mean of some volumes, once the run has been read.

    Raises
    ------
    InputDataError
        The image or the mask cannot be read, or they do not fit together.
    """

    def __init__(
        self, run: RunFiles, parcellations: Sequence[Parcellation], smoothing: float = 0.0
    ) -> None:
        image = open_image(run.bold)
        self._run, self._smoothing = run, smoothing
        self._grid = Grid.of(image)
        self._stream = VolumeStream(run.bold, image)
        self.n_samples = self._stream.n_volumes
        self.tr = sampling_period(_period_of_header(image), run)
        self.mean = MeanOfVolumes(self.n_samples, self._grid)
        self._inside = self._read_mask(image)
        self._regions = RegionSums(parcellations, self._grid, self._inside)
        self._gathered = self._regions.voxels  # these come first
        if run.mask is not None or smoothing:  # which spreads what lies around the regions
            others = self._inside.copy()
            others[self._gathered] = False
            self._gathered = np.concatenate([self._gathered, np.flatnonzero(others)])

    def read(self, keep: Mask) -> tuple[Survey, list[RegionSignals]]:
        """Return which volumes are damaged, and the signals of each atlas.

        Parameters
        ----------
        keep
            Shape (n_samples,); the volumes by which voxels are judged, except damaged ones.
        """
        counted = keep if keep.sum() > 1 else np.ones_like(keep)
        judgement = self._judge(counted)
        damaged = judgement.statistics.damaged
        if (damaged & ~judgement.statistics.flat & counted).any():  # known only after all volumes
            judgement = self._judge(counted & ~damaged)
        sums = judgement.sums
        if self._smoothing or judgement.is_provisional:
            sums = list(self._add_up(judgement))
        mean = judgement.statistics.mean * self._stream.slope + self._stream.intercept
        return Survey(damaged, mean), self._complete(judgement, sums)

    def _judge(self, counted: Mask) -> _Judgement:
        """Find the voxels without signal and, provisionally, the sums of the others."""
        n_voxels, has_mask = self._regions.voxels.size, self._run.mask is not None
        n_judged = len(self._gathered) if self._smoothing else n_voxels
        reference = self._first_sound_volume(counted).take(self._gathered[:n_judged])
        # The mean is that of the brain.
        statistics = SampleStatistics(self.n_samples, with_mean=has_mask)
        judgement = _Judgement(statistics, reference)
        gathered = np.empty(len(self._gathered), dtype=self._stream.dtype)
        for sample, volume in enumerate(self._stream):
            self.mean.add(sample, volume)
            # All positions are valid; mode="raise" would buffer, and take twice as long.
            volume.take(self._gathered, out=gathered, mode="clip")
            all_finite = judgement.statistics.add(sample, gathered if has_mask else volume)
            differences = judgement.compare(
                sample, gathered[:n_judged], counted=bool(counted[sample]), all_finite=all_finite
            )
            judgement.sums.append(self._regions.add_up(differences[:n_voxels]))
        return judgement

    def _add_up(self, judgement: _Judgement) -> Iterator[list[Array]]:
        """Read the run again, without the voxels that are known to hold no signal."""
        voxels = self._regions.voxels
        lost, level = judgement.lost[: voxels.size], judgement.level[: voxels.size]
        for volume in self._stream:
            if self._smoothing:
                values = self._smooth(volume, judgement)
            else:
                values = _subtract(volume.take(voxels), level, np.empty(voxels.size))
                values[~are_usable(values)] = 0
            values[lost] = 0
            yield self._regions.add_up(values)

    def _smooth(self, volume: NDArray[np.number], judgement: _Judgement) -> Array:
        """Return the smoothed values of the voxels of the atlases.

        Values that are not finite would spread. Voxels that are not finite at times are 0
        throughout: a constant leaves no trace over time.
        """
        from scipy.ndimage import gaussian_filter1d

        smoothed = np.where(are_usable(volume), volume, 0).astype(np.float64)
        smoothed[self._gathered[judgement.not_finite]] = 0
        smoothed = smoothed.reshape(self._grid.shape, order="F")
        edges = np.linalg.norm(self._grid.affine[:3, :3], axis=0)
        for axis, edge in enumerate(edges):
            smoothed = gaussian_filter1d(smoothed, self._smoothing / (_FWHM_PER_SD * edge), axis)
        return smoothed.ravel(order="F")[self._regions.voxels]

    def _complete(self, judgement: _Judgement, sums: list[list[Array]]) -> list[RegionSignals]:
        """Add what was subtracted, and convert stored values to signals."""
        n_voxels, stream = self._regions.voxels.size, self._stream
        level = np.zeros(n_voxels) if self._smoothing else judgement.level[:n_voxels]
        stacked = [np.stack(rows) for rows in zip(*sums, strict=True)]
        return [
            replace(
                regions,
                sums=regions.sums * stream.slope + stream.intercept * regions.n_with_signal,
            )
            for regions in self._regions.complete(stacked, level, judgement.lost[:n_voxels])
        ]

    def _first_sound_volume(self, counted: Mask) -> NDArray[np.number]:
        """Return the first volume that counts and is not flat; zeros if there is none."""
        for is_counted, volume in zip(counted, self._stream, strict=False):
            if is_counted:
                statistics = SampleStatistics(1)
                statistics.add(0, volume[self._inside])
                if not statistics.flat.any():
                    return volume.copy()
        return np.zeros(self._inside.size)

    def _read_mask(self, image: nib.Nifti1Image) -> Mask:
        """Return where the mask is above 0, flat; everywhere if there is no mask."""
        path, shape = self._run.mask, self._grid.shape
        if path is None:
            return np.ones(math.prod(shape), dtype=bool)
        brain = cast("SpatialImage", load_image(path))
        same = brain.shape[:3] == shape and math.prod(brain.shape[3:]) == 1
        if not same or not np.allclose(brain.affine, image.affine, atol=1e-3):
            raise InputDataError(
                f"The mask <{path}> has a grid of {brain.shape} that is not the grid of its "
                f"run, {shape}; expected the mask of the same space and resolution."
            )
        inside: Mask = np.ravel(read_data(path, brain).reshape(shape) > 0, order="F")
        if not inside.any():
            raise InputDataError(
                f"The mask <{path}> is 0 everywhere; expected the brain mask of the run. Did "
                "preprocessing fail?"
            )
        return inside


class _Judgement:
    """What one pass finds out about a list of voxels, volume by volume.

    Attributes
    ----------
    statistics
        Statistics of each volume.
    level
        Value of each voxel in the reference, 0 where that is not finite.
    not_finite
        Voxels that are not finite in a volume that counts.
    sums
        Sums over the regions of each atlas, for each volume.
    """

    def __init__(self, statistics: SampleStatistics, reference: NDArray[np.number]) -> None:
        self.statistics = statistics
        usable = are_usable(reference)
        self.level = np.where(usable, reference, 0).astype(np.float64)
        self.not_finite = ~usable
        self.sums: list[list[Array]] = []
        self._left_out = np.flatnonzero(self.not_finite)
        self._differences = np.empty(len(reference))
        # Voxels that have not changed in the volumes that count, and in all volumes.
        self._constant = self._constant_throughout = np.arange(len(reference))

    def compare(
        self, sample: int, values: NDArray[np.number], *, counted: bool, all_finite: bool
    ) -> Array:
        """Return the differences from the reference, 0 where a voxel is not finite.

        The array is overwritten by the next call.
        """
        differences = _subtract(values, self.level, self._differences)
        sound = bool(self.statistics.low[sample] < self.statistics.high[sample])
        if not all_finite:
            lost = ~are_usable(values)
            differences[lost] = 0
            if sound and counted:
                self.not_finite |= lost
        differences[self._left_out] = 0
        if sound:
            are_same = self._constant is self._constant_throughout
            self._constant_throughout = _still_zero(self._constant_throughout, differences)
            if counted:
                self._constant = (
                    self._constant_throughout
                    if are_same
                    else _still_zero(self._constant, differences)
                )
        return differences

    @property
    def lost(self) -> Mask:
        """Voxels without signal: constant or not finite at times in the volumes that count."""
        lost = self.not_finite.copy()
        lost[self._constant] = True
        return lost

    @property
    def is_provisional(self) -> bool:
        """Whether the sums hold something of voxels that turned out to have no signal."""
        return bool(
            np.count_nonzero(self.not_finite) > self._left_out.size
            or self._constant.size > self._constant_throughout.size
        )


def _subtract(values: NDArray[np.number], level: Array, out: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is left out later
        np.copyto(out, values)
        out -= level
    return out


def _still_zero(positions: NDArray[np.intp], differences: Array) -> NDArray[np.intp]:
    if positions.size == differences.size:
        return np.flatnonzero(differences == 0)
    changes = differences.take(positions)
    if not changes.any():
        return positions
    left: NDArray[np.intp] = positions[changes == 0]
    return left


def open_image(path: Path) -> nib.Nifti1Image:
    """Open a 4D image without reading its volumes.

    Raises
    ------
    InputDataError
        The file cannot be read, or is not 4D.
    """
    image = cast("nib.Nifti1Image", load_image(path))
    shape = image.shape
    if len(shape) != 4 or shape[3] < 2 or min(shape) < 1:
        raise InputDataError(f"<{path}> has shape {shape}; expected a 4D series of volumes.")
    affine = np.asarray(image.affine)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise InputDataError(
            f"<{path}> does not say where its voxels lie: its affine is {affine.tolist()}. Is the "
            "header damaged?"
        )
    return image


def read_series_shape(path: Path) -> tuple[int, int]:
    """Return the numbers of samples and of voxels, greyordinates or vertices, from the header.

    Raises
    ------
    InputDataError
        The file cannot be read, or is not a run.
    """
    if path.name.endswith(".gii"):
        arrays = read_gifti(path).darrays
        shape = np.column_stack([array.data for array in arrays[:1]]).shape if arrays else (0,)
        return (len(arrays), shape[0]) if len(arrays) != 1 else (shape[-1], shape[0])
    if path.name.endswith(".dtseries.nii"):
        shape = load_image(path).shape
        return int(shape[0]), int(shape[-1])
    shape = open_image(path).shape
    return int(shape[3]), math.prod(shape[:3])


def count_values(path: Path) -> tuple[int, int]:
    """Return the numbers of samples and of voxels, greyordinates or regions, from the header.

    Raises
    ------
    InputDataError
        An image cannot be read, or its header is implausible.
    """
    from npi_bids.io.tables import count_cells

    return count_cells(path) if path.suffix == ".tsv" else read_series_shape(path)


def _period_of_header(image: nib.Nifti1Image) -> tuple[float, str]:
    try:
        unit = image.header.get_xyzt_units()[1]
    except KeyError:  # a code that the NIfTI standard does not define
        unit = "unknown"
    return float(image.header.get_zooms()[3]), unit
