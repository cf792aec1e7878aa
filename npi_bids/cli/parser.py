"""The command line: options made from the fields of settings classes, and read back."""

from __future__ import annotations

import sys
import tomllib
import types
from argparse import SUPPRESS, Action, ArgumentParser, HelpFormatter, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

from npi_bids import __version__
from npi_bids.analysis import AnalysisSettings, GroupAnalysis, ResourceSettings
from npi_bids.assessment.verdict import AssessSettings, VerdictSettings
from npi_bids.bids.atlases import AtlasSettings, known_atlases
from npi_bids.bids.layout import QuerySettings
from npi_bids.bids.runs import CombineSettings
from npi_bids.connectivity.measures import MeasureSettings
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import SettingsError
from npi_bids.group.selection import SelectionSettings
from npi_bids.group.settings import GroupSettings, ModelSettings, PermuteSettings
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.settings import choices_of, help_of, option
from npi_bids.surrogates.base import PRESETS, TrainSettings
from npi_bids.surrogates.settings import PriorSettings
from npi_bids.whole_brain.settings import BrainSettings

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
# What a run writes about itself that is no option.
_NOT_OPTIONS = ("npi_bids", "bids_dir", "out_dir", "levels", "strategy", "prior_digest")
LEVELS = ("pretrain", "participant", "group")


def add_options(group: Any, settings: type, without: Sequence[str] = ()) -> None:
    """Add one option for each field of a settings class, but some, to an argparse group."""
    hints = get_type_hints(settings)
    for field in fields(settings):
        if field.name not in without:
            _add_option(group, field, hints[field.name])


def given_options(args: Namespace, settings: type, problems: list[str]) -> dict[str, Any]:
    """Return what the user gave, converted; what cannot be converted is added to the problems."""
    hints = get_type_hints(settings)
    values: dict[str, Any] = {}
    for field in fields(settings):
        if not hasattr(args, field.name):
            continue
        raw = getattr(args, field.name)
        try:
            values[field.name] = _convert(raw, hints[field.name])
        except ValueError:
            kind = scalar_of(hints[field.name])
            words = {int: "a whole number", float: "a number", bool: "yes or no"}[kind]
            problems.append(f"{flag(field)} must be {words}, not {raw!r}.")
    return values


def make_settings(args: Namespace, classes: Sequence[type]) -> dict[type, Any]:
    """Return one settings object of each class, from the options that were given.

    Raises
    ------
    SettingsError
        Values are wrong; all of them are named together.
    """
    problems: list[str] = []
    given = {cls: given_options(args, cls, problems) for cls in classes}
    return checked_settings(given, problems)


def checked_settings(given: dict[type, dict[str, Any]], problems: list[str]) -> dict[type, Any]:
    """Return one settings object of each class; raise all problems together."""
    made: dict[type, Any] = {}
    for cls, values in given.items():
        try:
            made[cls] = cls(**values)
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))
    return made


def with_dashes(word: str) -> str:
    """Accept the underscore spellings of other BIDS Apps: ``--participant_label``."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def flag(field: Field[Any]) -> str:
    """Return the long flag of a field."""
    return "--" + str(field.metadata.get("flag", field.name.replace("_", "-")))


def _add_option(group: Any, field: Field[Any], hint: Any) -> None:
    aliases = [f"-{a}" if len(a) == 1 else f"--{a}" for a in field.metadata.get("aliases", ())]
    text = help_of(field.metadata).replace("%", "%%")
    options: dict[str, Any] = {"dest": field.name, "default": SUPPRESS}
    if hint is bool and field.default is False:
        options["action"] = "store_true"
    else:
        choices = choices_of(field.metadata)
        options["metavar"] = "{" + ",".join(map(str, choices)) + "}" if choices else (
            field.metadata.get("metavar", "VALUE")
        )  # fmt: skip
        if isinstance(field.default, tuple):
            options["nargs"] = "+"
        if field.default not in (None, "", ()):
            shown = field.default
            words = " ".join(map(str, shown)) if isinstance(shown, tuple) else shown
            text += f" ({words})"
    group.add_argument(*aliases, flag(field), help=text, **options)


def _convert(raw: Any, hint: Any) -> Any:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, list):
        inner = get_args(hint)[0] if get_args(hint) else str
        return tuple(_convert(item, inner) for item in raw)
    kind = scalar_of(hint)
    if kind is bool:
        if raw.lower() not in _TRUE + _FALSE:
            raise ValueError(raw)
        return raw.lower() in _TRUE
    return kind(raw)


def scalar_of(hint: Any) -> type:
    """Return the plain type of a field: int for ``int | None`` and for a tuple of int."""
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if get_args(hint):
        hint = get_args(hint)[0]
    kind: type = hint if isinstance(hint, type) else str
    return kind


def read_config(
    path: Path, classes: Sequence[type], problems: list[str]
) -> dict[type, dict[str, Any]]:
    """Return the options of a file by settings class; what is wrong is added to the problems.

    Options stand by the names of their flags or fields, in tables or not, so that the
    ``settings.toml`` of an earlier run can be given as it is.

    Parameters
    ----------
    path
        TOML.
    classes
        Settings classes whose fields are known.
    problems
        Gets one sentence for each thing that is wrong.
    """
    found: dict[type, dict[str, Any]] = {cls: {} for cls in classes}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"--config-file <{path}> cannot be read as TOML: {error}.")
        return found
    known: dict[str, tuple[type, Any]] = {}
    for cls in classes:
        for field in fields(cls):
            known[field.name.replace("_", "-")] = known[flag(field)[2:]] = (cls, field)
    for name, value in _leaves(content):
        key = name.replace("_", "-")
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; see npi-bids --help."
            problems.append(f"<{path}> has {name!r}, which is no option{hint}")
            continue
        cls, field = known[key]
        try:
            found[cls][field.name] = _typed(value, get_type_hints(cls)[field.name], field.default)
        except TypeError as error:
            problems.append(f"{name!r} in <{path}> must be {error}, not {value!r}.")
    return found


def _leaves(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if name in _NOT_OPTIONS:
            continue
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield name, value


def _typed(value: Any, hint: Any, default: Any) -> Any:
    """Return the value as the field has it; TOML knows numbers, words, lists and truth."""
    kind = scalar_of(hint)
    if isinstance(default, tuple):
        items = value if isinstance(value, list) else [value]
        return tuple(_single(item, kind) for item in items)
    return _single(value, kind)


def _single(value: Any, kind: type) -> Any:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise TypeError(words.get(kind, kind.__name__))
    return value


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
