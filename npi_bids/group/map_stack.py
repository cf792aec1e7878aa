"""Maps of many subjects as one array on disk, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import NoUsableDataError
from npi_bids.group.average import align, average
from npi_bids.group.settings import GroupSettings
from npi_bids.io.files import read_json, write_json
from npi_bids.io.tables import read_matrix
from npi_bids.records import Array, ECResult

_NUMBERS_AT_ONCE = 2_000_000
_FACTS, _SUBJECTS, _VISITS = "stack.json", "subjects.npy", "visits.npy"


def blocks_of(n_rows: int, n_edges: int) -> Iterator[slice]:
    """Yield stretches of edges that are few enough to be held for all rows at once."""
    step = max(1, _NUMBERS_AT_ONCE // max(n_rows, 1))
    for start in range(0, n_edges, step):
        yield slice(start, min(start + step, n_edges))


@dataclass(frozen=True, slots=True, eq=False)
class MapStack:
    """Maps of a group.

    Attributes
    ----------
    labels
        Region names of rows and columns.
    subjects
        Labels of the subjects.
    maps
        Shape (n_subjects, n_regions^2), on disk; one map per subject, the mean of its visits.
    visits, owner
        Shape (n_visits, n_regions^2), and the number of the subject of each; the same as ``maps``
        where every subject has one.
    """

    labels: tuple[str, ...]
    subjects: tuple[str, ...]
    maps: Array
    visits: Array
    owner: NDArray[np.int64]

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return len(self.labels)

    def square(self, values: Array) -> ECResult:
        """Return values of all edges as a matrix ``[source, target]``."""
        return ECResult(values.reshape(self.n_regions, self.n_regions), self.labels)


def write_stack(matrices: Mapping[str, Sequence[Path]], folder: Path) -> MapStack:
    """Read the maps of a group, align them by the names of their regions, and put them on disk.

    Parameters
    ----------
    matrices
        Files of each subject.
    folder
        Where to; what is there is replaced.

    Raises
    ------
    InputDataError
        A file cannot be read, or subjects differ in their regions.
    NoUsableDataError
        There are none.
    """
    subjects = sorted(matrices)
    if not subjects:
        raise NoUsableDataError("There are no maps to put together.")
    labels = read_matrix(matrices[subjects[0]][0]).labels
    size = len(labels) ** 2
    owner = [number for number, subject in enumerate(subjects) for _ in matrices[subject]]
    folder.mkdir(parents=True, exist_ok=True)
    maps = _new(folder / _SUBJECTS, (len(subjects), size))
    several = len(owner) > len(subjects)
    visits = _new(folder / _VISITS, (len(owner), size)) if several else maps
    row = 0
    for number, subject in enumerate(subjects):
        found = [align(read_matrix(path), labels) for path in matrices[subject]]
        for visit in found if several else ():
            visits[row] = visit.matrix.ravel()
            row += 1
        maps[number] = _one(found).ravel()
    for array in (maps, visits):
        array.flush()
    facts = {"labels": list(labels), "subjects": subjects, "owner": owner}
    write_json(folder / _FACTS, facts)
    return read_stack(folder)


def write_differences(pairs: Mapping[str, tuple[Path, Path]], folder: Path) -> MapStack:
    """Put the second map of each subject less the first on disk; as :func:`write_stack`."""
    subjects = sorted(pairs)
    labels = read_matrix(pairs[subjects[0]][0]).labels
    folder.mkdir(parents=True, exist_ok=True)
    maps = _new(folder / _SUBJECTS, (len(subjects), len(labels) ** 2))
    for number, subject in enumerate(subjects):
        first, second = (align(read_matrix(path), labels).matrix for path in pairs[subject])
        maps[number] = (second - first).ravel()
    maps.flush()
    owner = list(range(len(subjects)))
    write_json(folder / _FACTS, {"labels": list(labels), "subjects": subjects, "owner": owner})
    return read_stack(folder)


def read_stack(folder: Path) -> MapStack:
    """Read what :func:`write_stack` wrote."""
    facts = read_json(folder / _FACTS)
    maps = np.load(folder / _SUBJECTS, mmap_mode="r")
    path = folder / _VISITS
    owner = np.array(facts["owner"], dtype=np.int64)
    visits = np.load(path, mmap_mode="r") if len(owner) > len(maps) else maps
    return MapStack(tuple(facts["labels"]), tuple(facts["subjects"]), maps, visits, owner)


def new_maps(path: Path, like: Array) -> Array:
    """Return an empty array on disk of the shape of another."""
    return _new(path, like.shape)


def _new(path: Path, shape: tuple[int, ...]) -> np.memmap[tuple[int, ...], np.dtype[np.float64]]:
    made: np.memmap[tuple[int, ...], np.dtype[np.float64]] = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float64, shape=shape
    )
    return made


def _one(found: Sequence[ECResult]) -> Array:
    if len(found) == 1:
        return found[0].matrix
    return average(found, GroupSettings(min_subjects=1)).mean
