"""Widths of haemodynamic responses: their spectra, likelihood, and what is recovered."""

import numpy as np
import pytest
from scipy.stats import gamma

from npi_bids.surrogates.cross_spectra import cross_spectra
from npi_bids.surrogates.response_width import (
    _WidthProblem,
    change_widths,
    estimate_widths,
    width_ratio,
)
from npi_bids.surrogates.spectral import SpectralPrior, SpectralProblem
from npi_bids.surrogates.spectral_selection import (
    ObservationParts,
    choose_observation,
    refit_with_delays,
)
from tests.surrogates.observed_process import run_of

PRIOR = SpectralPrior(precision=(20.0, 40.0), delay_sd=1.0, gain=True, rate=0.7)
WIDTHS = np.array([0.8, 1.2, 1.0, 0.9, 1.3, 0.75, 1.1, 1.0, 0.85, 1.25])


def respond(signals, widths):
    """Return signals sampled every second, convolved with responses of these widths."""
    time = np.arange(0, 40, 0.1)
    frequency = 2 * np.pi * np.fft.rfftfreq(len(signals))
    columns = []
    for signal, width in zip(signals.T, widths, strict=True):
        response = gamma.pdf(time / width, 6) - gamma.pdf(time / width, 16) / 6
        spectrum = np.exp(-1j * frequency[:, None] * time) @ response
        columns.append(np.fft.irfft(np.fft.rfft(signal) * spectrum, len(signal)))
    return np.stack(columns, axis=1)


def test_the_ratio_is_that_of_stretched_responses():
    frequency, time = np.array([0.1, 0.4, 0.8]), np.arange(0, 60, 0.01)
    spectra = []
    for width in (1.2, 1.0):
        response = gamma.pdf(time / width, 6) - gamma.pdf(time / width, 16) / 6
        spectra.append(0.01 / width * np.exp(-1j * frequency[:, None] * time) @ response)
    log_ratio, _ = width_ratio(np.log([1.2]), frequency)
    np.testing.assert_allclose(np.exp(log_ratio[:, 0]), spectra[0] / spectra[1], rtol=1e-3)


def test_the_gradient_is_that_of_finite_differences(system):
    signals, _, _ = system
    problem = _WidthProblem(cross_spectra([run_of(signals[:600, :4])]), PRIOR, 0.5, 1.0)
    rng = np.random.default_rng(0)
    point = np.concatenate([problem._pack(*problem._uncoupled()), np.zeros(4)])
    point = point + 0.1 * rng.standard_normal(len(point))
    _, gradient = problem.value_and_gradient_of_widths(point)
    step = 1e-5
    for index, shift in enumerate(step * np.eye(len(point))):
        up, down = (
            problem.value_and_gradient_of_widths(point + sign * shift)[0] for sign in (1, -1)
        )
        assert gradient[index] == pytest.approx((up - down) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("widths", [np.ones(10), WIDTHS], ids=["equal", "different"])
def test_widths_are_found_where_they_differ(system, widths):
    signals, _, _ = system
    spectra = cross_spectra([run_of(respond(signals[:, :10], widths))])
    spectra = spectra.within(spectra.band())
    start = SpectralProblem(spectra, PRIOR, full_band=False).fit(max_iterations=40)
    estimate = estimate_widths(
        spectra, PRIOR, start, 1.0,
        signal_share=np.ones(len(spectra.frequency)), start_autoregression=0.5,
    )  # fmt: skip
    if widths is WIDTHS:
        assert estimate.evidence > 30
        assert np.corrcoef(estimate.log_widths, np.log(widths))[0, 1] > 0.9
    else:
        assert estimate.evidence < 30


def test_nothing_is_estimated_from_frequencies_that_are_nearly_all_noise(system):
    signals, _, _ = system
    spectra = cross_spectra([run_of(signals[:, :10])])
    start = SpectralProblem(spectra, PRIOR, full_band=False).fit(max_iterations=1)
    share = np.full(len(spectra.frequency), 0.3)
    assert (
        estimate_widths(spectra, PRIOR, start, 1.0, signal_share=share, start_autoregression=0.5)
        is None
    )


def relative(spectra, n_bins=9):
    """Return the slow bins of spectra, relative to the power of both regions in them."""
    power = spectra.power[:n_bins]
    root = np.sqrt(np.einsum("kii->i", power).real)
    return power / root[:, None] / root


def test_taking_widths_out_leaves_the_spectra_of_equal_responses(system):
    signals, _, _ = system
    equal, different = (
        cross_spectra([run_of(respond(signals[:, :10], widths))])
        for widths in (np.ones(10), WIDTHS)
    )
    log_ratio, _ = width_ratio(np.log(WIDTHS), different.frequency)
    restored = change_widths(different, -log_ratio)
    errors = [np.abs(relative(part) - relative(equal)).mean() for part in (different, restored)]
    assert errors[1] < errors[0] / 4  # the ratio changes within a bin


def test_the_chosen_widths_are_in_the_expected_spectra_and_reverse_with_time(system):
    signals, _, _ = system
    signals = respond(signals[:, :10], WIDTHS)
    model = choose_observation([run_of(signals)], 1.0, ObservationParts(delays=False, gain=True))
    assert np.corrcoef(model.choice.log_widths, np.log(WIDTHS))[0, 1] > 0.9
    fitted = model.model
    errors = []
    for log_ratio in (fitted.log_ratio, None, fitted.log_ratio.conj()):
        fitted.log_ratio = log_ratio
        errors.append(np.abs(relative(fitted.expected) - relative(fitted.measured)).mean())
    assert errors[0] < 0.9 * min(errors[1:])
    backwards = [run_of(signals[::-1])]
    likelihoods = [
        refit_with_delays(
            backwards, 1.0, model.choice, model.fit, reverse=reverse
        ).fit.log_likelihood
        for reverse in (True, False)
    ]
    assert likelihoods[0] > likelihoods[1] + 50
