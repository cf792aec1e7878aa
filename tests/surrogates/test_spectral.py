"""The process seen through delays and a gain: likelihood and gradient."""

import numpy as np
import pytest

from npi_bids.matrices import pearson
from npi_bids.surrogates.cross_spectra import cross_spectra
from npi_bids.surrogates.ou_process import fit_ou, second_moments
from npi_bids.surrogates.spectral import SpectralPrior, SpectralProblem
from tests.surrogates.observed_process import run_of, scores


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize("band", [None, (0.2, 1.8)])
def test_the_gradient_is_that_of_finite_differences(system, gain, band):
    signals, _, _ = system
    spectra = cross_spectra([run_of(signals[:600, :5])]).within(band)
    prior = SpectralPrior(precision=(20.0, 40.0), delay_sd=1.0, gain=gain, rate=0.7)
    problem = SpectralProblem(spectra, prior, full_band=band is None)
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
    spectral = SpectralProblem(cross_spectra([run]), prior, full_band=True).fit()
    assert pearson(spectral.transition, plain.transition) > 0.99
    assert scores(spectral, ec)[0] == pytest.approx(scores(plain, ec)[0], abs=0.01)


def test_a_fit_is_given_up_where_another_is_out_of_reach(system):
    spectra = cross_spectra([run_of(system[0][:600, :5])])
    prior = SpectralPrior(precision=(20.0, 40.0), delay_sd=0.0, gain=True, rate=0.7)
    problem = SpectralProblem(spectra, prior, full_band=True)
    alone = problem.fit(None, 60)
    given_up = problem.fit(None, 60, alone.objective - 10)
    assert given_up.objective > alone.objective + 1e-6
    np.testing.assert_array_equal(problem.fit(None, 60, alone.objective).drift, alone.drift)
