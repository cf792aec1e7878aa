"""Networks seen through delays, haemodynamics, filters and gaps: what the default recovers."""

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
SEEDS = range(400, 404)  # those below were looked at while the rules were made
_FINE = 0.1  # s; grid on which the haemodynamic response is applied
_WARM_UP = 60.0  # s
METHODS = {
    "default": {},
    "signals as state": {"delays": "none", "gain": "none"},
    "ridge VAR": {"surrogate": "var"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a network is seen.

    Attributes
    ----------
    tr
        Sampling period (s).
    delay_sd
        Spread of the delays of regions (s).
    haemodynamic
        Whether the state is seen through SPM's double-gamma response, with white noise of 0.2 SD.
    band_pass
        Whether 0.01 to 0.1 Hz are kept.
    censored
        Share of samples that are left out at random.
    hierarchy
        Whether all connections are positive and go from upstream to downstream regions.
    n_samples
        Length.
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
    """Return a run as it is seen, and the EC over one sample in standard deviations."""
    rng = np.random.default_rng(seed)
    weights = random_network(N_REGIONS, rng).weights
    if condition.hierarchy:
        rank = rng.permutation(N_REGIONS)
        there = (rng.random(weights.shape) < 0.4) & (rank[:, None] < rank[None, :])
        weights = np.where(there, 2 * np.abs(weights), 0.0)
    n_fine = round((condition.n_samples * condition.tr + _WARM_UP) / _FINE)
    fine = RNNSystem(weights, tr=_FINE)
    state = simulate_rnn(fine, n_runs=1, n_samples=n_fine, rng=rng)[0]
    step, first = round(condition.tr / _FINE), round(_WARM_UP / _FINE)
    seen = state[first::step][: condition.n_samples]
    size = seen.std(axis=0)
    truth = true_ec(RNNSystem(weights, tr=condition.tr), seen[None], rng)
    delays = condition.delay_sd * rng.standard_normal(N_REGIONS)
    shown = np.stack(list(_shown(state, delays, haemodynamic=condition.haemodynamic)), axis=1)
    shown = shown[first::step][: condition.n_samples]
    if condition.haemodynamic:
        shown = shown + 0.2 * shown.std(axis=0) * rng.standard_normal(shown.shape)
    if condition.band_pass:
        sos = butter(2, [0.01, 0.1], "band", fs=1 / condition.tr, output="sos")
        shown = sosfiltfilt(sos, shown, axis=0)
    keep = rng.random(len(shown)) >= condition.censored
    shown = (shown - shown[keep].mean(axis=0)) / shown[keep].std(axis=0)
    labels = tuple(f"R{place:02d}" for place in range(N_REGIONS))
    run = RegionSeries(np.where(keep[:, None], shown, np.nan), labels, condition.tr, keep)
    return run, truth * size[:, None] / size


def _shown(state: Array, delays: Array, *, haemodynamic: bool) -> Iterator[Array]:
    """Yield the signal of each region on the fine grid."""
    hz = np.fft.rfftfreq(2 * len(state), _FINE)
    time = np.arange(0, 40, _FINE)
    response = gamma.pdf(time, 6) - gamma.pdf(time, 16) / 6
    gain = np.fft.rfft(response, 2 * len(state)) if haemodynamic else 1.0
    for region, delay in enumerate(delays):
        spectrum = np.fft.rfft(state[:, region], 2 * len(state)) * gain
        moved = np.fft.irfft(spectrum * np.exp(-2j * np.pi * hz * delay), 2 * len(state))
        yield moved[: len(state)]


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
                found = ec_of_runs([run], train=train, perturb=PerturbSettings()).ec
                scores[method].append((
                    pearson(found, truth),
                    pearson(symmetric(found), symmetric(truth)),
                    pearson(antisymmetric(found), antisymmetric(truth)),
                ))  # fmt: skip
        yield name, {method: tuple(np.mean(rows, axis=0)) for method, rows in scores.items()}
