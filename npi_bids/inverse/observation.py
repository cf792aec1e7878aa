"""How a subject's signals were observed, applied to simulated ones.

A simulated subject is observed as the real one was: with haemodynamic delays, noise and global
signal of some strength, the same runs, the same confounds regressed out, the same filter, and the
same censored samples. All of the cleaning but the final scaling is linear in the signals, so that
it is one matrix per run, found by cleaning an identity matrix with the program that cleaned the
data (:func:`nilearn.signal.clean`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import NoUsableDataError, SettingsError
from npi_bids.inverse.models import Batch
from npi_bids.inverse.priors import Parameter, Prior
from npi_bids.records import Array, Mask, RegionSeries
from npi_bids.simulate.haemodynamics import shift_regions

Index = NDArray[np.int64]

WHITE, REGIONAL = "white", "regional"
OBSERVATIONS = (WHITE, REGIONAL)
FEWEST_SAMPLES = 40  # of a run; two estimates of FC need some

_LEVEL = Parameter(
    "measurement_noise", "measurement noise", 0.0, 1.5, "SD of the signal",
    "standard deviation of measurement noise relative to that of the signal of the region",
)  # fmt: skip
_PRIORS = {
    WHITE: Prior((_LEVEL,)),
    REGIONAL: Prior((
        _LEVEL,
        Parameter("noise_spread", "spread of noise", 0.0, 1.0, "",
                  "standard deviation over regions of the logarithm of measurement noise"),
        Parameter("noise_autocorrelation", "autocorrelation of noise", 0.0, 0.8, "",
                  "mean autocorrelation of measurement noise at a lag of 2 s"),
        Parameter("global_signal", "global signal", 0.0, 1.0, "SD of the signal",
                  "standard deviation of a slow signal that all regions share, relative to the "
                  "signal of the region"),
        Parameter("delay_spread", "spread of delays", 0.0, 1.5, "s",
                  "standard deviation over regions of the haemodynamic delay"),
    )),
}  # fmt: skip
_GLOBAL_TAU = 10.0  # s; breathing and arousal
_LOADING_SD = 0.3  # over regions, of the weight of the global signal
_COLOUR_SD = 0.15  # over regions, of the autocorrelation of the noise
_MOST_AUTOCORRELATED = 0.95
_LAG = 2.0  # s


def observation_prior(name: str) -> Prior:
    """Return the prior of the parameters of an observation model, ``white`` or ``regional``."""
    if name not in _PRIORS:
        raise SettingsError(
            f"There is no observation model {name!r}; choose one of {', '.join(OBSERVATIONS)}."
        )
    return _PRIORS[name]


@dataclass(frozen=True, slots=True, eq=False)
class ObservedRun:
    """The samples of one run that remain, cleaned and scaled.

    Attributes
    ----------
    data
        Shape (n_kept, n_regions); mean 0 and SD 1 of each region.
    position
        Shape (n_kept,); index of each sample in the run.
    """

    data: Array
    position: Index

    def cut(self, first: int, last: int) -> ObservedRun:
        """Return the samples at positions from ``first`` to before ``last``, scaled anew."""
        inside = (self.position >= first) & (self.position < last)
        return scale_run(self.data[inside], self.position[inside] - first)


def scale_run(data: Array, position: Index) -> ObservedRun:
    """Return a run with each region scaled to mean 0 and SD 1."""
    centred = data - data.mean(axis=0)
    spread = centred.std(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ObservedRun(centred / np.where(spread > 1e-9, spread, np.nan), position)


@dataclass(frozen=True, slots=True, eq=False)
class RunProtocol:
    """Acquisition and cleaning of one run.

    Attributes
    ----------
    keep
        Shape (n_samples,); False where a sample was left out.
    cleaning
        Shape (n_kept, n_samples); the linear map from the recorded to the cleaned samples.
    """

    keep: Mask
    cleaning: Array

    def clean(self, series: Array) -> ObservedRun:
        """Return the cleaned and scaled samples of a series of shape (n_samples, n_regions)."""
        return scale_run(self.cleaning @ series, np.flatnonzero(self.keep))


@dataclass(frozen=True, slots=True)
class Filters:
    """Cut-offs (Hz) of the filters applied with the regression; None where there is none."""

    high_pass: float | None = None
    low_pass: float | None = None


def make_protocol(
    keep: Mask, regressors: Array, tr: float, filters: Filters | None = None
) -> RunProtocol:
    """Return the protocol of a run that was cleaned as npi-bids cleans.

    Parameters
    ----------
    keep
        Shape (n_samples,); False where a sample was left out.
    regressors
        Shape (n_samples, n_regressors); confounds that were regressed out, without the constant.
    tr
        Sampling period (s).
    filters
        Cut-offs of the filters; none if None.

    Raises
    ------
    NoUsableDataError
        Fewer than 40 samples remain.
    """
    if keep.sum() < FEWEST_SAMPLES:
        raise NoUsableDataError(
            f"{int(keep.sum())} of {len(keep)} samples of a run are kept; the features of a run "
            f"need at least {FEWEST_SAMPLES}."
        )
    filters = filters or Filters()
    if not regressors.shape[1] and filters == Filters():
        mean = np.full((int(keep.sum()), len(keep)), 1 / keep.sum()) * keep
        return RunProtocol(keep, np.eye(len(keep))[keep] - mean)
    from nilearn.signal import clean

    options: dict[str, Any] = {}
    if filters.low_pass:
        options = {"high_pass": filters.high_pass, "low_pass": filters.low_pass}
    elif filters.high_pass:
        options = {"high_pass": filters.high_pass, "filter": "cosine"}
    cleaning: Array = clean(
        np.eye(len(keep)),
        confounds=regressors if regressors.shape[1] else None,
        sample_mask=np.flatnonzero(keep),
        standardize=None,
        standardize_confounds=True,
        detrend=False,
        t_r=tr,
        **options,
    )
    # The mean of every signal is removed as well, which the scaling would do anyway.
    return RunProtocol(keep, cleaning - cleaning.mean(axis=0))


@dataclass(frozen=True, slots=True, eq=False)
class ObservationModel:
    """From the signals of a model to those of a subject.

    Attributes
    ----------
    name
        ``white``: white measurement noise of the same relative strength in all regions.
        ``regional``: noise of regional strength and autocorrelation, a slow global signal, and
        haemodynamic delays of the regions.
    tr
        Sampling period (s).
    runs
        Acquisition and cleaning of each run.
    """

    name: str
    tr: float
    runs: tuple[RunProtocol, ...]

    @property
    def n_samples(self) -> int:
        """Number of samples of all runs, censored ones included."""
        return sum(len(run.keep) for run in self.runs)

    @property
    def prior(self) -> Prior:
        """Prior of its parameters."""
        return observation_prior(self.name)

    def observe(
        self, bold: Batch, values: Array, rng: np.random.Generator
    ) -> list[list[ObservedRun]]:
        """Observe simulated signals.

        Parameters
        ----------
        bold
            Shape (n_simulations, n_samples, n_regions).
        values
            Shape (n_simulations, n_parameters); parameters of the observation.
        rng
            Source of noise and of what is drawn for each region.

        Returns
        -------
        list of list of ObservedRun
            The runs of each simulation.
        """
        noisy = self._add_noise(bold.astype(np.float64), values, rng)
        ends = np.cumsum([len(run.keep) for run in self.runs])
        parts = [np.split(series, ends[:-1]) for series in noisy]
        return [
            [run.clean(part) for run, part in zip(self.runs, runs, strict=True)] for runs in parts
        ]

    def _add_noise(self, bold: Array, values: Array, rng: np.random.Generator) -> Array:
        """Return signals of SD 1 with delays, noise and a global signal."""
        n_sims, _, n_regions = bold.shape
        signal = _scale(bold)
        level = values[:, 0]
        if self.name == WHITE:
            white = rng.standard_normal(bold.shape)
            return signal + level[:, None, None] * white
        spread, colour, shared, delay = values[:, 1:5].T
        regional = rng.standard_normal((3, n_sims, n_regions))
        # Delays move signals by less than a cycle, so that they are scaled already.
        signal = np.stack([
            shift_regions(series[None], sd * deviate / self.tr)[0]
            for series, sd, deviate in zip(signal, delay, regional[0], strict=True)
        ])  # fmt: skip
        noise_sd = level[:, None] * np.exp(spread[:, None] * regional[1])
        noise = noise_sd[:, None] * self._draw_coloured(bold.shape, colour, regional[2], rng)
        loading = 1 + _LOADING_SD * rng.standard_normal((n_sims, n_regions))
        common = self._draw_global(bold.shape[:2], rng)
        shared_signal = (shared[:, None] * loading)[:, None] * common[:, :, None]
        observed: Array = signal + noise + shared_signal
        return observed

    def _draw_coloured(
        self, shape: tuple[int, ...], mean: Array, deviate: Array, rng: np.random.Generator
    ) -> Array:
        """Draw noise of SD 1 whose regions are processes of order 1, correlated over 2 s."""
        at_lag = np.clip(mean[:, None] + _COLOUR_SD * deviate, 0, _MOST_AUTOCORRELATED)
        at_lag = np.where(mean[:, None] > 0, at_lag, 0)
        return _autoregress(rng.standard_normal(shape), at_lag ** (self.tr / _LAG))

    def _draw_global(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Draw a slow signal of SD 1 for each simulation, shape (n_simulations, n_samples)."""
        coefficient = np.full((shape[0],), np.exp(-self.tr / _GLOBAL_TAU))
        return _autoregress(rng.standard_normal(shape), coefficient)

    def digest(self) -> str:
        """Return a hash of everything that determines the observation."""
        digest = hashlib.sha256(f"{self.name} {self.tr:.9g}".encode())
        for run in self.runs:
            digest.update(np.packbits(run.keep).tobytes())
            digest.update(np.round(run.cleaning, 9).astype(np.float32).tobytes())
        return digest.hexdigest()[:16]


def read_subject(runs: Sequence[RegionSeries]) -> list[ObservedRun]:
    """Return the runs of a subject as they are observed, scaled to mean 0 and SD 1."""
    return [scale_run(run.data[run.keep], np.flatnonzero(run.keep)) for run in runs]


def _scale(bold: Array) -> Array:
    """Scale each region of each simulation to SD 1; NaN where it is silent or diverged."""
    centred = bold - bold.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled: Array = centred / np.where(spread > 1e-9, spread, np.nan)
    return scaled


def _autoregress(white: Array, coefficient: Array) -> Array:
    """Return processes of order 1 and SD 1, driven by white noise along the second axis."""
    process = np.empty_like(white)
    process[:, 0] = white[:, 0]
    innovation = np.sqrt(1 - coefficient**2)
    for sample in range(1, white.shape[1]):
        process[:, sample] = coefficient * process[:, sample - 1] + innovation * white[:, sample]
    return process
