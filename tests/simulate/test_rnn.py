import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.matrices import pearson
from npi_bids.simulate.rnn import RNNSystem, random_network, simulate_rnn, true_ec


def test_uncoupled_network_is_an_ornstein_uhlenbeck_process():
    """Variance sigma^2 / 2 and lag-1 correlation exp(-TR), by theory."""
    system = RNNSystem(np.zeros((3, 3)))
    x = simulate_rnn(system, n_runs=4, n_samples=1500, rng=np.random.default_rng(0))
    x = x.transpose(1, 0, 2).reshape(1500, -1)
    assert x.var() == pytest.approx(0.5, rel=0.08)
    lagged = np.mean(x[1:] * x[:-1]) / x.var()
    assert lagged == pytest.approx(np.exp(-1), abs=0.05)


def test_true_ec_of_an_uncoupled_network_is_its_decay():
    system = RNNSystem(np.zeros((2, 2)))
    x = simulate_rnn(system, n_runs=1, n_samples=50, rng=np.random.default_rng(0))
    found = true_ec(system, x, np.random.default_rng(1), every=10)
    np.testing.assert_allclose(found, 0.99**100 * np.eye(2), atol=1e-9)


def test_rows_of_the_truth_are_sources():
    weights = np.zeros((2, 2))
    weights[0, 1] = 1.0  # the first drives the second
    system = RNNSystem(weights)
    x = simulate_rnn(system, n_runs=1, n_samples=200, rng=np.random.default_rng(0))
    found = true_ec(system, x, np.random.default_rng(1), every=20)
    assert found[0, 1] > 0.1
    assert found[1, 0] == pytest.approx(0, abs=1e-12)


def test_truth_agrees_with_the_released_benchmark(shared_data):
    stored = np.load(shared_data / "npi_rnn_sim" / "rnn_n20_T8000_seed00.npz")
    system = RNNSystem(stored["W_src_row"].astype(float))
    x = stored["ts"].astype(float)[None]
    found = true_ec(system, x, np.random.default_rng(0), every=200)
    assert pearson(found, stored["real_EC_src_row"].astype(float)) > 0.999


def test_same_seed_same_network():
    one, same = (random_network(5, np.random.default_rng(3)).weights for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert (np.diag(one) == 0).all()


def test_a_step_longer_than_the_sample_is_refused():
    with pytest.raises(SettingsError, match=r"at most 1\.0 s"):
        RNNSystem(np.zeros((2, 2)), dt=2.0)
