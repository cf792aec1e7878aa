"""The whole-brain benchmark of Luo et al. (2025): reduced Wong-Wang regions observed by BOLD.

``dS/dt = gamma r (1 - S) - S / tau_s`` with the firing rate ``r = F(w J S + G J C S + I_b)`` and
an input current that relaxes to ``I_0`` under noise (Deco et al. 2013,
doi:10.1523/JNEUROSCI.1091-13.2013; Luo et al. 2025, doi:10.1038/s41592-025-02654-x, Methods,
"WBM"). BOLD is the causal convolution of S with a gamma function (Boynton et al. 1996,
doi:10.1523/JNEUROSCI.16-13-04207.1996).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import factorial

import numpy as np

from npi_bids.records import Array
from npi_bids.simulate.observation import refine_steps, steps_per_sample

_WARM_UP = 40.0  # s until a run has forgotten its initial state, BOLD included
_RESPONSE = 20.0  # s after which the haemodynamic response is over


@dataclass(frozen=True, slots=True, eq=False)
class WBMSystem:
    """Regions, their connections, and how they are sampled.

    Attributes
    ----------
    connectome
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    coupling
        Global coupling G.
    sigma
        Amplitude of the noise of the input current, in nA.
    dt, tr
        Step of the integration and sampling period, in seconds.
    """

    connectome: Array
    coupling: float = 3.5
    sigma: float = 0.005
    dt: float = 0.002
    tr: float = 0.72

    def __post_init__(self) -> None:
        _ = self.n_steps

    @property
    def n_steps(self) -> int:
        """Steps of the integration per sample."""
        return steps_per_sample(self.dt, self.tr)

    def finer(self, n_fine: int) -> WBMSystem:
        """Return the same network, sampled ``n_fine`` times per sampling period."""
        if n_fine == 1:
            return self
        dt, tr = refine_steps(self.dt, self.tr, n_fine)
        return replace(self, dt=dt, tr=tr)


def simulate_wbm(
    system: WBMSystem, *, n_runs: int, n_samples: int, rng: np.random.Generator
) -> Array:
    """Simulate independent runs; they are integrated together.

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
        BOLD, shape (n_runs, n_samples, n_regions); each run warms up for 40 s first.
    """
    warm_up = round(_WARM_UP / system.tr)
    shape = (n_runs, len(system.connectome))
    state = _State(0.1 * rng.random(shape), np.full(shape, _I_0))
    # Contribution of one TR of gating to the sample at its end and to later ones.
    kernel = _response(system)
    n_later = -(-len(kernel) // system.n_steps)
    padded = np.pad(kernel, (0, n_later * system.n_steps - len(kernel)))
    contributions = padded.reshape(n_later, system.n_steps)[:, ::-1]
    series = np.zeros((warm_up + n_samples + n_later, shape[0] * shape[1]))
    gating = np.empty((system.n_steps, shape[0] * shape[1]))
    for sample in range(warm_up + n_samples):
        for step in range(system.n_steps):
            _advance(system, state, rng.standard_normal(shape))
            gating[step] = state.gating.ravel()
        series[sample : sample + n_later] += contributions @ gating
    recorded = series[warm_up : warm_up + n_samples]
    return recorded.reshape(n_samples, *shape).transpose(1, 0, 2)


def simulate_gating(
    system: WBMSystem, *, n_runs: int, n_samples: int, rng: np.random.Generator
) -> Array:
    """Simulate independent runs without their haemodynamics.

    Parameters
    ----------
    system, n_runs, n_samples, rng
        See :func:`simulate_wbm`.

    Returns
    -------
    Array
        Gating S at the end of each sampling period, shape (n_runs, n_samples, n_regions).
    """
    shape = (n_runs, len(system.connectome))
    state = _State(0.1 * rng.random(shape), np.full(shape, _I_0))
    series = np.empty((n_samples, *shape))
    for sample in range(-round(_WARM_UP / system.tr), n_samples):
        for _ in range(system.n_steps):
            _advance(system, state, rng.standard_normal(shape))
        if sample >= 0:
            series[sample] = state.gating
    return series.transpose(1, 0, 2)


def true_ec(
    system: WBMSystem,
    rng: np.random.Generator,
    n_states: int = 20,
    n_samples: int = 5,
    response: Callable[[Array], Array] | None = None,
) -> Array:
    """Return the effective connectivity by direct perturbation of the network.

    From independent states the network runs twice under the same noise, the second time with 5
    added to the unit noise of the source for the first 0.1 s. BOLD is linear in S, so its
    difference is the convolved difference of S.

    Parameters
    ----------
    system
        The network.
    rng
        Source of states and noise.
    n_states
        States to average over.
    n_samples
        Samples after which the difference is taken (5 samples are 3.6 s).
    response
        Haemodynamic response at some times in seconds; that of :func:`simulate_wbm` where None.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    """
    n_regions = len(system.connectome)
    start = _State(0.1 * rng.random((n_states, n_regions)), np.full((n_states, n_regions), _I_0))
    for _ in range(round(_WARM_UP / system.dt)):
        _advance(system, start, rng.standard_normal((n_states, n_regions)))
    shape = (n_states, n_regions + 1, n_regions)  # the last one is not perturbed
    state = _State(*(np.repeat(part[:, None], shape[1], axis=1) for part in start.parts))
    perturbation = np.concatenate([5 * np.eye(n_regions), np.zeros((1, n_regions))])
    n_steps = n_samples * system.n_steps
    kernel = _response(system)
    if response is not None:
        kernel = response(np.arange(n_steps, dtype=np.float64) * system.dt) * system.dt
    effect = np.zeros((n_regions, n_regions))
    for step in range(n_steps):
        noise = rng.standard_normal((n_states, 1, n_regions))
        _advance(system, state, noise + perturbation if step * system.dt < 0.1 else noise)
        mean = state.gating.mean(axis=0)
        effect += kernel[n_steps - 1 - step] * (mean[:-1] - mean[-1])
    return effect


# Reduced Wong-Wang: gain, threshold and curvature of the firing rate; strengths; time constants.
_A, _B, _D = 270.0, 108.0, 0.154
_W, _J, _GAMMA, _TAU_S = 0.55, 0.2609, 0.641, 0.1
_I_0, _TAU_0 = 0.3255, 0.002


class _State:
    """Gating S and input current of every region; changed in place."""

    def __init__(self, gating: Array, current: Array) -> None:
        self.gating, self.current = gating, current

    @property
    def parts(self) -> tuple[Array, Array]:
        return self.gating, self.current


def _advance(system: WBMSystem, state: _State, noise: Array) -> None:
    """Integrate one step by Euler-Maruyama."""
    gating, dt = state.gating, system.dt
    drive = gating @ (system.coupling * _J * system.connectome)
    drive += _W * _J * gating
    drive += state.current
    drive *= _A
    drive -= _B
    rate = drive / -np.expm1(-_D * drive)
    state.gating = gating + dt * (_GAMMA * rate * (1 - gating) - gating / _TAU_S)
    relaxed = state.current + (dt / _TAU_0) * (_I_0 - state.current)
    state.current = relaxed + system.sigma * np.sqrt(dt / _TAU_0) * noise


def _response(system: WBMSystem) -> Array:
    """Return the haemodynamic response at each step, times the step."""
    power, tau, onset = 2, 1.25, 2.25
    time = np.arange(round(_RESPONSE / system.dt)) * system.dt - onset
    shape = np.where(time > 0, time / tau, 0) ** (power - 1) / factorial(power - 1)
    kernel: Array = np.where(time >= 0, shape * np.exp(-time / tau), 0) * system.dt
    return kernel
