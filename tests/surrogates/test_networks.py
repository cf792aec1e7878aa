"""Ensembles of networks, and the skip connection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from npi_bids.connectivity.perturbation import mean_jacobian, perturb_each
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.windows import cut_windows, split_windows
from tests.conftest import var_run

SETTINGS = resolve(
    TrainSettings(surrogate="mlp", epochs=4, learning_rate=2e-3, n_lags=2, device="cpu")
)


def test_ensemble_is_the_mean_of_its_members(pairs):
    model, _ = fit_surrogate(*pairs[0], replace(SETTINGS, n_seeds=3))
    history = pairs[0][1].history
    members = np.mean([member.step(history) for member in model.members], axis=0)
    np.testing.assert_allclose(model.step(history), members, atol=1e-6)
    alone, _ = fit_surrogate(*pairs[0], SETTINGS)
    np.testing.assert_allclose(model.members[0].step(history), alone.step(history), atol=1e-5)
    maps = np.mean([member.perturbed_change(history, 1.0) for member in model.members], axis=0)
    np.testing.assert_allclose(model.perturbed_change(history, 1.0), maps, atol=1e-6)


@pytest.mark.parametrize("surrogate", ["mlp", "cnn", "rnn"])
def test_skip_connection_is_part_of_prediction_map_and_jacobian(pairs, surrogate):
    windows = split_windows(cut_windows([var_run(0.4 * np.eye(4), 300, 1)], 3), 0.8)
    settings = replace(SETTINGS, surrogate=surrogate, skip=True, n_lags=3)
    model, _ = fit_surrogate(*windows, settings)
    assert any(name.startswith("skip") for name in model.tensors())
    history = windows[0].history[:100]
    fast = model.perturbed_change(history, 1.0)
    np.testing.assert_allclose(fast, perturb_each(model, history, 1.0), atol=1e-5)
    up, down = (perturb_each(model, history, s) for s in (1e-2, -1e-2))
    np.testing.assert_allclose(mean_jacobian(model, history), (up - down) / 2e-2, atol=5e-3)
