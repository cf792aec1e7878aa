"""Delays and gains are taken for real where the data say so, and leave the direction."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt
from scipy.stats import multivariate_normal

from npi_bids.matrices import pearson
from npi_bids.surrogates.spectral_selection import (
    ObservationParts,
    choose_observation,
    expect_delay_evidence,
    expected_spread,
    refit_observation,
    shrink_delays,
)
from tests.surrogates.observed_process import N, run_of, scores
from tests.surrogates.ou_signals import off


def delayed(signals, delays):
    hz = np.fft.rfftfreq(len(signals))[:, None]
    turned = np.fft.rfft(signals, axis=0) * np.exp(-2j * np.pi * hz * delays)
    return np.fft.irfft(turned, len(signals), axis=0)


def test_delays_are_found_and_leave_the_direction(system):
    signals, ec, delays = system
    clean = choose_observation([run_of(signals)], 1.0)
    late = choose_observation([run_of(delayed(signals, delays))], 1.0)
    blind = choose_observation(
        [run_of(delayed(signals, delays))], 1.0, ObservationParts(delays=False)
    )
    assert clean.choice.delay_sd == 0
    assert clean.choice.is_plain
    assert not clean.fit.delays.any()
    assert late.choice.delay_sd == pytest.approx(delays.std(), rel=0.5)
    known = late.delay_errors < 0.35  # of a region without connections nothing can be known
    assert known.sum() >= N / 2
    z = (late.fit.delays - delays)[known]
    z = (z - z.mean()) / late.delay_errors[known]
    assert np.abs(z).max() < 4
    assert np.corrcoef(late.fit.delays[known], delays[known])[0, 1] > 0.95
    assert scores(late.fit, ec)[1] > scores(clean.fit, ec)[1] - 0.03
    assert scores(late.fit, ec)[1] > scores(blind.fit, ec)[1] + 0.1
    transposed = pearson(late.fit.transition.T, ec)
    assert transposed < scores(late.fit, ec)[0] - 0.2


def test_a_filter_that_all_regions_share_leaves_the_map(system):
    signals, ec, _ = system
    clean = choose_observation([run_of(signals)], 1.0)
    sos = butter(2, [0.02, 0.15], "band", fs=1.0, output="sos")
    seen = choose_observation([run_of(sosfiltfilt(sos, signals, axis=0))], 1.0)
    assert not clean.choice.gain
    assert clean.choice.band is None
    assert seen.choice.gain
    assert seen.choice.band is not None
    assert scores(seen.fit, ec)[0] > 0.8
    assert scores(seen.fit, ec)[1] > 0.75


def test_few_regions_never_have_delays(system):
    signals, _, delays = system
    few = delayed(signals, 2 * delays)[:, :6]
    found = choose_observation([run_of(few)], 1.0)
    assert found.choice.delay_sd == 0
    assert np.isnan(found.choice.delay_evidence)
    assert np.isnan(found.delay_errors).all()


def test_delays_of_noise_are_no_delays():
    rng = np.random.default_rng(0)
    information = np.diag(rng.uniform(5, 50, 30))
    gains = []
    for _ in range(50):
        noise = rng.standard_normal(30) / np.sqrt(np.diag(information))
        sd, shrunk, gain = shrink_delays(noise, information)
        gains.append(gain)
        assert np.abs(shrunk).max() <= np.abs(noise).max()
    assert np.median(gains) < 1
    sd, shrunk, gain = shrink_delays(rng.standard_normal(30), information)
    assert gain > 12
    assert sd == pytest.approx(1.0, rel=0.4)


def test_delays_that_cannot_be_excluded_are_as_large_as_they_may_be():
    rng = np.random.default_rng(1)
    delays = 0.5 * rng.standard_normal(40)
    sharp, blunt = np.eye(40) / 0.05**2, np.eye(40) / 50.0**2
    assert expected_spread(0 * delays, sharp, 1.5) < 0.1
    assert expected_spread(delays, sharp, 1.5) == pytest.approx(delays.std(), rel=0.1)
    # Estimates with errors of 50 s say nothing: any spread from 0 to 1.5 s.
    nothing = expected_spread(50 * rng.standard_normal(40), blunt, 1.5)
    assert nothing == pytest.approx(1.5 / 3**0.5, rel=0.05)


def test_errors_count_delays_that_are_not_in_the_model(system):
    signals, _, _ = system
    smooth = run_of(np.apply_along_axis(lambda x: np.convolve(x, np.ones(4), "valid"), 0, signals))
    fitted = choose_observation([smooth], 1.0, ObservationParts(gain=True))
    assert fitted.choice.delay_sd == 0
    assert fitted.choice.delay_doubt > 0
    without = replace(fitted.choice, delay_doubt=0.0)
    excluded = refit_observation([smooth], 1.0, without, fitted.fit)
    np.testing.assert_allclose(excluded.fit.drift, fitted.fit.drift, atol=0.02)
    larger = off(fitted.transition_errors) / off(excluded.transition_errors)
    assert larger.min() > 0.99
    assert larger.mean() > 1.02


def test_the_expected_evidence_is_the_mean_over_delays():
    rng = np.random.default_rng(3)
    root = rng.standard_normal((6, 8))
    information, sd = root @ root.T, 0.7
    errors = np.linalg.inv(information)
    spread = sd**2 * np.eye(6) + errors
    drawn = rng.multivariate_normal(np.zeros(6), spread, 20_000)
    gained = multivariate_normal(np.zeros(6), spread).logpdf(drawn)
    gained -= multivariate_normal(np.zeros(6), errors).logpdf(drawn)
    error = gained.std() / np.sqrt(len(gained))
    assert expect_delay_evidence(information, sd) == pytest.approx(gained.mean(), abs=4 * error)
