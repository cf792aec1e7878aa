"""What delays and widths take away from the certainty of connections."""

from dataclasses import replace

import numpy as np
import pytest

from npi_bids.surrogates import observation_errors
from npi_bids.surrogates.cross_spectra import adjoint, cross_spectra
from npi_bids.surrogates.fitted_process import FittedModel
from npi_bids.surrogates.observation_errors import (
    delay_slopes,
    response_information,
    transition_errors,
)
from npi_bids.surrogates.response_width import width_ratio
from npi_bids.surrogates.spectral import SpectralFit, SpectralPrior, SpectralProblem
from tests.surrogates.observed_process import run_of

N = 3
PRECISION = (20.0, 40.0)
DRIFT = np.array([[-0.6, 0.3, 0.0], [0.0, -0.8, 0.25], [-0.2, 0.0, -0.5]])


def spectra():
    rng = np.random.default_rng(3)
    return cross_spectra([run_of(rng.standard_normal((400, N)))])


def model_of(measured, noise=0.0):
    """Return a process that was not fitted to the spectra at hand."""
    prior = SpectralPrior(precision=PRECISION, delay_sd=1.0, gain=True, rate=0.7)
    problem = SpectralProblem(measured.without_noise(noise), prior, full_band=True)
    fit = SpectralFit(DRIFT, np.array([0.7, 0.8, 0.5]), np.zeros(N), 0.0, 0.0)
    return FittedModel(problem, fit, measured, noise)


@pytest.fixture(scope="module")
def model():
    return model_of(spectra())


def width_slopes(model):
    """Return the slopes by the log widths at equal responses, a sample being one second."""
    return width_ratio(np.zeros(N), model.frequency)[1].conj()[None]


def expected_spectra(model, transition, delays, log_widths):
    """Return the spectra of the signals, written out."""
    phase = np.exp(1j * model.frequency)[:, None, None]
    inverse = np.linalg.inv(phase * np.eye(N) - transition)
    power = adjoint(inverse) @ model.innovation @ inverse
    log_ratio, _ = width_ratio(log_widths, model.frequency)
    factor = np.exp(1j * model.frequency[:, None] * delays + log_ratio.conj())
    return power * factor[:, :, None] * factor.conj()[:, None, :]


def fisher_information(model, *, delays, widths):
    """Return the information per sample on responses and W, the gain of each bin profiled out.

    By finite differences of the spectra: half the trace of ``S^-1 dS_i S^-1 dS_j``.
    """
    n_parameters = 2 * N + N * N

    def spectra_at(values):
        transition = model.transition + values[2 * N :].reshape(N, N)
        return expected_spectra(model, transition, values[:N], values[N : 2 * N])

    inverse, step = np.linalg.inv(spectra_at(np.zeros(n_parameters))), 1e-5
    scores = [
        inverse @ (spectra_at(shift) - spectra_at(-shift)) / (2 * step)
        for shift in step * np.eye(n_parameters)
    ]
    information = np.empty((n_parameters, n_parameters))
    for i, first in enumerate(scores):
        for j, second in enumerate(scores):
            both = np.einsum("kab,kba->k", first, second).real
            common = [np.einsum("kaa->k", score).real for score in (first, second)]
            information[i, j] = model.share @ (both - common[0] * common[1] / N) / 2
    kept = [*range(N)] * delays + [*range(N, 2 * N)] * widths + [*range(2 * N, n_parameters)]
    return information[np.ix_(kept, kept)]


@pytest.mark.parametrize("kinds", [("delays",), ("widths",), ("delays", "widths")])
def test_the_information_is_that_of_the_whittle_likelihood(model, kinds):
    slopes = {"delays": delay_slopes(model), "widths": width_slopes(model)}
    slopes = np.concatenate([slopes[kind] for kind in kinds])
    wanted = fisher_information(model, delays="delays" in kinds, widths="widths" in kinds)
    n = len(slopes) * N
    shared = observation_errors._shared_information(model, slopes)
    found = shared.transpose(0, 2, 1, 3).reshape(n, n)
    np.testing.assert_allclose(found, wanted[:n, :n], atol=1e-6)
    mixed, _, (to_source, to_target) = observation_errors._mixed_information(
        model, PRECISION, slopes
    )
    found = (to_source @ mixed @ to_target.T).reshape(n, -1)
    np.testing.assert_allclose(found, wanted[:n, n:], atol=1e-6)


def test_what_connections_explain_is_taken_away(model):
    slopes = delay_slopes(model)
    shared = model.n_samples * observation_errors._shared_information(model, slopes)[0, 0]
    lost = np.linalg.eigvalsh(shared - response_information(model, PRECISION, slopes))
    assert lost.min() > -1e-6
    assert lost.max() > 1


def test_uncertain_responses_widen_the_errors_of_their_connections(model):
    slopes = np.concatenate([delay_slopes(model), width_slopes(model)])
    known = transition_errors(model, PRECISION, slopes[:0], np.zeros((0, 0)))
    covariance = np.zeros((2 * N, 2 * N))
    for row in (0, N):  # delay and width of the first region
        covariance[row, row] = 0.3**2
        wider = transition_errors(model, PRECISION, slopes, covariance)
        assert (wider >= known).all()
        added = np.sqrt(wider**2 - known**2)
        assert min(added[0, 1], added[2, 0]) > 2 * added[1, 2]
        covariance[row, row] = 0


def test_subtracted_noise_makes_errors_larger():
    quiet, noisy = model_of(spectra()), model_of(spectra(), noise=0.3)
    assert quiet.n_informative == pytest.approx(quiet.n_samples)
    shares = noisy.measured.signal_share(0.3)
    used = np.isin(noisy.measured.frequency, noisy.frequency)
    mean_share = np.average(shares[used], weights=noisy.measured.n_ordinates[used])
    assert noisy.n_informative == pytest.approx(mean_share * noisy.n_samples, rel=1e-6)
    assert noisy.n_informative < 0.8 * noisy.n_samples
    errors = transition_errors(noisy, PRECISION, delay_slopes(noisy)[:0], np.zeros((0, 0)))
    optimistic = model_of(spectra().without_noise(0.3))  # as if that made no error
    fewer = transition_errors(optimistic, PRECISION, delay_slopes(noisy)[:0], np.zeros((0, 0)))
    assert (errors > fewer).all()


def test_gaps_make_errors_larger():
    complete, gapped = model_of(spectra()), model_of(replace(spectra(), lagged_share=0.5))
    assert gapped.n_informative == pytest.approx(complete.n_informative / 2)
    no_delays = delay_slopes(complete)[:0], np.zeros((0, 0))
    smaller, larger = (transition_errors(m, PRECISION, *no_delays) for m in (complete, gapped))
    assert (larger > 1.2 * smaller).all()
