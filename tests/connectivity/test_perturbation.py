from __future__ import annotations

import numpy as np
import pytest

from npi_bids.connectivity.perturbation import infer_ec, mean_jacobian
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import SettingsError, SurrogateError
from npi_bids.surrogates.base import Surrogate
from npi_bids.surrogates.var import VAR


class Squared(Surrogate):
    """A surrogate without a fast way: the square of the last sample of A drives B."""

    n_lags, n_regions = 1, 2

    def step(self, history):
        last = history[:, -1]
        return np.stack([np.zeros(len(last)), last[:, 0] ** 2], axis=1)

    def tensors(self):
        return {}


def test_linear_surrogate_gives_back_its_weights(weights):
    model = VAR(weights=weights[None], offset=np.zeros(4))
    states = np.random.default_rng(0).standard_normal((5, 1, 4))
    found = infer_ec(model, states, PerturbSettings(strength=2.0))
    np.testing.assert_allclose(found, 2.0 * weights)


def test_rows_are_sources(weights):
    model = VAR(weights=weights[None], offset=np.zeros(4))
    found = infer_ec(model, np.zeros((1, 1, 4)), PerturbSettings())
    assert found[0, 1] == 0.5
    assert found[1, 0] == 0.0


def test_only_the_most_recent_sample_is_perturbed(weights):
    model = VAR(weights=np.stack([weights, np.zeros((4, 4))]), offset=np.zeros(4))
    np.testing.assert_array_equal(infer_ec(model, np.zeros((3, 2, 4)), PerturbSettings()), 0.0)


# (a + s)^2 - a^2 = 2as + s^2 at a = 1, by hand; lowering is divided by its sign.
@pytest.mark.parametrize(
    ("sign", "expected"), [("positive", 3.0), ("negative", 1.0), ("both", 2.0)]
)
def test_sign_of_the_perturbation(sign, expected):
    found = infer_ec(Squared(), np.ones((4, 1, 2)), PerturbSettings(sign=sign))
    np.testing.assert_allclose(found, [[0, expected], [0, 0]])


def test_jacobian_by_difference_where_there_is_no_other():
    found = mean_jacobian(Squared(), np.full((4, 1, 2), 1.5))
    np.testing.assert_allclose(found, [[0, 3.0], [0, 0]], atol=1e-9)


def test_diverged_surrogate_is_an_error():
    model = VAR(weights=np.full((1, 2, 2), np.inf), offset=np.zeros(2))
    with pytest.raises(SurrogateError, match="not finite"):
        infer_ec(model, np.zeros((1, 1, 2)), PerturbSettings())


def test_bad_strength_is_named():
    with pytest.raises(SettingsError, match="--strength must be above 0, not 0"):
        PerturbSettings(strength=0)
