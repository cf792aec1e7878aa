from __future__ import annotations

from math import factorial

import numpy as np
import pytest

from npi_bids.simulate.haemodynamics import (
    Haemodynamics,
    convolve_responses,
    draw_haemodynamics,
    shift_regions,
    spm_response,
)

STEP, EVENT = 0.1, 60.0
TIME = np.arange(2000) * STEP - EVENT  # s after the event


def respond(delay, dispersion):
    """Return the responses of regions to one event of area 1, shape (n_steps, n_regions)."""
    haemodynamics = Haemodynamics(np.array(delay), np.array(dispersion))
    state = np.zeros((1, len(TIME), len(delay)))
    state[:, round(EVENT / STEP)] = 1 / STEP
    return convolve_responses(state, STEP, haemodynamics)[0]


def centroid(response):
    return TIME @ response / response.sum(axis=0)


def full_width(response):
    """Return the full width at half maximum (s), between steps by linear interpolation."""
    high = np.flatnonzero(response >= response.max() / 2)
    (first, last), half = (high[0], high[-1]), response.max() / 2
    rise = (half - response[first - 1]) / (response[first] - response[first - 1])
    fall = (response[last] - half) / (response[last] - response[last + 1])
    return STEP * (last + fall - (first - 1 + rise))


def phase_delay(late, early, step):
    """Return the delay (s) at which two series correlate most, from the phase below 0.1 Hz."""
    window = np.hanning(len(late))
    late, early = (np.fft.rfft(window * (x - x.mean())) for x in (late, early))
    hz = np.fft.rfftfreq(len(window), step)
    cross, slow = late * early.conj(), (hz > 0.005) & (hz < 0.1)
    candidates = np.arange(-5, 5, 0.001)
    turned = np.exp(2j * np.pi * np.outer(candidates, hz[slow])) @ cross[slow]
    return candidates[turned.real.argmax()]


def test_canonical_response_is_that_of_spm():
    """Two gamma densities by hand; SPM's peak is 5 s after the event."""
    time = np.arange(0, 40, 0.25)
    first, second = (time ** (k - 1) * np.exp(-time) / factorial(k - 1) for k in (6, 16))
    np.testing.assert_allclose(spm_response(time), (first - second / 6) / (5 / 6), atol=1e-12)
    np.testing.assert_allclose(respond([0.0], [1.0])[:, 0], spm_response(TIME), atol=1e-8)


@pytest.mark.parametrize("delay", [0.37, -0.213, 1.0, 2.049])
def test_response_of_a_region_is_later_by_its_delay_and_not_by_whole_steps(delay):
    response = respond([0.0, delay], [1.0, 1.0])
    np.testing.assert_allclose(response[:, 1], spm_response(TIME - delay), atol=1e-8)
    assert np.diff(centroid(response)) == pytest.approx(delay, abs=1e-6)


def test_signals_sampled_at_a_long_tr_are_later_by_their_delays():
    rng = np.random.default_rng(0)
    state = np.repeat(rng.standard_normal((1, 40_000, 1)), 4, axis=2)
    delay = np.array([0.0, 0.33, -0.71, 1.9])
    signals = convolve_responses(state, STEP, Haemodynamics(delay, np.ones(4)))[0, ::20]
    measured = [phase_delay(signals[:, region], signals[:, 0], 2.0) for region in range(4)]
    np.testing.assert_allclose(measured, delay, atol=0.02)


def test_shifted_series_are_later_by_their_delays():
    rng = np.random.default_rng(0)
    smooth = np.convolve(rng.standard_normal(3020), np.hanning(21), "valid")
    delay = np.array([0.0, 0.33, -0.71, 1.9])
    shifted = shift_regions(np.repeat(smooth[None, :, None], 4, axis=2), delay)[0]
    measured = [phase_delay(shifted[:, region], shifted[:, 0], 1.0) for region in range(4)]
    np.testing.assert_allclose(measured, delay, atol=0.02)


def test_dispersion_widens_the_response_and_keeps_its_centroid():
    """The variance of a gamma density is its mean times its dispersion."""
    response = respond([0.0] * 3, [0.5, 1.0, 1.5])
    expected = (6 - 16 / 6) / (5 / 6)
    np.testing.assert_allclose(STEP * response.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(centroid(response), expected, atol=1e-4)
    second_moment = STEP * TIME**2 @ response
    np.testing.assert_allclose(np.diff(second_moment), 0.5 * expected, rtol=1e-3)
    width = np.array([full_width(column) for column in response.T])
    assert (width[1:] > 1.1 * width[:-1]).all()


def test_delays_and_dispersions_have_the_spread_that_is_set():
    drawn = draw_haemodynamics(20_000, 0.7, 0.2, np.random.default_rng(0))
    assert drawn.delay.std() == pytest.approx(0.7, rel=0.03)
    assert drawn.dispersion.std() == pytest.approx(0.2, rel=0.05)
    assert (drawn.dispersion > 0).all()
    assert abs(np.corrcoef(drawn.delay, np.log(drawn.dispersion))[0, 1]) < 0.03


def test_dispersions_do_not_change_what_is_drawn_after_them():
    rng, without = np.random.default_rng(0), np.random.default_rng(0)
    drawn = draw_haemodynamics(5, 2.0, 0.3, rng)
    np.testing.assert_array_equal(drawn.delay, 2 * without.standard_normal(5))
    assert rng.random() == without.random()
    np.testing.assert_array_equal(draw_haemodynamics(5, 2.0, 0.0, rng).dispersion, 1)
