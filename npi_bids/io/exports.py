"""Matrices in the formats of other programs: networkx, BrainNet, MATLAB, MNE, SPM, CIFTI, ..."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import networkx as nx
import nibabel as nib
import numpy as np
from nibabel.cifti2.cifti2 import Cifti2Image
from scipy import sparse
from scipy.io import savemat

from npi_bids.errors import InputDataError
from npi_bids.io.files import replacing
from npi_bids.io.region_maps import read_parcels
from npi_bids.records import Array, ECResult
from npi_bids.wording import count_noun, join_items

Centres = Array | None
_logger = logging.getLogger(__name__)


def write_npz(result: ECResult, networks: Sequence[str], centres: Centres, path: Path) -> None:
    """Write ``ec`` [source, target], ``labels`` and, if known, ``networks`` and ``centres``."""
    arrays = {"ec": result.matrix, "labels": np.array(result.labels)}
    if networks:
        arrays["networks"] = np.array(networks)
    if centres is not None:
        arrays["centres"] = centres
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def write_mat(result: ECResult, networks: Sequence[str], centres: Centres, path: Path) -> None:
    """Write a MATLAB file for the Brain Connectivity Toolbox: ``W(i,j)`` is from i to j.

    Regions that are not covered stay NaN; the diagonal is 0.
    """
    square = result.matrix.copy()
    np.fill_diagonal(square, 0.0)
    content = {
        "W": square,
        "labels": np.array(result.labels, dtype=object),
        "networks": np.array(networks, dtype=object),
        "centres": np.zeros((0, 3)) if centres is None else centres,
        "readme": "W(i,j): effective connectivity from region i (source) to region j (target).",
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        savemat(file, content, oned_as="column")


def write_graphml(result: ECResult, networks: Sequence[str], centres: Centres, path: Path) -> None:
    """Write a directed graph: an edge from source to target, with its weight and its sign."""
    graph = nx.DiGraph(description="Effective connectivity; edges point from source to target.")
    for index, label in enumerate(result.labels):
        attributes = {"label": label}
        if networks:
            attributes["network"] = networks[index]
        if centres is not None and np.isfinite(centres[index]).all():
            attributes |= dict(zip("xyz", centres[index].tolist(), strict=True))
        graph.add_node(label, **attributes)
    off_diagonal = result.matrix.copy()
    np.fill_diagonal(off_diagonal, 0.0)
    for source, target in np.argwhere(np.isfinite(off_diagonal) & (off_diagonal != 0)):
        weight = float(off_diagonal[source, target])
        sign = "positive" if weight > 0 else "negative"
        graph.add_edge(result.labels[source], result.labels[target], weight=weight, sign=sign)
    with replacing(path) as temporary:
        nx.write_graphml(graph, temporary)


def write_brainnet(
    result: ECResult, networks: Sequence[str], centres: Centres, path: Path
) -> None:
    """Write ``.node`` and ``.edge`` for BrainNet Viewer (load as directed).

    Columns of ``.node``: x, y, z, number of the network (colour), out-strength of the region
    (size), name. Regions that are not covered have no edges, which are 0 in ``.edge``.

    Raises
    ------
    InputDataError
        The centres of some regions are unknown.
    """
    if centres is None or not np.isfinite(centres).all():
        raise InputDataError(
            "BrainNet Viewer needs the centre of every region, and the table of regions has no "
            "x, y, z for all of them; use a volumetric atlas."
        )
    numbers = {name: number for number, name in enumerate(dict.fromkeys(networks), start=1)}
    off_diagonal = result.matrix.copy()
    np.fill_diagonal(off_diagonal, np.nan)
    out_strength = np.nansum(np.abs(off_diagonal), axis=1)
    lines = [
        "\t".join([*(f"{value:.1f}" for value in centres[index]),
                   str(numbers[networks[index]] if networks else 1), f"{out_strength[index]:.6g}",
                   label.replace(" ", "_")])
        for index, label in enumerate(result.labels)
    ]  # fmt: skip
    for suffix, text in (
        (".node", lines),
        # The format has no missing values; 0 draws no edge.
        (
            ".edge",
            [
                "\t".join(f"{v:.9g}" if np.isfinite(v) else "0" for v in row)
                for row in off_diagonal
            ],
        ),
    ):
        with replacing(path.with_suffix(suffix)) as temporary:
            temporary.write_text("\n".join(text) + "\n", encoding="utf-8")


def write_netcdf(result: ECResult, networks: Sequence[str], centres: Centres, path: Path) -> None:  # noqa: ARG001 (same signature for all writers)
    """Write a ``Connectivity`` of mne-connectivity, one value per ordered pair of regions.

    Its ``indices`` are the sources and the targets, so that the dense matrix that
    ``get_data("dense")`` returns is indexed ``[source, target]``. The diagonal is 0.

    Raises
    ------
    InputDataError
        The package mne-connectivity is not installed.
    """
    try:
        import h5netcdf  # noqa: F401 (which mne-connectivity needs to write)
        from mne_connectivity import Connectivity
    except ImportError as error:
        raise InputDataError(
            "netCDF files are written by the package mne-connectivity, which is not installed; "
            "run pip install 'npi-bids[mne]'."
        ) from error
    square = result.matrix.copy()
    np.fill_diagonal(square, 0.0)
    n_regions = len(result.labels)
    sources, targets = np.indices(square.shape).reshape(2, -1)
    connectivity = Connectivity(
        square.ravel(), n_nodes=n_regions, names=list(result.labels),
        indices=(sources, targets), method="effective connectivity (npi-bids)",
    )  # fmt: skip
    with replacing(path) as temporary, warnings.catch_warnings():
        # Complex numbers, which mne-connectivity allows for, are not part of netCDF.
        warnings.filterwarnings("ignore", "You are writing invalid netcdf features", UserWarning)
        connectivity.save(temporary)


def write_peb(result: ECResult, standard_error: ECResult, path: Path) -> None:
    """Write a map as an estimated DCM, for second-level analysis by SPM's ``spm_dcm_peb``.

    ``DCM.Ep.A(i,j)`` is the connection from region j to region i, as always in SPM: the transposed
    map. The posterior covariance ``Cp`` is diagonal. The prior is so wide, 100 times the variance
    of the map, that the posterior is the likelihood. Parameters without variance are left out of
    the analysis by SPM; these are the diagonal and the connections of regions that are not
    covered, whose names are in ``DCM.not_covered``.

    Parameters
    ----------
    result
        The map, ``[source, target]``.
    standard_error
        Standard error of each entry, of the same regions in the same order.
    path
        ``*.mat``; load several of them as ``GCM = {'a.mat'; 'b.mat'}``.

    Raises
    ------
    InputDataError
        The standard errors belong to other regions.
    """
    if result.labels != standard_error.labels:
        raise InputDataError(
            "The map and its standard errors have different regions; expected the same, in order."
        )
    mean, variance = result.matrix.T, standard_error.matrix.T**2
    free = np.isfinite(mean) & np.isfinite(variance) & ~np.eye(len(mean), dtype=bool)
    alone = np.flatnonzero(~free.any(axis=0) & ~free.any(axis=1))
    not_covered = [result.labels[index] for index in alone]
    if not_covered:
        _logger.warning(
            "%s: %s not covered and fixed at 0 in the DCM (%s)", path.name,
            count_noun(len(not_covered), "region"), join_items(not_covered, most=5),
        )  # fmt: skip
    # Parameters are in the order of MATLAB's A(:), which is Fortran's.
    prior = np.where(free, 100 * np.var(mean[free]), 0.0)
    content = {
        "M": {
            "pE": {"A": np.zeros_like(mean)},
            "pC": sparse.diags_array(prior.ravel("F"), format="csc"),
        },
        "Ep": {"A": np.where(free, mean, 0.0)},
        "Cp": sparse.diags_array(np.where(free, variance, 0.0).ravel("F"), format="csc"),
        "F": 0.0,
        "a": free.astype(float),
        "Y": {"name": np.array(result.labels, dtype=object)},
        "not_covered": np.array(not_covered, dtype=object),
        "readme": "Ep.A(i,j): effective connectivity from region j to region i.",
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        savemat(file, {"DCM": content}, oned_as="column")


Writer = Callable[[ECResult, Sequence[str], Centres, Path], None]

WRITERS: dict[str, tuple[str, Writer]] = {
    "graphml": (".graphml", write_graphml),
    "brainnet": (".node", write_brainnet),
    "mat": (".mat", write_mat),
    "npz": (".npz", write_npz),
    "netcdf": (".nc", write_netcdf),
}


def write_pconn(result: ECResult, atlas: Path, path: Path) -> None:
    """Write a map as ``.pconn.nii``: rows are sources, columns are targets.

    Parameters
    ----------
    result
        The map.
    atlas
        ``dlabel.nii`` whose labels are the regions of the map.
    path
        ``*.pconn.nii``.

    Raises
    ------
    InputDataError
        The atlas cannot be read, or lacks a region.
    """
    axis = read_parcels(atlas, result.labels)
    image = Cifti2Image(result.matrix.astype(np.float32), header=(axis, axis))
    image.nifti_header.set_intent("ConnParcels", name="ConnParcels")
    nib.save(image, path)
