"""Test what explains the maps of a group, and write it under BIDS names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from npi_bids.bids.outputs import CATALOGUE, MODEL_KINDS, contrast_labels
from npi_bids.bids.sidecars import NOT_AGAINST_ZERO, ContrastFacts
from npi_bids.connectivity.network_measures import (
    ONE_SIGNED,
    flow_stack,
    groupings,
    network_stack,
)
from npi_bids.group.analysis import GroupTarget
from npi_bids.group.design import BuiltDesign, build_model, rows_of, sites_of
from npi_bids.group.glm import Contrast, Design, Estimate, depends_on_mean, estimate, untested
from npi_bids.group.harmonization import harmonise
from npi_bids.group.map_stack import MapStack, new_maps
from npi_bids.group.permutation import Permuted, nothing_permuted, permute, varying_edges
from npi_bids.group.pretraining import why_not_tested
from npi_bids.group.settings import ModelSettings, PermuteSettings
from npi_bids.group.tables import (
    component_table,
    edge_table,
    estimate_columns,
    network_rows,
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
    built = build_model(rows, asked)
    maps = rows_of(stack.maps, built.rows, folder / "tested.npy")
    if asked.harmonize:
        clean = new_maps(folder / "harmonised.npy", maps)
        harmonise(maps, sites_of(rows, built, asked.harmonize), built.covariates, clean)
        maps = clean
    regions = Regions(target.regions_file, stack.labels, network_table)
    test = _Test(maps, regions, built.design, correct, target)
    facts = _facts(built, rows, settings)
    contrasts = built.design.contrasts
    for name, label in contrast_labels([contrast.name for contrast in contrasts]).items():
        contrast = next(contrast for contrast in contrasts if contrast.name == name)
        about = test.facts_of(contrast, facts)
        test.save_edges(contrast, label, about)
        test.save_regions(contrast, label, about)
        test.save_networks(contrast, label, about)
    return [contrast.name for contrast in contrasts]


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """The maps of a group, what explains them, and where the answers go."""

    maps: Array
    regions: Regions
    design: Design
    correct: PermuteSettings
    target: GroupTarget

    def facts_of(self, contrast: Contrast, facts: ContrastFacts) -> ContrastFacts:
        """Add to what sidecars say of a model what they say of a contrast."""
        of_mean = depends_on_mean(self.design, contrast)
        reason = why_not_tested(self.target.pretrained_on, mean=of_mean and not facts.paired)
        drawn = self.correct.n_permutations and not reason
        permuted_by = "changes of sign" if of_mean else "exchange of residuals"
        return replace(
            facts,
            contrast=contrast.name,
            contrast_weights=tuple(map(tuple, contrast.matrix.tolist())),
            statistic=contrast.kind,
            permutations=self.correct.n_permutations if drawn else 0,
            permuted_by=permuted_by if drawn else None,
            not_tested=reason,
        )

    def save_edges(self, contrast: Contrast, label: str, facts: ContrastFacts) -> None:
        """Test every edge, and networks of edges."""
        labels, wanted = self.regions.labels, self.correct.network_statistic
        n = len(labels)
        found = self._estimate(self.maps, contrast, facts)
        drawn = None
        if self.correct.n_permutations:
            drawn = (
                nothing_permuted(n)
                if facts.not_tested
                else permute(self.maps, n, self.design, contrast, self.correct)
            )
        about = replace(facts, edges_permuted=drawn.n_tested if drawn else None)
        for kind, values in _kinds(found, drawn, wanted).items():
            if kind == "modeleffect" and contrast.kind == "F":
                continue  # of several columns there is no one effect
            matrix = ECResult(values.reshape(n, n), labels)
            self.target.save(kind, matrix, about, suffix=label)
        columns = estimate_columns(found) | permuted_columns(drawn, wanted)
        table = edge_table(labels, columns, self.regions.network)
        self.target.save_table("edges", table, about, suffix=label)
        if drawn is not None and drawn.components:
            table = component_table(labels, drawn.components)
            self.target.save_table("components", table, about, suffix=label)

    def save_regions(self, contrast: Contrast, label: str, facts: ContrastFacts) -> None:
        """Test what the maps say of regions; figures of one sign are not tested against 0."""
        of_mean = depends_on_mean(self.design, contrast)
        columns = {}
        for figure, values in flow_stack(self.maps, len(self.regions.labels)).items():
            found = self._estimate(values, contrast, facts)
            one_signed = of_mean and figure in ONE_SIGNED
            columns[figure] = estimate_columns(untested(found) if one_signed else found)
        table = region_table(self.regions, columns)
        self.target.save_table(
            "regions", table, facts, suffix=label, untested=NOT_AGAINST_ZERO if of_mean else None
        )

    def save_networks(self, contrast: Contrast, label: str, facts: ContrastFacts) -> None:
        """Test pairs of networks, with permutations of their own."""
        plain = replace(self.correct, network_statistic="none")
        pairs = {}
        labels = self.regions.labels
        for grouping, networks in groupings(labels, self.regions.networks).items():
            values, names = network_stack(self.maps, labels, networks)
            columns = estimate_columns(self._estimate(values, contrast, facts))
            if plain.n_permutations and varying_edges(values).any():
                n = len(names)
                drawn = (
                    nothing_permuted(n)
                    if facts.not_tested
                    else permute(values, n, self.design, contrast, plain, diagonal=True)
                )
                columns |= permuted_columns(drawn)
            pairs[grouping] = (names, columns)
        if pairs:
            self.target.save_table("networks", network_rows(pairs), facts, suffix=label)

    def _estimate(self, values: Array, contrast: Contrast, facts: ContrastFacts) -> Estimate:
        found = estimate(values, self.design, contrast)
        return untested(found) if facts.not_tested else found


def _kinds(found: Estimate, drawn: Permuted | None, networks: str) -> dict[str, Array]:
    """Return what is written as a matrix, by kind."""
    outputs = map(CATALOGUE.__getitem__, MODEL_KINDS)
    kinds = {output.kind: getattr(found, output.value) for output in outputs if output.value}
    if drawn is not None:
        kinds |= {"modelpermuted": drawn.p, "modelfwe": drawn.p_fwe}
        kinds |= {"modelnbs": drawn.p_nbs} if networks in ("nbs", "both") else {}
        kinds |= {"modeltfnbs": drawn.p_tfnbs} if networks in ("tfnbs", "both") else {}
    return kinds


def _facts(
    built: BuiltDesign,
    rows: Sequence[Mapping[str, object]],
    settings: tuple[ModelSettings, PermuteSettings],
) -> ContrastFacts:
    asked, correct = settings
    inside = [str(row["participant_id"]) for row, keep in zip(rows, built.rows, strict=True)
              if keep]  # fmt: skip
    return ContrastFacts(
        model=built.formula,
        columns=tuple(built.design.columns),
        subjects=tuple(name.removeprefix("sub-") for name in inside),
        number_of_subjects=len(inside),
        left_out={str(rows[place]["participant_id"]): why for place, why in built.reasons.items()},
        paired=asked.paired or None,
        harmonized_over=asked.harmonize or None,
        exchanged_within=asked.exchange_within or asked.harmonize or None,
        network_statistic=correct.network_statistic,
        network_threshold=correct.nbs_threshold,
        seed=correct.group_seed,
    )
