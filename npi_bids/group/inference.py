"""Tests of models over the maps of a group, written under BIDS names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from npi_bids.bids.outputs import CATALOGUE, CONTRAST_OUTPUTS, contrast_labels
from npi_bids.bids.sidecars import NOT_AGAINST_ZERO, ContrastFields
from npi_bids.connectivity.network_measures import (
    ONE_SIGNED,
    flow_stack,
    groupings,
    network_stack,
)
from npi_bids.group.analysis import GroupTarget
from npi_bids.group.design import BuiltDesign, build_model, list_sites, select_maps
from npi_bids.group.glm import Contrast, Design, Estimate, depends_on_mean, drop_test, estimate
from npi_bids.group.harmonization import harmonise
from npi_bids.group.map_stack import MapStack, create_maps
from npi_bids.group.permutation import Permuted, blank_result, permute, varying_edges
from npi_bids.group.pretraining import describe_tested, why_not_tested
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
from npi_bids.io.region_tables import Regions
from npi_bids.records import Array, ECResult


def save_tests(
    stack: MapStack,
    rows: Sequence[Mapping[str, object]],
    target: GroupTarget,
    settings: tuple[ModelSettings, PermuteSettings],
    folder: Path,
    network_table: str = "",
) -> list[str]:
    """Test every contrast of a model: edges, networks of edges, pairs of networks, regions.

    Parameters
    ----------
    stack
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
    model, correction = settings
    built = build_model(rows, model)
    maps = select_maps(stack.maps, built.rows, folder / "tested.npy")
    if model.harmonize:
        harmonised = create_maps(folder / "harmonised.npy", maps)
        harmonise(maps, list_sites(rows, built, model.harmonize), built.covariates, harmonised)
        maps = harmonised
    regions = Regions(target.regions_file, stack.labels, network_table)
    n_windows = numeric_column(rows, "n_windows")[built.rows]
    weights = fit_weights(maps, built.design.matrix, n_windows)
    design = replace(built.design, weights=weights.values)
    test = _Test(maps, regions, design, correction, target)
    fields = replace(
        _model_fields(built, rows, settings),
        tested_measure=stack.measure,
        tested_as_they_are=describe_tested(stack.measure),
        window_power=weights.power,
    )
    contrasts = built.design.contrasts
    for name, label in contrast_labels([contrast.name for contrast in contrasts]).items():
        contrast = next(contrast for contrast in contrasts if contrast.name == name)
        contrast_fields = test.add_contrast(contrast, fields)
        test.save_edges(contrast, label, contrast_fields)
        test.save_regions(contrast, label, contrast_fields)
        test.save_networks(contrast, label, contrast_fields)
    return [contrast.name for contrast in contrasts]


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """The maps of a group, their design, and where the results go."""

    maps: Array
    regions: Regions
    design: Design
    correction: PermuteSettings
    target: GroupTarget

    def add_contrast(self, contrast: Contrast, fields: ContrastFields) -> ContrastFields:
        """Add the fields of a contrast to the fields of its model."""
        of_mean = depends_on_mean(self.design, contrast)
        why_untested = why_not_tested(
            self.target.pretrained_on, fields.tested_measure, mean=of_mean and not fields.paired
        )
        is_permuted = self.correction.n_permutations and not why_untested
        permuted_by = "changes of sign" if of_mean else "exchange of residuals"
        return replace(
            fields,
            contrast=contrast.name,
            contrast_weights=tuple(map(tuple, contrast.matrix.tolist())),
            statistic=contrast.statistic,
            permutations=self.correction.n_permutations if is_permuted else 0,
            permuted_by=permuted_by if is_permuted else None,
            not_tested=why_untested,
        )

    def save_edges(self, contrast: Contrast, label: str, fields: ContrastFields) -> None:
        """Test every edge, and networks of edges."""
        labels, network_statistic = self.regions.labels, self.correction.network_statistic
        n = len(labels)
        result = self._estimate(self.maps, contrast, fields)
        permuted = None
        if self.correction.n_permutations:
            permuted = (
                blank_result(n)
                if fields.not_tested
                else permute(self.maps, n, self.design, contrast, self.correction)
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
        """Test the figures of regions; those of one sign are not tested against 0."""
        of_mean = depends_on_mean(self.design, contrast)
        columns = {}
        for figure, values in flow_stack(self.maps, len(self.regions.labels)).items():
            result = self._estimate(values, contrast, fields)
            one_signed = of_mean and figure in ONE_SIGNED
            columns[figure] = estimate_columns(drop_test(result) if one_signed else result)
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
            columns = estimate_columns(self._estimate(values, contrast, fields))
            if edgewise.n_permutations and varying_edges(values).any():
                n = len(names)
                permuted = (
                    blank_result(n)
                    if fields.not_tested
                    else permute(values, n, self.design, contrast, edgewise, diagonal=True)
                )
                columns |= permuted_columns(permuted)
            pairs[grouping] = (names, columns)
        if pairs:
            self.target.save_table("networks", network_rows(pairs), fields, suffix=label)

    def _estimate(self, values: Array, contrast: Contrast, fields: ContrastFields) -> Estimate:
        result = estimate(values, self.design, contrast)
        return drop_test(result) if fields.not_tested else result


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
