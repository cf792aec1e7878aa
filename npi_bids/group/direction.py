"""Direction of a group: the antisymmetric part of its maps, minus that of reversed time.

The antisymmetric part of a map in standard deviations is not 0 for reversible dynamics, because
hubs vary more and regions differ in measurement noise. If the dynamics of a subject are
reversible, however, half the difference to the map of the signals with time reversed is as likely
as its negative, whatever the noise of each region, so that changes of sign test it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

import numpy as np

from npi_bids.bids.sidecars import DirectionSummary
from npi_bids.group.glm import Contrast, Design, estimate
from npi_bids.group.map_stack import split_edges
from npi_bids.group.permutation import permute, varying_edges
from npi_bids.group.settings import PermuteSettings
from npi_bids.matrices import antisymmetric
from npi_bids.records import Array
from npi_bids.wording import count_noun, rounded

N_FLIPS, _SEED = 999, 0
ALPHA = 0.05  # p up to which a direction of the group, or of a pair, is significant


@dataclass(frozen=True, slots=True, eq=False)
class GroupDirection:
    """Test of the direction of a group; arrays have shape (n_edges,), both ways of each pair.

    Attributes
    ----------
    mean
        Weighted mean over subjects of half the difference of the antisymmetric parts; positive
        where the way from source to target is the stronger one.
    q, p_fwe
        q of a moderated t (NaN below eight subjects), and family-wise p by changes of sign.
    p_together
        p of the sum of squares of the mean over all pairs, by changes of sign.
    """

    mean: Array
    q: Array
    p_fwe: Array
    p_together: float

    def edge_values(self) -> dict[str, Array]:
        """Return what is written as a matrix, by the kind of its file."""
        return {
            "groupdirection": self.mean,
            "groupdirectionq": self.q,
            "groupdirectionfwe": self.p_fwe,
        }

    @property
    def summary(self) -> DirectionSummary:
        """Fields of a sidecar on the direction of the group."""
        n_pairs = np.isfinite(self.p_fwe).sum() // 2
        return DirectionSummary(
            p_together=self.p_together,
            pairs_significant=int((self.p_fwe <= ALPHA).sum()) // 2,
            pairs_tested=int(n_pairs),
            sign_changes=N_FLIPS,
            seed=_SEED,
        )


def explain_undirected(n_subjects: int, direction: DirectionSummary | None) -> str:
    """Return why direction may not be read from the mean map of a group; empty if it may.

    Parameters
    ----------
    n_subjects
        Number of subjects.
    direction
        Test of the direction; None if it was not tested.
    """
    if direction is None or not isfinite(direction.p_together):
        return "it was not tested, because not every subject has a map of reversed time"
    smallest = 0.5 ** (n_subjects - 1)  # one of the sign patterns, and its opposite
    if smallest > ALPHA:
        return (
            f"it cannot be tested with {count_noun(n_subjects, 'subject')} (smallest possible "
            f"p: {rounded(smallest)})"
        )
    if direction.p_together > ALPHA:
        return f"p = {rounded(direction.p_together)} for all pairs of regions together"
    return ""


def write_changes(forward: Iterable[Array], backward: Iterable[Array], changes: Array) -> None:
    """Write half the difference of the antisymmetric parts of each subject's two maps.

    Entries below the diagonal, which are those above it with the other sign, are NaN.

    Parameters
    ----------
    forward, backward
        Maps without prior, and those of reversed time, shape (n_regions^2,) for each subject.
    changes
        Array of shape (n_subjects, n_regions^2) that is filled.
    """
    n_regions = round(changes.shape[1] ** 0.5)
    below = np.tri(n_regions, k=-1, dtype=bool)
    for row, (of_forward, of_backward) in enumerate(zip(forward, backward, strict=True)):
        change = (np.asarray(of_forward) - np.asarray(of_backward)) / 2
        change = antisymmetric(change.reshape(n_regions, n_regions))
        change[below] = np.nan
        changes[row] = change.ravel()


def assess_direction(changes: Array, weights: Array | None = None) -> GroupDirection | None:
    """Test whether the dynamics of a group have a direction.

    Parameters
    ----------
    changes
        Shape (n_subjects, n_regions^2), from :func:`write_changes`; may be memory-mapped.
    weights
        Shape (n_subjects,); weights of the subjects in the tests of single pairs.

    Returns
    -------
    GroupDirection or None
        None for a single subject, or if no pair of regions is covered in all subjects.
    """
    n = len(changes)
    if n < 2 or not varying_edges(changes).any():
        return None
    contrast = Contrast("direction", np.ones((1, 1)))
    design = Design(np.ones((n, 1)), ("direction",), (contrast,), np.zeros(n), weights)
    fit = estimate(changes, design, contrast)
    settings = PermuteSettings(n_permutations=N_FLIPS, network_statistic="none", group_seed=_SEED)
    n_regions = round(changes.shape[1] ** 0.5)
    permuted = permute(changes, n_regions, design, contrast, settings)
    p_together = _test_together(changes, np.random.default_rng(_SEED))
    mean, q, p_fwe = (
        _mirror(values.reshape(n_regions, n_regions), sign)
        for values, sign in ((fit.effect, -1), (fit.q, 1), (permuted.p_fwe, 1))
    )
    return GroupDirection(mean, q, p_fwe, p_together)


def _mirror(above: Array, sign: int) -> Array:
    """Return a flat map whose entries below the diagonal are those above it, with a sign."""
    both: Array = np.where(np.tri(len(above), k=-1, dtype=bool), sign * above.T, above).ravel()
    return both


def _test_together(changes: Array, rng: np.random.Generator) -> float:
    """Return p of the sum of squares of the mean change over all pairs."""
    n = len(changes)
    gram = np.zeros((n, n))
    for edges in split_edges(*changes.shape):
        block = np.asarray(changes[:, edges], dtype=np.float64)
        block = block[:, np.isfinite(block).all(axis=0)]
        gram += block @ block.T
    signs = np.vstack([np.ones(n), rng.choice([-1.0, 1.0], size=(N_FLIPS, n))])
    energy = np.einsum("pi,ij,pj->p", signs, gram, signs)
    return float((energy >= energy[0] * (1 - 1e-12)).mean())
