"""The surrogate behind delays and a gain: it predicts, is perturbed, judged and stored."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov
from scipy.signal import butter, sosfiltfilt

from npi_bids.connectivity.perturbation import infer_ec
from npi_bids.connectivity.responses import respond_each
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import SurrogateError
from npi_bids.inference import ec_of_runs
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import RegionSeries
from npi_bids.simulate.rnn import random_network, simulate_rnn, true_ec
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.observed import (
    ObservedOU,
    find_observation,
    fit_observed,
    predictor,
    restore_runs,
)
from npi_bids.surrogates.selection_criteria import DELAY_EVIDENCE
from npi_bids.surrogates.spectral_selection import ObservationParts
from npi_bids.surrogates.storage import load_surrogate, save_surrogate
from npi_bids.surrogates.var import ridge_var
from npi_bids.surrogates.windows import cut_windows, split_windows

N, T = 20, 1600
LABELS = tuple(f"R{place:02d}" for place in range(N))


@pytest.fixture(scope="module")
def network():
    """Return signals, their EC in standard deviations, and delays of SD 1 sample."""
    rng = np.random.default_rng(31)
    system = random_network(N, rng)
    series = simulate_rnn(system, n_runs=1, n_samples=T, rng=rng)
    size = series[0].std(axis=0)
    truth = true_ec(system, series, rng) * size[:, None] / size
    return series[0], truth, rng.standard_normal(N)


def run_of(signals, keep=None):
    scaled = (signals - signals.mean(axis=0)) / signals.std(axis=0)
    keep = np.ones(len(signals), dtype=bool) if keep is None else keep
    return RegionSeries(np.where(keep[:, None], scaled, np.nan), LABELS, 1.0, keep)


def delayed(signals, delays):
    hz = np.fft.rfftfreq(len(signals))[:, None]
    turned = np.fft.rfft(signals, axis=0) * np.exp(-2j * np.pi * hz * delays)
    return np.fft.irfft(turned, len(signals), axis=0)


def band_passed(signals):
    sos = butter(2, [0.01, 0.1], "band", fs=1.0, output="sos")
    return sosfiltfilt(sos, signals, axis=0)


def accuracy(matrix, truth):
    return pearson(matrix, truth), pearson(antisymmetric(matrix), antisymmetric(truth))


def ec(run, **train):
    return ec_of_runs([run], train=TrainSettings(device="cpu", **train), perturb=PerturbSettings())


def test_the_default_finds_direction_through_delays(network):
    signals, truth, delays = network
    run = run_of(delayed(signals, delays))
    new, old = ec(run), ec(run, delays="none")
    assert isinstance(new.surrogate, ObservedOU)
    assert dict(new.log.details)["delay_sd"] == pytest.approx(delays.std(), rel=0.3)
    assert accuracy(new.ec, truth)[1] > accuracy(old.ec, truth)[1] + 0.3
    assert accuracy(new.ec, truth)[0] > 0.88
    assert accuracy(new.ec.T, truth)[0] < 0.5
    assert new.quality.r2 > old.quality.r2
    assert new.quality.r_split_delays > 0.9
    assert np.isnan(old.quality.r_split_delays)
    off = ~np.eye(N, dtype=bool)
    inside = (new.measures["npilower"].matrix < truth) & (truth < new.measures["npiupper"].matrix)
    assert 0.88 < inside[off].mean() < 0.99


def test_the_default_finds_direction_through_a_filter(network):
    signals, truth, _ = network
    run = run_of(band_passed(signals))
    new, old = ec(run), ec(run, gain="none")
    assert dict(new.log.details)["common_gain"] == 1.0
    assert accuracy(new.ec, truth)[0] > 0.85
    assert accuracy(old.ec, truth)[0] < 0.5
    assert new.quality.r2 >= old.quality.r2
    assert new.quality.r_split > 0.5


def test_clean_signals_are_mapped_as_before(network):
    signals, _, _ = network
    run = run_of(signals)
    new, old = ec(run), ec(run, delays="none", gain="none")
    assert not isinstance(new.surrogate, ObservedOU)
    np.testing.assert_array_equal(new.ec, old.ec)


def test_censored_samples_do_not_keep_delays_from_being_found(network):
    signals, truth, delays = network
    keep = np.random.default_rng(0).random(T) > 0.15
    run = run_of(delayed(signals, delays), keep)
    new, old = ec(run), ec(run, delays="none")
    assert accuracy(new.ec, truth)[1] > accuracy(old.ec, truth)[1] + 0.2


@pytest.fixture(scope="module")
def fitted(network):
    signals, _, delays = network
    windows = cut_windows([run_of(delayed(signals, delays))], 4)
    return windows, fit_observed(windows)


def test_it_predicts_samples_that_it_has_not_seen(fitted):
    learn, check = split_windows(fitted[0], 0.8)
    model = fit_observed(learn)
    plain, _ = ridge_var(learn)
    assert model.mse(check) < plain.mse(check)
    left = check.target - model.step(check.history)
    np.testing.assert_allclose(np.cov(left.T), model.innovation, atol=0.2)


def test_it_comes_back_from_a_file_to_the_last_bit(fitted, tmp_path):
    windows, model = fitted
    save_surrogate(model, tmp_path / "x.safetensors", family="hybrid", labels=LABELS, tr=1.0)
    loaded = load_surrogate(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(loaded.step(windows.history), model.step(windows.history))
    maps = [infer_ec(some, windows.history, PerturbSettings()) for some in (loaded, model)]
    np.testing.assert_array_equal(*maps)
    np.testing.assert_equal(asdict(loaded.observation), asdict(model.observation))
    again, once = (fit_observed(windows, like=some) for some in (loaded, model))
    np.testing.assert_array_equal(again.process.drift, once.process.drift)


def test_later_responses_are_powers_of_the_transition_of_the_state(fitted):
    windows, model = fitted
    found = respond_each(model, windows.history, 1.0, steps=3, sustained=False)
    np.testing.assert_allclose(found, np.linalg.matrix_power(model.process.transition, 3))


def test_runs_are_put_together_as_they_were(network):
    signals, _, _ = network
    keep = np.ones(500, dtype=bool)
    keep[[100, 101, 300]] = False
    runs = [run_of(signals[:500], keep), run_of(signals[500:900])]
    found = restore_runs(cut_windows(runs, 4))
    assert [len(run.data) for run in found] == [500, 400]
    for one, other in zip(found, runs, strict=True):
        np.testing.assert_array_equal(one.keep, other.keep)
        np.testing.assert_array_equal(one.data, other.data)


def test_the_predictor_of_an_autoregression_is_itself(weights):
    covariance = np.eye(4)
    for _ in range(200):
        covariance = weights.T @ covariance @ weights + np.eye(4)
    lagged = [covariance, covariance @ weights, covariance @ weights @ weights]
    found, innovation = predictor(np.array(lagged))
    np.testing.assert_allclose(found[-1], weights, atol=1e-8)
    np.testing.assert_allclose(found[0], 0, atol=1e-8)
    np.testing.assert_allclose(innovation, np.eye(4), atol=1e-8)


def test_nothing_is_taken_that_predicts_no_better(fitted):
    windows, _ = fitted
    parts = ObservationParts(gain=False)
    assert find_observation(windows, parts, least_error=lambda _: 0.0).surrogate is None
    found = find_observation(windows, parts, least_error=lambda _: 10.0)
    assert found.surrogate is not None
    assert not found.surrogate.observation.is_plain


def test_delays_that_are_not_taken_leave_their_evidence(fitted):
    windows, _ = fitted
    found = find_observation(windows, ObservationParts(gain=False), least_error=lambda _: 0.0)
    assert found.choice.delay_evidence > DELAY_EVIDENCE
    assert found.choice.expected_delay_evidence > DELAY_EVIDENCE
    # The shorter the signals, the less would show.
    short = find_observation(
        windows.take(slice(0, 200)), ObservationParts(gain=False), least_error=lambda _: 0.0
    )
    assert short.choice.expected_delay_evidence < 0.5 * found.choice.expected_delay_evidence


def test_it_is_chosen_on_some_of_many_regions_and_fitted_to_all(fitted, monkeypatch):
    windows, _ = fitted
    from npi_bids.surrogates import observed

    monkeypatch.setattr(observed, "MOST_OBSERVED_REGIONS", 12)
    compared = []

    def least_error(chosen):
        compared.append(chosen.target)
        return 10.0

    found = find_observation(windows, ObservationParts(gain=False), least_error=least_error)
    assert found.surrogate is not None
    assert found.surrogate.process.drift.shape == (N, N)
    regions = np.linspace(0, N - 1, 12).astype(int)
    np.testing.assert_array_equal(compared[0], windows.target[:, regions])


def test_what_is_not_taken_is_not_fitted(fitted, monkeypatch):
    """The fit with standard errors comes after the choice, and only for a model that is taken."""
    windows, _ = fitted
    from npi_bids.surrogates import spectral_selection

    def fail(*_):
        raise AssertionError("a model without delays and gain was fitted")

    monkeypatch.setattr(spectral_selection._Chooser, "refit", fail)
    independent = np.random.default_rng(0).standard_normal(windows.target.shape)
    plain = cut_windows([run_of(independent)], windows.n_lags)
    parts = ObservationParts(delays=False)
    assert find_observation(plain, parts, least_error=lambda _: 10.0).surrogate is None
    with pytest.raises(AssertionError, match="was fitted"):
        find_observation(windows, ObservationParts(gain=False), least_error=lambda _: 10.0)


def test_a_process_that_is_not_stable_is_an_error(fitted, monkeypatch):
    windows, model = fitted
    growing = np.eye(N) * 0.01
    from npi_bids.surrogates import observed

    def unstable(*args, **kwargs):
        found = observed.refit_observation(*args, **kwargs)
        found.model.transition[:] = np.eye(N) + growing
        return found

    monkeypatch.setattr(observed, "choose_observation", lambda runs, tr, *_, **__: unstable(
        runs, tr, model.observation))  # fmt: skip
    with pytest.raises(SurrogateError, match="not stable"):
        fit_observed(windows)


def test_a_process_that_cannot_be_fitted_without_its_prior_is_an_error(fitted, monkeypatch):
    windows, model = fitted
    from npi_bids.surrogates import observed

    def singular(*_, **__):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(observed, "refit_with_delays", singular)
    with pytest.raises(SurrogateError, match="cannot be fitted with a fixed prior: Singular"):
        model.without_prior(windows)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_fit_that_ends_in_a_growing_process_is_made_again_from_the_fitted_one(
    fitted, monkeypatch, reverse
):
    windows, model = fitted
    from npi_bids.surrogates import observed

    refit = observed.refit_with_delays
    starts = []

    def grow_if_unconnected(runs, tr, choice, start, **direction):
        assert direction == {"reverse": reverse}
        starts.append(start.drift)
        if len(starts) == 1:
            raise SurrogateError("is not stable")
        return refit(runs, tr, choice, start, **direction)

    monkeypatch.setattr(observed, "refit_with_delays", grow_if_unconnected)
    again = model.without_prior(windows, reverse=reverse)
    assert np.abs(np.linalg.eigvals(again.process.transition)).max() < 1
    assert not np.any(starts[0] - np.diag(np.diag(starts[0])))
    # Both directions of time have the same covariance; only the process itself its own drift.
    covariances = [
        solve_continuous_lyapunov(drift.T, -np.diag(model.process.diffusion))
        for drift in (starts[1], model.process.drift)
    ]
    np.testing.assert_allclose(*covariances, rtol=1e-6, atol=1e-9)
    assert np.allclose(starts[1], model.process.drift) != reverse
