"""Networks that directed edges make up, with a threshold and without."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from npi_bids.core.records import Array

# Exponents of extent and height, and the step of the height: Baggio et al. 2018
# (doi:10.1002/hbm.24007).
_EXTENT, _HEIGHT, _STEP = 0.4, 3.0, 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """A network of edges above the threshold.

    Attributes
    ----------
    sign
        1 or -1: of the statistic of its edges.
    edges
        Shape (n_edges, 2): source and target of each.
    size
        Number of edges.
    p
        Family-wise, of a network of that size.
    """

    sign: int
    edges: NDArray[np.int64]
    size: int
    p: float


def components(edges: NDArray[np.int64], n_regions: int) -> list[NDArray[np.int64]]:
    """Return the networks that directed edges make up, each as pairs of source and target.

    Regions belong together where edges join them, whichever way these point; the edges stay
    directed.

    Parameters
    ----------
    edges
        Flat indices of a map of ``n_regions``.

    >>> [part.tolist() for part in components(np.array([1, 3, 11]), 4)]
    [[[0, 1], [0, 3], [2, 3]]]
    """
    if not edges.size:
        return []
    pairs = np.stack(np.divmod(edges, n_regions), axis=1)
    member = _members(edges, n_regions)
    order = np.argsort(member, kind="stable")
    cuts = np.flatnonzero(np.diff(member[order])) + 1
    return [pairs[part] for part in np.split(order, cuts)]


def _members(edges: NDArray[np.int64], n_regions: int) -> NDArray[np.int64]:
    """Return the number of the network of each edge."""
    sources, targets = np.divmod(edges, n_regions)
    graph = csr_array((np.ones(edges.size), (sources, targets)), shape=(n_regions, n_regions))
    _, region = connected_components(graph, directed=True, connection="weak")
    member: NDArray[np.int64] = region[sources]
    return member


def threshold_free(statistic: Array, edges: NDArray[np.int64], n_regions: int) -> Array:
    """Return the threshold-free score of each edge (Baggio et al. 2018, doi:10.1002/hbm.24007).

    The sum over heights h below the edge's statistic of ``extent^0.4 h^3 dh``, where the extent
    is the number of edges of its network above h.

    Parameters
    ----------
    statistic
        Shape (n_edges,); what is below 0 scores 0.
    edges
        Flat indices of a map of ``n_regions``.
    """
    scores = np.zeros(statistic.size)
    height = _STEP
    inside = np.flatnonzero(statistic >= height)
    while inside.size:
        member = _members(edges[inside], n_regions)
        extent = np.bincount(member)[member]
        scores[inside] += extent**_EXTENT * height**_HEIGHT * _STEP
        height += _STEP
        inside = inside[statistic[inside] >= height]
    return scores
