import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.simulate.wbm import WBMSystem, simulate_gating, simulate_wbm, true_ec


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


def slowly(system, noise, start, push=0.0, onset=0):
    """Integrate one run step by step, by the book; return the gating, (n_steps, n_regions)."""
    s, current = start.copy(), np.full(len(start), 0.3255)
    gating = []
    for step, kick in enumerate(noise):
        eta = kick + (push if onset <= step < onset + round(0.1 / system.dt) else 0.0)
        into = 0.55 * 0.2609 * s + system.coupling * 0.2609 * (system.connectome.T @ s) + current
        x = 270 * into - 108
        rate = x / (1 - np.exp(-0.154 * x))
        s = s + system.dt * (0.641 * rate * (1 - s) - s / 0.1)
        # tau0 dI = -(I - I0) dt + eta sqrt(tau0) sigma sqrt(dt)
        drift = -(current - 0.3255) * system.dt
        current = current + (drift + eta * np.sqrt(0.002 * system.dt) * system.sigma) / 0.002
        gating.append(s)
    return np.array(gating)


def bold_at(gating, system, step):
    """Convolve the gating with the response function, by its definition."""
    ago = (step - np.arange(step + 1)) * system.dt
    response = np.where(ago >= 2.25, (ago - 2.25) / 1.25 * np.exp(-(ago - 2.25) / 1.25), 0)
    return system.dt * response @ gating[: step + 1]


def test_bold_agrees_with_a_slow_implementation_of_the_equations():
    rng = np.random.default_rng(5)
    connectome = np.abs(rng.standard_normal((4, 4))) * (1 - np.eye(4)) * 0.05
    system = WBMSystem(connectome)
    fast = simulate_wbm(system, n_runs=1, n_samples=20, rng=np.random.default_rng(0))[0]
    rng = np.random.default_rng(0)
    start = 0.1 * rng.random((1, 4))[0]
    n_warm_up = round(40 / 0.72)
    noise = rng.standard_normal(((n_warm_up + 20) * 360, 1, 4))[:, 0]
    gating = slowly(system, noise, start)
    slow = [bold_at(gating, system, (n_warm_up + sample + 1) * 360 - 1) for sample in range(20)]
    # The slow sum keeps the tail of the response beyond 20 s, a hundred-thousandth of it.
    np.testing.assert_allclose(fast, slow, rtol=1e-4)
    np.testing.assert_allclose(np.corrcoef(fast.T), np.corrcoef(np.transpose(slow)), atol=1e-4)


def test_truth_of_twelve_regions_agrees_with_a_slow_implementation():
    """Two whole runs for every source, with the same noise, and all of BOLD convolved."""
    rng = np.random.default_rng(5)
    connectome = np.abs(rng.standard_normal((12, 12))) * (1 - np.eye(12)) * 0.02
    system = WBMSystem(connectome)
    fast = true_ec(system, np.random.default_rng(0), n_states=1)
    rng = np.random.default_rng(0)
    start = 0.1 * rng.random((1, 12))[0]
    n_warm, n_after = round(40 / 0.002), 5 * 360
    noise = np.stack([rng.standard_normal((1, 12))[0] for _ in range(n_warm + n_after)])

    def signal(push):
        gating = slowly(system, noise, start, push, onset=n_warm)
        return bold_at(gating, system, n_warm + n_after - 1)

    plain = signal(0.0)
    for source in range(12):
        difference = signal(5 * np.eye(12)[source]) - plain
        np.testing.assert_allclose(fast[source], difference, rtol=1e-3)


def test_gating_convolved_with_the_response_is_bold():
    """One noise drives both; the response is that of Boynton et al. (1996), by hand."""
    system = WBMSystem(np.array([[0, 1.0], [0.5, 0]]), coupling=0.5, tr=1.0)
    size = {"n_runs": 1, "n_samples": 40}
    bold = simulate_wbm(system, **size, rng=np.random.default_rng(0))[0]
    fine = system.finer(100)
    assert fine.n_steps * fine.dt == pytest.approx(0.01)
    gating = simulate_gating(fine, n_runs=1, n_samples=4000, rng=np.random.default_rng(0))[0]
    time = np.arange(2000) * 0.01 - 2.25
    response = np.where(time > 0, time / 1.25 * np.exp(-time / 1.25), 0) * 0.01
    for sample in range(25, 40):  # the response to the warm-up is over
        past = gating[: 100 * sample + 100][::-1][:2000]
        np.testing.assert_allclose(bold[sample], response @ past, rtol=2e-3)
