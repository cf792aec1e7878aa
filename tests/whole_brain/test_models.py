from __future__ import annotations

import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.whole_brain.connectome import Connectome
from npi_bids.whole_brain.models import (
    NEUROLIB_MODELS,
    BrainSystem,
    simulate_activity,
    simulate_brain,
    true_ec,
)

pytest.importorskip("neurolib")


@pytest.fixture(scope="module")
def connectome():
    """Return four regions: A drives B strongly, B drives C, D is alone."""
    weights = np.zeros((4, 4))
    weights[0, 1], weights[1, 2] = 1.0, 0.5
    return Connectome(weights, np.full((4, 4), 20.0), tuple("ABCD"))


@pytest.mark.parametrize("kind", NEUROLIB_MODELS)
def test_effect_follows_the_connectome_and_its_direction(connectome, kind):
    truth = true_ec(BrainSystem(kind, connectome), seed=1, n_states=2)
    off = np.abs(truth - np.diag(np.diag(truth)))
    assert np.unravel_index(off.argmax(), off.shape) == (0, 1)
    assert pearson(antisymmetric(truth), antisymmetric(connectome.weights)) > 0.6
    # Exactly nothing without a way: the noise is the same in both runs.
    assert off[3].max() == off[:, 3].max() == off[1, 0] == off[2, 0] == 0
    again = true_ec(BrainSystem(kind, connectome), seed=1, n_states=2)
    np.testing.assert_array_equal(truth, again)


@pytest.mark.parametrize("kind", NEUROLIB_MODELS)
def test_without_coupling_there_is_no_effect(connectome, kind):
    system = BrainSystem(kind, connectome)
    truth = true_ec(system.with_parameters({system.coupling: 0.0}), seed=1, n_states=1)
    assert np.abs(truth - np.diag(np.diag(truth))).max() == 0
    assert (np.diag(truth) != 0).all()


@pytest.mark.parametrize("kind", NEUROLIB_MODELS)
def test_bold_moves_and_hangs_on_the_seed_alone(connectome, kind):
    system = BrainSystem(kind, connectome, tr=0.5)
    before = np.random.get_state()[1]  # noqa: NPY002 (neurolib's source of noise)
    one, same, other = (simulate_brain(system, n_samples=6, seed=seed) for seed in (1, 1, 2))
    assert one.shape == (6, 4)
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()
    assert (one.std(axis=0) > 0).all()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_noise_of_one_stretch_is_not_that_of_the_next(connectome):
    """The chunks of neurolib's own start from one seed each, so that their noise repeats."""
    system = BrainSystem("hopf", connectome, parameters={"K_gl": 0.0, "a": -5.0})
    x = simulate_activity(system, seconds=4.0, seed=1)
    assert x.shape == (4000, 4)
    assert abs(np.corrcoef(x[:2000, 0], x[2000:, 0])[0, 1]) < 0.3
    assert (x[100:1900] != x[2100:3900]).all()


def test_longer_runs_begin_like_shorter_ones(connectome):
    system = BrainSystem("wc", connectome, tr=1.0)
    short, long = (simulate_brain(system, n_samples=n, seed=3) for n in (3, 6))
    np.testing.assert_array_equal(short, long[:3])


def test_what_is_unknown_is_refused_with_what_there_is(connectome):
    with pytest.raises(SettingsError, match="aln, hopf, wc, fhn, ww"):
        BrainSystem("tvb", connectome)
    with pytest.raises(SettingsError, match=r"no parameter 'Ke_gl'.*K_gl"):
        true_ec(BrainSystem("wc", connectome, parameters={"Ke_gl": 1.0}), seed=1)
    with pytest.raises(SettingsError, match="multiple of 1 ms"):
        BrainSystem("wc", connectome, tr=0.7205)
