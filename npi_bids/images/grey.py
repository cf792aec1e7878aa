"""Greyordinates: surfaces and voxels of CIFTI files, and pairs of GIFTI hemispheres.

An atlas of greyordinates is a CIFTI image of labels whatever file it came from, so that all the
rest handles one kind. Runs and atlases are matched structure by structure, by vertex and voxel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.cifti2.cifti2 import Cifti2Image
from nibabel.cifti2.cifti2_axes import BrainModelAxis, LabelAxis, SeriesAxis
from numpy.typing import NDArray

from npi_bids.core.records import Array, Mask
from npi_bids.errors import InputDataError
from npi_bids.images.damage import Extent, Survey
from npi_bids.images.header import RunFiles, sampling_period
from npi_bids.images.opening import (
    CIFTI_ERRORS,
    READ_ERRORS,
    is_wide,
    load_image,
    read_gifti,
    unreadable,
)
from npi_bids.images.parcellation import Parcellation

_AT_ONCE = 20_000_000  # values in memory, beside all of them as 32-bit floats
_HEMISPHERES = ("CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT")


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
            f"{[str(name) for name, _, _ in _iterate(axis)][:3]} ..., the atlas {list(there)[:3]}."
        )
    return found


def build_atlas(
    parts: list[tuple[str, NDArray[np.int64], int]] | BrainModelAxis, values: NDArray[np.int64]
) -> Any:
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


def _take(raw: Any, shape: tuple[int, int], *, wide: bool) -> _Values:
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
    image = load_image(path)
    try:
        axes = [image.header.get_axis(place) for place in range(image.ndim)]
    except (*READ_ERRORS, *CIFTI_ERRORS) as error:
        raise unreadable(path, error) from error
    series, models, shape = axes[0], axes[-1], image.shape
    if not isinstance(models, BrainModelAxis) or not isinstance(series, SeriesAxis):
        shape = ()
    if len(shape) != 2 or shape[0] < 2 or shape[1] != len(models):
        raise InputDataError(
            f"<{path}> has axes {[type(axis).__name__ for axis in axes]} and shape {image.shape}; "
            "expected a dense series (samples by greyordinates)."
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


def _read_side(path: Path) -> tuple[NDArray[Any], float]:
    """Return samples by vertices of one hemisphere, and the TimeStep of its header or 0."""
    arrays = read_gifti(path).darrays
    if not arrays or len({len(np.atleast_1d(array.data)) for array in arrays}) != 1:
        shapes = sorted({array.data.shape for array in arrays})
        raise InputDataError(
            f"<{path}> has {len(arrays)} data arrays of the shapes {shapes[:3]}; expected one per "
            "sample, with a value for each vertex."
        )
    stated = arrays[0].meta.get("TimeStep", 0) or 0
    try:
        step = float(stated)
    except ValueError as error:
        raise InputDataError(
            f"<{path}> states a TimeStep of {stated!r}; expected milliseconds."
        ) from error
    return np.column_stack([array.data for array in arrays]).T, step


def _structures(image: Any) -> Iterator[tuple[str, slice, BrainModelAxis]]:
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
