"""From spikes to a signal and back: the input of a spiking network inferred from its EEG.

A lesson in inverse modelling, with a model that runs in seconds: spikes of a network of leaky
integrate-and-fire neurons, their current dipole moment, EEG, the features catch22, and the jump of
the synaptic current by external spikes, J_ext, from them, by ridge regression and by neural
posterior estimation.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from npi_bids.inverse.calibration import explained_variance
from npi_bids.inverse.catch22 import compute_catch22
from npi_bids.inverse.estimator import train_ensemble
from npi_bids.records import Array
from npi_bids.settings import check_options, option
from npi_bids.simulate.field_potentials import simulate_eeg
from npi_bids.simulate.spiking import (
    STEP,
    SpikingNetwork,
    build_network,
    check_numba,
    mean_rates,
    simulate_spikes,
)

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

LOWEST_J, HIGHEST_J = 26.0, 32.0  # pA
SCALES = {"quarter": 0.25, "full": 1.0}
N_SPLITS, TEST_SHARE = 50, 0.1
_TRANSIENT = 400.0  # ms, left out at the beginning
_N_MEMBERS, _N_SAMPLES = 5, 2000  # flows, and samples of each posterior
# Streams of random numbers of a seed.
_NETWORK, _VALUES, _INPUT = 1, 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonSettings:
    """Simulations of the spiking network, and what is inferred from them."""

    n_simulations: int = option(
        50, f"number of simulations, with J_ext drawn uniformly from {LOWEST_J:g} to "
        f"{HIGHEST_J:g} pA", at_least=20, metavar="N",
    )  # fmt: skip
    j_ext: tuple[float, ...] = option(
        (), "simulate these values of J_ext in pA, and infer nothing", above=0, metavar="X"
    )
    seconds: float = option(
        2.0, "duration of each simulation in seconds", at_least=0.2, metavar="X"
    )
    size: str = option(
        "quarter", "a quarter of the neurons with as many inputs each, or the full network",
        choices=tuple(SCALES), metavar="SIZE",
    )  # fmt: skip
    ridge_only: bool = option(False, "leave out neural posterior estimation, which needs sbi")
    seed: int = option(
        0, "seed of all random numbers", at_least=0, flag="random-seed", metavar="N"
    )
    n_threads: int = option(
        1, "simulations that run at the same time", at_least=1, metavar="N", result=False
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """Simulated recordings.

    Attributes
    ----------
    j_ext
        Shape (n_simulations,); jump of the synaptic current by an external spike (pA).
    rates
        Shape (n_simulations, 2); mean rates, excitatory and inhibitory (Hz).
    eeg
        Shape (n_simulations, n_samples); EEG above the network (uV) at 1600 Hz.
    features
        Shape (n_simulations, 22); catch22 of EEG.
    """

    j_ext: Array
    rates: Array
    eeg: Array
    features: Array


@dataclass(frozen=True, slots=True, eq=False)
class RidgeScores:
    """Ridge regression of J_ext over random splits: errors (pA squared) and R2, (n_splits,)."""

    mse: Array
    r2: Array


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Predictions of J_ext of the simulations that were held out.

    Attributes
    ----------
    held_out
        Shape (n_held_out,); indices of the simulations.
    truth, ridge
        Shape (n_held_out,); J_ext, and its prediction by ridge regression (pA).
    posterior
        Shape (n_samples, n_held_out); samples of the posterior (pA), or None.
    """

    held_out: Array
    truth: Array
    ridge: Array
    posterior: Array | None

    def posterior_r2(self) -> float | None:
        """Return R2 of the posterior means; None without posteriors."""
        if self.posterior is None:
            return None
        return explained_variance(self.truth, self.posterior.mean(axis=0))

    def coverage(self, level: float) -> float | None:
        """Return the share of truths within the central interval; None without posteriors."""
        if self.posterior is None:
            return None
        low, high = np.quantile(self.posterior, (0.5 - level / 2, 0.5 + level / 2), axis=0)
        return float(np.mean((low <= self.truth) & (self.truth <= high)))


def draw_values(settings: LessonSettings) -> Array:
    """Return the values of J_ext (pA): those that were requested, or random ones."""
    if settings.j_ext:
        return np.array(settings.j_ext)
    rng = np.random.default_rng([settings.seed, _VALUES])
    return rng.uniform(LOWEST_J, HIGHEST_J, settings.n_simulations)


def simulate_recordings(
    settings: LessonSettings, report: Callable[[int, float, Array], None] | None = None
) -> Recordings:
    """Simulate the recordings of one network with several values of J_ext.

    Parameters
    ----------
    settings
        Number, duration, size and seed.
    report
        Called after each simulation with its number, J_ext and its mean rates.

    Raises
    ------
    SettingsError
        ``numba`` is not installed.
    """
    check_numba()
    network = build_network(
        SCALES[settings.size], np.random.default_rng([settings.seed, _NETWORK])
    )
    values = draw_values(settings)
    run = partial(_simulate_recording, network, settings)
    rates, eeg = [], []
    with ThreadPoolExecutor(settings.n_threads) as pool:
        for number, (rate, signal) in enumerate(pool.map(run, range(len(values)), values)):
            rates.append(rate)
            eeg.append(signal)
            if report:
                report(number + 1, float(values[number]), rate)
    features = compute_catch22(np.array(eeg).T)
    return Recordings(values, np.array(rates), np.array(eeg), features)


def _simulate_recording(
    network: SpikingNetwork, settings: LessonSettings, number: int, j_ext: float
) -> tuple[Array, Array]:
    """Return mean rates and EEG of one simulation."""
    rng = np.random.default_rng([settings.seed, _INPUT, number])
    counts = simulate_spikes(network, j_ext, _TRANSIENT + 1000 * settings.seconds, rng)
    rates = mean_rates(counts[:, round(_TRANSIENT / STEP) :], network)
    return rates, simulate_eeg(counts, network.scale, _TRANSIENT)


def score_ridge(recordings: Recordings, seed: int) -> RidgeScores:
    """Score ridge regression of J_ext on the features, over 50 random splits of 90 and 10 %."""
    from sklearn.model_selection import ShuffleSplit, cross_validate

    scores = cross_validate(
        _ridge(), recordings.features, recordings.j_ext,
        cv=ShuffleSplit(N_SPLITS, test_size=TEST_SHARE, random_state=seed),
        scoring=("neg_mean_squared_error", "r2"),
    )  # fmt: skip
    return RidgeScores(-scores["test_neg_mean_squared_error"], scores["test_r2"])


def predict_held_out(recordings: Recordings, settings: LessonSettings) -> Predictions:
    """Predict J_ext of a random tenth of the simulations from the others.

    Parameters
    ----------
    recordings
        All simulations.
    settings
        Seed, and whether to leave out neural posterior estimation.

    Raises
    ------
    SettingsError
        ``sbi`` is not installed.
    """
    from sklearn.model_selection import train_test_split

    trained, held_out = train_test_split(
        np.arange(len(recordings.j_ext)), test_size=TEST_SHARE, random_state=settings.seed
    )
    features, j_ext = recordings.features, recordings.j_ext
    ridge = _ridge().fit(features[trained], j_ext[trained]).predict(features[held_out])
    posterior = None
    if not settings.ridge_only:
        posterior = _sample_posteriors(
            j_ext[trained], features[trained], features[held_out], settings.seed
        )
    return Predictions(held_out, j_ext[held_out], ridge, posterior)


def _ridge() -> Pipeline:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge())


def _sample_posteriors(j_ext: Array, features: Array, held_out: Array, seed: int) -> Array:
    """Return samples of the posteriors of held-out simulations, (n_samples, n_held_out)."""
    width = HIGHEST_J - LOWEST_J
    positions = (j_ext[:, None] - LOWEST_J) / width
    ensemble = train_ensemble(positions, features, n_members=_N_MEMBERS, seed=seed)
    sampled = ensemble.sample(held_out, _N_SAMPLES, seed)[:, :, 0]
    samples: Array = LOWEST_J + width * sampled
    return samples
