"""A network of excitatory and inhibitory leaky integrate-and-fire neurons.

The network is that of Hagen et al. (2022, doi:10.1371/journal.pcbi.1010353): 8192 excitatory and
1024 inhibitory neurons with exponential synaptic currents, random connections with distributed
delays, and Poisson input. Potentials are relative to the resting potential.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from npi_bids.errors import SettingsError
from npi_bids.records import Array

if TYPE_CHECKING:
    from npi_bids.simulate.spiking_loop import Steps, Synapses

POPULATIONS = ("excitatory", "inhibitory")
STEP = 1 / 16  # ms
N_NEURONS = (8192, 1024)
_PROBABILITY = 0.2  # of a connection between two neurons
# Indexed [source, target], excitatory and inhibitory: mean jump of the current (pA), mean delay
# (ms). Their SD relative to the mean, and the least delay (ms).
_WEIGHTS = ((1.589, 2.020), (-23.84, -8.441))
_DELAYS = ((2.520, 1.714), (1.585, 1.149))
_WEIGHT_SD, _DELAY_SD, _LEAST_DELAY, _LONGEST_DELAY = 0.1, 0.5, 0.3, 15.0
_CAPACITANCE = (289.1, 110.7)  # pF
_EXTERNAL_RATE = 40.0  # Hz, of each external neuron
_N_EXTERNAL = (465, 160)  # external neurons of each neuron
_TAU_MEMBRANE, _TAU_SYNAPSE, _REFRACTORY = 10.0, 0.5, 2.0  # ms
_THRESHOLD = 10.0  # mV above the resting potential
_MOST_ARRIVALS = 40  # external spikes in a step, far beyond what occurs


def check_numba() -> None:
    """Refuse to go on without the compiler of the time steps.

    Raises
    ------
    SettingsError
        ``numba`` cannot be imported.
    """
    from importlib.util import find_spec

    if find_spec("numba") is None:
        raise SettingsError(
            "The spiking network needs numba, which is not installed; "
            "pip install 'npi-bids[spiking]'."
        )


@dataclass(frozen=True, slots=True, eq=False)
class SpikingNetwork:
    """Neurons and synapses of a network.

    Attributes
    ----------
    n_neurons
        Number of excitatory and of inhibitory neurons.
    scale
        Their share of the number in the published network.
    synapses
        All connections.
    """

    n_neurons: tuple[int, int]
    scale: float
    synapses: Synapses


def build_network(scale: float, rng: np.random.Generator) -> SpikingNetwork:
    """Draw a network.

    Parameters
    ----------
    scale
        Share of the published number of neurons, at least .2 for the published in-degree:
        connections are more probable by the inverse, so that each neuron gets as many inputs as in
        the published network, and rates stay the same.
    rng
        Generator of connections, weights and delays.

    Raises
    ------
    SettingsError
        ``numba`` is not installed, or the network would be too small or too large.
    """
    check_numba()
    from npi_bids.simulate.spiking_loop import Synapses

    if not _PROBABILITY <= scale <= 1:
        raise SettingsError(
            f"The size of the network must be {_PROBABILITY:g} to 1 of the published one, not "
            f"{scale:g}; a smaller one cannot have the published number of inputs."
        )
    excitatory, inhibitory = (round(scale * n) for n in N_NEURONS)
    parts = [
        _draw_synapses(source, (excitatory, inhibitory), scale, rng)
        for source, n_sources in enumerate((excitatory, inhibitory))
        for _ in range(n_sources)
    ]
    targets, weights, delays = zip(*parts, strict=True)
    first = np.concatenate([[0], np.cumsum([len(target) for target in targets])])
    joined = Synapses(first, *map(np.concatenate, (targets, weights, delays)))
    return SpikingNetwork((excitatory, inhibitory), scale, joined)


def _draw_synapses(
    source: int, n_neurons: tuple[int, int], scale: float, rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.uint8]]:
    """Return targets, weights (pA) and delays (steps) of one neuron of a population."""
    connected = rng.random(sum(n_neurons)) < _PROBABILITY / scale
    target = np.flatnonzero(connected).astype(np.int32)
    population = (target >= n_neurons[0]).astype(int)
    mean = np.array(_WEIGHTS[source])[population]
    weight = mean * (1 + _WEIGHT_SD * rng.standard_normal(len(target)))
    mean_delay = np.array(_DELAYS[source])[population]
    delay = np.zeros(len(target))
    while (short := delay < _LEAST_DELAY).any():
        deviations = rng.standard_normal(np.count_nonzero(short))
        delay[short] = mean_delay[short] * (1 + _DELAY_SD * deviations)
    steps = np.round(np.minimum(delay, _LONGEST_DELAY) / STEP)
    return target, weight.astype(np.float32), steps.astype(np.uint8)


def simulate_spikes(
    network: SpikingNetwork, j_ext: float, duration: float, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Run a network and count its spikes.

    Parameters
    ----------
    network
        The network.
    j_ext
        Jump of the synaptic current by a spike of the external input (pA).
    duration
        Duration (ms).
    rng
        Generator of external input.

    Returns
    -------
    NDArray[np.int32]
        Shape (2, n_steps); number of spikes of each population in each step of 1/16 ms. All
        neurons start at rest, so that rates are lower in the first 100 ms.
    """
    from npi_bids.simulate.spiking_loop import count_spikes

    counts: NDArray[np.int32] = count_spikes(
        network.n_neurons[0],
        round(duration / STEP),
        round(_LONGEST_DELAY / STEP) + 1,
        network.synapses,
        _time_step(j_ext),
        rng,
    )
    return counts


def mean_rates(counts: NDArray[np.int32], network: SpikingNetwork) -> Array:
    """Return the mean rate of each population (Hz), shape (2,)."""
    seconds = counts.shape[1] * STEP / 1000
    rates: Array = counts.sum(axis=1) / np.array(network.n_neurons) / seconds
    return rates


def _time_step(j_ext: float) -> Steps:
    """Return what a step does to a neuron; see Rotter and Diesmann (1999), section 3."""
    from npi_bids.simulate.spiking_loop import Steps

    leak, decay = np.exp(-STEP / _TAU_MEMBRANE), np.exp(-STEP / _TAU_SYNAPSE)
    # Potential at the end of a step by a current that decays during it.
    factor = _TAU_MEMBRANE * _TAU_SYNAPSE / (_TAU_SYNAPSE - _TAU_MEMBRANE) * (decay - leak)
    expected = np.array(_N_EXTERNAL) * _EXTERNAL_RATE * STEP / 1000
    arrivals = poisson.cdf(np.arange(_MOST_ARRIVALS), expected[:, None])
    arrivals[:, -1] = 1.0
    return Steps(
        float(leak), float(decay), factor / np.array(_CAPACITANCE), float(j_ext), arrivals,
        _THRESHOLD, round(_REFRACTORY / STEP),
    )  # fmt: skip
