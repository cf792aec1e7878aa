"""Where on the brain: regions on the cortex, subcortical regions in slices, and connections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from npi_bids.connectivity.network_measures import compute_flow
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import read_table
from npi_bids.matrices import symmetric
from npi_bids.parcellation.fsaverage import find_vertices
from npi_bids.parcellation.meshes import Numbers, find_mesh, fslr_name
from npi_bids.records import Array, ECResult
from npi_bids.reports import cortex, figures_connectivity
from npi_bids.reports.components import ALPHA, Figure
from npi_bids.reports.cortex import CortexView, RegionLayer
from npi_bids.reports.figures_connectivity import MOST_ARROWS
from npi_bids.reports.figures_slices import draw_slices
from npi_bids.wording import count_noun, join_items

_FEW = 10  # regions that a caption names

CortexFiles = tuple[tuple[str, str], ...]


def region_values(regions: Regions) -> tuple[int, ...]:
    """Return the values of the regions in images of the atlas, in the order of the map."""
    table = read_table(regions.path)
    value = dict(zip(table["name"].astype(str), table["index"].astype(int), strict=True))
    return tuple(value[label] for label in regions.labels)


def atlas_images(regions: Regions) -> list[Path]:
    """Return the images of an atlas beside its table: volumes and greyordinates."""
    stem = regions.path.name.removesuffix("_dseg.tsv")
    folder = regions.path.parent
    names = (f"{stem}*_dseg.dlabel.nii", f"{stem}*_dseg.nii.gz", f"{stem}*_dseg.nii")
    return [path for name in names for path in sorted(folder.glob(name))]


def place_on_cortex(regions: Regions) -> Numbers | None:
    """Return the region of each vertex of a mesh; None where that cannot be known.

    That is so where the atlas is neither in MNI space nor on a surface whose mesh is at hand.
    """
    for path in atlas_images(regions):
        if path.name.endswith(".dlabel.nii"):
            found = find_vertices(path, regions.labels, ())
        elif _is_mni(regions):
            found = find_vertices(path, regions.labels, region_values(regions))
        else:
            found = None
        if found is not None and found.any():
            return found
    return None


def name_mesh(vertices: Numbers) -> str:
    """Return the surface and the shape of the mesh that regions are placed on."""
    mesh = find_mesh(len(vertices) // 2)
    return mesh.name if mesh else "the cortex"


def split_files(figures: Sequence[Figure]) -> tuple[tuple[Figure, ...], CortexFiles]:
    """Return the figures of a page, and titles and paths of those that it only links to."""
    return (tuple(figure for figure in figures if not figure.linked),
            tuple((figure.title, figure.file) for figure in figures if figure.linked))  # fmt: skip


def find_label_image(regions: Regions) -> Path | None:
    """Return the volume of labels of an atlas, in whatever space, if there is one."""
    volumes = (path for path in atlas_images(regions) if ".dlabel." not in path.name)
    return next(volumes, None)


def find_volume(regions: Regions) -> Path | None:
    """Return the volume of labels of an atlas in MNI space, if there is one."""
    return find_label_image(regions) if _is_mni(regions) else None


def _is_mni(regions: Regions) -> bool:
    return regions.path.name.startswith("tpl-MNI")


def why_not_drawn(regions: Regions) -> str:
    """Return why nothing is drawn on the brain, of regions without centres or a usable mesh."""
    if any(path.name.endswith(".dlabel.nii") for path in atlas_images(regions)):
        return (
            "the mesh of the surface of the atlas is not at hand: fsaverage5 is included, and "
            f"fsLR 32k is drawn where TemplateFlow's archive holds tpl-fsLR_{fslr_name('left')}"
        )
    return "the coordinates of the regions are not known"


def strength_layers(ec: ECResult, *, directed: bool) -> list[RegionLayer]:
    """Return what regions send, receive and both on balance; without direction, their mean."""
    flow = compute_flow(ec.matrix)
    if not directed:
        return [
            RegionLayer(
                "strength",
                "Strength: mean of the sums of the connections that a region sends and receives, "
                "which the signals do not tell apart",
                (flow.out_strength + flow.in_strength) / 2,
            )
        ]
    return [
        RegionLayer("out-strength", "Out-strength: sum of the connections that a region sends",
                    flow.out_strength),
        RegionLayer("in-strength", "In-strength: sum of the connections that a region receives",
                    flow.in_strength),
        RegionLayer("net flow", "Net flow: absolute strength sent minus received", flow.net_flow),
    ]  # fmt: skip


def view_cortex(
    name: str, ec: ECResult, regions: Regions, vertices: Numbers, *, directed: bool
) -> CortexView:
    """Return the cortex of a page, whose regions can be pointed at."""
    absent = [label for number, label in enumerate(regions.labels, start=1)
              if not (vertices == number).any()]  # fmt: skip
    caption = f"Regions on {name_mesh(vertices)}."
    if absent:
        count = count_noun(len(absent), "region")
        caption += f" {count} {'is' if len(absent) == 1 else 'are'} not on the cortex: "
        caption += f"{join_items(absent, most=_FEW)}."
    return CortexView(name, regions.labels, regions.network, vertices,
                      strength_layers(ec, directed=directed), directed, caption)  # fmt: skip


def draw_connections(
    ec: ECResult,
    regions: Regions,
    prefix: str = "",
    *,
    significant: Array | None = None,
    directed: bool = True,
) -> list[Figure]:
    """Return figures of the connections of a map on the brain.

    Those of the cortex are files for download: the page draws the cortex itself.

    Parameters
    ----------
    ec
        Map of effective connectivity.
    regions
        Table of the regions of the map.
    prefix
        Begins the names of the figures.
    significant
        The map with all other entries n/a; if None, all connections may be drawn on the brain.
    directed
        Whether direction is supported: arrows if it is, lines of the symmetric part if not.
    """
    figures = []
    if regions.centres is not None and (significant is None or np.isfinite(significant).any()):
        figures.append(_draw_strongest(ec, regions, prefix, significant, directed))
    layers = strength_layers(ec, directed=directed)
    vertices = place_on_cortex(regions)
    if vertices is not None:
        figures += [
            Figure(f"{prefix}{_file_name(one)}", one.title.partition(":")[0],
                   f"{_caption(one)}, on {name_mesh(vertices)}.",
                   cortex.draw_cortex(vertices, one),
                   f"Cortical surface with regions coloured by {one.name}", linked=True)
            for one in layers
        ]  # fmt: skip
    elif regions.centres is not None:
        figures += [
            Figure(f"{prefix}{_file_name(one)}", one.title.partition(":")[0],
                   f"{_caption(one)}, drawn at its centre.{_note_space(regions)}",
                   figures_connectivity.draw_on_brain(one.values, regions.centres),
                   f"Outline of the brain with one point per region, coloured by {one.name}",
                   wide=True)
            for one in layers
        ]  # fmt: skip
    return [*figures, *_draw_subcortex(regions, layers, vertices, prefix)]


def _file_name(layer: RegionLayer) -> str:
    return layer.name.replace(" ", "").replace("-", "")


def _note_space(regions: Regions) -> str:
    """Say that coordinates and the outline of the brain are not of the same space, if so."""
    space = regions.path.name.partition("_")[0].removeprefix("tpl-")
    if _is_mni(regions) or find_label_image(regions) is None:
        return ""
    return (
        f" Coordinates are those of the images ({space}), but the outline is that of MNI152: only "
        "the arrangement can be read."
    )


def _caption(layer: RegionLayer) -> str:
    text = layer.title.partition(": ")[2]
    return text[:1].upper() + text[1:]


def _draw_strongest(
    ec: ECResult, regions: Regions, prefix: str, significant: Array | None, directed: bool
) -> Figure:
    """Return the strongest connections on the brain, as arrows or as lines."""
    matrix = ec.matrix if directed else symmetric(ec.matrix)
    if significant is not None:
        displayed = np.isfinite(significant)
        matrix = np.where(displayed if directed else displayed | displayed.T, matrix, np.nan)
    tested = "" if significant is None else f" with q below {ALPHA:g}"
    pairs = matrix if directed else np.where(np.tri(len(matrix), dtype=bool), np.nan, matrix)
    candidates = np.isfinite(pairs) & (pairs != 0) & ~np.eye(len(pairs), dtype=bool)
    n_all = int(candidates.sum())
    caption = f"The strongest connections{tested}: {min(MOST_ARROWS, n_all)} of {n_all} shown. "
    caption += "Width: strength; red: positive, blue: negative. "
    caption += (
        "Arrows point from source to target." if directed
        else "Direction is not supported, so lines show the mean of both directions."
    )  # fmt: skip
    caption += _note_space(regions)
    centres = np.asarray(regions.centres, dtype=float)
    return Figure(
        f"{prefix}connectome",
        "The strongest connections on the brain",
        caption,
        figures_connectivity.draw_connectome(matrix, centres, ec.labels),
        "Brain from above with the strongest connections, which the table of connections lists",
    )


def _draw_subcortex(
    regions: Regions, layers: Sequence[RegionLayer], vertices: Numbers | None, prefix: str
) -> list[Figure]:
    """Return slices with the regions that are not on the cortex, if there are any."""
    volume = find_volume(regions)
    if volume is None:
        return []
    placed = np.zeros(0, dtype=int) if vertices is None else vertices
    absent = ~np.isin(np.arange(1, len(regions.labels) + 1), placed)
    if not absent.any():
        return []
    layer = layers[0]
    svg = draw_slices(volume, np.array(region_values(regions))[absent], layer.values[absent])
    caption = f"{_caption(layer)}, of regions that are not on the cortex; axial slices (mm)."
    return [Figure(f"{prefix}subcortex", f"Subcortical regions, {layer.name}", caption, svg,
                   "Axial slices with subcortical regions in colour", wide=True)]  # fmt: skip
