"""Connections between networks as small tables of numbers, in the colours of their networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np

from npi_bids.connectivity.network_measures import network_map
from npi_bids.matrices import antisymmetric, symmetric
from npi_bids.plotting import SIGNED_COLOURS
from npi_bids.records import Array, ECResult

_SMALL = 0.1  # numbers below it are written in thousandths
MOST_NETWORKS = 24  # of a table that fits beside the matrix
# Colours of Yeo et al. (2011, doi:10.1152/jn.00338.2011), by the beginnings of usual names.
_YEO = {
    "vis": "#781286", "sommot": "#4682b4", "somatomotor": "#4682b4", "dorsattn": "#00760e",
    "dorsalattention": "#00760e", "salventattn": "#c43afa", "ventattn": "#c43afa",
    "ventralattention": "#c43afa", "limbic": "#c9d98a", "cont": "#e69422",
    "frontoparietal": "#e69422", "fronto-parietal": "#e69422", "default": "#cd3e4e",
    "temppar": "#2c4a9c",
}  # fmt: skip
_OTHERS = ("#1f77b4", "#8c564b", "#17becf", "#bcbd22", "#7f7f7f", "#e377c2", "#2ca02c", "#ff7f0e",
           "#9467bd", "#393b79")  # fmt: skip
_MISSING, _DARK, _LIGHT = "#d5dae0", "#000000", "#ffffff"


def network_colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each network: Yeo's where the name is one of theirs.

    >>> network_colours(["Vis", "DefaultA", "cerebellum"])
    {'Vis': '#781286', 'DefaultA': '#cd3e4e', 'cerebellum': '#1f77b4'}
    """
    colours, n_others = {}, 0
    for name in dict.fromkeys(names):
        short = name.lower().replace(" ", "").replace("_", "")
        known = next((colour for start, colour in _YEO.items() if short.startswith(start)), "")
        if not known:
            known = _OTHERS[n_others % len(_OTHERS)]
            n_others += 1
        colours[name] = known
    return colours


@dataclass(frozen=True, slots=True)
class BlockCell:
    """One cell of a table: its number, and the colours of its background and letters."""

    text: str
    background: str
    ink: str


@dataclass(frozen=True, slots=True)
class BlockTable:
    """Numbers of all pairs of networks; rows are sources, columns are targets."""

    title: str
    caption: str
    names: tuple[str, ...]
    colours: tuple[str, ...]
    cells: tuple[tuple[BlockCell, ...], ...]


def tabulate_networks(
    ec: ECResult, networks: Sequence[str], *, directed: bool = True
) -> tuple[BlockTable, ...]:
    """Return the mean connections between networks, and what of them is directed.

    Parameters
    ----------
    ec
        Map, indexed ``[source, target]``.
    networks
        Network of each region; without networks, or with too many, there are no tables.
    directed
        Whether direction is supported; if not, there is one table of means of both directions.
    """
    means = network_map(ec, networks) if networks else None
    if means is None or not 2 <= len(means.labels) <= MOST_NETWORKS:
        return ()
    limit = float(np.nanmax(np.abs(means.matrix), initial=0.0)) or 1.0
    if not directed:
        caption = "Mean of both directions, as direction is not supported; the sign is kept."
        return (_make_table("Mean EC between networks", caption, symmetric(means.matrix),
                            means.labels, limit),)  # fmt: skip
    return (
        _make_table("Mean EC between networks",
                    "Mean of the connections from the network of the row to that of the column; "
                    "the sign is kept.", means.matrix, means.labels, limit),
        _make_table("Directed part between networks",
                    "Mean EC from row to column minus that from column to row.",
                    2 * antisymmetric(means.matrix), means.labels, limit),
    )  # fmt: skip


def _make_table(
    title: str, caption: str, matrix: Array, names: tuple[str, ...], limit: float
) -> BlockTable:
    """Return a table whose colours end at a limit."""
    # Two digits of the largest number; small numbers are written in thousandths.
    scale = 1000 if limit < _SMALL else 1
    digits = max(0, 1 - int(np.floor(np.log10(limit * scale))))
    if scale > 1:
        caption += f" Numbers are multiplied by {scale}."
    colours = network_colours(names)
    cells = tuple(
        tuple(_make_cell(float(x) * scale, limit * scale, digits) for x in row) for row in matrix
    )
    return BlockTable(title, caption, names, tuple(colours[name] for name in names), cells)


def _make_cell(value: float, limit: float, digits: int) -> BlockCell:
    if not np.isfinite(value):
        return BlockCell("n/a", _MISSING, _DARK)
    colour = mpl.colormaps[SIGNED_COLOURS](0.5 + 0.5 * value / limit)
    # Relative luminance (WCAG 2): the letters are dark or light, whichever is easier to read.
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour[:3]]
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), linear))
    text = f"{value:.{digits}f}"
    return BlockCell("0" if float(text) == 0 else text, mpl.colors.to_hex(colour),
                     _DARK if luminance > 0.179 else _LIGHT)  # fmt: skip
