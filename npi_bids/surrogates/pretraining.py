"""Pre-training of a surrogate on a group of subjects, as a prior for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from npi_bids.errors import NoUsableDataError
from npi_bids.records import Array, Mask, RegionSeries, Windows
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.delay_map import allows_delays
from npi_bids.surrogates.families import import_function, prior_support
from npi_bids.surrogates.group_prior import (
    GroupPrior,
    SummedMoments,
    Tensors,
    fit_group_process,
    fit_group_weights,
    rescale_group_linear,
    sum_moments,
    summarise,
)
from npi_bids.surrogates.networks import NetworkSurrogate, SplitNetwork, fit_network
from npi_bids.surrogates.ou_model_selection import Choices, choose_model, make_pairs
from npi_bids.surrogates.ou_process import COMPARISON, OU, Moments, fit_ou, pool, second_moments
from npi_bids.surrogates.prior_variance import (
    SubjectWindows,
    Variances,
    estimate_variances,
    select_regions,
)
from npi_bids.surrogates.residual_networks import subtract_prediction
from npi_bids.surrogates.selection_criteria import (
    MOST_REGIONS,
    N_STRETCHES,
    NETWORKS_GAIN,
    VAR_GAIN,
)
from npi_bids.surrogates.shared_delays import (
    SharedDelays,
    align_moments,
    estimate_shared_delays,
)
from npi_bids.surrogates.windows import cut_windows, shared_regions, standardise
from npi_bids.wording import count_noun

_MAX_WINDOWS = 20_000  # of all subjects together, in equal numbers
_TEST_INTERVAL = 5  # every fifth subject is a test subject
_MAX_FOLDS = 10
_START_DRIFT = -0.7  # initial self-connection of a region
_MIN_SUBJECTS = 4  # subjects
_N_CHOOSING = 8  # subjects of each half on which prediction is measured

MakeNetwork = Callable[[int, int, int | None], SplitNetwork]


def train_group_networks(
    subjects: SubjectWindows,
    prior: GroupPrior,
    members: Mapping[str, int],
    settings: TrainSettings,
) -> dict[str, Tensors]:
    """Train networks on the residuals of the group's linear path, or on the signals themselves.

    Only subjects that cover all regions are included, as a network reads all of them.

    Parameters
    ----------
    subjects
        Yields label, windows and covered regions of each subject.
    prior
        The group's linear path.
    members
        Fold of each subject.
    settings
        Resolved settings.

    Returns
    -------
    dict
        Weights of the networks of all subjects (``all``), and without the even (``0``) and the odd
        folds (``1``); empty if only the linear path is needed, or if networks do not help and are
        not imposed.
    """
    support = prior_support(settings.surrogate)
    if not support.network or prior.delays is not None:  # networks cannot model the state
        return {}
    residual = bool(support.linear)
    if residual and settings.residual == "none":
        return {}
    parts = _pool(subjects, prior, members, residual=residual)
    if len(parts) < _TEST_INTERVAL:
        return {}
    settings = replace(settings, n_seeds=1)
    constructor: MakeNetwork = import_function(support.network)
    reference: NetworkSurrogate | None = None
    if residual:
        test = _concatenate([part for part in parts if part.owner % _TEST_INTERVAL == 0])
        train = _concatenate([part for part in parts if part.owner % _TEST_INTERVAL])
        reference, _ = fit_network(constructor, train, test, settings)
        error = float(np.mean((reference.step(test.history) - test.target) ** 2))
        is_better = error <= (1 - NETWORKS_GAIN) * float(np.mean(test.target**2))
        if not is_better and settings.residual != "networks":
            return {}
    networks: dict[str, Tensors] = {}
    for name, parities in (("all", (0, 1)), ("0", (1,)), ("1", (0,))):
        pooled = _concatenate([part for part in parts if part.fold % 2 in parities])
        network, _ = fit_network(
            constructor, pooled, pooled.take(slice(0, 0)), settings, reference
        )
        networks[name] = network.tensors()
    return networks


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Windows of one subject, with its number and its fold."""

    windows: Windows
    owner: int
    fold: int


def _concatenate(parts: Sequence[_Part]) -> Windows:
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
    n_windows = max(1, _MAX_WINDOWS // max(len(members), 1))
    for label, windows, covered in subjects():
        if not covered.all():
            continue
        standardised = standardise(windows).take(slice(0, n_windows))
        if residual:
            standardised = subtract_prediction(
                rescale_group_linear(standardised, prior), standardised
            )
        parts.append(_Part(standardised, len(parts), members[label]))
    return parts


# Yields label and runs of each subject, as often as it is called.
SubjectRuns = Callable[[], Iterator[tuple[str, Sequence[RegionSeries]]]]


@dataclass(frozen=True, slots=True, eq=False)
class Pretrained:
    """A surrogate that was pre-trained on a group.

    Attributes
    ----------
    prior
        Prior from all subjects, over all regions of the atlas.
    folds
        Moments of each fold. Where prediction is measured, a subject is left out with its fold,
        which consists of the subject alone if there are ten subjects or fewer.
    members
        Fold of each subject.
    networks
        Weights by name, trained on all subjects (``all``), and without the even (``0``) and the
        odd folds (``1``); empty if networks do not help.
    errors
        Held-out mean squared error over subjects: of the process and the VAR shrunk towards the
        other subjects, and of their process itself.
    variances
        Variance between the subjects, from which the precision and the penalty of the prior are.
    """

    prior: GroupPrior
    folds: tuple[SummedMoments, ...]
    members: dict[str, int]
    networks: dict[str, Tensors]
    errors: dict[str, float]
    variances: Variances

    def build_prior(self, subject: str) -> GroupPrior:
        """Return the prior of a subject: the group with everybody in it.

        That of a member has, for measures of prediction, the group without its fold.

        Raises
        ------
        NoUsableDataError
            If the subject is a member and no other subject remains.
        """
        prior = replace(self.prior, networks=self.networks.get("all", {}))
        fold = self.members.get(subject)
        if fold is None:
            return prior
        remaining = sum_moments(self.folds).subtract(self.folds[fold])
        networks = self.networks.get(str(fold % 2), {})
        without_subject = replace(self.prior.refit(remaining), networks=networks)
        return replace(prior, without_subject=without_subject)


def pretrain(subjects: SubjectRuns, settings: TrainSettings) -> Pretrained:
    """Train a surrogate on a group: pooled moments, the variance of deviations, and networks.

    Parameters
    ----------
    subjects
        Yields label and runs of each subject, as often as it is called; subjects are read one at a
        time.
    settings
        Family of the surrogate and training settings.

    Raises
    ------
    SettingsError
        If the surrogate cannot be pre-trained.
    NoUsableDataError
        If fewer than four subjects have usable data.
    InputDataError
        If subjects differ in regions or sampling period.
    """
    settings, support = resolve(settings), prior_support(settings.surrogate)
    n_lags = settings.n_lags or 1
    choices = _common_choices(subjects, n_lags, settings.whitening)
    labels = [label for label, *_ in _cut_subject_windows(subjects, n_lags)]
    if len(labels) < _MIN_SUBJECTS:
        raise NoUsableDataError(
            f"Usable data of {count_noun(len(labels), 'subject')}; pre-training needs at least "
            f"{_MIN_SUBJECTS}."
        )
    choices, delays = _find_delays(subjects, settings, choices)
    n_folds = min(_MAX_FOLDS, len(labels))
    members = {label: number % n_folds for number, label in enumerate(labels)}
    folds: list[SummedMoments] = []
    validation: list[tuple[int, Windows, Mask]] = []
    for label, windows, covered in _cut_subject_windows(subjects, n_lags):
        folds = folds or [SummedMoments.empty(covered.size) for _ in range(n_folds)]
        fold = members[label]
        folds[fold].add(summarise(windows, choices, delays and delays.take(covered)), covered)
        if sum(other % 2 == fold % 2 for other, *_ in validation) < _N_CHOOSING:
            validation.append((fold, windows, covered))
    total = sum_moments(folds)
    identity = np.eye(len(total.counts))
    start = GroupPrior(
        process=OU(_START_DRIFT * identity, np.ones(len(identity))),
        choices=choices,
        weights=np.exp(_START_DRIFT) * identity,
        penalty=np.inf,
        linear_is_var=support.linear == "var",
        delays=delays,
    )
    prior = start.refit(total)
    variances = estimate_variances(
        lambda: _cut_subject_windows(subjects, n_lags), prior, total, len(labels)
    )
    prior, errors = _measure_prediction(folds, validation, variances.set_prior(prior))
    if support.linear == "better" and settings.linear_part != "process" and delays is None:
        is_better = errors["var"] < (1 - VAR_GAIN) * errors["process"]
        prior = replace(prior, linear_is_var=settings.linear_part == "var" or is_better)
    networks = train_group_networks(
        lambda: _cut_subject_windows(subjects, n_lags), prior, members, settings
    )
    return Pretrained(prior, tuple(folds), members, networks, errors, variances)


def _find_delays(
    subjects: SubjectRuns, settings: TrainSettings, choices: Choices
) -> tuple[Choices, SharedDelays | None]:
    """Return the delays that the subjects share, and the choices, free of filters with them."""
    if prior_support(settings.surrogate).linear != "better" or not allows_delays(settings):
        return choices, None
    # Without lagged evidence a gain cannot be distinguished from instantaneous covariance.
    gain = False if settings.gain == "none" or choices.whitening else None
    delays = estimate_shared_delays(
        lambda: _cut_subject_windows(subjects, settings.n_lags or 1), gain=gain
    )
    return (choices if delays is None else replace(choices, whitening=(), memory=())), delays


def _cut_subject_windows(
    subjects: SubjectRuns, n_lags: int
) -> Iterator[tuple[str, Windows, Mask]]:
    """Yield windows and covered regions of each subject with usable data."""
    for label, runs in subjects():
        try:
            shared, covered = shared_regions(runs)
            yield label, cut_windows(shared, n_lags), covered
        except NoUsableDataError:
            continue


def _common_choices(subjects: SubjectRuns, n_lags: int, whitening: str) -> Choices:
    """Choose whitening and memory on the pooled windows of the first subjects.

    The prior of a group is centred on its map and has the same variance for all pairs.
    """
    histories, targets, positions = [], [], []
    shared: Mask | None = None
    subset = []
    for number, (_, windows, covered) in enumerate(_cut_subject_windows(subjects, n_lags)):
        if number == _N_CHOOSING:
            break
        shared = covered if shared is None else shared & covered
        subset.append((windows, covered))
    if shared is None or shared.sum() < 2:
        raise NoUsableDataError("No two regions are covered in all subjects to pre-train on.")
    start = 0
    for windows, covered in subset:
        shared_here = shared[covered]
        standardised = standardise(windows)
        histories.append(standardised.history[:, :, shared_here])
        targets.append(standardised.target[:, shared_here])
        positions.append(windows.position + start)
        start = int(positions[-1][-1]) + n_lags + 1  # keeps blocks within subjects
    pooled = Windows(np.concatenate(histories), np.concatenate(targets), np.concatenate(positions))
    return replace(choose_model(pooled, whitening), concentration=0.0)


def _measure_prediction(
    parts: Sequence[SummedMoments],
    validation: Sequence[tuple[int, Windows, Mask]],
    prior: GroupPrior,
) -> tuple[GroupPrior, dict[str, float]]:
    """Return the prior with its held-out error, and the errors of the linear models.

    The group consists of the other half of the subjects, so that no subject is predicted from its
    own data.
    """
    halves = [sum_moments(parts[1::2]), sum_moments(parts[0::2])]
    included = select_regions(halves[0].usable & halves[1].usable, MOST_REGIONS)
    half_moments = [half.moments(included) for half in halves]
    groups = [(fit_group_process(other), fit_group_weights(other)) for other in half_moments]
    folds = [
        _Fold(*groups[fold % 2], train, test)
        for fold, windows, covered in validation
        if covered[included].all()
        for train, test in _split_moments(windows, included[covered], prior.take(covered))
    ]
    if not folds:
        raise NoUsableDataError(
            "No test subject covers the regions that are covered in both halves of the group."
        )
    errors = {
        "process": [fold.process_error(prior.choices.precision) for fold in folds],
        "var": [fold.var_error(prior.penalty) for fold in folds],
        "group": [fold.test.error(fold.group.transition) for fold in folds],
    }
    means = {name: float(np.mean(values)) for name, values in errors.items()}
    choices = replace(prior.choices, error=means["process"], var_error=means["var"])
    return replace(prior, choices=choices), means


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    group: OU
    weights: Array
    train: Moments
    test: Moments

    def process_error(self, precision: tuple[float, float]) -> float:
        process = fit_ou(
            self.train, precision, self.group, COMPARISON, mean=self.group.drift
        )  # fmt: skip
        return self.test.error(process.transition)

    def var_error(self, penalty: float) -> float:
        n, past = self.train.n_windows, self.train.past
        change = np.linalg.solve(
            n * past + penalty * np.eye(len(past)), n * (self.train.cross - past @ self.weights)
        )
        return self.test.error(self.weights + change)


def _split_moments(
    windows: Windows, included: Mask, prior: GroupPrior
) -> Iterator[tuple[Moments, Moments]]:
    """Yield training and test moments from alternating stretches of time, both ways."""
    standardised = standardise(windows)
    inside = replace(
        standardised,
        history=standardised.history[:, :, included],
        target=standardised.target[:, included],
    )
    delays = prior.delays and prior.delays.take(included)
    bounds = np.linspace(0, len(windows), N_STRETCHES + 1).astype(int)
    parts = [
        _summarise_part(inside.take(slice(a, b)), prior.choices, delays)
        for a, b in pairwise(bounds)
    ]
    for fold in (0, 1):
        yield pool(parts[1 - fold :: 2]), pool(parts[fold::2])


def _summarise_part(
    standardised: Windows, choices: Choices, delays: SharedDelays | None
) -> Moments:
    """Return the moments of a part of z-scored windows."""
    if delays is not None:
        return align_moments(standardised, delays.mean)
    return second_moments(*make_pairs(standardised, choices))
