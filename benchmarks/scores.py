"""How well a map recovers the truth."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata, spearmanr

from npi_bids.core.measures import antisymmetric, off_diagonal, pearson, symmetric
from npi_bids.core.records import Array


def score_map(estimate: Array, truth: Array) -> dict[str, float]:
    """Compare a map with a known effective connectivity."""
    pairs = np.tril_indices(len(truth), -1)
    true, found = ((m - m.T)[pairs] for m in (truth, estimate))
    strong = np.abs(true) >= np.quantile(np.abs(true), 0.5)
    a, b = off_diagonal(estimate), off_diagonal(truth)
    large = np.abs(b) >= np.quantile(np.abs(b), 0.5)
    return {
        "r": pearson(estimate, truth),
        "spearman": float(spearmanr(a, b).statistic),
        "r_sym": pearson(symmetric(estimate), symmetric(truth)),
        "r_anti": pearson(antisymmetric(estimate), antisymmetric(truth)),
        "sign": float(np.mean(np.sign(a[large]) == np.sign(b[large]))),
        "direction": float(np.mean(np.sign(true[strong]) == np.sign(found[strong]))),
    }


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


def auroc(score: Array, positive: Array) -> float:
    """Return the area under the receiver operating characteristic, ties at a half."""
    n_positive, n_negative = positive.sum(), (~positive).sum()
    ranks = rankdata(score)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def auprc(score: Array, positive: Array) -> float:
    """Return the average precision."""
    hits = positive[np.argsort(-score, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())
