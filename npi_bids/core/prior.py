"""What a group knows of its members before their data are seen: empirical Bayes.

The linear path of a subject is shrunk towards the group's: the group's drift is the mean of the
prior, and how far subjects differ from it (its precision) is what predicts held-out stretches of
the group's subjects best. Networks start from those that were trained on the group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from npi_bids.core.options import check_options, option
from npi_bids.core.ou import OU, Moments, fit_ou
from npi_bids.core.records import Array, Mask, Windows
from npi_bids.core.surrogates.choices import Choices, pairs
from npi_bids.errors import InputDataError

Tensors = Mapping[str, Array]
_SAME = 1e-5  # relative difference of moments that are those of the same series


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSettings:
    """What a subject's surrogate starts from."""

    pretrained: str = option(
        "",
        "surrogate of a group from the level pretrain (its .safetensors, or the dataset that holds "
        "it): each subject is shrunk towards it, and networks are fine-tuned from it",
        metavar="PATH",
        result=False,
    )
    leave_subject_out: bool = option(
        True,
        "take a subject's own data out of the pre-trained surrogate before it is used for it",
        metavar="yes|no",
    )

    def __post_init__(self) -> None:
        check_options(self)


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
        Weights by name, empty where networks do not pay; several sets where subjects are left out.
    moments, counts
        Of all subjects together, and how many windows are behind each entry; subjects differ in
        the regions that they cover.
    left_out
        Whether the subject's own data were taken out.
    """

    process: OU
    choices: Choices
    weights: Array
    penalty: float
    linear_is_var: bool
    networks: Tensors = field(default_factory=dict)
    moments: Moments | None = None
    counts: Array | None = None
    left_out: bool = False

    def take(self, covered: Mask) -> GroupPrior:
        """Return what it says of some of the regions, the others unseen.

        The mean of the prior is that of the drift with the other regions left out, which is what
        it says of the direct influences between these.
        """
        if covered.all():
            return self
        inside = np.ix_(covered, covered)
        return replace(
            self,
            process=OU(self.process.drift[inside], self.process.diffusion[covered]),
            weights=self.weights[inside],
            networks=restrict(self.networks, covered),
            moments=None if self.moments is None else part_of(self.moments, covered),
            counts=None if self.counts is None else self.counts[inside],
        )

    def without(self, own: Moments) -> GroupPrior:
        """Return the prior without a subject's own data, exactly for the linear path.

        Parameters
        ----------
        own
            Moments of the subject, as the group's were made.

        Raises
        ------
        InputDataError
            The group has no more data than the subject.
        """
        if self.moments is None or self.counts is None or self.counts.min() <= own.n_windows:
            raise InputDataError(
                "The pre-trained surrogate holds no data but the subject's own for some regions; "
                "pre-train on other subjects, or use --leave-subject-out no."
            )
        left = self.counts - own.n_windows
        past, cross, future = (
            (getattr(self.moments, name) * self.counts - getattr(own, name) * own.n_windows) / left
            for name in ("past", "cross", "future")
        )
        rest = Moments(past, cross, future, int(left.max()))
        return replace(
            self,
            process=fit_group_process(rest, self.process),
            weights=group_weights(rest),
            moments=rest,
            counts=left,
            left_out=True,
        )


def part_of(moments: Moments, regions: Mask) -> Moments:
    """Return the moments of some of the regions."""
    inside = np.ix_(regions, regions)
    return Moments(
        moments.past[inside], moments.cross[inside], moments.future[inside], moments.n_windows
    )


# The group has so much data that its own prior hardly matters; it keeps the fit from blowing up.
_GROUP_PRECISION = (10.0, 10.0)
_GROUP_PENALTY = 1.0  # windows


def fit_group_process(moments: Moments, start: OU | None = None) -> OU:
    """Fit the process of a group to the moments of all its subjects."""
    return fit_ou(moments, _GROUP_PRECISION, start)


def group_weights(moments: Moments) -> Array:
    """Fit the VAR of a group to the moments of all its subjects."""
    n = len(moments.past)
    ridge = _GROUP_PENALTY / moments.n_windows * np.eye(n)
    weights: Array = np.linalg.solve(moments.past + ridge, moments.cross)
    return weights


def same_series(one: Moments, fingerprint: tuple[float, ...]) -> bool:
    """Tell whether moments are those that a fingerprint was taken of."""
    return bool(np.allclose(fingerprint_of(one), fingerprint, rtol=_SAME, atol=1e-9))


def fingerprint_of(moments: Moments) -> tuple[float, ...]:
    """Return a few numbers that other series would not have."""
    order = np.arange(1, len(moments.past) + 1, dtype=float)
    return (
        float(moments.n_windows),
        float(order @ moments.cross @ order / order.sum() ** 2),
        float(order @ moments.past @ order / order.sum() ** 2),
    )


def scaled_pairs(windows: Windows, choices: Choices) -> tuple[Array, Array]:
    """Return z-scored samples and what follows them, with the choices taken out."""
    mean, scale = windows.target.mean(axis=0), windows.target.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    scaled = Windows(
        (windows.history - mean) / scale, (windows.target - mean) / scale, windows.position
    )
    return pairs(scaled, choices)


def restrict(networks: Tensors, covered: Mask) -> Tensors:
    """Return networks that neither read nor predict some of the regions.

    A region that is not there is at its mean, which is 0: its weights are left out.
    """
    kept = {}
    for name, value in networks.items():
        layer = name.split(".")[-2:]
        if layer == ["first", "weight"]:
            kept[name] = value[:, np.tile(covered, value.shape[1] // covered.size)]
        elif layer[0] == "third":
            kept[name] = value[covered]
        elif layer[0] == "second":
            kept[name] = value
        else:
            raise InputDataError(
                "A pre-trained network of this kind needs all regions of the atlas covered, and "
                f"{int((~covered).sum())} are not; lower --min-coverage, or use --surrogate "
                "hybrid."
            )
    return kept
