"""Greyordinates: CIFTI files and pairs of GIFTI hemispheres, their runs and their atlases.

An atlas of greyordinates is held as a CIFTI image of labels, whatever the format of its file, so
that later steps handle one format only. Runs and atlases are matched structure by structure, by
vertex and voxel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from nibabel.arrayproxy import ArrayLike
from nibabel.cifti2.cifti2 import Cifti2Image
from nibabel.cifti2.cifti2_axes import BrainModelAxis, LabelAxis, SeriesAxis
from numpy.typing import NDArray

from npi_bids.errors import InputDataError
from npi_bids.io.images import (
    CIFTI_ERRORS,
    READ_ERRORS,
    load_image,
    read_dlabel,
    read_gifti,
    unreadable,
)
from npi_bids.parcellation.damaged_volumes import SampleStatistics, Survey, are_usable
from npi_bids.parcellation.parcellation import Parcellation
from npi_bids.parcellation.region_sums import RegionSignals
from npi_bids.parcellation.resampling import count_labels
from npi_bids.parcellation.run_files import RunFiles, sampling_period
from npi_bids.records import Array, Mask
from npi_bids.wording import count_noun, join_items

_AT_ONCE = 4_000_000  # values read at a time, 32 MB as 64-bit floats
_HEMISPHERES = ("CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT")
# Marks of the left and the right hemisphere in the file names of published atlases.
_SIDES = (("lh", "rh"), ("hemi-L", "hemi-R"), (".L.", ".R."), ("_L.", "_R."), ("left", "right"))
_MMP = re.compile(r"(?P<side>[LR])_(?P<area>.+)_ROI")
_SCHAEFER = re.compile(r"\d+Networks_(?P<rest>[LR]H_(?P<network>[A-Za-z]+)_.*|[LR]H_.*)")
_TIAN = re.compile(r".+-[lr]h")
# Vertices per hemisphere of fsaverage5, the mesh that nilearn ships.
MESH_VERTICES = 10242
_CORTEX = {"left": "CIFTI_STRUCTURE_CORTEX_LEFT", "right": "CIFTI_STRUCTURE_CORTEX_RIGHT"}


class GreyScan:
    """A run of greyordinates, with the labels of several atlases.

    The series of each greyordinate are contiguous in a CIFTI file, so that blocks of
    greyordinates are read, added up and forgotten.

    Attributes
    ----------
    n_samples, tr
        Number of samples, and sampling period (s).
    problems
        Why an atlas does not lie on the greyordinates of the run, by its position.

    Raises
    ------
    InputDataError
        A file cannot be read.
    """

    def __init__(self, run: RunFiles, parcellations: Sequence[Parcellation]) -> None:
        read = _read_hemispheres if run.bold.name.endswith(".gii") else _read_cifti
        source = read(run)
        self._run, self._values = run, source.values
        self.n_samples, self._n_grey = source.values.shape
        self.tr = sampling_period(source.period, run)
        self._parcellations = list(parcellations)
        self.problems: dict[int, InputDataError] = {}
        self._labels: list[NDArray[np.int64]] = []
        for position, atlas in enumerate(parcellations):
            labels = np.zeros(self._n_grey, dtype=np.int64)
            try:
                labels = label_greyordinates(source.axis, atlas, run.bold)
            except InputDataError as error:
                self.problems[position] = error
            self._labels.append(labels)

    def read(self, keep: Mask) -> tuple[Survey, list[RegionSignals]]:
        """Return which samples are damaged, and the signals of each atlas.

        Parameters
        ----------
        keep
            Shape (n_samples,); the samples by which greyordinates are judged, except damaged ones.

        Raises
        ------
        InputDataError
            The file is truncated or damaged.
        """
        counted = keep if keep.sum() > 1 else np.ones_like(keep)
        sweep = self._sweep(counted)
        damaged = sweep.statistics.damaged
        if (damaged & counted).any():  # known only after all greyordinates
            sweep = self._sweep(counted & ~damaged)
        signals = [
            RegionSignals(count_labels(atlas.image.dataobj, atlas), n_with_signal, sums)
            for atlas, n_with_signal, sums in zip(
                self._parcellations, sweep.sizes, sweep.sums, strict=True
            )
        ]
        return Survey(damaged, np.full(self.n_samples, np.nan)), signals

    def _sweep(self, counted: Mask) -> _GreySweep:
        """Read all greyordinates once, and add up those that vary over the counted samples."""
        sweep = _GreySweep(self._parcellations, self.n_samples)
        for columns in _column_slices(self.n_samples, self._n_grey):
            try:
                block = np.asanyarray(self._values[:, columns])
            except READ_ERRORS as error:
                raise unreadable(self._run.bold, error) from error
            sweep.statistics.add_block(block)
            usable = are_usable(block)
            values = np.where(usable, block, 0).astype(np.float64)
            has_signal = np.zeros(values.shape[1], dtype=bool)
            if counted.any():
                rows = values[counted]
                has_signal = (rows.min(axis=0) < rows.max(axis=0)) & usable[counted].all(axis=0)
            for position, labels in enumerate(self._labels):
                sweep.add(position, values, np.where(has_signal, labels[columns], 0))
        return sweep


class _GreySweep:
    """Sums over the regions of several atlases, and their sizes."""

    def __init__(self, parcellations: Sequence[Parcellation], n_samples: int) -> None:
        self.statistics = SampleStatistics(n_samples)
        self._regions = [np.asarray(atlas.values) for atlas in parcellations]
        self.sizes = [np.zeros(len(values)) for values in self._regions]
        self.sums = [np.zeros((n_samples, len(values))) for values in self._regions]

    def add(self, position: int, values: Array, labels: NDArray[np.int64]) -> None:
        """Add a block of greyordinates, shape (n_samples, n_block); label 0 is none."""
        from scipy.sparse import csr_matrix

        columns = np.flatnonzero(labels)
        regions = np.searchsorted(self._regions[position], labels[columns])
        shape = (len(self._regions[position]), len(labels))
        join = csr_matrix((np.ones(columns.size), (regions, columns)), shape=shape)
        self.sizes[position] += np.bincount(regions, minlength=shape[0])
        self.sums[position] += (join @ values.T).T


def label_greyordinates(
    axis: BrainModelAxis, parcellation: Parcellation, path: Path
) -> NDArray[np.int64]:
    """Return the value of the atlas at each greyordinate of a run; 0 where it has none.

    Raises
    ------
    InputDataError
        The surfaces differ in their number of vertices, the voxels lie on another grid, or no
        greyordinate is shared.
    """
    atlas = parcellation.image
    values = np.asarray(atlas.dataobj).ravel().astype(np.int64)
    structures = {name: (values[part], model) for name, part, model in _structures(atlas)}
    labels = np.zeros(len(axis), dtype=np.int64)
    for name, part, model in _iterate(axis):
        if name not in structures:
            continue
        atlas_labels, atlas_model = structures[name]
        if name in axis.nvertices:
            n_run, n_atlas = axis.nvertices[name], atlas_model.nvertices.get(name)
            if n_run != n_atlas:
                raise InputDataError(
                    f"<{path}> has {n_run} vertices per hemisphere but the atlas "
                    f"{parcellation.name} has {n_atlas}; expected the same surface (32492 are "
                    "fsLR 32k, 10242 fsaverage5, 163842 fsaverage or fsLR 164k)."
                )
            lookup = np.zeros(n_run, dtype=np.int64)
            lookup[atlas_model.vertex] = atlas_labels
            labels[part] = lookup[model.vertex]
        else:
            labels[part] = _voxel_labels(model, atlas_model, atlas_labels, path)
    if not labels.any():
        raise InputDataError(
            f"<{path}> and the atlas {parcellation.name} share no greyordinate: the run has "
            f"{join_items([name for name, _, _ in _iterate(axis)], most=3)}, the atlas "
            f"{join_items(structures, most=3)}."
        )
    return labels


def build_atlas(
    parts: list[tuple[str, NDArray[np.int64], int]] | BrainModelAxis,
    values: NDArray[np.int64],
    names: Sequence[str],
) -> Cifti2Image:
    """Return labels as a CIFTI image, from its axis or from whole surfaces.

    Parameters
    ----------
    parts
        An axis, or the structure, the vertices and the total number of vertices of each surface.
    values
        Label of each greyordinate, counted from 1; 0 for none.
    names
        Names of the labels, which viewers show.
    """
    if isinstance(parts, BrainModelAxis):
        axis = parts
    else:
        axes = [
            BrainModelAxis.from_surface(vertices, n_vertices, name)
            for name, vertices, n_vertices in parts
        ]
        axis = axes[0]
        for other in axes[1:]:
            axis = axis + other
    table = {0: ("???", (0.0, 0.0, 0.0, 0.0))}
    table |= {value: (name, (0.0, 0.0, 0.0, 1.0)) for value, name in enumerate(names, start=1)}
    labels = LabelAxis(["labels"], [table])
    image = Cifti2Image(values[None].astype(np.float32), header=(labels, axis))
    image.nifti_header.set_intent("NIFTI_INTENT_CONNECTIVITY_DENSE_LABELS")
    return image


def hemisphere_name(side: int) -> str:
    """Return the CIFTI name of the left (0) or right (1) cortex."""
    return _HEMISPHERES[side]


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """Samples by greyordinates, where these lie, and the sampling period with its unit."""

    values: ArrayLike
    axis: BrainModelAxis
    period: tuple[float, str]


def _column_slices(n_samples: int, n_grey: int) -> Iterator[slice]:
    """Yield blocks of greyordinates, which are contiguous in a file."""
    step = max(1, _AT_ONCE // n_samples)
    for start in range(0, n_grey, step):
        yield slice(start, min(start + step, n_grey))


def _read_cifti(run: RunFiles) -> _Source:
    path = run.bold
    image = cast("Cifti2Image", load_image(path))
    try:
        axes = [image.header.get_axis(dimension) for dimension in range(image.ndim)]
    except (*READ_ERRORS, *CIFTI_ERRORS) as error:
        raise unreadable(path, error) from error
    series, models, shape = axes[0], axes[-1], image.shape
    if not isinstance(models, BrainModelAxis) or not isinstance(series, SeriesAxis):
        shape = ()
    if len(shape) != 2 or shape[0] < 2 or shape[1] != len(models):
        raise InputDataError(
            f"<{path}> has the axes {join_items(type(axis).__name__ for axis in axes)} and shape "
            f"{image.shape}; expected a dense series (samples by greyordinates)."
        )
    period = float(series.step), "sec" if series.unit == "SECOND" else ""
    return _Source(image.dataobj, models, period)


def _read_hemispheres(run: RunFiles) -> _Source:
    data, axes, step = [], [], 0.0
    for path, name in zip((run.bold, run.right), _HEMISPHERES, strict=True):
        if path is None:
            raise InputDataError(f"<{run.bold}> has no right hemisphere beside it.")
        series, step = _read_hemisphere(path)
        data.append(series)
        n_vertices = series.shape[1]
        axes.append(BrainModelAxis.from_surface(np.arange(n_vertices), n_vertices, name))
    if len(data[0]) != len(data[1]) or len(data[0]) < 2:
        raise InputDataError(
            f"<{run.bold}> has {len(data[0])} samples and its right hemisphere {len(data[1])}; "
            "expected as many samples in both."
        )
    joined = np.concatenate(data, axis=1)
    return _Source(joined, axes[0] + axes[1], (step, "msec" if step else ""))


def _read_hemisphere(path: Path) -> tuple[NDArray[np.number], float]:
    """Return samples by vertices of one hemisphere, and the TimeStep of its header or 0."""
    arrays = read_gifti(path).darrays
    if not arrays or len({len(np.atleast_1d(array.data)) for array in arrays}) != 1:
        shapes = sorted({array.data.shape for array in arrays})
        raise InputDataError(
            f"<{path}> has {count_noun(len(arrays), 'data array')} of the shapes "
            f"{join_items(shapes, most=3)}; expected one per sample, with a value for each vertex."
        )
    stated = arrays[0].meta.get("TimeStep", 0) or 0
    try:
        step = float(stated)
    except ValueError as error:
        raise InputDataError(
            f"<{path}> states a TimeStep of {stated}; expected milliseconds."
        ) from error
    return np.column_stack([array.data for array in arrays]).T, step


def _structures(image: Cifti2Image) -> Iterator[tuple[str, slice, BrainModelAxis]]:
    return _iterate(image.header.get_axis(1))


def _iterate(axis: BrainModelAxis) -> Iterator[tuple[str, slice, BrainModelAxis]]:
    start = 0
    for name, _, model in axis.iter_structures():
        yield str(name), slice(start, start + len(model)), model
        start += len(model)


def _voxel_labels(
    model: BrainModelAxis, atlas: BrainModelAxis, values: NDArray[np.int64], path: Path
) -> NDArray[np.int64]:
    if not np.allclose(model.affine, atlas.affine, atol=1e-3):
        raise InputDataError(
            f"The voxels of <{path}> lie on another grid than those of the atlas; expected the "
            "same space and resolution (den-91k: 2 mm)."
        )
    coordinates = map(tuple, atlas.voxel.tolist())
    label_of_voxel = dict(zip(coordinates, values.tolist(), strict=True))
    return np.array(
        [label_of_voxel.get(tuple(voxel), 0) for voxel in model.voxel.tolist()], dtype=np.int64
    )


NamedValues = list[tuple[int, str]]


def load_grey_atlas(path: Path, name: str, space: str) -> Parcellation:
    """Load an atlas of greyordinates as a checked record; its regions are numbered from 1.

    Names of the MMP lose their ``_ROI`` and are sorted with the left hemisphere first; those of
    Schaefer lose ``7Networks_`` and yield their network, as in volumes.

    Parameters
    ----------
    path
        A ``dlabel.nii``, or either ``label.gii`` of a pair.
    name, space
        Name and space of the atlas.

    Raises
    ------
    InputDataError
        A file cannot be read or is not a label atlas, or the other hemisphere is missing.
    """
    parts: Any
    if path.name.endswith(".gii"):
        parts, values, named = _read_pair(path)
    else:
        parts, values, named = _read_dlabel(path)
    present = set(np.unique(values).tolist())
    ordered = _order_hemispheres(
        [(value, label) for value, label in named if value in present and value]
    )
    if unnamed := sorted(present - {0} - {value for value, _ in ordered})[:5]:
        raise InputDataError(
            f"The atlas <{path}> holds values that its table does not name, first {unnamed}."
        )
    lookup = np.zeros(max(present) + 1, dtype=np.int64)
    for number, (value, _) in enumerate(ordered, start=1):
        lookup[value] = number
    labels = tuple(_shorten_label(label) for _, label in ordered)
    networks = tuple(_network_of_label(label) for _, label in ordered)
    return Parcellation(
        name=name,
        labels=labels,
        values=tuple(range(1, len(labels) + 1)),
        space=space,
        image=build_atlas(parts, lookup[values], labels),
        networks=networks if all(networks) else (),
    )


def _read_dlabel(path: Path) -> tuple[BrainModelAxis, NDArray[np.int64], NamedValues]:
    maps, models, data = read_dlabel(path)
    if not isinstance(maps, LabelAxis) or not isinstance(models, BrainModelAxis):
        raise InputDataError(
            f"<{path}> has axes {type(maps).__name__} and {type(models).__name__}; expected the "
            "labels of greyordinates (dlabel)."
        )
    named = [(int(key), str(entry[0])) for key, entry in maps.label[0].items() if key != 0]
    return models, np.rint(data).astype(np.int64), [n for n in named if n[1] != "???"]


def _read_pair(
    path: Path,
) -> tuple[list[tuple[str, NDArray[np.int64], int]], NDArray[np.int64], NamedValues]:
    """Read both hemispheres; values of the right one follow those of the left one."""
    parts, values, named, highest = [], [], [], 0
    for side, file in enumerate(_hemisphere_files(path)):
        image = read_gifti(file)
        if not image.darrays:
            raise InputDataError(f"<{file}> has no data array; expected the label of each vertex.")
        data = np.asarray(image.darrays[0].data).ravel().astype(np.int64)
        table = image.labeltable.get_labels_as_dict()
        parts.append((hemisphere_name(side), np.arange(len(data)), len(data)))
        present = set(np.unique(data).tolist()) - {0}
        if not present <= set(table):
            raise InputDataError(f"<{file}> holds values that its label table does not name.")
        named += [(key + highest, str(table[key])) for key in sorted(present)]
        values.append(np.where(data > 0, data + highest, 0))
        highest = max(present, default=0)
    labels = [label for _, label in named]
    if len(set(labels)) < len(labels):  # the same names in both hemispheres
        n_lh = len(set(np.unique(values[0]).tolist()) - {0})
        named = [(v, f"{'L' if i < n_lh else 'R'}_{label}") for i, (v, label) in enumerate(named)]
    return parts, np.concatenate(values), named


def _hemisphere_files(path: Path) -> tuple[Path, Path]:
    for lh, rh in _SIDES:
        for side, other in ((lh, rh), (rh, lh)):
            if side in path.name:
                beside = path.with_name(path.name.replace(side, other))
                if not beside.is_file():
                    raise InputDataError(
                        f"The atlas <{path}> is one hemisphere; expected the other beside it, "
                        f"{beside.name}."
                    )
                return (path, beside) if side == lh else (beside, path)
    raise InputDataError(
        f"The atlas <{path}> does not say which hemisphere it is; expected lh and rh, or hemi-L "
        "and hemi-R, in the names of both files."
    )


def _order_hemispheres(named: NamedValues) -> NamedValues:
    """Put the left areas of the MMP before the right ones, in the positions that both occupy."""
    positions = [position for position, (_, label) in enumerate(named) if _MMP.fullmatch(label)]
    areas = sorted(
        (named[position] for position in positions), key=lambda entry: entry[1][0] == "R"
    )
    ordered = list(named)
    for position, entry in zip(positions, areas, strict=True):
        ordered[position] = entry
    return ordered


def _shorten_label(label: str) -> str:
    if area := _MMP.fullmatch(label):
        return f"{area['side']}_{area['area']}"
    schaefer = _SCHAEFER.fullmatch(label)
    return schaefer["rest"] if schaefer else label


def _network_of_label(label: str) -> str:
    if _TIAN.fullmatch(label):
        return "Subcortex"
    schaefer = _SCHAEFER.fullmatch(label)
    return (schaefer["network"] or "") if schaefer else ""


def project_to_surface(
    atlas: Path, labels: Sequence[str], values: Sequence[float] | Array
) -> dict[str, Array] | None:
    """Return the value of the region of each vertex, by hemisphere.

    Parameters
    ----------
    atlas
        ``dlabel.nii`` of the regions.
    labels, values
        Names and values of the regions.

    Returns
    -------
    dict or None
        ``left`` and ``right``, shape (n_vertices,), NaN where there is no region; None where the
        atlas does not lie on both hemispheres, with as many vertices in each.

    Raises
    ------
    InputDataError
        The atlas cannot be read.
    """
    names, models, data = read_dlabel(atlas)
    if not isinstance(names, LabelAxis) or not isinstance(models, BrainModelAxis):
        return None
    data = np.rint(data).astype(int)
    value_of_region = dict(zip(labels, values, strict=True))
    lookup = {
        value: value_of_region.get(name, np.nan) for value, (name, _) in names.label[0].items()
    }
    sizes = {models.nvertices.get(structure) for structure in _CORTEX.values()}
    n_vertices = sizes.pop()
    if sizes or n_vertices is None:
        return None
    hemispheres = {}
    for side, structure in _CORTEX.items():
        vertex_values = np.full(n_vertices, np.nan)
        rows = np.flatnonzero(models.name == structure)
        vertex_values[models.vertex[rows]] = [
            lookup.get(value, np.nan) for value in data[rows].tolist()
        ]
        hemispheres[side] = vertex_values
    return hemispheres
