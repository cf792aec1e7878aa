"""Whole-brain models that are integrated in batches: the Hopf model of BOLD and Wong-Wang.

The Hopf model is that of Deco et al. (2017, doi:10.1038/s41598-017-03073-5, Eqs. 1 and 2): every
region is a normal form of a supercritical Hopf bifurcation whose real part is the BOLD signal,

``dx_j = [(a - x_j^2 - y_j^2) x_j - w_j y_j + G sum_i C_ij (x_i - x_j)] dt + b dW``
``dy_j = [(a - x_j^2 - y_j^2) y_j + w_j x_j + G sum_i C_ij (y_i - y_j)] dt + b dW``

with ``C[source, target]``. The reduced Wong-Wang model is that of
:mod:`npi_bids.simulate.wbm` (Deco et al. 2013, doi:10.1523/JNEUROSCI.1091-13.2013), with its input
current replaced by the white noise to which it tends over steps that are much longer than its time
constant of 2 ms. A batch holds simulations with different parameters, in single precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import SettingsError
from npi_bids.inverse.priors import Parameter, Prior
from npi_bids.records import Array

Single = NDArray[np.float32]
Batch = NDArray[np.float32]  # (n_simulations, n_samples, n_regions)

_HOPF_STEP = 0.2  # s, at most; a cycle takes at least 12 s
_HOPF_WARM_UP = 200.0  # s
_FREQUENCY_SD = 0.005  # Hz, SD over regions of the intrinsic frequency
_SLOWEST, _FASTEST = 0.02, 0.1  # Hz, of the intrinsic frequency of a region
# Reduced Wong-Wang (Deco et al. 2013): gain, threshold and curvature of the firing rate, synaptic
# coupling (nA), kinetics, time constants (s), external current (nA).
_A, _B, _D, _J, _GAMMA, _TAU_S, _TAU_0, _I_0 = (
    270.0,
    108.0,
    0.154,
    0.2609,
    0.641,
    0.1,
    0.002,
    0.3255,
)
_WONG_WANG_STEP, _WONG_WANG_WARM_UP = 0.01, 40.0  # s
_BOLD_STEP = 0.1  # s over which gating is averaged before the haemodynamics
_RESPONSE_LENGTH, _RESPONSE_ONSET, _RESPONSE_TAU = 20.0, 2.25, 1.25  # s (Boynton et al. 1996)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Number of samples of a simulation and their period (s)."""

    n_samples: int
    tr: float


@dataclass(frozen=True, slots=True)
class BrainModel:
    """A model whose global parameters are inferred.

    Attributes
    ----------
    name
        Value of ``--infer``.
    summary
        The model in a phrase, with its source.
    prior
        Priors of its global parameters.
    simulate
        Function of their values (n_simulations, n_parameters), the structural connectivity
        ``[source, target]``, the sampling and a generator, which returns BOLD signals of shape
        (n_simulations, n_samples, n_regions).
    """

    name: str
    summary: str
    prior: Prior
    simulate: Callable[[Array, Array, Sampling, np.random.Generator], Batch]


def simulate_hopf(
    values: Array, connectome: Array, sampling: Sampling, rng: np.random.Generator
) -> Batch:
    """Simulate the Hopf model of BOLD by Euler-Maruyama, with an exact rotation.

    Euler's rotation would lengthen the state, as if the bifurcation parameter were .01 larger.

    Parameters
    ----------
    values
        Shape (n_simulations, 4): coupling G, bifurcation parameter a (1/s), noise b (per square
        root of a second) and mean intrinsic frequency (Hz). The frequency of each region is drawn
        around the mean with an SD of 0.005 Hz.
    connectome
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    sampling
        Samples to return, after 200 s of warm-up.
    rng
        Source of frequencies, initial states and noise.

    Returns
    -------
    Batch
        Shape (n_simulations, n_samples, n_regions), in the units of the model.
    """
    n_sims, n_regions = len(values), len(connectome)
    per_sample = ceil(sampling.tr / _HOPF_STEP - 1e-9)
    step = np.float32(sampling.tr / per_sample)
    weights = connectome.astype(np.float32)
    coupling, bifurcation, noise = (values[:, [k]].astype(np.float32) for k in range(3))
    frequency = values[:, [3]] + _FREQUENCY_SD * rng.standard_normal((n_sims, n_regions))
    angle = (2 * np.pi * np.clip(frequency, _SLOWEST, _FASTEST) * step).astype(np.float32)
    cosine, sine = np.cos(angle), np.sin(angle)
    # Both parts of the state of all simulations are rows of one matrix: (2, n_sims, n_regions).
    state = (0.1 * rng.standard_normal((2, n_sims, n_regions))).astype(np.float32)
    leak = coupling * weights.sum(axis=0)
    scaled_noise = noise * np.sqrt(step)
    n_warm = ceil(_HOPF_WARM_UP / sampling.tr)
    series = np.empty((sampling.n_samples, n_sims, n_regions), np.float32)
    for sample in range(-n_warm, sampling.n_samples):
        for _ in range(per_sample):
            growth = bifurcation - state[0] ** 2 - state[1] ** 2 - leak
            inputs = (state.reshape(-1, n_regions) @ weights).reshape(state.shape)
            kicks = rng.standard_normal(state.shape, dtype=np.float32)
            x, y = state + step * (growth * state + coupling * inputs) + scaled_noise * kicks
            state[0], state[1] = cosine * x - sine * y, sine * x + cosine * y
        if sample >= 0:
            series[sample] = state[0]
    return series.transpose(1, 0, 2)


def simulate_wong_wang(
    values: Array, connectome: Array, sampling: Sampling, rng: np.random.Generator
) -> Batch:
    """Simulate the reduced Wong-Wang model and its BOLD signals by Euler-Maruyama.

    Parameters
    ----------
    values
        Shape (n_simulations, 3): coupling G, local recurrence w and noise of the input current
        (nA).
    connectome
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    sampling
        Samples to return, after 40 s of warm-up.
    rng
        Source of initial states and noise.

    Returns
    -------
    Batch
        Convolution of the gating with a gamma function (Boynton et al. 1996,
        doi:10.1523/JNEUROSCI.16-13-04207.1996), shape (n_simulations, n_samples, n_regions).
    """
    n_sims, n_regions = len(values), len(connectome)
    n_bins = ceil((_WONG_WANG_WARM_UP + sampling.n_samples * sampling.tr) / _BOLD_STEP)
    gating = np.empty((n_bins, n_sims * n_regions), np.float32)
    state = (0.1 * rng.random((n_sims, n_regions))).astype(np.float32)
    weights = connectome.astype(np.float32)
    per_bin = round(_BOLD_STEP / _WONG_WANG_STEP)
    for number in range(n_bins):
        total = np.zeros_like(state)
        for _ in range(per_bin):
            kicks = rng.standard_normal(state.shape, dtype=np.float32)
            state = _advance_wong_wang(state, values, weights, kicks)
            total += state
        gating[number] = (total / per_bin).ravel()
    bold = _convolve_gating(gating, sampling)
    return bold.reshape(sampling.n_samples, n_sims, n_regions).transpose(1, 0, 2)


def _advance_wong_wang(state: Single, values: Array, weights: Single, kicks: Single) -> Single:
    """Integrate one step; the gating stays between 0 and 1."""
    coupling, recurrence, sigma = (values[:, [k]].astype(np.float32) for k in range(3))
    step = np.float32(_WONG_WANG_STEP)
    # The integral over one step of a current that relaxes within 2 ms under noise of SD sigma.
    current = sigma * np.float32(np.sqrt(2 * _TAU_0 / _WONG_WANG_STEP)) * kicks
    drive = np.float32(_J) * (recurrence * state + coupling * (state @ weights))
    above = np.float32(_A) * (drive + np.float32(_I_0) + current) - np.float32(_B)
    above = np.where(np.abs(above) < 1e-3, np.float32(1e-3), above)  # its limit there is 1 / d
    with np.errstate(over="ignore"):
        rate = above / -np.expm1(-np.float32(_D) * above)
    change = np.float32(_GAMMA) * rate * (1 - state) - state / np.float32(_TAU_S)
    advanced: Single = np.clip(state + step * change, 0, 1)
    return advanced


def _convolve_gating(gating: Single, sampling: Sampling) -> Single:
    """Return BOLD at the end of each sampling period, shape (n_samples, n_signals)."""
    time = np.arange(0, _RESPONSE_LENGTH, _BOLD_STEP) - _RESPONSE_ONSET
    after = np.maximum(time, 0) / _RESPONSE_TAU
    kernel = (after * np.exp(-after) * _BOLD_STEP)[::-1].astype(np.float32)
    ends = np.round(
        (_WONG_WANG_WARM_UP + np.arange(1, sampling.n_samples + 1) * sampling.tr) / _BOLD_STEP
    ).astype(int)
    bold = np.empty((sampling.n_samples, gating.shape[1]), np.float32)
    for sample, end in enumerate(ends):
        window = gating[max(0, end - len(kernel)) : end]
        bold[sample] = kernel[-len(window) :] @ window
    return bold


_HOPF = BrainModel(
    "hopf",
    "Hopf model of BOLD (Deco et al. 2017, doi:10.1038/s41598-017-03073-5)",
    Prior((
        Parameter("coupling", "coupling G", 0.0, 5.0, "", "global coupling of the structural "
                  "connectivity, whose spectral radius is scaled to 0.3148"),
        Parameter("bifurcation", "bifurcation a", -0.2, 0.1, "1/s", "bifurcation parameter: "
                  "below 0 regions are damped by noise, above 0 they oscillate"),
        Parameter("noise", "noise b", 0.005, 0.1, "per square root of a second",
                  "standard deviation of the noise of the state", logarithmic=True),
        Parameter("frequency", "frequency", 0.03, 0.07, "Hz", "mean over regions of the intrinsic "
                  "frequency, whose standard deviation is 0.005 Hz"),
    )),
    simulate_hopf,
)  # fmt: skip
_WONG_WANG = BrainModel(
    "rww",
    "reduced Wong-Wang model (Deco et al. 2013, doi:10.1523/JNEUROSCI.1091-13.2013)",
    Prior((
        Parameter("coupling", "coupling G", 0.5, 5.0, "", "global coupling of the structural "
                  "connectivity, whose spectral radius is scaled to 0.3148"),
        Parameter("recurrence", "recurrence w", 0.3, 0.8, "", "strength of local recurrence"),
        Parameter("noise", "noise", 0.002, 0.03, "nA",
                  "standard deviation of the input current", logarithmic=True),
    )),
    simulate_wong_wang,
)  # fmt: skip
MODELS = {model.name: model for model in (_HOPF, _WONG_WANG)}


def find_model(name: str) -> BrainModel:
    """Return a model by its name.

    Raises
    ------
    SettingsError
        There is no model of that name.
    """
    if name not in MODELS:
        raise SettingsError(
            f"There is no model {name!r} whose parameters can be inferred; choose one of "
            f"{', '.join(MODELS)}."
        )
    return MODELS[name]
