"""Cross-spectra of regional series with censored samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from npi_bids.records import Array, Mask, RegionSeries

Complex = NDArray[np.complex128]

# Share of a run tapered at each end; 20 and 50 % lower r by .01 and .06 in band-passed networks.
_TAPER = 0.05
_MAX_BINS, _MIN_BINS, _SAMPLES_PER_BIN = 48, 16, 25
# Large atlases get half as many bins, since time and memory are proportional to their number.
_LARGE_ATLAS, _MAX_BINS_LARGE_ATLAS = 128, 24
_MIN_SAMPLES = 20  # uncensored samples that a run must have for a spectrum
_LONG_GAP = 20  # samples; a run is split where a gap is longer
# For a masked run: number of lags per bin that enter the spectrum, and the share of the products
# at lag 0 below which a lag counts as not estimated.
_LAGS_PER_BIN, _MIN_PRODUCTS = 6, 0.02
_MAX_COEFFICIENT = 0.95
_MIN_EIGENVALUE = 1e-9  # smallest eigenvalue, as a share of the largest
_FLOOR = 1e-4  # share of the largest power below which a bin counts as filtered out
_MIN_SIGNAL_SHARE = 0.05  # share of a bin's power below which noise has drowned the signal


@dataclass(frozen=True, slots=True, eq=False)
class AutoSpectra:
    """Spectra of single regions.

    Attributes
    ----------
    frequency
        Shape (n_bins,); radians per sample.
    power
        Shape (n_bins, n_regions).
    n_ordinates
        Shape (n_bins,); independent ordinates.
    """

    frequency: Array
    power: Array
    n_ordinates: Array


@dataclass(frozen=True, slots=True, eq=False)
class CrossSpectra:
    """Mean cross-periodograms in frequency bins, pooled over runs.

    Attributes
    ----------
    frequency
        Shape (n_bins,); radians per sample, between 0 and pi.
    power
        Shape (n_bins, n_regions, n_regions): mean of ``conj(Y_i) Y_j`` per sample; its mean over
        all ordinates is the covariance at lag 0.
    n_ordinates
        Shape (n_bins,); independent ordinates, in total as many as there are uncensored samples
        (one each of cosine and sine).
    lagged_share
        Number of products of the prewhitened signals at lag 1 (each needs three consecutive
        uncensored samples), relative to that of as many samples without gaps.
    """

    frequency: Array
    power: Complex
    n_ordinates: Array
    lagged_share: float = 1.0

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return int(self.power.shape[1])

    @property
    def n_samples(self) -> float:
        """Number of samples that the ordinates represent."""
        return float(self.n_ordinates.sum())

    def band(self) -> tuple[float, float] | None:
        """Return the band that has power, in radians per sample, or None if every bin has."""
        mean_power = np.einsum("kii->k", self.power).real
        occupied = np.flatnonzero(mean_power > _FLOOR * mean_power.max())
        if len(occupied) == len(mean_power):
            return None
        return float(self.frequency[occupied[0]]), float(self.frequency[occupied[-1]])

    def within(self, band: tuple[float, float] | None) -> CrossSpectra:
        """Return the spectra of the bins within a band."""
        if band is None:
            return self
        return self.take_bins(self._lies_within(band))

    def outside(self, band: tuple[float, float]) -> AutoSpectra:
        """Return the spectra of single regions in the bins outside a band."""
        bins = ~self._lies_within(band)
        power: Array = np.einsum("kii->ki", self.power[bins]).real
        return AutoSpectra(self.frequency[bins], power, self.n_ordinates[bins])

    def _lies_within(self, band: tuple[float, float]) -> Mask:
        return (self.frequency >= band[0]) & (self.frequency <= band[1])

    def without_delays(self, delays: Array) -> CrossSpectra:
        """Return the spectra without the delay of each region, shape (n_regions,), in samples."""
        phase = np.exp(1j * self.frequency[:, None] * delays)
        aligned: Complex = self.power * phase.conj()[:, :, None] * phase[:, None, :]
        return replace(self, power=aligned)

    def of_regions(self, n_regions: int) -> CrossSpectra:
        """Return the spectra of at most ``n_regions`` regions, evenly spaced."""
        last = self.n_regions - 1
        regions = np.unique(np.linspace(0, last, min(n_regions, last + 1)).astype(int))
        power = self.power[:, regions[:, None], regions]
        return replace(self, power=power)

    def take_bins(self, bins: Mask) -> CrossSpectra:
        """Restrict the spectra to some bins."""
        return replace(
            self,
            frequency=self.frequency[bins],
            power=self.power[bins],
            n_ordinates=self.n_ordinates[bins],
        )

    def fill_bins(self, n_bins: int) -> CrossSpectra:
        """Return spectra with all of ``n_bins`` bins; those that were empty have no ordinates."""
        rounding = 1e-9
        bins = np.minimum((self.frequency / np.pi * n_bins + rounding).astype(int), n_bins - 1)
        frequency, n_ordinates = np.zeros(n_bins), np.zeros(n_bins)
        power: Complex = np.zeros((n_bins, *self.power.shape[1:]), dtype=np.complex128)
        frequency[bins], power[bins], n_ordinates[bins] = (
            self.frequency, self.power, self.n_ordinates,
        )  # fmt: skip
        return replace(self, frequency=frequency, power=power, n_ordinates=n_ordinates)

    def lagged_moments(self) -> tuple[Array, Array]:
        """Return the mean products of samples with themselves, and (rows) with the next ones."""
        share = self.n_ordinates / self.n_samples
        ahead = share * np.exp(1j * self.frequency)
        past: Array = np.einsum("k,kij->ij", share, self.power).real
        cross: Array = np.einsum("k,kij->ij", ahead, self.power).real
        return past, cross

    def noise_power(self, share: float) -> Array:
        """Return the power of white noise with a share of the mean power, shape (n_regions,)."""
        power: Array = np.einsum("k,kii->i", self.n_ordinates, self.power).real / self.n_samples
        return share * power

    def signal_share(self, share: float) -> Array:
        """Return the share of the power of each bin that is not white noise, shape (n_bins,)."""
        if not share:
            return np.ones(len(self.frequency))
        noise = self.noise_power(share)
        relative = np.einsum("kii,i->k", self.power, share / noise).real / self.n_regions
        signal_share: Array = 1 - share / relative
        return signal_share

    def without_noise(self, share: float) -> CrossSpectra:
        """Subtract white noise whose variance is the same share of every region's power.

        Ordinates count by the share of the signal in their bin; bins that are nearly all noise are
        left out.
        """
        if not share:
            return self
        noise, signal_share = self.noise_power(share), self.signal_share(share)
        usable = signal_share > _MIN_SIGNAL_SHARE
        power = self.power[usable] - np.diag(noise)
        return replace(
            self,
            frequency=self.frequency[usable],
            power=_make_positive(power),
            n_ordinates=(self.n_ordinates * signal_share)[usable],
        )


def adjoint(matrices: Complex) -> Complex:
    """Return the conjugate transposes of matrices, shape (n_bins, n, n)."""
    return np.conj(np.swapaxes(matrices, 1, 2))


def split_runs(runs: Sequence[RegionSeries], n_parts: int) -> list[list[RegionSeries]]:
    """Split runs into ``n_parts`` consecutive parts of equal length."""
    n_samples = sum(len(run.keep) for run in runs)
    bounds = np.linspace(0, n_samples, n_parts + 1).astype(int)
    parts: list[list[RegionSeries]] = [[] for _ in range(n_parts)]
    start = 0
    for run in runs:
        for index, (a, b) in enumerate(pairwise(bounds - start)):
            rows = slice(max(a, 0), max(min(b, len(run.keep)), 0))
            if rows.start < rows.stop:
                parts[index].append(replace(run, data=run.data[rows], keep=run.keep[rows]))
        start += len(run.keep)
    return parts


def pool_spectra(parts: Sequence[CrossSpectra]) -> CrossSpectra:
    """Return spectra pooled over parts with the same bins, each weighted by its ordinates."""
    n_ordinates = np.sum([part.n_ordinates for part in parts], axis=0)
    shares = [part.n_ordinates / np.where(n_ordinates > 0, n_ordinates, 1) for part in parts]
    pairs = list(zip(shares, parts, strict=True))
    n_samples = [part.n_samples for part in parts]
    return CrossSpectra(
        np.sum([share * part.frequency for share, part in pairs], axis=0),
        np.sum([share[:, None, None] * part.power for share, part in pairs], axis=0),
        n_ordinates,
        float(np.average([part.lagged_share for part in parts], weights=n_samples)),
    )


def choose_n_bins(n_samples: int, n_regions: int) -> int:
    """Return the number of frequency bins for ``n_samples`` samples of ``n_regions`` regions."""
    most = _MAX_BINS if n_regions <= _LARGE_ATLAS else _MAX_BINS_LARGE_ATLAS
    return int(min(most, max(_MIN_BINS, n_samples // _SAMPLES_PER_BIN)))


def cross_spectra(runs: Sequence[RegionSeries], n_bins: int | None = None) -> CrossSpectra:
    """Return the cross-spectra pooled over runs.

    Each run is centred, tapered at its ends by a split cosine, and padded to twice its length.
    Where samples are censored, the lagged products of the uncensored ones are rescaled, lag by
    lag, to what a complete run would give: with the tapered mask m and the taper h, the mean of
    ``sum_t m_t m_(t+s) x_i(t) x_j(t+s)`` is the covariance at lag s times the autocorrelation of
    m at s, and is multiplied by that of h over that of m. The expected spectra are thus the same
    for any mask; only their variance grows.

    Parameters
    ----------
    runs
        Series of the same regions, all of them covered.
    n_bins
        Number of bins over (0, pi); if None, it depends on the number of samples.
    """
    pieces = [piece for run in runs for piece in _split_at_gaps(run)]
    usable = [piece for piece in pieces if piece.keep.sum() >= _MIN_SAMPLES]
    if not usable:
        usable = [piece for piece in pieces if piece.keep.any()]
    n_uncensored = sum(int(run.keep.sum()) for run in usable)
    n_regions = usable[0].data.shape[1]
    n_bins = choose_n_bins(n_uncensored, n_regions) if n_bins is None else n_bins
    power = np.zeros((n_bins, n_regions, n_regions), dtype=np.complex128)
    n_ordinates, summed_frequency = np.zeros(n_bins), np.zeros(n_bins)
    for run in usable:
        run_power, ordinates, frequency = _bin_periodograms(run, n_bins)
        power += run_power
        n_ordinates += ordinates
        summed_frequency += ordinates * frequency
    occupied = n_ordinates > 0
    mean = power[occupied] / n_ordinates[occupied][:, None, None]
    if not all(piece.keep.all() for piece in usable):
        mean = _make_positive(mean)
    n_lagged = sum(
        int((piece.keep[2:] & piece.keep[1:-1] & piece.keep[:-2]).sum()) for piece in usable
    )
    return CrossSpectra(
        summed_frequency[occupied] / n_ordinates[occupied],
        mean,
        n_ordinates[occupied],
        n_lagged / max(n_uncensored - 2 * len(usable), 1),
    )


def _make_positive(power: Complex) -> Complex:
    """Return the nearest positive definite spectra; those of masked runs need not be."""
    values, vectors = np.linalg.eigh((power + adjoint(power)) / 2)
    least = _MIN_EIGENVALUE * values[:, -1].max()
    positive: Complex = (vectors * np.maximum(values, least)[:, None, :]) @ adjoint(vectors)
    return positive


def _split_at_gaps(run: RegionSeries) -> list[RegionSeries]:
    """Split a run at long gaps; each piece begins and ends with an uncensored sample."""
    uncensored = np.flatnonzero(run.keep)
    if not uncensored.size:
        return []
    breaks = np.flatnonzero(np.diff(uncensored) > _LONG_GAP)
    starts, stops = uncensored[np.r_[0, breaks + 1]], uncensored[np.r_[breaks, -1]] + 1
    return [
        replace(run, data=run.data[a:b], keep=run.keep[a:b])
        for a, b in zip(starts, stops, strict=True)
    ]


def _bin_periodograms(run: RegionSeries, n_bins: int) -> tuple[Complex, Array, Array]:
    """Return the summed cross-periodograms, ordinates and mean frequency of each bin of a run."""
    keep = run.keep
    n, n_uncensored = len(keep), int(keep.sum())
    frequency = np.arange(n + 1) * np.pi / n
    weight = np.full(n + 1, 1.0)
    weight[0] = weight[-1] = 0.5
    bins = np.minimum((frequency / np.pi * n_bins).astype(int), n_bins - 1)
    ordinates = np.bincount(bins, weight, n_bins).astype(np.float64)
    mean = np.bincount(bins, weight * frequency, n_bins) / np.maximum(ordinates, 1e-12)
    weights = np.zeros((n_bins, n + 1))
    weights[bins, np.arange(n + 1)] = weight
    data, taper = _centre(run.data, keep), _taper(n)
    if n_uncensored < n:
        data, predicted, coefficient = _prewhiten(data, keep)
        weights = weights / np.abs(1 - coefficient * np.exp(-1j * frequency)) ** 2
        weights = _unmask_weights(weights, taper, predicted)
    spectrum = np.fft.fft(data * taper[:, None], 2 * n, axis=0) / np.sqrt(n)
    power = np.stack([_gram(spectrum, row) for row in weights])
    share = n_uncensored / n
    return power * share, ordinates * share, mean


def _centre(data: Array, keep: Mask) -> Array:
    """Centre the data over the uncensored samples, and set the censored ones to 0."""
    uncensored = np.where(keep[:, None], data, 0.0)
    centred: Array = np.where(keep[:, None], uncensored - uncensored.sum(axis=0) / keep.sum(), 0.0)
    return centred


def _prewhiten(data: Array, keep: Mask) -> tuple[Array, Mask, float]:
    """Remove a first-order autoregression that is the same for all regions.

    Through a ragged mask, power at low frequencies would leak into high frequencies and mask them.

    Returns
    -------
    data, predicted
        Residual of the prediction from the sample before, and where it exists: both samples are
        uncensored.
    coefficient
        The coefficient of the autoregression.
    """
    predicted = keep.copy()
    predicted[0] = False
    predicted[1:] &= keep[:-1]
    before, after = data[:-1][predicted[1:]], data[1:][predicted[1:]]
    coefficient = float(np.sum(before * after) / max(float(np.sum(before**2)), 1e-12))
    coefficient = float(np.clip(coefficient, 0.0, _MAX_COEFFICIENT))
    residual = np.zeros_like(data)
    residual[predicted] = data[predicted] - coefficient * data[np.flatnonzero(predicted) - 1]
    return residual, predicted, coefficient


def _gram(spectrum: Complex, weights: Array) -> Complex:
    """Return ``sum_w weights conj(Y_i) Y_j`` over the ordinates with non-zero weights."""
    weighted = np.flatnonzero(np.abs(weights) > 1e-9 * np.abs(weights).max())
    selected = spectrum[weighted]
    gram: Complex = (selected.conj() * weights[weighted, None]).T @ selected
    return gram


def _taper(n: int) -> Array:
    taper, n_end = np.ones(n), int(_TAPER * n)
    if n_end:
        rise = 0.5 * (1 - np.cos(np.pi * (np.arange(n_end) + 0.5) / n_end))
        taper[:n_end], taper[-n_end:] = rise, rise[::-1]
    scaled: Array = taper / np.sqrt(np.mean(taper**2))
    return scaled


def _unmask_weights(inside: Array, taper: Array, keep: Mask) -> Array:
    """Return the weights with which a masked run gives the bins of a complete one.

    Multiplying by lag is a convolution over frequency, which enters the weights of the bins; they
    cover the full circle, negative frequencies last. Parzen's window excludes lags much longer
    than a bin can resolve: through the raggedness of the mask they would leak the large power of
    low frequencies into the small power of high frequencies.
    """
    n = len(keep)
    complete, masked = (
        np.fft.irfft(np.abs(np.fft.rfft(part, 2 * n)) ** 2, 2 * n)
        for part in (taper, taper * keep)
    )
    estimable = masked > _MIN_PRODUCTS * masked[0]
    ratio = np.where(estimable, complete / np.maximum(masked, 1e-12), 0.0)
    ratio = ratio * _parzen(2 * n, _LAGS_PER_BIN * len(inside))
    one_sided = np.zeros((len(inside), 2 * n))
    one_sided[:, : n + 1] = inside
    unmasked: Array = np.fft.ifft(np.fft.fft(one_sided, axis=1) * ratio, axis=1).real
    return unmasked


def _parzen(n: int, reach: int) -> Array:
    """Return Parzen's lag window over the lags of a circle of ``n`` samples."""
    lag = np.minimum(np.arange(n), n - np.arange(n)) / reach
    inner, outer = 1 - 6 * lag**2 + 6 * lag**3, 2 * np.clip(1 - lag, 0, None) ** 3
    window: Array = np.where(lag <= 0.5, inner, outer).astype(np.float64)
    return window
