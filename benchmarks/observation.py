"""Recovery of networks observed through delays, haemodynamics, filters and gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfiltfilt
from scipy.stats import gamma

from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.matrices import antisymmetric, pearson, symmetric
from npi_bids.records import Array, RegionSeries
from npi_bids.simulate.rnn import RNNSystem, random_network, simulate_rnn, true_ec
from npi_bids.surrogates.base import TrainSettings

N_REGIONS, N_SAMPLES = 20, 1600
SEEDS = range(400, 404)  # lower seeds were used in developing the method
_FINE = 0.1  # s; grid on which the haemodynamic response is applied
_WARM_UP = 60.0  # s
METHODS = {
    "default": {},
    "signals as state": {"delays": "none", "gain": "none"},
    "ridge VAR": {"surrogate": "var"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Conditions under which a network is observed.

    Attributes
    ----------
    tr
        Sampling period (s).
    delay_sd
        Standard deviation of the delays of regions (s).
    haemodynamic
        Whether the state is convolved with SPM's double-gamma response and white noise of 0.2 SD
        is added.
    band_pass
        Whether signals are band-passed from 0.01 to 0.1 Hz.
    censored
        Fraction of randomly censored samples.
    hierarchy
        Whether all connections are positive and go from upstream to downstream regions.
    n_samples
        Number of samples.
    """

    tr: float = 1.0
    delay_sd: float = 0.0
    haemodynamic: bool = False
    band_pass: bool = False
    censored: float = 0.0
    hierarchy: bool = False
    n_samples: int = N_SAMPLES


CONDITIONS = {
    "clean": Condition(),
    "clean, 400 samples": Condition(n_samples=400),
    "delays 0.5 s": Condition(delay_sd=0.5),
    "delays 1 s": Condition(delay_sd=1.0),
    "delays 1.4 s": Condition(delay_sd=1.4),
    "delays 1 s, 400 samples": Condition(delay_sd=1.0, n_samples=400),
    "delays 1 s, TR 2": Condition(delay_sd=1.0, tr=2.0),
    "delays 1 s, 15 % censored": Condition(delay_sd=1.0, censored=0.15),
    "band-passed": Condition(band_pass=True),
    "band-passed, delays 0.5 s": Condition(band_pass=True, delay_sd=0.5),
    "haemodynamic, TR 1": Condition(haemodynamic=True),
    "haemodynamic, TR 2": Condition(haemodynamic=True, tr=2.0),
    "haemodynamic, TR 2, delays 0.5 s": Condition(haemodynamic=True, tr=2.0, delay_sd=0.5),
    "haemodynamic, band-passed": Condition(haemodynamic=True, band_pass=True),
    "hierarchy": Condition(hierarchy=True),
    "hierarchy, delays 1 s": Condition(hierarchy=True, delay_sd=1.0),
    "TR 3": Condition(tr=3.0),
}


def draw(condition: Condition, seed: int) -> tuple[RegionSeries, Array]:
    """Return a run as it is observed, and the EC over one sample in standard deviations."""
    rng = np.random.default_rng(seed)
    weights = random_network(N_REGIONS, rng).weights
    if condition.hierarchy:
        rank = rng.permutation(N_REGIONS)
        is_connected = (rng.random(weights.shape) < 0.4) & (rank[:, None] < rank[None, :])
        weights = np.where(is_connected, 2 * np.abs(weights), 0.0)
    n_fine = round((condition.n_samples * condition.tr + _WARM_UP) / _FINE)
    fine = RNNSystem(weights, tr=_FINE)
    state = simulate_rnn(fine, n_runs=1, n_samples=n_fine, rng=rng)[0]
    step, first = round(condition.tr / _FINE), round(_WARM_UP / _FINE)
    sampled_state = state[first::step][: condition.n_samples]
    sd = sampled_state.std(axis=0)
    truth = true_ec(RNNSystem(weights, tr=condition.tr), sampled_state[None], rng)
    delays = condition.delay_sd * rng.standard_normal(N_REGIONS)
    signals = np.stack(
        list(_observe_regions(state, delays, haemodynamic=condition.haemodynamic)), axis=1
    )
    signals = signals[first::step][: condition.n_samples]
    if condition.haemodynamic:
        signals = signals + 0.2 * signals.std(axis=0) * rng.standard_normal(signals.shape)
    if condition.band_pass:
        sos = butter(2, [0.01, 0.1], "band", fs=1 / condition.tr, output="sos")
        signals = sosfiltfilt(sos, signals, axis=0)
    keep = rng.random(len(signals)) >= condition.censored
    signals = (signals - signals[keep].mean(axis=0)) / signals[keep].std(axis=0)
    labels = tuple(f"R{region:02d}" for region in range(N_REGIONS))
    run = RegionSeries(np.where(keep[:, None], signals, np.nan), labels, condition.tr, keep)
    return run, truth * sd[:, None] / sd


def _observe_regions(state: Array, delays: Array, *, haemodynamic: bool) -> Iterator[Array]:
    """Yield the signal of each region on the fine grid."""
    hz = np.fft.rfftfreq(2 * len(state), _FINE)
    time = np.arange(0, 40, _FINE)
    response = gamma.pdf(time, 6) - gamma.pdf(time, 16) / 6
    gain = np.fft.rfft(response, 2 * len(state)) if haemodynamic else 1.0
    for region, delay in enumerate(delays):
        spectrum = np.fft.rfft(state[:, region], 2 * len(state)) * gain
        delayed = np.fft.irfft(spectrum * np.exp(-2j * np.pi * hz * delay), 2 * len(state))
        yield delayed[: len(state)]


def compare(
    conditions: dict[str, Condition], seeds: range = SEEDS
) -> Iterator[tuple[str, dict[str, tuple[float, float, float]]]]:
    """Yield for each condition the mean r of all, symmetric and antisymmetric part per method."""
    for name, condition in conditions.items():
        scores: dict[str, list[tuple[float, float, float]]] = {method: [] for method in METHODS}
        for seed in seeds:
            run, truth = draw(condition, seed)
            for method, options in METHODS.items():
                train = TrainSettings(device="cpu", **options)
                ec = ec_of_runs([run], train=train, perturb=PerturbSettings()).ec
                scores[method].append((
                    pearson(ec, truth),
                    pearson(symmetric(ec), symmetric(truth)),
                    pearson(antisymmetric(ec), antisymmetric(truth)),
                ))  # fmt: skip
        yield name, {method: tuple(np.mean(rows, axis=0)) for method, rows in scores.items()}
