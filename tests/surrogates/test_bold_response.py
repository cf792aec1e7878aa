"""Responses as the signals would show them, against a filter that is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from npi_bids.surrogates.bold_response import minimum_phase_response, peak_responses

FREQUENCY = np.linspace(0.02, np.pi - 0.02, 150)


def test_the_response_is_that_of_the_filter_with_this_gain():
    numerator, denominator = [1.0, 0.4], [1.0, -0.7]  # zeros and poles inside the circle
    turn = np.exp(-1j * FREQUENCY)
    gain = np.abs((1 + 0.4 * turn) / (1 - 0.7 * turn)) ** 2
    impulse = np.r_[1.0, np.zeros(63)]
    expected = lfilter(numerator, denominator, impulse)
    np.testing.assert_allclose(minimum_phase_response(FREQUENCY, gain), expected, atol=0.01)


def test_without_a_gain_the_peak_is_that_of_the_process(process):
    peaks = peak_responses(process, FREQUENCY, np.ones(150))
    state, largest = np.eye(3), np.zeros((3, 3))
    for _ in range(30):
        largest = np.where(np.abs(state) > np.abs(largest), state, largest)
        state = state @ process.transition
    np.testing.assert_allclose(peaks, largest, atol=1e-9)
    assert peaks[0, 1] > 0 > peaks[1, 2]
    assert abs(peaks[0, 1] - peaks[1, 0]) > 0.1


def test_a_slow_gain_lets_indirect_influence_accumulate(process):
    turn = np.exp(-1j * FREQUENCY)
    slow = peak_responses(process, FREQUENCY, 1 / np.abs(1 - 0.9 * turn) ** 2)
    prompt = peak_responses(process, FREQUENCY, np.ones(150))
    assert np.diag(slow) == pytest.approx(1.0)
    assert abs(slow[0, 2]) > abs(prompt[0, 2])  # 0 drives 1, and 1 drives 2
