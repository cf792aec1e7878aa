"""Atlases of greyordinates: dlabel files, and pairs of label.gii files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.cifti2.cifti2_axes import BrainModelAxis, LabelAxis
from numpy.typing import NDArray

from npi_bids.errors import InputDataError
from npi_bids.images.grey import build_atlas, hemisphere_name
from npi_bids.images.opening import read_dlabel, read_gifti
from npi_bids.images.parcellation import Parcellation

# Both hemispheres of a pair, as the makers of atlases name them.
_SIDES = (("lh", "rh"), ("hemi-L", "hemi-R"), (".L.", ".R."), ("_L.", "_R."), ("left", "right"))
_MMP = re.compile(r"(?P<side>[LR])_(?P<area>.+)_ROI")
_SCHAEFER = re.compile(r"\d+Networks_(?P<rest>[LR]H_(?P<network>[A-Za-z]+)_.*|[LR]H_.*)")
_TIAN = re.compile(r".+-[lr]h")

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
