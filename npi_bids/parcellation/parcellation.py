"""A parcellation: regions, their names and values, and the image that holds them."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from npi_bids.errors import InputDataError
from npi_bids.io.files import wait_until
from npi_bids.io.images import READ_ERRORS, load_image, read_data
from npi_bids.io.tables import (
    read_table,
)
from npi_bids.records import Array, check_region_names
from npi_bids.wording import count_noun, join_items

# Names of the files of a parcellation that is saved in a folder.
_IMAGE, _TABLE, _METADATA = "parcellation.nii.gz", "parcellation.tsv", "parcellation.json"
_GREY = "parcellation.dlabel.nii"


@dataclass(frozen=True, slots=True, eq=False)
class Parcellation:
    """The regions of an atlas, checked.

    Attributes
    ----------
    name
        Name of the atlas, letters and digits.
    labels
        Region names in atlas order, unique.
    values
        The value of each region in a label image (increasing), or the position of its map,
        counted from 1, in a 4D image.
    space
        Template that the atlas is drawn in, or ``"unknown"``.
    image
        3D label image, 4D image of non-negative weights with one map per region, or CIFTI image
        of the labels of greyordinates.
    networks
        Network of each region, or empty.
    """

    name: str
    labels: tuple[str, ...]
    values: tuple[int, ...]
    space: str
    image: Any
    networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.values) or not self.labels:
            raise InputDataError(
                f"Atlas {self.name} has {len(self.labels)} names for {len(self.values)} values; "
                "expected one name per region."
            )
        check_region_names(self.labels, f"Atlas {self.name}")
        if any(b <= a for a, b in zip((0, *self.values), self.values, strict=False)):
            raise InputDataError(
                f"Atlas {self.name}: the values of the regions must be positive, whole, unique "
                f"and increasing; found {join_items(self.values, most=5)}."
            )
        if self.networks and len(self.networks) != len(self.labels):
            raise InputDataError(
                f"Atlas {self.name} names {len(self.networks)} networks for {len(self.labels)} "
                "regions."
            )
        _check_image(self)

    @property
    def probabilistic(self) -> bool:
        """True for a 4D image of weights, False for a label image."""
        return len(self.image.shape) == 4

    @property
    def grey(self) -> bool:
        """True for labels of greyordinates (surfaces, and voxels below them)."""
        return isinstance(self.image, nib.Cifti2Image)

    def table(self) -> pd.DataFrame:
        """Return index, name and, where known, network of each region."""
        columns: dict[str, Any] = {"index": self.values, "name": self.labels}
        if self.networks:
            columns["network"] = self.networks
        return pd.DataFrame(columns)


def label_data(image: SpatialImage, name: str) -> NDArray[np.int32]:
    """Return the whole-number values of a label image, with a trailing singleton axis dropped.

    Raises
    ------
    InputDataError
        The image holds values that are not whole.
    """
    return _integer_labels(np.asanyarray(image.dataobj), name)


def _integer_labels(data: NDArray[np.number], name: str) -> NDArray[np.int32]:
    if data.ndim == 4 and data.shape[-1] == 1:
        data = data[..., 0]
    rounded = np.rint(data)
    if not np.array_equal(data, rounded):
        raise InputDataError(
            f"Atlas {name} holds values that are not whole numbers; expected a label image "
            "(or a 4D image with one map per region)."
        )
    labels: NDArray[np.int32] = rounded.astype(np.int32)
    return labels


def read_labels(path: Path, name: str) -> nib.Nifti1Image:
    """Read a label image from a file, as 32-bit integers on its own grid.

    Raises
    ------
    InputDataError
        The file cannot be read, or holds values that are not whole.
    """
    image = cast("SpatialImage", load_image(path))
    return label_image(_integer_labels(read_data(path, image), name), image.affine)


def label_image(data: NDArray[np.number], affine: Array) -> nib.Nifti1Image:
    """Return a label image of 32-bit integers, as nibabel and nilearn read it everywhere."""
    image = nib.Nifti1Image(np.asarray(data, dtype=np.int32), affine)
    image.header.set_xyzt_units("mm")
    return image


def weights_image(data: NDArray[np.number], affine: Array) -> nib.Nifti1Image:
    """Return a 4D image of weights as 32-bit floats; its fourth axis is the region."""
    image = nib.Nifti1Image(np.asarray(data, dtype=np.float32), affine)
    image.header.set_xyzt_units("mm", "sec")
    return image


def digest(parcellation: Parcellation) -> str:
    """Return a short hash of names, values and image."""
    content = hashlib.sha256(parcellation.table().to_csv().encode())
    content.update(np.ascontiguousarray(parcellation.image.dataobj).tobytes())
    if parcellation.grey:
        content.update(parcellation.image.header.matrix.to_xml())
    else:
        content.update(np.asarray(parcellation.image.affine, dtype=np.float64).tobytes())
    return content.hexdigest()[:12]


def save_parcellation(parcellation: Parcellation, folder: Path) -> None:
    """Write image, table and metadata into a folder, for :func:`read_parcellation`.

    The folder appears complete: another process that prepares the same atlas sees all of it or
    none. An existing folder is kept unless it is incomplete, as after a power cut. What another
    machine has just written may take some time to appear, and is waited for.
    """
    if folder.is_dir():
        wait_until(lambda: not _missing_files(folder))
        if not _is_saved(parcellation, folder):
            shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=folder.parent, prefix=".partial_", ignore_cleanup_errors=True
    ) as scratch:
        complete = Path(scratch) / folder.name
        complete.mkdir()
        nib.save(parcellation.image, complete / (_GREY if parcellation.grey else _IMAGE))
        parcellation.table().to_csv(complete / _TABLE, sep="\t", index=False)
        metadata = {"name": parcellation.name, "space": parcellation.space}
        (complete / _METADATA).write_text(json.dumps(metadata))
        try:
            complete.rename(folder)
        except OSError as error:
            # Another process was faster, perhaps on another machine.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            wait_until(lambda: not _missing_files(folder))


def _is_saved(parcellation: Parcellation, folder: Path) -> bool:
    try:
        return digest(read_parcellation(folder)) == digest(parcellation)
    except (InputDataError, KeyError, *READ_ERRORS):
        return False


def _missing_files(folder: Path) -> list[str]:
    image = _GREY if (folder / _GREY).is_file() else _IMAGE
    return [name for name in (image, _TABLE, _METADATA) if not (folder / name).is_file()]


def read_parcellation(folder: Path) -> Parcellation:
    """Read back what :func:`save_parcellation` wrote.

    Raises
    ------
    InputDataError
        The folder does not hold a parcellation.
    """
    image = _GREY if (folder / _GREY).is_file() else _IMAGE
    if missing := _missing_files(folder):
        raise InputDataError(f"<{folder}> does not hold a parcellation: no {join_items(missing)}.")
    table = read_table(folder / _TABLE, text=("name", "network")).fillna({"network": ""})
    metadata = json.loads((folder / _METADATA).read_text())
    return Parcellation(
        name=metadata["name"],
        labels=tuple(table["name"]),
        values=tuple(int(value) for value in table["index"]),
        space=metadata["space"],
        image=nib.load(folder / image),
        networks=tuple(table["network"]) if "network" in table else (),
    )


def centres(parcellation: Parcellation) -> NDArray[np.float64]:
    """Return the centre of each region in mm, shape (n_regions, 3); NaN where it has no voxel."""
    affine = parcellation.image.affine
    if parcellation.probabilistic:
        weights = np.asarray(parcellation.image.dataobj, dtype=np.float64)
        sums = weights.sum(axis=(0, 1, 2))
        grid = np.indices(weights.shape[:3]).reshape(3, -1)
        voxels = (grid @ weights.reshape(-1, weights.shape[3]) / sums).T
    else:
        data = label_data(parcellation.image, parcellation.name)
        region_index = np.searchsorted(parcellation.values, data[data > 0])
        counts = np.bincount(region_index, minlength=len(parcellation.values)).astype(float)
        counts[counts == 0] = np.nan
        voxels = np.stack(
            [
                np.bincount(region_index, weights=axis, minlength=len(parcellation.values))
                / counts
                for axis in np.nonzero(data > 0)
            ],
            axis=1,
        )
    mm: NDArray[np.float64] = nib.affines.apply_affine(affine, voxels)
    return mm


def table_with_centres(parcellation: Parcellation) -> pd.DataFrame:
    """Return the table of regions with the centre of each (x, y, z in mm) where it has one."""
    if parcellation.grey:  # only a mesh says where the vertices of a surface are
        return parcellation.table()
    coordinates = pd.DataFrame(np.round(centres(parcellation), 1), columns=["x", "y", "z"])
    return pd.concat([parcellation.table(), coordinates], axis=1)


def voxel_size(parcellation: Parcellation) -> list[float]:
    """Return the edges of a voxel in mm."""
    edges: list[float] = np.linalg.norm(parcellation.image.affine[:3, :3], axis=0).tolist()
    return edges


def save_image(parcellation: Parcellation, path: Path) -> None:
    """Write the image of an atlas."""
    nib.save(parcellation.image, path)


def _check_image(parcellation: Parcellation) -> None:
    shape = parcellation.image.shape
    if parcellation.grey:
        _check_values(parcellation, np.asarray(parcellation.image.dataobj))
        return
    if len(shape) == 4:
        if shape[3] != len(parcellation.labels):
            raise InputDataError(
                f"Atlas {parcellation.name} has {shape[3]} maps for {len(parcellation.labels)} "
                "names; expected one map per region."
            )
        return
    if len(shape) != 3:
        raise InputDataError(
            f"Atlas {parcellation.name} is an image of shape {shape}; expected a 3D label image "
            "or a 4D image with one map per region."
        )
    _check_values(parcellation, label_data(parcellation.image, parcellation.name))


def _check_values(parcellation: Parcellation, data: NDArray[np.number]) -> None:
    values = np.unique(data)
    if extra := sorted(set(values.tolist()) - {0, *parcellation.values}):
        raise InputDataError(
            f"Atlas {parcellation.name}: the image holds {count_noun(len(extra), 'value')} that "
            f"no region has ({join_items(extra, most=5)}); expected 0 and the "
            f"{len(parcellation.values)} values of its table."
        )
