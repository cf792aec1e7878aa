"""The command line, generated from the settings classes."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, Action, ArgumentParser, HelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npi_bids import __version__
from npi_bids.bids.atlases import AtlasSettings, known_atlases
from npi_bids.bids.query import QuerySettings
from npi_bids.bids.selection import SelectionSettings
from npi_bids.bids.units import CombineSettings
from npi_bids.cli.config import read_config
from npi_bids.cli.options import add_options, checked_settings, given_options, with_dashes
from npi_bids.cli.settings import LEVELS, OutputSettings, Request
from npi_bids.core.group_options import GroupSettings, ModelSettings, PermuteSettings
from npi_bids.core.measures import MeasureSettings
from npi_bids.core.perturb import PerturbSettings
from npi_bids.core.prior_options import PriorSettings
from npi_bids.core.surrogate import PRESETS, TrainSettings
from npi_bids.core.verdict import AssessSettings, VerdictSettings
from npi_bids.images.options import CoverageSettings, DenoiseSettings
from npi_bids.simulate.options import BrainSettings
from npi_bids.workflows.settings import AnalysisSettings, GroupAnalysis, ResourceSettings

GROUPS: dict[str, tuple[type, ...]] = {
    "queries": (QuerySettings,),
    "parcellation": (AtlasSettings, CoverageSettings),
    "denoising": (DenoiseSettings,),
    "surrogate": (TrainSettings, CombineSettings, PriorSettings),
    "whole-brain model": (BrainSettings,),
    "perturbation": (PerturbSettings,),
    "uncertainty": (MeasureSettings, VerdictSettings),
    "group": (GroupSettings, SelectionSettings, ModelSettings, PermuteSettings),
    "performance": (ResourceSettings,),
    "output": (OutputSettings,),
}
# Options that may be paths of files.
_PATHS = (
    *((DenoiseSettings, "denoise"), (BrainSettings, "sc"), (BrainSettings, "sc_lengths")),
    *((SelectionSettings, "exclude_file"), (GroupSettings, "network_table")),
)


class _ListAtlases(Action):
    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        lines = ["Atlases for --atlas (or the path of an image with a table of names beside it):"]
        for name, facts in known_atlases().items():
            variants = [f":seg-{seg}" for seg in facts.get("segs", ())]
            scales = facts.get("scales", ())
            if scales:
                variants.append(f":scale-{scales[0]} to {scales[-1]}")
            lines.append(f"  {name:<14} {facts['about']}; {facts['source']}")
            lines.append(f"  {'':<14} drawn in {facts['space']}; licence: {facts['License']}")
            if variants:
                lines.append(f"  {'':<14} {' '.join(variants)}")
        sys.stdout.write("\n".join(lines) + "\n")
        parser.exit(0)


def build_parser() -> ArgumentParser:
    """Build the parser: the BIDS-App positionals, then the options of each settings class."""
    parser = ArgumentParser(
        "npi-bids",
        description="Directed, signed effective connectivity of the whole brain from "
        "preprocessed fMRI, by perturbing a surrogate of each subject's regional dynamics.",
        formatter_class=lambda prog: HelpFormatter(prog, max_help_position=30, width=100),
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", type=Path, help="dataset of fMRIPrep derivatives (or a raw "
                        "dataset that holds them)")  # fmt: skip
    parser.add_argument("out_dir", type=Path, help="output dataset; made where it is missing")
    parser.add_argument("levels", nargs="+", choices=LEVELS,
                        metavar="{pretrain,participant,group}",
                        help="one level or several")  # fmt: skip
    parser.add_argument("--version", action="version", version=f"npi-bids {__version__}")
    for title, classes in GROUPS.items():
        group = parser.add_argument_group(title)
        for settings in classes:
            add_options(group, settings)
        if title == "parcellation":
            group.add_argument("--list-atlases", action=_ListAtlases, nargs=0,
                               help="list the named atlases and stop")  # fmt: skip
        if title == "surrogate":
            group.add_argument("--preset", choices=sorted(PRESETS), default=SUPPRESS,
                               help="published settings of surrogate and training; options "
                               "given beside it go first")  # fmt: skip
    return parser


def parse(argv: Sequence[str]) -> Request:
    """Read the command line.

    Raises
    ------
    SettingsError
        Values are wrong; all of them are named together.
    SystemExit
        argparse's own: help, version, unknown options (exit code 2).
    """
    args = build_parser().parse_args([with_dashes(word) for word in argv])
    problems: list[str] = []
    given = {cls: given_options(args, cls, problems) for group in GROUPS.values() for cls in group}
    file = given[OutputSettings].get("config_file")
    if file:
        from_file = read_config(Path(file).expanduser(), list(given), problems)
        given = {cls: {**from_file[cls], **values} for cls, values in given.items()}
    # Nodes run in folders of their own, where a relative path would lead nowhere.
    for settings, name in _PATHS:
        path = Path(given[settings].get(name, "")).expanduser()
        if path.is_file():
            given[settings][name] = str(path.absolute())
    presets = PRESETS.get(getattr(args, "preset", ""), {})
    given[TrainSettings] = {**presets, **given[TrainSettings]}
    made = checked_settings(given, problems)
    analysis = AnalysisSettings(
        coverage=made[CoverageSettings],
        denoise=made[DenoiseSettings],
        combine=made[CombineSettings],
        train=made[TrainSettings],
        perturb=made[PerturbSettings],
        brain=made[BrainSettings],
        prior=made[PriorSettings],
        assess=AssessSettings(measures=made[MeasureSettings], verdict=made[VerdictSettings]),
    )
    return Request(
        bids_dir=args.bids_dir.expanduser().absolute(),
        out_dir=args.out_dir.expanduser().absolute(),
        levels=tuple(level for level in LEVELS if level in args.levels),
        query=made[QuerySettings],
        atlases=made[AtlasSettings],
        analysis=analysis,
        group=GroupAnalysis(
            group=made[GroupSettings],
            model=made[ModelSettings],
            permute=made[PermuteSettings],
            selection=made[SelectionSettings],
        ),
        resources=made[ResourceSettings],
        output=made[OutputSettings],
    )
