"""The Ornstein-Uhlenbeck surrogate on systems whose EC is known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from npi_bids.connectivity.perturbation import infer_ec
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.windows import cut_windows
from tests.surrogates.ou_signals import HYBRID, MOU_SETTINGS, fit, off, run_of, sampled


@pytest.mark.parametrize("settings", [MOU_SETTINGS, HYBRID])
def test_map_of_a_process_is_its_matrix_exponential(process, settings):
    model, _, windows = fit(sampled(process, 20_000, 5), settings)
    found = infer_ec(model, windows.history[:10], PerturbSettings())
    np.testing.assert_allclose(off(found), off(process.transition), atol=0.05)
    assert pearson(found.T, process.transition) < 0.5


def test_process_is_better_than_a_var_on_short_series(process):
    errors = {"mou": [], "var": []}
    for seed in range(16):
        for name, found in errors.items():
            settings = TrainSettings(surrogate=name, device="cpu")
            model, _, _ = fit(sampled(process, 150, seed), settings)
            found.append(np.mean((off(model.weights[-1]) - off(process.transition)) ** 2))
    assert np.mean(errors["mou"]) < 0.95 * np.mean(errors["var"])


def test_scale_of_the_signals_is_carried_back(process):
    series = sampled(process, 3000, 1)
    scale = np.array([1.0, 10.0, 0.1])
    plain, _, _ = fit(series, MOU_SETTINGS)
    scaled, _, _ = fit(series * scale, MOU_SETTINGS)
    expected = plain.weights * scale[None, None, :] / scale[None, :, None]
    np.testing.assert_allclose(scaled.weights, expected, rtol=1e-3, atol=1e-4)


def test_whitened_model_predicts_the_signals_as_they_came():
    rng = np.random.default_rng(0)
    smooth = np.apply_along_axis(
        lambda x: np.convolve(x, [1, 1, 1, 1])[:3000], 0, rng.standard_normal((3000, 3))
    )
    model, _, windows = fit(smooth, MOU_SETTINGS)
    error = np.mean((model.step(windows.history) - windows.target) ** 2)
    persistence = np.mean((windows.history[:, -1] - windows.target) ** 2)
    assert error < 0.9 * persistence


def test_a_fit_like_another_keeps_its_choices(process):
    series = sampled(process, 1000, 2)
    windows = cut_windows([run_of(series)], 4)
    nothing = windows.take(slice(0, 0))
    whole, _ = fit_surrogate(windows, nothing, MOU_SETTINGS)
    half, _ = fit_surrogate(windows.take(slice(0, 500)), nothing, MOU_SETTINGS, whole)
    assert half.choices == whole.choices
    assert (half.weights != whole.weights).any()


def test_a_part_of_the_data_starts_afresh():
    """Where data say nothing a fit stays where it starts: halves must not start from the whole."""
    series = np.random.default_rng(0).standard_normal((1200, 4))
    windows = cut_windows([run_of(series)], 4)
    nothing = windows.take(slice(0, 0))
    whole, _ = fit_surrogate(windows, nothing, MOU_SETTINGS)
    moved = replace(whole, process=OU(whole.process.drift - 0.5, whole.process.diffusion))
    half = windows.take(slice(0, 600))
    one, other = (fit_surrogate(half, nothing, MOU_SETTINGS, x)[0] for x in (whole, moved))
    np.testing.assert_array_equal(one.weights, other.weights)


def test_posterior_errors_cover_the_truth(process):
    z = []
    for seed in range(15):
        model, _, windows = fit(sampled(process, 600, seed), MOU_SETTINGS)
        error = model.weights[-1] - process.transition
        z.append(off(error) / off(model.weight_errors(windows)))
    covered = np.mean(np.abs(z) < 1.96)
    assert 0.88 < covered < 0.99


def test_censored_data_and_several_runs_are_pooled(process):
    runs = [run_of(sampled(process, 1500, seed)) for seed in (1, 2)]
    runs[0].keep[np.random.default_rng(0).random(1500) < 0.1] = False
    windows = cut_windows(runs, 4)
    model, _ = fit_surrogate(windows, windows.take(slice(0, 0)), MOU_SETTINGS)
    assert pearson(antisymmetric(model.weights[-1]), antisymmetric(process.transition)) > 0.95
