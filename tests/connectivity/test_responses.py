from __future__ import annotations

import numpy as np
import pytest

from npi_bids.connectivity.perturbation import infer_ec
from npi_bids.connectivity.responses import (
    respond,
    respond_each,
    respond_to_sets,
    response_table,
)
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.surrogates.base import Surrogate
from npi_bids.surrogates.var import VAR


class Saturating(Surrogate):
    """A surrogate that is not linear: tanh of a chain A -> B -> C."""

    n_lags, n_regions = 2, 3
    chain = np.array([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.5]])

    def step(self, history):
        return np.tanh(history[:, -1] @ self.chain + 0.1 * history[:, 0])

    def tensors(self):
        return {"chain": self.chain}


@pytest.fixture
def chain():
    """Make A -> B -> C, with an earlier lag that matters too."""
    weights = np.array([0.1 * np.eye(3), Saturating.chain])
    return VAR(weights, np.array([1.0, 0.0, 0.0]))


@pytest.fixture
def history():
    return np.random.default_rng(0).standard_normal((50, 2, 3))


def test_impulse_reaches_the_end_of_a_chain_after_two_steps(chain, history):
    first = infer_ec(chain, history, PerturbSettings(steps_ahead=1))
    second = infer_ec(chain, history, PerturbSettings(steps_ahead=2))
    assert first[0, 2] == 0
    assert second[0, 2] == pytest.approx(1.0)
    assert second[2, 0] == 0


def test_impulse_of_several_steps_is_a_power_of_the_companion_matrix(chain, history):
    companion = np.zeros((6, 6))  # state: most recent sample, then the one before
    companion[:3, :3], companion[3:, :3] = chain.weights[1], chain.weights[0]
    companion[:3, 3:] = np.eye(3)
    expected = np.linalg.matrix_power(companion, 4)[:3, :3]
    found = infer_ec(chain, history, PerturbSettings(steps_ahead=4))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("sustained", [False, True])
def test_closed_form_equals_running_the_surrogate(chain, history, sustained):
    fast = respond_each(chain, history, 0.7, steps=3, sustained=sustained)
    slow = [
        respond(chain, history, push, steps=3, sustained=sustained) for push in 0.7 * np.eye(3)
    ]
    np.testing.assert_allclose(fast, slow, atol=1e-12)


def test_sustained_perturbation_is_the_sum_of_impulses(chain, history):
    impulses = [infer_ec(chain, history, PerturbSettings(steps_ahead=n)) for n in (1, 2, 3)]
    held = infer_ec(chain, history, PerturbSettings(steps_ahead=3, sustained=True))
    np.testing.assert_allclose(held, sum(impulses), atol=1e-12)


def test_several_regions_at_once_add_up_in_a_linear_model_only(chain, history):
    both = np.array([1.0, 1.0, 0.0])
    for model, alike in ((chain, True), (Saturating(), False)):
        together = respond(model, history, both)
        apart = respond(model, history, both * [1, 0, 0]) + respond(
            model, history, both * [0, 1, 0]
        )
        assert np.allclose(together, apart) == alike


def test_randomised_perturbation_finds_the_weights_of_a_linear_model(chain, history):
    settings = PerturbSettings(perturbation="randomised", n_draws=400, strength=2.0)
    found = infer_ec(chain, history, settings, seed=1)
    np.testing.assert_allclose(found, 2 * chain.weights[-1], atol=0.1)
    np.testing.assert_array_equal(found, infer_ec(chain, history, settings, seed=1))


def test_nothing_of_the_states_is_changed(history):
    before = history.copy()
    respond(Saturating(), history, np.ones(3), steps=3, sustained=True)
    infer_ec(Saturating(), history, PerturbSettings(perturbation="randomised"))
    np.testing.assert_array_equal(history, before)


def test_randomised_and_several_steps_exclude_each_other():
    with pytest.raises(SettingsError, match="cannot be combined with"):
        PerturbSettings(perturbation="randomised", steps_ahead=2)


def test_regions_are_perturbed_together():
    """In a chain a -> b -> c the responses to a and b add up; what is not covered is missing."""
    weights = np.array([[[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.5]]])
    chain = VAR(weights, np.zeros(3))
    settings = PerturbSettings(strength=2.0, sign="both", together=("A+B", "C", "B+X"))
    labels = ("A", "X", "B", "C")
    responses = respond_to_sets(
        chain, np.zeros((4, 1, 3)), settings, labels, (True, False, True, True)
    )
    table = response_table(settings.together, responses, labels)
    assert table["sources"] == ["A+B", "C", "B+X"]
    found = np.array([table[name] for name in "ABC"]).T
    np.testing.assert_allclose(found[:2], 2 * np.array([[0.5, 1.5, 1.0], [0, 0, 0.5]]))
    assert np.isnan(found[2]).all()
    assert np.isnan(table["X"]).all()
    with pytest.raises(InputDataError, match="no region Z"):
        respond_to_sets(chain, np.zeros((4, 1, 3)), PerturbSettings(together=("A+Z",)),
                           ("A", "B", "C"), (True,) * 3)  # fmt: skip
