from __future__ import annotations

import numpy as np
import pytest

from npi_bids.errors import SurrogateError
from npi_bids.records import Windows
from npi_bids.surrogates.var import ridge_var
from npi_bids.surrogates.windows import cut_windows


def brute_force_loo(windows, penalty):
    """Leave each window out in turn and predict it: what the closed form must equal."""
    design = windows.history.reshape(len(windows), -1)
    errors = []
    for left_out in range(len(windows)):
        rest = np.arange(len(windows)) != left_out
        mean_x, mean_y = design[rest].mean(axis=0), windows.target[rest].mean(axis=0)
        x, y = design[rest] - mean_x, windows.target[rest] - mean_y
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
        predicted = mean_y + (design[left_out] - mean_x) @ weights
        errors.append(np.mean((windows.target[left_out] - predicted) ** 2))
    return float(np.mean(errors))


def test_leave_one_out_error_is_exact(run):
    windows = cut_windows([run], 1).take(slice(0, 40))
    _, details = ridge_var(windows)
    found = dict(details)
    # The closed form keeps the centre of the design fixed; the difference is of order 1/n^2.
    expected = brute_force_loo(windows, found["ridge_penalty"])
    assert found["leave_one_out_mse"] == pytest.approx(expected, rel=2e-3)


def test_weights_are_those_of_the_system(run, weights):
    model, _ = ridge_var(cut_windows([run], 1))
    np.testing.assert_allclose(model.weights[0], weights, atol=0.1)


def test_more_regions_than_windows_can_be_fitted():
    rng = np.random.default_rng(0)
    windows = Windows(
        rng.standard_normal((20, 1, 50)), rng.standard_normal((20, 50)), np.arange(20)
    )
    model, _ = ridge_var(windows)
    assert np.isfinite(model.weights).all()


def test_constant_signals_are_refused():
    windows = Windows(np.ones((10, 1, 3)), np.ones((10, 3)), np.arange(10))
    with pytest.raises(SurrogateError, match="cannot be fitted"):
        ridge_var(windows)
