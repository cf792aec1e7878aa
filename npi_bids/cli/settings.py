"""Options of the command line itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from npi_bids.bids.atlases import AtlasSettings
from npi_bids.bids.query import QuerySettings
from npi_bids.core.options import option
from npi_bids.workflows.settings import AnalysisSettings, GroupAnalysis, ResourceSettings

LEVELS = ("pretrain", "participant", "group")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSettings:
    """Where things go, and how much is said."""

    work_dir: str = option(
        "work", "folder for intermediate results", aliases=("w",), metavar="DIR", result=False
    )
    trust_work_dir: bool = option(
        False,
        "use a work folder that belongs to, or can be written by, other users, who could run "
        "programs as you through it",
        result=False,
    )
    output_layout: str = option(
        "bids",
        "accepted as other BIDS Apps have it; out_dir itself is the dataset of derivatives",
        choices=("bids",),
        result=False,
    )
    overwrite: bool = option(
        False, "replace results of these units, whatever their configuration", result=False
    )
    dry_run: bool = option(False, "list the models that would be fitted, and stop", result=False)
    reports_only: bool = option(False, "write the reports again from what is there", result=False)
    boilerplate_only: bool = option(
        False, "write the methods text and the table of quality again, and stop", result=False
    )
    write_graph: bool = option(
        False,
        "write the graph of the workflow into the logs (as SVG too where graphviz is installed)",
        result=False,
    )
    stop_on_first_crash: bool = option(
        False, "stop at the first model that fails, instead of finishing the others", result=False
    )
    config_file: str = option(
        "",
        "TOML with options, as every run writes into out_dir/logs; options on the command line go "
        "first",
        metavar="TOML",
        result=False,
    )
    verbose: bool = option(False, "say more", aliases=("v",), result=False)
    quiet: bool = option(False, "say only what went wrong", aliases=("q",), result=False)
    notrack: bool = option(
        False, "accepted as other BIDS Apps have it; nothing is ever sent", result=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for."""

    bids_dir: Path
    out_dir: Path
    levels: tuple[str, ...]
    query: QuerySettings
    atlases: AtlasSettings
    analysis: AnalysisSettings
    group: GroupAnalysis
    resources: ResourceSettings
    output: OutputSettings
