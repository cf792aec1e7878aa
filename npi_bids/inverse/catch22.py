"""The features catch22 of signals (Lubba et al. 2019, doi:10.1007/s10618-019-00647-x).

Written from the published definitions, whose names the features keep. The signal is standardised,
so that the features do not depend on its unit. Those that take longest are computed for all
signals at once.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.interpolate import make_lsq_spline

from npi_bids.errors import InputDataError
from npi_bids.records import Array, Mask

Index = NDArray[np.intp]
_N_GROUPS = 3  # of symbols
SHORTEST = 20  # samples


def compute_catch22(signals: Array) -> Array:
    """Compute the 22 features of one or more signals.

    Parameters
    ----------
    signals
        Shape (n_samples,) or (n_samples, n_signals), in any unit.

    Returns
    -------
    Array
        Shape (22,) or (n_signals, 22), in the order of ``CATCH22``.

    Raises
    ------
    InputDataError
        A signal is shorter than 20 samples, does not vary, or is not finite.
    """
    # Sums over rows round alike however many rows there are.
    rows = np.ascontiguousarray(np.atleast_2d(signals.T))
    for row in rows:
        if len(row) < SHORTEST or not np.isfinite(row).all() or not np.ptp(row) > 0:
            raise InputDataError(
                f"catch22 needs a finite signal that varies, of at least {SHORTEST} samples; "
                f"this one has {len(row)} samples and a range of {np.ptp(row):g}."
            )
    z = (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, ddof=1, keepdims=True)
    features = np.column_stack([feature(z) for feature in CATCH22.values()])
    return features if signals.ndim > 1 else features[0]


def _histogram_mode(z: Array, n_bins: int) -> float:
    """Return the centre of the fullest bin; the mean of several."""
    counts, edges = _histogram(z, n_bins)
    centres = (edges[:-1] + edges[1:]) / 2
    return float(centres[counts == counts.max()].mean())


def _histogram(values: Array, n_bins: int) -> tuple[Index, Array]:
    low, width = values.min(), np.ptp(values) / n_bins
    bins = np.clip(((values - low) / width).astype(int), 0, n_bins - 1)
    return np.bincount(bins, minlength=n_bins), low + width * np.arange(n_bins + 1)


def _autocorrelation(z: Array) -> Array:
    """Return the autocorrelation at lags 0 to n_samples - 1."""
    centred = z - z.mean()
    power = np.abs(np.fft.rfft(centred, next_fast_len(2 * len(z)))) ** 2
    covariance = np.fft.irfft(power, next_fast_len(2 * len(z)))[: len(z)]
    autocorrelation: Array = covariance / covariance[0]
    return autocorrelation


def _first_zero(z: Array) -> int:
    """Return the first lag at which the autocorrelation is not positive."""
    crossed = np.flatnonzero(_autocorrelation(z) <= 0)
    return int(crossed[0]) if len(crossed) else len(z)


def _first_decay(z: Array) -> float:
    """Return the lag at which the autocorrelation falls to 1/e, interpolated."""
    autocorrelation, level = _autocorrelation(z), 1 / np.e
    below = np.flatnonzero(autocorrelation[1:] < level)
    if not len(below):
        return len(z)
    lag = int(below[0])
    slope = autocorrelation[lag + 1] - autocorrelation[lag]
    return float(lag + (level - autocorrelation[lag]) / slope)


def _first_local_minimum(values: Array, default: int) -> int:
    """Return the index of the first local minimum."""
    inner = (values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])
    found = np.flatnonzero(inner)
    return int(found[0]) + 1 if len(found) else default


def _histogram_mutual_information(z: Array) -> float:
    """Return the mutual information over a lag of 2, from 5 equal bins (nats)."""
    margin, n_bins, lag = 0.1, 5, 2
    width = (np.ptp(z) + 2 * margin) / n_bins
    edges = z.min() - margin + width * np.arange(n_bins + 1)
    bins = np.searchsorted(edges, z, side="right") - 1
    joint = np.zeros((n_bins, n_bins))
    np.add.at(joint, (bins[:-lag], bins[lag:]), 1 / (len(z) - lag))
    independent = joint.sum(axis=1)[:, None] * joint.sum(axis=0)
    filled = joint > 0
    return float(np.sum(joint[filled] * np.log(joint[filled] / independent[filled])))


def _time_reversal(z: Array) -> float:
    return float(np.mean(np.diff(z) ** 3))


def _large_changes(z: Array) -> float:
    """Return the share of successive differences above .04."""
    return float(np.mean(np.abs(np.diff(z)) > 0.04))


def _longest_stretch(ends: Mask) -> int:
    """Return the longest distance between ends, from the beginning to the last sample."""
    stops = np.flatnonzero(ends)
    stops = np.union1d(stops, [len(ends) - 1])
    return int(np.diff(stops, prepend=0).max())


def _stretch_above_mean(z: Array) -> int:
    return _longest_stretch(z[:-1] - z.mean() <= 0)


def _stretch_of_decrease(z: Array) -> int:
    return _longest_stretch(np.diff(z) >= 0)


def _symbols(z: Array) -> Index:
    """Return the third of the distribution that each sample is in: 0, 1 or 2."""
    inner = np.quantile(z, np.arange(1, _N_GROUPS) / _N_GROUPS, method="hazen")
    return np.searchsorted(inner, z, side="left")


def _count_transitions(symbols: Index) -> Array:
    """Return the share of each pair of successive symbols, indexed ``[from, to]``."""
    shares = np.zeros((_N_GROUPS, _N_GROUPS))
    np.add.at(shares, (symbols[:-1], symbols[1:]), 1.0)
    return shares / (len(symbols) - 1)


def _transition_variance(z: Array) -> float:
    """Return the variances of the columns of the transition matrix, summed."""
    shares = _count_transitions(_symbols(z[:: _first_zero(z)]))
    return float(shares.var(axis=0, ddof=1).sum())


def _motif_entropy(z: Array) -> float:
    """Return the entropy of pairs of successive symbols (nats)."""
    symbols = _symbols(z)
    shares = _count_transitions(symbols) * (len(symbols) - 1) / len(symbols[:-1])
    filled = shares[shares > 0]
    return float(-np.sum(filled * np.log(filled)))


def _periodicities(z: Array) -> Array:
    """Return the first clear peak of the autocovariance without slow trends (Wang et al. 2007).

    ``z`` and what follows of this shape is (n_signals, n_samples).
    """
    order, n = 3, z.shape[1]
    samples = np.arange(n, dtype=np.float64)
    knots = np.concatenate([np.zeros(order + 1), [n // 2 - 1], np.full(order + 1, n - 1.0)])
    residual = z - make_lsq_spline(samples, z.T, knots, order)(samples).T
    lags = np.arange(1, -(-n // 3) + 1)
    covariance = np.column_stack([
        np.einsum("ij,ij->i", residual[:, :-lag], residual[:, lag:]) / (n - lag) for lag in lags
    ])  # fmt: skip
    return np.array([_first_clear_peak(row) for row in covariance])


def _first_clear_peak(covariance: Array) -> int:
    """Return the index of the first positive peak that is well above the trough before it."""
    threshold = 0.01
    rises = np.diff(covariance)
    troughs = np.flatnonzero((rises[:-1] < 0) & (rises[1:] > 0)) + 1
    peaks = np.flatnonzero((rises[:-1] > 0) & (rises[1:] < 0)) + 1
    for peak in peaks:
        earlier = troughs[troughs < peak]
        if not len(earlier) or covariance[peak] < 0:
            continue
        if covariance[peak] - covariance[earlier[-1]] >= threshold:
            return int(peak)
    return 0


def _embedding_distance(z: Array) -> float:
    """Return the mean difference of distances in a delay embedding from an exponential law."""
    delay = _first_zero(z)
    if delay > len(z) / 10:
        delay = len(z) // 10
    changes = np.diff(z)
    distances = np.hypot(changes[: len(changes) - delay], changes[delay:])
    n, sd = len(distances), distances.std(ddof=1)
    if sd < 0.001:
        return 0.0
    n_bins = int(np.ceil(np.ptp(distances) / (3.5 * sd / n ** (1 / 3))))
    counts, edges = _histogram(distances, n_bins)
    mean = distances.mean()
    expected = np.exp(-(edges[:-1] + edges[1:]) / 2 / mean) / mean
    return float(np.abs(counts / n - np.maximum(expected, 0)).mean())


def _gaussian_information_minima(z: Array) -> Array:
    """Return the first minimum over lags of the mutual information of Gaussian signals."""
    longest = min(40, -(-z.shape[1] // 2))
    r = np.column_stack([
        _correlate(z[:, :-lag], z[:, lag:]) for lag in range(1, longest + 1)
    ])  # fmt: skip
    information = -0.5 * np.log(1 - r**2)
    return np.array([_first_local_minimum(row, longest) for row in information])


def _correlate(one: Array, other: Array) -> Array:
    """Return Pearson's correlation of each row of one matrix with that of another."""
    centred = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
    products = [np.einsum("ij,ij->i", a, b) for a in centred for b in centred]
    r: Array = products[1] / np.sqrt(products[0] * products[3])
    return r


def _prediction_errors(z: Array, n_past: int) -> Array:
    """Return the errors of predicting each sample by the mean of the samples before it."""
    sums = np.convolve(z, np.ones(n_past), "valid")[:-1]
    errors: Array = z[n_past:] - sums / n_past
    return errors


def _residual_timescale(z: Array) -> float:
    return _first_zero(_prediction_errors(z, 1)) / _first_zero(z)


def _prediction_error_sd(z: Array) -> float:
    return float(_prediction_errors(z, 3).std(ddof=1))


def _outlier_timing(z: Array, sign: int) -> float:
    """Return when, from -1 to 1, samples beyond rising thresholds occur: the median of medians."""
    step, fewest = 0.01, 2.0  # percent of the samples of this sign
    values = sign * z
    if values.max() < step:
        return 0.0
    thresholds = step * np.arange(int(values.max() / step + 1))
    numbers = len(z) - np.searchsorted(np.sort(values), thresholds, side="left")
    n_sign = np.count_nonzero(values >= 0)
    enough = np.flatnonzero((numbers - 1) * 100 / n_sign > fewest)
    # Where a threshold leaves a single sample, there are no intervals between samples.
    single = np.flatnonzero(numbers <= 1)
    last = min(enough[-1] if len(enough) else 0, single[0] if len(single) else len(thresholds) - 1)
    times = _median_times(values, int(numbers[0]))[numbers[: last + 1] - 1]
    return float(np.median(times / (len(z) / 2) - 1))


def _median_times(values: Array, n_largest: int) -> Array:
    """Return the median times, from 1, of the largest sample, the two largest, and so on."""
    times: list[int] = []
    medians = []
    for time in np.argsort(-values, kind="stable")[:n_largest].tolist():
        insort(times, time + 1)
        middle = len(times) // 2
        medians.append((times[middle] + times[-middle - 1]) / 2)
    return np.array(medians)


def _spectrum(z: Array) -> tuple[Array, Array]:
    """Return angular frequencies and the power spectral density, one rectangular window."""
    n_padded = 1 << (len(z) - 1).bit_length()
    power = np.abs(np.fft.rfft(z - z.mean(), n_padded)) ** 2 / len(z)
    power[1:-1] *= 2
    frequency: Array = np.asarray(np.fft.rfftfreq(n_padded), np.float64)
    return 2 * np.pi * frequency, power / (2 * np.pi)


def _low_frequency_power(z: Array) -> float:
    """Return the power in the lowest fifth of the frequencies."""
    frequency, power = _spectrum(z)
    return float(power[: len(power) // 5].sum() * frequency[1])


def _spectral_median(z: Array) -> float:
    """Return the angular frequency below which half of the power lies."""
    frequency, power = _spectrum(z)
    cumulative = np.cumsum(power)
    return float(frequency[np.argmax(cumulative > cumulative[-1] / 2)])


def _fluctuation_breaks(z: Array, lag: int, measure: Callable[[Array], Array]) -> Array:
    """Return where, among the scales, the scaling of fluctuations changes most."""
    n_signals, n = z.shape
    scales = np.unique(
        np.floor(np.exp(np.linspace(np.log(5), np.log(n // 2), 50)) + 0.5).astype(int)
    )
    if len(scales) < 12:
        return np.zeros(n_signals)
    profiles = np.cumsum(z[:, : n // lag * lag : lag], axis=1)
    fluctuations = [measure(_detrended_segments(profiles, int(scale))) for scale in scales]
    x, y = np.log(scales), np.log(np.column_stack(fluctuations))
    fewest = 6
    splits = range(fewest, len(scales) - fewest + 1)
    errors = np.column_stack([
        _line_errors(x[:k], y[:, :k]) + _line_errors(x[k - 1 :], y[:, k - 1 :]) for k in splits
    ])  # fmt: skip
    breaks: Array = (errors.argmin(axis=1) + fewest) / len(scales)
    return breaks


def _detrended_segments(profiles: Array, scale: int) -> Array:
    """Return segments without their linear trends, shape (n_signals, n_segments, scale)."""
    n_signals, n = profiles.shape
    segments = profiles[:, : n // scale * scale].reshape(n_signals, -1, scale)
    time = np.arange(scale) - (scale - 1) / 2
    slopes = segments @ time / (time @ time)
    residuals: Array = segments - segments.mean(axis=2, keepdims=True)
    residuals -= slopes[:, :, None] * time
    return residuals


def _line_errors(x: Array, y: Array) -> Array:
    """Return the norm of the residuals of a line through each row."""
    away, centred = x - x.mean(), y - y.mean(axis=1, keepdims=True)
    residuals = centred - np.outer(centred @ away / (away @ away), away)
    errors: Array = np.sqrt(np.einsum("ij,ij->i", residuals, residuals))
    return errors


def _root_mean_square(residuals: Array) -> Array:
    size: Array = np.sqrt(np.mean(residuals**2, axis=(1, 2)))
    return size


def _root_mean_square_range(residuals: Array) -> Array:
    size: Array = np.sqrt(np.mean(np.ptp(residuals, axis=2) ** 2, axis=1))
    return size


def _each(feature: Callable[[Array], float]) -> Callable[[Array], Array]:
    """Return a feature of one signal as one of all rows."""
    return lambda z: np.array([feature(row) for row in z], dtype=np.float64)


CATCH22: Mapping[str, Callable[[Array], Array]] = {
    "DN_HistogramMode_5": _each(lambda z: _histogram_mode(z, 5)),
    "DN_HistogramMode_10": _each(lambda z: _histogram_mode(z, 10)),
    "CO_f1ecac": _each(_first_decay),
    "CO_FirstMin_ac": _each(lambda z: _first_local_minimum(_autocorrelation(z), len(z))),
    "CO_HistogramAMI_even_2_5": _each(_histogram_mutual_information),
    "CO_trev_1_num": _each(_time_reversal),
    "MD_hrv_classic_pnn40": _each(_large_changes),
    "SB_BinaryStats_mean_longstretch1": _each(_stretch_above_mean),
    "SB_TransitionMatrix_3ac_sumdiagcov": _each(_transition_variance),
    "PD_PeriodicityWang_th0_01": _periodicities,
    "CO_Embed2_Dist_tau_d_expfit_meandiff": _each(_embedding_distance),
    "IN_AutoMutualInfoStats_40_gaussian_fmmi": _gaussian_information_minima,
    "FC_LocalSimple_mean1_tauresrat": _each(_residual_timescale),
    "DN_OutlierInclude_p_001_mdrmd": _each(lambda z: _outlier_timing(z, 1)),
    "DN_OutlierInclude_n_001_mdrmd": _each(lambda z: _outlier_timing(z, -1)),
    "SP_Summaries_welch_rect_area_5_1": _each(_low_frequency_power),
    "SB_BinaryStats_diff_longstretch0": _each(_stretch_of_decrease),
    "SB_MotifThree_quantile_hh": _each(_motif_entropy),
    "SC_FluctAnal_2_rsrangefit_50_1_logi_prop_r1": (
        lambda z: _fluctuation_breaks(z, 1, _root_mean_square_range)
    ),
    "SC_FluctAnal_2_dfa_50_1_2_logi_prop_r1": (
        lambda z: _fluctuation_breaks(z, 2, _root_mean_square)
    ),
    "SP_Summaries_welch_rect_centroid": _each(_spectral_median),
    "FC_LocalSimple_mean3_stderr": _each(_prediction_error_sd),
}
