"""Matrices in the formats of other programs: GraphML, BrainNet, MATLAB, NumPy, CIFTI pconn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import networkx as nx
import nibabel as nib
import numpy as np
from nibabel.cifti2.cifti2 import Cifti2Image
from nibabel.cifti2.cifti2_axes import BrainModelAxis, LabelAxis, ParcelsAxis
from scipy.io import savemat

from npi_bids.errors import InputDataError
from npi_bids.io.files import replacing
from npi_bids.io.images import read_dlabel
from npi_bids.records import Array, ECResult
from npi_bids.wording import join_items

Centres = Array | None


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


Writer = Callable[[ECResult, Sequence[str], Centres, Path], None]

WRITERS: dict[str, tuple[str, Writer]] = {
    "graphml": (".graphml", write_graphml),
    "brainnet": (".node", write_brainnet),
    "mat": (".mat", write_mat),
    "npz": (".npz", write_npz),
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
    axis = _parcels(atlas, result.labels)
    image = Cifti2Image(result.matrix.astype(np.float32), header=(axis, axis))
    image.nifti_header.set_intent("ConnParcels", name="ConnParcels")
    nib.save(image, path)


def _parcels(atlas: Path, labels: tuple[str, ...]) -> ParcelsAxis:
    names, models, values = read_dlabel(atlas)
    if not isinstance(names, LabelAxis) or not isinstance(models, BrainModelAxis):
        raise InputDataError(f"<{atlas}> is not an atlas of labels; expected a .dlabel.nii.")
    values = np.rint(values).astype(int)
    value_of = {name: value for value, (name, _) in names.label[0].items()}
    if missing := [label for label in labels if label not in value_of]:
        raise InputDataError(
            f"The atlas <{atlas}> lacks the regions {join_items(missing, most=5)}; use the atlas "
            "that the matrix is based on."
        )
    parcels = [(label, models[np.flatnonzero(values == value_of[label])]) for label in labels]
    axis: ParcelsAxis = ParcelsAxis.from_brain_models(parcels)
    return axis
