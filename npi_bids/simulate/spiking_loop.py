"""Compiled time steps of the spiking network; imported only where numba is installed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from npi_bids.records import Array


class Synapses(NamedTuple):
    """Synapses, sorted by the neuron that they come from.

    Attributes
    ----------
    first
        Shape (n_neurons + 1,); where the synapses of each source begin.
    target
        Shape (n_synapses,); index of the target.
    weight
        Shape (n_synapses,); jump of the synaptic current (pA).
    delay
        Shape (n_synapses,); delay in steps, at least 1.
    """

    first: NDArray[np.int64]
    target: NDArray[np.int32]
    weight: NDArray[np.float32]
    delay: NDArray[np.uint8]


class Steps(NamedTuple):
    """What one time step does to a neuron, by exact integration (Rotter and Diesmann 1999).

    Attributes
    ----------
    leak
        Factor of the membrane potential.
    decay
        Factor of the synaptic current.
    charge
        Shape (n_populations,); potential that a current of 1 pA adds (mV).
    external
        Jump of the synaptic current by a spike from outside (pA).
    arrivals
        Shape (n_populations, n_counts); cumulative probability of the number of external spikes.
    threshold
        Threshold above the resting potential, to which a spike resets (mV).
    refractory
        Duration of refractoriness, in steps.
    """

    leak: float
    decay: float
    charge: Array
    external: float
    arrivals: Array
    threshold: float
    refractory: int


@njit(nogil=True)
def count_spikes(
    n_excitatory: int,
    n_steps: int,
    n_delays: int,
    synapses: Synapses,
    steps: Steps,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """Run the network and count the spikes of both populations.

    Parameters
    ----------
    n_excitatory
        Number of excitatory neurons, which come first.
    n_steps
        Number of time steps.
    n_delays
        Length of the buffer of delayed input; more than the longest delay, in steps.
    synapses, steps
        The network.
    rng
        Generator of external input.

    Returns
    -------
    NDArray[np.int32]
        Shape (2, n_steps); number of spikes in each step, excitatory and inhibitory.
    """
    n_neurons = len(synapses.first) - 1
    current = np.zeros(n_neurons)
    potential = np.zeros(n_neurons)
    rest = np.zeros(n_neurons, np.int32)
    buffer = np.zeros((n_delays, n_neurons), np.float32)
    counts = np.zeros((2, n_steps), np.int32)
    for step in range(n_steps):
        arriving = buffer[step % n_delays]
        for neuron in range(n_neurons):
            population = 0 if neuron < n_excitatory else 1
            if rest[neuron] == 0:
                charge = steps.charge[population] * current[neuron]
                potential[neuron] = steps.leak * potential[neuron] + charge
            else:
                rest[neuron] -= 1
            arrivals, uniform = 0, rng.random()
            while uniform > steps.arrivals[population, arrivals]:
                arrivals += 1
            entered = arriving[neuron] + arrivals * steps.external
            current[neuron] = steps.decay * current[neuron] + entered
            arriving[neuron] = 0
            if potential[neuron] >= steps.threshold:
                potential[neuron] = 0
                rest[neuron] = steps.refractory
                counts[population, step] += 1
                for k in range(synapses.first[neuron], synapses.first[neuron + 1]):
                    due = (step + synapses.delay[k]) % n_delays
                    buffer[due, synapses.target[k]] += synapses.weight[k]
    return counts
