"""The group as a prior (empirical Bayes), and a subject's fit towards it.

The linear path of a subject is shrunk towards the group's: the group's drift is the mean of the
prior, and how far subjects differ from it (its precision) is what predicts held-out stretches of
the group's subjects best. Networks start from those that were trained on the group.
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
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings
from npi_bids.surrogates.families import imported, prior_support
from npi_bids.surrogates.hybrid import Hybrid, left_over, zero_mlp
from npi_bids.surrogates.networks import NetworkSurrogate, fit_network, given_network
from npi_bids.surrogates.ou import MOU, unroll
from npi_bids.surrogates.ou_model_selection import Choices, pairs
from npi_bids.surrogates.ou_process import OU, Moments, fit_ou, second_moments
from npi_bids.surrogates.ridge import fit_ridge
from npi_bids.surrogates.selection_criteria import NETWORKS_GAIN, TRAIN_FRACTION
from npi_bids.surrogates.var import VAR
from npi_bids.surrogates.windows import split_windows

# The group has so much data that its own prior hardly matters; it keeps the fit from blowing up.
_GROUP_PRECISION = (10.0, 10.0)
_GROUP_PENALTY = 1.0  # windows

Tensors = Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Total:
    """Moments summed over subjects; each entry over those that cover both regions.

    Attributes
    ----------
    sums
        Shape (3, n_regions, n_regions): products of past with past, of past with future, of
        future with future.
    counts
        Shape (n_regions, n_regions); windows behind each entry.
    """

    sums: Array
    counts: Array

    @classmethod
    def empty(cls, n_regions: int) -> Total:
        """Return the total of nobody."""
        return cls(np.zeros((3, n_regions, n_regions)), np.zeros((n_regions, n_regions)))

    def add(self, moments: Moments, covered: Mask) -> None:
        """Add a subject, in place."""
        inside = np.ix_(covered, covered)
        parts = moments.past, moments.cross, moments.future
        for total, part in zip(self.sums, parts, strict=True):
            total[inside] += part * moments.n_windows
        self.counts[inside] += moments.n_windows

    def less(self, other: Total) -> Total:
        """Return what is left without a part."""
        return Total(self.sums - other.sums, np.maximum(self.counts - other.counts, 0))

    @property
    def seen(self) -> Mask:
        """Shape (n_regions,); regions that are known together with all others that are."""
        seen: Mask = np.diag(self.counts) > 0
        while seen.any():
            missing = (self.counts[np.ix_(seen, seen)] == 0).sum(axis=1)
            if not missing.any():
                break
            seen[np.flatnonzero(seen)[np.argmax(missing)]] = False
        return seen

    def moments(self, regions: Mask) -> Moments:
        """Return mean products of some regions."""
        inside = np.ix_(regions, regions)
        counts = self.counts[inside]
        past, cross, future = (part[inside] / counts for part in self.sums)
        return Moments(past, cross, future, int(counts.max()))


def joined(totals: Sequence[Total]) -> Total:
    """Return the total of several parts."""
    return Total(
        np.sum([total.sums for total in totals], axis=0),
        np.sum([total.counts for total in totals], axis=0),
    )


@dataclass(frozen=True, slots=True, eq=False)
class GroupPrior:
    """What a group knows of its members, in z-scored units.

    Attributes
    ----------
    process
        Drift and diffusion of the group.
    choices
        Whitening, memory and precisions that hold for every subject; the precisions are those of
        the subjects' deviations from the group.
    weights, penalty
        Of a VAR of one lag, shape (n_regions, n_regions), and the penalty of the deviations.
    linear_is_var
        Whether the VAR predicts better than the process.
    networks
        Weights by name; empty where networks do not pay.
    left_out
        Whether the subject's own data were taken out.
    """

    process: OU
    choices: Choices
    weights: Array
    penalty: float
    linear_is_var: bool
    networks: Tensors = field(default_factory=dict)
    left_out: bool = False

    def take(self, covered: Mask) -> GroupPrior:
        """Return what it says of some of the regions.

        The mean is the drift with the other regions left out: what it says of the direct
        influences between these.
        """
        if covered.all():
            return self
        inside = np.ix_(covered, covered)
        return replace(
            self,
            process=OU(self.process.drift[inside], self.process.diffusion[covered]),
            weights=self.weights[inside],
            networks=restrict(self.networks, covered),
        )

    def refitted(self, total: Total) -> GroupPrior:
        """Return the same fitted to other subjects, such as all but one's own part of them.

        Raises
        ------
        NoUsableDataError
            Nobody is left.
        """
        seen = total.seen
        if seen.sum() < 2:
            raise NoUsableDataError(
                "The pre-trained surrogate holds no data but the subject's own part of the group; "
                "pre-train on more subjects, or use --leave-subject-out no."
            )
        moments = total.moments(seen)
        inside = np.ix_(seen, seen)
        start = OU(self.process.drift[inside], self.process.diffusion[seen])
        process = fit_group_process(moments, start)
        weights = self.weights.copy()
        weights[inside] = group_weights(moments)
        drift, diffusion = self.process.drift.copy(), self.process.diffusion.copy()
        alone = np.outer(~seen, np.ones(seen.size, dtype=bool))
        off = (alone | alone.T) & ~np.eye(seen.size, dtype=bool)
        drift[off] = weights[off] = 0.0  # of regions that nobody else covers nothing is known
        drift[inside], diffusion[seen] = process.drift, process.diffusion
        return replace(self, process=OU(drift, diffusion), weights=weights)


def fit_group_process(moments: Moments, start: OU | None = None) -> OU:
    """Fit the process of a group to the moments of all its subjects."""
    return fit_ou(moments, _GROUP_PRECISION, start)


def group_weights(moments: Moments) -> Array:
    """Fit the VAR of a group to the moments of all its subjects."""
    ridge = np.eye(len(moments.past)) * (_GROUP_PENALTY / moments.n_windows)
    weights: Array = np.asarray(
        np.linalg.solve(moments.past + ridge, moments.cross), dtype=np.float64
    )
    return weights


def scaled(windows: Windows) -> Windows:
    """Return windows with every region z-scored."""
    mean, scale = windows.target.mean(axis=0), windows.target.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return Windows(
        (windows.history - mean) / scale, (windows.target - mean) / scale, windows.position
    )


def scaled_pairs(windows: Windows, choices: Choices) -> tuple[Array, Array]:
    """Return z-scored samples and what follows them, with the choices taken out."""
    return pairs(scaled(windows), choices)


def restrict(networks: Tensors, covered: Mask) -> Tensors:
    """Return networks that neither read nor predict some of the regions.

    A region that is not there is at its mean, which is 0: its weights are left out.

    Raises
    ------
    InputDataError
        The networks are of a kind that needs all regions.
    """
    kept = {}
    for name, value in networks.items():
        layer = name.split(".")[-2:]
        if layer == ["first", "weight"]:
            kept[name] = value[:, np.tile(covered, value.shape[1] // covered.size)]
        elif layer[0] == "third":
            kept[name] = value[covered]
        elif layer[0] in ("first", "second"):
            kept[name] = value
        else:
            raise InputDataError(
                "A pre-trained network of this kind needs all regions of the atlas covered, and "
                f"{int((~covered).sum())} are not; lower --min-coverage, or use --surrogate "
                "hybrid."
            )
    return kept


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
        Windows to learn from, and held-out windows (may be empty).
    settings
        Resolved.
    prior
        What the group knows, over the same regions.
    like
        A fit of the same subject whose epochs to keep.

    Raises
    ------
    SettingsError
        The surrogate was not the one that was pre-trained, or cannot be.
    """
    support = prior_support(settings.surrogate)
    if not support.linear:
        if not prior.networks:
            raise SettingsError(
                f"--pretrained holds no networks for --surrogate {settings.surrogate}; pre-train "
                "with the same --surrogate."
            )
        kind = imported(support.network)
        return fit_network(kind, train, valid, settings, like, start=prior.networks)
    if settings.var_fit == "adam" and support.linear == "var":
        raise SettingsError("--pretrained goes with --var-fit ridge, not with adam.")
    linear = shrunk_linear(train, prior)
    details = (
        ("linear_is_var", float(prior.linear_is_var)),
        ("precision_symmetric", prior.choices.precision[0]),
        ("precision_antisymmetric", prior.choices.precision[1]),
        ("prior_penalty", prior.penalty),
        ("subject_left_out", float(prior.left_out)),
    )
    log = TrainLog((linear.mse(train),), (linear.mse(valid),), details)
    if not support.network or not prior.networks:
        return linear, log
    return _with_networks(linear, (train, valid), settings, prior, like, log)


def shrunk_linear(windows: Windows, prior: GroupPrior) -> VAR:
    """Fit the linear path of a subject; the mean of its prior is the group's."""
    past, future = scaled_pairs(windows, prior.choices)
    if prior.linear_is_var:
        found = fit_ridge(past, future - past @ prior.weights, prior.penalty)
        return _var(prior.weights + found.weights, windows, prior)
    process = fit_ou(
        second_moments(past, future),
        prior.choices.precision,
        prior.process,
        mean=prior.process.drift,
    )
    return _process(process, windows, prior)


def group_linear(windows: Windows, prior: GroupPrior) -> VAR:
    """Return the linear path of the group in the units of a subject."""
    if prior.linear_is_var:
        return _var(prior.weights, windows, prior)
    return _process(prior.process, windows, prior)


def group_surrogate(windows: Windows, settings: TrainSettings, prior: GroupPrior) -> Surrogate:
    """Return the group's surrogate in the units of a subject."""
    support = prior_support(settings.surrogate)
    if not support.linear:
        return given_network(imported(support.network), windows, settings, prior.networks)
    linear = group_linear(windows, prior)
    if not support.network or not prior.networks:
        return linear
    return Hybrid(linear, _given(windows, settings, prior))


def _with_networks(
    linear: VAR,
    sides: tuple[Windows, Windows],
    settings: TrainSettings,
    prior: GroupPrior,
    like: Surrogate | None,
    log: TrainLog,
) -> tuple[Surrogate, TrainLog]:
    """Fine-tune the group's networks on what the linear path leaves; keep them where they pay."""
    train, valid = sides
    settings = replace(settings, n_seeds=1)
    if like is not None:
        if not isinstance(like, Hybrid):
            return linear, log
        left = left_over(linear, train)
        tuned, curve = fit_network(
            zero_mlp, left, left_over(linear, valid), settings, like.residual,
            start=prior.networks,
        )  # fmt: skip
        return Hybrid(linear, tuned), replace(curve, details=log.details)
    if not len(valid):
        try:
            train, valid = split_windows(train, TRAIN_FRACTION)
        except NoUsableDataError:  # nothing can show that networks pay
            return linear, log
    left, left_valid = left_over(linear, train), left_over(linear, valid)
    tuned, curve = fit_network(zero_mlp, left, left_valid, settings, start=prior.networks)
    given = _given(train, settings, prior)
    plain = float(np.mean(left_valid.target**2))
    errors = [
        float(np.mean((network.step(left_valid.history) - left_valid.target) ** 2))
        for network in (tuned, given)
    ]
    gain = 1 - min(errors) / plain
    details = (
        *log.details,
        ("residual_gain", gain),
        ("residual_networks", float(gain > NETWORKS_GAIN)),
    )
    if gain <= NETWORKS_GAIN:
        return linear, replace(log, details=details)
    best = tuned if errors[0] <= errors[1] else given
    return Hybrid(linear, best), replace(curve, details=details)


def _given(windows: Windows, settings: TrainSettings, prior: GroupPrior) -> NetworkSurrogate:
    """Return the group's networks as they are."""
    last = replace(windows, history=windows.history[:, -1:])
    return given_network(zero_mlp, last, settings, prior.networks)


def _scale(windows: Windows) -> tuple[Array, Array]:
    mean, scale = windows.target.mean(axis=0), windows.target.std(axis=0)
    return mean, np.where(scale > 0, scale, 1.0)


def _process(process: OU, windows: Windows, prior: GroupPrior) -> MOU:
    mean, scale = _scale(windows)
    choices = replace(prior.choices, n_windows=len(windows))
    weights = unroll(process.transition, choices, windows.n_lags)
    weights = weights * scale[None, None, :] / scale[None, :, None]
    offset: Array = mean - np.einsum("s,lst->t", mean, weights)
    return MOU(weights, offset, process, choices, scale)


def _var(transition: Array, windows: Windows, prior: GroupPrior) -> VAR:
    mean, scale = _scale(windows)
    weights = unroll(transition, prior.choices, windows.n_lags)
    weights = weights * scale[None, None, :] / scale[None, :, None]
    offset: Array = mean - np.einsum("s,lst->t", mean, weights)
    return VAR(weights, offset, penalty=prior.penalty)
