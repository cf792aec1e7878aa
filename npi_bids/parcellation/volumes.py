"""Regional means of a 4D image, read a few volumes at a time.

A run of 1200 volumes at 2 mm takes 4 GB as 32-bit floats; so only a few hundred megabytes of it
are in memory at once. nilearn averages each volume separately, so that the means are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import InputDataError
from npi_bids.io.images import READ_ERRORS, is_wide, load_image, read_data, read_gifti, unreadable
from npi_bids.parcellation.damaged_volumes import SampleStatistics, Survey
from npi_bids.parcellation.parcellation import Parcellation, label_data, label_image
from npi_bids.parcellation.resampling import region_sizes, to_grid
from npi_bids.parcellation.run_files import RunFiles, sampling_period
from npi_bids.records import Array, Mask

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage
    from nilearn.maskers import NiftiLabelsMasker, NiftiMapsMasker

_AT_ONCE = 40_000_000  # values in memory, 160 MB as 32-bit floats; half as many that are wider


class VolumeScan:
    """A run of volumes, with the atlas on its grid.

    Attributes
    ----------
    n_samples, tr
        Number of volumes, and sampling period (s).

    Raises
    ------
    InputDataError
        The image or the mask cannot be read, or they do not fit together.
    """

    def __init__(self, run: RunFiles, parcellation: Parcellation) -> None:
        self._image = open_image(run.bold)
        self._run, self._parcellation = run, parcellation
        self.n_samples = int(self._image.shape[3])
        self.tr = sampling_period(_period_of_header(self._image), run)
        self._shape: tuple[int, ...] = self._image.shape[:3]
        self._inside = self._read_mask()
        self._atlas = to_grid(parcellation, self._image)
        # Subtracted from each voxel where 32-bit floats would round its changes away.
        self._level: Array | None = None
        self._has_signal: Mask = np.zeros(self._shape, dtype=bool)
        self._non_finite = self._has_signal  # voxels that are not finite in a volume that counts

    def survey(self, keep: Mask) -> Survey:
        """Find the damaged volumes, and the voxels that hold signal.

        Parameters
        ----------
        keep
            Shape (n_samples,); the volumes by which voxels are judged, except damaged ones.
        """
        counted = keep if keep.sum() > 1 else np.ones_like(keep)
        if is_wide(self._image):
            self._level = self._first_sound_volume(counted)
        statistics = self._measure_samples(counted)
        if (statistics.damaged & ~statistics.flat & counted).any():  # known only after all volumes
            self._measure_samples(counted & ~statistics.damaged)
        has_mask = self._run.mask is not None
        mean = statistics.mean if has_mask else np.full(self.n_samples, np.nan)
        return Survey(statistics.damaged, mean)

    def sizes(self) -> tuple[Array, Array]:
        """Return the size of each region on the grid, and of its part that holds signal."""
        data = np.asarray(self._atlas.dataobj)
        has_signal = (
            self._has_signal[..., None] if self._parcellation.probabilistic else self._has_signal
        )
        atlas_with_signal = nib.Nifti1Image(data * has_signal, self._atlas.affine)
        return (
            region_sizes(self._atlas, self._parcellation),
            region_sizes(atlas_with_signal, self._parcellation),
        )

    def signals(self, covered: Mask, smoothing: float) -> Array:
        """Return the mean signals of the covered regions, shape (n_samples, n_covered).

        Parameters
        ----------
        covered
            Shape (n_regions,); the regions to average.
        smoothing
            FWHM in mm of a Gaussian filter before averaging; 0 for none.
        """
        from nilearn.maskers import NiftiLabelsMasker, NiftiMapsMasker

        regions = self._restrict(covered)
        masker_class = NiftiMapsMasker if len(regions.shape) == 4 else NiftiLabelsMasker
        masker = masker_class(
            regions,
            smoothing_fwhm=smoothing or None,
            standardize=None,
            resampling_target=None,
            reports=False,
        )
        # Maskers return the regions in increasing order of their values, as the atlas does, and
        # _restrict retains exactly the covered ones.
        means = [
            self._average(self._to_float32(self._read(*part)), masker, smoothing)
            for part in self._volume_ranges()
        ]
        if self._level is None:
            return np.concatenate(means)
        level = self._average(self._level[..., None].copy(order="F"), masker, smoothing)
        return np.concatenate(means) + level

    def _average(
        self,
        part: NDArray[np.floating],
        masker: NiftiLabelsMasker | NiftiMapsMasker,
        smoothing: float,
    ) -> Array:
        if smoothing:  # would spread what is not finite; a constant 0 leaves no trace over time
            part[self._non_finite] = 0
        finite = np.isfinite(part)
        if not finite.all():  # in voxels of no weight, and in volumes that are left out
            part[~finite] = 0
        del finite
        means: Array = masker.fit_transform(nib.Nifti1Image(part, self._image.affine))
        return means.astype(np.float64)

    def _read(self, start: int, stop: int) -> NDArray[np.number]:
        try:
            return np.asanyarray(self._image.dataobj[..., start:stop])
        except READ_ERRORS as error:
            raise unreadable(self._run.bold, error) from error

    def _volume_ranges(self) -> Iterator[tuple[int, int]]:
        """Yield the first and the last volume (exclusive) of each part."""
        at_once = _AT_ONCE // 2 if is_wide(self._image) else _AT_ONCE
        step = max(1, at_once // math.prod(self._shape))
        for start in range(0, self.n_samples, step):
            yield start, min(start + step, self.n_samples)

    def _to_float32(self, part: NDArray[np.number]) -> NDArray[np.float32]:
        """Return 32-bit floats that may be written to."""
        if self._level is not None:
            wide = part = np.require(part, dtype=np.float64, requirements="W")
            wide -= self._level[..., None]
        with np.errstate(over="ignore"):  # too large values become infinite, and do not count
            # Data that nibabel reads unscaled are a read-only view of the file.
            return np.require(part, dtype=np.float32, requirements="W")

    def _measure_samples(self, counted: Mask) -> SampleStatistics:
        """Measure each volume within the mask, and find voxels that vary over the counted ones."""
        inside = np.flatnonzero(self._inside.ravel(order="F"))
        level = None if self._level is None else self._level.ravel(order="F")[inside]
        low, high = (np.full(inside.size, end, dtype=np.float32) for end in (np.inf, -np.inf))
        statistics = SampleStatistics(self.n_samples)
        for start, stop in self._volume_ranges():
            part = self._read(start, stop).reshape(-1, stop - start, order="F")
            for sample in range(start, stop):
                values = part[:, sample - start].take(inside)
                statistics.add(sample, values)
                if counted[sample] and statistics.low[sample] < statistics.high[sample]:
                    if level is not None:
                        values = values - level
                    with np.errstate(over="ignore"):
                        values = values.astype(np.float32)
                    np.minimum(low, values, out=low)
                    np.maximum(high, values, out=high)
            del part
        # A voxel that is not finite in some volume has a minimum or maximum that is not finite.
        finite = np.isfinite(low) & np.isfinite(high)
        self._has_signal = self._on_grid(inside[finite & (low < high)])
        self._non_finite = self._on_grid(inside[~finite])
        return statistics

    def _on_grid(self, voxels: NDArray[np.intp]) -> Mask:
        mask = np.zeros(math.prod(self._shape), dtype=bool)
        mask[voxels] = True
        return mask.reshape(self._shape, order="F")

    def _first_sound_volume(self, counted: Mask) -> Array:
        for sample in np.flatnonzero(counted).tolist():
            volume = self._read(sample, sample + 1)[..., 0].astype(np.float64)
            statistics = SampleStatistics(1)
            statistics.add(0, volume[self._inside])
            if not statistics.flat.any():
                return np.where(np.isfinite(volume), volume, 0)
        return np.zeros(self._shape)

    def _read_mask(self) -> Mask:
        """Return where the mask is above 0; everywhere if there is no mask."""
        path, shape = self._run.mask, self._shape
        if path is None:
            return np.ones(shape, dtype=bool)
        brain = cast("SpatialImage", load_image(path))
        same = brain.shape[:3] == shape and math.prod(brain.shape[3:]) == 1
        if not same or not np.allclose(brain.affine, self._image.affine, atol=1e-3):
            raise InputDataError(
                f"The mask <{path}> has a grid of {brain.shape} that is not the grid of its "
                f"run, {shape}; expected the mask of the same space and resolution."
            )
        inside: Mask = read_data(path, brain).reshape(shape) > 0
        if not inside.any():
            raise InputDataError(
                f"The mask <{path}> is 0 everywhere; expected the brain mask of the run. Did "
                "preprocessing fail?"
            )
        return inside

    def _restrict(self, covered: Mask) -> nib.Nifti1Image:
        """Keep the covered regions, within the voxels that hold signal."""
        atlas, parcellation = self._atlas, self._parcellation
        if parcellation.probabilistic:
            weights = np.asarray(atlas.dataobj)[..., covered] * self._has_signal[..., None]
            return nib.Nifti1Image(weights, atlas.affine)
        data = label_data(atlas, parcellation.name)
        covered_values = np.asarray(parcellation.values)[covered]
        return label_image(
            np.where(self._has_signal & np.isin(data, covered_values), data, 0), atlas.affine
        )


def open_image(path: Path) -> nib.Nifti1Image:
    """Open a 4D image without reading its volumes; slices are then read one after the other.

    Raises
    ------
    InputDataError
        The file cannot be read, or is not 4D.
    """
    image = cast("nib.Nifti1Image", load_image(path, keep_open=True))
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


def _period_of_header(image: nib.Nifti1Image) -> tuple[float, str]:
    try:
        unit = image.header.get_xyzt_units()[1]
    except KeyError:  # a code that the NIfTI standard does not define
        unit = "unknown"
    return float(image.header.get_zooms()[3]), unit
