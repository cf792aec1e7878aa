"""Report of the groups: matrices, tables and tests of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, cast

from npi_bids import __version__
from npi_bids.bids.derivatives import (
    files_of_group,
    find_group_maps,
    find_models,
    find_statuses,
    find_tests,
    sibling,
)
from npi_bids.bids.outputs import CATALOGUE, GROUP_TABLE, MODEL_KINDS, parse_name, stem
from npi_bids.bids.sidecars import ContrastFacts, ContrastSidecar, GroupSidecar, SplitHalf
from npi_bids.bids.uris import regions_file
from npi_bids.errors import ReportError
from npi_bids.group.description import OUTLIER_SD
from npi_bids.group.tables import edge_rows, table_cells
from npi_bids.io.files import write_text
from npi_bids.io.region_tables import Regions
from npi_bids.io.tables import read_matrix, read_table
from npi_bids.records import Array, ECResult
from npi_bids.reports import figures_signals
from npi_bids.reports.components import (
    Dot,
    Figure,
    GroupPage,
    GroupSection,
    Row,
    SortedTable,
    Strip,
    TestSection,
    number,
)
from npi_bids.reports.figures_connectivity import Layer, MatrixView
from npi_bids.reports.index import place_of, read_methods
from npi_bids.reports.methods import QualityRow, quality_rows
from npi_bids.reports.page import group_page
from npi_bids.reports.subject import ALPHA, LISTED, draw_places, save_figures
from npi_bids.wording import join_words

if TYPE_CHECKING:
    import pandas as pd

MEAN, STATISTIC = "groupmean", "modelstatistic"  # what a group, and what a test is known by
_MOST_ROWS = 500
# What is read beside a mean map: for the table of connections, and as layers of the matrix.
_DETAILS = ("grouplower", "groupupper", "groupt", "groupq")
_LAYERS = ("groupt", "groupsd", "groupsign", "groupmotion", "groupicc")
_CORRECTED = tuple(CATALOGUE[kind].label for kind in ("modelfwe", "modelnbs", "modeltfnbs"))
_COLUMNS = ("participant", "model", "included", "verdict", "R²", "own past R²", "model FC r",
            "mean FD (mm)", "minutes", "reason")  # fmt: skip
_FIGURES = ("r2", "r2_own_history", "model_fc_r", "mean_fd", "minutes_kept")
# Figures whose distribution is shown: heading, field, and threshold in the sidecars of the maps.
_STRIPS = (
    ("expected accuracy (r)", "expected_r", "good_expected"),
    ("skill over own past", "skill_own_history", "good_skill"),
    ("split-half r", "r_split", "good_split"),
    ("model FC r", "model_fc_r", "good_model_fc"),
    ("samples per parameter", "samples_per_parameter", "good_samples"),
    ("mean FD (mm)", "mean_fd", ""),
    ("minutes kept", "minutes_kept", ""),
)


def cohort_section(out_dir: Path, mean: Path, place: int) -> GroupSection:
    """Return what the page shows of one group, from its mean map."""
    sidecar = _sidecar(mean)
    ec = read_matrix(mean)
    regions = Regions(regions_file(sidecar.origin.links.node_files, out_dir), ec.labels)
    tested = _sidecar(sibling(mean, MEAN, "groupt")).group
    others = {
        kind: read_matrix(path).matrix
        for kind in dict.fromkeys((*_DETAILS, *_LAYERS))
        if not (tested.not_tested and CATALOGUE[kind].tested)
        and (path := sibling(mean, MEAN, kind)).is_file()
    }
    title = mean.name.split("_meas")[0].replace("_", " ")
    prefix = f"{mean.name.split('_', maxsplit=1)[0]}/figures/{mean.name.split('_desc')[0]}"
    drawn = draw_places(ec, regions, "group")
    svg = figures_signals.draw_matrix(ec.matrix, regions.network, title="mean EC")
    drawn.append(Figure("groupec", "Mean EC", "Static figure for download.", svg))
    return GroupSection(
        title,
        (*_rows(sidecar), *_outliers(_table(mean, "subjects"))),
        save_figures(out_dir, prefix, drawn),
        tuple(path.relative_to(out_dir).as_posix() for path in files_of_group(out_dir, mean)),
        _view(f"group-{place}", ec, regions.network, others, mean),
        _tables(mean, ec, regions, others, place),
        tuple(
            _test(path, regions, f"test-{place}-{number_}")
            for number_, path in enumerate(find_tests(out_dir, mean), start=1)
        ),
        tested.not_tested,
        tested.few_subjects,
    )


def _view(
    name: str, ec: ECResult, networks: Sequence[str], others: Mapping[str, Array], mean: Path
) -> MatrixView:
    layers = [Layer(CATALOGUE[MEAN].label, CATALOGUE[MEAN].title, ec.matrix)]
    if "groupq" in others:
        significant = figures_signals.only_significant(ec.matrix, others["groupq"], ALPHA)
        title = f"mean with q below {ALPHA:g}"
        layers.append(Layer(f"mean EC, q < {ALPHA:g}", title, significant, below=("q", ALPHA)))
    layers += [
        Layer(known.label, known.title, others[known.kind], signed=known.signed)
        for known in (CATALOGUE[kind] for kind in _LAYERS if kind in others)
    ]
    fc = sibling(mean, MEAN, MEAN, measure="pearsoncorrelation")
    if fc.is_file():
        matrix = read_matrix(fc).matrix
        layers.append(Layer("mean FC", "mean functional connectivity", matrix, directed=False,
                            limit=1.0))  # fmt: skip
    details = {"q": others["groupq"]} if "groupq" in others else {}
    if "groupupper" in others:
        details["half"] = others["groupupper"] - ec.matrix
    return MatrixView(name, ec.labels, networks, layers, details, "SD of the target")


def _tables(
    mean: Path,
    ec: ECResult,
    regions: Regions,
    others: Mapping[str, Array],
    place: int,
) -> tuple[SortedTable, ...]:
    """Return the strongest connections, and pairs of networks."""
    details = {CATALOGUE[kind].label: others[kind] for kind in _DETAILS if kind in others}
    columns, rows = edge_rows(ec, details, regions.network, LISTED)
    found = [SortedTable(f"edges-{place}", f"The {len(rows)} strongest mean connections",
                         columns, rows)]  # fmt: skip
    shown: tuple[str, ...]
    shown = ("grouping", "source", "target", "mean", "lower", "upper", "t", "p", "q")
    pairs = _table(mean, "networks")
    if pairs is not None:
        found.append(SortedTable(f"networks-{place}", "Pairs of networks", shown,
                                 table_cells(pairs, shown)))  # fmt: skip
    shown = ("region", "figure", "mean", "lower", "upper", "t", "q")
    of_regions = _table(mean, "regions")
    if of_regions is not None:
        kept = of_regions[of_regions["figure"].isin(("net_flow", "hierarchy", "asymmetry"))]
        found.append(SortedTable(f"regions-{place}", "Net flow, hierarchy and asymmetry", shown,
                                 table_cells(kept, shown)))  # fmt: skip
    return tuple(found)


def _table(matrix: Path, table: str, kind: str = MEAN) -> pd.DataFrame | None:
    """Return a long table that belongs to a matrix, or None."""
    path = sibling(matrix, kind, table)
    return read_table(path) if path.is_file() else None


def _rows(sidecar: GroupSidecar) -> tuple[Row, ...]:
    """Return what is known of a group: who, how, motion, and how well it repeats."""
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
    rows.append(
        Row("split-half r over subjects", f"{number(halves.mean)} ± {number(halves.sd)}",
            "mean maps of random halves of the subjects; n/a below four subjects")
    )  # fmt: skip
    if moved := group.motion_effect:
        rows.append(
            Row("QC-EC", f"median |r| {number(moved.median_absolute_r)}",
                f"correlation with mean FD over {moved.subjects} subjects; q < 0.05 in "
                f"{_percent(moved.share_significant)} of the connections; Spearman "
                f"correlation with distance: {number(moved.spearman_with_distance)}")
        )  # fmt: skip
    if again := group.reliability:
        rows.append(
            Row("visits", f"median ICC(2,1) {number(again.median_icc_21)}, ICC(3,1) "
                f"{number(again.median_icc_31)}",
                f"{again.subjects} subjects with {again.visits} visits; "
                f"{number(100 * again.identification_rate)} % are identified by their map; "
                f"mean r {number(again.mean_r_within)} within and "
                f"{number(again.mean_r_between)} between subjects")
        )  # fmt: skip
    return tuple(rows)


def _percent(share: float) -> str:
    return f"{number(100 * share)} %" if isfinite(share) else "n/a"


def _outliers(subjects: pd.DataFrame | None) -> tuple[Row, ...]:
    """Name the subjects whose maps are outliers."""
    if subjects is None:
        return ()
    names = subjects.loc[subjects["outlier"].astype(bool), "participant_id"].tolist()
    note = (
        f"correlation with the mean of the others more than {OUTLIER_SD:g} robust SD below the "
        "median"
    )
    return (Row("outliers", join_words(names) or "none", note),)


def _test(path: Path, regions: Regions, name: str) -> TestSection:
    """Return what one test over subjects found."""
    test = ContrastSidecar.read(path.with_suffix(".json")).test
    if test.not_tested:
        return _untested(path, test, regions, name)
    statistic = read_matrix(path)
    details = {
        CATALOGUE[kind].label: read_matrix(file).matrix
        for kind in MODEL_KINDS
        if CATALOGUE[kind].role and (file := sibling(path, STATISTIC, kind)).is_file()
    }
    signed = test.statistic == "t"
    layers = [Layer(test.statistic, f"{test.statistic} of {test.contrast}", statistic.matrix,
                    signed=signed)]  # fmt: skip
    for words in _CORRECTED:
        if words in details:
            significant = figures_signals.only_significant(statistic.matrix, details[words], ALPHA)
            layers.append(Layer(f"{words} < {ALPHA:g}", f"{test.statistic} where {words} is "
                                f"below {ALPHA:g}", significant, signed=signed,
                                below=(words, ALPHA)))  # fmt: skip
    columns, cells = edge_rows(statistic, details, regions.network, LISTED)
    tables = [SortedTable(f"{name}-edges", "The strongest effects", columns, cells)]
    parts = _table(path, "components", STATISTIC)
    if parts is not None:
        shown: tuple[str, ...] = ("component", "sign", "n_edges", "p_fwe", "source", "target")
        title = "Components of edges above the threshold"
        if len(parts) > _MOST_ROWS:  # all of them are in the table of the dataset
            title += f", the first {_MOST_ROWS} of {len(parts)} edges"
        cells = table_cells(parts.head(_MOST_ROWS), shown)
        tables.append(SortedTable(f"{name}-components", title, shown, cells))
    networks = _table(path, "networks", STATISTIC)
    if networks is not None:
        shown = tuple(c for c in ("grouping", "source", "target", "effect", "statistic", "p",
                                  "p_fwe") if c in networks)  # fmt: skip
        tables.append(SortedTable(f"{name}-networks", "Pairs of networks", shown,
                                  table_cells(networks, shown)))  # fmt: skip
    return TestSection(
        f"Test: {test.contrast}",
        _test_rows(test, details),
        MatrixView(name, statistic.labels, regions.network, layers, details),
        tuple(tables),
        caution=test.few_subjects,
    )


def _untested(path: Path, test: ContrastFacts, regions: Regions, name: str) -> TestSection:
    """Return what is known of a contrast that was not tested: its effects, without any p."""
    effects = sibling(path, STATISTIC, "modeleffect")
    matrix = read_matrix(effects if effects.is_file() else path)
    layer = Layer("effect", f"effect of {test.contrast}", matrix.matrix)
    columns, cells = edge_rows(matrix, {}, regions.network, LISTED)
    return TestSection(
        f"Contrast: {test.contrast}",
        _test_rows(test, {}),
        MatrixView(name, matrix.labels, regions.network, [layer], {}),
        (SortedTable(f"{name}-edges", "The largest effects (not tested)", columns, cells),),
        not_tested=test.not_tested,
    )


def _test_rows(test: ContrastFacts, details: Mapping[str, Array]) -> tuple[Row, ...]:
    covariates = "with mean FD as a covariate" if "mean_fd" in test.columns else (
        "without mean FD as a covariate"
    )  # fmt: skip
    left_out = "; ".join(f"{who}: {why}" for who, why in test.left_out.items())
    found = [
        f"{words}: {int((matrix <= ALPHA).sum())}"
        for words, matrix in details.items()
        if words in ("q", *_CORRECTED)
    ]
    return (
        Row("model", test.model, covariates),
        Row("subjects", str(test.number_of_subjects), left_out),
        Row(
            f"connections at p ≤ {ALPHA:g}",
            ", ".join(found) or ("not tested" if test.not_tested else "no corrected p values"),
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
        cohort_section(out_dir, path, place) for place, path in enumerate(means, start=1)
    )
    included = {_name_of(uri) for path in means for uri in _sidecar(path).origin.links.sources}
    models = list(find_models(out_dir))
    rows = quality_rows(out_dir, models)
    left_out = _reasons(out_dir)
    members = tuple(
        _member(row, inside=status.name in included, left_out=left_out.get(status.name, ""))
        for status, row in zip(find_statuses(out_dir), rows, strict=True)
    )
    links = tuple(f"{row['participant_id']}.html" for row in rows)
    page = GroupPage(
        __version__,
        sections,
        SortedTable("members", "Participants", _COLUMNS, members, links),
        _strips(rows, asdict(models[0].fit.verdict_thresholds) if models else {}),
        read_methods(out_dir),
        place_of(out_dir, (), ""),
    )
    path = out_dir / "group.html"
    write_text(path, group_page(page))
    return path


def _name_of(uri: str) -> str:
    """Return the name of the model that a matrix belongs to."""
    entities = parse_name(uri).entities
    return stem({key: value for key, value in entities.items() if key != "meas"})


def _reasons(out_dir: Path) -> dict[str, str]:
    """Return why the group level left models out, by their names."""
    path = out_dir / GROUP_TABLE
    if not path.is_file():
        return {}
    table = read_table(path).dropna(subset="reason")
    return dict(zip(table["model"], table["reason"].astype(str), strict=True))


def _member(row: QualityRow, *, inside: bool, left_out: str) -> tuple[str, ...]:
    reason = row["reason"] if isinstance(row["reason"], str) else left_out
    return (
        str(row["participant_id"]),
        str(row["model"]),
        "yes" if inside else "no",
        str(row.get("verdict", "n/a")),
        *(number(cast("float | None", row.get(key))) for key in _FIGURES),
        reason or ("" if inside else "too few subjects for a group"),
    )


def _strips(rows: Sequence[QualityRow], wanted: dict[str, float]) -> tuple[Strip, ...]:
    """Return how figures of quality are spread over the maps."""
    strips = []
    for title, field, threshold in _STRIPS:
        known = [
            (float(cast("float", row[field])), row)
            for row in rows
            if row.get(field) is not None and row[field] == row[field]
        ]
        if not known:
            continue
        limit = wanted.get(threshold)
        values = [value for value, _ in known] + ([limit] if limit is not None else [])
        low, high = min(values), max(values)
        span = (high - low) or 1.0
        dots = tuple(
            Dot(str(row["participant_id"]), number(value), 100 * (value - low) / span,
                str(row.get("verdict", "unknown")), f"{row['participant_id']}.html")
            for value, row in known
        )  # fmt: skip
        at = None if limit is None else 100 * (limit - low) / span
        strips.append(Strip(title, dots, number(low), number(high), at))
    return tuple(strips)


def _sidecar(path: Path) -> GroupSidecar:
    return GroupSidecar.read(path.with_suffix(".json"))
