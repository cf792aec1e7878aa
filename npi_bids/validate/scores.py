"""Scores of an estimate against a known effective connectivity or a known graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, spearmanr

from npi_bids.errors import (
    InputDataError,
)
from npi_bids.matrices import antisymmetric, off_diagonal, pearson, symmetric
from npi_bids.records import Array, Mask
from npi_bids.wording import count_noun

# If at least this share of a truth's entries is 0, the other entries are its edges; otherwise this
# share of the strongest entries.
_MANY_ZEROS, _STRONGEST = 0.05, 0.2


@dataclass(frozen=True, slots=True)
class Recovery:
    """Agreement of an estimate with the truth; NaN where a figure cannot be computed.

    Attributes
    ----------
    r, spearman
        Pearson's and Spearman's correlation off the diagonal.
    r_symmetric, r_antisymmetric
        Pearson's for ``(E + E') / 2`` and for ``(E - E') / 2``, the part that has a direction.
    r_transposed
        Correlation of the transposed estimate; well below ``r`` where the direction is right.
    auroc, auprc
        How well the size of an entry separates edges of the truth from other entries: area under
        the receiver operating characteristic, and average precision. Edges are the entries that
        are not 0, or the strongest fifth of them where (almost) none is.
    sign
        Share of the entries with the true sign, among the half with the largest true values.
    direction
        Share of the pairs, among the half with the largest true difference, whose stronger
        direction is the true one; 0.5 is chance.
    slope
        Slope of the least-squares line of the estimate over the truth; 1 where the scale is right.
    n_entries
        Entries off the diagonal that both have.
    """

    r: float
    spearman: float
    r_symmetric: float
    r_antisymmetric: float
    r_transposed: float
    auroc: float
    auprc: float
    sign: float
    direction: float
    slope: float
    n_entries: int


def score(estimate: Array, truth: Array) -> Recovery:
    """Compare an estimate with the truth, both indexed ``[source, target]``.

    Regions whose row and column are NaN in either (not covered) are left out of both.

    Raises
    ------
    InputDataError
        The shapes differ, or fewer than two regions remain.

    >>> truth = np.array([[0.0, 1.0, 0.0], [0.2, 0.0, -1.0], [0.1, 0.3, 0.0]])
    >>> score(truth, truth).direction, score(truth.T, truth).direction
    (1.0, 0.0)
    """
    estimate, truth = shared_regions(estimate, truth)
    rows, columns = np.tril_indices(len(truth), -1)
    true_difference, estimated_difference = (
        m[rows, columns] - m[columns, rows] for m in (truth, estimate)
    )
    a, b = off_diagonal(estimate), off_diagonal(truth)
    edges = true_edges(truth)
    return Recovery(
        r=pearson(estimate, truth),
        spearman=float(spearmanr(a, b).statistic) if a.std() > 0 < b.std() else float("nan"),
        r_symmetric=pearson(symmetric(estimate), symmetric(truth)),
        r_antisymmetric=pearson(antisymmetric(estimate), antisymmetric(truth)),
        r_transposed=pearson(estimate.T, truth),
        auroc=auroc(np.abs(a), edges),
        auprc=auprc(np.abs(a), edges),
        sign=_same_sign(a, b),
        direction=_same_sign(estimated_difference, true_difference),
        slope=float(np.polyfit(b, a, 1)[0]) if b.std() > 0 else float("nan"),
        n_entries=a.size,
    )


@dataclass(frozen=True, slots=True)
class DelayRecovery:
    """Agreement of estimated with true delays of regions, each minus its median over regions.

    Attributes
    ----------
    r
        Pearson's correlation over regions; NaN where all delays are equal.
    rmse
        Root mean square of the differences (s).
    n_regions
        Regions that have both delays; with fewer than three, the others are NaN.
    """

    r: float = float("nan")
    rmse: float = float("nan")
    n_regions: int = 0


NO_DELAYS = DelayRecovery()


def score_delays(estimate: Mapping[str, float], truth: Mapping[str, float]) -> DelayRecovery:
    """Compare estimated with true delays of regions, in seconds by the name of the region.

    A delay that all regions share has no meaning, so the median over the regions is removed from
    each. Regions without an estimate or a truth (missing, or NaN) are left out of both.

    >>> delays = {"A": 0.0, "B": 1.0, "C": 0.5}
    >>> recovery = score_delays({name: delay + 3 for name, delay in delays.items()}, delays)
    >>> round(recovery.r, 6), recovery.rmse, recovery.n_regions
    (1.0, 0.0, 3)
    """
    shared = [
        name
        for name, delay in truth.items()
        if np.isfinite([delay, estimate.get(name, np.nan)]).all()
    ]
    if len(shared) < 3:
        return DelayRecovery(n_regions=len(shared))
    a, b = (np.array([delays[name] for name in shared]) for delays in (estimate, truth))
    a, b = a - np.median(a), b - np.median(b)
    r = float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 < np.ptp(b) else float("nan")
    return DelayRecovery(r, float(np.sqrt(np.mean((a - b) ** 2))), len(shared))


def _same_sign(estimated: Array, true: Array) -> float:
    """Return how often signs agree in the larger half of true nonzero values; 0 counts half."""
    magnitude = np.abs(true)
    large = (magnitude >= np.median(magnitude)) & (magnitude > 0)
    same = np.where(estimated[large] == 0, 0.5, np.sign(estimated[large]) == np.sign(true[large]))
    return float(np.mean(same)) if large.any() else float("nan")


def shared_regions(estimate: Array, truth: Array) -> tuple[Array, Array]:
    """Return both maps without the regions that either lacks (NaN off the diagonal)."""
    if estimate.shape != truth.shape:
        raise InputDataError(
            f"The estimate has shape {estimate.shape} and the truth {truth.shape}; expected the "
            "same regions."
        )
    joint = np.isfinite(estimate) & np.isfinite(truth)
    np.fill_diagonal(joint, False)
    covered = joint.any(axis=0) & joint.any(axis=1)
    if covered.sum() < 2:
        raise InputDataError(
            f"The maps share values of only {count_noun(int(covered.sum()), 'region')}."
        )
    inside = np.ix_(covered, covered)
    return estimate[inside], truth[inside]


def true_edges(truth: Array) -> Mask:
    """Return which entries off the diagonal count as connections; flat, row by row."""
    magnitude = np.abs(off_diagonal(truth))
    if np.mean(magnitude == 0) >= _MANY_ZEROS:
        present: Mask = magnitude > 0
        return present
    strongest: Mask = magnitude >= np.quantile(magnitude, 1 - _STRONGEST)
    return strongest


def share_in_intervals(lower: Array, upper: Array, truth: Array) -> float:
    """Return the share of true entries off the diagonal that lie inside their interval."""
    inside = (lower <= truth) & (truth <= upper)
    finite = np.isfinite(lower) & np.isfinite(upper) & np.isfinite(truth)
    flat = off_diagonal(finite.astype(float)) > 0
    return float(off_diagonal(inside.astype(float))[flat].mean()) if flat.any() else float("nan")


def score_graph(estimate: Array, graph: Array) -> dict[str, float]:
    """Compare a map with a known directed graph of zeros and ones.

    An undirected edge is scored by the symmetric part of the map, a directed one by its entry;
    direction by which of the two entries of a one-way edge is the stronger.
    """
    pairs = np.triu_indices(len(graph), 1)
    strength = np.abs(estimate)
    connected = np.maximum(graph, graph.T)[pairs] > 0
    one_way = np.argwhere((graph > 0) & (graph.T == 0))
    stronger_is_true = [
        strength[s, t] > strength[t, s] for s, t in one_way if strength[s, t] != strength[t, s]
    ]
    directed = off_diagonal(strength), off_diagonal(graph) > 0
    return {
        "auroc_undirected": auroc(np.abs(symmetric(estimate))[pairs], connected),
        "auroc": auroc(*directed),
        "auprc": auprc(*directed),
        "direction": float(np.mean(stronger_is_true)) if stronger_is_true else 0.5,
    }


def auroc(strength: Array, positive: Mask) -> float:
    """Return the area under the receiver operating characteristic, with ties counted as half."""
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(strength)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def auprc(strength: Array, positive: Mask) -> float:
    """Return the average precision; NaN where there is no positive entry."""
    if not positive.any():
        return float("nan")
    hits = positive[np.argsort(-strength, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())
