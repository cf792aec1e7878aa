"""Atlases: those that nilearn provides, files, spheres, and combinations of several."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from npi_bids.errors import InputDataError
from npi_bids.io.images import load_image, read_data
from npi_bids.parcellation.cifti import load_grey_atlas
from npi_bids.parcellation.mmp import load_mmp
from npi_bids.parcellation.parcellation import (
    Parcellation,
    label_data,
    label_image,
    read_labels,
    weights_image,
)
from npi_bids.parcellation.region_tables import NUMBERED_BY_ORDER, find_table, read_names
from npi_bids.parcellation.resampling import (
    to_grid,
)
from npi_bids.wording import count_noun, join_items

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

T = TypeVar("T")

# The 2 mm grid of MNI152NLin6Asym, on which the spheres are drawn.
_SHAPE = (91, 109, 91)
_AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
_RADIUS = 5.0
_logger = logging.getLogger(__name__)
_MMP_URL = (
    "https://raw.githubusercontent.com/mbedini/The-HCP-MMP1.0-atlas-in-FSL/master/"
    "MNI_Glasser_HCP_v1.0.nii.gz"
)
_MMP_SHA256 = "1fa0b064447ac2921d46528f4275c76d66652068e889ae070d81863232e6144c"
_MMP_FILE = "hcp_mmp1/MNI_Glasser_HCP_v1.0.nii.gz"
_MMP_NOTICE = (
    "The HCP-MMP1.0 parcellation (Glasser et al. 2016, doi:10.1038/nature18933) is covered by the "
    "open access data use terms of the WU-Minn Human Connectome Project; its volume comes from "
    "github.com/mbedini/The-HCP-MMP1.0-atlas-in-FSL under GPL-3. By fetching it you accept both."
)


def load_spheres(name: str) -> Parcellation:
    """Draw Dosenbach2010, Power2011 or Seitzman2018 as a label image.

    A voxel within the radius of several centres goes to the nearest one. The radius is 5 mm,
    or the one that the authors give for each region (Seitzman2018: 4 or 5 mm).
    """
    coordinates, radii, labels, networks = _FETCH_SPHERES[name]()
    return Parcellation(
        name=name,
        labels=labels,
        values=tuple(range(1, len(labels) + 1)),
        space="MNI152NLin6Asym",
        image=label_image(_draw_spheres(coordinates, radii), _AFFINE),
        networks=networks,
    )


def sphere_atlases() -> tuple[str, ...]:
    """Return the names of the atlases that need no download."""
    return tuple(_FETCH_SPHERES)


def _draw_spheres(centres: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.int32]:
    voxels = np.indices(_SHAPE).reshape(3, -1).T
    distance, nearest = cKDTree(centres).query(voxels @ _AFFINE[:3, :3].T + _AFFINE[:3, 3])
    inside = distance <= radii[nearest]
    return np.where(inside, nearest + 1, 0).reshape(_SHAPE).astype(np.int32)


_Spheres = tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...], tuple[str, ...]]


def _fetch_dosenbach() -> _Spheres:
    from nilearn.datasets import fetch_coords_dosenbach_2010

    dataset = fetch_coords_dosenbach_2010()
    return _use_default_radius(dataset.rois[["x", "y", "z"]], dataset.labels, dataset.networks)


def _fetch_power() -> _Spheres:
    from nilearn.datasets import fetch_coords_power_2011

    dataset = fetch_coords_power_2011()
    labels = [f"Power_{int(roi):03d}" for roi in dataset.rois["roi"]]
    return _use_default_radius(dataset.rois[["x", "y", "z"]], labels, ())


def _fetch_seitzman() -> _Spheres:
    from nilearn.datasets import fetch_coords_seitzman_2018

    dataset = fetch_coords_seitzman_2018()
    labels = [f"{network}_{n + 1:03d}" for n, network in enumerate(dataset.networks)]
    default = _use_default_radius(dataset.rois[["x", "y", "z"]], labels, dataset.networks)
    return default[0], np.asarray(dataset.radius, dtype=np.float64), *default[2:]


def _use_default_radius(
    rois: ArrayLike, labels: Sequence[str], networks: Sequence[str]
) -> _Spheres:
    centres = np.asarray(rois, dtype=np.float64)
    radii = np.full(len(centres), _RADIUS)
    return centres, radii, tuple(map(str, labels)), tuple(map(str, networks))


_FETCH_SPHERES = {
    "Dosenbach2010": _fetch_dosenbach,
    "Power2011": _fetch_power,
    "Seitzman2018": _fetch_seitzman,
}


@dataclass(frozen=True, slots=True)
class AtlasRequest:
    """The atlas that a user requested.

    ``path`` is set for a user's file; ``n_regions`` and ``n_networks`` for Schaefer2018.
    """

    name: str
    n_regions: int = 0
    n_networks: int = 7
    path: str = ""
    space: str = "unknown"


def load_atlas(request: AtlasRequest, *, offline: bool) -> Parcellation:
    """Load an atlas as a checked record.

    Parameters
    ----------
    request
        The atlas to load.
    offline
        True to forbid network access; a missing atlas then raises an error that says how to
        prefetch it.

    Raises
    ------
    InputDataError
        The files are missing, damaged, or not what the atlas should be.
    """
    if request.path:
        return load_file(Path(request.path), request)
    if request.name in sphere_atlases():
        return load_spheres(request.name)
    loader = LOADERS[request.name]
    needed = loader.files(request)
    present = find_cached(needed)
    if present is None and offline:
        raise InputDataError(
            f"Atlas {request.name} is not in the cache and --offline is set. Looked for "
            f"{needed} in {join_items(cache_folders())}. On a computer with network access run "
            f"`npi-bids-fetch {loader.command(request)}`, copy the folder, and point NILEARN_DATA "
            "to it."
        )
    return loader.load(request, present)


def cache_folders() -> list[Path]:
    """Return the folders of nilearn's atlases, in the order in which it searches them."""
    from nilearn.datasets import get_data_dirs

    return [Path(folder) for folder in get_data_dirs()]


def find_cached(needed: tuple[str, ...]) -> Path | None:
    """Return the first cache folder that holds all files, none of them empty."""
    for folder in cache_folders():
        if all((folder / name).is_file() and (folder / name).stat().st_size for name in needed):
            return folder
    return None


def load_file(path: Path, request: AtlasRequest) -> Parcellation:
    """Load a user's atlas: an image with a table of names beside it.

    A volume of the MMP (``request.name``) needs no table: its values identify the areas.

    Raises
    ------
    InputDataError
        The image cannot be read, or has no names, or does not match them.
    """
    if path.name.endswith((".dlabel.nii", ".label.gii")):
        return load_grey_atlas(path, request.name, request.space)
    image = cast("SpatialImage", load_image(path))
    shape = image.shape
    try:
        table = read_names(find_table(path))
    except InputDataError:
        if request.name == "MMP":
            return load_mmp(path)
        raise
    if request.name == "MMP" and len(table) != 360:
        raise InputDataError(
            f"<{path}> is named like the MMP but its table has {len(table)} regions, not 360; "
            "rename it to atlas-NAME_dseg.nii.gz to use it as an atlas of your own."
        )
    if len(shape) == 4 and shape[3] > 1:
        if list(table["index"]) != list(range(1, len(table) + 1)):
            raise InputDataError(
                f"The atlas <{path}> has one map per region, but its table numbers them "
                f"{', '.join(map(str, table['index'][:5]))} ...; expected 1 to {len(table)}, the "
                "positions of the maps in the image."
            )
        if shape[3] != len(table):
            raise InputDataError(
                f"The atlas <{path}> has {shape[3]} maps but its table names {len(table)} "
                "regions; expected one map per region."
            )
        volume = weights_image(read_data(path, image), image.affine)
    else:
        volume = read_labels(path, request.name)
        _check_unnumbered_names(path, table, volume)
    return Parcellation(
        name=request.name,
        labels=tuple(table["name"]),
        values=tuple(int(value) for value in table["index"]),
        space=request.space,
        image=volume,
        networks=tuple(table["network"]) if "network" in table else (),
    )


def _check_unnumbered_names(path: Path, table: pd.DataFrame, image: SpatialImage) -> None:
    """Refuse a list of names without an index unless it has one name per value."""
    n_values = len(np.setdiff1d(np.asarray(image.dataobj), [0]))
    if table.attrs[NUMBERED_BY_ORDER] and n_values != len(table):
        raise InputDataError(
            f"The atlas <{path}> has {n_values} values but its list has {len(table)} names "
            f"without an index, first {table['name'].iloc[0]!r}; expected one name per value. "
            "Is the first one the background? Give a table with the columns index and name."
        )


@dataclass(frozen=True, slots=True)
class AtlasLoader:
    """How a named atlas is loaded.

    Attributes
    ----------
    files
        Files that the cache must contain, relative to it.
    command
        Arguments of ``npi-bids-fetch`` that download the atlas.
    load
        Function that reads the atlas from a folder of the cache, or downloads it where None.
    """

    files: Callable[[AtlasRequest], tuple[str, ...]]
    command: Callable[[AtlasRequest], str]
    load: Callable[[AtlasRequest, Path | None], Parcellation]


def _download(fetcher: Callable[..., T], folder: Path | None, **options: object) -> T:
    """Call a fetcher of nilearn; a failed download leaves no empty folder behind."""
    before = {child for base in cache_folders() if base.is_dir() for child in base.iterdir()}
    try:
        return fetcher(data_dir=folder, verbose=0, **options)
    except (OSError, ValueError) as error:
        for base in cache_folders():
            for child in set(base.iterdir()) - before if base.is_dir() else ():
                shutil.rmtree(child, ignore_errors=True)
        raise InputDataError(
            f"The atlas could not be downloaded ({error}). On a machine without network use "
            "--offline with a filled cache (npi-bids-fetch), or an atlas that needs none: "
            f"{', '.join(sphere_atlases())}."
        ) from error


def _schaefer_files(request: AtlasRequest) -> tuple[str, ...]:
    stem = f"Schaefer2018_{request.n_regions}Parcels_{request.n_networks}Networks_order"
    return f"schaefer_2018/{stem}.txt", f"schaefer_2018/{stem}_FSLMNI152_2mm.nii.gz"


def _load_schaefer(request: AtlasRequest, folder: Path | None) -> Parcellation:
    from nilearn.datasets import fetch_atlas_schaefer_2018

    dataset = _download(
        fetch_atlas_schaefer_2018,
        folder,
        n_rois=request.n_regions,
        yeo_networks=request.n_networks,
        resolution_mm=2,
    )
    prefix = f"{request.n_networks}Networks_"
    names = [
        _decode_label(label) for label in dataset.labels if _decode_label(label) != "Background"
    ]
    labels = tuple(name.removeprefix(prefix) for name in names)
    return _build_parcellation(request, dataset.maps, labels, tuple(range(1, len(labels) + 1)), (
        "MNI152NLin6Asym", tuple(label.split("_")[1] for label in labels)
    ))  # fmt: skip


def _load_aal(request: AtlasRequest, folder: Path | None) -> Parcellation:
    from nilearn.datasets import fetch_atlas_aal

    dataset = _download(fetch_atlas_aal, folder, version="SPM12")
    pairs = [
        (int(value), _decode_label(label))
        for value, label in zip(dataset.indices, dataset.labels, strict=True)
        if int(value) > 0
    ]
    values, labels = zip(*pairs, strict=True)
    return _build_parcellation(request, dataset.maps, labels, values, ("MNIColin27", ()))


def _load_msdl(request: AtlasRequest, folder: Path | None) -> Parcellation:
    from nilearn.datasets import fetch_atlas_msdl

    dataset = _download(fetch_atlas_msdl, folder)
    labels = tuple(_decode_label(label).strip() for label in dataset.labels)
    path = Path(dataset.maps)
    image = cast("SpatialImage", load_image(path))
    return Parcellation(
        name=request.name,
        labels=labels,
        values=tuple(range(1, len(labels) + 1)),
        space="MNI152NLin6Asym",
        image=weights_image(read_data(path, image), image.affine),
        networks=tuple(_decode_label(network).strip() for network in dataset.networks),
    )


def _load_mmp(request: AtlasRequest, folder: Path | None) -> Parcellation:  # noqa: ARG001 (same signature for all loaders)
    import pooch

    if folder is None:
        _logger.warning("%s", _MMP_NOTICE)
        target = cache_folders()[0] / _MMP_FILE
        try:
            pooch.retrieve(_MMP_URL, f"sha256:{_MMP_SHA256}", target.name, target.parent)
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError):  # it is not empty
                target.parent.rmdir()
            raise InputDataError(
                f"The MMP could not be fetched from {_MMP_URL} ({error}). Use a local file: "
                "--atlas PATH/MNI_Glasser_HCP_v1.0.nii.gz."
            ) from error
        return load_mmp(target)
    return load_mmp(folder / _MMP_FILE)


def _build_parcellation(
    request: AtlasRequest,
    maps: str | Path,
    labels: tuple[str, ...],
    values: tuple[int, ...],
    space_and_networks: tuple[str, tuple[str, ...]],
) -> Parcellation:
    image = read_labels(Path(maps), request.name)
    return Parcellation(
        request.name, labels, values, space_and_networks[0], image, space_and_networks[1]
    )


def _decode_label(label: object) -> str:
    return label.decode() if isinstance(label, bytes) else str(label)


LOADERS = {
    "Schaefer2018": AtlasLoader(
        _schaefer_files,
        lambda r: f"Schaefer2018:seg-{r.n_networks}Networks:scale-{r.n_regions}",
        _load_schaefer,
    ),
    "AAL": AtlasLoader(
        lambda _: ("aal_SPM12/aal/atlas/AAL.nii", "aal_SPM12/aal/atlas/AAL.xml"),
        lambda _: "AAL",
        _load_aal,
    ),
    "MSDL": AtlasLoader(
        lambda _: (
            "msdl_atlas/MSDL_rois/msdl_rois.nii",
            "msdl_atlas/MSDL_rois/msdl_rois_labels.csv",
        ),
        lambda _: "MSDL",
        _load_msdl,
    ),
    "MMP": AtlasLoader(lambda _: (_MMP_FILE,), lambda _: "MMP", _load_mmp),
}


def combine(atlases: Sequence[Parcellation], name: str) -> Parcellation:
    """Combine label atlases into one, in their order, on the grid of the first.

    Where two regions overlap, the first atlas keeps the voxels.

    Parameters
    ----------
    atlases
        Label volumes in the same space.
    name
        Name of the combined atlas.

    Returns
    -------
    Parcellation
        Regions are numbered from 1. The regions of an atlas without
        networks form one network, which has the name of the atlas.

    Raises
    ------
    InputDataError
        An atlas is not a label volume, spaces differ, names repeat, or a region is lost.
    """
    if len(atlases) == 1:
        return atlases[0]
    for atlas in atlases:
        if atlas.probabilistic or atlas.grey:
            image_type = "a set of weight maps" if atlas.probabilistic else "a surface"
            raise InputDataError(
                f"Atlas {atlas.name} is {image_type}; only label volumes can be combined with +."
            )
    spaces = {atlas.space for atlas in atlases} - {"unknown"}
    if len(spaces) > 1:
        raise InputDataError(
            f"--atlas: {', '.join(f'{a.name} is drawn in {a.space}' for a in atlases)}; expected "
            "atlases of one space."
        )
    first = atlases[0]
    grid = first.image
    combined = np.zeros(grid.shape[:3], dtype=np.int32)
    start, shared = 0, 0
    for atlas in atlases:
        data = label_data(grid if atlas is first else to_grid(atlas, grid), atlas.name)
        numbers = np.searchsorted(atlas.values, data) + 1 + start
        free = (data > 0) & (combined == 0)
        shared += int(np.count_nonzero((data > 0) & (combined > 0)))
        combined[free] = numbers[free]
        start += len(atlas.labels)
    labels = tuple(label for atlas in atlases for label in atlas.labels)
    if lost := [
        labels[v - 1] for v in sorted(set(range(1, start + 1)) - set(np.unique(combined)))
    ]:
        raise InputDataError(
            f"Atlas {name}: {count_noun(len(lost), 'region')} of the later atlases "
            f"({join_items(lost, most=5)}) would be covered completely by the first; expected "
            "atlases of different structures."
        )
    if shared:
        _logger.warning(
            "Atlas %s: %d voxels belong to two atlases; the first keeps them", name, shared
        )
    return Parcellation(
        name=name,
        labels=labels,
        values=tuple(range(1, start + 1)),
        space=next(iter(spaces), "unknown"),
        image=label_image(combined, grid.affine),
        networks=tuple(
            network
            for atlas in atlases
            for network in atlas.networks or (atlas.name,) * len(atlas.labels)
        ),
    )
