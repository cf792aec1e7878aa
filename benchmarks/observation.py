"""Recovery of networks observed through delays, haemodynamics, filters and gaps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.signal import butter, sosfiltfilt
from scipy.stats import gamma

from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.matrices import antisymmetric, pearson, symmetric
from npi_bids.records import Array, RegionSeries
from npi_bids.simulate.rnn import RNNSystem, random_network, simulate_rnn, true_ec
from npi_bids.surrogates.base import PRESETS, TrainSettings
from npi_bids.surrogates.delay_map import DelayMap

N_REGIONS, N_SAMPLES = 20, 1600
SEEDS = range(500, 504)  # those below 404 were looked at while the rules were made
_FINE = 0.1  # s; grid on which the haemodynamic response is applied
_WARM_UP = 60.0  # s
METHODS: dict[str, Mapping[str, Any]] = {
    "default": {},
    "without delays": {"delays": "none"},
    "signals as state": {"delays": "none", "gain": "none"},
    "ridge VAR": {"surrogate": "var"},
    "luo2025 mlp": PRESETS["luo2025"],
    "rDCM": {"surrogate": "rdcm"},
}
# Prior knowledge of the delays: the true ones, with errors of half their spread, those of wrong
# regions, and two covariates of which one is related to them.
MAPS = ("no map", "true map", "map with errors", "covariates", "permuted map")
MAP_CONDITIONS = (
    "clean",
    "delays 0.5 s, 400 samples",
    "delays 1 s, 400 samples",
    "delays 1 s",
    "hierarchy",
    "hierarchy, delays 1 s",
)


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
    noise
        White noise (SD of the signals); with a haemodynamic response, 0.2 where it is 0.
    dispersion
        Spread over regions of the width of the haemodynamic response (relative).
    at_tr
        Whether the network is simulated at the sampling period, so that delays shift what the
        samples contain; if not, it is simulated and shifted on a grid of 0.1 s.
    """

    tr: float = 1.0
    delay_sd: float = 0.0
    haemodynamic: bool = False
    band_pass: bool = False
    censored: float = 0.0
    hierarchy: bool = False
    n_samples: int = N_SAMPLES
    noise: float = 0.0
    dispersion: float = 0.0
    at_tr: bool = False

    @property
    def grid(self) -> float:
        """Interval on which the network is simulated and observed (s)."""
        return self.tr if self.at_tr else _FINE


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
    "TR 0.7": Condition(tr=0.7),
    "clean, 8000 samples": Condition(n_samples=8000),
    "noise 0.5 SD": Condition(noise=0.5),
    "delays 0.5 s, 400 samples": Condition(delay_sd=0.5, n_samples=400),
    "haemodynamic, TR 1, noise 0.02 SD": Condition(haemodynamic=True, noise=0.02),
    "haemodynamic, TR 1, delays 1 s": Condition(haemodynamic=True, delay_sd=1.0),
    "haemodynamic, TR 1, dispersion 15 %": Condition(haemodynamic=True, dispersion=0.15),
    "haemodynamic, TR 2, dispersion 15 %": Condition(haemodynamic=True, dispersion=0.15, tr=2.0),
    "haemodynamic, band-passed, delays 0.5 s": Condition(
        haemodynamic=True, band_pass=True, delay_sd=0.5
    ),
}
PARTS = ("all", "antisymmetric")
WITH_AND_WITHOUT = ("default", "without delays")  # methods
HIERARCHIES = ("hierarchy", "hierarchy, delays 1 s")
HIERARCHY_SEEDS = range(520, 540)
SAMPLED_SEEDS = range(510, 516)
SAMPLED_CONDITIONS = {
    name: replace(CONDITIONS[name], at_tr=True)
    for name in (
        "clean",
        "clean, 400 samples",
        "clean, 8000 samples",
        "delays 0.5 s",
        "delays 1 s",
        "delays 1.4 s",
        "delays 0.5 s, 400 samples",
        "band-passed",
    )
}


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One simulated network.

    Attributes
    ----------
    run
        As it is observed, z-scored.
    truth
        EC over one sample in standard deviations of the regions, indexed ``[source, target]``.
    delays
        Delay of each region (s).
    """

    run: RegionSeries
    truth: Array
    delays: Array


def draw(condition: Condition, seed: int) -> Drawn:
    """Draw a network and observe it."""
    rng = np.random.default_rng(seed)
    weights = random_network(N_REGIONS, rng).weights
    if condition.hierarchy:
        rank = rng.permutation(N_REGIONS)
        is_connected = (rng.random(weights.shape) < 0.4) & (rank[:, None] < rank[None, :])
        weights = np.where(is_connected, 2 * np.abs(weights), 0.0)
    n_fine = round((condition.n_samples * condition.tr + _WARM_UP) / condition.grid)
    fine = RNNSystem(weights, tr=condition.grid)
    state = simulate_rnn(fine, n_runs=1, n_samples=n_fine, rng=rng)[0]
    step, first = (round(seconds / condition.grid) for seconds in (condition.tr, _WARM_UP))
    sampled_state = state[first::step][: condition.n_samples]
    sd = sampled_state.std(axis=0)
    truth = true_ec(RNNSystem(weights, tr=condition.tr), sampled_state[None], rng)
    delays = condition.delay_sd * rng.standard_normal(N_REGIONS)
    signals = np.stack(list(observe_regions(state, delays, condition, seed)), axis=1)
    signals = signals[first::step][: condition.n_samples]
    noise = condition.noise or (0.2 if condition.haemodynamic else 0.0)
    if noise:
        signals = signals + noise * signals.std(axis=0) * rng.standard_normal(signals.shape)
    if condition.band_pass:
        sos = butter(2, [0.01, 0.1], "band", fs=1 / condition.tr, output="sos")
        signals = sosfiltfilt(sos, signals, axis=0)
    keep = rng.random(len(signals)) >= condition.censored
    signals = (signals - signals[keep].mean(axis=0)) / signals[keep].std(axis=0)
    labels = tuple(f"R{region:02d}" for region in range(N_REGIONS))
    run = RegionSeries(np.where(keep[:, None], signals, np.nan), labels, condition.tr, keep)
    return Drawn(run, truth * sd[:, None] / sd, delays)


def observe_regions(
    state: Array, delays: Array, condition: Condition, seed: int
) -> Iterator[Array]:
    """Yield the signal of each region on the grid of the simulation."""
    hz = np.fft.rfftfreq(2 * len(state), condition.grid)
    time = np.arange(0, 40, condition.grid)
    widths = 1 + condition.dispersion * np.random.default_rng([seed, 1]).standard_normal(N_REGIONS)
    for region, (delay, width) in enumerate(zip(delays, widths, strict=True)):
        gain: complex | Array = 1.0
        if condition.haemodynamic:
            response = gamma.pdf(time / width, 6) - gamma.pdf(time / width, 16) / 6
            gain = np.fft.rfft(response, 2 * len(state))
        spectrum = np.fft.rfft(state[:, region], 2 * len(state)) * gain
        delayed = np.fft.irfft(spectrum * np.exp(-2j * np.pi * hz * delay), 2 * len(state))
        yield delayed[: len(state)]


def score(
    drawn: Drawn, options: Mapping[str, Any], delay_map: DelayMap | None = None
) -> dict[str, float]:
    """Infer the EC of a network; return its agreement with the truth and the chosen model."""
    train = TrainSettings(device="cpu", **options)
    result = ec_of_runs([drawn.run], train=train, perturb=PerturbSettings(), prior=delay_map)
    ec, truth = result.ec, drawn.truth
    off_diagonal = ~np.eye(len(truth), dtype=bool)
    coverage = np.nan  # networks have no interval in closed form
    if "npilower" in result.measures:
        lower, upper = (result.measures[name].matrix for name in ("npilower", "npiupper"))
        coverage = float(np.mean(((lower <= truth) & (truth <= upper))[off_diagonal]))
    choice = getattr(result.surrogate, "observation", None)
    delays = result.surrogate.region_delays
    return {
        "all": pearson(ec, truth),
        "symmetric": pearson(symmetric(ec), symmetric(truth)),
        "antisymmetric": pearson(antisymmetric(ec), antisymmetric(truth)),
        "coverage": coverage,
        "gain": float(bool(choice and choice.gain)),
        "delays": float(delays is not None),
        "noise": choice.noise if choice else 0.0,
        "map used": dict(result.log.details).get("delay_map_used", np.nan),
        "r of delays": np.nan if delays is None else np.corrcoef(delays[0], drawn.delays)[0, 1],
    }


def known_delays(drawn: Drawn, name: str, seed: int) -> DelayMap | None:
    """Return prior knowledge of the delays of a network.

    Parameters
    ----------
    drawn
        The network and its true delays.
    name
        One of :data:`MAPS`.
    seed
        Seed of the errors of the map, and of the order of permuted regions.
    """
    rng = np.random.default_rng([seed, 2])
    zero = np.zeros(N_REGIONS)
    no_covariates = np.zeros((N_REGIONS, 0))
    if name == "no map":
        return None
    # Networks without delays get the map of other networks, which is wrong.
    delays = drawn.delays if drawn.delays.any() else rng.standard_normal(N_REGIONS)
    if name == "permuted map":
        return DelayMap(rng.permutation(delays), zero, no_covariates)
    noisy = delays + 0.5 * delays.std() * rng.standard_normal(N_REGIONS)
    if name == "covariates":
        covariates = np.stack([3 * noisy + 7, rng.standard_normal(N_REGIONS)], axis=1)
        covariates = (covariates - covariates.mean(axis=0)) / covariates.std(axis=0)
        return DelayMap(zero, zero, covariates, ("related", "unrelated"))
    return DelayMap(noisy if name == "map with errors" else delays, zero, no_covariates)


def compare_maps(
    conditions: Sequence[str], seeds: range
) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    """Yield for each condition the mean scores with each kind of prior knowledge of delays."""
    for name in conditions:
        drawn = {seed: draw(CONDITIONS[name], seed) for seed in seeds}
        yield (
            name,
            {
                known: _mean_scores(
                    [
                        score(network, {}, known_delays(network, known, seed))
                        for seed, network in drawn.items()
                    ]
                )
                for known in MAPS
            },
        )


def _mean_scores(scores: list[dict[str, float]]) -> dict[str, float]:
    return {key: _mean([row[key] for row in scores]) for key in scores[0]}


def compare(
    conditions: Mapping[str, Condition],
    seeds: range = SEEDS,
    methods: Collection[str] = tuple(METHODS),
) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    """Yield for each condition the mean scores of the methods named."""
    for name, condition in conditions.items():
        drawn = [draw(condition, seed) for seed in seeds]
        means = {}
        for method in methods:
            scores = [score(network, METHODS[method]) for network in drawn]
            means[method] = _mean_scores(scores)
        yield name, means


def _mean(values: list[float]) -> float:
    """Return the mean of the finite values; NaN if there are none."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
