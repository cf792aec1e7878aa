import importlib.util

import numpy as np
import pytest
from scipy.linalg import expm

from npi_bids.errors import SettingsError
from npi_bids.simulate import spiking
from npi_bids.simulate.spiking import STEP, build_network, mean_rates, simulate_spikes

pytest.importorskip("numba")
JUMP = 80.0  # pA in every step, so that external input is regular


@pytest.fixture(scope="module")
def network():
    return build_network(0.25, np.random.default_rng(0))


def run(n_excitatory, n_steps, synapses, charge=(1 / 289.1, 1 / 110.7), refractory=32):
    """Run neurons that get one external spike per step: excitatory ones only."""
    from npi_bids.simulate.spiking_loop import Steps, Synapses, count_spikes

    first, target, weight, delay = synapses
    step = spiking._time_step(JUMP)
    arrivals = np.array([[0.0, 1.0], [1.0, 1.0]])
    regular = Steps(step.leak, step.decay, step.charge, JUMP, arrivals, step.threshold, refractory)
    wired = Synapses(
        np.array(first, np.int64), np.array(target, np.int32), np.array(weight, np.float32),
        np.array(delay, np.uint8),
    )  # fmt: skip
    return count_spikes(n_excitatory, n_steps, 241, wired, regular, np.random.default_rng(0))


def spike_steps_in_theory(n_steps, refractory=32):
    """Spikes of a neuron with a pulse of current in every step, by the matrix exponential."""
    advance = expm(STEP * np.array([[-1 / 0.5, 0], [1 / 289.1, -1 / 10.0]]))
    state, rest, spikes = np.zeros(2), 0, []
    for step in range(n_steps):
        moved = advance @ state
        potential = moved[1] if rest == 0 else state[1]
        rest = max(rest - 1, 0)
        state = np.array([moved[0] + JUMP, potential])
        if potential >= 10:
            spikes.append(step)
            state[1], rest = 0.0, refractory
    return spikes


@pytest.mark.parametrize("refractory", [16, 32])
def test_integration_is_exact_between_spikes_and_refractory_after_them(refractory):
    counts = run(1, 2000, ([0, 0], [], [], []), refractory=refractory)
    expected = spike_steps_in_theory(2000, refractory)
    assert len(expected) > 5
    assert np.flatnonzero(counts[0]).tolist() == expected


def test_a_spike_arrives_at_the_target_after_the_delay_and_not_at_the_source():
    delay = 25
    counts = run(1, 2000, ([0, 1, 1], [1], [3e4], [delay]))
    sent, received = np.flatnonzero(counts[0]), np.flatnonzero(counts[1])
    assert sent.tolist() == spike_steps_in_theory(2000)
    # The current jumps after the delay and drives the potential over the next step.
    within = sent + delay + 1 < 2000
    assert received.tolist() == (sent[within] + delay + 1).tolist()


def test_an_inhibitory_synapse_keeps_the_target_from_spiking():
    silent = run(2, 3000, ([0, 1, 1], [1], [-1e5], [1]))
    apart = run(2, 3000, ([0, 0, 0], [], [], []))
    assert apart[0].sum() == 2 * len(spike_steps_in_theory(3000))
    assert silent[0].sum() < apart[0].sum()


@pytest.mark.slow
def test_each_neuron_gets_as_many_inputs_as_in_the_published_network(network):
    first, target, weight, delay = network.synapses
    source = np.repeat(np.arange(len(first) - 1), np.diff(first))
    n_excitatory = network.n_neurons[0]
    from_inhibitory, to_inhibitory = source >= n_excitatory, target >= n_excitatory
    in_degree = {False: 8192 * 0.2, True: 1024 * 0.2}
    means = {(0, 0): (1.589, 2.520), (0, 1): (2.020, 1.714),
             (1, 0): (-23.84, 1.585), (1, 1): (-8.441, 1.149)}  # fmt: skip
    for (inhibitory, target_inhibitory), (mean, mean_delay) in means.items():
        chosen = (from_inhibitory == inhibitory) & (to_inhibitory == target_inhibitory)
        n_targets = network.n_neurons[target_inhibitory]
        assert chosen.sum() / n_targets == pytest.approx(in_degree[bool(inhibitory)], rel=0.01)
        assert weight[chosen].mean() == pytest.approx(mean, rel=0.005)
        assert weight[chosen].std() == pytest.approx(0.1 * abs(mean), rel=0.02)
        # Delays below .3 ms are drawn again, which raises the mean by a few per cent.
        assert delay[chosen].mean() * STEP == pytest.approx(mean_delay, rel=0.09)
    assert delay.min() * STEP >= 0.3 - STEP / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("j_ext", "excitatory", "inhibitory"), [(29.89, 6.00, 9.09), (32.0, 9.75, 17.17)]
)
def test_rates_are_those_of_nest(network, j_ext, excitatory, inhibitory):
    """NEST 3.10: the same network of a quarter of the neurons, 500 ms from rest."""
    counts = simulate_spikes(network, j_ext, 500, np.random.default_rng(1))
    assert mean_rates(counts, network) == pytest.approx([excitatory, inhibitory], rel=0.05)


@pytest.mark.slow
def test_weak_input_leaves_the_network_almost_silent_and_a_seed_gives_the_same_spikes(network):
    one, other = (
        simulate_spikes(network, 26.0, 300, np.random.default_rng(seed)) for seed in (3, 3)
    )
    assert (mean_rates(one, network) < 0.2).all()
    assert one.sum() > 0
    assert np.array_equal(one, other)


def test_a_network_too_small_for_its_inputs_is_refused():
    with pytest.raises(SettingsError, match=r"0\.2 to 1 of the published one, not 0\.1"):
        build_network(0.1, np.random.default_rng(0))


def test_without_numba_the_message_says_what_to_install(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "numba" else found(name)
    )
    with pytest.raises(SettingsError, match=r"npi-bids\[spiking\]"):
        build_network(0.25, np.random.default_rng(0))
