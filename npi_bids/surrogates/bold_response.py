"""Responses to perturbations of the state as the signals would show them."""

from __future__ import annotations

import numpy as np

from npi_bids.records import Array
from npi_bids.surrogates.ou_process import OU

_N_FREQUENCIES = 256  # of the grid that the response of the gain is computed on
_N_SAMPLES = 64  # of the response that are followed
_LEAST_GAIN = 1e-6  # share of the largest gain below which nothing of the phase is taken


def minimum_phase_response(frequency: Array, gain: Array) -> Array:
    """Return the causal impulse response of least delay with a gain (in power) over frequency.

    The phase of a gain that all regions share is unknown; that of least delay follows from the
    gain through the cepstrum (Oppenheim and Schafer, Discrete-Time Signal Processing, chapter 13).

    Parameters
    ----------
    frequency
        Shape (n_bins,); radians per sample, ascending.
    gain
        Shape (n_bins,); of power. Beyond the bins it continues with its values at the ends.

    Returns
    -------
    Array
        Shape (64,).

    Examples
    --------
    >>> frequency = np.linspace(0, np.pi, 200)
    >>> gain = np.abs(1 + 0.5 * np.exp(-1j * frequency)) ** 2
    >>> minimum_phase_response(frequency, gain)[:3].round(2) + 0.0
    array([1. , 0.5, 0. ])
    """
    grid = np.linspace(0, np.pi, _N_FREQUENCIES + 1)
    log_gain = np.interp(grid, frequency, np.log(np.maximum(gain, _LEAST_GAIN * gain.max())))
    cepstrum = np.fft.irfft(log_gain / 2)
    cepstrum[1:_N_FREQUENCIES] *= 2
    cepstrum[_N_FREQUENCIES + 1 :] = 0
    response: Array = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)))
    return response[:_N_SAMPLES]


def peak_responses(process: OU, frequency: Array, gain: Array) -> Array:
    """Return how far each signal moves after a brief perturbation of the state of each region.

    The state of the source is raised by one standard deviation for an instant; the state follows
    the process, and the signals show it through the gain. Delays move the peak of a response in
    time and leave its height, so they do not matter here.

    Parameters
    ----------
    process
        Process of the state.
    frequency, gain
        As in :func:`minimum_phase_response`.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``: the response of the target's
        signal where it is largest, with its sign, over the largest response of the source's own
        signal.
    """
    kernel = minimum_phase_response(frequency, gain)
    state, transition = np.eye(len(process.drift)), process.transition
    states = np.empty((_N_SAMPLES, *state.shape))
    for sample in range(_N_SAMPLES):
        states[sample] = state
        state = state @ transition
    spectrum = np.fft.rfft(kernel, 2 * _N_SAMPLES)[:, None, None]
    signals = np.fft.irfft(np.fft.rfft(states, 2 * _N_SAMPLES, axis=0) * spectrum, axis=0)
    signals = signals[:_N_SAMPLES]
    largest = np.abs(signals).argmax(axis=0)
    peaks = np.take_along_axis(signals, largest[None], axis=0)[0]
    responses: Array = peaks / np.abs(np.diag(peaks))[:, None]
    return responses
