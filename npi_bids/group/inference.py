"""Tests of models over the maps of a group, written under BIDS names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path

import numpy as np

from npi_bids.bids.outputs import CATALOGUE, CONTRAST_OUTPUTS, contrast_labels
from npi_bids.bids.sidecars import NOT_AGAINST_ZERO, ContrastFields
from npi_bids.connectivity.network_measures import (
    OF_MAGNITUDE,
    flow_stack,
    groupings,
    network_stack,
)
from npi_bids.group.analysis import GroupTarget
from npi_bids.group.design import BuiltDesign, build_model, list_sites, select_maps
from npi_bids.group.glm import Contrast, Design, Estimate, depends_on_mean, drop_test, estimate
from npi_bids.group.harmonization import harmonise
from npi_bids.group.kinds import KIND, KindsOfRows, describe_association, kind_association
from npi_bids.group.map_stack import MapStack, create_maps, write_stack
from npi_bids.group.permutation import Permuted, blank_result, permute, varying_edges
from npi_bids.group.scan_length import (
    blank_similar_lengths,
    correlate_with_windows,
    describe_length,
)
from npi_bids.group.sessions import build_visit_model, left_out_visits
from npi_bids.group.settings import ModelSettings, PermuteSettings
from npi_bids.group.subject_weights import fit_weights
from npi_bids.group.tables import (
    component_table,
    edge_table,
    estimate_columns,
    network_rows,
    numeric_column,
    permuted_columns,
    region_table,
)
from npi_bids.group.tested_measures import describe_tested, why_not_tested
from npi_bids.group.within_subject import WITHIN, SubjectTest, VisitModel
from npi_bids.io.region_tables import Regions
from npi_bids.records import Array, ECResult

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TestedMaps:
    """Maps of a group, by what is tested on them.

    Attributes
    ----------
    stack
        Maps whose mean is tested, or differences of two sessions.
    proportional
        Files of the maps on which differences between subjects are tested, by subject; where they
        are empty, ``stack`` is tested.
    sessions
        For differences of two sessions, what the results say of each session, one row per subject
        and session, the first session first; empty if that is not known.
    """

    stack: MapStack
    proportional: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    sessions: Sequence[Mapping[str, object]] = ()

    def load(self, folder: Path, *, mean: bool) -> MapStack:
        """Return the maps on which a mean or a difference is tested."""
        if mean or not self.proportional:
            return self.stack
        return write_stack(self.proportional, folder / "proportional")


def save_tests(
    maps: TestedMaps,
    rows: Sequence[Mapping[str, object]],
    target: GroupTarget,
    settings: tuple[ModelSettings, PermuteSettings],
    folder: Path,
    network_table: str = "",
) -> list[str]:
    """Test every contrast of a model: edges, networks of edges, pairs of networks, regions.

    Parameters
    ----------
    maps
        Maps of the group (or differences of two sessions), one per subject.
    rows
        One row of the subjects' table for each subject, in the order of the stack.
    target
        Where the files go.
    settings
        What is tested, and how it is corrected.
    folder
        Folder for arrays on disk.
    network_table
        Table of additional assignments of regions to networks.

    Returns
    -------
    list of str
        Names of the contrasts.
    """
    fitted = _Model(build_model(rows, settings[0]), rows, target, settings, network_table)
    contrasts = fitted.built.design.contrasts
    tests: dict[bool, tuple[_Test, ContrastFields]] = {}
    for contrast, label in _with_labels(contrasts):
        on_stack = not maps.proportional or depends_on_mean(fitted.built.design, contrast)
        if on_stack not in tests:
            stack = maps.load(folder, mean=on_stack)
            test, fields = fitted.prepare(stack, folder / stack.measure)
            tests[on_stack] = _compare_sessions(test, maps.sessions), fields
        test, fields = tests[on_stack]
        test.save(contrast, label, fields)
    return [contrast.name for contrast in contrasts]


def save_visit_tests(
    maps: TestedMaps,
    rows: Sequence[Mapping[str, object]],
    target: GroupTarget,
    settings: tuple[ModelSettings, PermuteSettings],
    folder: Path,
    network_table: str = "",
) -> list[str]:
    """Test every contrast of a model over visits, within or between subjects.

    Parameters
    ----------
    maps
        Maps of all visits, one per row.
    rows
        One row of variables for each visit, in the order of the maps.
    target, settings, folder, network_table
        As :func:`save_tests`.

    Returns
    -------
    list of str
        Names of the contrasts.
    """
    visits = build_visit_model(rows, settings[0])
    fitted = _Model(visits.built, rows, target, settings, network_table)
    contrasts = visits.built.design.contrasts
    stacks: dict[bool, MapStack] = {}
    for contrast, label in _with_labels(contrasts):
        tested = visits.test(contrast)
        of_mean = tested.stratum != WITHIN and depends_on_mean(tested.design, tested.contrast)
        on_stack = of_mean or not maps.proportional
        if on_stack not in stacks:
            stacks[on_stack] = maps.load(folder, mean=on_stack)
        test, power = fitted.prepare_visits(stacks[on_stack], tested, folder / label)
        fields = replace(
            _visit_fields(visits, tested, rows, settings),
            tested_measure=stacks[on_stack].measure,
            window_power=power,
        )
        test.save(tested.contrast, label, fields)
    return [contrast.name for contrast in contrasts]


def _with_labels(contrasts: Sequence[Contrast]) -> Iterator[tuple[Contrast, str]]:
    """Yield contrasts with the labels of their files."""
    by_name = {contrast.name: contrast for contrast in contrasts}
    labels = contrast_labels(list(by_name))
    return ((by_name[name], label) for name, label in labels.items())


def _compare_sessions(test: _Test, sessions: Sequence[Mapping[str, object]]) -> _Test:
    """Add numbers of windows and kinds of fit of both sessions to a test of their differences."""
    if not sessions:
        return test
    subjects = [str(row["participant_id"]) for row in test.rows]
    pairs = [[row for row in sessions if row["participant_id"] == name] for name in subjects]
    first, second = ([pair[session] for pair in pairs] for session in (0, 1))
    n_windows = blank_similar_lengths(numeric_column([*first, *second], "n_windows"))
    return replace(
        test,
        rows=[
            {**row, KIND: after.get(KIND)} for row, after in zip(test.rows, second, strict=True)
        ],
        n_windows=n_windows[len(first) :] - n_windows[: len(first)],
        earlier_kinds=tuple(str(row.get(KIND)) for row in first),
    )


def _unchanged(values: Array) -> tuple[Array, None]:
    return values, None


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """A model of a group, and where the results of its tests go."""

    built: BuiltDesign
    rows: Sequence[Mapping[str, object]]
    target: GroupTarget
    settings: tuple[ModelSettings, PermuteSettings]
    network_table: str

    def prepare(self, stack: MapStack, folder: Path) -> tuple[_Test, ContrastFields]:
        """Return the test of some maps, and its fields; arrays on disk go into the folder."""
        model, correction = self.settings
        built, rows = self.built, self.rows
        folder.mkdir(parents=True, exist_ok=True)
        maps = select_maps(stack.maps, built.rows, folder / "tested.npy")
        if model.harmonize:
            harmonised = create_maps(folder / "harmonised.npy", maps)
            harmonise(maps, list_sites(rows, built, model.harmonize), built.covariates, harmonised)
            maps = harmonised
        regions = Regions(self.target.regions_file, stack.labels, self.network_table)
        n_windows = numeric_column(rows, "n_windows")[built.rows]
        weights = fit_weights(maps, built.design.matrix, n_windows)
        design = replace(built.design, weights=weights.values)
        fields = replace(
            _model_fields(built, rows, self.settings),
            tested_measure=stack.measure,
            window_power=weights.power,
        )
        test = _Test(maps, regions, design, correction, self.target,
                     blank_similar_lengths(n_windows), self._included, _unchanged)  # fmt: skip
        if model.paired and not model.harmonize:  # figures of changes are no changes of figures
            pairs = select_maps(stack.visits, np.tile(built.rows, 2), folder / "pairs.npy")
            test = replace(test, pairs=pairs)
        return test, fields

    def prepare_visits(
        self, stack: MapStack, tested: SubjectTest, folder: Path
    ) -> tuple[_Test, float]:
        """Return the test of the maps of visits, and the power of the subjects' weights."""
        folder.mkdir(parents=True, exist_ok=True)
        maps = select_maps(stack.maps, self.built.rows, folder / "visits.npy")
        edges, design = tested.prepare(maps, folder / "estimates.npy")
        information = np.repeat(tested.information, design.n_components)
        weights = fit_weights(edges, design.matrix, information, design.n_components)
        design = replace(design, weights=weights.values)
        regions = Regions(self.target.regions_file, stack.labels, self.network_table)
        n_windows = blank_similar_lengths(numeric_column(self._included, "n_windows"))
        # Effects within subjects of equal scans are 0 up to rounding errors.
        changes = np.round(tested.transform.apply(n_windows[:, None])[:, 0], 6)
        test = _Test(edges, regions, design, self.settings[1], self.target, changes,
                     self._included, tested.prepare, maps)  # fmt: skip
        return test, weights.power

    @property
    def _included(self) -> list[Mapping[str, object]]:
        """Rows of variables that the model includes."""
        return [row for row, inside in zip(self.rows, self.built.rows, strict=True) if inside]


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """What is tested of a group, its design, and where the results go.

    ``edges`` are one map per row of the design. ``estimate_rows`` gives the same of other values,
    and their design where that depends on them; ``visits`` are the maps that these come from, if
    they are not ``edges``. ``pairs`` are the first and then the second maps of all subjects, if
    ``edges`` are their differences. ``n_windows`` are numbers of windows, or effects of visits on
    them; NaN if they are not known, or about the same. ``earlier_kinds`` are the kinds of fit of
    the first of two sessions whose difference is tested; ``rows`` and ``n_windows`` are then the
    kinds of the second session, and the changes of the number of windows.
    """

    edges: Array
    regions: Regions
    design: Design
    correction: PermuteSettings
    target: GroupTarget
    n_windows: Array
    rows: Sequence[Mapping[str, object]]
    estimate_rows: Callable[[Array], tuple[Array, Design | None]]
    visits: Array | None = None
    pairs: Array | None = None
    earlier_kinds: tuple[str, ...] = ()

    @property
    def maps(self) -> Array:
        """Maps of which regions and networks are figures."""
        return self.edges if self.visits is None else self.visits

    def save(self, contrast: Contrast, label: str, fields: ContrastFields) -> None:
        """Test a contrast of edges, regions and networks, and write the results."""
        contrast_fields = self.add_contrast(contrast, fields)
        self.save_edges(contrast, label, contrast_fields)
        self.save_regions(contrast, label, contrast_fields)
        self.save_networks(contrast, label, contrast_fields)

    def _figures(self) -> dict[str, Array]:
        """Return the figures of the regions of all maps, or their changes between two sessions."""
        n_regions = len(self.regions.labels)
        if self.pairs is None:
            return flow_stack(self.maps, n_regions)
        half = len(self.edges)
        figures = flow_stack(self.pairs, n_regions)
        return {name: values[half:] - values[:half] for name, values in figures.items()}

    def _rows(self, values: Array) -> tuple[Array, Design]:
        """Return values of the rows of the design, with the weights of the maps."""
        rows, design = self.estimate_rows(values)
        if design is None:
            return rows, self.design
        return rows, replace(design, weights=self.design.weights)

    def add_contrast(self, contrast: Contrast, fields: ContrastFields) -> ContrastFields:
        """Add the fields of a contrast to the fields of its model."""
        of_mean = depends_on_mean(self.design, contrast)
        against_zero = self._is_of_mean(contrast, fields) and not fields.paired
        why_untested = why_not_tested(
            self.target.pretrained_on, fields.tested_measure, mean=against_zero
        )
        correlation, kind_p = float("nan"), None
        if self.earlier_kinds or not self._is_of_mean(contrast, fields):
            correlation = correlate_with_windows(self.design, contrast, self.n_windows)
            kind_p = kind_association(
                KindsOfRows(self.rows, self.earlier_kinds),
                self.design,
                contrast,
                fields.seed,
                self.estimate_rows,
            )
        caution = (
            "" if why_untested else describe_length(correlation, paired=bool(self.earlier_kinds))
        )
        if caution:
            _logger.warning("%s: %s", contrast.name, caution)
        is_permuted = self.correction.n_permutations and not why_untested
        permuted_by = "changes of sign" if of_mean else "exchange of residuals"
        return replace(
            fields,
            contrast=contrast.name,
            contrast_weights=tuple(map(tuple, contrast.matrix.tolist())),
            statistic=contrast.statistic,
            permutations=self.correction.n_permutations if is_permuted else 0,
            permuted_by=permuted_by if is_permuted else None,
            box_epsilon=self.design.epsilon if self.design.n_components > 1 else None,
            not_tested=why_untested,
            tested_as_they_are=describe_tested(fields.tested_measure, mean=against_zero),
            correlation_with_windows=correlation if isfinite(correlation) else None,
            length_caution=caution,
            kind_association=kind_p,
            kind_caution=describe_association(kind_p),
        )

    def save_edges(self, contrast: Contrast, label: str, fields: ContrastFields) -> None:
        """Test every edge, and networks of edges."""
        labels, network_statistic = self.regions.labels, self.correction.network_statistic
        n = len(labels)
        result = self._estimate(self.edges, self.design, contrast, fields)
        permuted = None
        if self.correction.n_permutations:
            permuted = (
                blank_result(n)
                if fields.not_tested
                else permute(self.edges, n, self.design, contrast, self.correction)
            )
        edge_fields = replace(fields, edges_permuted=permuted.n_tested if permuted else None)
        for output_name, values in _statistics(result, permuted, network_statistic).items():
            if output_name == "modeleffect" and contrast.statistic == "F":
                continue  # an F test has no single effect
            matrix = ECResult(values.reshape(n, n), labels)
            self.target.save(output_name, matrix, edge_fields, suffix=label)
        columns = estimate_columns(result) | permuted_columns(permuted, network_statistic)
        table = edge_table(labels, columns, self.regions.network)
        self.target.save_table("edges", table, edge_fields, suffix=label)
        if permuted is not None and permuted.components:
            table = component_table(labels, permuted.components)
            self.target.save_table("components", table, edge_fields, suffix=label)

    def save_regions(self, contrast: Contrast, label: str, fields: ContrastFields) -> None:
        """Test the figures of regions; those of magnitudes are not tested against 0."""
        of_mean = self._is_of_mean(contrast, fields) and self.pairs is None
        columns = {}
        for figure, values in self._figures().items():
            result = self._estimate(*self._rows(values), contrast, fields)
            is_magnitude = of_mean and figure in OF_MAGNITUDE
            columns[figure] = estimate_columns(drop_test(result) if is_magnitude else result)
        table = region_table(self.regions, columns)
        self.target.save_table(
            "regions", table, fields, suffix=label, untested=NOT_AGAINST_ZERO if of_mean else None
        )

    def save_networks(self, contrast: Contrast, label: str, fields: ContrastFields) -> None:
        """Test pairs of networks, with separate permutations."""
        edgewise = replace(self.correction, network_statistic="none")
        pairs = {}
        labels = self.regions.labels
        for grouping, networks in groupings(labels, self.regions.networks).items():
            values, names = network_stack(self.maps, labels, networks)
            values, design = self._rows(values)
            columns = estimate_columns(self._estimate(values, design, contrast, fields))
            if edgewise.n_permutations and varying_edges(values).any():
                n = len(names)
                permuted = (
                    blank_result(n)
                    if fields.not_tested
                    else permute(values, n, design, contrast, edgewise, diagonal=True)
                )
                columns |= permuted_columns(permuted)
            pairs[grouping] = (names, columns)
        if pairs:
            self.target.save_table("networks", network_rows(pairs), fields, suffix=label)

    def _is_of_mean(self, contrast: Contrast, fields: ContrastFields) -> bool:
        """Tell whether the mean of maps is tested against 0, and not a difference of visits."""
        return depends_on_mean(self.design, contrast) and fields.error_term != WITHIN

    def _estimate(
        self, values: Array, design: Design, contrast: Contrast, fields: ContrastFields
    ) -> Estimate:
        result = estimate(values, design, contrast)
        return drop_test(result) if fields.not_tested else result


def _visit_fields(
    visits: VisitModel,
    tested: SubjectTest,
    rows: Sequence[Mapping[str, object]],
    settings: tuple[ModelSettings, PermuteSettings],
) -> ContrastFields:
    model, correction = settings
    return ContrastFields(
        model=visits.built.formula,
        columns=tested.design.columns,
        subjects=tuple(name.removeprefix("sub-") for name in tested.subjects),
        number_of_subjects=len(tested.subjects),
        left_out={**left_out_visits(visits, rows), **tested.left_out},
        error_term=tested.stratum,
        number_of_visits=tested.n_visits,
        components_per_subject=tested.design.n_components,
        varying_within=visits.varying_names,
        varying_within_and_between=visits.mixed_names,
        exchanged_within=model.exchange_within or None,
        network_statistic=correction.network_statistic,
        network_threshold=correction.nbs_threshold,
        seed=correction.group_seed,
    )


def _statistics(fit: Estimate, permuted: Permuted | None, networks: str) -> dict[str, Array]:
    """Return the statistics of every edge by the name of their output.

    ``networks`` is the network statistic that was requested; the others are left out.
    """
    unrequested = {f"model{name}" for name in ("nbs", "tfnbs") if networks not in (name, "both")}
    matrices = {}
    for output in map(CATALOGUE.__getitem__, CONTRAST_OUTPUTS):
        record = permuted if output.permuted else fit
        if record is not None and output.name not in unrequested:
            matrices[output.name] = getattr(record, output.value)
    return matrices


def _model_fields(
    built: BuiltDesign,
    rows: Sequence[Mapping[str, object]],
    settings: tuple[ModelSettings, PermuteSettings],
) -> ContrastFields:
    model, correction = settings
    participants = [
        str(row["participant_id"])
        for row, is_included in zip(rows, built.rows, strict=True)
        if is_included
    ]
    return ContrastFields(
        model=built.formula,
        columns=tuple(built.design.columns),
        subjects=tuple(name.removeprefix("sub-") for name in participants),
        number_of_subjects=len(participants),
        left_out={str(rows[index]["participant_id"]): why for index, why in built.reasons.items()},
        paired=model.paired or None,
        harmonized_over=model.harmonize or None,
        exchanged_within=model.exchange_within or model.harmonize or None,
        network_statistic=correction.network_statistic,
        network_threshold=correction.nbs_threshold,
        seed=correction.group_seed,
    )
