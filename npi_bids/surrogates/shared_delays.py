"""Delays of regions that the subjects of a group share, from the spectra of all of them.

The cross-spectra of the subjects are summed, each with its own variances, so that one process and
one delay of each region are fitted to them; a subject counts by its number of samples. Delays are
kept if their evidence is above a threshold and if they make the spectra of subjects that had no
part in them more likely, both than the same process without delays and, unless a gain is free,
than a VAR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from npi_bids.records import Array, DelayPrior, Mask, Observation, Windows
from npi_bids.surrogates.cross_spectra import (
    CrossSpectra,
    choose_n_bins,
    cross_spectra,
    pool_spectra,
)
from npi_bids.surrogates.observed import ObservedOU, build_observed, restore_runs
from npi_bids.surrogates.ou_model_selection import regions_of_subset
from npi_bids.surrogates.ou_process import OU, Moments
from npi_bids.surrogates.selection_criteria import MIN_OBSERVATION_REGIONS
from npi_bids.surrogates.spectral import SpectralFit
from npi_bids.surrogates.spectral_selection import (
    choose_pooled_observation,
    refit_pooled_observation,
)
from npi_bids.surrogates.windows import standardise

_MIN_FOLDS, _FOLDS = 2, 4  # parts of the group, each held out once
# Frequency bins of the moments of a subject, in each of which the phase of a delay must hardly
# change, and number of regions above which there are as few as in other spectra.
_N_BINS, _LARGE_ATLAS = 128, 128


@dataclass(frozen=True, slots=True, eq=False)
class SharedDelays:
    """Delays that the subjects of a group share, in samples.

    Attributes
    ----------
    mean, error
        Shape (n_regions,); delay of each region minus their median, and its standard error. Where
        not every subject covers a region, 0 and NaN.
    sd
        Spread of the delays.
    evidence
        Log evidence for delays against no delays (nats).
    benefit, over_var
        Log likelihood of subjects that were held out, over that without delays and over that of a
        VAR (nats; NaN with a free gain, beside which a VAR is not comparable).
    """

    mean: Array
    error: Array
    sd: float
    evidence: float
    benefit: float
    over_var: float

    def take(self, covered: Mask) -> SharedDelays:
        """Restrict the delays to the covered regions."""
        return replace(self, mean=self.mean[covered], error=self.error[covered])


def estimate_shared_delays(
    subjects: Callable[[], Iterator[tuple[str, Windows, Mask]]], *, gain: bool | None
) -> SharedDelays | None:
    """Estimate the delays that the subjects of a group share.

    Parameters
    ----------
    subjects
        Yields label, windows and covered regions of each subject, as often as it is called.
    gain
        Whether signals show the process through a gain that all regions share; if None, the
        likelihood decides.

    Returns
    -------
    SharedDelays or None
        None if the data do not ask for delays, or there are too few regions that all subjects
        cover.
    """
    covered = np.logical_and.reduce([covered for _, _, covered in subjects()])
    if covered.sum() < MIN_OBSERVATION_REGIONS:
        return None
    folds, tr = sum_spectra(subjects, covered)
    if len(folds) < _MIN_FOLDS:
        return None
    subset = regions_of_subset(int(covered.sum()))
    choice = choose_pooled_observation([_select(fold, subset) for fold in folds], tr, gain=gain)
    if not choice.delay_sd or choice.delay_over_var <= 0:  # discrete dynamics look like delays
        return None
    fitted = refit_pooled_observation(folds, tr, choice)
    delays, errors = fitted.fit.delays, fitted.delay_errors
    mean, error = np.zeros(covered.size), np.full(covered.size, np.nan)
    mean[covered], error[covered] = delays - np.median(delays), errors
    return SharedDelays(
        mean,
        error,
        choice.delay_sd,
        choice.delay_evidence,
        choice.delay_benefit,
        choice.delay_over_var,
    )


def sum_spectra(
    subjects: Callable[[], Iterator[tuple[str, Windows, Mask]]], covered: Mask
) -> tuple[list[CrossSpectra], float]:
    """Return the summed spectra of each part of the group, and the sampling period.

    Parameters
    ----------
    subjects
        As in :func:`estimate_shared_delays`.
    covered
        Regions that all subjects cover.
    """
    n_samples, tr = 0, 1.0
    for _, windows, _ in subjects():
        n_samples, tr = n_samples + len(windows), windows.tr
    n_bins = choose_n_bins(n_samples, int(covered.sum()))
    folds: list[CrossSpectra] = []
    for number, (_, windows, inside) in enumerate(subjects()):
        scaled, regions = standardise(windows), covered[inside]
        shared = replace(
            scaled, history=scaled.history[:, :, regions], target=scaled.target[:, regions]
        )
        spectra = cross_spectra(restore_runs(shared), n_bins)
        spectra = spectra.fill_bins(n_bins)  # some may be empty in a very short scan
        if number < _FOLDS:
            folds.append(spectra)
        else:
            folds[number % _FOLDS] = pool_spectra([folds[number % _FOLDS], spectra])
    occupied = np.logical_and.reduce([fold.n_ordinates > 0 for fold in folds])
    return [fold.take_bins(occupied) for fold in folds], tr


def _select(spectra: CrossSpectra, regions: NDArray[np.int64]) -> CrossSpectra:
    return replace(spectra, power=spectra.power[:, regions[:, None], regions])


def align_moments(windows: Windows, delays: Array) -> Moments:
    """Return the second moments that signals would have without delays.

    Parameters
    ----------
    windows
        Windows of the signals.
    delays
        Shape (n_regions,); in samples.
    """
    n_regions = windows.target.shape[1]
    n_bins = min(_N_BINS, len(windows) // 4) if n_regions <= _LARGE_ATLAS else None
    spectra = cross_spectra(restore_runs(windows), n_bins).without_delays(delays)
    past, cross = spectra.lagged_moments()
    return Moments(past, cross, past, len(windows))


def observe_process(
    process: OU, windows: Windows, delays: SharedDelays, precision: Sequence[float]
) -> ObservedOU:
    """Return the surrogate of signals that show a process through shared delays.

    Parameters
    ----------
    process
        Process of z-scored signals without delays.
    windows
        Windows of the signals.
    delays
        The delays, over the same regions.
    precision
        Precisions of the symmetric and the antisymmetric part of the drift.
    """
    scale = windows.target.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    even, odd = (float(part) * float(np.mean(np.diag(process.drift))) ** 2 for part in precision)
    # Where a delay is not known, signals are taken as they are.
    sd = np.where(np.isnan(delays.error), 0.0, delays.error)
    choice = Observation(
        gain=False,
        gain_evidence=float("nan"),
        delay_sd=delays.sd,
        delay_evidence=delays.evidence,
        precision=(even, odd),
        band=None,
        own=0.5,
        delay_benefit=delays.benefit,
        delay_over_var=delays.over_var,
        delays=DelayPrior(tuple(delays.mean.tolist()), tuple(sd.tolist())),
    )
    fit = SpectralFit(
        process.drift * scale / scale[:, None],
        process.diffusion * scale**2,
        delays.mean,
        float("nan"),
        float("nan"),
    )
    return build_observed(windows, choice, fit, delays.error)
