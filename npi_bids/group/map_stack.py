"""Maps of many subjects as one array on disk, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npi_bids.bids.outputs import MEASURES, parse_name
from npi_bids.errors import NoUsableDataError
from npi_bids.group.average import align, average
from npi_bids.group.settings import GroupSettings
from npi_bids.io.files import read_json, write_json
from npi_bids.io.tables import read_matrix
from npi_bids.records import Array, ECResult

_NUMBERS_AT_ONCE = 2_000_000
_MOST_SAMPLED = 10_000  # edges
_METADATA, _SUBJECTS, _VISITS = "stack.json", "subjects.npy", "visits.npy"


def sample_edges(maps: Array) -> Array:
    """Return at most some ten thousand edges that all subjects have, and that vary.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_edges), may be memory-mapped; evenly spaced ones of more edges.
    """
    sample = np.asarray(maps[:, :: max(1, maps.shape[1] // _MOST_SAMPLED)], dtype=np.float64)
    sample = sample[:, np.isfinite(sample).all(axis=0)]
    varying: Array = sample[:, np.ptp(sample, axis=0) > 0]
    return varying


def split_edges(n_rows: int, n_edges: int) -> Iterator[slice]:
    """Yield blocks of edges that are small enough to hold for all rows at once."""
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
        Maps of all visits, shape (n_visits, n_regions^2), and the index of the subject of each;
        ``visits`` is ``maps`` where every subject has one visit.
    measure
        Measure of the maps: npi, or npiunshrunk.
    """

    labels: tuple[str, ...]
    subjects: tuple[str, ...]
    maps: Array
    visits: Array
    owner: NDArray[np.int64]
    measure: str = MEASURES[0]

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return len(self.labels)

    def square(self, values: Array) -> ECResult:
        """Return values of all edges as a matrix ``[source, target]``."""
        return ECResult(values.reshape(self.n_regions, self.n_regions), self.labels)


def write_stack(matrices: Mapping[str, Sequence[Path]], folder: Path) -> MapStack:
    """Align the maps of a group by the names of their regions, and write them as one array.

    Parameters
    ----------
    matrices
        Files of each subject.
    folder
        Folder of the array; an existing array is replaced.

    Raises
    ------
    InputDataError
        A file cannot be read, or subjects differ in their regions.
    NoUsableDataError
        There are no maps.
    """
    subjects = sorted(matrices)
    if not subjects:
        raise NoUsableDataError("There are no maps to combine.")
    labels = read_matrix(matrices[subjects[0]][0]).labels
    n_edges = len(labels) ** 2
    owner = [number for number, subject in enumerate(subjects) for _ in matrices[subject]]
    folder.mkdir(parents=True, exist_ok=True)
    has_repeats = len(owner) > len(subjects)
    with ExitStack() as files:
        write = files.enter_context(_rows_of(folder / _SUBJECTS, (len(subjects), n_edges)))
        shape = len(owner), n_edges
        writers = [files.enter_context(_rows_of(folder / _VISITS, shape))] if has_repeats else []
        for results in _read_visits(matrices, labels):
            for write_visit in writers:
                for visit in results:
                    write_visit(visit.matrix)
            write(_average_visits(results))
    measure = _find_measure(matrices[subjects[0]][0])
    metadata = {"labels": list(labels), "subjects": subjects, "owner": owner, "measure": measure}
    write_json(folder / _METADATA, metadata)
    return read_stack(folder)


def read_subjects(
    matrices: Mapping[str, Sequence[Path]], labels: tuple[str, ...]
) -> Iterator[Array]:
    """Yield the map of each subject, the mean of its visits, as a row of :func:`write_stack`.

    Parameters
    ----------
    matrices
        Files of each subject.
    labels
        Region names of rows and columns, in the order of the result.

    Raises
    ------
    InputDataError
        A file cannot be read, or has other regions.
    """
    for results in _read_visits(matrices, labels):
        yield _average_visits(results).ravel()


def _read_visits(
    matrices: Mapping[str, Sequence[Path]], labels: tuple[str, ...]
) -> Iterator[list[ECResult]]:
    for subject in sorted(matrices):
        yield [align(read_matrix(path), labels) for path in matrices[subject]]


def write_differences(pairs: Mapping[str, tuple[Path, Path]], folder: Path) -> MapStack:
    """Write the second map of each subject minus the first, as :func:`write_stack` does.

    ``visits`` of the result are the first maps of all subjects, and then their second maps.
    """
    subjects = sorted(pairs)
    labels = read_matrix(pairs[subjects[0]][0]).labels
    folder.mkdir(parents=True, exist_ok=True)
    n = len(subjects)
    maps = _create(folder / _SUBJECTS, (n, len(labels) ** 2))
    visits = _create(folder / _VISITS, (2 * n, len(labels) ** 2))
    for number, subject in enumerate(subjects):
        matrices = (align(read_matrix(path), labels).matrix for path in pairs[subject])
        first, second = (matrix.ravel() for matrix in matrices)
        maps[number], visits[number], visits[n + number] = second - first, first, second
    for array in (maps, visits):
        array.flush()
    owner = 2 * list(range(n))
    measure = _find_measure(pairs[subjects[0]][0])
    metadata = {"labels": list(labels), "subjects": subjects, "owner": owner, "measure": measure}
    write_json(folder / _METADATA, metadata)
    return read_stack(folder)


def read_stack(folder: Path) -> MapStack:
    """Read what :func:`write_stack` wrote."""
    metadata = read_json(folder / _METADATA)
    maps = np.load(folder / _SUBJECTS, mmap_mode="r")
    path = folder / _VISITS
    owner = np.array(metadata["owner"], dtype=np.int64)
    visits = np.load(path, mmap_mode="r") if len(owner) > len(maps) else maps
    names = tuple(metadata["labels"]), tuple(metadata["subjects"])
    return MapStack(*names, maps, visits, owner, metadata["measure"])


def _find_measure(path: Path) -> str:
    """Return the measure in the name of a file."""
    return parse_name(path.name).entities.get("meas", MEASURES[0])


@contextmanager
def _rows_of(path: Path, shape: tuple[int, ...]) -> Iterator[Callable[[Array], object]]:
    """Yield a function that appends rows to an array on disk.

    Writing to the file takes less time than to its pages in memory, which appear one by one.
    """
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        yield lambda row: file.write(np.ascontiguousarray(row, dtype="<f8").data)


def create_maps(path: Path, like: Array) -> Array:
    """Return an empty array on disk of the shape of another."""
    return _create(path, like.shape)


def _create(
    path: Path, shape: tuple[int, ...]
) -> np.memmap[tuple[int, ...], np.dtype[np.float64]]:
    array: np.memmap[tuple[int, ...], np.dtype[np.float64]] = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float64, shape=shape
    )
    return array


def _average_visits(results: Sequence[ECResult]) -> Array:
    if len(results) == 1:
        return results[0].matrix
    return average(results, GroupSettings(min_subjects=1)).mean
