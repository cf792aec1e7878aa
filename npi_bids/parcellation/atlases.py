"""Atlases: those that nilearn provides, files, spheres, and combinations of several."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from npi_bids.errors import InputDataError
from npi_bids.io.images import load_image, read_data
from npi_bids.parcellation.atlas_table import (
    AtlasEntry,
    DownloadSource,
    NilearnSource,
    TemplateFlowSource,
    find_entry,
    name_archive_files,
    read_atlas_table,
)
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
from npi_bids.parcellation.resampling import to_grid, to_template
from npi_bids.parcellation.template_archive import (
    fetch_template_file,
    find_template_file,
    template_home,
)
from npi_bids.wording import count_noun, join_items

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

# The 2 mm grid of MNI152NLin6Asym, on which the spheres are drawn.
_SHAPE = (91, 109, 91)
_AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
_RADIUS = 5.0
_logger = logging.getLogger(__name__)


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

    Attributes
    ----------
    name
        Name of the atlas: a row of the table, or the name of a user's file.
    n_regions, n_networks
        Scale and networks of an atlas that comes in several.
    path
        File of the atlas; empty for an atlas of the table.
    space
        Template that the atlas is wanted in, where it comes in several; that of a user's file.
    transform
        Transform into another template; empty to leave the atlas in its own.
    target
        The template that the transform leads to.
    """

    name: str
    n_regions: int = 0
    n_networks: int = 7
    path: str = ""
    space: str = "unknown"
    transform: str = ""
    target: str = ""

    def fill(self, text: str) -> str:
        """Fill ``{scale}``, ``{seg}`` and ``{n_networks}`` into a text of the table of atlases.

        >>> AtlasRequest("Schaefer2018", 100).fill("{scale}Parcels{seg}")
        '100Parcels7Networks'
        """
        return text.format(
            scale=self.n_regions, seg=f"{self.n_networks}Networks", n_networks=self.n_networks
        )

    @property
    def command(self) -> str:
        """The arguments of ``npi-bids-fetch`` that download the atlas."""
        entry = read_atlas_table().get(self.name, {})
        parts = [self.name]
        parts += [f"seg-{self.n_networks}Networks"] if entry.get("segs") else []
        parts += [f"scale-{self.n_regions}"] if entry.get("scales") else []
        parts += [f"tpl-{self.space}"] if self.space in _other_templates(entry) else []
        return ":".join(parts)


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
    parcellation = _load_in_own_template(request, offline=offline)
    if request.transform:
        return to_template(parcellation, Path(request.transform), request.target)
    return parcellation


def _load_in_own_template(request: AtlasRequest, *, offline: bool) -> Parcellation:
    if request.path:
        return load_file(Path(request.path), request)
    if request.name in sphere_atlases():
        return load_spheres(request.name)
    entry = find_entry(request.name)
    if entry is None:
        raise InputDataError(f"There is no atlas {request.name}; see --list-atlases.")
    if request.space in _other_templates(entry):
        return _load_from_archive(request, entry, offline=offline)
    if (cached := load_cached(request)) is not None:
        return cached
    own = replace(request, space=entry["space"])
    if "templateflow" in entry and None not in _find_in_archive(own, entry):
        _logger.info(
            "Atlas %s is not in the cache of nilearn and is taken from <%s>",
            request.name, template_home(),
        )  # fmt: skip
        return _load_from_archive(own, entry, offline=True)
    if offline:
        raise InputDataError(
            f"Atlas {request.name} is not in the cache and --offline is set. Looked in "
            f"{join_items(cache_folders())}. On a computer with network access run "
            f"`npi-bids-fetch {request.command}`, copy the folder, and point NILEARN_DATA to it."
        )
    return _download_atlas(request, entry)


def _other_templates(entry: AtlasEntry) -> list[str]:
    """Return the templates other than its own in which TemplateFlow holds an atlas."""
    templates = entry.get("templateflow", {}).get("templates", [])
    return [template for template in templates if template != entry["space"]]


def cache_folders() -> list[Path]:
    """Return the folders of nilearn's atlases, in the order in which it searches them."""
    from nilearn.datasets import get_data_dirs

    return [Path(folder) for folder in get_data_dirs()]


def load_cached(request: AtlasRequest) -> Parcellation | None:
    """Load an atlas of the table in its own template from this computer, or return None.

    Which files belong to an atlas is asked from nilearn, whose function is called for one folder
    of the cache after the other, without network.
    """
    entry = find_entry(request.name) or AtlasEntry()
    if "dataset" in entry:
        raise InputDataError(
            f"Atlas {request.name} comes in a BIDS-atlas dataset, and none that holds it was "
            f"named; give the folder of {entry['dataset']['origin']} with -d atlases=PATH."
        )
    for folder in filter(Path.is_dir, cache_folders()):
        if "nilearn" in entry:
            try:
                with _no_network(), _no_leftovers():
                    dataset = _call_fetcher(request, entry["nilearn"], folder)
            except (OSError, ValueError):  # not in this folder
                continue
            return _read_dataset(request, entry, dataset)
        if "download" in entry and (path := folder / entry["download"]["file"]).is_file():
            return load_file(path, replace(request, space=entry["space"]))
    return None


def _load_from_archive(request: AtlasRequest, entry: AtlasEntry, *, offline: bool) -> Parcellation:
    """Load an atlas in a template for which TemplateFlow holds it."""
    source, names = entry["templateflow"], _archive_names(request, entry)
    try:
        if offline and None in _find_in_archive(request, entry):
            raise InputDataError(
                f"tpl-{request.space}_{names[0]} and its table are not in <{template_home()}>, "
                "and --offline is set."
            )
        image, table = (fetch_template_file(request.space, name) for name in names)
    except InputDataError as error:
        raise InputDataError(
            f"Atlas {request.name} in {request.space}, the space of the images: {error} On a "
            f"computer with network access run `npi-bids-fetch {request.command}`, copy the "
            "folder, and point TEMPLATEFLOW_HOME to it. Or use images in "
            f"{entry['space']} (--space), or --atlas {request.name}:tpl-{entry['space']}, whose "
            "regions are displaced by millimetres in these images."
        ) from error
    loaded = load_file(image, request, table=table)
    prefix = request.fill(source.get("prefix", ""))
    labels = tuple(label.removeprefix(prefix) for label in loaded.labels)
    return replace(loaded, labels=labels, networks=_networks(labels, source))


def _archive_names(request: AtlasRequest, entry: AtlasEntry) -> tuple[str, str]:
    """Return the names of image and table of an atlas within a template of TemplateFlow."""
    source = entry["templateflow"]
    return name_archive_files(source, request.fill(source["desc"]))


def _find_in_archive(request: AtlasRequest, entry: AtlasEntry) -> list[Path | None]:
    names = _archive_names(request, entry)
    return [find_template_file(request.space, name) for name in names]


def _networks(
    labels: Sequence[str], source: NilearnSource | TemplateFlowSource
) -> tuple[str, ...]:
    """Return the network of each region, where its name states it."""
    part = source.get("network_part")
    return () if part is None else tuple(label.split("_")[part] for label in labels)


def load_file(path: Path, request: AtlasRequest, table: Path | None = None) -> Parcellation:
    """Load an atlas from a file: an image with a table of names, which is beside it if None.

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
        names = read_names(table or find_table(path))
    except InputDataError:
        if request.name == "MMP":
            return load_mmp(path)
        raise
    if request.name == "MMP" and len(names) != 360:
        raise InputDataError(
            f"<{path}> is named like the MMP but its table has {len(names)} regions, not 360; "
            "rename it to atlas-NAME_dseg.nii.gz to use it as an atlas of your own."
        )
    if len(shape) == 4 and shape[3] > 1:
        _check_maps(path, shape[3], names)
        volume = weights_image(read_data(path, image), image.affine)
    else:
        volume = read_labels(path, request.name)
        _check_unnumbered_names(path, names, volume)
    return Parcellation(
        name=request.name,
        labels=tuple(names["name"]),
        values=tuple(int(value) for value in names["index"]),
        space=request.space,
        image=volume,
        networks=tuple(names["network"]) if "network" in names else (),
    )


def _check_maps(path: Path, n_maps: int, table: pd.DataFrame) -> None:
    """Refuse a table that does not number the maps of an image by their positions."""
    if list(table["index"]) != list(range(1, len(table) + 1)):
        raise InputDataError(
            f"The atlas <{path}> has one map per region, but its table numbers them "
            f"{', '.join(map(str, table['index'][:5]))} ...; expected 1 to {len(table)}, the "
            "positions of the maps in the image."
        )
    if n_maps != len(table):
        raise InputDataError(
            f"The atlas <{path}> has {n_maps} maps but its table names {len(table)} "
            "regions; expected one map per region."
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


@contextlib.contextmanager
def _no_network() -> Iterator[None]:
    """Refuse the requests of nilearn while one of its functions looks for files."""
    import requests

    send = requests.Session.send

    def refuse(*_: object, **__: object) -> NoReturn:
        raise requests.ConnectionError("the file is not in this folder")

    requests.Session.send = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        requests.Session.send = send  # type: ignore[method-assign]


@contextlib.contextmanager
def _no_leftovers() -> Iterator[None]:
    """Remove what a failed function of nilearn leaves in the cache.

    nilearn would take an empty folder for the atlas, though it is in another folder of the cache.
    """
    before = _cached_datasets()
    try:
        yield
    except (OSError, ValueError):
        for child in _cached_datasets() - before:
            with contextlib.suppress(OSError):
                shutil.rmtree(child) if child.is_dir() else child.unlink()
        raise


def _cached_datasets() -> set[Path]:
    return {child for base in cache_folders() if base.is_dir() for child in base.iterdir()}


def _call_fetcher(request: AtlasRequest, source: NilearnSource, folder: Path | None) -> Any:
    import nilearn.datasets

    options: dict[str, str | int] = {}
    for name, value in source["options"].items():
        text = request.fill(value) if isinstance(value, str) else value
        options[name] = int(text) if str(text).isdigit() else text
    return getattr(nilearn.datasets, source["fetcher"])(data_dir=folder, verbose=0, **options)


def _download_atlas(request: AtlasRequest, entry: AtlasEntry) -> Parcellation:
    """Download an atlas to the cache of nilearn, and load it."""
    if "download" in entry:
        path = _download_file(request, entry["download"])
        return load_file(path, replace(request, space=entry["space"]))
    try:
        with _no_leftovers():
            dataset = _call_fetcher(request, entry["nilearn"], None)
    except (OSError, ValueError) as error:
        raise InputDataError(
            f"The atlas could not be downloaded ({error}). On a machine without network use "
            "--offline with a filled cache (npi-bids-fetch), or an atlas that needs none: "
            f"{', '.join(sphere_atlases())}."
        ) from error
    return _read_dataset(request, entry, dataset)


def _download_file(request: AtlasRequest, source: DownloadSource) -> Path:
    import pooch

    _logger.warning("%s", source["notice"])
    target = cache_folders()[0] / source["file"]
    try:
        pooch.retrieve(source["url"], f"sha256:{source['sha256']}", target.name, target.parent)
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):  # it is not empty
            target.parent.rmdir()
        raise InputDataError(
            f"The {request.name} could not be fetched from {source['url']} ({error}). Use a local "
            f"file: --atlas PATH/{target.name}."
        ) from error
    return target


def _read_dataset(request: AtlasRequest, entry: AtlasEntry, dataset: Any) -> Parcellation:
    """Read an atlas that nilearn provides: labels with a table, or one map per region."""
    source, path = entry["nilearn"], Path(dataset.maps)
    prefix = request.fill(source.get("prefix", ""))
    lut = dataset.get("lut")
    if lut is None:
        names = [_decode_label(label) for label in dataset.labels]
        values = tuple(range(1, len(names) + 1))
    else:
        regions = lut[lut["index"].astype(int) > 0]
        names, values = list(regions["name"]), tuple(map(int, regions["index"]))
    labels = tuple(name.removeprefix(prefix) for name in names)
    stated = tuple(_decode_label(network) for network in dataset.get("networks", ()))
    image = cast("SpatialImage", load_image(path))
    return Parcellation(
        name=request.name,
        labels=labels,
        values=values,
        space=entry["space"],
        image=weights_image(read_data(path, image), image.affine)
        if len(image.shape) == 4 and image.shape[3] > 1
        else read_labels(path, request.name),
        networks=stated or _networks(labels, source),
    )


def _decode_label(label: object) -> str:
    return (label.decode() if isinstance(label, bytes) else str(label)).strip()


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
