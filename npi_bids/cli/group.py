"""The group level: reads the output dataset and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from npi_bids.bids.cohorts import Cohort, find_cohorts
from npi_bids.bids.names import GROUP_TABLE
from npi_bids.bids.selection import Membership
from npi_bids.cli.resources import choose_plugin
from npi_bids.cli.settings import Request
from npi_bids.io.tables import write_rows
from npi_bids.workflows.base import run_workflow
from npi_bids.workflows.group import init_group_wf

_logger = logging.getLogger(__name__)


def run_group(request: Request, work_dir: Path, run_dir: Path) -> int:
    """Average all subjects and return the exit code.

    Raises
    ------
    NPIError
        There are no results, too few subjects, or results that must not be mixed.
    """
    cohorts, members = find_cohorts(request.out_dir, request.selection, request.group.min_subjects)
    _say_who_is_in(members, request.out_dir)
    for cohort in cohorts:
        _logger.info("Averaging %d subject(s): %s", len(cohort.subjects), cohort.name)
    workflow = init_group_wf(
        cohorts=cohorts,
        settings=request.group,
        selection=request.selection,
        out_dir=request.out_dir,
        work_dir=work_dir,
    )
    _remove_others(request.out_dir, cohorts)
    well = run_workflow(workflow, choose_plugin(request.resources), run_dir, lambda *_: None)
    return 0 if well else 1


def _say_who_is_in(members: Sequence[Membership], out_dir: Path) -> None:
    """Write the table of who is in a group and why others are not, and say the latter."""
    rows = [
        {
            "participant_id": f"sub-{member.model.entities['sub']}",
            "model": member.model.name,
            "cohort": member.cohort or float("nan"),
            "included": not member.reason,
            "reason": member.reason or float("nan"),
        }
        for member in members
    ]
    write_rows(rows, out_dir / GROUP_TABLE)
    for member in members:
        if member.reason:
            _logger.info("Left out of the group: %s, %s", member.model.name, member.reason)


def _remove_others(out_dir: Path, cohorts: Sequence[Cohort]) -> None:
    """Remove maps of an earlier run, whose groups may have had other members."""
    for path in out_dir.glob("tpl-*/**/*_desc-*Group*_relmat.*"):
        if path.is_file():
            path.unlink()
    for folder in sorted(out_dir.glob("tpl-*/cohort-*/func")):
        if not any(folder.iterdir()):
            folder.rmdir()
            folder.parent.rmdir()
    _logger.debug("Groups to write: %s", [cohort.name for cohort in cohorts])
