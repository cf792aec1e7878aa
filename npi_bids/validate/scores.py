"""Scores of an estimate against a known effective connectivity or a known graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, spearmanr

from npi_bids.errors import (
    InputDataError,
)
from npi_bids.matrices import antisymmetric, off_diagonal, pearson, symmetric
from npi_bids.records import Array, Mask
from npi_bids.wording import count_noun

# Where most entries of a truth are 0, the others are its edges; else its strongest fifth is.
_MANY_ZEROS, _STRONGEST = 0.05, 0.2


@dataclass(frozen=True, slots=True)
class Recovery:
    """Agreement of an estimate with the truth; NaN where a figure cannot be had.

    Attributes
    ----------
    r, spearman
        Pearson's and Spearman's correlation off the diagonal.
    r_symmetric, r_antisymmetric
        Pearson's for ``(E + E') / 2`` and for ``(E - E') / 2``, the part that has a direction.
    r_transposed
        Correlation of the transposed estimate; well below ``r`` where the direction is right.
    auroc, auprc
        How well the size of an entry tells edges of the truth from the rest: area under the
        receiver operating characteristic, and average precision. Edges are the entries that are
        not 0, or the strongest fifth of them where (almost) none is.
    sign
        Share of the entries, among the half that is truly largest, with the true sign.
    direction
        Share of the pairs, among the half with the largest true difference, whose stronger
        direction is the true one; 0.5 is chance.
    slope
        Of the least-squares line of the estimate over the truth; 1 where the scale is right.
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

    Regions whose row and column are NaN in either (not covered) leave both.

    Raises
    ------
    InputDataError
        The shapes differ, or fewer than two regions are left.

    >>> truth = np.array([[0.0, 1.0, 0.0], [0.2, 0.0, -1.0], [0.1, 0.3, 0.0]])
    >>> score(truth, truth).direction, score(truth.T, truth).direction
    (1.0, 0.0)
    """
    estimate, truth = shared_regions(estimate, truth)
    rows, columns = np.tril_indices(len(truth), -1)
    true, found = (m[rows, columns] - m[columns, rows] for m in (truth, estimate))
    a, b = off_diagonal(estimate), off_diagonal(truth)
    edges = edges_of(truth)
    return Recovery(
        r=pearson(estimate, truth),
        spearman=float(spearmanr(a, b).statistic) if a.std() > 0 < b.std() else float("nan"),
        r_symmetric=pearson(symmetric(estimate), symmetric(truth)),
        r_antisymmetric=pearson(antisymmetric(estimate), antisymmetric(truth)),
        r_transposed=pearson(estimate.T, truth),
        auroc=auroc(np.abs(a), edges),
        auprc=auprc(np.abs(a), edges),
        sign=_same_sign(a, b),
        direction=_same_sign(found, true),
        slope=float(np.polyfit(b, a, 1)[0]) if b.std() > 0 else float("nan"),
        n_entries=a.size,
    )


def _same_sign(found: Array, true: Array) -> float:
    """Return how often signs agree in the larger half of what is truly not 0; 0 is half right."""
    size = np.abs(true)
    large = (size >= np.median(size)) & (size > 0)
    same = np.where(found[large] == 0, 0.5, np.sign(found[large]) == np.sign(true[large]))
    return float(np.mean(same)) if large.any() else float("nan")


def shared_regions(estimate: Array, truth: Array) -> tuple[Array, Array]:
    """Return both without the regions that either lacks (NaN off the diagonal)."""
    if estimate.shape != truth.shape:
        raise InputDataError(
            f"The estimate has shape {estimate.shape} and the truth {truth.shape}; expected the "
            "same regions."
        )
    both = np.isfinite(estimate) & np.isfinite(truth)
    np.fill_diagonal(both, False)
    covered = both.any(axis=0) & both.any(axis=1)
    if covered.sum() < 2:
        raise InputDataError(
            f"The maps share values of only {count_noun(int(covered.sum()), 'region')}."
        )
    inside = np.ix_(covered, covered)
    return estimate[inside], truth[inside]


def edges_of(truth: Array) -> Mask:
    """Return which entries off the diagonal count as connections; flat, row by row."""
    size = np.abs(off_diagonal(truth))
    if np.mean(size == 0) >= _MANY_ZEROS:
        present: Mask = size > 0
        return present
    strongest: Mask = size >= np.quantile(size, 1 - _STRONGEST)
    return strongest


def held(lower: Array, upper: Array, truth: Array) -> float:
    """Return the share of true entries off the diagonal that lie inside their interval."""
    inside = (lower <= truth) & (truth <= upper)
    known = np.isfinite(lower) & np.isfinite(upper) & np.isfinite(truth)
    flat = off_diagonal(known.astype(float)) > 0
    return float(off_diagonal(inside.astype(float))[flat].mean()) if flat.any() else float("nan")


def score_graph(estimate: Array, graph: Array) -> dict[str, float]:
    """Compare a map with a known directed graph of 0 and 1.

    An undirected edge is scored by the symmetric part of the map, a directed one by its entry;
    direction by which of the two entries of a one-way edge is the stronger.
    """
    pairs = np.triu_indices(len(graph), 1)
    strength = np.abs(estimate)
    either = np.maximum(graph, graph.T)[pairs] > 0
    one_way = np.argwhere((graph > 0) & (graph.T == 0))
    right = [
        strength[s, t] > strength[t, s] for s, t in one_way if strength[s, t] != strength[t, s]
    ]
    directed = off_diagonal(strength), off_diagonal(graph) > 0
    return {
        "auroc_undirected": auroc(np.abs(symmetric(estimate))[pairs], either),
        "auroc": auroc(*directed),
        "auprc": auprc(*directed),
        "direction": float(np.mean(right)) if right else 0.5,
    }


def auroc(size: Array, positive: Mask) -> float:
    """Return the area under the receiver operating characteristic, ties at a half."""
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(size)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def auprc(size: Array, positive: Mask) -> float:
    """Return the average precision; NaN where there is nothing to find."""
    if not positive.any():
        return float("nan")
    hits = positive[np.argsort(-size, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())
