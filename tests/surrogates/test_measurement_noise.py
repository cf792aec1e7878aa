"""White measurement noise: likelihood, its gradient, and what is recovered."""

import numpy as np
import pytest

from npi_bids.surrogates.cross_spectra import cross_spectra
from npi_bids.surrogates.measurement_noise import _NoisyProblem, estimate_noise
from npi_bids.surrogates.spectral import SpectralPrior
from tests.surrogates.observed_process import run_of

PRIOR = SpectralPrior(precision=(20.0, 40.0), delay_sd=1.0, gain=True, rate=0.7)


def smoothed(signals):
    """Return signals through a gain that leaves little power at high frequencies."""
    frequency = np.fft.rfftfreq(len(signals)) * 2 * np.pi
    gain = np.exp(-1.5 * frequency)
    return np.fft.irfft(np.fft.rfft(signals, axis=0) * gain[:, None], n=len(signals), axis=0)


def test_the_gradient_is_that_of_finite_differences(system):
    signals, _, _ = system
    spectra = cross_spectra([run_of(signals[:600, :5])])
    problem = _NoisyProblem(spectra, PRIOR, full_band=True, start_autoregression=0.5)
    problem.prior_log_share, problem.log_sd = -2.0, 0.5
    rng = np.random.default_rng(0)
    point = problem._pack(*problem._uncoupled())
    point = np.concatenate([point, np.zeros(len(spectra.frequency)), [-1.5]])
    point = point + 0.05 * rng.standard_normal(len(point))
    _, gradient = problem.joint_value_and_gradient(point)
    step = 1e-5
    for index, shift in enumerate(step * np.eye(len(point))):
        up, down = (problem.joint_value_and_gradient(point + sign * shift)[0] for sign in (1, -1))
        assert gradient[index] == pytest.approx((up - down) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("sd", [0.0, 0.2])
def test_noise_is_found_where_there_is_some(system, sd):
    signals, _, _ = system
    rng = np.random.default_rng(1)
    observed = smoothed(signals)
    observed = observed / observed.std(axis=0) + sd * rng.standard_normal(signals.shape)
    estimate = estimate_noise(
        cross_spectra([run_of(observed)]), PRIOR, full_band=True, start_autoregression=0.5
    )
    if sd:
        assert estimate.evidence > 12
        assert estimate.share == pytest.approx(sd**2 / (1 + sd**2), rel=0.2)
    else:
        assert estimate.evidence < 12
        assert estimate.share < 0.01


def test_subtracting_noise_leaves_the_spectra_of_the_signal(system):
    signals, _, _ = system
    noise = 0.5 * np.random.default_rng(2).standard_normal(signals.shape)
    clean, noisy = (cross_spectra([run_of(x)]) for x in (signals, signals + noise))
    share = float(np.mean(noise.var(axis=0) / (signals + noise).var(axis=0)))
    subtracted = noisy.without_noise(share)
    power = [np.einsum("kii->k", spectra.power).real for spectra in (clean, subtracted, noisy)]
    usable = np.isin(noisy.frequency, subtracted.frequency)
    slow = subtracted.frequency < 1
    np.testing.assert_allclose(power[1][slow], (1 - share) * power[0][usable][slow], rtol=0.1)
    assert (subtracted.n_ordinates < noisy.n_ordinates[usable]).all()
    assert noisy.without_noise(0.0) is noisy
