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
from npi_bids.wording import join_words

Centres = Array | None


def write_npz(result: ECResult, networks: Sequence[str], centres: Centres, path: Path) -> None:
    """Write ``ec`` [source, target], ``labels`` and, where known, ``networks`` and ``centres``."""
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
    for place, label in enumerate(result.labels):
        facts = {"label": label}
        if networks:
            facts["network"] = networks[place]
        if centres is not None and np.isfinite(centres[place]).all():
            facts |= dict(zip("xyz", centres[place].tolist(), strict=True))
        graph.add_node(label, **facts)
    off = result.matrix.copy()
    np.fill_diagonal(off, 0.0)
    for source, target in np.argwhere(np.isfinite(off) & (off != 0)):
        weight = float(off[source, target])
        sign = "positive" if weight > 0 else "negative"
        graph.add_edge(result.labels[source], result.labels[target], weight=weight, sign=sign)
    with replacing(path) as temporary:
        nx.write_graphml(graph, temporary)


def write_brainnet(
    result: ECResult, networks: Sequence[str], centres: Centres, path: Path
) -> None:
    """Write ``.node`` and ``.edge`` for BrainNet Viewer (load as directed).

    Columns of ``.node``: x, y, z, number of the network (colour), strength of what the region
    sends (size), name. Regions that are not covered have no edges, which ``.edge`` writes as 0.

    Raises
    ------
    InputDataError
        The centres of the regions are not known.
    """
    if centres is None or not np.isfinite(centres).all():
        raise InputDataError(
            "BrainNet Viewer needs the centre of every region, and the table of regions has no "
            "x, y, z for all of them; use a volumetric atlas."
        )
    numbers = {name: place for place, name in enumerate(dict.fromkeys(networks), start=1)}
    off = result.matrix.copy()
    np.fill_diagonal(off, np.nan)
    sent = np.nansum(np.abs(off), axis=1)
    lines = [
        "\t".join([*(f"{value:.1f}" for value in centres[place]),
                   str(numbers[networks[place]] if networks else 1), f"{sent[place]:.6g}",
                   label.replace(" ", "_")])
        for place, label in enumerate(result.labels)
    ]  # fmt: skip
    for suffix, text in (
        (".node", lines),
        # The format knows no missing value; a region without edges is drawn without them.
        (".edge", ["\t".join(f"{v:.9g}" if np.isfinite(v) else "0" for v in row) for row in off]),
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
        raise InputDataError(f"<{atlas}> is no atlas of labels; expected a .dlabel.nii.")
    values = np.rint(values).astype(int)
    value_of = {name: value for value, (name, _) in names.label[0].items()}
    if missing := [label for label in labels if label not in value_of]:
        raise InputDataError(
            f"The atlas <{atlas}> lacks the regions {join_words(missing, most=5)}; use the atlas "
            "that the matrix was made with."
        )
    parcels = [(label, models[np.flatnonzero(values == value_of[label])]) for label in labels]
    axis: ParcelsAxis = ParcelsAxis.from_brain_models(parcels)
    return axis
