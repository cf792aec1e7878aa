"""Describe the maps of a group and write what is known of it under BIDS names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from npi_bids.bids.outputs import output_path
from npi_bids.bids.sidecars import (
    NOT_AGAINST_ZERO,
    ContrastFacts,
    GroupFacts,
    GroupOrigin,
    Links,
    OneSigned,
    group_sidecar,
    place_of,
    table_sidecar,
)
from npi_bids.bids.uris import regions_file
from npi_bids.group.average import average, scale_to_strongest
from npi_bids.group.description import (
    INFERENCE,
    Description,
    Weighing,
    describe_maps,
    describe_networks,
    describe_regions,
    likeness,
    outliers,
    repeated,
    without,
)
from npi_bids.group.map_stack import MapStack, write_stack
from npi_bids.group.motion import motion_effect
from npi_bids.group.pretraining import why_not_tested
from npi_bids.group.settings import GroupSettings
from npi_bids.group.tables import (
    Column,
    column_of,
    description_columns,
    edge_table,
    network_rows,
    region_table,
    subject_table,
)
from npi_bids.io.files import check_case
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import Table, read_matrix, write_matrix, write_table
from npi_bids.records import ECResult

Matrices = Mapping[str, Sequence[Path]]


@dataclass(frozen=True, slots=True)
class GroupTarget:
    """Where the files of a group go, and what their sidecars say.

    Attributes
    ----------
    out_dir
        Root of the dataset that holds the subjects' files and the tables of regions.
    entities, desc
        Of the group.
    origin
        What they come from.
    folder
        Where files are written, under the names that they have in a dataset.
    """

    out_dir: Path
    entities: Mapping[str, str]
    desc: str
    origin: GroupOrigin
    folder: Path

    @property
    def pretrained_on(self) -> str:
        """On whom the surrogates behind the maps were pre-trained; empty: they were not."""
        return self.origin.pretrained_on

    def path(self, kind: str, measure: str = "npi", suffix: str = "") -> Path:
        """Return where a file goes; ``suffix`` is added to ``desc``.

        Raises
        ------
        InputDataError
            A file is there whose name differs only in capital letters.
        """
        space = self.entities.get("space", "individual")
        shared = {key: value for key, value in self.entities.items() if key != "space"}
        named = {"tpl": space, **shared, "meas": measure}
        path = self.folder / output_path(kind, named, self.desc + suffix)
        check_case(path, self.folder)
        return path

    def save(
        self, kind: str, matrix: ECResult, facts: GroupFacts | ContrastFacts, **where: str
    ) -> Path:
        """Write a matrix with its sidecar."""
        path = self.path(kind, **where)
        measure, place = where.get("measure", "npi"), place_of(self.entities)
        sidecar = group_sidecar(measure, kind, place, self.origin, facts)
        sidecar.write(path.with_suffix(".json"))
        write_matrix(matrix, path)
        return path

    def save_table(
        self,
        kind: str,
        table: Table,
        facts: GroupFacts | ContrastFacts,
        *,
        suffix: str = "",
        untested: OneSigned | None = None,
    ) -> Path:
        """Write a long table with its sidecar; ``untested`` are figures not tested against 0."""
        path = self.path(kind, suffix=suffix)
        links = Links(sources=self.origin.links.sources)
        sidecar = table_sidecar(kind, list(map(str, table)), links, facts, untested)
        sidecar.write(path.with_suffix(".json"))
        write_table(table, path)
        return path

    @property
    def regions_file(self) -> Path:
        """Table of the regions."""
        return regions_file(self.origin.links.node_files, self.out_dir)


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
    rows: Sequence[Mapping[str, object]],
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
    reason = why_not_tested(target.pretrained_on, mean=True)
    found = describe_maps(stack.maps, weighing)
    found = without(found, INFERENCE) if reason else found
    moved = motion_effect(stack.maps, column_of(rows, "mean_fd"), regions.centres)
    if moved and why_not_tested(target.pretrained_on, mean=False):
        moved = replace(moved, share_significant=float("nan"))
    again = repeated(stack.maps, stack.visits, stack.owner)
    members = replace(_facts(stack.subjects, settings), not_tested=reason)
    facts = replace(
        members,
        split_half_of_subjects=again.split_half,
        reliability=again.summary,
        motion_effect=moved.summary if moved else None,
    )
    kinds = found.kinds() | again.kinds() | ({"groupmotion": moved.r} if moved else {})
    if settings.normalize == "max":
        kinds["groupmax"] = scale_to_strongest(stack.square(found.mean).matrix).ravel()
    for kind, values in kinds.items():
        target.save(kind, stack.square(values), facts)
    columns = description_columns(found, stack.subjects)
    target.save_table("edges", edge_table(stack.labels, columns, regions.network), members)
    _save_regions(stack, regions, target, weighing, members)
    alike = likeness(stack.maps)
    target.save_table("subjects", subject_table(rows, alike, outliers(alike)), members)
    return folder / "maps"


def _save_regions(
    stack: MapStack,
    regions: Regions,
    target: GroupTarget,
    weighing: Weighing,
    facts: GroupFacts,
) -> None:
    """Write what is known of regions and of pairs of networks."""

    def columns_of(found: Description) -> dict[str, Column]:
        known = without(found, INFERENCE) if facts.not_tested else found
        return description_columns(known, stack.subjects)

    of_regions = {
        figure: columns_of(found)
        for figure, found in describe_regions(stack.maps, stack.n_regions, weighing).items()
    }
    table = region_table(regions, of_regions)
    target.save_table("regions", table, facts, untested=NOT_AGAINST_ZERO)
    pairs = {
        grouping: (names, columns_of(found))
        for grouping, names, found in describe_networks(
            stack.maps, stack.labels, regions.networks, weighing
        )
    }
    if pairs:
        target.save_table("networks", network_rows(pairs), facts)


def _facts(subjects: Sequence[str], settings: GroupSettings) -> GroupFacts:
    return GroupFacts(
        subjects=tuple(subjects),
        number_of_subjects=len(subjects),
        minimum_subjects=settings.min_subjects,
        weights=settings.weights,
        trimmed_share=settings.trim,
    )


def _one_per_subject(matrices: Matrices) -> Iterator[ECResult]:
    for _, paths in sorted(matrices.items()):
        results = [read_matrix(path) for path in paths]
        if len(results) == 1:
            yield results[0]
        else:
            within = average(results, GroupSettings(min_subjects=1))
            yield ECResult(within.mean, within.labels)
