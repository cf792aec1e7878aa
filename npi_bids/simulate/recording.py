"""Simulation of a system together with its observation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from npi_bids.simulate.observation import (
    NO_RESPONSE,
    Observation,
    ObserveSettings,
    observe,
    state_grid,
)
from npi_bids.simulate.systems import (
    Simulation,
    SystemSettings,
    sampling_period,
    simulate,
    simulate_state,
)


def record_system(
    system: str,
    settings: SystemSettings,
    observation: ObserveSettings,
    rng: np.random.Generator,
    *,
    n_runs: int,
    n_samples: int,
) -> tuple[Simulation, Observation]:
    """Simulate a system and record its signals.

    With a haemodynamic response, the state is simulated on a grid finer than the sampling period
    where the system is one in continuous time, and from so long before the recording that the
    signals have no transient.

    Parameters
    ----------
    system, settings
        Name and settings of the system; see :func:`npi_bids.simulate.systems.simulate`.
    observation
        Size of each effect of the observation.
    rng
        Source of the random numbers of the observation.
    n_runs, n_samples
        Number of independent runs, and of samples in each before decimation.

    Returns
    -------
    tuple
        The simulation, whose series is the state before, during and after the recording if there
        is a haemodynamic response, and its observation.

    Raises
    ------
    SettingsError
        See :func:`npi_bids.simulate.systems.simulate_state` and
        :func:`npi_bids.simulate.observation.observe`.
    """
    if observation.hrf == NO_RESPONSE:
        simulation = simulate(system, settings, n_runs, n_samples)
        return simulation, observe(simulation.series, simulation.tr, observation, rng)
    grid = state_grid(observation, sampling_period(system, settings))
    n_simulated = grid.n_before + n_samples + grid.n_after
    simulation = simulate_state(system, settings, n_runs, n_simulated)
    grid = replace(grid, n_fine=simulation.n_fine)
    return simulation, observe(simulation.series, simulation.tr, observation, rng, grid)
