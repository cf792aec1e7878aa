from __future__ import annotations

import numpy as np

from npi_bids.assessment.settings import AssessSettings
from npi_bids.connectivity.measures import oriented_correlation, partial_correlation
from npi_bids.connectivity.settings import MeasureSettings, PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.surrogates.base import TrainSettings

VAR, PUSH = TrainSettings(surrogate="var", device="cpu"), PerturbSettings()


def test_measures_on_request_are_written_with_their_direction(run, weights):
    asked = AssessSettings(measures=MeasureSettings(measures=("partial", "lagged", "var")))
    found = ec_of_runs([run], train=VAR, perturb=PUSH, assess=asked).measures
    assert {"npi", "partialcorrelation", "laggedcorrelation", "ridgevar"} <= set(found)
    assert "jacobian" not in found
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(found["ridgevar"].matrix[off], weights[off], atol=0.1)
    lagged = found["laggedcorrelation"].matrix
    assert lagged[0, 1] > 0.3 > abs(lagged[1, 0])


def test_partial_correlation_leaves_out_what_goes_through_others():
    rng = np.random.default_rng(0)
    a = rng.standard_normal(5000)
    b = a + rng.standard_normal(5000)
    c = b + rng.standard_normal(5000)
    partial = partial_correlation(np.stack([a, b, c], axis=1))
    assert abs(partial[0, 2]) < 0.05
    assert partial[0, 1] > 0.3
    assert np.isfinite(partial_correlation(rng.standard_normal((10, 30)))).all()


def test_skewness_orients_a_chain():
    rng = np.random.default_rng(0)
    a = rng.exponential(size=5000)
    b = 0.8 * a + rng.exponential(size=5000)
    c = 0.8 * b + rng.exponential(size=5000)
    oriented = oriented_correlation(np.stack([a, b, c], axis=1))
    assert oriented[0, 1] > 0.3
    assert oriented[1, 2] > 0.3
    assert oriented[1, 0] == oriented[2, 1] == 0
