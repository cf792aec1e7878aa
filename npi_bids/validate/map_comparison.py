"""Compare two maps of the same regions, against what distance and neighbourhood alone give."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import spearmanr

from npi_bids.errors import InputDataError
from npi_bids.group.motion import distances
from npi_bids.io.region_tables import Regions
from npi_bids.matrices import antisymmetric, off_diagonal, pearson, symmetric
from npi_bids.records import Array, ECResult
from npi_bids.wording import count_noun, join_words

_PAIRS_PER_BIN, _MOST_BINS = 20, 100  # of distance
_FEWEST = 3  # regions
# Parts of names that say nothing of the region.
_NOISE = {"roi", "ctx", "7networks", "17networks", "label", "h"}
_SIDES = {"lh": "l", "rh": "r", "left": "l", "right": "r"}


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two maps agree off their diagonals.

    Attributes
    ----------
    r, spearman
        Pearson's and Spearman's correlation over the entries that both have.
    r_symmetric, r_antisymmetric
        Of the parts without and with direction.
    r_transposed
        Correlation of the first map with the transposed second.
    p_distance, p_spin
        Share of the null maps that reach ``r``: pairs shuffled among pairs of equal distance, and
        regions turned on the sphere; NaN where centres are not known.
    p_direction_distance, p_direction_spin
        The same for ``r_antisymmetric``.
    n_regions, n_entries
        Shared by both.
    """

    r: float
    spearman: float
    r_symmetric: float
    r_antisymmetric: float
    r_transposed: float
    p_distance: float
    p_spin: float
    p_direction_distance: float
    p_direction_spin: float
    n_regions: int
    n_entries: int

    @property
    def orientation(self) -> str:
        """Say in words whether the two maps seem to have their rows the same way."""
        if not np.isfinite(self.r_antisymmetric):
            return "one of the maps is symmetric, so that nothing tells whether rows are sources"
        words = (
            f"r = {self.r:.3f} as given, {self.r_transposed:.3f} with the second transposed "
            f"(antisymmetric part {self.r_antisymmetric:.3f})"
        )
        if self.r_antisymmetric < -0.1:
            return (
                "the maps agree better after transposition: check whether rows are sources; "
                f"{words}"
            )
        if self.r_antisymmetric < 0.1:
            return f"the maps say the same of neither direction; {words}"
        return f"both have their rows the same way; {words}"


def match_regions(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of the regions that two lists share, by name.

    Names are the same where they are equal, or where their words are: case, order, ``_ROI``,
    ``7Networks_`` and spellings of the side do not count.

    >>> match_regions(["L_V1_ROI", "R_V1_ROI"], ["V1_R", "V1_L"])
    [(0, 1), (1, 0)]
    """
    exact = {name: place for place, name in enumerate(other)}
    loose: dict[tuple[str, ...], list[int]] = {}
    for place, name in enumerate(other):
        loose.setdefault(_words(name), []).append(place)
    pairs = []
    for place, name in enumerate(one):
        near = loose.get(_words(name), [])
        found = exact.get(name, near[0] if len(near) == 1 else None)
        if found is not None:
            pairs.append((place, found))
    used = [b for _, b in pairs]
    return [pair for pair in pairs if used.count(pair[1]) == 1]


def _words(name: str) -> tuple[str, ...]:
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    return tuple(sorted(_SIDES.get(word, word) for word in words if word not in _NOISE))


def shared_maps(one: ECResult, other: ECResult) -> tuple[Array, Array, list[str]]:
    """Return both maps over the regions that both have, in the order of the first.

    Raises
    ------
    InputDataError
        They share fewer than three.
    """
    pairs = match_regions(one.labels, other.labels)
    if len(pairs) < _FEWEST:
        raise InputDataError(
            f"The maps share {count_noun(len(pairs), 'region name')}; the first has "
            f"{join_words(one.labels, most=4)}, the second {join_words(other.labels, most=4)}. "
            "Expected maps of the same atlas."
        )
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    names = [one.labels[place] for place in a]
    return one.matrix[np.ix_(a, a)], other.matrix[np.ix_(b, b)], names


def agreement(
    one: Array,
    other: Array,
    centres: Array | None,
    rng: np.random.Generator,
    n_null: int = 1000,
) -> Agreement:
    """Compare two maps of the same regions, both indexed ``[source, target]``.

    Parameters
    ----------
    one, other
        Shape (n_regions, n_regions); NaN is left out.
    centres
        Shape (n_regions, 3) in mm, or None.
    rng
        Source of the null maps.
    n_null
        Maps of each null.
    """
    a, b = off_diagonal(one), off_diagonal(other)
    both = np.isfinite(a) & np.isfinite(b)
    nulls = {"distance": np.full(2, np.nan), "spin": np.full(2, np.nan)}
    if centres is not None and n_null:
        shuffles = {"distance": shuffle_by_distance(centres), "spin": spin(centres)}
        nulls = {
            name: _reached(one, other, shuffle, rng, n_null) for name, shuffle in shuffles.items()
        }
    return Agreement(
        r=pearson(one, other),
        spearman=float(spearmanr(a[both], b[both]).statistic),
        r_symmetric=pearson(symmetric(one), symmetric(other)),
        r_antisymmetric=pearson(antisymmetric(one), antisymmetric(other)),
        r_transposed=pearson(one, other.T),
        p_distance=float(nulls["distance"][0]),
        p_spin=float(nulls["spin"][0]),
        p_direction_distance=float(nulls["distance"][1]),
        p_direction_spin=float(nulls["spin"][1]),
        n_regions=len(one),
        n_entries=int(both.sum()),
    )


Shuffle = Callable[[Array, np.random.Generator], Array]


def _reached(
    one: Array, other: Array, shuffle: Shuffle, rng: np.random.Generator, n_null: int
) -> Array:
    """Return p of r and of that of the antisymmetric part, one-sided."""
    observed = pearson(one, other), pearson(antisymmetric(one), antisymmetric(other))
    count = np.ones(2)
    for _ in range(n_null):
        null = shuffle(other, rng)
        found = pearson(one, null), pearson(antisymmetric(one), antisymmetric(null))
        count += [x >= y for x, y in zip(found, observed, strict=True)]
    p: Array = np.where(np.isfinite(observed), count / (1 + n_null), np.nan)
    return p


def shuffle_by_distance(centres: Array) -> Shuffle:
    """Return a function that shuffles pairs of regions among pairs of similar distance.

    Both directions of a pair move together, so that the map stays as symmetric as it is.
    """
    rows, columns = np.tril_indices(len(centres), -1)
    apart = distances(centres)[rows, columns]
    n_bins = int(np.clip(apart.size // _PAIRS_PER_BIN, 1, _MOST_BINS))
    edges = np.nanquantile(apart, np.linspace(0, 1, n_bins + 1)[1:-1])
    bins = np.searchsorted(edges, apart)
    places = [np.flatnonzero(bins == number) for number in range(n_bins)]

    def shuffle(matrix: Array, rng: np.random.Generator) -> Array:
        order = np.arange(rows.size)
        for some in places:
            order[some] = rng.permutation(some)
        shuffled = matrix.copy()
        shuffled[rows, columns] = matrix[rows[order], columns[order]]
        shuffled[columns, rows] = matrix[columns[order], rows[order]]
        return shuffled

    return shuffle


def spin(centres: Array) -> Shuffle:
    """Return a function that turns the regions of both hemispheres on a sphere, mirrored.

    Each region takes the place of one that it comes to lie near, none twice (Alexander-Bloch et
    al. 2018, doi:10.1016/j.neuroimage.2018.05.070; assignment as by Vasa et al. 2018).
    """
    sides = [np.flatnonzero(side) for side in (centres[:, 0] < 0, centres[:, 0] >= 0)]
    spheres = [_on_sphere(centres[side]) for side in sides]
    mirror = np.diag([-1.0, 1.0, 1.0])

    def shuffle(matrix: Array, rng: np.random.Generator) -> Array:
        turn = _rotation(rng)
        order = np.arange(len(centres))
        for side, sphere, rotation in zip(
            sides, spheres, (turn, mirror @ turn @ mirror), strict=True
        ):
            if side.size:
                near = sphere @ (sphere @ rotation.T).T
                order[side] = side[_assign(-near)]
        turned: Array = matrix[np.ix_(order, order)]
        return turned

    return shuffle


def _assign(cost: Array) -> NDArray[np.int64]:
    columns: NDArray[np.int64] = linear_sum_assignment(cost)[1]
    return columns


def _on_sphere(points: Array) -> Array:
    centred = points - points.mean(axis=0) if len(points) else points
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    sphere: Array = centred / np.where(length > 0, length, 1.0)
    return sphere


def _rotation(rng: np.random.Generator) -> Array:
    """Return a random rotation, all alike probable."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    turned: Array = q if np.linalg.det(q) > 0 else q * np.array([1.0, 1.0, -1.0])
    return turned


def compare_external(
    one: ECResult, other: ECResult, table: Path | None, *, n_null: int, seed: int
) -> tuple[Agreement, tuple[Array, Array]]:
    """Compare two maps by the names of their regions.

    Parameters
    ----------
    one, other
        The maps.
    table
        Of the regions, with name, x, y, z; there are no nulls without.
    n_null, seed
        Maps of each null, and their seed.

    Returns
    -------
    Agreement
        Of both.
    entries
        Those off the diagonal that both have, of the first and of the second.
    """
    a, b, names = shared_maps(one, other)
    centres = None
    if table is not None:
        places = Regions(table, names).centres
        centres = places if places is not None and np.isfinite(places).all() else None
    found = agreement(a, b, centres, np.random.default_rng(seed), n_null)
    flat = off_diagonal(a), off_diagonal(b)
    both = np.isfinite(flat[0]) & np.isfinite(flat[1])
    return found, (flat[1][both], flat[0][both])
