"""The process seen through delays and a gain: likelihood, gradient, and what it recovers."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import RegionSeries
from npi_bids.simulate.linear import ou_system, simulate_linear
from npi_bids.surrogates.cross_spectra import cross_spectra
from npi_bids.surrogates.ou_process import fit_ou, second_moments
from npi_bids.surrogates.spectral import SpectralPrior, SpectralProblem
from npi_bids.surrogates.spectral_selection import choose_observation, evidence_of_delays

N, T = 12, 3000


@pytest.fixture(scope="module")
def system():
    """Return signals of a process, their true EC in standard deviations, and delays."""
    rng = np.random.default_rng(3)
    found = ou_system(N, 2.0, 1.0, rng)
    signals = simulate_linear(found, n_runs=1, n_samples=T, rng=rng)[0]
    size = signals.std(axis=0)
    return signals / size, found.transition * size[:, None] / size, rng.standard_normal(N)


def run_of(signals):
    scaled = (signals - signals.mean(axis=0)) / signals.std(axis=0)
    labels = tuple(f"R{place}" for place in range(signals.shape[1]))
    return RegionSeries(scaled, labels, 1.0, np.ones(len(signals), dtype=bool))


def delayed(signals, delays):
    hz = np.fft.rfftfreq(len(signals))[:, None]
    turned = np.fft.rfft(signals, axis=0) * np.exp(-2j * np.pi * hz * delays)
    return np.fft.irfft(turned, len(signals), axis=0)


def scores(fit, ec):
    found = fit.transition
    return (
        pearson(found, ec),
        pearson(antisymmetric(found), antisymmetric(ec)),
    )


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize("band", [None, (0.2, 1.8)])
def test_the_gradient_is_that_of_finite_differences(system, gain, band):
    signals, _, _ = system
    spectra = cross_spectra([run_of(signals[:600, :5])]).within(band)
    prior = SpectralPrior(precision=(20.0, 40.0), delay_sd=1.0, gain=gain, rate=0.7)
    problem = SpectralProblem(spectra, prior, whole_band=band is None)
    rng = np.random.default_rng(0)
    place = problem._pack(*problem._uncoupled())
    place = place + 0.05 * rng.standard_normal(len(place))
    _, gradient = problem.value_and_gradient(place)
    step = 1e-5
    for number, moved in enumerate(step * np.eye(len(place))):
        up, down = (problem.value_and_gradient(place + s * moved)[0] for s in (1, -1))
        assert gradient[number] == pytest.approx((up - down) / (2 * step), abs=1e-8)


def test_without_an_observation_model_it_is_the_process_itself(system):
    signals, ec, _ = system
    run = run_of(signals)
    plain = fit_ou(second_moments(run.data[:-1], run.data[1:]), (20.0, 20.0))
    prior = SpectralPrior(precision=(1e-3, 1e-3), delay_sd=0.0, gain=False, rate=0.7)
    spectral = SpectralProblem(cross_spectra([run]), prior, whole_band=True).fit()
    assert pearson(spectral.transition, plain.transition) > 0.99
    assert scores(spectral, ec)[0] == pytest.approx(scores(plain, ec)[0], abs=0.01)


def test_delays_are_found_and_leave_the_direction(system):
    signals, ec, delays = system
    clean = choose_observation([run_of(signals)], 1.0)
    late = choose_observation([run_of(delayed(signals, delays))], 1.0)
    blind = choose_observation([run_of(delayed(signals, delays))], 1.0, delays=False)
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
        sd, shrunk, gain = evidence_of_delays(noise, information)
        gains.append(gain)
        assert np.abs(shrunk).max() <= np.abs(noise).max()
    assert np.median(gains) < 1
    sd, shrunk, gain = evidence_of_delays(rng.standard_normal(30), information)
    assert gain > 12
    assert sd == pytest.approx(1.0, rel=0.4)
