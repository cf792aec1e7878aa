"""Comparison of two maps of the same regions, with null models of distance and rotation."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
from npi_bids.validate.orientation import ORIENTATION_P, Shuffle, orientation_p
from npi_bids.wording import count_noun, join_items

_PAIRS_PER_BIN, _MOST_BINS = 20, 100  # of distance
_FEWEST = 3  # regions
# Parts of names that do not identify a region.
_UNINFORMATIVE = {"roi", "ctx", "7networks", "17networks", "label", "h"}
_SIDES = {"lh": "l", "rh": "r", "left": "l", "right": "r"}


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two maps agree off their diagonals.

    Attributes
    ----------
    r, spearman
        Pearson's and Spearman's correlation over the entries that both have.
    r_symmetric, r_antisymmetric
        Pearson's correlation of the symmetric and of the antisymmetric parts.
    r_transposed
        Correlation of the first map with the transposed second.
    p_distance, p_spin
        Share of the null maps that reach ``r``: pairs shuffled among pairs of equal distance, and
        regions rotated on the sphere; NaN where centres are not known.
    p_direction_distance, p_direction_spin
        The same for ``r_antisymmetric``.
    p_orientation
        Two-sided p of ``r_antisymmetric`` (:func:`npi_bids.validate.orientation.orientation_p`);
        NaN without null maps, or if a map is symmetric.
    n_regions, n_entries
        Number of regions and of entries that both have.
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
    p_orientation: float
    n_regions: int
    n_entries: int

    @property
    def orientation(self) -> str:
        """Statement on whether the rows of the two maps have the same orientation.

        It says which only where the agreement on direction is significant.
        """
        if not np.isfinite(self.r_antisymmetric):
            return (
                "one of the maps is symmetric, so that it cannot be told whether rows are sources"
            )
        figures = (
            f"r = {self.r:.3f} as given, {self.r_transposed:.3f} with the second transposed "
            f"(antisymmetric part {self.r_antisymmetric:.3f}, p = {self.p_orientation:.2g})"
        )
        if not np.isfinite(self.p_orientation):
            return (
                "it cannot be told whether rows are sources in both, as no null maps were drawn "
                f"(--n-null); {figures}"
            )
        if self.p_orientation > ORIENTATION_P:
            return (
                "it cannot be told whether rows are sources in both: the directions of the maps "
                f"agree no more than by chance; {figures}"
            )
        if self.r_antisymmetric < 0:
            return (
                "the maps agree better after transposition: check whether rows are sources; "
                f"{figures}"
            )
        return f"the rows of both have the same orientation; {figures}"


def match_regions(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Return the indices of the regions that two lists share, by name.

    Names match if they are equal, or if their words are: case, order, ``_ROI``, ``7Networks_`` and
    spellings of the side are ignored.

    >>> match_regions(["L_V1_ROI", "R_V1_ROI"], ["V1_R", "V1_L"])
    [(0, 1), (1, 0)]
    """
    exact = {name: index for index, name in enumerate(other)}
    loose: dict[tuple[str, ...], list[int]] = {}
    for index, name in enumerate(other):
        loose.setdefault(_name_parts(name), []).append(index)
    pairs = []
    for index, name in enumerate(one):
        candidates = loose.get(_name_parts(name), [])
        match = exact.get(name, candidates[0] if len(candidates) == 1 else None)
        if match is not None:
            pairs.append((index, match))
    used = [b for _, b in pairs]
    return [pair for pair in pairs if used.count(pair[1]) == 1]


def _name_parts(name: str) -> tuple[str, ...]:
    parts = [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part]
    return tuple(sorted(_SIDES.get(part, part) for part in parts if part not in _UNINFORMATIVE))


def shared_maps(one: ECResult, other: ECResult) -> tuple[Array, Array, list[str]]:
    """Return both maps over the regions that both have, in the order of the first.

    Raises
    ------
    InputDataError
        The maps share fewer than three regions.
    """
    pairs = match_regions(one.labels, other.labels)
    if len(pairs) < _FEWEST:
        raise InputDataError(
            f"The maps share {count_noun(len(pairs), 'region name')}; the first has "
            f"{join_items(one.labels, most=4)}, the second {join_items(other.labels, most=4)}. "
            "Expected maps of the same atlas."
        )
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    names = [one.labels[index] for index in a]
    return one.matrix[np.ix_(a, a)], other.matrix[np.ix_(b, b)], names


def measure_agreement(
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
        Random generator of the null maps.
    n_null
        Number of maps of each null model.
    """
    a, b = off_diagonal(one), off_diagonal(other)
    joint = np.isfinite(a) & np.isfinite(b)
    nulls = {"distance": np.full(2, np.nan), "spin": np.full(2, np.nan)}
    if centres is not None and n_null:
        shuffles = {"distance": shuffle_by_distance(centres), "spin": spin(centres)}
        nulls = {
            name: _null_p_values(one, other, shuffle, rng, n_null)
            for name, shuffle in shuffles.items()
        }
    return Agreement(
        r=pearson(one, other),
        spearman=float(spearmanr(a[joint], b[joint]).statistic),
        r_symmetric=pearson(symmetric(one), symmetric(other)),
        r_antisymmetric=pearson(antisymmetric(one), antisymmetric(other)),
        r_transposed=pearson(one, other.T),
        p_distance=float(nulls["distance"][0]),
        p_spin=float(nulls["spin"][0]),
        p_direction_distance=float(nulls["distance"][1]),
        p_direction_spin=float(nulls["spin"][1]),
        p_orientation=orientation_p(
            one, other, rng, n_null, None if centres is None else spin(centres)
        ),
        n_regions=len(one),
        n_entries=int(joint.sum()),
    )


def _null_p_values(
    one: Array, other: Array, shuffle: Shuffle, rng: np.random.Generator, n_null: int
) -> Array:
    """Return one-sided p of r and of r of the antisymmetric parts."""
    observed = pearson(one, other), pearson(antisymmetric(one), antisymmetric(other))
    count = np.ones(2)
    for _ in range(n_null):
        null = shuffle(other, rng)
        shuffled = pearson(one, null), pearson(antisymmetric(one), antisymmetric(null))
        count += [value >= reference for value, reference in zip(shuffled, observed, strict=True)]
    p: Array = np.where(np.isfinite(observed), count / (1 + n_null), np.nan)
    return p


def shuffle_by_distance(centres: Array) -> Shuffle:
    """Return a function that shuffles pairs of regions among pairs of similar distance.

    Both directions of a pair move together, so that the map stays as symmetric as it is.
    """
    rows, columns = np.tril_indices(len(centres), -1)
    distance = distances(centres)[rows, columns]
    n_bins = int(np.clip(distance.size // _PAIRS_PER_BIN, 1, _MOST_BINS))
    edges = np.nanquantile(distance, np.linspace(0, 1, n_bins + 1)[1:-1])
    bins = np.searchsorted(edges, distance)
    members = [np.flatnonzero(bins == number) for number in range(n_bins)]

    def shuffle(matrix: Array, rng: np.random.Generator) -> Array:
        order = np.arange(rows.size)
        for pairs in members:
            order[pairs] = rng.permutation(pairs)
        shuffled = matrix.copy()
        shuffled[rows, columns] = matrix[rows[order], columns[order]]
        shuffled[columns, rows] = matrix[columns[order], rows[order]]
        return shuffled

    return shuffle


def spin(centres: Array) -> Shuffle:
    """Return a function that rotates the regions of both hemispheres on a sphere, mirrored.

    Each region takes the place of a region near its new position, none twice (Alexander-Bloch et
    al. 2018, doi:10.1016/j.neuroimage.2018.05.070; assignment as by Vasa et al. 2018).
    """
    sides = [np.flatnonzero(side) for side in (centres[:, 0] < 0, centres[:, 0] >= 0)]
    spheres = [_project_to_sphere(centres[side]) for side in sides]
    mirror = np.diag([-1.0, 1.0, 1.0])

    def shuffle(matrix: Array, rng: np.random.Generator) -> Array:
        random_rotation = _draw_rotation(rng)
        order = np.arange(len(centres))
        for side, sphere, rotation in zip(
            sides, spheres, (random_rotation, mirror @ random_rotation @ mirror), strict=True
        ):
            if side.size:
                near = sphere @ (sphere @ rotation.T).T
                order[side] = side[_assign_regions(-near)]
        rotated: Array = matrix[np.ix_(order, order)]
        return rotated

    return shuffle


def _assign_regions(cost: Array) -> NDArray[np.int64]:
    columns: NDArray[np.int64] = linear_sum_assignment(cost)[1]
    return columns


def _project_to_sphere(points: Array) -> Array:
    centred = points - points.mean(axis=0) if len(points) else points
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    sphere: Array = centred / np.where(length > 0, length, 1.0)
    return sphere


def _draw_rotation(rng: np.random.Generator) -> Array:
    """Return a random rotation, from the uniform distribution."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    rotation: Array = q if np.linalg.det(q) > 0 else q * np.array([1.0, 1.0, -1.0])
    return rotation


def compare_external(
    one: ECResult, other: ECResult, table: Path | None, *, n_null: int, seed: int
) -> tuple[Agreement, tuple[Array, Array]]:
    """Compare two maps by the names of their regions.

    Parameters
    ----------
    one, other
        The maps.
    table
        Table of the regions with name, x, y, z; without it there are no null maps.
    n_null, seed
        Number of maps of each null model, and their seed.

    Returns
    -------
    Agreement
        Agreement of the two maps.
    entries
        Entries off the diagonal that both have, of the second and of the first.
    """
    a, b, names = shared_maps(one, other)
    centres = None
    if table is not None:
        positions = Regions(table, names).centres
        centres = positions if positions is not None and np.isfinite(positions).all() else None
    result = measure_agreement(a, b, centres, np.random.default_rng(seed), n_null)
    flat = off_diagonal(a), off_diagonal(b)
    joint = np.isfinite(flat[0]) & np.isfinite(flat[1])
    return result, (flat[1][joint], flat[0][joint])
