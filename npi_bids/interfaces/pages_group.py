"""Gather what the group's page shows from the output dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from npi_bids import __version__
from npi_bids.bids.names import GROUP_TABLE, parse_name, stem
from npi_bids.bids.results import find_models, find_statuses
from npi_bids.errors import ReportError
from npi_bids.interfaces.pages_cohort import cohort_section
from npi_bids.interfaces.pages_place import place_of, read_methods
from npi_bids.interfaces.pages_texts import quality_rows
from npi_bids.io.files import read_json, write_text
from npi_bids.io.tables import read_table
from npi_bids.reports.facts import number
from npi_bids.reports.page import group_page
from npi_bids.reports.records import Dot, GroupPage, SortedTable, Strip

_COLUMNS = ("participant", "model", "in the group", "verdict", "R²", "own past R²", "model FC r",
            "mean FD (mm)", "minutes", "reason")  # fmt: skip
_FIGURES = ("r2", "r2_own_history", "model_fc_r", "mean_fd", "minutes_kept")
# Figures whose distribution is shown: heading, field, and threshold in the sidecars of the maps.
_STRIPS = (
    ("expected r with the truth", "expected_r", "good_expected"),
    ("skill over own past", "skill_own_history", "good_skill"),
    ("r between halves", "r_split", "good_split"),
    ("model FC r", "model_fc_r", "good_model_fc"),
    ("samples per parameter", "samples_per_parameter", "good_samples"),
    ("mean FD (mm)", "mean_fd", ""),
    ("minutes kept", "minutes_kept", ""),
)


def write_group_report(out_dir: Path) -> Path:
    """Write ``group.html`` from what the output dataset holds.

    Raises
    ------
    ReportError
        There is no group.
    """
    means = sorted(out_dir.glob("tpl-*/**/func/*_meas-npi_*Groupmean_relmat.tsv"))
    if not means:
        raise ReportError(f"<{out_dir}> holds no group; run the group level.")
    sections = tuple(
        cohort_section(out_dir, path, place) for place, path in enumerate(means, start=1)
    )
    included = {_name_of(uri) for path in means for uri in _sidecar(path)["Sources"]}
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
        _strips(rows, models[0].sidecar["VerdictThresholds"] if models else {}),
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


def _member(row: dict[str, Any], *, inside: bool, left_out: str) -> tuple[str, ...]:
    reason = row["reason"] if isinstance(row["reason"], str) else left_out
    return (
        row["participant_id"],
        row["model"],
        "yes" if inside else "no",
        str(row.get("verdict", "n/a")),
        *(number(row.get(key)) for key in _FIGURES),
        reason or ("" if inside else "no group is large enough"),
    )


def _strips(rows: list[dict[str, Any]], wanted: dict[str, float]) -> tuple[Strip, ...]:
    """Return how figures of quality are spread over the maps."""
    strips = []
    for title, field, threshold in _STRIPS:
        known = [
            (float(row[field]), row)
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
            Dot(row["participant_id"], number(value), 100 * (value - low) / span,
                str(row.get("verdict", "unknown")), f"{row['participant_id']}.html")
            for value, row in known
        )  # fmt: skip
        at = None if limit is None else 100 * (limit - low) / span
        strips.append(Strip(title, dots, number(low), number(high), at))
    return tuple(strips)


def _sidecar(path: Path) -> dict[str, Any]:
    return read_json(path.with_suffix(".json"))
