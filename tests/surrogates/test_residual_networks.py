"""Networks on a residual: kept for what is not linear, and for nothing else."""

import numpy as np
import pytest

from npi_bids.records import Windows
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.ou import fit_process
from npi_bids.surrogates.residual_networks import Benefit, choose_twin, fit_residual
from npi_bids.surrogates.windows import cut_windows, split_windows
from tests.surrogates.observed_process import run_of

SETTINGS = resolve(TrainSettings(n_seeds=2, epochs=60, device="cpu"))


def simulate(n_samples, curvature, seed=0):
    """Return signals of four regions: 0 drives 1 linearly, and 2 through its square."""
    rng = np.random.default_rng(seed)
    signals = np.zeros((n_samples, 4))
    for t in range(1, n_samples):
        past = signals[t - 1]
        signals[t] = 0.5 * past + rng.standard_normal(4)
        signals[t, 1] += 0.5 * past[0]
        signals[t, 2] += curvature * (past[0] ** 2 - 1.3)
    return signals


def fit(signals):
    windows = cut_windows([run_of(signals)], 4)
    train, valid = split_windows(windows, 0.8)
    linear, _ = fit_process(train, "off")
    return fit_residual(linear, train, valid, SETTINGS, lambda w: fit_process(w, "off", linear)[0])


def test_networks_are_kept_for_what_is_not_linear():
    fitted = fit(simulate(1500, 0.5))
    assert fitted.networks is not None
    assert fitted.gain > fitted.twin_gain + 0.02
    assert fitted.benefit.mean > 3 * fitted.benefit.standard_error


@pytest.mark.parametrize("n_samples", [40, 75, 150, 400, 1500])
def test_networks_are_not_kept_where_all_is_linear(n_samples):
    fitted = fit(simulate(n_samples, 0.0))
    assert fitted.networks is None


def test_a_linear_remainder_is_not_taken_for_nonlinearity():
    """The linear part misses an influence, so that networks gain, and so does the twin."""
    signals = simulate(1500, 0.0)
    windows = cut_windows([run_of(signals)], 4)
    train, valid = split_windows(windows, 0.8)

    def uncoupled(part):
        linear, _ = fit_process(part, "off")
        weights = np.zeros_like(linear.weights)
        weights[-1] = np.diag(np.diag(linear.weights[-1]))
        return type(linear)(weights, linear.offset, linear.process, linear.choices, linear.scale)

    fitted = fit_residual(uncoupled(train), train, valid, SETTINGS, uncoupled)
    assert fitted.gain > 0.03
    assert fitted.twin_gain > 0.03
    assert fitted.networks is None
    assert fitted.twin_time is not None
    assert fitted.twin_benefit.is_clear


def test_the_twin_finds_the_map_and_its_direction():
    rng = np.random.default_rng(1)
    past = rng.standard_normal((2000, 1, 3))
    target = 0.3 * rng.standard_normal((2000, 3))
    target[:, 2] += 0.6 * past[:, 0, 0]
    parts = [
        Windows(past[rows], target[rows], np.arange(2000)[rows])
        for rows in (slice(0, 1000), slice(1000, 2000))
    ]
    weights = choose_twin(*parts).weights
    expected = np.zeros((3, 3))
    expected[0, 2] = 0.6
    np.testing.assert_allclose(weights, expected, atol=0.04)


def test_a_benefit_must_be_large_and_certain():
    assert Benefit(0.01, 0.003).is_clear
    assert not Benefit(0.01, 0.004).is_clear
    assert not Benefit(0.0029, 0.0001).is_clear
    assert not Benefit(float("nan"), 0.1).is_clear
