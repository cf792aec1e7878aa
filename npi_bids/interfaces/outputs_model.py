"""Test what explains the maps of a group, and write it under BIDS names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from npi_bids.bids.names import label_of
from npi_bids.core.flow import flow_stack, groupings, network_stack
from npi_bids.core.glm import Contrast, Design, Estimate, estimate
from npi_bids.core.group_options import ModelSettings, PermuteSettings
from npi_bids.core.harmonise import harmonise
from npi_bids.core.permute import Permuted, permute, varying_edges
from npi_bids.core.records import Array, ECResult
from npi_bids.interfaces.outputs_group import GroupTarget
from npi_bids.io.design import BuiltDesign, build_design, rows_of, subject_frame
from npi_bids.io.stack import MapStack, new_maps
from npi_bids.io.statistics import (
    Regions,
    component_table,
    estimate_columns,
    network_rows,
    permuted_columns,
    region_table,
    write_edges,
)
from npi_bids.io.tables import write_table


def save_tests(
    stack: MapStack,
    rows: Sequence[Mapping[str, Any]],
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
        What is known of each subject, in the order of the stack.
    target
        Where to.
    settings
        What is tested, and how it is corrected.
    folder
        Where arrays may lie.
    network_table
        Further networks.

    Returns
    -------
    list of str
        Names of what was tested.
    """
    asked, correct = settings
    built = build_design(
        subject_frame(rows),
        asked.wanted,
        asked.contrast,
        motion=asked.motion_covariate,
        blocks=asked.exchange_within or asked.harmonize,
    )
    maps = rows_of(stack.maps, built.rows, folder / "tested.npy")
    if asked.harmonize:
        sites = [str(row[asked.harmonize]) for row, inside in zip(rows, built.rows, strict=True)
                 if inside]  # fmt: skip
        clean = new_maps(folder / "harmonised.npy", maps)
        harmonise(maps, sites, built.covariates, clean)
        maps = clean
    test = _Test(
        maps,
        Regions(target.regions_file, stack.labels, network_table),
        built.design,
        correct,
        target,
    )
    facts = _facts(built, rows, settings)
    for contrast in built.design.contrasts:
        test.save_edges(contrast, facts)
        test.save_regions(contrast)
        test.save_networks(contrast)
    return [contrast.name for contrast in built.design.contrasts]


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """The maps of a group, what explains them, and where the answers go."""

    maps: Array
    regions: Regions
    design: Design
    correct: PermuteSettings
    target: GroupTarget

    def save_edges(self, contrast: Contrast, facts: Mapping[str, Any]) -> None:
        """Test every edge, and networks of edges."""
        labels, suffix = self.regions.labels, label_of(contrast.name)
        n = len(labels)
        found = estimate(self.maps, self.design, contrast)
        drawn = None
        if self.correct.n_permutations:
            drawn = permute(self.maps, n, self.design, contrast, self.correct)
        about = {
            **facts,
            "Contrast": contrast.name,
            "ContrastWeights": contrast.matrix.tolist(),
            "Statistic": contrast.kind,
            "EdgesPermuted": drawn.n_tested if drawn else None,
        }
        for kind, values in _kinds(found, drawn).items():
            matrix = ECResult(values.reshape(n, n), labels)
            self.target.save(kind, matrix, about, suffix=suffix)
        columns = estimate_columns(found) | permuted_columns(drawn)
        path = self.target.path("edges", suffix=suffix)
        write_edges(labels, columns, path, networks=self.regions.network)
        if drawn is not None and drawn.components:
            table = component_table(labels, drawn.components)
            write_table(table, self.target.path("components", suffix=suffix))

    def save_regions(self, contrast: Contrast) -> None:
        """Test what the maps say of regions."""
        flows = flow_stack(self.maps, len(self.regions.labels))
        columns = {
            figure: estimate_columns(estimate(values, self.design, contrast))
            for figure, values in flows.items()
        }
        path = self.target.path("regions", suffix=label_of(contrast.name))
        write_table(region_table(self.regions, columns), path)

    def save_networks(self, contrast: Contrast) -> None:
        """Test pairs of networks, with permutations of their own."""
        plain = replace(self.correct, network_statistic="none")
        pairs = {}
        labels = self.regions.labels
        for grouping, networks in groupings(labels, self.regions.networks).items():
            values, names = network_stack(self.maps, labels, networks)
            columns = estimate_columns(estimate(values, self.design, contrast))
            if plain.n_permutations and varying_edges(values).any():
                drawn = permute(values, len(names), self.design, contrast, plain, diagonal=True)
                columns |= permuted_columns(drawn)
            pairs[grouping] = (names, columns)
        if pairs:
            path = self.target.path("networks", suffix=label_of(contrast.name))
            write_table(network_rows(pairs), path)


def _kinds(found: Estimate, drawn: Permuted | None) -> dict[str, Array]:
    kinds = {
        "modeleffect": found.effect, "modelstatistic": found.statistic, "modelp": found.p,
        "modelq": found.q,
    }  # fmt: skip
    if drawn is not None:
        kinds |= {
            "modelpermuted": drawn.p, "modelfwe": drawn.p_fwe, "modelnbs": drawn.p_nbs,
            "modeltfnbs": drawn.p_tfnbs,
        }  # fmt: skip
    return {kind: values for kind, values in kinds.items() if (values == values).any()}  # noqa: PLR0124 (NaN)


def _facts(
    built: BuiltDesign,
    rows: Sequence[Mapping[str, Any]],
    settings: tuple[ModelSettings, PermuteSettings],
) -> dict[str, Any]:
    asked, correct = settings
    inside = [str(row["participant_id"]) for row, keep in zip(rows, built.rows, strict=True)
              if keep]  # fmt: skip
    return {
        "Model": built.formula,
        "Columns": list(built.design.columns),
        "Subjects": [name.removeprefix("sub-") for name in inside],
        "NumberOfSubjects": len(inside),
        "LeftOut": {str(rows[place]["participant_id"]): why
                    for place, why in built.reasons.items()},
        "Paired": list(asked.paired) or None,
        "HarmonizedOver": asked.harmonize or None,
        "ExchangedWithin": asked.exchange_within or asked.harmonize or None,
        "Permutations": correct.n_permutations,
        "NetworkStatistic": correct.network_statistic,
        "NetworkThreshold": correct.nbs_threshold,
        "Seed": correct.group_seed,
    }  # fmt: skip
