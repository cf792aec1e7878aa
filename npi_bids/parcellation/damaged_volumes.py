"""Damaged volumes: constant, not finite, or far from the volumes around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npi_bids.matrices import SD_PER_MAD
from npi_bids.records import (
    Array,
    Mask,
)

# A volume is far from the volumes around it where in a quarter of the regions it differs from
# their running median by more than 10 robust SD *and* by more than a tenth of the region's level.
# Head motion changes most of the brain by a few per cent (Power et al. 2014,
# doi:10.1016/j.neuroimage.2013.08.048: plots saturate at 2 %, DVARS of 10 % is rare), so that the
# second condition spares motion, which --fd-thresh is for; a sample of 10 SD already holds a
# third of the variance of 300. Counting outliers against the MAD is what AFNI's 3dToutcount does.
_WINDOW, ROBUST_SD, CHANGE, SHARE = 21, 10.0, 0.1, 0.25
_FEWEST = 5  # samples that a running median needs
# Larger values count as not finite: 32-bit floats, in which images are written, end here.
LARGEST = float(np.finfo(np.float32).max)
MOST_DAMAGED = 1 / 3  # share of the samples above which the image as a whole is damaged


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Damaged volumes of a run, and its mean signal.

    Attributes
    ----------
    damaged
        Shape (n_samples,); True for volumes that are constant, or hold fewer than half as many
        finite values as the others.
    brain_mean
        Shape (n_samples,); mean within the brain mask, NaN where there is none.
    """

    damaged: Mask
    brain_mean: Array


def are_usable(values: NDArray[np.number]) -> Mask:
    """Return which values are finite as 32-bit floats."""
    if values.dtype.kind != "f":
        return np.ones(values.shape, dtype=bool)
    usable: Mask = np.abs(values) <= LARGEST
    return usable


class SampleStatistics:
    """Number, minimum, maximum and mean of the finite values of each sample.

    Parameters
    ----------
    n_samples
        Number of samples.
    with_mean
        Whether to compute the mean, which takes longer than the other statistics.
    """

    def __init__(self, n_samples: int, *, with_mean: bool = True) -> None:
        self.n_finite = np.zeros(n_samples, dtype=np.int64)
        self.low, self.high = np.full(n_samples, np.inf), np.full(n_samples, -np.inf)
        self._total = np.zeros(n_samples) if with_mean else None

    def add(self, sample: int, values: NDArray[np.number]) -> bool:
        """Add values to a sample, and return whether all of them are finite."""
        if not values.size:
            return True
        low, high = values.min(), values.max()  # NaN where a value is
        all_finite = bool(low >= -LARGEST and high <= LARGEST)
        if not all_finite:
            values = values[are_usable(values)]
            if not values.size:
                return False
            low, high = values.min(), values.max()
        self.n_finite[sample] += values.size
        self.low[sample] = min(self.low[sample], low)
        self.high[sample] = max(self.high[sample], high)
        if self._total is not None:
            self._total[sample] += values.sum(dtype=np.float64)
        return all_finite

    def add_block(self, values: NDArray[np.number]) -> None:
        """Add values to all samples, shape (n_samples, n_values)."""
        usable = are_usable(values)
        self.n_finite += usable.sum(axis=1)
        # Only floats can be unusable; whole numbers have no infinite end.
        low = high = values
        if not usable.all():
            low, high = np.where(usable, values, np.inf), np.where(usable, values, -np.inf)
            values = np.where(usable, values, 0)
        self.low = np.minimum(self.low, low.min(axis=1))
        self.high = np.maximum(self.high, high.max(axis=1))
        if self._total is not None:
            self._total += values.sum(axis=1, dtype=np.float64)

    @property
    def mean(self) -> Array:
        """Mean of the finite values; NaN where there are none, or if it is not computed."""
        if self._total is None:
            return np.full(len(self.n_finite), np.nan)
        with np.errstate(invalid="ignore"):
            mean: Array = self._total / self.n_finite
        return mean

    @property
    def flat(self) -> Mask:
        """Samples that are constant, or not finite anywhere."""
        flat: Mask = ~(self.low < self.high)
        return flat

    @property
    def damaged(self) -> Mask:
        """Samples that are flat, or have less than half as many finite values as the others.

        False throughout if all samples are flat, since then the image as a whole is damaged.
        """
        flat = self.flat
        if flat.all():
            return np.zeros_like(flat)
        sparse: Mask = self.n_finite < 0.5 * np.median(self.n_finite[~flat])
        return flat | sparse


def far_samples(means: Array, counted: Mask) -> Mask:
    """Return which samples are far from those around them; False for those not counted.

    Parameters
    ----------
    means
        Regional means before cleaning, shape (n_samples, n_regions).
    counted
        Shape (n_samples,); samples to examine. The others are ignored.
    """
    far: Mask = np.zeros(len(means), dtype=bool)
    examined = means[counted]
    if len(examined) < _FEWEST:
        return far
    window = min(_WINDOW, len(examined) - 1 + len(examined) % 2)
    level = _running_median(examined, window)
    distance = np.abs(examined - level)
    spread = SD_PER_MAD * np.median(distance, axis=0)
    limit = np.maximum(ROBUST_SD * spread, CHANGE * np.abs(level))
    varies = spread > 0
    if varies.any():
        far[counted] = (distance > limit)[:, varies].mean(axis=1) > SHARE
    return far


def _running_median(signals: Array, window: int) -> Array:
    """Return the running median of each column, mirrored at its ends.

    All columns are filtered as one long row: SciPy filters rows in a tenth of the time that it
    takes for columns, and what its windows mix at the seams of two columns is cut off.
    """
    from scipy.ndimage import median_filter

    reach = window // 2
    padded = np.pad(signals, ((reach, reach), (0, 0)), mode="reflect")
    row = np.ascontiguousarray(padded.T).ravel()
    medians = median_filter(row, window, mode="mirror").reshape(padded.T.shape)
    level: Array = medians[:, reach : padded.shape[0] - reach].T
    return level
