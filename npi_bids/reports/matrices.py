"""Matrices as the pages show them: packed numbers that a script draws and lets one read."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from npi_bids.core.records import Array
from npi_bids.reports.figures import network_order

_MOST = 32767  # the largest number of 16 bits; what is missing is one below its negative
_MISSING = -32768


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One matrix of a view.

    Attributes
    ----------
    name, title
        Short name and what it is, for people.
    matrix
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    directed
        Whether rows and columns differ.
    signed
        False for what is never negative.
    limit
        End of the colour scale; the 99th percentile off the diagonal where None.
    below
        Where the matrix is that of the first layer, but for entries whose detail of that name is
        not below a limit: name and limit. It is then not packed again.
    """

    name: str
    title: str
    matrix: Array
    directed: bool = True
    signed: bool = True
    limit: float | None = None
    below: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MatrixView:
    """Matrices of the same regions that a page shows one beside the other.

    Attributes
    ----------
    name
        Of the element on the page.
    labels, networks
        Of the regions; networks may be empty.
    layers
        What can be looked at, the first one first.
    details
        Further matrices that are told of each entry, by their names, such as ``q``; ``half`` is
        half of the width of the 95 % interval.
    unit
        Of the first layer.
    """

    name: str
    labels: Sequence[str]
    networks: Sequence[str]
    layers: Sequence[Layer]
    details: Mapping[str, Array]
    unit: str = ""

    @property
    def data(self) -> str:
        """JSON of all of it; matrices are little-endian whole numbers of 16 bits in base64."""
        content = {
            "labels": list(self.labels),
            "networks": list(self.networks),
            "order": network_order(self.networks) if self.networks else [],
            "unit": self.unit,
            "layers": [
                {
                    "name": layer.name,
                    "title": layer.title,
                    "directed": layer.directed,
                    "signed": layer.signed,
                    "limit": limit_of(layer),
                    **({"below": layer.below} if layer.below else pack(layer.matrix)),
                }
                for layer in self.layers
            ],
            "details": {name: pack(matrix) for name, matrix in self.details.items()},
        }
        return json.dumps(content, allow_nan=False).replace("<", "\\u003c")


def limit_of(layer: Layer) -> float:
    """Return where the colours of a layer end."""
    if layer.limit is not None:
        return layer.limit
    off = np.abs(layer.matrix[~np.eye(len(layer.matrix), dtype=bool)])
    known = off[np.isfinite(off)]
    return float(np.percentile(known, 99)) or 1.0 if known.size else 1.0


def pack(matrix: Array) -> dict[str, object]:
    """Return a matrix as whole numbers of 16 bits, and what to multiply them by.

    >>> packed = pack(np.array([[0.0, 2.0], [np.nan, -1.0]]))
    >>> unpack(packed, 2).round(3).tolist()
    [[0.0, 2.0], [nan, -1.0]]
    """
    known = np.isfinite(matrix)
    most = float(np.max(np.abs(matrix[known]), initial=0.0))
    step = most / _MOST if most > 0 else 1.0
    whole = np.where(known, np.rint(np.where(known, matrix, 0.0) / step), _MISSING)
    return {"step": step, "values": base64.b64encode(whole.astype("<i2").tobytes()).decode()}


def unpack(packed: Mapping[str, object], n_regions: int) -> Array:
    """Return the matrix that :func:`pack` packed."""
    whole = np.frombuffer(base64.b64decode(str(packed["values"])), dtype="<i2").astype(np.float64)
    step = float(packed["step"])  # type: ignore[arg-type]
    matrix: Array = np.where(whole == _MISSING, np.nan, whole * step)
    return matrix.reshape(n_regions, n_regions)
