"""Pre-training of one surrogate on all subjects of a group, as a prior for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from npi_bids.errors import NoUsableDataError
from npi_bids.records import Array, Mask, RegionSeries, Windows
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.families import imported, prior_support
from npi_bids.surrogates.group_prior import (
    GroupPrior,
    Tensors,
    Total,
    fit_group_process,
    group_linear,
    group_weights,
    joined,
    scaled,
    scaled_pairs,
)
from npi_bids.surrogates.hybrid import left_over
from npi_bids.surrogates.networks import NetworkSurrogate, SplitNetwork, fit_network
from npi_bids.surrogates.ou_model_selection import Choices, choose, pairs
from npi_bids.surrogates.ou_process import OU, Moments, fit_ou, pool, second_moments
from npi_bids.surrogates.selection_criteria import (
    COMPARISON_ITERATIONS,
    MOST_REGIONS,
    N_STRETCHES,
    NETWORKS_GAIN,
    PRECISIONS,
    VAR_GAIN,
)
from npi_bids.surrogates.windows import cut_windows, shared_regions
from npi_bids.wording import count_noun

_MOST_WINDOWS = 20_000  # of all subjects together; each gives as many
_CHECKED = 5  # every fifth subject checks
_MOST_FOLDS = 10
_START = -0.7  # drift of a region alone, where a fit begins
_FEWEST = 4  # subjects
_CHOOSING = 8  # subjects of each half that the choices are made on
_RATIOS = (0.3, 3.0, 10.0)  # precision of the antisymmetric over that of the symmetric part
_PENALTIES = 10 ** np.arange(5.0, -0.1, -0.5)  # of a VAR, in windows

SubjectWindows = Callable[[], Iterator[tuple[str, Windows, Mask]]]

MakeNetwork = Callable[[int, int, int | None], SplitNetwork]


def train_group_networks(
    subjects: SubjectWindows,
    prior: GroupPrior,
    members: Mapping[str, int],
    settings: TrainSettings,
) -> dict[str, Tensors]:
    """Train networks on what the group's linear path leaves, or on the signals themselves.

    Only subjects that cover all regions enter, as a network reads all of them.

    Parameters
    ----------
    subjects
        Label, windows and covered regions of each.
    prior
        The group's linear path.
    members
        Fold of each subject.
    settings
        Resolved.

    Returns
    -------
    dict
        Weights of the networks of all subjects (``all``), and without the even (``0``) and the odd
        folds (``1``); empty where the linear path is all that is wanted, or networks do not pay.
    """
    support = prior_support(settings.surrogate)
    if not support.network:
        return {}
    residual = bool(support.linear)
    parts = _pool(subjects, prior, members, residual=residual)
    if len(parts) < _CHECKED:
        return {}
    settings = replace(settings, n_seeds=1)
    kind: MakeNetwork = imported(support.network)
    known: NetworkSurrogate | None = None
    if residual:
        check = _together([part for part in parts if part.owner % _CHECKED == 0])
        learn = _together([part for part in parts if part.owner % _CHECKED])
        known, _ = fit_network(kind, learn, check, settings)
        left = float(np.mean((known.step(check.history) - check.target) ** 2))
        if left > (1 - NETWORKS_GAIN) * float(np.mean(check.target**2)):
            return {}
    found: dict[str, Tensors] = {}
    for name, kept in (("all", (0, 1)), ("0", (1,)), ("1", (0,))):
        some = _together([part for part in parts if part.fold % 2 in kept])
        network, _ = fit_network(kind, some, some.take(slice(0, 0)), settings, known)
        found[name] = network.tensors()
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Windows of one subject: its number, and its fold."""

    windows: Windows
    owner: int
    fold: int


def _together(parts: Sequence[_Part]) -> Windows:
    history = np.concatenate([part.windows.history for part in parts])
    target = np.concatenate([part.windows.target for part in parts])
    return Windows(history, target, np.arange(len(target)))


def _pool(
    subjects: SubjectWindows,
    prior: GroupPrior,
    members: Mapping[str, int],
    *,
    residual: bool,
) -> list[_Part]:
    parts: list[_Part] = []
    most = max(1, _MOST_WINDOWS // max(len(members), 1))
    for label, windows, covered in subjects():
        if not covered.all():
            continue
        some = scaled(windows).take(slice(0, most))
        if residual:
            some = left_over(group_linear(some, prior), some)
        parts.append(_Part(some, len(parts), members[label]))
    return parts


# A way to go through the subjects again and again: label and runs of each.
SubjectRuns = Callable[[], Iterator[tuple[str, Sequence[RegionSeries]]]]


@dataclass(frozen=True, slots=True, eq=False)
class Pretrained:
    """What came out of a group.

    Attributes
    ----------
    prior
        Of all subjects, over all regions of the atlas.
    folds
        Moments of each fold; a subject is left out with its fold, which is the subject alone where
        there are ten subjects or fewer.
    members
        Fold of each subject.
    networks
        Weights by name, trained on all subjects (``all``), and without the even (``0``) and the
        odd folds (``1``); empty where networks do not pay.
    errors
        Held-out mean squared error of subjects: shrunk towards the group (process, and VAR), and
        the group's process as it is.
    """

    prior: GroupPrior
    folds: tuple[Total, ...]
    members: dict[str, int]
    networks: dict[str, Tensors]
    errors: dict[str, float]

    def prior_of(self, subject: str, *, leave_out: bool) -> GroupPrior:
        """Return the prior of a subject, without its own part of the group where that is wanted.

        Raises
        ------
        NoUsableDataError
            Nobody else is left.
        """
        fold = self.members.get(subject)
        if fold is None or not leave_out:
            return replace(self.prior, networks=self.networks.get("all", {}))
        rest = joined(self.folds).less(self.folds[fold])
        networks = self.networks.get(str(fold % 2), {})
        return replace(self.prior.refitted(rest), networks=networks, left_out=True)


def pretrain(subjects: SubjectRuns, settings: TrainSettings) -> Pretrained:
    """Train one surrogate on all subjects: pooled moments, the precision of deviations, networks.

    Parameters
    ----------
    subjects
        Gives label and runs of each subject, as often as it is called; they are read one at a
        time.
    settings
        Which surrogate, and how to train it.

    Raises
    ------
    SettingsError
        The surrogate cannot be pre-trained.
    NoUsableDataError
        There are fewer than four subjects with usable data.
    InputDataError
        Subjects differ in regions or sampling period.
    """
    settings, support = resolve(settings), prior_support(settings.surrogate)
    n_lags = settings.n_lags or 1
    choices = _common_choices(subjects, n_lags, settings.whitening)
    labels = [label for label, *_ in _windows(subjects, n_lags)]
    if len(labels) < _FEWEST:
        raise NoUsableDataError(
            f"Usable data of {count_noun(len(labels), 'subject')}; pre-training needs at least "
            f"{_FEWEST}."
        )
    n_folds = min(_MOST_FOLDS, len(labels))
    members = {label: number % n_folds for number, label in enumerate(labels)}
    folds: list[Total] = []
    checked: list[tuple[int, Windows, Mask]] = []
    for label, windows, covered in _windows(subjects, n_lags):
        folds = folds or [Total.empty(covered.size) for _ in range(n_folds)]
        fold = members[label]
        folds[fold].add(second_moments(*scaled_pairs(windows, choices)), covered)
        if sum(known % 2 == fold % 2 for known, *_ in checked) < _CHOOSING:
            checked.append((fold, windows, covered))
    whole = joined(folds)
    chosen, errors = _choose_precision(folds, checked, choices)
    linear_is_var = support.linear == "var" or (
        support.linear == "better" and errors["var"] < (1 - VAR_GAIN) * errors["process"]
    )
    alone = np.eye(len(whole.counts))
    start = GroupPrior(
        process=OU(_START * alone, np.ones(len(alone))),
        choices=chosen.choices,
        weights=np.exp(_START) * alone,
        penalty=chosen.penalty,
        linear_is_var=linear_is_var,
    )
    prior = start.refitted(whole)
    networks = train_group_networks(lambda: _windows(subjects, n_lags), prior, members, settings)
    return Pretrained(prior, tuple(folds), members, networks, errors)


def _windows(subjects: SubjectRuns, n_lags: int) -> Iterator[tuple[str, Windows, Mask]]:
    """Yield windows and covered regions of each subject with usable data."""
    for label, runs in subjects():
        try:
            shared, covered = shared_regions(runs)
            yield label, cut_windows(shared, n_lags), covered
        except NoUsableDataError:
            continue


def _common_choices(subjects: SubjectRuns, n_lags: int, whitening: str) -> Choices:
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
        whole = scaled(windows)
        histories.append(whole.history[:, :, kept])
        targets.append(whole.target[:, kept])
        positions.append(windows.position + start)
        start = int(positions[-1][-1]) + n_lags + 1  # no block joins two subjects
    pooled = Windows(np.concatenate(histories), np.concatenate(targets), np.concatenate(positions))
    return choose(pooled, whitening)


@dataclass(frozen=True, slots=True)
class _Chosen:
    choices: Choices
    penalty: float


def _choose_precision(
    parts: Sequence[Total],
    checked: Sequence[tuple[int, Windows, Mask]],
    choices: Choices,
) -> tuple[_Chosen, dict[str, float]]:
    """Choose how strongly subjects are held to the group, by their held-out error.

    The group is that of the other half of the subjects, so that no subject is compared with its
    own data.
    """
    halves = [joined(parts[1::2]), joined(parts[0::2])]
    regions = np.flatnonzero(halves[0].seen & halves[1].seen)
    if regions.size > MOST_REGIONS:
        regions = regions[np.linspace(0, regions.size - 1, MOST_REGIONS).astype(int)]
    some = np.isin(np.arange(len(parts[0].counts)), regions)
    others = [half.moments(some) for half in halves]
    groups = [(fit_group_process(other), group_weights(other)) for other in others]
    folds = [
        _Fold(*groups[fold % 2], learn, check)
        for fold, windows, covered in checked
        if covered[some].all()
        for learn, check in _stretches(windows, some[covered], choices)
    ]
    if not folds:
        raise NoUsableDataError("No subject covers the regions that the others cover.")
    best, size = _least([(float(size), float(size)) for size in PRECISIONS], folds)
    for ratio in _RATIOS:
        error, precision = _least([(size[0], size[0] * ratio)], folds)
        best, size = min((best, size), (error, precision))
    errors = [np.mean([fold.var_error(penalty) for fold in folds]) for penalty in _PENALTIES]
    found = {
        "process": best,
        "var": float(min(errors)),
        "group": float(np.mean([fold.check.error(fold.group.transition) for fold in folds])),
    }
    made = replace(choices, precision=size, error=best, var_error=found["var"])
    return _Chosen(made, float(_PENALTIES[int(np.argmin(errors))])), found


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    group: OU
    weights: Array
    learn: Moments
    check: Moments

    def process_error(self, precision: tuple[float, float]) -> float:
        found = fit_ou(
            self.learn, precision, self.group, COMPARISON_ITERATIONS, mean=self.group.drift
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
    whole = scaled(windows)
    inside = Windows(whole.history[:, :, kept], whole.target[:, kept], whole.position)
    bounds = np.linspace(0, len(windows), N_STRETCHES + 1).astype(int)
    parts = [
        second_moments(*pairs(inside.take(slice(a, b)), choices)) for a, b in pairwise(bounds)
    ]
    for fold in (0, 1):
        yield pool(parts[1 - fold :: 2]), pool(parts[fold::2])
