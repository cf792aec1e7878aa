"""The mean power spectrum of regional signals, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import welch

from npi_bids.core.records import Array, RegionSeries

_SEGMENT = 128  # samples, at most
_SHORTEST = 32


def mean_spectrum(runs: Sequence[RegionSeries]) -> tuple[Array, Array] | None:
    """Return frequencies (Hz) and the mean share of power per Hz of the covered regions.

    Welch's method on the longest stretch of each run without a gap; None where all are shorter
    than 32 samples.

    Parameters
    ----------
    runs
        Series of one sampling period.

    Returns
    -------
    frequency, power
        Shape (n_frequencies,), without 0 Hz.
    """
    stretches = [_longest(run) for run in runs]
    usable = [stretch for stretch in stretches if len(stretch) >= _SHORTEST]
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


def _longest(run: RegionSeries) -> Array:
    edges = np.flatnonzero(np.diff(run.keep.astype(int), prepend=0, append=0))
    pieces = [run.data[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    longest: Array = max(pieces, key=len, default=run.data[:0])
    return longest[:, run.covered] if len(longest) else longest
