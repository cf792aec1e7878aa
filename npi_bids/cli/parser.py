"""The command line: options made from the fields of settings classes, and read back."""

from __future__ import annotations

import sys
import tomllib
import types
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_args, get_type_hints

from npi_bids.analysis import AnalysisSettings, GroupAnalysis, ResourceSettings
from npi_bids.assessment.verdict import AssessSettings, VerdictSettings
from npi_bids.bids.atlases import AtlasSettings, known_atlases
from npi_bids.bids.layout import QuerySettings
from npi_bids.bids.runs import CombineSettings
from npi_bids.cli.arguments import CommandParser, choice_of
from npi_bids.connectivity.measures import MeasureSettings
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import SettingsError, UsageError
from npi_bids.group.selection import SelectionSettings
from npi_bids.group.settings import GroupSettings, ModelSettings, PermuteSettings
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.settings import choices_of, help_of, option
from npi_bids.surrogates.base import PRESETS, TrainSettings
from npi_bids.surrogates.settings import PriorSettings
from npi_bids.whole_brain.settings import BrainSettings
from npi_bids.wording import format_number, join_words, suggest_word

if TYPE_CHECKING:
    from argparse import _ActionsContainer

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
# What a run writes about itself that is no option.
_NOT_OPTIONS = ("npi_bids", "bids_dir", "out_dir", "levels", "strategy", "prior_digest")
LEVELS = ("pretrain", "participant", "group")
_NO_EFFECT = "no effect"

T = TypeVar("T")


class SettingsByClass(Protocol):
    """One settings object of each class."""

    def __getitem__(self, cls: type[T], /) -> T:
        """Return the settings of a class."""


def add_options(group: _ActionsContainer, settings: type, without: Sequence[str] = ()) -> None:
    """Add one option for each field of a settings class, but some, to an argparse group."""
    for field in fields(settings):
        if field.name not in without:
            _add_option(group, settings, field)


def given_options(args: Namespace, settings: type, problems: list[str]) -> dict[str, object]:
    """Return what the user gave, converted; what cannot be converted is added to the problems."""
    hints = get_type_hints(settings)
    values: dict[str, object] = {}
    for field in fields(settings):
        if not hasattr(args, field.name):
            continue
        raw = getattr(args, field.name)
        try:
            values[field.name] = _convert(raw, hints[field.name])
        except ValueError:
            kind = scalar_of(hints[field.name])
            words = {int: "a whole number", float: "a number", bool: "yes or no"}[kind]
            text = " ".join(raw) if isinstance(raw, list) else raw
            problems.append(f"{flag(field)} must be {words}, not {text}.")
    return values


def make_settings(args: Namespace, classes: Sequence[type]) -> SettingsByClass:
    """Return one settings object of each class, from the options that were given.

    Raises
    ------
    UsageError
        Values are wrong; all of them are named together.
    """
    problems: list[str] = []
    given = {cls: given_options(args, cls, problems) for cls in classes}
    return checked_settings(given, problems)


def checked_settings(
    given: Mapping[type, Mapping[str, object]], problems: list[str]
) -> SettingsByClass:
    """Return one settings object of each class; raise all problems together."""
    made: dict[type, Any] = {}
    for cls, values in given.items():
        try:
            made[cls] = cls(**values)
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    return made


def flag(field: Field[object]) -> str:
    """Return the long flag of a field."""
    return "--" + str(field.metadata.get("flag", field.name.replace("_", "-")))


def _add_option(group: _ActionsContainer, settings: type, field: Field[object]) -> None:
    aliases: Sequence[str] = field.metadata.get("aliases", ())
    short = [f"-{alias}" for alias in aliases if len(alias) == 1]
    long = [f"--{alias}" for alias in aliases if len(alias) > 1]
    text = help_of(field.metadata)
    options: dict[str, Any] = {"dest": field.name, "default": SUPPRESS}
    if get_type_hints(settings)[field.name] is bool and field.default is False:
        options["action"] = "store_true"
    else:
        choices = choices_of(field.metadata)
        options["metavar"] = field.metadata.get("metavar") or (
            "{" + ",".join(map(str, choices)) + "}" if choices else "VALUE"
        )
        if isinstance(field.default, tuple):
            options["nargs"] = "+"
        if field.default not in (None, "", ()):
            text += f" (default: {_default_text(field.default)})"
    group.add_argument(*short, flag(field), *long, help=text.replace("%", "%%"), **options)


def _default_text(default: object) -> str:
    if isinstance(default, tuple):
        return " ".join(map(_default_text, default))
    if isinstance(default, bool):
        return "yes" if default else "no"
    return format_number(default) if isinstance(default, float) else str(default)


def _convert(raw: bool | str | list[str], hint: object) -> object:
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


def scalar_of(hint: object) -> type:
    """Return the plain type of a field: int for ``int | None`` and for a tuple of int."""
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if get_args(hint):
        hint = get_args(hint)[0]
    kind: type = hint if isinstance(hint, type) else str
    return kind


def read_config(
    path: Path, classes: Sequence[type], problems: list[str]
) -> dict[type, dict[str, object]]:
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
    found: dict[type, dict[str, object]] = {cls: {} for cls in classes}
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
            hint = suggest_word(key, known) or "."
            problems.append(f"<{path}> has {name}, which is not an option{hint}")
            continue
        cls, field = known[key]
        try:
            found[cls][field.name] = _typed(value, get_type_hints(cls)[field.name], field.default)
        except TypeError as error:
            problems.append(f"{name} in <{path}> must be {error}, not {_toml_text(value)}.")
    return found


def _toml_text(value: object) -> str:
    """Write a value as it stands in a TOML file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{join_words(map(_toml_text, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _leaves(content: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in content.items():
        if name in _NOT_OPTIONS:
            continue
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield name, value


def _typed(value: object, hint: object, default: object) -> object:
    """Return a TOML value in the type of the field."""
    kind = scalar_of(hint)
    if isinstance(default, tuple):
        items = value if isinstance(value, list) else [value]
        return tuple(_single(item, kind) for item in items)
    return _single(value, kind)


def _single(value: object, kind: type) -> object:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise TypeError(words.get(kind, kind.__name__))
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


# Settings classes by the heading of the help that their options stand under.
GROUPS: dict[str, tuple[type, ...]] = {
    "queries": (QuerySettings,),
    "parcellation": (AtlasSettings, CoverageSettings),
    "denoising": (DenoiseSettings,),
    "surrogate": (TrainSettings, CombineSettings),
    "pre-training": (PriorSettings,),
    "perturbation": (PerturbSettings, MeasureSettings),
    "verdict": (VerdictSettings,),
    "group": (GroupSettings, SelectionSettings, ModelSettings, PermuteSettings),
    "whole-brain model (--surrogate wbm)": (BrainSettings,),
    "performance": (ResourceSettings,),
    "output": (OutputSettings,),
}
_ESSENTIAL, _UNCERTAINTY = "essential options", "uncertainty"
_COMPATIBILITY = "accepted for compatibility with other BIDS Apps"
# Fields whose options stand under another heading than those of their class.
_PLACED = {
    **dict.fromkeys(("participant_label", "task_id", "atlas", "denoise", "fd_thresh", "surrogate",
                     "group_by", "n_procs", "work_dir", "dry_run"), _ESSENTIAL),
    **dict.fromkeys(("n_bootstrap", "null"), _UNCERTAINTY),
    **dict.fromkeys(("skip_bids_validation", "bids_database_dir", "output_layout", "notrack"),
                    _COMPATIBILITY),
}  # fmt: skip
_EXAMPLE = r"""npi-bids /data/fmriprep /data/npi participant group \
    --atlas Schaefer2018:scale-100 --fd-thresh 0.5 --n-procs 8"""

# Options that may be paths of files.
_PATHS = (
    *((DenoiseSettings, "denoise"), (BrainSettings, "sc"), (BrainSettings, "sc_lengths")),
    *((SelectionSettings, "exclude_file"), (GroupSettings, "network_table")),
)


class _ListAtlases(Action):
    def __call__(self, parser: ArgumentParser, *_: object) -> None:
        lines = [
            "Atlases for --atlas (or give the path of an image with a table of region names "
            "beside it):"
        ]
        for name, facts in known_atlases().items():
            variants = [f":seg-{seg}" for seg in facts.get("segs", ())]
            scales = facts.get("scales", ())
            if scales:
                variants.append(f":scale-{scales[0]} to {scales[-1]}")
            lines.append(f"  {name:<14} {facts['about']}; {facts['source']}")
            lines.append(f"  {'':<14} space {facts['space']}; licence: {facts['License']}")
            if variants:
                lines.append(f"  {'':<14} {' '.join(variants)}")
        sys.stdout.write("\n".join(lines) + "\n")
        parser.exit(0)


def build_parser() -> CommandParser:
    """Build the parser: the BIDS-App positionals, then the options of each settings class."""
    parser = CommandParser(
        "npi-bids",
        "bids_dir out_dir {pretrain,participant,group} ...",
        "Map directed, signed effective connectivity of the whole brain from preprocessed fMRI "
        "by perturbing a surrogate model of each participant's regional dynamics.",
        example=_EXAMPLE,
    )
    parser.add_argument("bids_dir", type=Path,
                        help="fMRIPrep or XCP-D derivatives, or the raw dataset that holds them "
                        "in derivatives/")  # fmt: skip
    parser.add_argument("out_dir", type=Path, help="output dataset; created if missing")
    parser.add_argument("levels", nargs="+", type=choice_of(LEVELS),
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
                _add_option(groups[_PLACED.get(field.name, title)], settings, field)
    groups["parcellation"].add_argument(
        "--list-atlases", action=_ListAtlases, nargs=0, help="list the named atlases and exit"
    )
    add_preset(groups["surrogate"])
    return parser


def add_preset(group: _ActionsContainer) -> None:
    """Add ``--preset`` to an argparse group."""
    group.add_argument("--preset", type=choice_of(sorted(PRESETS)), default=SUPPRESS,
                       metavar="{" + ",".join(sorted(PRESETS)) + "}",
                       help="published settings of surrogate and training; explicit options "
                       "override them")  # fmt: skip


def parse(argv: Sequence[str]) -> Request:
    """Read the command line.

    Raises
    ------
    UsageError
        Values are wrong; all of them are named together.
    SystemExit
        Help or the version was shown, or an option is unknown (exit code 2).
    """
    args = build_parser().read(argv)
    problems: list[str] = []
    given = {cls: given_options(args, cls, problems) for group in GROUPS.values() for cls in group}
    file = given[OutputSettings].get("config_file")
    if file:
        from_file = read_config(Path(str(file)).expanduser(), list(given), problems)
        given = {cls: {**from_file[cls], **values} for cls, values in given.items()}
    # Nodes run in folders of their own, where a relative path would lead nowhere.
    for settings, name in _PATHS:
        path = Path(str(given[settings].get(name, ""))).expanduser()
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
