"""Reports: pages, tables and texts derived from an output dataset."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from npi_bids.interfaces.report import (
    ReportGroup,
    ReportIndex,
    ReportSubject,
    WriteTexts,
)

# Subjects refused for their label also get a page; node names consist of letters and digits.
_NO_LABEL = re.compile(r"[^A-Za-z0-9]")


def init_report_wf(
    *,
    subjects: list[str],
    out_dir: Path,
    work_dir: Path,
    group: bool = False,
    index: bool = True,
    name: str = "report_wf",
) -> Any:
    """Build a workflow that writes all pages from the content of an output dataset.

    Workflow Graph
        texts -> sub_<label> for each subject, texts -> index, and texts -> group.

    Parameters
    ----------
    subjects
        Labels of the subjects for whom to write a page.
    out_dir
        Root of the output dataset.
    work_dir
        Folder for intermediate results.
    group
        Whether to write the group's page.
    index
        Whether to write the page that lists all subjects.
    name
        Name of the workflow.

    Inputs
    ------
    None; everything is read from the output dataset.

    Outputs
    -------
    None; everything is written into the output dataset.
    """
    workflow = pe.Workflow(name=name, base_dir=str(work_dir))
    texts = pe.Node(WriteTexts(out_dir=str(out_dir)), name="texts", mem_gb=0.5)
    workflow.add_nodes([texts])
    pages = [
        pe.Node(
            ReportSubject(out_dir=str(out_dir), subject=subject),
            name=f"sub_{_NO_LABEL.sub(_code, subject)}",
            mem_gb=0.8,
        )
        for subject in subjects
    ]
    if index:
        pages.append(pe.Node(ReportIndex(out_dir=str(out_dir)), name="index", mem_gb=0.5))
    if group:
        pages.append(pe.Node(ReportGroup(out_dir=str(out_dir)), name="group", mem_gb=0.8))
    for page in pages:
        workflow.connect(texts, "out_files", page, "after")
    return workflow


def _code(character: re.Match[str]) -> str:
    return f"_{ord(character[0]):x}_"
