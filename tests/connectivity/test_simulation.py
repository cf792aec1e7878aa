from __future__ import annotations

import logging

import numpy as np
import pytest

from npi_bids.connectivity.simulation import free_run, model_fc
from npi_bids.errors import SurrogateError
from npi_bids.surrogates.var import VAR


def test_free_run_has_the_correlations_of_the_system(weights):
    model = VAR(weights[None], np.zeros(4))
    found = model_fc(model, np.random.default_rng(0), n_samples=20000)
    # The noise enters before the step: x' = (x + e) W, so the stationary covariance solves
    # C = W' (C + s^2 I) W.
    covariance = np.zeros((4, 4))
    for _ in range(200):
        covariance = weights.T @ (covariance + 0.01 * np.eye(4)) @ weights
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(found, covariance / np.outer(scale, scale), atol=0.05)


def test_diverging_surrogate_has_no_model_fc_and_the_log_says_what_to_do(caplog):
    model = VAR(2 * np.eye(2)[None], np.zeros(2))
    with caplog.at_level(logging.WARNING, "npi_bids"):
        assert model_fc(model, np.random.default_rng(0)) is None
    assert "free-running surrogate diverged after" in caplog.text
    assert "pool the runs of the subject (--combine runs;" in caplog.text
    with pytest.raises(SurrogateError, match="free-running surrogate diverged"):
        free_run(model, 1200, np.random.default_rng(0))
