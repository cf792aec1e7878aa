import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.simulate.wbm import WBMSystem, simulate_wbm, true_ec


@pytest.fixture
def system():
    """Make three regions: A drives B, C is alone."""
    connectome = np.zeros((3, 3))
    connectome[0, 1] = 0.1
    return WBMSystem(connectome, coupling=1.0)


def test_truth_follows_the_wiring_and_its_direction(system):
    truth = true_ec(system, np.random.default_rng(0), n_states=3)
    assert truth[0, 1] > 0
    assert truth[0, 1] > 100 * np.abs([truth[1, 0], truth[0, 2], truth[2, 0]]).max()
    assert (np.diag(truth) > truth[0, 1]).all()


def test_runs_have_their_shape_and_hang_on_the_seed_alone(system):
    one, same, other = (
        simulate_wbm(system, n_runs=2, n_samples=12, rng=np.random.default_rng(seed))
        for seed in (0, 0, 1)
    )
    assert one.shape == (2, 12, 3)
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert (one.std(axis=1) > 0).all()


def test_bold_is_the_delayed_smooth_image_of_the_gating(system):
    """Consecutive samples of BOLD hang together over seconds, as the response function does."""
    series = simulate_wbm(system, n_runs=1, n_samples=200, rng=np.random.default_rng(3))[0]
    centred = series - series.mean(axis=0)
    lagged = [(centred[k:] * centred[:-k]).mean() / (centred**2).mean() for k in (1, 2, 12)]
    assert lagged[0] > lagged[1] > 0.3
    assert abs(lagged[2]) < 0.5


def test_a_step_longer_than_the_sampling_period_is_refused():
    with pytest.raises(SettingsError, match=r"at most 0\.72 s"):
        WBMSystem(np.zeros((2, 2)), dt=1.0)
