"""Reports and the texts that go with them."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from npi_bids.cli.crashes import read_crashes
from npi_bids.cli.resources import choose_plugin
from npi_bids.cli.settings import Request
from npi_bids.workflows.base import run_workflow
from npi_bids.workflows.report import init_report_wf

_logger = logging.getLogger(__name__)


def write_pages(
    request: Request, subjects: list[str], work_dir: Path, run_dir: Path, *, group: bool
) -> bool:
    """Write the report of each subject, the methods text, and the group's report where wanted.

    Returns
    -------
    bool
        True where every page was written.
    """
    # Pages are always written anew, so that other processes must not share their folder.
    with tempfile.TemporaryDirectory(dir=work_dir, prefix="reports_") as folder:
        workflow = init_report_wf(
            subjects=subjects, out_dir=request.out_dir, work_dir=Path(folder), group=group
        )
        well = run_workflow(workflow, choose_plugin(request.resources), run_dir, lambda *_: None)
    if not well:
        for crash in read_crashes(run_dir):
            if "report_wf" in crash.node:
                _logger.error("Report %s failed: %s", crash.node, crash.message)
    return well
