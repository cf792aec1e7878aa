"""Train one surrogate on all subjects of a group, as a prior for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from npi_bids.core.evidence import LaggedEvidence
from npi_bids.core.ou import OU, Moments, fit_ou, pool, second_moments
from npi_bids.core.prior import (
    GroupPrior,
    fingerprint_of,
    fit_group_process,
    group_weights,
    part_of,
    scaled_pairs,
)
from npi_bids.core.records import Array, Mask, RegionSeries, Windows
from npi_bids.core.surrogate import TrainSettings
from npi_bids.core.surrogates.choices import Choices, choose, pairs
from npi_bids.core.windows import cut_windows, shared_regions
from npi_bids.errors import NoUsableDataError

_FEWEST = 4  # subjects
_CHOOSING = 8  # subjects of each half that the choices are made on
_MAX_CHOOSING_REGIONS = 64
_SIZES = 10 ** np.arange(5.0, 0.9, -0.5)  # precisions, from strong to weak
_RATIOS = (0.3, 3.0, 10.0)  # antisymmetric over symmetric
_PENALTIES = 10 ** np.arange(5.0, -0.1, -0.5)
_ITERATIONS = 40
_VAR_GAIN = 0.002
_N_PARTS = 4

# A way to go through the subjects again and again: label and runs of each.
Subjects = Callable[[], Iterator[tuple[str, Sequence[RegionSeries]]]]


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One subject of a group.

    Attributes
    ----------
    label
        Of the subject.
    fold
        0 or 1; networks of a fold were trained without its subjects.
    moments
        Over the regions that it covers.
    covered
        Shape (n_regions of the atlas,).
    """

    label: str
    fold: int
    moments: Moments
    covered: Mask

    @property
    def fingerprint(self) -> tuple[float, ...]:
        """A few numbers that tell whether series are those that were seen here."""
        return fingerprint_of(self.moments)


@dataclass(frozen=True, slots=True, eq=False)
class Pretrained:
    """What came out of a group.

    Attributes
    ----------
    prior
        Over all regions of the atlas.
    members
        Fold and fingerprint of each subject.
    seen
        Shape (n_regions,); regions that some subject covers.
    errors
        Held-out mean squared error of subjects: shrunk towards the group (process, and VAR), and
        with the group's process as it is.
    """

    prior: GroupPrior
    members: dict[str, tuple[int, tuple[float, ...]]]
    seen: Mask
    errors: dict[str, float]


def pretrain_linear(subjects: Subjects, settings: TrainSettings) -> Pretrained:
    """Train the linear path on all subjects: pooled moments, and the precision of deviations.

    Parameters
    ----------
    subjects
        Gives label and runs of each subject, as often as it is called; they are read one at a
        time.
    settings
        Resolved; ``n_lags``, ``whitening``, and which linear part is wanted.

    Raises
    ------
    NoUsableDataError
        There are fewer than four subjects with usable data.
    InputDataError
        Subjects differ in regions or sampling period.
    """
    n_lags = settings.n_lags or 1
    choices = _common_choices(subjects, n_lags, settings.whitening)
    totals = [_Total(), _Total()]
    members: dict[str, tuple[int, tuple[float, ...]]] = {}
    checked: list[tuple[int, Windows, Mask]] = []
    for number, (label, windows, covered) in enumerate(_windows(subjects, n_lags)):
        fold = number % 2
        moments = second_moments(*scaled_pairs(windows, choices))
        member = Member(label, fold, moments, covered)
        totals[fold].add(member)
        members[label] = (fold, member.fingerprint)
        if sum(known == fold for known, *_ in checked) < _CHOOSING:
            checked.append((fold, windows, covered))
    if len(members) < _FEWEST:
        raise NoUsableDataError(
            f"{len(members)} subject(s) have usable data; pre-training needs {_FEWEST} at least."
        )
    whole = totals[0].joined(totals[1])
    seen: Mask = np.diag(whole.counts) > 0
    every: Mask = (whole.counts > 0)[np.ix_(seen, seen)].all(axis=1)
    if not every.all():
        seen[np.flatnonzero(seen)[~every]] = False  # never together with some other region
    chosen, errors = _choose_precision(totals, checked, choices, seen)
    moments = part_of(whole.moments, seen)
    process = fit_group_process(moments)
    linear_is_var = settings.surrogate == "var" or (
        settings.surrogate == "hybrid" and errors["var"] < (1 - _VAR_GAIN) * errors["process"]
    )
    prior = GroupPrior(
        process=_all_regions(process, seen),
        choices=chosen.choices,
        weights=_spread(group_weights(moments), seen),
        penalty=chosen.penalty,
        linear_is_var=linear_is_var,
        moments=whole.moments,
        counts=whole.counts,
    )
    return Pretrained(prior, members, seen, errors)


class _Total:
    """Moments of all subjects so far; each entry over those that cover both regions."""

    def __init__(self) -> None:
        self.sums: Array = np.zeros((3, 0, 0))
        self.counts: Array = np.zeros((0, 0))

    def add(self, member: Member) -> None:
        n = member.covered.size
        if not self.counts.size:
            self.sums, self.counts = np.zeros((3, n, n)), np.zeros((n, n))
        inside = np.ix_(member.covered, member.covered)
        moments = member.moments
        for total, part in zip(
            self.sums, (moments.past, moments.cross, moments.future), strict=True
        ):
            total[inside] += part * moments.n_windows
        self.counts[inside] += moments.n_windows

    def joined(self, other: _Total) -> _Total:
        """Return the total of both."""
        both = _Total()
        both.sums, both.counts = self.sums + other.sums, self.counts + other.counts
        return both

    @property
    def moments(self) -> Moments:
        """Mean products; NaN where no subject covers both regions."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self.sums / self.counts
        return Moments(means[0], means[1], means[2], int(self.counts.max()))


def _windows(subjects: Subjects, n_lags: int) -> Iterator[tuple[str, Windows, Mask]]:
    """Yield windows and covered regions of each subject with usable data."""
    for label, runs in subjects():
        try:
            shared, covered = shared_regions(runs)
            yield label, cut_windows(shared, n_lags), covered
        except NoUsableDataError:
            continue


def _common_choices(subjects: Subjects, n_lags: int, whitening: str) -> Choices:
    """Choose whitening and memory on some subjects together."""
    histories, targets, positions = [], [], []
    shared: Mask | None = None
    chosen = []
    for number, (_, windows, covered) in enumerate(_windows(subjects, n_lags)):
        if number == _CHOOSING:
            break
        shared = covered if shared is None else shared & covered
        chosen.append((windows, covered))
    if shared is None or shared.sum() < 2:
        raise NoUsableDataError("No two regions are covered in all subjects to pre-train on.")
    start = 0
    for windows, covered in chosen:
        kept = shared[covered]
        mean, scale = windows.target.mean(axis=0), windows.target.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        histories.append(((windows.history - mean) / scale)[:, :, kept])
        targets.append(((windows.target - mean) / scale)[:, kept])
        positions.append(windows.position + start)
        start = int(positions[-1][-1]) + n_lags + 1  # no block joins two subjects
    pooled = Windows(np.concatenate(histories), np.concatenate(targets), np.concatenate(positions))
    return choose(pooled, whitening)


@dataclass(frozen=True, slots=True)
class _Chosen:
    choices: Choices
    penalty: float


def _choose_precision(
    totals: Sequence[_Total],
    checked: Sequence[tuple[int, Windows, Mask]],
    choices: Choices,
    seen: Mask,
) -> tuple[_Chosen, dict[str, float]]:
    """Choose how strongly subjects are held to the group, by their held-out error.

    The group is that of the other half of the subjects, so that nobody is held to himself.
    """
    regions = np.flatnonzero(seen)
    if regions.size > _MAX_CHOOSING_REGIONS:
        regions = regions[np.linspace(0, regions.size - 1, _MAX_CHOOSING_REGIONS).astype(int)]
    some = np.isin(np.arange(seen.size), regions)
    others = [part_of(total.moments, some) for total in (totals[1], totals[0])]
    folds = [
        _Fold(fit_group_process(others[fold]), group_weights(others[fold]), learn, check)
        for fold, windows, covered in checked
        if covered[some].all()
        for learn, check in _stretches(windows, some[covered], choices)
    ]
    if not folds:
        raise NoUsableDataError("No subject covers the regions that the others cover.")
    best, size = _least([(float(size), float(size)) for size in _SIZES], folds)
    for ratio in _RATIOS:
        error, precision = _least([(size[0], size[0] * ratio)], folds)
        best, size = min((best, size), (error, precision))
    errors = [np.mean([fold.var_error(penalty) for fold in folds]) for penalty in _PENALTIES]
    found = {
        "process": best,
        "var": float(min(errors)),
        "group": float(np.mean([fold.check.error(fold.group.transition) for fold in folds])),
    }
    evidence = LaggedEvidence(choices.evidence.symmetric, choices.evidence.antisymmetric)
    made = replace(choices, precision=size, evidence=evidence, error=best,
                   var_error=found["var"])  # fmt: skip
    return _Chosen(made, float(_PENALTIES[int(np.argmin(errors))])), found


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    group: OU
    weights: Array
    learn: Moments
    check: Moments

    def process_error(self, precision: tuple[float, float]) -> float:
        found = fit_ou(
            self.learn, precision, self.group, _ITERATIONS, mean=self.group.drift
        )  # fmt: skip
        return self.check.error(found.transition)

    def var_error(self, penalty: float) -> float:
        n, past = self.learn.n_windows, self.learn.past
        change = np.linalg.solve(
            n * past + penalty * np.eye(len(past)), n * (self.learn.cross - past @ self.weights)
        )
        return self.check.error(self.weights + change)


def _least(
    precisions: Sequence[tuple[float, float]], folds: Sequence[_Fold]
) -> tuple[float, tuple[float, float]]:
    """Return the least mean error; stops when two in a row are worse than the best."""
    best, chosen, worse = np.inf, precisions[0], 0
    for precision in precisions:
        error = float(np.mean([fold.process_error(precision) for fold in folds]))
        if error < best:
            best, chosen, worse = error, precision, 0
        elif (worse := worse + 1) == 2:
            break
    return best, chosen


def _stretches(
    windows: Windows, kept: Mask, choices: Choices
) -> Iterator[tuple[Moments, Moments]]:
    """Yield moments to learn from and to check on: every second stretch of time, both ways."""
    mean, scale = windows.target.mean(axis=0), windows.target.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    scaled = Windows(
        ((windows.history - mean) / scale)[:, :, kept],
        ((windows.target - mean) / scale)[:, kept],
        windows.position,
    )
    bounds = np.linspace(0, len(windows), _N_PARTS + 1).astype(int)
    parts = [
        second_moments(*pairs(scaled.take(slice(a, b)), choices)) for a, b in pairwise(bounds)
    ]
    for fold in (0, 1):
        yield pool(parts[1 - fold :: 2]), pool(parts[fold::2])


def _all_regions(process: OU, seen: Mask) -> OU:
    """Return a process of all regions; those that nobody covers are alone, like the others."""
    own = float(np.mean(np.diag(process.drift)))
    drift = own * np.eye(seen.size)
    drift[np.ix_(seen, seen)] = process.drift
    diffusion = np.full(seen.size, float(np.mean(process.diffusion)))
    diffusion[seen] = process.diffusion
    return OU(drift, diffusion)


def _spread(weights: Array, seen: Mask) -> Array:
    spread = float(np.mean(np.diag(weights))) * np.eye(seen.size)
    spread[np.ix_(seen, seen)] = weights
    return spread
