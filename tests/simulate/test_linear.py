import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.simulate.linear import (
    LinearSystem,
    ou_system,
    simulate_linear,
    sparse_drift,
    var_system,
)


def moments(series):
    past, future = (
        series[:, :-1].reshape(-1, series.shape[-1]),
        series[:, 1:].reshape(-1, series.shape[-1]),
    )
    return np.linalg.solve(past.T @ past, past.T @ future), np.cov(past.T)


@pytest.mark.parametrize("make", [var_system, lambda n, c, rng: ou_system(n, c, 0.7, rng)])
def test_least_squares_on_long_series_finds_the_transition_and_not_its_transpose(make):
    system = make(6, 1.0, np.random.default_rng(0))
    series = simulate_linear(system, n_runs=4, n_samples=20000, rng=np.random.default_rng(1))
    found, _ = moments(series)
    np.testing.assert_allclose(found, system.transition, atol=0.02)
    assert np.abs(found.T - system.transition).max() > 0.1


def test_process_seen_twice_as_often_has_the_square_root_of_the_transition():
    slow = ou_system(5, 1.0, 1.0, np.random.default_rng(3))
    fast = ou_system(5, 1.0, 0.5, np.random.default_rng(3))
    np.testing.assert_allclose(fast.transition @ fast.transition, slow.transition, atol=1e-12)
    composed = fast.transition.T @ fast.innovation @ fast.transition + fast.innovation
    np.testing.assert_allclose(composed, slow.innovation, atol=1e-12)


def test_coupling_sets_the_spectral_radius():
    drift = sparse_drift(300, 1.0, np.random.default_rng(0))
    assert np.abs(np.linalg.eigvals(drift)).max() == pytest.approx(0.7, rel=0.1)
    assert (np.diag(drift) == 0).all()


def test_a_system_that_is_not_stable_is_refused():
    with pytest.raises(SettingsError, match="not stable"):
        LinearSystem(1.2 * np.eye(2), np.eye(2))
    with pytest.raises(SettingsError, match="not stable"):
        ou_system(10, 30.0, 1.0, np.random.default_rng(0))
