"""A linear correction: what the prior took out comes back, with its direction."""

import numpy as np
import pytest

from npi_bids.matrices import pearson
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.corrected import Corrected, fit_corrected
from npi_bids.surrogates.hybrid import fit_hybrid
from npi_bids.surrogates.ou import fit_process
from npi_bids.surrogates.storage import load_surrogate, save_surrogate
from npi_bids.surrogates.windows import cut_windows, split_windows
from tests.surrogates.observed_process import run_of

SETTINGS = resolve(TrainSettings(n_seeds=1, epochs=20, device="cpu"))


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(5)
    weights = 0.45 * np.eye(12)
    weights += 0.3 * (rng.random((12, 12)) < 0.15) * rng.choice([-1, 1], (12, 12))
    np.fill_diagonal(weights, 0.45)
    return weights / max(1.0, np.abs(np.linalg.eigvals(weights)).max() / 0.9)


def simulate(weights, n_samples, seed):
    rng = np.random.default_rng(seed)
    signals = np.zeros((n_samples + 50, len(weights)))
    for now in range(1, len(signals)):
        signals[now] = signals[now - 1] @ weights + rng.standard_normal(len(weights))
    return run_of(signals[50:])


@pytest.fixture(scope="module")
def windows(truth):
    return cut_windows([simulate(truth, 900, 3)], 4)


def test_the_correction_brings_a_process_nearer_to_discrete_dynamics(windows, truth):
    process, _ = fit_process(windows, "off")
    corrected = fit_corrected(process, windows, 3.0)
    np.testing.assert_allclose(
        corrected.weights[-1] - process.weights[-1], corrected.correction, atol=1e-12
    )
    before, after, transposed = (
        pearson(weights, truth)
        for weights in (process.weights[-1], corrected.weights[-1], corrected.weights[-1].T)
    )
    assert after > before + 0.01
    assert transposed < 0.5
    assert corrected.mse(windows) < process.mse(windows)


def test_at_time_zero_nothing_is_corrected_and_errors_are_those_of_the_base(windows):
    process, _ = fit_process(windows, "off")
    corrected = fit_corrected(process, windows, 1e-12)
    np.testing.assert_allclose(corrected.weights, process.weights, atol=1e-9)
    np.testing.assert_allclose(
        corrected.weight_errors(windows), process.weight_errors(windows), rtol=1e-6
    )


def test_errors_of_the_correction_are_the_spread_over_data_sets(truth):
    """At late times the correction makes least squares of the base, whatever that is."""
    fits = []
    for seed in range(40):
        sample = cut_windows([simulate(truth, 300, 100 + seed)], 1)
        base, _ = fit_process(sample, "off")
        fits.append((fit_corrected(base, sample, 1e3), sample))
    spread = np.std([corrected.weights[-1] for corrected, _ in fits], axis=0)
    errors = np.mean([corrected.weight_errors(sample) for corrected, sample in fits], axis=0)
    assert np.mean(errors) == pytest.approx(np.mean(spread), rel=0.5)
    assert np.mean(errors) > 0.9 * np.mean(spread)


def test_the_default_takes_it_where_dynamics_are_discrete(windows):
    model, log = fit_hybrid(*split_windows(windows, 0.8), SETTINGS)
    assert isinstance(model, Corrected)
    assert dict(log.details)["linear_correction"] == 1


def test_a_refit_and_a_file_keep_it(windows, tmp_path):
    train, valid = split_windows(windows, 0.8)
    base, _ = fit_process(train, "off")
    model = fit_corrected(base, train, 2.0)
    refit, _ = fit_hybrid(windows, windows.take(slice(0, 0)), SETTINGS, model)
    assert isinstance(refit, Corrected)
    assert refit.time == 2.0
    path = tmp_path / "x.safetensors"
    labels = tuple(f"R{region}" for region in range(12))
    save_surrogate(refit, path, family="hybrid", labels=labels, tr=1.0)
    loaded = load_surrogate(path)
    assert isinstance(loaded, Corrected)
    np.testing.assert_array_equal(loaded.step(valid.history), refit.step(valid.history))
    np.testing.assert_array_equal(loaded.weight_errors(valid), refit.weight_errors(valid))
