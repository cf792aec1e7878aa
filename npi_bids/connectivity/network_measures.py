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

# Never negative, or never positive, whatever the map is: their mean is not 0 by chance either.
ONE_SIGNED = ("out_positive", "out_negative", "in_positive", "in_negative", "asymmetry")


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """What a map says of its regions (or networks), shape (n_regions,); NaN: not covered.

    Attributes
    ----------
    out_strength, in_strength
        Sum of what a region sends, and of what it receives.
    out_positive, out_negative, in_positive, in_negative
        The same of the positive and of the negative entries alone.
    net_flow
        Sum of absolute values sent less that received.
    asymmetry
        ``sum |E - E'| / sum (|E| + |E'|)`` over all others: 0 where both ways are alike, 1 where
        all ways are one-way.
    hierarchy
        Trophic level (MacKay, Johnson and Sansom 2020, doi:10.1098/rsos.201138) of the absolute
        map, mean 0: sources low, targets high, one step along a purely one-way chain is 1.
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


def flow_of(matrix: Array) -> Flow:
    """Return what a map says of its regions.

    Parameters
    ----------
    matrix
        Shape (n_regions, n_regions), indexed ``[source, target]``; the diagonal is left out.

    Examples
    --------
    A drives B, and B drives C:

    >>> flow = flow_of(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    >>> flow.net_flow, flow.hierarchy.round(9) + 0.0, flow.asymmetry
    (array([ 1.,  0., -1.]), array([-1.,  0.,  1.]), array([1., 1., 1.]))
    """
    off = matrix.copy()
    np.fill_diagonal(off, np.nan)
    has = np.isfinite(off)
    covered: Mask = np.logical_or(has.any(axis=1), has.any(axis=0))
    entries = np.where(has, off, 0.0)
    size = np.abs(entries)
    positive, negative = np.maximum(entries, 0), np.minimum(entries, 0)
    both = has & has.T
    apart = np.where(both, np.abs(entries - entries.T), 0.0).sum(axis=1)
    total = np.where(both, size + size.T, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        asymmetry = apart / total
    found = {
        "out_strength": entries.sum(axis=1),
        "in_strength": entries.sum(axis=0),
        "out_positive": positive.sum(axis=1),
        "out_negative": negative.sum(axis=1),
        "in_positive": positive.sum(axis=0),
        "in_negative": negative.sum(axis=0),
        "net_flow": size.sum(axis=1) - size.sum(axis=0),
        "asymmetry": asymmetry,
        "hierarchy": _trophic_levels(size, covered),
    }
    return Flow(**{name: np.where(covered, value, np.nan) for name, value in found.items()})


def _trophic_levels(size: Array, covered: Mask) -> Array:
    """Solve ``(diag(in + out) - W - W') h = in - out``; mean 0 over the covered regions."""
    # The command line reads names of this module, and must answer --help without SciPy.
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    level = np.full(len(size), np.nan)
    inside = np.flatnonzero(covered)
    if not inside.size:
        return level
    weight = size[np.ix_(inside, inside)]
    sent, received = weight.sum(axis=1), weight.sum(axis=0)
    laplacian = np.diag(sent + received) - weight - weight.T
    mean = float((sent + received).mean()) / inside.size  # lifts the constant out of the kernel
    try:
        found = cho_solve(cho_factor(laplacian + mean), received - sent)
    except LinAlgError:  # regions in parts that nothing joins: each part has a mean of 0
        found = np.linalg.lstsq(laplacian, received - sent, rcond=None)[0]
    level[inside] = found - found.mean() + 0.0
    return level


def flow_stack(maps: Array, n_regions: int) -> dict[str, Array]:
    """Return what the map of every subject says of its regions, by name.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_regions^2); read subject by subject.
    n_regions
        Of each map.

    Returns
    -------
    dict
        For each of ``FLOW_FIELDS`` an array of shape (n_subjects, n_regions).
    """
    found = {name: np.empty((len(maps), n_regions)) for name in FLOW_FIELDS}
    for row, entries in enumerate(maps):
        flow = flow_of(np.array(entries, dtype=np.float64).reshape(n_regions, n_regions))
        for name, values in asdict(flow).items():
            found[name][row] = values
    return found


def network_stack(
    maps: Array, labels: tuple[str, ...], networks: Sequence[str]
) -> tuple[Array, tuple[str, ...]]:
    """Return the map between networks of every subject, shape (n_subjects, n_networks^2)."""
    names = tuple(dict.fromkeys(networks))
    found = np.empty((len(maps), len(names) ** 2))
    for row, entries in enumerate(maps):
        square = np.array(entries, dtype=np.float64).reshape(len(labels), len(labels))
        found[row] = network_map(ECResult(square, labels), networks).matrix.ravel()
    return found, names


def network_map(result: ECResult, networks: Sequence[str]) -> ECResult:
    """Average a map over pairs of networks, regions on the diagonal left out.

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
        region; NaN where no pair of regions is covered.

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
    has = np.isfinite(off)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Array = (member @ np.where(has, off, 0.0) @ member.T) / (member @ has @ member.T)
    return ECResult(means, names)


def groupings(
    labels: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Return the ways to put regions together: each network column, and the hemispheres.

    Hemispheres are read from the names of regions (``LH_``, ``_L``, ``-lh``, ``Left``), where
    every region tells its own or none; regions that tell none are ``midline``.

    >>> groupings(["LH_Vis_1", "RH_Vis_1"], {"network": ["Vis", "Vis"]})
    {'network': ('Vis', 'Vis'), 'hemisphere': ('left', 'right')}
    """
    found = {name: tuple(map(str, values)) for name, values in columns.items()}
    sides = tuple(_side(label) for label in labels)
    if {"left", "right"} <= set(sides):
        found["hemisphere"] = sides
    return found


def _side(label: str) -> str:
    words = {word.lower() for word in label.replace("-", "_").replace(".", "_").split("_")}
    if words & {"lh", "l", "left"} or label.startswith("Left"):
        return "left"
    if words & {"rh", "r", "right"} or label.startswith("Right"):
        return "right"
    return "midline"
