"""Delays with which regions show their state, and series as they would be without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from npi_bids.records import Array, Mask, RegionSeries

_REACH = 0.75  # samples; what is nearer than this makes most of an interpolated value


def without_delays(runs: Sequence[RegionSeries], delays: Array) -> list[RegionSeries]:
    """Return runs with each region moved back by its delay.

    A band-limited shift in the frequency domain; runs are mirrored at their ends, and censored
    samples are bridged before it by straight lines, so that neither ends nor outliers smear. A
    sample whose moved value rests on a censored one, or on one beyond the ends, in any region, is
    censored.

    Parameters
    ----------
    runs
        Series of the same regions, all of them covered.
    delays
        Shape (n_regions,); seconds by which each region lags behind its state. Their median is
        taken out, as a shift that all share means nothing.
    """
    apart = delays - np.median(delays)
    return [_moved(run, apart / run.tr) if run.keep.any() else run for run in runs]


def _moved(run: RegionSeries, shifts: Array) -> RegionSeries:
    """Return a run whose region i at sample t is what it was at ``t + shifts[i]``."""
    n = len(run.keep)
    bridged = _bridged(run.data, run.keep)
    padded = np.concatenate([bridged, bridged[::-1]])
    frequency = np.fft.rfftfreq(2 * n)[:, None]
    turned = np.fft.rfft(padded, axis=0) * np.exp(2j * np.pi * frequency * shifts)
    moved = np.fft.irfft(turned, 2 * n, axis=0)[:n]
    keep = _supported(run.keep, shifts)
    data = np.where(keep[:, None], moved, np.nan)
    if keep.any():
        mean, scale = np.nanmean(data, axis=0), np.nanstd(data, axis=0, ddof=1)
        data = (data - mean) / np.where(scale > 0, scale, 1.0)
    return replace(run, data=data, keep=keep)


def _bridged(data: Array, keep: Mask) -> Array:
    """Return data with a straight line over each gap, and the nearest value at the ends."""
    time = np.arange(len(keep))
    return np.stack([np.interp(time, time[keep], signal[keep]) for signal in data.T], axis=1)


def _supported(keep: Mask, shifts: Array) -> Mask:
    """Return which samples are known in every region after the shift."""
    n = len(keep)
    supported = keep.copy()
    for shift in shifts:
        first = int(np.ceil(shift - _REACH))
        for offset in range(first, int(np.floor(shift + _REACH)) + 1):
            there = np.zeros(n, dtype=bool)
            a, b = max(0, -offset), min(n, n - offset)
            if a < b:
                there[a:b] = keep[a + offset : b + offset]
            supported &= there
    return supported
