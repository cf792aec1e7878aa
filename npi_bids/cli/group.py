"""The group level: reads the output dataset and nothing else."""

from __future__ import annotations

import logging
from pathlib import Path

from npi_bids.bids.cohorts import find_cohorts
from npi_bids.cli.resources import choose_plugin
from npi_bids.cli.settings import Request
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
    cohorts = find_cohorts(request.out_dir, request.group.min_subjects)
    for cohort in cohorts:
        _logger.info("Averaging %d subject(s): %s", len(cohort.subjects), cohort.name)
    workflow = init_group_wf(
        cohorts=cohorts, settings=request.group, out_dir=request.out_dir, work_dir=work_dir
    )
    well = run_workflow(workflow, choose_plugin(request.resources), run_dir, lambda *_: None)
    return 0 if well else 1
