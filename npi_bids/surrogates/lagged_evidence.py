"""Evidence of lagged relations between regions, beyond sampling error."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from npi_bids.matrices import antisymmetric, off_diagonal, symmetric
from npi_bids.records import Array, Windows
from npi_bids.surrogates.ridge import fit_ridge

_MIN_REGIONS = 10  # for an estimate of delays
_MAX_LAG = 100  # samples over which signals may be autocorrelated


@dataclass(frozen=True, slots=True)
class LaggedEvidence:
    """Energy of the lagged weights between regions over the energy expected from sampling error.

    A system without any lagged influence between regions has an expected value of 1, however
    smooth its signals are.

    Attributes
    ----------
    symmetric, antisymmetric
        Ratios for the two parts of the weights.
    """

    symmetric: float
    antisymmetric: float


@dataclass(frozen=True, slots=True)
class DirectionTest:
    """Test of whether signals differ from their time reversal.

    Attributes
    ----------
    ratio
        Energy of the antisymmetric part of the lagged covariance over its mean under the null.
    p
        Fraction of the null distribution that reaches the observed ratio.
    n_blocks
        Number of blocks of windows whose time was reversed at random.
    """

    ratio: float
    p: float
    n_blocks: int


@dataclass(frozen=True, slots=True)
class DelayFit:
    """Fit of fixed regional delays to the direction of the signals.

    Attributes
    ----------
    share
        Explained fraction of the energy of the antisymmetric lagged covariance, adjusted for the
        fraction that as many free parameters explain by chance.
    sd
        Standard deviation of the delays over regions, in samples.
    """

    share: float
    sd: float


def correlation_time(signals: Array, position: NDArray[np.int64]) -> float:
    """Return the number of samples per independent one, ``1 + 2 sum_k r_k^2``.

    With the autocorrelations r of the regions, it is the factor by which smoothness lowers the
    information in products of two signals (Bartlett 1935, doi:10.2307/2341284); 1 for white
    signals. Pairs of samples across a gap are excluded.

    Parameters
    ----------
    signals
        Shape (n_samples, n_regions).
    position
        Shape (n_samples,); position of the samples in time.
    """
    centred = signals - signals.mean(axis=0)
    energy = (centred**2).sum(axis=0)
    centred = centred[:, energy > 0] / np.sqrt(energy[energy > 0])
    n = len(signals)
    n_lags = max(1, min(_MAX_LAG, n // 4))
    products, n_products = np.zeros((n_lags, centred.shape[1])), np.zeros(n_lags)
    for stretch in np.split(centred, np.flatnonzero(np.diff(position) != 1) + 1):
        lags = min(n_lags, len(stretch))
        products[:lags] += _autocovariances(stretch, lags)
        n_products[:lags] += len(stretch) - np.arange(lags)
    share = np.where(n_products > 0, n_products / (n - np.arange(n_lags)), 1.0)
    squared = np.mean((products / share[:, None])[1:] ** 2, axis=1) - 1 / n
    return 1.0 + 2 * float(np.maximum(squared, 0.0).sum())


def _autocovariances(signals: Array, n_lags: int) -> Array:
    """Return the sums of products of samples ``0 .. n_lags - 1`` apart, (n_lags, n_regions)."""
    size = 1 << (len(signals) + n_lags - 1).bit_length()  # a power of two, which is fast
    spectrum = np.fft.rfft(signals, size, axis=0)
    sums: Array = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size, axis=0)[:n_lags]
    return sums


def time_blocks(signals: Array, position: NDArray[np.int64]) -> list[slice]:
    """Return blocks of windows that are long enough to be nearly independent of each other.

    Blocks have ``2 n^(1/3)`` samples (the rate of Künsch 1989, doi:10.1214/aos/1176347265), ten
    correlation times, and ten samples at least; but there are at least six blocks.
    """
    n = len(position)
    target_length = max(10.0, 2 * n ** (1 / 3), 10 * correlation_time(signals, position))
    length = max(1, int(min(target_length, (position[-1] - position[0] + 1) / 6)))
    edges = np.flatnonzero(np.diff((position - position[0]) // length, prepend=-1))
    return [slice(a, b) for a, b in pairwise([*edges.tolist(), n])]


def lagged_evidence(past: Array, target: Array, position: NDArray[np.int64]) -> LaggedEvidence:
    """Compare the lagged weights between regions with their blockwise sampling error.

    The weights come from a ridge regression on the most recent sample. Their sampling error is
    that of the blockwise scores with leave-one-out residuals (a cluster-robust sandwich), so that
    it remains valid for residuals that are not white, which is always the case in BOLD.

    Parameters
    ----------
    past, target
        Most recent samples and the samples that follow, shape (n_windows, n_regions).
    position
        Shape (n_windows,); position of the targets in time.
    """
    n_regions = past.shape[1]
    fitted = fit_ridge(past, target)
    centred = past - past.mean(axis=0)
    moment = centred.T @ centred + fitted.penalty * np.eye(n_regions)
    noise = np.zeros((2, n_regions, n_regions))
    inverse = np.linalg.inv(moment)
    for rows in time_blocks(target, position):
        change = inverse @ (centred[rows].T @ fitted.residual[rows])
        noise[0] += symmetric(change) ** 2
        noise[1] += antisymmetric(change) ** 2
    parts = symmetric(fitted.weights), antisymmetric(fitted.weights)
    ratios = [
        float(np.sum(off_diagonal(part) ** 2) / max(np.sum(off_diagonal(error)), 1e-300))
        for part, error in zip(parts, noise, strict=True)
    ]
    return LaggedEvidence(*ratios)


def direction_test(
    windows: Windows, rng: np.random.Generator, n_null: int = 2000
) -> DirectionTest:
    """Test whether the antisymmetric part of the lagged covariance is more than chance.

    Time reversal changes the sign of that part. Under the null hypothesis of a time-reversible
    process, any block could have been observed backwards; the null distribution therefore flips
    the signs of blocks at random (a randomisation test that preserves amplitudes, spectra and
    functional connectivity).

    Parameters
    ----------
    windows
        The most recent sample of the history and the target are used.
    rng
        Source of the random signs.
    n_null
        Number of draws from the null distribution.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((500, 2))
    >>> x[1:, 1] += x[:-1, 0]
    >>> driven = Windows(x[:-1, None], x[1:], np.arange(1, 500))
    >>> direction_test(driven, rng).p < 0.01
    True
    """
    scale = windows.target.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    past = (windows.history[:, -1] - windows.history[:, -1].mean(axis=0)) / scale
    target = (windows.target - windows.target.mean(axis=0)) / scale
    pairs = np.tril_indices(past.shape[1], -1)
    parts = np.array(
        [
            antisymmetric(past[rows].T @ target[rows])[pairs]
            for rows in time_blocks(target, windows.position)
        ]
    )
    gram = parts @ parts.T
    signs = rng.choice([-1.0, 1.0], size=(n_null, len(parts)))
    null = np.einsum("fi,ij,fj->f", signs, gram, signs, optimize=True)
    observed = float(gram.sum())
    return DirectionTest(
        ratio=observed / max(float(np.trace(gram)), 1e-300),
        p=float((1 + np.sum(null >= observed)) / (1 + n_null)),
        n_blocks=len(parts),
    )


def fixed_delays(past: Array, target: Array, position: NDArray[np.int64]) -> DelayFit:
    """Explain the antisymmetric lagged covariance by one delay per region, as vessels cause.

    If region i is observed ``d_i`` samples late, the covariance of i now and j one
    sample later is ``C_ij(1 + d_i - d_j)``. To first order its antisymmetric part is the system's
    own plus ``(d_j - d_i) g_ij``, where g, the decrease of the covariance around lag one, is
    half the difference of its symmetric part at lags zero and two. The delays are estimated by
    least squares.

    Parameters
    ----------
    past, target
        Samples and the samples that follow, shape (n_windows, n_regions).
    position
        Shape (n_windows,); position of the targets in time, increasing.

    Returns
    -------
    DelayFit
        NaN for fewer than ten regions, whose few pairs can be explained by delays in any case, and
        if no two windows are consecutive.
    """
    n_regions = past.shape[1]
    consecutive = np.diff(position) == 1
    if n_regions < _MIN_REGIONS or not consecutive.any():
        return DelayFit(float("nan"), float("nan"))
    scale = np.where(target.std(axis=0) > 0, target.std(axis=0), 1.0)
    past, target = ((part - part.mean(axis=0)) / scale for part in (past, target))
    instantaneous = (past.T @ past + target.T @ target) / (2 * len(past))
    lag_two = past[:-1][consecutive].T @ target[1:][consecutive] / consecutive.sum()
    slope = (instantaneous - symmetric(lag_two)) / 2
    directed = antisymmetric(past.T @ target / len(past))
    # Normal equations of the sum over pairs of (A_ij - (d_j - d_i) g_ij)^2: a Laplacian.
    weight = slope**2
    np.fill_diagonal(weight, 0.0)
    laplacian = np.diag(weight.sum(axis=0)) - weight
    delays = np.linalg.lstsq(laplacian, (directed * slope).sum(axis=0), rcond=None)[0]
    remainder = off_diagonal(directed - (delays[None, :] - delays[:, None]) * slope)
    explained = 1 - float(np.sum(remainder**2) / max(np.sum(off_diagonal(directed) ** 2), 1e-300))
    chance = 2 / n_regions  # n - 1 delays for n (n - 1) / 2 pairs
    return DelayFit((explained - chance) / (1 - chance), float(delays.std()))
