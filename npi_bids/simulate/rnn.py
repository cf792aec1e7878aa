"""The RNN benchmark of Luo et al. (2025): a noisy nonlinear network whose EC is known.

``dx = (-x + W' tanh(x)) dt + sigma dB`` with ``W[source, target]`` drawn from N(0, 1/N) and a
zero diagonal, observed once per TR (doi:10.1038/s41592-025-02654-x, Methods, "RNN").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from npi_bids.records import Array
from npi_bids.simulate.observation import refine_steps, steps_per_sample


@dataclass(frozen=True, slots=True, eq=False)
class RNNSystem:
    """The network and how it is sampled.

    Attributes
    ----------
    weights
        Shape (n_regions, n_regions), indexed ``[source, target]``, zero diagonal.
    sigma
        Amplitude of the noise, per square root of a second.
    dt, tr
        Step of the integration and sampling period, in seconds.
    """

    weights: Array
    sigma: float = 1.0
    dt: float = 0.01
    tr: float = 1.0

    def __post_init__(self) -> None:
        _ = self.n_steps

    @property
    def n_steps(self) -> int:
        """Steps of the integration per sample."""
        return steps_per_sample(self.dt, self.tr)

    def finer(self, n_fine: int) -> RNNSystem:
        """Return the same network, sampled ``n_fine`` times per sampling period."""
        if n_fine == 1:
            return self
        dt, tr = refine_steps(self.dt, self.tr, n_fine)
        return replace(self, dt=dt, tr=tr)


def random_network(n_regions: int, rng: np.random.Generator) -> RNNSystem:
    """Draw the weights of the benchmark: N(0, 1/N), no self-connections."""
    weights = rng.standard_normal((n_regions, n_regions)) / np.sqrt(n_regions)
    np.fill_diagonal(weights, 0.0)
    return RNNSystem(weights)


def simulate_rnn(
    system: RNNSystem, *, n_runs: int, n_samples: int, rng: np.random.Generator
) -> Array:
    """Simulate independent runs.

    Parameters
    ----------
    system
        The network.
    n_runs, n_samples
        Number of runs, and of samples in each.
    rng
        Source of starting states and noise.

    Returns
    -------
    Array
        Shape (n_runs, n_samples, n_regions); the first sample comes 20 samples after the start.
    """
    n_dropped = 20
    state = rng.standard_normal((n_runs, len(system.weights)))
    series = np.empty((n_samples, *state.shape))
    for sample in range(-n_dropped, n_samples):
        state = _advance(system, state, rng.standard_normal((system.n_steps, *state.shape)))
        if sample >= 0:
            series[sample] = state
    return series.transpose(1, 0, 2)


def true_ec(
    system: RNNSystem,
    series: Array,
    rng: np.random.Generator,
    every: int = 200,
    perturbation: Array | float = 1.0,
) -> Array:
    """Return the effective connectivity by direct perturbation of the network.

    From every ``every``-th state of the series the network runs for one TR twice, under the same
    noise, the second time with the source raised; the mean difference at the end is the EC.

    Parameters
    ----------
    system
        The network.
    series
        Shape (n_runs, n_samples, n_regions).
    rng
        Source of the noise.
    every
        Samples between two states.
    perturbation
        By how much each source is raised; one number, or shape (n_regions,).

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    """
    states = series[:, ::every].reshape(-1, series.shape[-1])
    n_regions = series.shape[-1]
    noise = rng.standard_normal((system.n_steps, len(states), n_regions))
    raised = np.concatenate([np.zeros((1, n_regions)), perturbation * np.eye(n_regions)])
    effect = np.zeros((n_regions, n_regions))
    for index, state in enumerate(states):  # one at a time stays within the cache of a processor
        end = _advance(system, state + raised, noise[:, index])
        effect += end[1:] - end[0]
    return effect / len(states)


def _advance(system: RNNSystem, state: Array, noise: Array) -> Array:
    """Integrate for one TR by Euler-Maruyama; ``noise`` has one entry per step."""
    scale = system.sigma * np.sqrt(system.dt)
    state = state.copy()
    for kick in noise:
        flow = np.tanh(state) @ system.weights
        flow -= state
        flow *= system.dt
        state += flow
        state += scale * kick
    return state
