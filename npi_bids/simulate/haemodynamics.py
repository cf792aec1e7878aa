"""Haemodynamic responses of regions, with delays that need not be multiples of a sample.

The response is SPM's double gamma: the difference of two gamma densities with means of 6 and 16 s
and a dispersion of 1 s, the second divided by 6 (``spm_hrf``; Friston et al. 1998,
doi:10.1006/nimg.1997.0306). A gamma density with mean ``m`` and dispersion ``d`` has the Fourier
transform ``(1 + i w d)^(-m / d)``; each region's response is therefore applied in the frequency
domain in closed form, with its exact delay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma

from npi_bids.records import Array, Mask

RESPONSE_LENGTH = 60.0  # s after which even the widest response is over
_MEANS, _RATIO = (6.0, 16.0), 6.0  # of response and undershoot (s); how much larger the first is


@dataclass(frozen=True, slots=True, eq=False)
class Haemodynamics:
    """How the signal of each region follows its state.

    Attributes
    ----------
    delay
        Shape (n_regions,); how much later the response of the region begins than the canonical
        one (s); negative where it begins earlier.
    dispersion
        Shape (n_regions,); dispersion of the response relative to the canonical one, as in SPM:
        the larger it is, the wider is the response around the same mean. NaN where there is no
        response.
    """

    delay: Array
    dispersion: Array

    def take(self, chosen: Mask) -> Haemodynamics:
        """Return the chosen regions."""
        return Haemodynamics(self.delay[chosen], self.dispersion[chosen])


def draw_haemodynamics(
    n_regions: int, delay_sd: float, dispersion_sd: float, rng: np.random.Generator
) -> Haemodynamics:
    """Draw the delay (normal) and the dispersion (log-normal) of each region.

    Dispersions come from a generator of their own, so that they do not change what is drawn after
    them.

    Parameters
    ----------
    n_regions
        Number of regions.
    delay_sd
        Standard deviation of the delays (s).
    dispersion_sd
        Standard deviation of the logarithm of the dispersions.
    rng
        Source of random numbers.
    """
    delay: Array = rng.standard_normal((n_regions,)) * delay_sd
    dispersion = np.exp(dispersion_sd * rng.spawn(1)[0].standard_normal(n_regions))
    return Haemodynamics(delay, dispersion)


def spm_response(time: Array) -> Array:
    """Return SPM's canonical response at some times (s) after an event; its area is 1.

    >>> time = np.arange(0, 32, 0.1)
    >>> round(float(time[spm_response(time).argmax()]), 1)
    5.0
    """
    response, undershoot = (gamma.pdf(time, mean) for mean in _MEANS)
    scaled: Array = (response - undershoot / _RATIO) / (1 - 1 / _RATIO)
    return scaled


def convolve_responses(state: Array, step: float, haemodynamics: Haemodynamics) -> Array:
    """Convolve the state of each region with its own response; the ends are mirrored.

    Parameters
    ----------
    state
        Shape (n_runs, n_steps, n_regions).
    step
        Seconds between two steps.
    haemodynamics
        Delay and dispersion of each region.

    Returns
    -------
    Array
        In the shape of the state.
    """

    def transfer(frequency: Array) -> NDArray[np.complex128]:
        omega = 2j * np.pi * frequency[:, None] / step
        base = 1 + omega * haemodynamics.dispersion
        response, undershoot = (base ** (-mean / haemodynamics.dispersion) for mean in _MEANS)
        delayed: NDArray[np.complex128] = (
            np.exp(-omega * haemodynamics.delay)
            * (response - undershoot / _RATIO)
            / (1 - 1 / _RATIO)
        )
        return delayed

    longest = RESPONSE_LENGTH + float(np.abs(haemodynamics.delay).max())
    return _filter_regions(state, ceil(longest / step), transfer)


def shift_regions(series: Array, delays: Array) -> Array:
    """Shift each region by its delay in samples; the ends are mirrored to prevent wrap-around.

    Between samples, the series is taken as free of frequencies above half the sampling rate.
    """

    def transfer(frequency: Array) -> NDArray[np.complex128]:
        shift: NDArray[np.complex128] = np.exp(-2j * np.pi * frequency[:, None] * delays)
        return shift

    padding = min(series.shape[1] - 1, ceil(np.abs(delays).max()) + 10)
    return _filter_regions(series, padding, transfer)


def _filter_regions(
    series: Array, padding: int, transfer: Callable[[Array], NDArray[np.complex128]]
) -> Array:
    """Multiply the spectra of the regions by a function of frequency, in cycles per sample."""
    n_samples = series.shape[1]
    padded = np.pad(series, ((0, 0), (padding, padding), (0, 0)), mode="reflect")
    frequency = np.asarray(np.fft.rfftfreq(padded.shape[1]), dtype=np.float64)
    spectrum = np.fft.rfft(padded, axis=1) * transfer(frequency)
    filtered = np.fft.irfft(spectrum, n=padded.shape[1], axis=1)
    unpadded: Array = filtered[:, padding : padding + n_samples]
    return unpadded
