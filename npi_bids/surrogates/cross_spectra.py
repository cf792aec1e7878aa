"""Cross-spectra of regional series, whatever samples are censored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from npi_bids.records import Array, Mask, RegionSeries

Complex = NDArray[np.complex128]

_TAPER = 0.05  # of a run at each end; 20 and 50 % cost .01 and .06 of r in band-passed networks
_MOST_BINS, _FEWEST_BINS, _SAMPLES_PER_BIN = 48, 16, 25
_FEWEST = 20  # kept samples of a run that has a spectrum
_LONG_GAP = 20  # samples, after which a run is taken for another one
# Of a masked run: lags that count, per bin, and the share of the products of lag 0 below which a
# lag is not known.
_LAGS_PER_BIN, _FEWEST_PRODUCTS = 6, 0.02
_MOST_OWN = 0.95
_LEAST = 1e-9  # share of the largest eigenvalue that every one has
_FLOOR = 1e-4  # share of the largest power below which a filter has left nothing


@dataclass(frozen=True, slots=True, eq=False)
class CrossSpectra:
    """Mean cross-periodograms in bins of frequency, all runs together.

    Attributes
    ----------
    frequency
        Shape (n_bins,); radians per sample, between 0 and pi.
    power
        Shape (n_bins, n_regions, n_regions): mean of ``conj(Y_i) Y_j`` per sample; its mean over
        all ordinates is the covariance at lag 0.
    n_ordinates
        Shape (n_bins,); independent ordinates, in all as many as there are kept samples (one each
        of cosine and sine).
    """

    frequency: Array
    power: Complex
    n_ordinates: Array

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return int(self.power.shape[1])

    @property
    def n_samples(self) -> float:
        """Samples that the ordinates stand for."""
        return float(self.n_ordinates.sum())

    def band(self) -> tuple[float, float] | None:
        """Return the band in which there is power, in radians per sample; None where all has."""
        mean = np.einsum("kii->k", self.power).real
        there = np.flatnonzero(mean > _FLOOR * mean.max())
        if len(there) == len(mean):
            return None
        return float(self.frequency[there[0]]), float(self.frequency[there[-1]])

    def within(self, band: tuple[float, float] | None) -> CrossSpectra:
        """Return the bins of a band."""
        if band is None:
            return self
        inside = (self.frequency >= band[0]) & (self.frequency <= band[1])
        return CrossSpectra(self.frequency[inside], self.power[inside], self.n_ordinates[inside])


def stretches(runs: Sequence[RegionSeries], n_parts: int) -> list[list[RegionSeries]]:
    """Return runs in so many parts, one after the other in time, as long as each other."""
    n_samples = sum(len(run.keep) for run in runs)
    bounds = np.linspace(0, n_samples, n_parts + 1).astype(int)
    parts: list[list[RegionSeries]] = [[] for _ in range(n_parts)]
    start = 0
    for run in runs:
        for place, (a, b) in enumerate(pairwise(bounds - start)):
            rows = slice(max(a, 0), max(min(b, len(run.keep)), 0))
            if rows.start < rows.stop:
                parts[place].append(replace(run, data=run.data[rows], keep=run.keep[rows]))
        start += len(run.keep)
    return parts


def n_bins_of(n_samples: int) -> int:
    """Return into how many bins the spectra of so many samples are put."""
    return int(min(_MOST_BINS, max(_FEWEST_BINS, n_samples // _SAMPLES_PER_BIN)))


def cross_spectra(runs: Sequence[RegionSeries], n_bins: int | None = None) -> CrossSpectra:
    """Return the cross-spectra of all runs together.

    Each run is centred, tapered at its ends by a split cosine, and padded to twice its length.
    Where samples are censored, the lagged products of the kept ones are brought to what a whole
    run would give, lag by lag: with the tapered mask m and the taper h, the mean of
    ``sum_t m_t m_(t+s) x_i(t) x_j(t+s)`` is the covariance at lag s times the autocorrelation of
    m at s, and is multiplied by that of h over that of m. The mean of the spectra is thus the same
    for any mask; only their variance grows.

    Parameters
    ----------
    runs
        Series of the same regions, all of them covered.
    n_bins
        Of (0, pi); by the number of samples where None.
    """
    pieces = [piece for run in runs for piece in _pieces(run)]
    usable = [piece for piece in pieces if piece.keep.sum() >= _FEWEST]
    if not usable:
        usable = [piece for piece in pieces if piece.keep.any()]
    n_kept = sum(int(run.keep.sum()) for run in usable)
    n_bins = n_bins_of(n_kept) if n_bins is None else n_bins
    n_regions = usable[0].data.shape[1]
    power = np.zeros((n_bins, n_regions, n_regions), dtype=np.complex128)
    count, where = np.zeros(n_bins), np.zeros(n_bins)
    for run in usable:
        found, ordinates, frequency = _of_run(run, n_bins)
        power += found
        count += ordinates
        where += ordinates * frequency
    there = count > 0
    mean = power[there] / count[there][:, None, None]
    if not all(piece.keep.all() for piece in usable):
        mean = _positive(mean)
    return CrossSpectra(where[there] / count[there], mean, count[there])


def _positive(power: Complex) -> Complex:
    """Return the nearest spectra of any process; those of masked runs need not be of one."""
    values, vectors = np.linalg.eigh((power + np.conj(np.swapaxes(power, 1, 2))) / 2)
    least = _LEAST * values[:, -1].max()
    positive: Complex = (vectors * np.maximum(values, least)[:, None, :]) @ np.conj(
        np.swapaxes(vectors, 1, 2)
    )
    return positive


def _pieces(run: RegionSeries) -> list[RegionSeries]:
    """Return a run in the pieces that long gaps leave, each from its first kept sample on."""
    kept = np.flatnonzero(run.keep)
    if not kept.size:
        return []
    breaks = np.flatnonzero(np.diff(kept) > _LONG_GAP)
    starts, stops = kept[np.r_[0, breaks + 1]], kept[np.r_[breaks, -1]] + 1
    return [
        replace(run, data=run.data[a:b], keep=run.keep[a:b])
        for a, b in zip(starts, stops, strict=True)
    ]


def _of_run(run: RegionSeries, n_bins: int) -> tuple[Complex, Array, Array]:
    """Return summed cross-periodograms of a run, ordinates, and mean frequency of each bin."""
    keep = run.keep
    n, n_kept = len(keep), int(keep.sum())
    frequency = np.arange(n + 1) * np.pi / n
    weight = np.full(n + 1, 1.0)
    weight[0] = weight[-1] = 0.5
    bins = np.minimum((frequency / np.pi * n_bins).astype(int), n_bins - 1)
    ordinates = np.bincount(bins, weight, n_bins).astype(np.float64)
    mean = np.bincount(bins, weight * frequency, n_bins) / np.maximum(ordinates, 1e-12)
    inside = np.zeros((n_bins, n + 1))
    inside[bins, np.arange(n + 1)] = weight
    data, taper = _centred(run.data, keep), _taper(n)
    if n_kept < n:
        data, known, own = _prewhitened(data, keep)
        inside = inside / np.abs(1 - own * np.exp(-1j * frequency)) ** 2
        inside = _unmasked(inside, taper, known)
    spectrum = np.fft.fft(data * taper[:, None], 2 * n, axis=0) / np.sqrt(n)
    power = np.stack([_gram(spectrum, row) for row in inside])
    share = n_kept / n
    return power * share, ordinates * share, mean


def _centred(data: Array, keep: Mask) -> Array:
    """Return the data with a mean of 0 over the kept samples, and 0 in the others."""
    known = np.where(keep[:, None], data, 0.0)
    centred: Array = np.where(keep[:, None], known - known.sum(axis=0) / keep.sum(), 0.0)
    return centred


def _prewhitened(data: Array, keep: Mask) -> tuple[Array, Mask, float]:
    """Take out one autoregression of order 1, the same for all regions.

    Through a ragged mask the large power of slow frequencies would drown that of fast ones.

    Returns
    -------
    data, known
        What the sample before does not predict, and where that is known: both samples are kept.
    own
        The coefficient.
    """
    known = keep.copy()
    known[0] = False
    known[1:] &= keep[:-1]
    before, after = data[:-1][known[1:]], data[1:][known[1:]]
    own = float(np.sum(before * after) / max(float(np.sum(before**2)), 1e-12))
    own = float(np.clip(own, 0.0, _MOST_OWN))
    left = np.zeros_like(data)
    left[known] = data[known] - own * data[np.flatnonzero(known) - 1]
    return left, known, own


def _gram(spectrum: Complex, weights: Array) -> Complex:
    """Return ``sum_w weights conj(Y_i) Y_j`` over the ordinates that have a weight."""
    there = np.flatnonzero(np.abs(weights) > 1e-9 * np.abs(weights).max())
    some = spectrum[there]
    found: Complex = (some.conj() * weights[there, None]).T @ some
    return found


def _taper(n: int) -> Array:
    taper, n_end = np.ones(n), int(_TAPER * n)
    if n_end:
        rise = 0.5 * (1 - np.cos(np.pi * (np.arange(n_end) + 0.5) / n_end))
        taper[:n_end], taper[-n_end:] = rise, rise[::-1]
    scaled: Array = taper / np.sqrt(np.mean(taper**2))
    return scaled


def _unmasked(inside: Array, taper: Array, keep: Mask) -> Array:
    """Return weights of the ordinates of a masked run that give the bins of a whole one.

    A product by lag is a convolution over frequency, which goes into the weights of the bins; they
    reach over all of the circle, negative frequencies last. Lags that are much longer than a bin
    can tell are left out by Parzen's window: they would let the large power of slow frequencies,
    through the raggedness of the mask, into the small one of fast frequencies.
    """
    n = len(keep)
    whole, masked = (
        np.fft.irfft(np.abs(np.fft.rfft(part, 2 * n)) ** 2, 2 * n)
        for part in (taper, taper * keep)
    )
    known = masked > _FEWEST_PRODUCTS * masked[0]
    ratio = np.where(known, whole / np.maximum(masked, 1e-12), 0.0)
    ratio = ratio * _parzen(2 * n, _LAGS_PER_BIN * len(inside))
    one_sided = np.zeros((len(inside), 2 * n))
    one_sided[:, : n + 1] = inside
    spread: Array = np.fft.ifft(np.fft.fft(one_sided, axis=1) * ratio, axis=1).real
    return spread


def _parzen(n: int, reach: int) -> Array:
    """Return Parzen's lag window over the lags of a circle of ``n`` samples."""
    lag = np.minimum(np.arange(n), n - np.arange(n)) / reach
    inner, outer = 1 - 6 * lag**2 + 6 * lag**3, 2 * np.clip(1 - lag, 0, None) ** 3
    window: Array = np.where(lag <= 0.5, inner, outer).astype(np.float64)
    return window
