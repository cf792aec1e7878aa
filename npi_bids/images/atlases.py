"""Named atlases through nilearn, and atlases from files; fetched only where that is allowed."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npi_bids.errors import InputDataError
from npi_bids.images.grey_atlases import load_grey_atlas
from npi_bids.images.mmp import load_mmp
from npi_bids.images.opening import load_image, read_data
from npi_bids.images.parcellation import Parcellation, read_labels, weights_image
from npi_bids.images.spheres import load_spheres, sphere_atlases
from npi_bids.images.tables import find_table, read_names

_logger = logging.getLogger(__name__)

_MMP_URL = (
    "https://raw.githubusercontent.com/mbedini/The-HCP-MMP1.0-atlas-in-FSL/master/"
    "MNI_Glasser_HCP_v1.0.nii.gz"
)
_MMP_SHA256 = "1fa0b064447ac2921d46528f4275c76d66652068e889ae070d81863232e6144c"
_MMP_FILE = "hcp_mmp1/MNI_Glasser_HCP_v1.0.nii.gz"
_MMP_NOTICE = (
    "The HCP-MMP1.0 parcellation (Glasser et al. 2016, doi:10.1038/nature18933) comes under the "
    "open access data use terms of the WU-Minn Human Connectome Project; its volume comes from "
    "github.com/mbedini/The-HCP-MMP1.0-atlas-in-FSL under GPL-3. By fetching it you accept both."
)


@dataclass(frozen=True, slots=True)
class AtlasRequest:
    """Which atlas a user asked for.

    ``path`` is set for a file of the user's; ``n_regions`` and ``n_networks`` for Schaefer2018.
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
        Which one.
    offline
        True where the network must not be touched; then what is missing is an error that says
        how to prefetch it.

    Raises
    ------
    InputDataError
        The files are missing, damaged, or not what the atlas should be.
    """
    if request.path:
        return load_file(Path(request.path), request)
    if request.name in sphere_atlases():
        return load_spheres(request.name)
    loader = _LOADERS[request.name]
    needed = loader.files(request)
    present = find_cached(needed)
    if present is None and offline:
        raise InputDataError(
            f"Atlas {request.name} is not in the cache and --offline is set. Looked for "
            f"{needed} in {[str(folder) for folder in cache_folders()]}. On a machine with "
            f"network run `npi-bids-fetch {loader.command(request)}`, copy the folder, and point "
            "NILEARN_DATA to it."
        )
    return loader.load(request, present)


def cache_folders() -> list[Path]:
    """Return where nilearn keeps its atlases, in the order in which it looks."""
    from nilearn.datasets import get_data_dirs

    return [Path(folder) for folder in get_data_dirs()]


def find_cached(needed: tuple[str, ...]) -> Path | None:
    """Return the first cache folder that holds all files, none of them empty."""
    for folder in cache_folders():
        if all((folder / name).is_file() and (folder / name).stat().st_size for name in needed):
            return folder
    return None


def load_file(path: Path, request: AtlasRequest) -> Parcellation:
    """Load an atlas of the user's: an image with a table of names beside it.

    A volume of the MMP (``request.name``) needs no table: its values tell the areas.

    Raises
    ------
    InputDataError
        The image cannot be read, or has no names, or does not match them.
    """
    if path.name.endswith((".dlabel.nii", ".label.gii")):
        return load_grey_atlas(path, request.name, request.space)
    image = load_image(path)
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
                "places of the maps in the image."
            )
        if shape[3] != len(table):
            raise InputDataError(
                f"The atlas <{path}> has {shape[3]} maps but its table names {len(table)} "
                "regions; expected one map per region."
            )
        kept = weights_image(read_data(path, image), image.affine)
    else:
        kept = read_labels(path, request.name)
    return Parcellation(
        name=request.name,
        labels=tuple(table["name"]),
        values=tuple(int(value) for value in table["index"]),
        space=request.space,
        image=kept,
        networks=tuple(table["network"]) if "network" in table else (),
    )


@dataclass(frozen=True, slots=True)
class _Loader:
    files: Callable[[AtlasRequest], tuple[str, ...]]
    command: Callable[[AtlasRequest], str]
    load: Callable[[AtlasRequest, Path | None], Parcellation]


def _fetch(fetcher: Callable[..., Any], folder: Path | None, **options: Any) -> Any:
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

    found = _fetch(
        fetch_atlas_schaefer_2018,
        folder,
        n_rois=request.n_regions,
        yeo_networks=request.n_networks,
        resolution_mm=2,
    )
    prefix = f"{request.n_networks}Networks_"
    names = [_text(label) for label in found.labels if _text(label) != "Background"]
    labels = tuple(name.removeprefix(prefix) for name in names)
    return _labelled(request, found.maps, labels, tuple(range(1, len(labels) + 1)), (
        "MNI152NLin6Asym", tuple(label.split("_")[1] for label in labels)
    ))  # fmt: skip


def _load_aal(request: AtlasRequest, folder: Path | None) -> Parcellation:
    from nilearn.datasets import fetch_atlas_aal

    found = _fetch(fetch_atlas_aal, folder, version="SPM12")
    pairs = [
        (int(value), _text(label))
        for value, label in zip(found.indices, found.labels, strict=True)
        if int(value) > 0
    ]
    values, labels = zip(*pairs, strict=True)
    return _labelled(request, found.maps, labels, values, ("MNIColin27", ()))


def _load_msdl(request: AtlasRequest, folder: Path | None) -> Parcellation:
    from nilearn.datasets import fetch_atlas_msdl

    found = _fetch(fetch_atlas_msdl, folder)
    labels = tuple(_text(label).strip() for label in found.labels)
    path = Path(found.maps)
    image = load_image(path)
    return Parcellation(
        name=request.name,
        labels=labels,
        values=tuple(range(1, len(labels) + 1)),
        space="MNI152NLin6Asym",
        image=weights_image(read_data(path, image), image.affine),
        networks=tuple(_text(network).strip() for network in found.networks),
    )


def _load_mmp(request: AtlasRequest, folder: Path | None) -> Parcellation:  # noqa: ARG001 (same signature for all loaders)
    import pooch

    if folder is None:
        _logger.warning("%s", _MMP_NOTICE)
        target = cache_folders()[0] / _MMP_FILE
        try:
            pooch.retrieve(_MMP_URL, f"sha256:{_MMP_SHA256}", target.name, target.parent)
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError):  # it holds something
                target.parent.rmdir()
            raise InputDataError(
                f"The MMP could not be fetched from {_MMP_URL} ({error}). Use a file of yours: "
                "--atlas PATH/MNI_Glasser_HCP_v1.0.nii.gz."
            ) from error
        return load_mmp(target)
    return load_mmp(folder / _MMP_FILE)


def _labelled(
    request: AtlasRequest,
    maps: Any,
    labels: tuple[str, ...],
    values: tuple[int, ...],
    drawn: tuple[str, tuple[str, ...]],
) -> Parcellation:
    kept = read_labels(Path(maps), request.name)
    return Parcellation(request.name, labels, values, drawn[0], kept, drawn[1])


def _text(label: Any) -> str:
    return label.decode() if isinstance(label, bytes) else str(label)


_LOADERS = {
    "Schaefer2018": _Loader(
        _schaefer_files,
        lambda r: f"Schaefer2018:seg-{r.n_networks}Networks:scale-{r.n_regions}",
        _load_schaefer,
    ),
    "AAL": _Loader(
        lambda _: ("aal_SPM12/aal/atlas/AAL.nii", "aal_SPM12/aal/atlas/AAL.xml"),
        lambda _: "AAL",
        _load_aal,
    ),
    "MSDL": _Loader(
        lambda _: (
            "msdl_atlas/MSDL_rois/msdl_rois.nii",
            "msdl_atlas/MSDL_rois/msdl_rois_labels.csv",
        ),
        lambda _: "MSDL",
        _load_msdl,
    ),
    "MMP": _Loader(lambda _: (_MMP_FILE,), lambda _: "MMP", _load_mmp),
}
