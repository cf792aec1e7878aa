"""The command line of npi-bids: options derived from the fields of settings classes."""

from __future__ import annotations

import sys
import tomllib
import types
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_args

from npi_bids.analysis import AnalysisSettings, GroupAnalysis, ResourceSettings
from npi_bids.assessment.settings import AssessSettings, VerdictSettings
from npi_bids.bids.atlases import AtlasSettings
from npi_bids.bids.layout import QuerySettings
from npi_bids.bids.runs import CombineSettings
from npi_bids.cli.arguments import CommandParser, choice_type
from npi_bids.connectivity.settings import MeasureSettings, PerturbSettings
from npi_bids.errors import SettingsError, UsageError
from npi_bids.group.selection import SelectionSettings
from npi_bids.group.settings import GroupSettings, ModelSettings, PermuteSettings
from npi_bids.inverse.settings import InferSettings
from npi_bids.parcellation.atlas_table import read_atlas_table
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.settings import field_choices, field_types, help_text, option
from npi_bids.surrogates.base import PRESETS, TrainSettings
from npi_bids.surrogates.settings import KindSettings, PriorSettings
from npi_bids.whole_brain.settings import BrainSettings
from npi_bids.wording import format_number, join_items, suggest_word

if TYPE_CHECKING:
    from argparse import _ActionsContainer

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
# Keys of settings.toml that are not options.
_NOT_OPTIONS = ("npi_bids", "bids_dir", "out_dir", "levels", "strategy", "prior_digest",
                "image_desc", "skip_bids_validation")  # fmt: skip
LEVELS = ("pretrain", "participant", "group")
_NO_EFFECT = "no effect"
_SKIPPED = "--skip-bids-validation"

T = TypeVar("T")


class SettingsByClass(Protocol):
    """One settings object of each class."""

    def __getitem__(self, cls: type[T], /) -> T:
        """Return the settings of a class."""


def add_options(group: _ActionsContainer, settings: type, without: Sequence[str] = ()) -> None:
    """Add an option for each field of a settings class, except ``without``, to a group."""
    for field in fields(settings):
        if field.name not in without:
            _add_option(group, settings, field)


def user_options(args: Namespace, settings: type, problems: list[str]) -> dict[str, object]:
    """Return the options that the user set, converted; add conversion errors to the problems."""
    hints = field_types(settings)
    values: dict[str, object] = {}
    for field in fields(settings):
        if not hasattr(args, field.name):
            continue
        entered = getattr(args, field.name)
        try:
            values[field.name] = _convert(entered, hints[field.name])
        except ValueError:
            expected_type = scalar_type(hints[field.name])
            expected = {int: "a whole number", float: "a number", bool: "yes or no"}[expected_type]
            text = " ".join(entered) if isinstance(entered, list) else entered
            problems.append(f"{flag(field)} must be {expected}, not {text}.")
    return values


def make_settings(args: Namespace, classes: Sequence[type]) -> SettingsByClass:
    """Return one settings object of each class, from the options that the user set.

    Raises
    ------
    UsageError
        Values are invalid; the message names all of them.
    """
    problems: list[str] = []
    options = {cls: user_options(args, cls, problems) for cls in classes}
    return checked_settings(options, problems)


def checked_settings(
    options: Mapping[type, Mapping[str, object]], problems: list[str]
) -> SettingsByClass:
    """Return one settings object of each class; raise all problems together."""
    settings: dict[type, Any] = {}
    for cls, values in options.items():
        try:
            settings[cls] = cls(**values)
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    return settings


def flag(field: Field[object]) -> str:
    """Return the long flag of a field."""
    return "--" + str(field.metadata.get("flag", field.name.replace("_", "-")))


def _add_option(group: _ActionsContainer, settings: type, field: Field[object]) -> None:
    aliases: Sequence[str] = field.metadata.get("aliases", ())
    short = [f"-{alias}" for alias in aliases if len(alias) == 1]
    long = [f"--{alias}" for alias in aliases if len(alias) > 1]
    text = help_text(field.metadata)
    options: dict[str, Any] = {"dest": field.name, "default": SUPPRESS}
    if field_types(settings)[field.name] is bool and field.default is False:
        options["action"] = "store_true"
    else:
        choices = field_choices(field.metadata)
        options["metavar"] = field.metadata.get("metavar") or (
            "{" + ",".join(map(str, choices)) + "}" if choices else "VALUE"
        )
        if isinstance(field.default, tuple):
            options["nargs"] = "+"
        if field.default not in (None, "", ()):
            text += f" (default: {_format_default(field.default)})"
    group.add_argument(*short, flag(field), *long, help=text.replace("%", "%%"), **options)


def _format_default(default: object) -> str:
    if isinstance(default, tuple):
        return " ".join(map(_format_default, default))
    if isinstance(default, bool):
        return "yes" if default else "no"
    return format_number(default) if isinstance(default, float) else str(default)


def _convert(entered: bool | str | list[str], hint: object) -> object:
    if isinstance(entered, bool):
        return entered
    if isinstance(entered, list):
        inner = get_args(hint)[0] if get_args(hint) else str
        return tuple(_convert(item, inner) for item in entered)
    target_type = scalar_type(hint)
    if target_type is bool:
        if entered.lower() not in _TRUE + _FALSE:
            raise ValueError(entered)
        return entered.lower() in _TRUE
    return target_type(entered)


def scalar_type(hint: object) -> type:
    """Return the plain type of a field: int for ``int | None`` and for a tuple of int."""
    if isinstance(hint, types.UnionType):
        hint = next(scalar for scalar in get_args(hint) if scalar is not type(None))
    if get_args(hint):
        hint = get_args(hint)[0]
    scalar: type = hint if isinstance(hint, type) else str
    return scalar


def read_config(
    path: Path, classes: Sequence[type], problems: list[str]
) -> dict[type, dict[str, object]]:
    """Return the options of a file by settings class; add errors to the problems.

    Options are named after their flags or fields, in tables or not, so that the
    ``settings.toml`` of an earlier run can be used as it is.

    Parameters
    ----------
    path
        TOML file.
    classes
        Settings classes whose fields are accepted.
    problems
        Receives one sentence per error.
    """
    options: dict[type, dict[str, object]] = {cls: {} for cls in classes}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"--config-file <{path}> cannot be read as TOML: {error}.")
        return options
    config_fields: dict[str, tuple[type, Any]] = {}
    for cls in classes:
        for field in fields(cls):
            config_fields[field.name.replace("_", "-")] = config_fields[flag(field)[2:]] = (
                cls,
                field,
            )
    for name, value in _leaves(content):
        key = name.replace("_", "-")
        if key not in config_fields:
            hint = suggest_word(key, config_fields) or "."
            problems.append(f"<{path}> has {name}, which is not an option{hint}")
            continue
        cls, field = config_fields[key]
        try:
            options[cls][field.name] = _convert_toml(
                value, field_types(cls)[field.name], field.default
            )
        except TypeError as error:
            problems.append(f"{name} in <{path}> must be {error}, not {_format_toml(value)}.")
    return options


def _format_toml(value: object) -> str:
    """Write a value as in a TOML file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{key} = {_format_toml(item)}" for key, item in value.items()) + "}"
        )
    if isinstance(value, list):
        return f"[{join_items(map(_format_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _leaves(content: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in content.items():
        if name in _NOT_OPTIONS:
            continue
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield name, value


def _convert_toml(value: object, hint: object, default: object) -> object:
    """Convert a TOML value to the type of the field."""
    target_type = scalar_type(hint)
    if isinstance(default, tuple):
        items = value if isinstance(value, list) else [value]
        return tuple(_convert_toml_item(item, target_type) for item in items)
    return _convert_toml_item(value, target_type)


def _convert_toml_item(value: object, target_type: type) -> object:
    descriptions = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a string",
    }
    if target_type is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not target_type:
        raise TypeError(descriptions.get(target_type, target_type.__name__))
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSettings:
    """Where results go, which of them are written, and how much is reported meanwhile."""

    work_dir: str = option(
        "work", "folder for intermediate results", aliases=("w",), metavar="DIR", result=False
    )
    trust_work_dir: bool = option(
        False,
        "use a work folder that other users own or can write to (they could run programs under "
        "your account through it)",
        result=False,
    )
    output_layout: str = option("bids", _NO_EFFECT, choices=("bids",), result=False)
    overwrite: bool = option(
        False, "replace existing results, whatever their configuration", result=False
    )
    dry_run: bool = option(
        False, "list the models that would be fitted, with time and memory, and exit", result=False
    )
    reports_only: bool = option(
        False, "write the reports again from existing results", result=False
    )
    boilerplate_only: bool = option(
        False, "write the methods text and the table of quality metrics again, and exit",
        result=False,
    )  # fmt: skip
    write_graph: bool = option(
        False,
        "write the workflow graph to the logs (also as SVG where Graphviz is installed)",
        result=False,
    )
    profile: bool = option(
        False,
        "write how long each stage took, and its computing time, to stages.tsv in the logs",
        result=False,
    )
    retry_failed: bool = option(
        False,
        "fit models again that failed because of their input, though it is unchanged",
        result=False,
    )
    stop_on_first_crash: bool = option(
        False, "stop at the first model that fails instead of finishing the others", result=False
    )
    config_file: str = option(
        "",
        "read options from a TOML file, such as the settings.toml that each run writes to "
        "out_dir/logs; options on the command line take precedence",
        metavar="TOML",
        result=False,
    )
    verbose: bool = option(
        False, "show debugging messages and tracebacks", aliases=("v",), result=False
    )
    quiet: bool = option(
        False, "show only errors and the final line", aliases=("q",), result=False
    )
    notrack: bool = option(False, f"{_NO_EFFECT} (no data are ever sent)", result=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The request of the user."""

    bids_dir: Path
    out_dir: Path
    levels: tuple[str, ...]
    query: QuerySettings
    atlases: AtlasSettings
    analysis: AnalysisSettings
    group: GroupAnalysis
    resources: ResourceSettings
    output: OutputSettings


# Settings classes by the heading of the help under which their options are listed.
GROUPS: dict[str, tuple[type, ...]] = {
    "queries": (QuerySettings,),
    "parcellation": (AtlasSettings, CoverageSettings),
    "denoising": (DenoiseSettings,),
    "surrogate": (TrainSettings, KindSettings, CombineSettings),
    "pre-training": (PriorSettings,),
    "perturbation": (PerturbSettings, MeasureSettings),
    "verdict": (VerdictSettings,),
    "group": (GroupSettings, SelectionSettings, ModelSettings, PermuteSettings),
    "whole-brain model (--surrogate wbm)": (BrainSettings,),
    "parameters of a whole-brain model (--infer MODEL)": (InferSettings,),
    "performance": (ResourceSettings,),
    "output": (OutputSettings,),
}
_ESSENTIAL, _UNCERTAINTY = "essential options", "uncertainty"
_COMPATIBILITY = "accepted for compatibility with other BIDS Apps"
# Fields whose options are listed under another heading than those of their class.
_FIELD_HEADINGS = {
    **dict.fromkeys(("participant_label", "task_id", "atlas", "denoise", "fd_thresh", "surrogate",
                     "group_by", "n_procs", "work_dir", "dry_run"), _ESSENTIAL),
    **dict.fromkeys(("n_bootstrap", "null"), _UNCERTAINTY),
    **dict.fromkeys(("output_layout", "notrack"), _COMPATIBILITY),
}  # fmt: skip
_DESCRIPTION = (
    "Map directed, signed effective connectivity of the whole brain from preprocessed fMRI by "
    "perturbing a surrogate model of each participant's regional dynamics."
)
_EXAMPLE = r"""npi-bids /data/fmriprep /data/npi participant group \
    --atlas Schaefer2018:scale-100 --fd-thresh 0.5 --n-procs 8"""

# Options that may be paths of files.
_PATHS = (
    *((DenoiseSettings, "denoise"), (BrainSettings, "sc"), (BrainSettings, "sc_lengths")),
    *((SelectionSettings, "exclude_file"), (GroupSettings, "network_table")),
    (PriorSettings, "delay_map"),
)


class _ListAtlases(Action):
    def __call__(self, parser: ArgumentParser, *_: object) -> None:
        lines = [
            "Atlases for --atlas (or give the path of an image with a table of region names "
            "beside it):"
        ]
        for name, atlas in read_atlas_table().items():
            variants = [f":seg-{seg}" for seg in atlas.get("segs", ())]
            scales = atlas.get("scales", ())
            if scales:
                variants.append(f":scale-{scales[0]} to {scales[-1]}")
            lines.append(f"  {name:<14} {atlas['about']}; {atlas['source']}")
            templates = atlas.get("templateflow", {}).get("templates", [])
            others = [template for template in templates if template != atlas["space"]]
            spaces = " or ".join([atlas["space"], *others])
            lines.append(f"  {'':<14} space {spaces}; licence: {atlas['License']}")
            if variants:
                lines.append(f"  {'':<14} {' '.join(variants)}")
        sys.stdout.write("\n".join(lines) + "\n")
        parser.exit(0)


def build_parser(
    name: str = "npi-bids", description: str = _DESCRIPTION, example: str = _EXAMPLE
) -> CommandParser:
    """Build the parser: the BIDS-App positionals, then the options of each settings class.

    Parameters
    ----------
    name, description, example
        Name of the command, what it does, and command lines of common cases.
    """
    parser = CommandParser(
        name, "bids_dir out_dir {pretrain,participant,group} ...", description, example=example
    )
    parser.add_argument("bids_dir", type=Path,
                        help="fMRIPrep or XCP-D derivatives, or the raw dataset that holds them "
                        "in derivatives/")  # fmt: skip
    parser.add_argument("out_dir", type=Path, help="output dataset; created if missing")
    parser.add_argument("levels", nargs="+", type=choice_type(LEVELS),
                        metavar="{pretrain,participant,group}",
                        help="one or more levels of analysis")  # fmt: skip
    groups = {_ESSENTIAL: parser.add_argument_group(_ESSENTIAL)}
    parser.add_help_options(groups[_ESSENTIAL])
    for title in [*GROUPS, _UNCERTAINTY, _COMPATIBILITY]:
        if title == "verdict":
            groups[_UNCERTAINTY] = parser.add_argument_group(_UNCERTAINTY)
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
    for title, classes in GROUPS.items():
        for settings in classes:
            for field in fields(settings):
                _add_option(groups[_FIELD_HEADINGS.get(field.name, title)], settings, field)
    groups["parcellation"].add_argument(
        "--list-atlases", action=_ListAtlases, nargs=0, help="list the named atlases and exit"
    )
    add_preset(groups["surrogate"])
    # Users of other BIDS Apps pass it out of habit; no input is validated, so it is not listed.
    parser.add_argument(_SKIPPED, action="store_true", help=SUPPRESS)
    return parser


def add_preset(group: _ActionsContainer) -> None:
    """Add ``--preset`` to an argparse group."""
    group.add_argument("--preset", type=choice_type(sorted(PRESETS)), default=SUPPRESS,
                       metavar="{" + ",".join(sorted(PRESETS)) + "}",
                       help="published settings of surrogate and training; explicit options "
                       "override them")  # fmt: skip


def parse(argv: Sequence[str], parser: CommandParser | None = None) -> Request:
    """Read the command line.

    Parameters
    ----------
    argv
        Command-line arguments.
    parser
        Parser with further options; that of ``npi-bids`` if None.

    Raises
    ------
    UsageError
        Values are invalid; the message names all of them.
    SystemExit
        Help or the version was shown, or an option is unknown (exit code 2).
    """
    args = (parser or build_parser()).read(argv)
    problems: list[str] = []
    options = {
        cls: user_options(args, cls, problems) for group in GROUPS.values() for cls in group
    }
    file = options[OutputSettings].get("config_file")
    if file:
        from_file = read_config(Path(str(file)).expanduser(), list(options), problems)
        options = {cls: {**from_file[cls], **values} for cls, values in options.items()}
    # Nodes run in their own folders, where relative paths would not resolve.
    for settings, name in _PATHS:
        path = Path(str(options[settings].get(name, ""))).expanduser()
        if path.is_file():
            options[settings][name] = str(path.absolute())
    presets = PRESETS.get(getattr(args, "preset", ""), {})
    options[TrainSettings] = {**presets, **options[TrainSettings]}
    settings_by_class = checked_settings(options, problems)
    analysis = AnalysisSettings(
        coverage=settings_by_class[CoverageSettings],
        denoise=settings_by_class[DenoiseSettings],
        combine=settings_by_class[CombineSettings],
        train=settings_by_class[TrainSettings],
        perturb=settings_by_class[PerturbSettings],
        brain=settings_by_class[BrainSettings],
        infer=settings_by_class[InferSettings],
        prior=settings_by_class[PriorSettings],
        kinds=settings_by_class[KindSettings],
        assess=AssessSettings(
            measures=settings_by_class[MeasureSettings], verdict=settings_by_class[VerdictSettings]
        ),
    )
    return Request(
        bids_dir=args.bids_dir.expanduser().absolute(),
        out_dir=args.out_dir.expanduser().absolute(),
        levels=tuple(level for level in LEVELS if level in args.levels),
        query=settings_by_class[QuerySettings],
        atlases=settings_by_class[AtlasSettings],
        analysis=analysis,
        group=GroupAnalysis(
            group=settings_by_class[GroupSettings],
            model=settings_by_class[ModelSettings],
            permute=settings_by_class[PermuteSettings],
            selection=settings_by_class[SelectionSettings],
        ),
        resources=settings_by_class[ResourceSettings],
        output=settings_by_class[OutputSettings],
    )
