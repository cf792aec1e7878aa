"""Group priors (empirical Bayes), and fits of subjects shrunk towards them.

The linear path of a subject is shrunk towards the group's: the drift of the group, with everybody
in it, is the mean of the prior, and its precision (how little subjects deviate from it) the
inverse of the variance between subjects. A subject is left out of the group only where its
prediction is measured: shrunk towards the mean of the others, n subjects whose own weight is k
would have their deviations multiplied by (kn - 1) / (n - 1), which reverses them where k is below
1/n. Networks are initialised with those trained on the group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from npi_bids.errors import (
    InputDataError,
    NoUsableDataError,
    SettingsError,
)
from npi_bids.records import Array, Mask, Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings, check_prior
from npi_bids.surrogates.families import import_function, prior_support
from npi_bids.surrogates.hybrid import Hybrid
from npi_bids.surrogates.networks import NetworkSurrogate, build_network, fit_network
from npi_bids.surrogates.observed import ObservedOU, observation_details
from npi_bids.surrogates.ou import MOU, unroll
from npi_bids.surrogates.ou_model_selection import Choices, make_pairs
from npi_bids.surrogates.ou_process import OU, Moments, fit_ou, second_moments
from npi_bids.surrogates.residual_networks import subtract_prediction, zero_mlp
from npi_bids.surrogates.ridge import fit_ridge
from npi_bids.surrogates.selection_criteria import NETWORKS_GAIN, TRAIN_FRACTION
from npi_bids.surrogates.shared_delays import SharedDelays, align_moments, observe_process
from npi_bids.surrogates.var import VAR
from npi_bids.surrogates.windows import split_windows, standardise

# The group has so much data that its own prior hardly matters; it only keeps the fit stable.
_GROUP_PRECISION = (10.0, 10.0)
_GROUP_PENALTY = 1.0  # windows

Tensors = Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class SummedMoments:
    """Moments summed over subjects, each entry over those that cover both regions.

    Attributes
    ----------
    sums
        Shape (3, n_regions, n_regions): products of past with past, of past with future, of
        future with future.
    counts
        Shape (n_regions, n_regions); number of windows of each entry.
    """

    sums: Array
    counts: Array

    @classmethod
    def empty(cls, n_regions: int) -> SummedMoments:
        """Return the moments of no subject, all zero."""
        return cls(np.zeros((3, n_regions, n_regions)), np.zeros((n_regions, n_regions)))

    def add(self, moments: Moments, covered: Mask) -> None:
        """Add a subject, in place."""
        inside = np.ix_(covered, covered)
        parts = moments.past, moments.cross, moments.future
        for total, part in zip(self.sums, parts, strict=True):
            total[inside] += part * moments.n_windows
        self.counts[inside] += moments.n_windows

    def subtract(self, other: SummedMoments) -> SummedMoments:
        """Return the moments without those of another part."""
        return SummedMoments(self.sums - other.sums, np.maximum(self.counts - other.counts, 0))

    @property
    def usable(self) -> Mask:
        """Mask of regions of which every pair has data, shape (n_regions,)."""
        usable: Mask = np.diag(self.counts) > 0
        while usable.any():
            missing = (self.counts[np.ix_(usable, usable)] == 0).sum(axis=1)
            if not missing.any():
                break
            usable[np.flatnonzero(usable)[np.argmax(missing)]] = False
        return usable

    def moments(self, regions: Mask) -> Moments:
        """Return the mean products of the selected regions."""
        inside = np.ix_(regions, regions)
        counts = self.counts[inside]
        past, cross, future = (part[inside] / counts for part in self.sums)
        return Moments(past, cross, future, int(counts.max()))


def sum_moments(totals: Sequence[SummedMoments]) -> SummedMoments:
    """Return the sum of several parts."""
    return SummedMoments(
        np.sum([total.sums for total in totals], axis=0),
        np.sum([total.counts for total in totals], axis=0),
    )


@dataclass(frozen=True, slots=True, eq=False)
class GroupPrior:
    """Prior from a group for its members, in z-scored units.

    Attributes
    ----------
    process
        Drift and diffusion of the group.
    choices
        Whitening, memory and precisions that hold for every subject; the precisions are those of
        the subjects' deviations from the group.
    weights, penalty
        Weights of a VAR of one lag, shape (n_regions, n_regions), and the penalty of deviations.
    linear_is_var
        Whether the VAR predicts better than the process.
    networks
        Weights by name; empty if networks do not improve the prediction.
    delays
        Delays of regions that the subjects share; None if there are none. The process is then that
        of the signals without them.
    without_subject
        The same without the subject's own data, by which its prediction is measured; None for a
        subject that is not a member of the group.
    """

    process: OU
    choices: Choices
    weights: Array
    penalty: float
    linear_is_var: bool
    networks: Tensors = field(default_factory=dict)
    delays: SharedDelays | None = None
    without_subject: GroupPrior | None = None

    @property
    def for_prediction(self) -> GroupPrior:
        """The prior that knows nothing of the subject."""
        return self.without_subject or self

    def take(self, covered: Mask) -> GroupPrior:
        """Restrict the prior to the covered regions.

        The mean is the drift without the other regions: that of the direct influences between the
        covered ones.
        """
        if covered.all():
            return self
        inside = np.ix_(covered, covered)
        return replace(
            self,
            process=OU(self.process.drift[inside], self.process.diffusion[covered]),
            weights=self.weights[inside],
            networks=restrict(self.networks, covered),
            delays=self.delays and self.delays.take(covered),
            without_subject=self.without_subject and self.without_subject.take(covered),
        )

    def refit(self, total: SummedMoments) -> GroupPrior:
        """Refit the prior to other moments, such as those without a subject's own part.

        Raises
        ------
        NoUsableDataError
            If no subject remains.
        """
        usable = total.usable
        if usable.sum() < 2:
            raise NoUsableDataError(
                "The pre-trained surrogate contains only the subject's own part of the group, "
                "without which nothing predicts it; pre-train on more subjects."
            )
        moments = total.moments(usable)
        inside = np.ix_(usable, usable)
        start = OU(self.process.drift[inside], self.process.diffusion[usable])
        process = fit_group_process(moments, start)
        weights = self.weights.copy()
        weights[inside] = fit_group_weights(moments)
        drift, diffusion = self.process.drift.copy(), self.process.diffusion.copy()
        unusable_rows = np.outer(~usable, np.ones(usable.size, dtype=bool))
        without_data = (unusable_rows | unusable_rows.T) & ~np.eye(usable.size, dtype=bool)
        # Nothing is known about regions that no other subject covers.
        drift[without_data] = weights[without_data] = 0.0
        drift[inside], diffusion[usable] = process.drift, process.diffusion
        return replace(self, process=OU(drift, diffusion), weights=weights)


def fit_group_process(moments: Moments, start: OU | None = None) -> OU:
    """Fit the process of a group to the moments of all its subjects."""
    return fit_ou(moments, _GROUP_PRECISION, start)


def fit_group_weights(moments: Moments) -> Array:
    """Fit the VAR of a group to the moments of all its subjects."""
    ridge = np.eye(len(moments.past)) * (_GROUP_PENALTY / moments.n_windows)
    weights: Array = np.asarray(
        np.linalg.solve(moments.past + ridge, moments.cross), dtype=np.float64
    )
    return weights


def summarise(windows: Windows, choices: Choices, delays: SharedDelays | None) -> Moments:
    """Return the moments of z-scored samples, without delays or whitening and memory terms."""
    if delays is not None:
        return align_moments(standardise(windows), delays.mean)
    return second_moments(*make_standardised_pairs(windows, choices))


def make_standardised_pairs(windows: Windows, choices: Choices) -> tuple[Array, Array]:
    """Return z-scored samples and the next ones, after removal of whitening or memory terms."""
    return make_pairs(standardise(windows), choices)


def restrict(networks: Tensors, covered: Mask) -> Tensors:
    """Restrict networks to the covered regions.

    A missing region is at its mean of 0, so that its weights can be dropped.

    Raises
    ------
    InputDataError
        If the networks are of a type that needs all regions.
    """
    restricted = {}
    for name, value in networks.items():
        layer = name.split(".")[-2:]
        if layer == ["first", "weight"]:
            restricted[name] = value[:, np.tile(covered, value.shape[1] // covered.size)]
        elif layer[0] == "third":
            restricted[name] = value[covered]
        elif layer[0] in ("first", "second"):
            restricted[name] = value
        else:
            raise InputDataError(
                "A pre-trained network of this type needs all regions of the atlas covered, and "
                f"{int((~covered).sum())} are not; lower --min-coverage, or use --surrogate "
                "hybrid."
            )
    return restricted


def fit_shrunk(
    train: Windows,
    valid: Windows,
    settings: TrainSettings,
    prior: GroupPrior,
    like: Surrogate | None = None,
) -> tuple[Surrogate, TrainLog]:
    """Fit a subject's surrogate with its group as the prior.

    Parameters
    ----------
    train, valid
        Training windows and held-out windows (may be empty).
    settings
        Resolved settings.
    prior
        Prior from the group, over the same regions.
    like
        A fit of the same subject whose number of epochs is kept.

    Raises
    ------
    SettingsError
        If the surrogate is not the one that was pre-trained, or cannot be pre-trained.
    """
    check_prior(settings)
    support = prior_support(settings.surrogate)
    if not support.linear:
        if not prior.networks:
            raise SettingsError(
                f"--pretrained holds no networks for --surrogate {settings.surrogate}; pre-train "
                "with the same --surrogate."
            )
        constructor = import_function(support.network)
        return fit_network(constructor, train, valid, settings, like, start=prior.networks)
    if settings.var_fit == "adam" and support.linear == "var":
        raise SettingsError("--pretrained requires --var-fit ridge, not adam.")
    linear = fit_shrunk_linear(train, prior)
    details = (
        *_describe_observation(linear, train.tr),
        ("linear_is_var", float(prior.linear_is_var)),
        ("precision_symmetric", prior.choices.precision[0]),
        ("precision_antisymmetric", prior.choices.precision[1]),
        ("prior_penalty", prior.penalty),
    )
    log = TrainLog((linear.mse(train),), (linear.mse(valid),), details)
    if not support.network or not prior.networks or settings.residual == "none":
        return linear, log
    return _add_networks(linear, (train, valid), settings, prior, like, log)


def _describe_observation(linear: VAR, tr: float) -> tuple[tuple[str, float], ...]:
    return observation_details(linear.observation, tr) if isinstance(linear, ObservedOU) else ()


def fit_shrunk_linear(windows: Windows, prior: GroupPrior) -> VAR:
    """Fit the linear path of a subject; the mean of its prior is the group's."""
    if prior.linear_is_var:
        past, future = make_standardised_pairs(windows, prior.choices)
        deviation = fit_ridge(past, future - past @ prior.weights, prior.penalty)
        return _rescale_var(prior.weights + deviation.weights, windows, prior)
    process = fit_ou(
        summarise(windows, prior.choices, prior.delays),
        prior.choices.precision,
        prior.process,
        mean=prior.process.drift,
    )
    return _rescale_process(process, windows, prior)


def rescale_group_linear(windows: Windows, prior: GroupPrior) -> VAR:
    """Return the linear path of the group in the units of a subject."""
    if prior.linear_is_var:
        return _rescale_var(prior.weights, windows, prior)
    return _rescale_process(prior.process, windows, prior)


def group_surrogate(windows: Windows, settings: TrainSettings, prior: GroupPrior) -> Surrogate:
    """Return the group's surrogate in the units of a subject."""
    support = prior_support(settings.surrogate)
    if not support.linear:
        return build_network(import_function(support.network), windows, settings, prior.networks)
    linear = rescale_group_linear(windows, prior)
    if not support.network or not prior.networks:
        return linear
    return Hybrid(linear, _build_group_network(windows, settings, prior))


def _add_networks(
    linear: VAR,
    sides: tuple[Windows, Windows],
    settings: TrainSettings,
    prior: GroupPrior,
    like: Surrogate | None,
    log: TrainLog,
) -> tuple[Surrogate, TrainLog]:
    """Fine-tune the group's networks on residuals of the linear path; keep them if they help.

    With ``--residual networks`` they are kept whatever they gain.
    """
    train, valid = sides
    settings = replace(settings, n_seeds=1)
    if like is not None:
        if not isinstance(like, Hybrid):
            return linear, log
        residual_train = subtract_prediction(linear, train)
        tuned, curve = fit_network(
            zero_mlp, residual_train, subtract_prediction(linear, valid), settings, like.residual,
            start=prior.networks,
        )  # fmt: skip
        return Hybrid(linear, tuned), replace(curve, details=log.details)
    if not len(valid):
        try:
            train, valid = split_windows(train, TRAIN_FRACTION)
        except NoUsableDataError:  # no window can be held out to evaluate networks
            return linear, log
    residual_train, residual_valid = (
        subtract_prediction(linear, train),
        subtract_prediction(linear, valid),
    )
    tuned, curve = fit_network(
        zero_mlp, residual_train, residual_valid, settings, start=prior.networks
    )
    group_network = _build_group_network(train, settings, prior)
    baseline = float(np.mean(residual_valid.target**2))
    errors = [
        float(np.mean((network.step(residual_valid.history) - residual_valid.target) ** 2))
        for network in (tuned, group_network)
    ]
    gain = 1 - min(errors) / baseline
    details = (
        *log.details,
        ("residual_gain", gain),
        (
            "residual_networks",
            float(kept := gain > NETWORKS_GAIN or settings.residual == "networks"),
        ),
    )
    if not kept:
        return linear, replace(log, details=details)
    best = tuned if errors[0] <= errors[1] else group_network
    return Hybrid(linear, best), replace(curve, details=details)


def _build_group_network(
    windows: Windows, settings: TrainSettings, prior: GroupPrior
) -> NetworkSurrogate:
    """Build the network of the group without fine-tuning."""
    last = replace(windows, history=windows.history[:, -1:])
    return build_network(zero_mlp, last, settings, prior.networks)


def _region_scale(windows: Windows) -> tuple[Array, Array]:
    mean, scale = windows.target.mean(axis=0), windows.target.std(axis=0)
    return mean, np.where(scale > 0, scale, 1.0)


def _rescale_process(process: OU, windows: Windows, prior: GroupPrior) -> VAR:
    if prior.delays is not None:
        return observe_process(process, windows, prior.delays, prior.choices.precision)
    mean, scale = _region_scale(windows)
    choices = replace(prior.choices, n_windows=len(windows))
    weights = unroll(process.transition, choices, windows.n_lags)
    weights = weights * scale[None, None, :] / scale[None, :, None]
    offset: Array = mean - np.einsum("s,lst->t", mean, weights)
    return MOU(weights, offset, process, choices, scale, around_group=True)


def _rescale_var(transition: Array, windows: Windows, prior: GroupPrior) -> VAR:
    mean, scale = _region_scale(windows)
    weights = unroll(transition, prior.choices, windows.n_lags)
    weights = weights * scale[None, None, :] / scale[None, :, None]
    offset: Array = mean - np.einsum("s,lst->t", mean, weights)
    return VAR(weights, offset, penalty=prior.penalty)
