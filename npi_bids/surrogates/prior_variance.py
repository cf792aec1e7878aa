"""Variance of a prior: that between the subjects of a group, from the halves of their scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from npi_bids.errors import NoUsableDataError
from npi_bids.records import Mask, Windows
from npi_bids.surrogates.between_subjects import SubjectMoments
from npi_bids.surrogates.fixed_precision import WEAK
from npi_bids.surrogates.group_prior import (
    GroupPrior,
    SummedMoments,
    fit_group_weights,
)
from npi_bids.surrogates.ou_model_selection import make_pairs
from npi_bids.surrogates.ou_process import OU, ROUGH, Moments, fit_ou, second_moments
from npi_bids.surrogates.selection_criteria import MOST_REGIONS
from npi_bids.surrogates.shared_delays import align_moments
from npi_bids.surrogates.windows import split_windows, standardise
from npi_bids.wording import count_noun

_MOST_SUBJECTS = 60  # evenly spaced, of more
_LEAST_SUBJECTS = 3
# A half needs so many windows per region for a fit without prior; of more regions, some are used.
_WINDOWS_PER_REGION = 3
# Keeps the fit stable where subjects are the same.
_LEAST_VARIANCE = 1e-6  # (drift per sample)^2

SubjectWindows = Callable[[], Iterator[tuple[str, Windows, Mask]]]


@dataclass(frozen=True, slots=True)
class Variances:
    """Variances between the subjects of a group, of z-scored signals.

    Attributes
    ----------
    drift
        Of an entry of the drift.
    weights
        Of a weight of a VAR.
    error
        Mean squared one-step error of the VAR of the group, which sets the scale of the penalty.
    n_subjects
        Number of subjects whose halves were compared.
    """

    drift: float
    weights: float
    error: float
    n_subjects: int

    def set_prior(self, prior: GroupPrior) -> GroupPrior:
        """Return a prior with the precision and the penalty of these variances.

        Both parts of the drift have one precision. Variances of their own, each estimated from
        half as many numbers, made maps less accurate.
        """
        precision = (_precision(self.drift),) * 2
        return replace(
            prior,
            choices=replace(prior.choices, precision=precision),
            penalty=self.error * _precision(self.weights),
        )


def _precision(variance: float) -> float:
    return 1 / max(variance, _LEAST_VARIANCE)


def select_regions(usable: Mask, most: int) -> Mask:
    """Return a mask of at most so many of the usable regions, evenly spaced."""
    regions = np.flatnonzero(usable)
    if regions.size > most:
        regions = regions[np.linspace(0, regions.size - 1, most).astype(int)]
    return np.isin(np.arange(usable.size), regions)


def estimate_variances(
    subjects: SubjectWindows, prior: GroupPrior, total: SummedMoments, n_subjects: int
) -> Variances:
    """Estimate the variances between subjects from the covariance of the halves of their scans.

    Parameters
    ----------
    subjects
        Yields label, windows and covered regions of each subject.
    prior
        Process and VAR of the group, with its choices, from which the fits of the halves start.
    total
        Moments of all subjects.
    n_subjects
        Number of subjects.

    Raises
    ------
    NoUsableDataError
        If the halves of fewer than three subjects can be compared.
    """
    n_windows = int(total.counts.max()) // n_subjects
    most = max(2, min(MOST_REGIONS, n_windows // 2 // _WINDOWS_PER_REGION))
    included = select_regions(total.usable, most)
    compared = _Comparison(int(included.sum()), prior, included)
    step = max(1, -(-n_subjects // _MOST_SUBJECTS))
    for number, (_, windows, covered) in enumerate(subjects()):
        if number % step == 0 and covered[included].all():
            compared.add(windows, included[covered])
    if compared.n_subjects < _LEAST_SUBJECTS:
        raise NoUsableDataError(
            f"The halves of the scans of {count_noun(compared.n_subjects, 'subject')} can be "
            f"compared; the differences between subjects need at least {_LEAST_SUBJECTS} that "
            "cover the same regions and have scans of twice the number of lags."
        )
    moments = total.moments(included)
    return Variances(
        compared.drifts.variance_between(),
        compared.weights.variance_between(),
        moments.error(fit_group_weights(moments)),
        compared.n_subjects,
    )


class _Comparison:
    """Fits of the halves of subjects without prior, and their covariance over subjects."""

    def __init__(self, n_regions: int, prior: GroupPrior, included: Mask) -> None:
        inside = np.ix_(included, included)
        self.start = OU(prior.process.drift[inside], prior.process.diffusion[included])
        self.choices, self.delays = prior.choices, prior.delays and prior.delays.take(included)
        self.drifts, self.weights = SubjectMoments(n_regions), SubjectMoments(n_regions)
        self.n_subjects = 0

    def add(self, windows: Windows, included: Mask) -> None:
        """Add a subject, unless its scan is too short to be split."""
        try:
            halves = split_windows(standardise(windows), 0.5)
        except NoUsableDataError:
            return
        moments = [self._summarise(half, included) for half in halves]
        first, second = (fit_ou(half, WEAK.of_drift(half.n_windows), self.start, ROUGH).drift
                         for half in moments)  # fmt: skip
        self.drifts.add(first, second)
        self.weights.add(*map(fit_group_weights, moments))
        self.n_subjects += 1

    def _summarise(self, half: Windows, included: Mask) -> Moments:
        if self.delays is not None:
            history, target = half.history[:, :, included], half.target[:, included]
            return align_moments(replace(half, history=history, target=target), self.delays.mean)
        past, future = make_pairs(half, self.choices)
        return second_moments(past[:, included], future[:, included])
