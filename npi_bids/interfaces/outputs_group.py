"""Describe the maps of a group and write what is known of it under BIDS names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npi_bids.bids.group_sidecars import group_sidecar
from npi_bids.bids.names import output_path
from npi_bids.bids.sidecars import spatial_fields
from npi_bids.bids.uris import regions_file
from npi_bids.core.cohort import (
    Weighing,
    describe_maps,
    describe_networks,
    describe_regions,
    repeated,
)
from npi_bids.core.describe import likeness, outliers
from npi_bids.core.group import average, scale_to_strongest
from npi_bids.core.group_options import GroupSettings
from npi_bids.core.motion import motion_effect
from npi_bids.core.records import ECResult
from npi_bids.io.files import write_json
from npi_bids.io.stack import MapStack, write_stack
from npi_bids.io.statistics import (
    Regions,
    column_of,
    description_columns,
    network_rows,
    region_table,
    write_edges,
    write_subjects,
)
from npi_bids.io.tables import read_matrix, write_matrix, write_table

Matrices = Mapping[str, Sequence[Path]]


@dataclass(frozen=True, slots=True)
class GroupTarget:
    """Where the files of a group go, and what their sidecars say.

    Attributes
    ----------
    out_dir
        Root of the output dataset.
    entities, desc
        Of the group.
    links
        NodeFiles, Sources and the like.
    """

    out_dir: Path
    entities: Mapping[str, str]
    desc: str
    links: Mapping[str, Any]

    def path(self, kind: str, measure: str = "npi", suffix: str = "") -> Path:
        """Return where a file goes; ``suffix`` is added to ``desc``."""
        space = self.entities.get("space", "individual")
        shared = {key: value for key, value in self.entities.items() if key != "space"}
        named = {"tpl": space, **shared, "meas": measure}
        return self.out_dir / output_path(kind, named, self.desc + suffix)

    def save(self, kind: str, matrix: ECResult, facts: Mapping[str, Any], **where: str) -> Path:
        """Write a matrix with its sidecar."""
        path = self.path(kind, **where)
        about = {**spatial_fields(dict(self.entities)), **facts}
        sidecar = group_sidecar(where.get("measure", "npi"), kind, about, self.links)
        write_json(path.with_suffix(".json"), sidecar)
        write_matrix(matrix, path)
        return path

    @property
    def regions_file(self) -> Path:
        """Table of the regions."""
        return regions_file(self.links, self.out_dir)


def save_averages(
    matrices: Matrices, target: GroupTarget, measure: str, settings: GroupSettings
) -> list[Path]:
    """Average one measure over subjects; write mean, SD, count and scaled mean.

    Several matrices of one subject are averaged first, so that every subject counts once.
    """
    group = average(_one_per_subject(matrices), settings)
    found = {
        "groupmean": group.mean,
        "groupsd": group.sd,
        "groupn": group.n_subjects.astype(float),
    }
    if settings.normalize == "max":
        found["groupmax"] = scale_to_strongest(group.mean)
    facts = _facts(sorted(matrices), settings)
    return [
        target.save(kind, ECResult(matrix, group.labels), facts, measure=measure)
        for kind, matrix in found.items()
    ]


def save_description(
    matrices: Matrices,
    errors: Matrices,
    rows: Sequence[Mapping[str, Any]],
    target: GroupTarget,
    settings: GroupSettings,
    folder: Path,
) -> Path:
    """Describe the maps of a group: edges, regions, networks, subjects, motion, reliability.

    Parameters
    ----------
    matrices
        Maps of each subject.
    errors
        Their standard errors, where entries count by their precision.
    rows
        What is known of each subject, in the order of their labels.
    target
        Where to.
    settings
        How subjects are put together.
    folder
        Where the maps go as one array, for tests.

    Returns
    -------
    Path
        The folder of that array.
    """
    stack = write_stack(matrices, folder / "maps")
    regions = Regions(target.regions_file, stack.labels, settings.network_table)
    quality = column_of(rows, "r_split") if settings.weights == "quality" else None
    precise = write_stack(errors, folder / "errors").maps if errors else None
    weighing = Weighing(quality, precise, settings.trim, settings.min_subjects)
    found = describe_maps(stack.maps, weighing)
    moved = motion_effect(stack.maps, column_of(rows, "mean_fd"), regions.centres)
    again = repeated(stack.maps, stack.visits, stack.owner)
    facts = _facts(stack.subjects, settings) | again.facts
    facts |= moved.facts if moved else {}
    kinds = found.kinds() | again.kinds() | ({"groupmotion": moved.r} if moved else {})
    if settings.normalize == "max":
        kinds["groupmax"] = scale_to_strongest(stack.square(found.mean).matrix).ravel()
    for kind, values in kinds.items():
        target.save(kind, stack.square(values), facts)
    columns = description_columns(found, stack.subjects)
    write_edges(stack.labels, columns, target.path("edges"), networks=regions.network)
    _save_regions(stack, regions, target, weighing)
    alike = likeness(stack.maps)
    write_subjects(rows, alike, outliers(alike), target.path("subjects"))
    return folder / "maps"


def _save_regions(
    stack: MapStack, regions: Regions, target: GroupTarget, weighing: Weighing
) -> None:
    """Write what is known of regions and of pairs of networks."""
    of_regions = {
        figure: description_columns(found, stack.subjects)
        for figure, found in describe_regions(stack.maps, stack.n_regions, weighing).items()
    }
    write_table(region_table(regions, of_regions), target.path("regions"))
    pairs = {
        grouping: (names, description_columns(found, stack.subjects))
        for grouping, names, found in describe_networks(
            stack.maps, stack.labels, regions.networks, weighing
        )
    }
    if pairs:
        write_table(network_rows(pairs), target.path("networks"))


def _facts(subjects: Sequence[str], settings: GroupSettings) -> dict[str, Any]:
    return {
        "Subjects": list(subjects),
        "NumberOfSubjects": len(subjects),
        "MinimumSubjects": settings.min_subjects,
        "Weights": settings.weights,
        "TrimmedShare": settings.trim,
    }


def _one_per_subject(matrices: Matrices) -> Iterator[ECResult]:
    for _, paths in sorted(matrices.items()):
        results = [read_matrix(path) for path in paths]
        if len(results) == 1:
            yield results[0]
        else:
            within = average(results, GroupSettings(min_subjects=1))
            yield ECResult(within.mean, within.labels)
