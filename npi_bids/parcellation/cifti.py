"""Greyordinates: CIFTI files and pairs of GIFTI hemispheres, their runs and their atlases.

An atlas of greyordinates is a CIFTI image of labels whatever file it came from, so that all the
rest handles one kind. Runs and atlases are matched structure by structure, by vertex and voxel.
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
    is_wide,
    load_image,
    read_dlabel,
    read_gifti,
    unreadable,
)
from npi_bids.parcellation.damaged_volumes import Extent, Survey
from npi_bids.parcellation.parcellation import Parcellation
from npi_bids.parcellation.run_files import RunFiles, sampling_period
from npi_bids.records import Array, Mask
from npi_bids.wording import count_noun, join_words

_AT_ONCE = 20_000_000  # values in memory, beside all of them as 32-bit floats
_HEMISPHERES = ("CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT")
# Both hemispheres of a pair, as the makers of atlases name them.
_SIDES = (("lh", "rh"), ("hemi-L", "hemi-R"), (".L.", ".R."), ("_L.", "_R."), ("left", "right"))
_MMP = re.compile(r"(?P<side>[LR])_(?P<area>.+)_ROI")
_SCHAEFER = re.compile(r"\d+Networks_(?P<rest>[LR]H_(?P<network>[A-Za-z]+)_.*|[LR]H_.*)")
_TIAN = re.compile(r".+-[lr]h")
# Vertices of a hemisphere of the one mesh that nilearn ships: fsaverage5.
MESH_VERTICES = 10242
_CORTEX = {"left": "CIFTI_STRUCTURE_CORTEX_LEFT", "right": "CIFTI_STRUCTURE_CORTEX_RIGHT"}


class GreyScan:
    """A run of greyordinates, with the label of each.

    Attributes
    ----------
    n_samples, tr
        Samples, and seconds between them.

    Raises
    ------
    InputDataError
        A file cannot be read, or run and atlas lie on different surfaces.
    """

    def __init__(self, run: RunFiles, parcellation: Parcellation) -> None:
        if run.bold.name.endswith(".gii"):
            self._values, axis, header = _read_hemispheres(run)
        else:
            self._values, axis, header = _read_cifti(run.bold)
        self.n_samples, self.tr = len(self._values.data), sampling_period(header, run)
        self._regions = np.asarray(parcellation.values)
        self._label = labels_at(axis, parcellation, run.bold)
        self._whole = np.asarray(parcellation.image.dataobj).ravel()
        self.survey(np.ones(self.n_samples, dtype=bool))

    def survey(self, keep: Mask) -> Survey:
        """Return which samples are damaged, and find the greyordinates that hold signal.

        Parameters
        ----------
        keep
            Shape (n_samples,); the samples that greyordinates are judged on, less the damaged.
        """
        damaged = self._values.extent.damaged
        rows = (keep if keep.sum() > 1 else np.ones_like(keep)) & ~damaged
        shape = self._values.data.shape
        self._seen: Mask = np.zeros(shape[1], dtype=bool)
        for columns in _steps(*shape) if rows.any() else ():
            part = self._values.data[:, columns][rows]
            low, high = part.min(axis=0), part.max(axis=0)
            self._seen[columns] = np.isfinite(low) & np.isfinite(high) & (low < high)
        return Survey(damaged, np.full(self.n_samples, np.nan))

    def sizes(self) -> tuple[Array, Array]:
        """Return the size of each region in the atlas, and of its part that holds signal."""
        whole, part = (
            np.array([np.count_nonzero(labels == value) for value in self._regions], dtype=float)
            for labels in (self._whole, np.where(self._seen, self._label, 0))
        )
        return whole, part

    def signals(self, covered: Mask, smoothing: float) -> Array:
        """Return the means of some regions, shape (n_samples, n_covered).

        Raises
        ------
        InputDataError
            Smoothing is wanted, which needs the surfaces.
        """
        if smoothing:
            raise InputDataError(
                "--smoothing is for volumes; smooth greyordinates along the surface beforehand "
                "(wb_command -cifti-smoothing), or leave it out."
            )
        means = []
        for value in self._regions[covered]:
            places = np.flatnonzero(self._seen & (self._label == value))
            mean = self._values.data[:, places].mean(axis=1, dtype=np.float64)
            means.append(mean + self._values.level[places].mean())
        return np.column_stack(means)


def labels_at(axis: BrainModelAxis, parcellation: Parcellation, path: Path) -> NDArray[np.int64]:
    """Return the value of the atlas at each greyordinate of a run; 0 where it has none.

    Raises
    ------
    InputDataError
        The surfaces have other numbers of vertices, the voxels another grid, or nothing is
        shared.
    """
    atlas = parcellation.image
    values = np.asarray(atlas.dataobj).ravel().astype(np.int64)
    there = {name: (values[part], model) for name, part, model in _structures(atlas)}
    found = np.zeros(len(axis), dtype=np.int64)
    for name, part, model in _iterate(axis):
        if name not in there:
            continue
        own, other = there[name]
        if name in axis.nvertices:
            n_run, n_atlas = axis.nvertices[name], other.nvertices.get(name)
            if n_run != n_atlas:
                raise InputDataError(
                    f"<{path}> has {n_run} vertices per hemisphere but the atlas "
                    f"{parcellation.name} has {n_atlas}; expected the same surface (32492 are "
                    "fsLR 32k, 10242 fsaverage5, 163842 fsaverage or fsLR 164k)."
                )
            lookup = np.zeros(n_run, dtype=np.int64)
            lookup[other.vertex] = own
            found[part] = lookup[model.vertex]
        else:
            found[part] = _voxel_labels(model, other, own, path)
    if not found.any():
        raise InputDataError(
            f"<{path}> and the atlas {parcellation.name} share no greyordinate: the run has "
            f"{join_words([name for name, _, _ in _iterate(axis)], most=3)}, the atlas "
            f"{join_words(there, most=3)}."
        )
    return found


def build_atlas(
    parts: list[tuple[str, NDArray[np.int64], int]] | BrainModelAxis, values: NDArray[np.int64]
) -> Cifti2Image:
    """Return labels as a CIFTI image, from its axis or from whole surfaces.

    Parameters
    ----------
    parts
        An axis, or for each surface its structure, its vertices, and how many there are in all.
    values
        Label of each greyordinate, 0 for none.
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
    table = {int(value): (str(value), (0.0, 0.0, 0.0, 1.0)) for value in np.unique(values)}
    labels = LabelAxis(["labels"], [table])
    image = Cifti2Image(values[None].astype(np.float32), header=(labels, axis))
    image.nifti_header.set_intent("NIFTI_INTENT_CONNECTIVITY_DENSE_LABELS")
    return image


def hemisphere_name(side: int) -> str:
    """Return the CIFTI name of the left (0) or right (1) cortex."""
    return _HEMISPHERES[side]


@dataclass(frozen=True, slots=True, eq=False)
class _Values:
    """All samples as 32-bit floats, less a level of each greyordinate where these would round."""

    data: NDArray[np.float32]
    level: Array
    extent: Extent


def _steps(n_samples: int, n_grey: int) -> Iterator[slice]:
    """Yield some greyordinates at a time: of a file, those lie side by side."""
    step = max(1, _AT_ONCE // n_samples)
    for start in range(0, n_grey, step):
        yield slice(start, min(start + step, n_grey))


def _take(raw: ArrayLike, shape: tuple[int, int], *, wide: bool) -> _Values:
    """Read samples by greyordinates from an array, or from a file."""
    extent, level = Extent(shape[0]), np.zeros(shape[1])
    for columns in _steps(*shape):
        part = np.asanyarray(raw[:, columns])
        for sample, values in enumerate(part):
            extent.add(sample, values)
    sound = np.flatnonzero(~extent.damaged & ~extent.flat)
    if wide and sound.size:
        first = np.asarray(raw[int(sound[0]), :], dtype=np.float64).ravel()
        level = np.where(np.isfinite(first), first, 0)
    data = np.empty(shape, dtype=np.float32)
    for columns in _steps(*shape):
        part = np.asanyarray(raw[:, columns])
        with np.errstate(over="ignore"):  # becomes infinite, and does not count
            data[:, columns] = part - level[columns] if wide else part
    return _Values(data, level, extent)


def _read_cifti(path: Path) -> tuple[_Values, BrainModelAxis, tuple[float, str]]:
    image = cast("Cifti2Image", load_image(path))
    try:
        axes = [image.header.get_axis(place) for place in range(image.ndim)]
    except (*READ_ERRORS, *CIFTI_ERRORS) as error:
        raise unreadable(path, error) from error
    series, models, shape = axes[0], axes[-1], image.shape
    if not isinstance(models, BrainModelAxis) or not isinstance(series, SeriesAxis):
        shape = ()
    if len(shape) != 2 or shape[0] < 2 or shape[1] != len(models):
        raise InputDataError(
            f"<{path}> has the axes {join_words(type(axis).__name__ for axis in axes)} and shape "
            f"{image.shape}; expected a dense series (samples by greyordinates)."
        )
    try:
        values = _take(image.dataobj, shape, wide=is_wide(image))
    except READ_ERRORS as error:
        raise unreadable(path, error) from error
    return values, models, (float(series.step), "sec" if series.unit == "SECOND" else "")


def _read_hemispheres(run: RunFiles) -> tuple[_Values, BrainModelAxis, tuple[float, str]]:
    data, axes, step = [], [], 0.0
    for path, name in zip((run.bold, run.right), _HEMISPHERES, strict=True):
        if path is None:
            raise InputDataError(f"<{run.bold}> has no right hemisphere beside it.")
        series, step = _read_side(path)
        data.append(series)
        n_vertices = series.shape[1]
        axes.append(BrainModelAxis.from_surface(np.arange(n_vertices), n_vertices, name))
    if len(data[0]) != len(data[1]) or len(data[0]) < 2:
        raise InputDataError(
            f"<{run.bold}> has {len(data[0])} samples and its right hemisphere {len(data[1])}; "
            "expected the same series of both."
        )
    whole = np.concatenate(data, axis=1)
    del data
    wide = not np.can_cast(whole.dtype, np.float32)
    shape = (len(whole), whole.shape[1])
    return _take(whole, shape, wide=wide), axes[0] + axes[1], (step, "msec" if step else "")


def _read_side(path: Path) -> tuple[NDArray[np.number], float]:
    """Return samples by vertices of one hemisphere, and the TimeStep of its header or 0."""
    arrays = read_gifti(path).darrays
    if not arrays or len({len(np.atleast_1d(array.data)) for array in arrays}) != 1:
        shapes = sorted({array.data.shape for array in arrays})
        raise InputDataError(
            f"<{path}> has {count_noun(len(arrays), 'data array')} of the shapes "
            f"{join_words(shapes, most=3)}; expected one per sample, with a value for each vertex."
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
    places = map(tuple, atlas.voxel.tolist())
    known = dict(zip(places, values.tolist(), strict=True))
    return np.array([known.get(tuple(voxel), 0) for voxel in model.voxel.tolist()], dtype=np.int64)


Named = list[tuple[int, str]]


def load_grey_atlas(path: Path, name: str, space: str) -> Parcellation:
    """Load an atlas of greyordinates as a checked record; its regions are numbered from 1.

    Names of the MMP lose their ``_ROI`` and have the left hemisphere first, and those of Schaefer
    lose ``7Networks_`` and tell their network, as in volumes.

    Parameters
    ----------
    path
        A ``dlabel.nii``, or either ``label.gii`` of a pair.
    name, space
        Of the atlas.

    Raises
    ------
    InputDataError
        A file cannot be read, is no atlas of labels, or lacks its other hemisphere.
    """
    parts: Any
    if path.name.endswith(".gii"):
        parts, values, named = _read_pair(path)
    else:
        parts, values, named = _read_dlabel(path)
    there = set(np.unique(values).tolist())
    ordered = _left_first([(value, label) for value, label in named if value in there and value])
    if unnamed := sorted(there - {0} - {value for value, _ in ordered})[:5]:
        raise InputDataError(
            f"The atlas <{path}> holds values that its table does not name, first {unnamed}."
        )
    lookup = np.zeros(max(there) + 1, dtype=np.int64)
    for place, (value, _) in enumerate(ordered, start=1):
        lookup[value] = place
    labels = tuple(_short(label) for _, label in ordered)
    networks = tuple(_network(label) for _, label in ordered)
    return Parcellation(
        name=name,
        labels=labels,
        values=tuple(range(1, len(labels) + 1)),
        space=space,
        image=build_atlas(parts, lookup[values]),
        networks=networks if all(networks) else (),
    )


def _read_dlabel(path: Path) -> tuple[BrainModelAxis, NDArray[np.int64], Named]:
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
) -> tuple[list[tuple[str, NDArray[np.int64], int]], NDArray[np.int64], Named]:
    """Read both hemispheres; values of the right go on where those of the left end."""
    parts, values, named, above = [], [], [], 0
    for side, file in enumerate(_pair(path)):
        image = read_gifti(file)
        if not image.darrays:
            raise InputDataError(f"<{file}> has no data array; expected the label of each vertex.")
        data = np.asarray(image.darrays[0].data).ravel().astype(np.int64)
        table = image.labeltable.get_labels_as_dict()
        parts.append((hemisphere_name(side), np.arange(len(data)), len(data)))
        there = set(np.unique(data).tolist()) - {0}
        if not there <= set(table):
            raise InputDataError(f"<{file}> holds values that its label table does not name.")
        named += [(key + above, str(table[key])) for key in sorted(there)]
        values.append(np.where(data > 0, data + above, 0))
        above = max(there, default=0)
    labels = [label for _, label in named]
    if len(set(labels)) < len(labels):  # the same names in both hemispheres
        n_left = len(set(np.unique(values[0]).tolist()) - {0})
        named = [
            (v, f"{'L' if i < n_left else 'R'}_{label}") for i, (v, label) in enumerate(named)
        ]
    return parts, np.concatenate(values), named


def _pair(path: Path) -> tuple[Path, Path]:
    for left, right in _SIDES:
        for mine, other in ((left, right), (right, left)):
            if mine in path.name:
                beside = path.with_name(path.name.replace(mine, other))
                if not beside.is_file():
                    raise InputDataError(
                        f"The atlas <{path}> is one hemisphere; expected the other beside it, "
                        f"{beside.name}."
                    )
                return (path, beside) if mine == left else (beside, path)
    raise InputDataError(
        f"The atlas <{path}> does not say which hemisphere it is; expected lh and rh, or hemi-L "
        "and hemi-R, in the names of both files."
    )


def _left_first(named: Named) -> Named:
    """Put the left areas of the MMP before the right ones, in the places that both have."""
    places = [place for place, (_, label) in enumerate(named) if _MMP.fullmatch(label)]
    areas = sorted((named[place] for place in places), key=lambda entry: entry[1][0] == "R")
    ordered = list(named)
    for place, entry in zip(places, areas, strict=True):
        ordered[place] = entry
    return ordered


def _short(label: str) -> str:
    if area := _MMP.fullmatch(label):
        return f"{area['side']}_{area['area']}"
    schaefer = _SCHAEFER.fullmatch(label)
    return schaefer["rest"] if schaefer else label


def _network(label: str) -> str:
    if _TIAN.fullmatch(label):
        return "Subcortex"
    schaefer = _SCHAEFER.fullmatch(label)
    return (schaefer["network"] or "") if schaefer else ""


def on_surface(
    atlas: Path, labels: Sequence[str], values: Sequence[float] | Array
) -> dict[str, Array] | None:
    """Return the number of the region of each vertex, by hemisphere.

    Parameters
    ----------
    atlas
        ``dlabel.nii`` of the regions.
    labels, values
        Names and numbers of the regions.

    Returns
    -------
    dict or None
        ``left`` and ``right``, shape (10242,), NaN where there is no region; None where the atlas
        does not lie on fsaverage5, of which alone a mesh is at hand.

    Raises
    ------
    InputDataError
        The atlas cannot be read.
    """
    names, models, data = read_dlabel(atlas)
    if not isinstance(names, LabelAxis) or not isinstance(models, BrainModelAxis):
        return None
    data = np.rint(data).astype(int)
    known = dict(zip(labels, values, strict=True))
    lookup = {value: known.get(name, np.nan) for value, (name, _) in names.label[0].items()}
    found = {}
    for side, structure in _CORTEX.items():
        if models.nvertices.get(structure) != MESH_VERTICES:
            return None
        shown = np.full(MESH_VERTICES, np.nan)
        rows = np.flatnonzero(models.name == structure)
        shown[models.vertex[rows]] = [lookup.get(value, np.nan) for value in data[rows].tolist()]
        found[side] = shown
    return found
