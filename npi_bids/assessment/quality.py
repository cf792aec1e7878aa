"""Quality of a result: prediction, model FC, agreement, and the spectrum of the signals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np

from npi_bids.assessment.settings import HIGH_FREQUENCY
from npi_bids.connectivity.measures import oriented_correlation, uncensored_samples
from npi_bids.errors import NoUsableDataError, SurrogateError
from npi_bids.matrices import antisymmetric, correlation, off_diagonal, pearson, symmetric
from npi_bids.records import Array, Quality, RegionSeries, Windows
from npi_bids.surrogates.base import Surrogate
from npi_bids.surrogates.lagged_evidence import DirectionTest, correlation_time, fixed_delays
from npi_bids.surrogates.ridge import fit_ridge
from npi_bids.surrogates.windows import split_windows

T = TypeVar("T")

_MAX_HISTORY_LAGS = 3
_MIN_STRETCH = 32  # samples that a stretch needs for a spectrum
_MIN_STRIPE_REGIONS = 10  # with fewer, one map in twenty has half of its variance in stripes
_SEGMENT = 128  # maximum number of samples


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted subject, from which quality metrics are computed.

    Attributes
    ----------
    surrogate, checked
        Fitted to all windows, and only to the training windows.
    train, valid
        Training and held-out windows, which share no samples.
    matrix, jacobian, fc
        Map, mean Jacobian and functional connectivity, shape (n_regions, n_regions).
    model_fc
        Functional connectivity of the free run, or None if it diverged.
    """

    surrogate: Surrogate
    checked: Surrogate
    train: Windows
    valid: Windows
    matrix: Array
    jacobian: Array
    fc: Array
    model_fc: Array | None

    @property
    def n_windows(self) -> int:
        """Number of training and held-out windows."""
        return len(self.train) + len(self.valid)


def held_out_r2(predicted: Array, windows: Windows) -> float:
    """Return the fraction of variance explained in held-out windows, mean over regions."""
    target = windows.target
    spread = ((target - target.mean(axis=0)) ** 2).sum(axis=0)
    error = ((target - predicted) ** 2).sum(axis=0)
    varies = spread > 0
    if not varies.any():
        return float("nan")
    return float(np.mean(1 - error[varies] / spread[varies]))


def own_history(train: Windows, valid: Windows) -> Array:
    """Predict each region from only its own past, by least squares.

    Reads up to three samples, or fewer if the windows hold fewer.

    Returns
    -------
    Array
        Predictions for the held-out windows, shape (n_windows, n_regions).
    """
    lags = min(_MAX_HISTORY_LAGS, train.n_lags)
    predicted = np.empty_like(valid.target)
    for region in range(train.target.shape[1]):
        past, later = (
            np.column_stack([np.ones(len(part)), part.history[:, -lags:, region]])
            for part in (train, valid)
        )
        weights = np.linalg.lstsq(past, train.target[:, region], rcond=None)[0]
        predicted[:, region] = later @ weights
    return predicted


def agreement(maps: Sequence[Array]) -> tuple[float, float, float]:
    """Return the mean correlation of all pairs of maps: all entries, symmetric, antisymmetric.

    NaN with fewer than two maps, or if a part is constant.
    """
    map_pairs = list(combinations(maps, 2))
    if not map_pairs:
        return (float("nan"),) * 3
    full, even, odd = (
        float(np.mean([pearson(part(one), part(other)) for one, other in map_pairs]))
        for part in (np.asarray, symmetric, antisymmetric)
    )
    return full, even, odd


def split_half(windows: Windows, estimate: Callable[[Windows], T]) -> list[T]:
    """Return the estimates from the first and the second half; empty if a half is too short."""
    try:
        return [estimate(half) for half in split_windows(windows, 0.5)]
    except (NoUsableDataError, SurrogateError):
        return []


def split_delays(windows: Windows, surrogate: Surrogate) -> float:
    """Return the correlation of the delays that both halves show; NaN without delays."""
    if surrogate.region_delays is None:
        return float("nan")
    first, second = split_half(windows, surrogate.estimate_delays) or (None, None)
    if first is None or second is None:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def split_oriented(runs: Sequence[RegionSeries]) -> float:
    """Return the agreement of the directions of the oriented map between halves of the data."""
    samples = uncensored_samples(runs)
    halves = [oriented_correlation(half) for half in np.array_split(samples, 2)]
    return agreement(halves)[2]


def high_frequency_share(runs: Sequence[RegionSeries]) -> float:
    """Return the fraction of power above HIGH_FREQUENCY, mean over regions and longest stretches.

    NaN if the sampling is too slow for such frequencies, or no stretch without a gap is long
    enough.
    """
    from scipy.signal import periodogram  # takes a second to load

    tr = runs[0].tr
    if 0.5 / tr < 1.1 * HIGH_FREQUENCY:
        return float("nan")
    shares, weights = [], []
    for run in runs:
        stretch = _longest_stretch(run)
        if len(stretch) < _MIN_STRETCH:
            continue
        frequency, power = periodogram(stretch, fs=1 / tr, axis=0, detrend="constant")
        total = np.maximum(power.sum(axis=0), 1e-300)
        shares.append(float(np.mean(power[frequency > HIGH_FREQUENCY].sum(axis=0) / total)))
        weights.append(len(stretch))
    return float(np.average(shares, weights=weights)) if shares else float("nan")


def _longest_stretch(run: RegionSeries) -> Array:
    """Return the samples of the longest stretch without a gap."""
    edges = np.flatnonzero(np.diff(run.keep.astype(int), prepend=0, append=0))
    stretches = [run.data[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return max(stretches, key=len, default=run.data[:0])


def antisymmetric_share(matrix: Array) -> float:
    """Return the antisymmetric fraction of the off-diagonal energy of a map, or NaN."""
    energy = float(np.sum(off_diagonal(matrix) ** 2))
    directed = float(np.sum(off_diagonal(antisymmetric(matrix)) ** 2))
    return directed / energy if energy > 0 else float("nan")


def stripe_share(matrix: Array) -> float:
    """Return the share of the variance off the diagonal that row or column means explain.

    Whichever explain more; NaN without variance, and for fewer than ten regions, whose few
    entries form stripes by chance. Maps of networks that learnt leading components only, and of
    signals with a strong global part, consist of stripes.

    Parameters
    ----------
    matrix
        Shape (n_regions, n_regions).

    Examples
    --------
    >>> sent = np.arange(10.0)
    >>> stripe_share(np.tile(sent[:, None], 10))
    1.0
    """
    if len(matrix) < _MIN_STRIPE_REGIONS:
        return float("nan")
    off = ~np.eye(len(matrix), dtype=bool)
    variance = float(matrix[off].var())
    if not variance > 0:
        return float("nan")
    entries = np.where(off, matrix, 0.0)
    means = [entries.sum(axis=axis) / (len(matrix) - 1) for axis in (0, 1)]
    return float(max(mean.var() for mean in means) / variance)


def spectral_radius(surrogate: Surrogate, jacobian: Array) -> float:
    """Return the largest absolute eigenvalue of the companion matrix of a linear surrogate.

    For others, it is that of the mean Jacobian by the most recent sample.
    """
    matrix = jacobian
    weights = surrogate.linear_weights
    if weights is not None:
        n_lags, n_regions, _ = weights.shape
        matrix = np.eye(n_lags * n_regions, k=n_regions)
        matrix[:, :n_regions] = weights[::-1].reshape(-1, n_regions)
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def assess_fit(
    fit: Fit,
    *,
    halves: Sequence[Array],
    members: Sequence[Array],
    direction: DirectionTest,
    direction_supported: bool,
    runs: Sequence[RegionSeries],
) -> Quality:
    """Compute the quality metrics of one result.

    Parameters
    ----------
    fit
        The fitted subject.
    halves, members
        Maps of the two halves, and of the members of the ensemble; may be empty.
    direction, direction_supported
        The time-reversal test, and whether it passes its thresholds.
    runs
        The series, of which the spectrum is used.
    """
    n_regions, observation = fit.surrogate.n_regions, fit.surrogate.observation
    n_lags = fit.surrogate.free_lags or fit.surrogate.n_lags
    targets = np.concatenate([fit.train.target, fit.valid.target])
    position = np.concatenate([fit.train.position, fit.valid.position])
    effective = fit.n_windows / correlation_time(targets, position)
    split, seed = agreement(halves), agreement(members)
    held_out_fc = correlation(fit.valid.target)
    past = np.concatenate([fit.train.history[:, -1], fit.valid.history[:, -1]])
    delays = fixed_delays(past, targets, position)
    model_fc = fit.model_fc if fit.model_fc is not None else np.full_like(fit.fc, np.nan)
    return Quality(
        **_compare_predictions(fit),
        model_fc_r=pearson(model_fc, fit.fc),
        free_run_diverged=fit.model_fc is None,
        model_fc_r_held_out=pearson(model_fc, held_out_fc),
        fc_r_held_out=pearson(correlation(fit.train.target), held_out_fc),
        model_fc_ratio=_spread_ratio(model_fc, fit.fc),
        spectral_radius=spectral_radius(fit.surrogate, fit.jacobian),
        fc_r=pearson(fit.matrix, fit.fc),
        antisymmetric_share=antisymmetric_share(fit.matrix),
        stripe_share=stripe_share(fit.matrix),
        r_split=split[0],
        r_split_symmetric=split[1],
        r_split_antisymmetric=split[2],
        r_seed=seed[0],
        r_seed_symmetric=seed[1],
        r_seed_antisymmetric=seed[2],
        direction_ratio=direction.ratio,
        direction_p=direction.p,
        direction_supported=direction_supported,
        shrunk=False,
        delay_share=delays.share,
        delay_sd=delays.sd * runs[0].tr,
        high_frequency_share=high_frequency_share(runs),
        common_gain=observation.gain if observation else False,
        removed_delay_sd=observation.delay_sd * runs[0].tr if observation else float("nan"),
        n_windows=fit.n_windows,
        n_train=len(fit.train),
        n_valid=len(fit.valid),
        n_regions=n_regions,
        effective_windows=effective,
        samples_per_parameter=effective / (n_lags * n_regions),
        minutes=fit.n_windows * runs[0].tr / 60,
        band_share=band_share(fit.surrogate),
    )


def _spread_ratio(model_fc: Array, fc: Array) -> float:
    """Return the SD over pairs of model FC relative to that of FC; NaN for a single pair."""
    spread = float(off_diagonal(fc).std())
    return float(off_diagonal(model_fc).std()) / spread if spread > 0 else float("nan")


def band_share(surrogate: Surrogate) -> float:
    """Return the share of the frequencies up to the Nyquist frequency that a fit reads."""
    observation = surrogate.observation
    if observation is None or observation.band is None:
        return 1.0
    low, high = observation.band
    return (high - low) / math.pi


def _compare_predictions(fit: Fit) -> dict[str, float]:
    """Return R2 of the surrogate and of simpler predictors on held-out windows, and its skill."""
    valid = fit.valid
    ridge = fit_ridge(fit.train.history[:, -1], fit.train.target)
    predictions = {
        "persistence": valid.history[:, -1],
        "own_history": own_history(fit.train, valid),
        "ridge_var": valid.history[:, -1] @ ridge.weights + ridge.offset,
    }
    predicted_by_surrogate = fit.checked.step(valid.history)
    error = np.mean((predicted_by_surrogate - valid.target) ** 2)
    figures = {"r2": held_out_r2(predicted_by_surrogate, valid)}
    for name, predicted in predictions.items():
        figures[f"r2_{name}"] = held_out_r2(predicted, valid)
        simple = np.mean((predicted - valid.target) ** 2)
        figures[f"skill_{name}"] = float(1 - error / simple) if simple > 0 else float("nan")
    return figures


def mean_spectrum(runs: Sequence[RegionSeries]) -> tuple[Array, Array] | None:
    """Return frequencies (Hz) and the mean relative power per Hz of the covered regions.

    Welch's method on the longest stretch of each run without a gap; None if all are shorter than
    32 samples.

    Parameters
    ----------
    runs
        Series with the same sampling period.

    Returns
    -------
    frequency, power
        Shape (n_frequencies,), without 0 Hz.
    """
    from scipy.signal import welch  # takes a second to load

    stretches = [(_longest_stretch(run), run.covered) for run in runs]
    usable = [
        stretch[:, covered] for stretch, covered in stretches if len(stretch) >= _MIN_STRETCH
    ]
    if not usable:
        return None
    segment = min(_SEGMENT, *map(len, usable))
    spectra, weights = [], []
    for stretch in usable:
        frequency, power = welch(stretch, fs=1 / runs[0].tr, nperseg=segment, axis=0)
        total = np.maximum(power.sum(axis=0), 1e-300) * (frequency[1] - frequency[0])
        spectra.append((power / total).mean(axis=1))
        weights.append(len(stretch))
    mean: Array = np.average(spectra, axis=0, weights=weights)
    return frequency[1:], mean[1:]
