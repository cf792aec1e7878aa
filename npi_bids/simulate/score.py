"""How well an estimate recovers a known effective connectivity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npi_bids.core.measures import antisymmetric, pearson
from npi_bids.core.records import Array


@dataclass(frozen=True, slots=True)
class Recovery:
    """Agreement of an estimate with the truth.

    Attributes
    ----------
    r
        Pearson correlation off the diagonal.
    r_antisymmetric
        The same for ``(E - E') / 2``, the part that has a direction.
    r_transposed
        Correlation of the estimate turned round; well below ``r`` where the direction is right.
    direction
        Share of the pairs, among the half with the largest true difference, whose stronger
        direction is the true one; 0.5 is chance.
    """

    r: float
    r_antisymmetric: float
    r_transposed: float
    direction: float


def score(estimate: Array, truth: Array) -> Recovery:
    """Compare an estimate with the truth, both indexed ``[source, target]``.

    >>> truth = np.array([[0.0, 1.0, 0.0], [0.2, 0.0, -1.0], [0.1, 0.3, 0.0]])
    >>> score(truth, truth).direction, score(truth.T, truth).direction
    (1.0, 0.0)
    """
    rows, columns = np.tril_indices(len(truth), -1)
    true, found = (m[rows, columns] - m[columns, rows] for m in (truth, estimate))
    strong = np.abs(true) >= np.median(np.abs(true))
    return Recovery(
        r=pearson(estimate, truth),
        r_antisymmetric=pearson(antisymmetric(estimate), antisymmetric(truth)),
        r_transposed=pearson(estimate.T, truth),
        direction=float(np.mean(np.sign(found[strong]) == np.sign(true[strong]))),
    )
