"""Train networks on all subjects of a group, where they predict better than the linear path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from npi_bids.core.prior import GroupPrior, Tensors, scaled
from npi_bids.core.records import Mask, Windows
from npi_bids.core.surrogate import TrainSettings
from npi_bids.core.surrogates.hybrid import left_over, zero_mlp
from npi_bids.core.surrogates.network import NetworkSurrogate, SplitNetwork, fit_network
from npi_bids.core.surrogates.shrunk import NETWORKS, group_linear

_MOST_WINDOWS = 20_000  # of all subjects together; each gives as many
_GAIN = 0.005
_CHECKED = 5  # every fifth subject checks

Subjects = Callable[[], Iterator[tuple[str, Windows, Mask]]]
MakeNetwork = Callable[[int, int, int | None], SplitNetwork]


def train_group_networks(
    subjects: Subjects,
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
    if settings.surrogate not in ("hybrid", *NETWORKS):
        return {}
    parts = _pool(subjects, prior, members, settings)
    residual = settings.surrogate == "hybrid"
    if len(parts) < _CHECKED:
        return {}
    settings = replace(settings, n_seeds=1)
    kind: MakeNetwork = zero_mlp if residual else NETWORKS[settings.surrogate]
    known: NetworkSurrogate | None = None
    if residual:
        check = _together([part for part in parts if part.owner % _CHECKED == 0])
        learn = _together([part for part in parts if part.owner % _CHECKED])
        known, _ = fit_network(kind, learn, check, settings)
        left = float(np.mean((known.step(check.history) - check.target) ** 2))
        if left > (1 - _GAIN) * float(np.mean(check.target**2)):
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
    subjects: Subjects, prior: GroupPrior, members: Mapping[str, int], settings: TrainSettings
) -> list[_Part]:
    parts: list[_Part] = []
    most = max(1, _MOST_WINDOWS // max(len(members), 1))
    for label, windows, covered in subjects():
        if not covered.all():
            continue
        some = scaled(windows).take(slice(0, most))
        if settings.surrogate == "hybrid":
            some = left_over(group_linear(some, prior), some)
        parts.append(_Part(some, len(parts), members[label]))
    return parts
