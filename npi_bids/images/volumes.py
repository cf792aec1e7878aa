"""Regional means of a 4D image, read a few volumes at a time.

A run of 1200 volumes at 2 mm takes 4 GB as 32-bit floats; so only some hundred megabytes of it are
in memory at once. Each volume is averaged by nilearn on its own, which changes no number.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from npi_bids.core.records import Array, Mask
from npi_bids.errors import InputDataError
from npi_bids.images.header import RunFiles, sampling_period
from npi_bids.images.parcellation import Parcellation, label_data, label_image
from npi_bids.images.resample import region_sizes, to_grid

_AT_ONCE = 40_000_000  # values in memory, 160 MB as 32-bit floats
READ_ERRORS = (
    *(OSError, EOFError, ValueError, OverflowError, zlib.error),
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)


class VolumeScan:
    """A run of volumes, with the atlas on its grid.

    Attributes
    ----------
    n_samples, tr
        Volumes, and seconds between them.

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
        self._atlas = to_grid(parcellation, self._image)
        self._seen = self._voxels_with_signal()

    def sizes(self) -> tuple[Array, Array]:
        """Return the size of each region on the grid, and of its part that holds signal."""
        data = np.asarray(self._atlas.dataobj)
        seen = self._seen[..., None] if self._parcellation.probabilistic else self._seen
        held = nib.Nifti1Image(data * seen, self._atlas.affine)
        return (
            region_sizes(self._atlas, self._parcellation),
            region_sizes(held, self._parcellation),
        )

    def signals(self, covered: Mask, smoothing: float) -> Array:
        """Return the means of some regions, shape (n_samples, n_covered).

        Parameters
        ----------
        covered
            Shape (n_regions,); which regions.
        smoothing
            FWHM in mm of a Gaussian filter before averaging; 0 for none.
        """
        from nilearn.maskers import NiftiLabelsMasker, NiftiMapsMasker

        regions = self._restrict(covered)
        kind = NiftiMapsMasker if len(regions.shape) == 4 else NiftiLabelsMasker
        masker = kind(
            regions,
            smoothing_fwhm=smoothing or None,
            standardize=None,
            resampling_target=None,
            reports=False,
        )
        affine = self._image.affine
        unseen = ~self._seen  # of no weight, and what is not finite there would spread
        # Maskers return the regions in increasing order of their values, as the atlas has them,
        # and _restrict left exactly the covered ones.
        means = []
        for part in self._parts():
            if not smoothing:
                part[unseen] = 0
            means.append(masker.fit_transform(nib.Nifti1Image(part, affine)))
        return np.concatenate(means).astype(np.float64)

    def _parts(self) -> Iterator[NDArray[np.float32]]:
        """Yield the volumes in order, some at a time, as 32-bit floats that may be written to."""
        voxels = int(np.prod(self._image.shape[:3]))
        step = max(1, _AT_ONCE // voxels)
        for start in range(0, self.n_samples, step):
            stop = min(start + step, self.n_samples)
            try:
                part = np.asarray(self._image.dataobj[..., start:stop], dtype=np.float32)
            except READ_ERRORS as error:
                raise unreadable(self._run.bold, error) from error
            # What nibabel reads unscaled lies on the file's bytes, read-only.
            yield np.require(part, requirements="W")

    def _voxels_with_signal(self) -> Mask:
        shape = self._image.shape[:3]
        low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
        finite: Mask = np.ones(shape, dtype=bool)
        for part in self._parts():
            finite &= np.isfinite(part).all(axis=3)
            np.minimum(low, part.min(axis=3), out=low)
            np.maximum(high, part.max(axis=3), out=high)
        seen: Mask = finite & (low < high)
        return seen if self._run.mask is None else seen & self._inside(self._run.mask)

    def _inside(self, mask: Path) -> Mask:
        try:
            brain: Any = nib.load(mask)
            data = np.asarray(brain.dataobj)
        except READ_ERRORS as error:
            raise unreadable(mask, error) from error
        shape = self._image.shape[:3]
        if data.shape[:3] != shape or not np.allclose(brain.affine, self._image.affine, atol=1e-3):
            raise InputDataError(
                f"The mask <{mask}> has a grid of {data.shape[:3]} that is not the grid of its "
                f"run, {shape}; expected the mask of the same space and resolution."
            )
        inside: Mask = data.reshape(shape) > 0
        if not inside.any():
            raise InputDataError(
                f"The mask <{mask}> is 0 everywhere; expected the brain mask of the run. Did "
                "preprocessing fail?"
            )
        return inside

    def _restrict(self, covered: Mask) -> Any:
        """Keep the covered regions, within the voxels that hold signal."""
        atlas, parcellation = self._atlas, self._parcellation
        if parcellation.probabilistic:
            weights = np.asarray(atlas.dataobj)[..., covered] * self._seen[..., None]
            return nib.Nifti1Image(weights, atlas.affine)
        data = label_data(atlas, parcellation.name)
        kept = np.asarray(parcellation.values)[covered]
        return label_image(np.where(self._seen & np.isin(data, kept), data, 0), atlas.affine)


def open_image(path: Path) -> Any:
    """Open a 4D image without reading its volumes; slices are then read one after the other.

    Raises
    ------
    InputDataError
        The file cannot be read, or is not 4D.
    """
    try:
        image: Any = nib.load(path, keep_file_open=True)
        shape = image.shape
    except READ_ERRORS as error:
        raise unreadable(path, error) from error
    if len(shape) != 4 or shape[3] < 2 or min(shape) < 1:
        raise InputDataError(f"<{path}> has shape {shape}; expected a 4D series of volumes.")
    affine = np.asarray(image.affine)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise InputDataError(
            f"<{path}> does not say where its voxels lie: its affine is {affine.tolist()}. Is the "
            "header damaged?"
        )
    return image


def count_places(path: Path) -> tuple[int, int]:
    """Return samples and places of an image from its header; 0 where it cannot be read."""
    try:
        image: Any = nib.load(path)
        if path.name.endswith(".gii"):
            return len(image.darrays), len(image.darrays[0].data)
        shape = image.shape
    except (*READ_ERRORS, IndexError):
        return 0, 0
    if path.name.endswith(".dtseries.nii"):
        return int(shape[0]), int(shape[1])
    return (int(shape[3]), int(np.prod(shape[:3]))) if len(shape) == 4 else (0, 0)


def unreadable(path: Path, error: Exception) -> InputDataError:
    """Return the error for a file that is no image, or is cut off."""
    return InputDataError(
        f"<{path}> cannot be read as an image: {error}. Is it complete? In a DataLad dataset run "
        "`datalad get` on it."
    )


def _period_of_header(image: Any) -> tuple[float, str]:
    try:
        unit = image.header.get_xyzt_units()[1]
    except KeyError:  # a code that the standard does not have
        unit = "unknown"
    return float(image.header.get_zooms()[3]), unit
