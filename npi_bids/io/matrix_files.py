"""Matrices from files of any program, with what the files say of the regions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from npi_bids.errors import InputDataError
from npi_bids.io.tables import read_external
from npi_bids.records import Array, ECResult
from npi_bids.wording import join_items

_LABELS = ("labels", "names", "region_names", "node_names")
# Names of Schaefer's regions: [7Networks_]LH_Vis_1.
_NETWORK = re.compile(r"(?:\d+Networks_)?[LR]H_([A-Za-z]+)")


@dataclass(frozen=True, slots=True, eq=False)
class MatrixFile:
    """A matrix and its regions, as a file describes them.

    Attributes
    ----------
    result
        The matrix, indexed ``[source, target]``.
    networks
        Network of each region, or empty.
    centres
        Centre of each region in mm, shape (n_regions, 3); None where unknown.
    """

    result: ECResult
    networks: tuple[str, ...] = ()
    centres: Array | None = None


def read_matrix_file(path: Path, *, rows: str = "source", column: str = "") -> MatrixFile:
    """Read a matrix from a TSV, CSV, ``.npz`` or ``.mat``.

    Parameters
    ----------
    path
        The file. Tables are those of :func:`~npi_bids.io.tables.read_external`. An archive holds
        one square matrix, and the names of the regions as ``labels`` or ``names``; ``networks``
        and ``centres`` are read where it has them, as ``npi-export`` writes them.
    rows
        Meaning of the rows: ``source`` or ``target``.
    column
        Column of values in a list of pairs.

    Returns
    -------
    MatrixFile
        Networks that the file does not state are taken from names like Schaefer's.

    Raises
    ------
    InputDataError
        The file cannot be read, or is none of these.
    """
    if path.suffix not in (".mat", ".npz"):
        result = read_external(path, rows=rows, column=column)
        return MatrixFile(result, networks_of_names(result.labels))
    try:
        arrays = _read_arrays(path)
        matrix, labels = _find_matrix(arrays)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise InputDataError(
            f"<{path}> cannot be read as a matrix ({error}); expected one square matrix and the "
            "names of its regions as 'labels'."
        ) from error
    matrix = matrix.T.copy() if rows == "target" else matrix
    networks = _texts(arrays.get("networks", np.array([])))
    centres = np.asarray(arrays.get("centres", np.zeros((0, 3))))
    return MatrixFile(
        ECResult(matrix, labels),
        networks if len(networks) == len(labels) else networks_of_names(labels),
        centres.astype(np.float64) if centres.shape == (len(labels), 3) else None,
    )


def networks_of_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the networks that names of regions state, or nothing unless all of them do.

    >>> networks_of_names(["7Networks_LH_Vis_1", "RH_Default_PFC_2"])
    ('Vis', 'Default')
    >>> networks_of_names(["Precentral_L", "LH_Vis_1"])
    ()
    """
    matches = [_NETWORK.match(label) for label in labels]
    return tuple(match[1] for match in matches if match) if all(matches) else ()


def _read_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of an archive of NumPy or MATLAB, by name."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    content = loadmat(path, squeeze_me=True, chars_as_strings=True)
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _find_matrix(arrays: Mapping[str, Any]) -> tuple[Array, tuple[str, ...]]:
    """Return the only square matrix of an archive, and the names of its regions."""
    square = [name for name, value in arrays.items() if name != "centres" and _is_square(value)]
    names = next((name for name in _LABELS if name in arrays), None)
    if len(square) != 1 or names is None:
        raise ValueError(f"it holds {join_items(sorted(arrays))}")
    labels = _texts(arrays[names])
    if len(set(labels)) != len(arrays[square[0]]) or len(labels) != len(set(labels)):
        raise ValueError(
            f"{square[0]} has {len(arrays[square[0]])} rows, and {names} has {len(set(labels))} "
            f"different names among {len(labels)}"
        )
    matrix: Array = arrays[square[0]].astype(np.float64)
    return matrix, labels


def _is_square(value: Any) -> bool:
    if getattr(value, "ndim", 0) != 2 or not np.issubdtype(value.dtype, np.number):
        return False
    return bool(value.shape[0] == value.shape[1])


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(str(value).strip() for value in np.atleast_1d(values).ravel())
