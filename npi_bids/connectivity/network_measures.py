"""Network measures of directed maps: strength, net flow, asymmetry and hierarchy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from npi_bids.records import (
    Array,
    ECResult,
    Mask,
)

# Never negative or never positive for any map, so that their mean is not 0 under chance either.
ONE_SIGNED = ("out_positive", "out_negative", "in_positive", "in_negative", "asymmetry")
# Measures of the absolute size of connections, which errors alone make differ from 0: those of a
# source and of a target are not equally large.
OF_MAGNITUDE = (*ONE_SIGNED, "net_flow", "hierarchy")


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Measures of the regions (or networks) of a map, shape (n_regions,); NaN: not covered.

    Attributes
    ----------
    out_strength, in_strength
        Sums of the outgoing and of the incoming connections of a region.
    out_positive, out_negative, in_positive, in_negative
        The same for only the positive and only the negative entries.
    net_flow
        Sum of absolute outgoing minus that of absolute incoming connections.
    asymmetry
        ``sum |E - E'| / sum (|E| + |E'|)`` over all other regions: 0 if both directions are equal,
        1 if all connections are unidirectional.
    hierarchy
        Trophic level (MacKay, Johnson and Sansom 2020, doi:10.1098/rsos.201138) of the absolute
        map, with mean 0: low for sources, high for targets; one step along a unidirectional chain
        is 1.
    """

    out_strength: Array
    in_strength: Array
    out_positive: Array
    out_negative: Array
    in_positive: Array
    in_negative: Array
    net_flow: Array
    asymmetry: Array
    hierarchy: Array


FLOW_FIELDS = tuple(field.name for field in fields(Flow))


def compute_flow(matrix: Array) -> Flow:
    """Compute the measures of the regions of a map.

    Parameters
    ----------
    matrix
        Shape (n_regions, n_regions), indexed ``[source, target]``; the diagonal is ignored.

    Examples
    --------
    A drives B, and B drives C:

    >>> flow = compute_flow(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    >>> flow.net_flow, flow.hierarchy.round(9) + 0.0, flow.asymmetry
    (array([ 1.,  0., -1.]), array([-1.,  0.,  1.]), array([1., 1., 1.]))
    """
    off = matrix.copy()
    np.fill_diagonal(off, np.nan)
    finite = np.isfinite(off)
    covered: Mask = np.logical_or(finite.any(axis=1), finite.any(axis=0))
    entries = np.where(finite, off, 0.0)
    magnitude = np.abs(entries)
    positive, negative = np.maximum(entries, 0), np.minimum(entries, 0)
    differences, totals = entries - entries.T, magnitude + magnitude.T
    np.abs(differences, out=differences)
    if not _is_complete(finite):  # otherwise the diagonal, which is 0, is all that is missing
        one_way = ~(finite & finite.T)
        differences[one_way] = totals[one_way] = 0.0
    difference, total = differences.sum(axis=1), totals.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        asymmetry = difference / total
    measures = {
        "out_strength": entries.sum(axis=1),
        "in_strength": entries.sum(axis=0),
        "out_positive": positive.sum(axis=1),
        "out_negative": negative.sum(axis=1),
        "in_positive": positive.sum(axis=0),
        "in_negative": negative.sum(axis=0),
        "net_flow": magnitude.sum(axis=1) - magnitude.sum(axis=0),
        "asymmetry": asymmetry,
        "hierarchy": _trophic_levels(magnitude, covered),
    }
    return Flow(**{name: np.where(covered, value, np.nan) for name, value in measures.items()})


def _trophic_levels(magnitude: Array, covered: Mask) -> Array:
    """Solve ``(diag(in + out) - W - W') h = in - out``; mean 0 over the covered regions."""
    # The command line reads names of this module, and must answer --help without SciPy.
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    level = np.full(len(magnitude), np.nan)
    indices = np.flatnonzero(covered)
    if not indices.size:
        return level
    weight = magnitude if covered.all() else magnitude[np.ix_(indices, indices)]
    sent, received = weight.sum(axis=1), weight.sum(axis=0)
    laplacian = np.diag(sent + received)
    laplacian -= weight
    laplacian -= weight.T
    # The mean makes the matrix regular, as the constant vector is in its kernel.
    mean = float((sent + received).mean()) / indices.size
    try:
        regular = (laplacian + mean).T  # which is symmetric, in the order that LAPACK wants
        factor = cho_factor(regular, overwrite_a=True, check_finite=False)
        solution = cho_solve(factor, received - sent, check_finite=False)
    except LinAlgError:  # unconnected components: each has a mean of 0
        solution = np.linalg.lstsq(laplacian, received - sent, rcond=None)[0]
    level[indices] = solution - solution.mean() + 0.0
    return level


def flow_stack(maps: Array, n_regions: int) -> dict[str, Array]:
    """Compute the measures of the regions of every subject's map, by name.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_regions^2); read subject by subject.
    n_regions
        Number of regions of each map.

    Returns
    -------
    dict
        For each of ``FLOW_FIELDS`` an array of shape (n_subjects, n_regions).
    """
    stack = {name: np.empty((len(maps), n_regions)) for name in FLOW_FIELDS}
    for row, entries in enumerate(maps):
        flow = compute_flow(np.array(entries, dtype=np.float64).reshape(n_regions, n_regions))
        for name, values in asdict(flow).items():
            stack[name][row] = values
    return stack


def network_stack(
    maps: Array, labels: tuple[str, ...], networks: Sequence[str]
) -> tuple[Array, tuple[str, ...]]:
    """Return the map between networks of every subject, shape (n_subjects, n_networks^2)."""
    names = tuple(dict.fromkeys(networks))
    stack = np.empty((len(maps), len(names) ** 2))
    for row, entries in enumerate(maps):
        square = np.array(entries, dtype=np.float64).reshape(len(labels), len(labels))
        stack[row] = network_map(ECResult(square, labels), networks).matrix.ravel()
    return stack, names


def network_map(result: ECResult, networks: Sequence[str]) -> ECResult:
    """Average a map over pairs of networks, excluding its diagonal.

    Parameters
    ----------
    result
        The map.
    networks
        Network of each region.

    Returns
    -------
    ECResult
        Indexed ``[source network, target network]``, networks in the order of their first
        region; NaN if no pair of regions is covered.

    Examples
    --------
    >>> matrix = np.array([[0.0, 1.0, 4.0], [3.0, 0.0, 6.0], [0.0, 2.0, 0.0]])
    >>> network_map(ECResult(matrix, ("A", "B", "C")), ("x", "x", "y")).matrix
    array([[ 2.,  5.],
           [ 1., nan]])
    """
    names = tuple(dict.fromkeys(networks))
    member = np.array([[network == name for network in networks] for name in names], dtype=float)
    off = result.matrix.copy()
    np.fill_diagonal(off, np.nan)
    finite = np.isfinite(off)
    if _is_complete(finite):
        sizes = member.sum(axis=1)
        n_pairs = np.outer(sizes, sizes) - np.diag(sizes)
    else:
        n_pairs = member @ finite @ member.T
    off[~finite] = 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Array = (member @ off @ member.T) / n_pairs
    return ECResult(means, names)


def _is_complete(finite: Mask) -> bool:
    """Tell whether all entries but those of the diagonal are finite."""
    return int(finite.sum()) == finite.size - len(finite)


def groupings(
    labels: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Return the groupings of regions: each network column, and the hemispheres.

    Hemispheres are inferred from the names of regions (``LH_``, ``_L``, ``-lh``, ``Left``);
    regions without such a part are ``midline``.

    >>> groupings(["LH_Vis_1", "RH_Vis_1"], {"network": ["Vis", "Vis"]})
    {'network': ('Vis', 'Vis'), 'hemisphere': ('left', 'right')}
    """
    by_name = {name: tuple(map(str, values)) for name, values in columns.items()}
    sides = tuple(_find_hemisphere(label) for label in labels)
    if {"left", "right"} <= set(sides):
        by_name["hemisphere"] = sides
    return by_name


def _find_hemisphere(label: str) -> str:
    parts = {part.lower() for part in label.replace("-", "_").replace(".", "_").split("_")}
    if parts & {"lh", "l", "left"} or label.startswith("Left"):
        return "left"
    if parts & {"rh", "r", "right"} or label.startswith("Right"):
        return "right"
    return "midline"
