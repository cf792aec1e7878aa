"""Description of the maps of a group, written under BIDS names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from npi_bids.bids.outputs import output_path
from npi_bids.bids.sidecars import (
    NOT_AGAINST_ZERO,
    ContrastFields,
    GroupFields,
    GroupOrigin,
    Links,
    OneSigned,
    describe_grid,
    group_sidecar,
    table_sidecar,
)
from npi_bids.bids.uris import regions_file
from npi_bids.group.average import average, scale_to_strongest
from npi_bids.group.description import (
    INFERENCE,
    Description,
    MapDescription,
    Weighing,
    blank_fields,
    describe_maps,
    describe_networks,
    describe_regions,
    find_outliers,
    leave_one_out_correlation,
    measure_repeatability,
)
from npi_bids.group.direction import ALPHA, GroupDirection, assess_direction, write_changes
from npi_bids.group.kinds import count_kinds, count_own_kinds, describe_mixture
from npi_bids.group.map_stack import MapStack, create_maps, read_subjects, write_stack
from npi_bids.group.motion import MotionEffect, motion_effect
from npi_bids.group.reliability import expected_group_r, map_reliability, measure_heterogeneity
from npi_bids.group.settings import GroupSettings
from npi_bids.group.subject_weights import fit_weights
from npi_bids.group.tables import (
    Column,
    description_columns,
    edge_table,
    network_rows,
    numeric_column,
    region_table,
    subject_table,
)
from npi_bids.group.tested_measures import describe_tested, why_not_tested
from npi_bids.group.verdict import describe_group
from npi_bids.io.files import check_case
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import Table, read_matrix, write_matrix, write_table
from npi_bids.records import Array, ECResult

Matrices = Mapping[str, Sequence[Path]]
# Columns of the table of edges on the direction of the group.
_DIRECTION = {
    "direction": "groupdirection",
    "direction_q": "groupdirectionq",
    "direction_p_fwe": "groupdirectionfwe",
}


@dataclass(frozen=True, slots=True)
class GroupTarget:
    """Where the files of a group go, and what their sidecars say.

    Attributes
    ----------
    out_dir
        Root of the dataset that holds the subjects' files and the tables of regions.
    entities, desc
        Entities and description label of the group.
    origin
        Where the files come from.
    folder
        Folder in which files are written, under the names that they have in a dataset.
    """

    out_dir: Path
    entities: Mapping[str, str]
    desc: str
    origin: GroupOrigin
    folder: Path

    @property
    def pretrained_on(self) -> str:
        """Subjects on which the surrogates were pre-trained; empty if they were not."""
        return self.origin.pretrained_on

    def path(self, output_name: str, measure: str = "npi", suffix: str = "") -> Path:
        """Return the path of a file; ``suffix`` is added to ``desc``.

        Raises
        ------
        InputDataError
            A file exists whose name differs only in capital letters.
        """
        space = self.entities.get("space", "individual")
        group_entities = {key: value for key, value in self.entities.items() if key != "space"}
        named = {"tpl": space, **group_entities, "meas": measure}
        path = self.folder / output_path(output_name, named, self.desc + suffix)
        check_case(path, self.folder)
        return path

    def save(
        self,
        output_name: str,
        matrix: ECResult,
        fields: GroupFields | ContrastFields,
        **name_parts: str,
    ) -> Path:
        """Write a matrix with its sidecar."""
        path = self.path(output_name, **name_parts)
        measure, grid = name_parts.get("measure", "npi"), describe_grid(self.entities)
        sidecar = group_sidecar(measure, output_name, grid, self.origin, fields)
        sidecar.write(path.with_suffix(".json"))
        write_matrix(matrix, path)
        return path

    def save_table(
        self,
        output_name: str,
        table: Table,
        fields: GroupFields | ContrastFields,
        *,
        suffix: str = "",
        untested: OneSigned | None = None,
    ) -> Path:
        """Write a long table with its sidecar; ``untested`` says what is not tested against 0."""
        path = self.path(output_name, suffix=suffix)
        links = Links(sources=self.origin.links.sources)
        sidecar = table_sidecar(output_name, list(map(str, table)), links, fields, untested)
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
    averages = {
        "groupmean": group.mean,
        "groupsd": group.sd,
        "groupn": group.n_subjects.astype(float),
    }
    if settings.normalize == "max":
        averages["groupmax"] = scale_to_strongest(group.mean)
    fields = _group_fields(sorted(matrices), settings)
    return [
        target.save(output_name, ECResult(matrix, group.labels), fields, measure=measure)
        for output_name, matrix in averages.items()
    ]


@dataclass(frozen=True, slots=True)
class SubjectMaps:
    """Files of the maps of a group, by subject.

    Attributes
    ----------
    displayed
        The maps.
    unshrunk, reversed
        The maps without prior, and those of the signals with time reversed; empty unless every
        subject has them.
    """

    displayed: Matrices
    unshrunk: Matrices = field(default_factory=dict)
    reversed: Matrices = field(default_factory=dict)


def save_description(
    matrices: SubjectMaps,
    rows: Sequence[Mapping[str, object]],
    target: GroupTarget,
    settings: GroupSettings,
    folder: Path,
) -> Path:
    """Describe the maps of a group: edges, regions, networks, subjects, motion, reliability.

    Parameters
    ----------
    matrices
        Maps of each subject. Those without prior are tested, and measured for reliability and
        motion, if there are any; the mean that is shown is that of the maps.
    rows
        One row of the subjects' table for each subject, in the order of their labels.
    target
        Where the files go.
    settings
        How subjects are combined.
    folder
        Folder in which the maps are written as one array, which tests read.

    Returns
    -------
    Path
        The folder of the array of the maps that are tested.
    """
    stack = tested = write_stack(matrices.displayed, folder / "maps")
    if matrices.unshrunk:
        tested = write_stack(matrices.unshrunk, folder / "unshrunk")
    regions = Regions(target.regions_file, stack.labels, settings.network_table)
    weights = fit_weights(
        tested.maps, np.ones((len(tested.maps), 1)), numeric_column(rows, "n_windows")
    )
    quality = numeric_column(rows, "r_split") if settings.weights == "quality" else None
    weighing = Weighing(quality, weights.values, settings.trim, settings.min_subjects)
    base_fields = replace(
        _group_fields(stack.subjects, settings),
        not_tested=why_not_tested(target.pretrained_on, tested.measure, mean=True),
        tested_measure=tested.measure,
        tested_as_they_are=describe_tested(tested.measure, mean=True),
        window_power=weights.power,
        kinds_of_fit=(kinds := count_kinds(rows)),
        own_kinds_of_fit=count_own_kinds(rows),
        mixed_kinds=describe_mixture(kinds),
    )
    group = _Group(stack, tested, regions, weighing)
    description = describe_maps(stack.maps, tested.maps, weighing)
    if base_fields.not_tested:
        description = blank_fields(description, INFERENCE)
    direction = _assess_direction(tested, matrices.reversed, weights.values, folder)
    motion = _measure_motion(group, rows, target)
    whole_map = map_reliability(tested.maps) if matrices.unshrunk else None
    correlations = leave_one_out_correlation(tested.maps)
    outliers = find_outliers(correlations)
    map_fields = replace(
        base_fields,
        connections_tested=int(np.isfinite(description.q).sum()),
        connections_significant=int((description.q < ALPHA).sum()),
        heterogeneity=measure_heterogeneity(tested.maps, stack.subjects, outliers),
        expected_r=expected_group_r(numeric_column(rows, "expected_r"), stack.maps, whole_map),
        map_reliability=whole_map,
        direction=direction.summary if direction else None,
        subjects_with_direction=_count_directed(rows),
        motion_effect=motion.summary if motion else None,
    )
    map_fields = replace(map_fields, group_verdict=describe_group(map_fields))
    edge_values = (direction.edge_values() if direction else {}) | (
        {"groupmotion": motion.r} if motion else {}
    )
    _save_edges(group, description, edge_values, target, map_fields, settings.normalize)
    _save_regions(group, target, base_fields)
    target.save_table("subjects", subject_table(rows, correlations, outliers), base_fields)
    return folder / ("unshrunk" if matrices.unshrunk else "maps")


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """The maps of a group: those that are shown, and those that are tested."""

    displayed: MapStack
    tested: MapStack
    regions: Regions
    weighing: Weighing


def _save_edges(
    group: _Group,
    description: MapDescription,
    edge_values: dict[str, Array],
    target: GroupTarget,
    fields: GroupFields,
    normalize: str,
) -> None:
    """Write matrices and table of the edges; ``edge_values`` are further matrices."""
    stack, tested = group.displayed, group.tested
    repeatability = measure_repeatability(tested.maps, tested.visits, tested.owner)
    matrix_fields_ = replace(
        fields,
        split_half_of_subjects=repeatability.split_half,
        reliability=repeatability.summary,
    )
    edge_values = description.edge_values() | repeatability.edge_values() | edge_values
    if normalize == "max":
        edge_values["groupmax"] = scale_to_strongest(stack.square(description.mean).matrix).ravel()
    for output_name, values in edge_values.items():
        target.save(output_name, stack.square(values), matrix_fields_)
    columns = description_columns(description, stack.subjects)
    columns |= {name: edge_values[key] for name, key in _DIRECTION.items() if key in edge_values}
    table = edge_table(stack.labels, columns, group.regions.network)
    target.save_table("edges", table, fields)


def _count_directed(rows: Sequence[Mapping[str, object]]) -> int | None:
    """Count subjects whose own signals support direction; None if not known of all."""
    shares = numeric_column(rows, "direction_supported")
    return int((shares == 1).sum()) if np.isfinite(shares).all() else None


def _assess_direction(
    tested: MapStack, reversed_: Matrices, weights: Array, folder: Path
) -> GroupDirection | None:
    """Test the direction of a group; None without maps of reversed time."""
    if not reversed_:
        return None
    changes = create_maps(folder / "changes.npy", tested.maps)
    write_changes(tested.maps, read_subjects(reversed_, tested.labels), changes)
    return assess_direction(changes, weights)


def _measure_motion(
    group: _Group, rows: Sequence[Mapping[str, object]], target: GroupTarget
) -> MotionEffect | None:
    """Correlate maps with motion; without the share of significant edges if it is not valid."""
    tested, centres = group.tested, group.regions.centres
    motion = motion_effect(tested.maps, numeric_column(rows, "mean_fd"), centres)
    if motion and why_not_tested(target.pretrained_on, tested.measure, mean=False):
        return replace(motion, share_significant=float("nan"))
    return motion


def _save_regions(group: _Group, target: GroupTarget, fields: GroupFields) -> None:
    """Write the tables of regions and of pairs of networks."""
    stack, regions = group.displayed, group.regions
    maps = stack.maps, group.tested.maps

    def to_columns(description: Description) -> dict[str, Column]:
        reported = blank_fields(description, INFERENCE) if fields.not_tested else description
        return description_columns(reported, stack.subjects)

    region_columns = {
        figure: to_columns(description)
        for figure, description in describe_regions(*maps, stack.n_regions, group.weighing).items()
    }
    table = region_table(regions, region_columns)
    target.save_table("regions", table, fields, untested=NOT_AGAINST_ZERO)
    pairs = {
        grouping: (names, to_columns(description))
        for grouping, names, description in describe_networks(
            maps, stack.labels, regions.networks, group.weighing
        )
    }
    if pairs:
        target.save_table("networks", network_rows(pairs), fields)


def _group_fields(subjects: Sequence[str], settings: GroupSettings) -> GroupFields:
    return GroupFields(
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
