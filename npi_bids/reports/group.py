"""Report of the groups: matrices, tables and tests of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from npi_bids import __version__
from npi_bids.bids.derivatives import (
    find_group_maps,
    find_models,
    find_statuses,
    find_tests,
    list_group_files,
    sibling,
)
from npi_bids.bids.outputs import (
    CATALOGUE,
    CONTRAST_OUTPUTS,
    GROUP_PAGE,
    GROUP_TABLE,
    join_entities,
    parse_name,
)
from npi_bids.bids.sidecars import (
    ContrastFields,
    ContrastSidecar,
    GroupFields,
    GroupSidecar,
    SplitHalf,
)
from npi_bids.bids.uris import regions_file
from npi_bids.errors import ReportError
from npi_bids.group.description import FEWEST_FOR_OUTLIERS, outlier_limit
from npi_bids.group.tables import edge_rows, table_cells
from npi_bids.io.files import write_text
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import read_matrix, read_table
from npi_bids.records import Array, ECResult
from npi_bids.reports import figures_signals
from npi_bids.reports.brain_figures import (
    draw_connections,
    place_on_cortex,
    split_files,
    view_cortex,
)
from npi_bids.reports.components import (
    ALPHA,
    Dot,
    Figure,
    GroupPage,
    GroupSection,
    Row,
    SortedTable,
    Strip,
    TestSection,
)
from npi_bids.reports.connections import LISTED, UNDIRECTED, Reading, tabulate_strongest
from npi_bids.reports.contrasts import name_columns, name_contrast
from npi_bids.reports.figures_connectivity import Layer, MatrixView
from npi_bids.reports.group_verdict import present_verdict, read_mean, summarise_mean
from npi_bids.reports.index import page_context, read_methods
from npi_bids.reports.methods import QualityRow, quality_rows, split_titles
from npi_bids.reports.network_blocks import tabulate_networks
from npi_bids.reports.page import group_page
from npi_bids.reports.parameters import tabulate_group_parameters
from npi_bids.reports.subject import save_figures
from npi_bids.wording import format_spread, join_items, rounded

if TYPE_CHECKING:
    import pandas as pd

# The outputs by which groups and tests are recognised.
MEAN, STATISTIC = "groupmean", "modelstatistic"
_MOST_ROWS = 500
# Outputs read beside a mean map: for the table of connections, and as layers of the matrix.
_DETAILS = ("grouptested", "grouplower", "groupupper", "groupt", "groupq")
_LAYERS = ("groupt", "groupsd", "groupsign", "groupdirection", "groupmotion", "groupicc")
_MOST_NAMED = 200  # subjects of a distribution of which every point has a name and a link
_UNSEEN = ("groupdirectionfwe",)  # read for the summary alone
_CORRECTED = tuple(CATALOGUE[output].label for output in ("modelfwe", "modelnbs", "modeltfnbs"))
_NOTHING_SURVIVES = (
    f"No connection is significant after correction: no q or family-wise p is {ALPHA:g} or less."
)
_COLUMNS = ("participant", "model", "included", "verdict", "R²", "own past R²", "model FC r",
            "mean FD (mm)", "minutes", "reason")  # fmt: skip
_FIGURES = ("r2", "r2_own_history", "model_fc_r", "mean_fd", "minutes_kept")
# Metrics whose distribution is shown: heading, field, and threshold in the sidecars of the maps.
_STRIPS = (
    ("expected accuracy (r)", "expected_r", "good_expected"),
    ("skill over own past", "skill_own_history", "good_skill"),
    ("split-half r", "r_split", "good_split"),
    ("model FC r", "model_fc_r", "good_model_fc"),
    ("samples per parameter", "samples_per_parameter", "good_samples"),
    ("mean FD (mm)", "mean_fd", ""),
    ("minutes kept", "minutes_kept", ""),
)


def cohort_section(out_dir: Path, mean: Path, group_number: int) -> GroupSection:
    """Return the section of one group, from its mean map."""
    sidecar = _sidecar(mean)
    group = sidecar.group
    ec = read_matrix(mean)
    regions = Regions(regions_file(sidecar.origin.links.node_files, out_dir), ec.labels)
    tested = _sidecar(sibling(mean, MEAN, "groupt")).group
    matrices = _read_matrices(mean, tested)
    reading = read_mean(group, matrices)
    prefix = f"{mean.name.split('_', maxsplit=1)[0]}/figures/{mean.name.split('_desc')[0]}"
    shrinkage = _read_long_table(mean, "shrinkage")
    figures = _group_figures(ec, regions, shrinkage, reading)
    verdict = present_verdict(group)
    # The matrix is only saved as a file: the page draws it itself, cell by cell.
    save_figures(out_dir, prefix, [_static_matrix(ec, regions)])
    shown, cortex_files = split_files(save_figures(out_dir, prefix, figures))
    vertices = place_on_cortex(regions)
    cortex = None if vertices is None else replace(
        view_cortex(f"group-cortex-{group_number}", ec, regions, vertices,
                    directed=reading.directed), files=cortex_files,
    )  # fmt: skip
    return GroupSection(
        mean.name.split("_meas")[0].replace("_", " "),
        (
            *_group_rows(sidecar),
            *_share_rows(shrinkage),
            *_outlier_rows(_read_long_table(mean, "subjects")),
        ),
        shown,
        tuple(path.relative_to(out_dir).as_posix() for path in list_group_files(out_dir, mean)),
        _group_view(f"group-{group_number}", ec, regions.network, matrices, mean),
        _group_tables(mean, ec, regions, matrices, group_number, reading),
        tuple(
            _test_section(
                path,
                regions,
                f"test-{group_number}-{number_}",
                out_dir,
                directed=reading.directed,
            )
            for number_, path in enumerate(find_tests(out_dir, mean), start=1)
        ),
        tested.not_tested,
        " ".join(filter(None, (tested.few_subjects, tested.tested_as_they_are))),
        replace(verdict, figures=save_figures(out_dir, prefix, verdict.figures)),
        summarise_mean(group, ec, matrices),
        tabulate_networks(ec, regions.network, directed=reading.directed),
        cortex,
    )


def _static_matrix(ec: ECResult, regions: Regions) -> Figure:
    svg = figures_signals.draw_matrix(
        ec.matrix, regions.network, title="mean EC", labels=ec.labels
    )
    return Figure("groupec", "Mean EC", "", svg)


def _read_matrices(mean: Path, tested: GroupFields) -> dict[str, Array]:
    """Return the matrices beside a mean map by output; without tests where none is valid."""
    return {
        output: read_matrix(path).matrix
        for output in dict.fromkeys((*_DETAILS, *_LAYERS, *_UNSEEN))
        if not (tested.not_tested and CATALOGUE[output].tested)
        and (path := sibling(mean, MEAN, output)).is_file()
    }


def _group_figures(
    ec: ECResult,
    regions: Regions,
    shrinkage: pd.DataFrame | None,
    reading: Reading,
) -> list[Figure]:
    """Return the figures of a mean map: lines where direction is not supported, else arrows."""
    significant = None
    if reading.tested and reading.q is not None:
        significant = figures_signals.only_significant(ec.matrix, reading.q, ALPHA)
    figures = draw_connections(
        ec, regions, "group", significant=significant, directed=reading.directed
    )
    if shrinkage is not None:
        shares = shrinkage["own_share"].to_numpy(dtype=float)
        figures.append(Figure("ownshare", "The subjects' own share",
                              "Weight of each subject's own data in its shrunken map, in order.",
                              figures_signals.draw_shares(shares)))  # fmt: skip
    return figures


def _group_view(
    name: str, ec: ECResult, networks: Sequence[str], matrices: Mapping[str, Array], mean: Path
) -> MatrixView:
    layers = [Layer(CATALOGUE[MEAN].label, CATALOGUE[MEAN].title, ec.matrix)]
    if "groupq" in matrices and np.isfinite(matrices["groupq"]).any():
        significant = figures_signals.only_significant(ec.matrix, matrices["groupq"], ALPHA)
        title = f"mean with q below {ALPHA:g}"
        layers.append(Layer(f"mean EC, q < {ALPHA:g}", title, significant, below=("q", ALPHA)))
    layers += [
        Layer(output.label, output.title, matrices[output.name], signed=output.signed)
        for output in (CATALOGUE[key] for key in _LAYERS if key in matrices)
    ]
    fc = sibling(mean, MEAN, MEAN, measure="pearsoncorrelation")
    if fc.is_file():
        matrix = read_matrix(fc).matrix
        layers.append(Layer("mean FC", "mean functional connectivity", matrix, directed=False,
                            limit=1.0))  # fmt: skip
    details = {"q": matrices["groupq"]} if "groupq" in matrices else {}
    if "groupupper" in matrices:
        details["half"] = (matrices["groupupper"] - matrices["grouplower"]) / 2
    return MatrixView(name, ec.labels, networks, layers, details, "SD of the target")


def _group_tables(
    mean: Path,
    ec: ECResult,
    regions: Regions,
    matrices: Mapping[str, Array],
    group_number: int,
    reading: Reading,
) -> tuple[SortedTable, ...]:
    """Return tables of the strongest connections, of pairs of networks, and of regions."""
    details = {
        CATALOGUE[output].label: matrices[output] for output in _DETAILS if output in matrices
    }
    tables = [tabulate_strongest(f"edges-{group_number}", ec, details, regions.network, reading)]
    undirected = "" if reading.directed else UNDIRECTED
    headings: tuple[str, ...]
    headings = ("grouping", "source", "target", "mean", "lower", "upper", "t", "p", "q")
    pairs = _read_long_table(mean, "networks")
    if pairs is not None:
        title = f"Pairs of networks{undirected}"
        tables.append(SortedTable(f"networks-{group_number}", title, name_columns(headings),
                                  table_cells(pairs, headings)))  # fmt: skip
    headings = ("region", "figure", "mean", "lower", "upper", "t", "q")
    of_regions = _read_long_table(mean, "regions")
    if of_regions is not None:
        selected = of_regions[of_regions["figure"].isin(("net_flow", "hierarchy", "asymmetry"))]
        selected = selected.assign(figure=selected["figure"].str.replace("_", " "))
        title = f"Net flow, hierarchy and asymmetry{undirected}"
        tables.append(SortedTable(f"regions-{group_number}", title, name_columns(headings),
                                  table_cells(selected, headings),
                                  folded=not reading.directed))  # fmt: skip
    parameters = _read_long_table(mean, "parametertests")
    if parameters is not None:
        tables.append(tabulate_group_parameters(parameters, f"parameters-{group_number}"))
    return tuple(tables)


def _read_long_table(matrix: Path, name: str, output: str = MEAN) -> pd.DataFrame | None:
    """Return a long table that belongs to a matrix, or None."""
    path = sibling(matrix, output, name)
    return read_table(path) if path.is_file() else None


def _group_rows(sidecar: GroupSidecar) -> tuple[Row, ...]:
    """Return the description of a group: subjects, settings, motion and reliability."""
    group, origin = sidecar.group, sidecar.origin
    rows = [
        Row("subjects", str(group.number_of_subjects), ", ".join(group.subjects)),
        Row("minimum subjects per edge", str(group.minimum_subjects)),
        Row("weights", group.weights),
        Row("configuration", origin.links.configuration_hash),
    ]
    if origin.pretrained_on:
        rows.append(Row("surrogates pre-trained on", origin.pretrained_on))
    halves = group.split_half_of_subjects or SplitHalf()
    if isfinite(halves.mean):  # not below four subjects
        rows.append(
            Row("split-half r over subjects", format_spread(halves.mean, halves.sd),
                "mean maps of random halves of the subjects")
        )  # fmt: skip
    if motion := group.motion_effect:
        rows.append(
            Row("QC-EC", f"median |r| {rounded(motion.median_absolute_r)}",
                f"correlation with mean FD over {motion.subjects} subjects; q < 0.05 in "
                f"{_percent(motion.share_significant)} of the connections; Spearman "
                f"correlation with distance: {rounded(motion.spearman_with_distance)}")
        )  # fmt: skip
    if reliability := group.reliability:
        rows.append(
            Row("visits", f"median ICC(2,1) {rounded(reliability.median_icc_21)}, ICC(3,1) "
                f"{rounded(reliability.median_icc_31)}",
                f"{reliability.subjects} subjects with {reliability.visits} visits; "
                f"{rounded(100 * reliability.identification_rate)} % are identified by their map; "
                f"mean r {rounded(reliability.mean_r_within)} within and "
                f"{rounded(reliability.mean_r_between)} between subjects")
        )  # fmt: skip
    return tuple(rows)


def _percent(share: float) -> str:
    return f"{rounded(100 * share)} %" if isfinite(share) else "n/a"


def _share_rows(shrinkage: pd.DataFrame | None) -> tuple[Row, ...]:
    """Say how much of the subjects' shrunken maps is their own."""
    if shrinkage is None:
        return ()
    note = (
        "mean weight of a subject's own data in its shrunken map (meas-npiblup); the rest is the "
        "mean of the group. These maps are not to be tested"
    )
    return (Row("the subjects' own share", _percent(shrinkage["own_share"].mean()), note),)


def _outlier_rows(subjects: pd.DataFrame | None) -> tuple[Row, ...]:
    """Name the subjects whose maps are outliers."""
    if subjects is None or len(subjects) < FEWEST_FOR_OUTLIERS:
        return ()
    names = subjects.loc[subjects["outlier"].astype(bool), "participant_id"].tolist()
    note = (
        f"correlation with the mean of the others more than {outlier_limit(len(subjects)):.1f} "
        "robust SD below the median, which happens by chance in 5 % of groups"
    )
    return (Row("outliers", join_items(names) or "none", note),)


def _test_section(
    path: Path, regions: Regions, name: str, out_dir: Path, *, directed: bool
) -> TestSection:
    """Return the section of one test over subjects."""
    test = ContrastSidecar.read(path.with_suffix(".json")).test
    if test.not_tested:
        return _untested_section(path, test, regions, name, out_dir)
    what = name_contrast(test, out_dir)
    statistic = read_matrix(path)
    details = {
        CATALOGUE[output].label: read_matrix(file).matrix
        for output in CONTRAST_OUTPUTS
        if CATALOGUE[output].role and (file := sibling(path, STATISTIC, output)).is_file()
    }
    signed = test.statistic == "t"
    layers = [Layer(test.statistic, f"{test.statistic} of {what}", statistic.matrix,
                    signed=signed)]  # fmt: skip
    for label in _CORRECTED:
        if label in details:
            significant = figures_signals.only_significant(statistic.matrix, details[label], ALPHA)
            layers.append(Layer(f"{label} < {ALPHA:g}", f"{test.statistic} where {label} is "
                                f"below {ALPHA:g}", significant, signed=signed,
                                below=(label, ALPHA)))  # fmt: skip
    survives = _any_corrected(details)
    return TestSection(
        f"Test: {what}",
        _test_rows(test, details),
        MatrixView(name, statistic.labels, regions.network, layers, details),
        _test_tables(path, statistic, details, regions, name, directed=directed),
        caution=" ".join(
            filter(
                None,
                (
                    test.kind_caution,
                    test.few_subjects,
                    test.length_caution,
                    test.tested_as_they_are,
                ),
            )
        ),
        summary="" if survives else _NOTHING_SURVIVES,
    )


def _any_corrected(details: Mapping[str, Array]) -> bool:
    """Return whether a connection has a corrected p that is significant, or there is none."""
    corrected = [details[label] for label in ("q", *_CORRECTED) if label in details]
    known = [matrix for matrix in corrected if np.isfinite(matrix).any()]
    return not known or any(bool((matrix <= ALPHA).any()) for matrix in known)


def _test_tables(
    path: Path,
    statistic: ECResult,
    details: Mapping[str, Array],
    regions: Regions,
    name: str,
    *,
    directed: bool,
) -> tuple[SortedTable, ...]:
    """Return tables of the strongest effects, folded if none is significant, and of networks."""
    survives = _any_corrected(details)
    columns, cells = edge_rows(statistic, details, regions.network, LISTED)
    title = "The strongest effects"
    title += (UNDIRECTED if survives and not directed else
              "" if survives else ", none of which is significant after correction")  # fmt: skip
    tables = [SortedTable(f"{name}-edges", title, columns, cells, folded=not survives)]
    components = _read_long_table(path, "components", STATISTIC)
    if components is not None:
        headings: tuple[str, ...] = ("component", "sign", "n_edges", "p_fwe", "source", "target")
        title = "Components of edges above the threshold"
        significant = bool((components["p_fwe"] <= ALPHA).any())
        if not significant:
            title += ", none of which is significant"
        if len(components) > _MOST_ROWS:  # all of them are in the table of the dataset
            title += f", the first {_MOST_ROWS} of {len(components)} edges"
        cells = table_cells(components.head(_MOST_ROWS), headings)
        tables.append(SortedTable(f"{name}-components", title, name_columns(headings), cells,
                                  folded=not significant))  # fmt: skip
    networks = _read_long_table(path, "networks", STATISTIC)
    if networks is not None:
        headings = tuple(c for c in ("grouping", "source", "target", "effect", "statistic", "p",
                                  "p_fwe") if c in networks)  # fmt: skip
        tables.append(SortedTable(f"{name}-networks", "Pairs of networks", name_columns(headings),
                                  table_cells(networks, headings)))  # fmt: skip
    return tuple(tables)


def _untested_section(
    path: Path, test: ContrastFields, regions: Regions, name: str, out_dir: Path
) -> TestSection:
    """Return the section of a contrast that was not tested: effects without p values."""
    effects = sibling(path, STATISTIC, "modeleffect")
    matrix = read_matrix(effects if effects.is_file() else path)
    layer = Layer("effect", f"estimate of {name_contrast(test, out_dir)}", matrix.matrix)
    columns, cells = edge_rows(matrix, {}, regions.network, LISTED)
    return TestSection(
        f"Contrast: {name_contrast(test, out_dir)}",
        _test_rows(test, {}),
        MatrixView(name, matrix.labels, regions.network, [layer], {}),
        (SortedTable(f"{name}-edges", "The largest effects (not tested)", columns, cells),),
        not_tested=test.not_tested,
    )


def _test_rows(test: ContrastFields, details: Mapping[str, Array]) -> tuple[Row, ...]:
    has_motion = {"mean_fd", "change of mean_fd"} & set(test.columns)
    covariates = f"{'with' if has_motion else 'without'} mean FD as a covariate"
    left_out = "; ".join(f"{who}: {why}" for who, why in test.left_out.items())
    counts = [
        f"{label}: {int((matrix <= ALPHA).sum())}"
        for label, matrix in details.items()
        if label in ("q", *_CORRECTED)
    ]
    error_term = [
        Row("error term", test.error_term,
            f"{test.number_of_visits} visits; within subjects vary "
            f"{join_items(test.varying_within)}")
    ] if test.error_term else []  # fmt: skip
    return (
        Row("model", test.model, covariates),
        *error_term,
        Row("subjects", str(test.number_of_subjects), left_out),
        Row(
            f"connections at p ≤ {ALPHA:g}",
            ", ".join(counts) or ("not tested" if test.not_tested else "no corrected p values"),
        ),
        Row(
            "permutations",
            str(test.permutations),
            f"components above {test.statistic} = {test.network_threshold:g}",
        ),
    )


def write_group_report(out_dir: Path) -> Path:
    """Write ``group.html`` from what the output dataset holds.

    Raises
    ------
    ReportError
        There is no group.
    """
    means = find_group_maps(out_dir)
    if not means:
        raise ReportError(f"<{out_dir}> holds no group results; run the group level.")
    sections = tuple(
        cohort_section(out_dir, path, group_number)
        for group_number, path in enumerate(means, start=1)
    )
    included = {_model_name(uri) for path in means for uri in _sidecar(path).origin.links.sources}
    models = list(find_models(out_dir))
    rows = quality_rows(out_dir, models)
    left_out = _exclusion_reasons(out_dir)
    common, own = split_titles([str(row["model"]) for row in rows])
    columns = tuple(name for name in _COLUMNS if name != "model" or any(own))
    rows = [{**row, "model": title} for row, title in zip(rows, own, strict=True)]
    members = tuple(
        _member_cells(
            row,
            inside=status.name in included,
            left_out=left_out.get(status.name, ""),
            has_models=any(own),
        )
        for status, row in zip(find_statuses(out_dir), rows, strict=True)
    )
    links = tuple(f"{row['participant_id']}.html" for row in rows)
    page = GroupPage(
        __version__,
        sections,
        SortedTable(
            "members",
            "Participants",
            columns,
            members,
            links,
            caption=f"All maps: {common}" if common else "",
        ),
        _quality_strips(rows, asdict(models[0].fit.verdict_thresholds) if models else {}),
        read_methods(out_dir),
        page_context(out_dir, (), ""),
    )
    path = out_dir / GROUP_PAGE
    write_text(path, group_page(page))
    return path


def _model_name(uri: str) -> str:
    """Return the name of the model that a matrix belongs to."""
    entities = parse_name(uri).entities
    return join_entities({key: value for key, value in entities.items() if key != "meas"})


def _exclusion_reasons(out_dir: Path) -> dict[str, str]:
    """Return the reasons why the group level left models out, by model."""
    path = out_dir / GROUP_TABLE
    if not path.is_file():
        return {}
    table = read_table(path).dropna(subset="reason")
    return dict(zip(table["model"], table["reason"].astype(str), strict=True))


def _member_cells(
    row: QualityRow, *, inside: bool, left_out: str, has_models: bool
) -> tuple[str, ...]:
    reason = row["reason"] if isinstance(row["reason"], str) else left_out
    return (
        str(row["participant_id"]),
        *((str(row["model"]),) if has_models else ()),
        "yes" if inside else "no",
        str(row.get("verdict", "n/a")),
        *(rounded(cast("float | None", row.get(key))) for key in _FIGURES),
        reason or ("" if inside else "too few subjects for a group"),
    )


def _quality_strips(rows: Sequence[QualityRow], thresholds: dict[str, float]) -> tuple[Strip, ...]:
    """Return the distributions of quality metrics over the maps."""
    strips = []
    for title, field, threshold in _STRIPS:
        finite = [
            (float(cast("float", row[field])), row)
            for row in rows
            if row.get(field) is not None and row[field] == row[field]
        ]
        if not finite:
            continue
        limit = thresholds.get(threshold)
        values = [value for value, _ in finite] + ([limit] if limit is not None else [])
        low, high = min(values), max(values)
        span = (high - low) or 1.0
        dots = tuple(
            Dot(str(row["participant_id"]), rounded(value), 100 * (value - low) / span,
                str(row.get("verdict", "unknown")),
                f"{row['participant_id']}.html" if len(finite) <= _MOST_NAMED or
                row.get("verdict") == "fail" else "")
            for value, row in finite
        )  # fmt: skip
        if rounded(high) == rounded(low):  # alike as far as is shown: in the middle
            dots = tuple(replace(dot, position=50.0) for dot in dots)
        threshold_position = None if limit is None else 100 * (limit - low) / span
        strips.append(Strip(title, dots, rounded(low), rounded(high), threshold_position))
    return tuple(strips)


def _sidecar(path: Path) -> GroupSidecar:
    return GroupSidecar.read(path.with_suffix(".json"))
