"""What the page of a subject shows of its map."""

from __future__ import annotations

from pathlib import Path

from npi_bids.bids.results import Model
from npi_bids.core.flow import Flow, flow_of, network_map
from npi_bids.core.records import Array, ECResult
from npi_bids.images.surface import on_surface
from npi_bids.io.statistics import Regions, edge_rows, ranked
from npi_bids.io.tables import read_matrix
from npi_bids.reports import figures, figures_network
from npi_bids.reports.facts import number
from npi_bids.reports.matrices import Layer, MatrixView
from npi_bids.reports.records import Figure, SortedTable

# q below which a connection is shown as sure, and how many connections a table holds.
SURE, LISTED = 0.05, 100
_DETAILS = {"npilower": "lower", "npiupper": "upper", "npiq": "q"}


class MapOfModel:
    """The map of a model, and the pictures of it."""

    def __init__(self, model: Model, name: str) -> None:
        self.model, self.name = model, name
        self.ec = read_matrix(model.path("npi"))
        self.regions = Regions(model.regions_file, self.ec.labels)
        self.networks = self.regions.network
        self.others = {
            kind: read_matrix(model.path(kind)).matrix
            for kind in ("pearsoncorrelation", "modelfc", *_DETAILS)
            if model.path(kind).is_file()
        }

    def view(self) -> MatrixView:
        """Return the matrices that a reader goes through."""
        layers = [Layer("EC", "effective connectivity by perturbation", self.ec.matrix)]
        if "npiq" in self.others:
            sure = self._sure()
            title = f"effective connectivity with q below {SURE:g}"
            layers.append(Layer("EC, sure", title, sure, below=("q", SURE)))
        for kind, name, title in (
            ("pearsoncorrelation", "FC", "functional connectivity of the data"),
            ("modelfc", "model FC", "functional connectivity of the free-running surrogate"),
        ):
            if kind in self.others:
                layers.append(Layer(name, title, self.others[kind], directed=False, limit=1.0))
        details = {"q": self.others["npiq"]} if "npiq" in self.others else {}
        if "npiupper" in self.others:
            details["half"] = self.others["npiupper"] - self.ec.matrix
        unit = "SD of the target"
        return MatrixView(self.name, self.ec.labels, self.networks, layers, details, unit)

    def summary(self) -> tuple[str, ...]:
        """Return the map in a few sentences."""
        flow = flow_of(self.ec.matrix)
        lines = []
        best = next(iter(ranked(self.ec, 1)), None)
        if best is not None:
            source, target, value = best
            lines.append(f"The strongest connection is {source} → {target} ({number(value)}).")
        if "npiq" in self.others:
            n_sure = int((self.others["npiq"] < SURE).sum())
            n_all = int((self.others["npiq"] >= 0).sum())
            lines.append(f"{n_sure} of {n_all} connections have q below {SURE:g}.")
        sends, receives = ranked_regions(self.ec.labels, flow.net_flow)
        if sends:
            lines.append(
                f"By absolute strength {sends} sends most beyond what it receives, {receives} "
                "receives most beyond what it sends."
            )
        quality = self.model.sidecar["Quality"]
        supported = "" if quality["direction_supported"] else "not "
        lines.append(
            f"Direction is {supported}supported by the signals; "
            f"{number(100 * (quality['antisymmetric_share'] or 0))} % of the energy of the map "
            "has a direction."
        )
        if quality["expected_r"] is not None:
            lines.append(
                f"Simulated maps of like quality reached r {number(quality['expected_r'])} with "
                f"their truth (90 %: {number(quality['expected_r_lower'])} to "
                f"{number(quality['expected_r_upper'])})."
            )
        if self.regions.centres is None and _mesh_atlas(self.regions) is None:
            lines.append(
                "The atlas lies on a surface of which no mesh is at hand (fsaverage5 alone is): "
                "nothing is drawn on the brain."
            )
        return tuple(lines)

    def strongest_table(self) -> SortedTable:
        """Return the strongest connections with their intervals."""
        columns, rows = edge_rows(
            self.ec, {name: self.others[kind] for kind, name in _DETAILS.items()
                      if kind in self.others}, self.networks, LISTED,
        )  # fmt: skip
        return SortedTable(
            f"{self.name}-strongest", f"The {len(rows)} strongest connections", columns, rows
        )

    def matrices(self) -> list[Figure]:
        """Return matrices as figures for use elsewhere."""
        draw = figures.draw_matrix
        drawn = [Figure("ec", "EC", "", draw(self.ec.matrix, self.networks, title="EC"))]
        for kind, name, title in (
            ("pearsoncorrelation", "fc", "FC"), ("modelfc", "modelfcmatrix", "model FC"),
        ):  # fmt: skip
            if kind in self.others:
                svg = draw(
                    self.others[kind], self.networks, title=title, directed=False, limit=1.0
                )
                drawn.append(Figure(name, title, "", svg))
        if "npiq" in self.others:
            svg = draw(self._sure(), self.networks, title=f"EC, q < {SURE:g}")
            drawn.append(Figure("sure", "sure", "", svg))
        return drawn

    def figures(self) -> list[Figure]:
        """Return where connections lie: between networks, and on the brain."""
        return draw_places(self.ec, self.regions)

    def _sure(self) -> Array:
        return figures.only_sure(self.ec.matrix, self.others["npiq"], SURE)


def draw_places(ec: ECResult, regions: Regions, prefix: str = "") -> list[Figure]:
    """Return pictures of where the connections of a map lie."""
    drawn = []
    size = ECResult(abs(ec.matrix), ec.labels)
    if regions.network:
        flow = network_map(size, regions.network)
        svg = figures_network.draw_chord(flow.matrix, flow.labels)
        if svg is not None:
            drawn.append(
                Figure(
                    f"{prefix}chord",
                    "What networks send each other",
                    "Mean absolute connection of the pairs of regions of two networks. A ribbon "
                    "has the colour of the network that sends, and ends short of the one that "
                    "receives.",
                    svg,
                    "Ribbons between networks; the table of networks has the numbers",
                )
            )
    strength = flow_of(ec.matrix)
    if regions.centres is None:
        return [*drawn, *_draw_surface(regions, strength, prefix)]
    drawn.append(
        Figure(
            f"{prefix}connectome",
            "The strongest connections on the brain",
            "The 60 largest in size; arrows point from source to target, red positive, blue "
            "negative.",
            figures_network.draw_connectome(ec.matrix, regions.centres),
            "Glass brain with the strongest connections; the table below names them",
        )
    )
    for name, values, words in (
        ("brain", strength.out_strength, "sends"),
        ("brainin", strength.in_strength, "receives"),
    ):
        drawn.append(
            Figure(
                f"{prefix}{name}",
                f"What each region {words}",
                f"Sum of the connections that a region {words}, at its centre.",
                figures_network.draw_on_brain(values, regions.centres),
                f"Glass brain with a dot per region, coloured by what it {words}",
            )
        )
    return drawn


def _draw_surface(regions: Regions, strength: Flow, prefix: str) -> list[Figure]:
    """Return what regions send and receive on the cortex, where there is a mesh of it."""
    atlas = _mesh_atlas(regions)
    drawn = []
    for name, values, words in (
        ("brain", strength.out_strength, "sends"),
        ("brainin", strength.in_strength, "receives"),
    ):
        sides = on_surface(atlas, regions.labels, values) if atlas else None
        if sides is not None:
            drawn.append(
                Figure(
                    f"{prefix}{name}",
                    f"What each region {words}",
                    f"Sum of the connections that a region {words}, on fsaverage5.",
                    figures_network.draw_on_surface(sides),
                    f"Cortical surface, coloured by what each region {words}",
                )
            )
    return drawn


def _mesh_atlas(regions: Regions) -> Path | None:
    """Return the atlas of a map where it lies on a surface of which a mesh is at hand."""
    stem = regions.path.name.replace("_dseg.tsv", "*_dseg.dlabel.nii")
    for atlas in sorted(regions.path.parent.glob(stem)):
        if on_surface(atlas, (), []) is not None:
            return atlas
    return None


def ranked_regions(labels: tuple[str, ...], net: Array) -> tuple[str, str]:
    """Return the region with the largest and that with the smallest net flow, or nothing."""
    known = [(value, label) for value, label in zip(net, labels, strict=True) if value == value]  # noqa: PLR0124 (NaN)
    if not known:
        return "", ""
    return max(known)[1], min(known)[1]
