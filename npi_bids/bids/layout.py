"""Datasets of derivatives: their runs, the files beside each run, metadata, and run selection.

A walk over ``sub-*/[ses-*/]func`` reads only the folders that can contain runs, so that a thousand
subjects take seconds; an index of the whole dataset would take minutes.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Protocol, TypeGuard, TypeVar

from npi_bids.bids.outputs import ENTITY_ORDER, BIDSName, is_label, parse_name, printable
from npi_bids.bids.runs import CIFTI, FOLDER, GIFTI, NIFTI, TIMESERIES, BoldRun
from npi_bids.errors import InputDataError, NPIError, SettingsError
from npi_bids.settings import option, option_problems, period_problem
from npi_bids.wording import count_noun, join_items

INPUT_TYPES = ("auto", "fmriprep", "xcp_d", "timeseries")
# Folders below `derivatives/` of a raw dataset that each type of input is looked for in.
DERIVATIVE_FOLDERS = {
    "auto": ("fmriprep*",),
    "fmriprep": ("fmriprep*",),
    "xcp_d": ("xcp*",),
    "timeseries": ("giga_connectome*", "xcp*", "*"),
}
# Entities that identify the regions in the columns of a table of series.
ATLAS_ENTITIES = ("atlas", "seg", "scale", "desc")
# Tables over time whose columns are not regions.
_NO_SERIES = re.compile(r"confounds|.*(Outliers|Design|Coverage)$")
# fMRIPrep 1.0 and 1.1 wrote `sub-01_task-rest_bold_space-MNI_preproc.nii.gz`.
_OLD = re.compile(
    r"(?P<run>sub-.*)_bold_space-(?P<space>[A-Za-z0-9]+)_(?P<kind>[a-z]+)(?P<ext>\..*)"
)
_OLD_KINDS = {
    "preproc": "_desc-preproc_bold",
    "brainmask": "_desc-brain_mask",
}
_logger = logging.getLogger(__name__)
# Spaces in the order of preference of `--space auto`; atlases are drawn in the first.
_PREFERRED = ("MNI152NLin6Asym", "MNI152NLin2009cAsym")
_LONG_NAMES = {
    "subject": "sub", "session": "ses", "acquisition": "acq", "ceagent": "ce",
    "reconstruction": "rec", "direction": "dir", "resolution": "res", "density": "den",
}  # fmt: skip
# Confounds apply to a run in every space.
_SPATIAL = ("space", "res", "den", "desc", "label", "hemi")
_NUMBERS = ("run", "echo", "chunk")  # run-1 and run-01 are the same

FILE_FORMATS = ("auto", NIFTI, CIFTI, GIFTI)

_ENDINGS = {
    "_bold.nii.gz": NIFTI,
    "_bold.nii": NIFTI,
    "_bold.dtseries.nii": CIFTI,
    "_bold.func.gii": GIFTI,
    "_timeseries.tsv": TIMESERIES,
}


def modern_name(name: str) -> str:
    """Return the name that a later fMRIPrep would give to a file of version 1.0 or 1.1.

    >>> modern_name("sub-01_task-rest_bold_space-T1w_preproc.nii.gz")
    'sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz'
    >>> modern_name("sub-01_task-rest_bold_confounds.tsv")
    'sub-01_task-rest_desc-confounds_regressors.tsv'
    """
    if name.endswith("_bold_confounds.tsv"):
        return name.replace("_bold_confounds.tsv", "_desc-confounds_regressors.tsv")
    old = _OLD.fullmatch(name)
    if old is None or old["kind"] not in _OLD_KINDS:
        return name
    return f"{old['run']}_space-{old['space']}{_OLD_KINDS[old['kind']]}{old['ext']}"


def read_name(path: PurePath | str) -> BIDSName:
    """Parse a file name, including names written by old versions of fMRIPrep."""
    return parse_name(modern_name(PurePath(path).name))


def detect_input_format(name: str) -> str | None:
    """Return the input format of a file according to its name, or None if it is no input.

    A pair of hemispheres is represented by the left one.

    >>> detect_input_format("sub-1_task-rest_space-fsLR_den-91k_bold.dtseries.nii")
    'cifti'
    >>> detect_input_format("sub-1_task-rest_desc-confounds_timeseries.tsv")
    """
    modern = modern_name(name)
    input_format = next(
        (named for ending, named in _ENDINGS.items() if modern.endswith(ending)), None
    )
    if input_format is None or not modern.startswith("sub-"):
        return None
    entities = dict(_pairs(name))
    desc = entities.get("desc")
    usable = {
        NIFTI: desc == "preproc",
        CIFTI: desc in (None, "preproc"),
        GIFTI: desc in (None, "preproc") and entities.get("hemi") == "L",
        TIMESERIES: not _NO_SERIES.fullmatch(desc or ""),
    }
    return input_format if usable[input_format] else None


def _pairs(name: str) -> list[tuple[str, str]]:
    """Return the entity and the label of each part of the name of an input, as written.

    The entity is empty for a part without a key. The extension is recognized by the known endings,
    so that a label with a dot is kept intact.
    """
    name = modern_name(name)
    end = max((len(ending) for ending in _ENDINGS if name.endswith(ending)), default=0)
    parts = name[: len(name) - end].split("_") if end else name.partition(".")[0].split("_")[:-1]
    return [(key, label) if dash else ("", part) for part in parts
            for key, dash, label in [part.partition("-")]]  # fmt: skip


def name_problem(path: PurePath, input_format: str, folders: Mapping[str, str]) -> str:
    """Return why the name of an input cannot be used, or an empty text.

    Parameters
    ----------
    path
        Path of the input.
    input_format
        Format of the input, from :func:`detect_input_format`.
    folders
        Labels of the folders that contain it, by entity: ``sub`` and, if present, ``ses``.
    """
    printed, pairs = printable(path), _pairs(path.name)
    keys = [key for key, _ in pairs]
    entities = dict(pairs)
    for key, label in pairs:
        problem = _part_problem(key, label, input_format) or (
            f"has the entity {printable(key)} twice" if keys.count(key) > 1 else ""
        )
        if problem:
            return f"The name of <{printed}> {problem}. Rename the file."
    for key in ("sub", "ses"):
        if entities.get(key) != folders.get(key):
            in_name, in_folder = (
                f"{key}-{printable(labels[key])}" if key in labels else f"no {key} entity"
                for labels in (entities, folders)
            )
            in_folder = in_folder if key in folders else f"a folder without {key}-<label>"
            return (
                f"The file <{printed}> has {in_name} in its name but lies in {in_folder}; "
                "expected the same label in both. Move or rename the file."
            )
    return ""


def _part_problem(key: str, label: str, input_format: str) -> str:
    """Return what is wrong with one entity of a name, or an empty text."""
    if not key:
        return (
            f"has the part '{printable(label)}'; expected pairs of entity and label, such as "
            "task-rest"
        )
    if key not in ENTITY_ORDER:
        # XCP-D writes stat-mean; the outputs leave it out.
        return "" if input_format == TIMESERIES and is_label(label) else (
            f"has the unknown entity '{printable(key)}'; expected some of "
            f"{', '.join(ENTITY_ORDER)}"
        )  # fmt: skip
    loose = input_format == TIMESERIES and key in ATLAS_ENTITIES and "." not in label
    if is_label(label) or (loose and label):
        return ""
    return (
        f"has {key}-{printable(label)}, which is no BIDS label; expected letters (A-Z, a-z) and "
        "digits only"
    )


def choose_input_format(
    available: Collection[str], *, input_type: str, file_format: str, surface: str
) -> str:
    """Return the format of the inputs to read.

    Parameters
    ----------
    available
        Format of each file in the dataset.
    input_type, file_format
        The user's choices, or ``auto``.
    surface
        Format that matches an atlas on the cortical surface; empty for any other atlas.

    Raises
    ------
    InputDataError
        There is no file in that format; the message lists the available formats.
    """
    counts = Counter(available)
    if input_type in ("xcp_d", "timeseries"):
        chosen = TIMESERIES
    elif file_format != "auto":
        chosen = file_format
    elif surface:
        other = GIFTI if surface == CIFTI else CIFTI
        chosen = surface if counts[surface] or not counts[other] else other
    elif input_type == "auto" and counts[TIMESERIES] and set(counts) == {TIMESERIES}:
        chosen = TIMESERIES
    else:
        chosen = NIFTI
    if not counts[chosen]:
        patterns = [f"*{ending}" for ending, named in _ENDINGS.items() if named == chosen]
        present = ", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "nothing else"
        hints = {
            CIFTI: "--file-format cifti with a dlabel atlas",
            GIFTI: "--file-format gifti with a surface atlas",
            TIMESERIES: "--input-type timeseries",
        }
        ways = " or ".join(hint for name, hint in hints.items() if counts[name] and name != chosen)
        raise InputDataError(
            f"There is no preprocessed run in the format {chosen} ({', '.join(patterns)}); found "
            f"{present}." + (f" Use {ways}." if ways else "")
        )
    return chosen


def split_entities(path: PurePath, input_format: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the entities of a run, and those that identify the regions in its columns.

    The latter are empty for an image, whose ``desc`` and ``hemi`` are dropped. Entities that the
    outputs cannot have (``stat-mean`` of XCP-D) are dropped from those of a table.
    """
    entities = dict(_pairs(path.name))
    if input_format != TIMESERIES:
        return {key: v for key, v in entities.items() if key not in ("desc", "hemi")}, {}
    regions = {key: entities[key] for key in ATLAS_ENTITIES if key in entities}
    if "atlas" not in regions:  # XCP-D names its atlases by `seg` alone
        regions["atlas"] = regions.pop("seg", "custom")
    run_entities = {
        key: label
        for key, label in entities.items()
        if key in ENTITY_ORDER and key not in ATLAS_ENTITIES
    }
    return run_entities, regions


Listings = dict[Path, list[str]]


def list_names(folder: Path, listings: Listings) -> list[str]:
    """Return the sorted names in a folder, which is read once and cached in ``listings``."""
    if folder not in listings:
        listings[folder] = sorted(os.listdir(folder))
    return listings[folder]


def inherited_metadata(path: Path, root: Path, listings: Listings) -> dict[str, object]:
    """Return the metadata of a file by the BIDS inheritance principle, the nearest JSON last.

    A JSON file applies if it has the suffix of the file and no entity that the file lacks.

    Parameters
    ----------
    path
        The file.
    root
        Root of its dataset.
    listings
        Names in the folders read so far; extended in place.

    Raises
    ------
    InputDataError
        An applicable JSON file cannot be read.
    """
    name = parse_name(path.name)
    folders = [path.parent]
    while folders[-1] != root and folders[-1] != folders[-1].parent:
        folders.append(folders[-1].parent)
    metadata: dict[str, object] = {}
    for folder in reversed(folders):
        candidates = []
        for sidecar in _sidecars(folder, listings):
            other = parse_name(sidecar)
            if other.suffix == name.suffix and other.entities.items() <= name.entities.items():
                candidates.append((len(other.entities), folder / sidecar))
        for _, sidecar_path in sorted(candidates):
            metadata.update(read_sidecar(sidecar_path))
    return metadata


def _sidecars(folder: Path, listings: Listings) -> list[str]:
    """Return the names of the JSON files in a folder; a root has thousands of other names."""
    key = folder / "*.json"
    if key not in listings:
        names = list_names(folder, listings)
        listings[key] = [name for name in names if name.endswith(".json")]
    return listings[key]


def read_sidecar(path: Path) -> dict[str, object]:
    """Read a JSON file that contains an object, such as a sidecar; a byte order mark is ignored.

    Raises
    ------
    InputDataError
        The file cannot be read, or does not contain a JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text, object_pairs_hook=_once_each)
    except RecursionError as error:
        raise InputDataError(
            f"The file <{path}> cannot be read as JSON: it is nested too deeply. Correct it."
        ) from error
    except (OSError, ValueError) as error:
        raise InputDataError(f"The file <{path}> cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
        raise InputDataError(
            f"The file <{path}> holds {kinds.get(type(content), 'a number')}; expected a JSON "
            "object, in braces."
        )
    return content


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; refuse repeated fields, for which JSON defines no precedence."""
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"it holds the field {twice!r} {counts[twice]} times; keep one of them")
    return content


_ANY, _NONE = object(), object()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySettings:
    """Which runs to use."""

    participant_label: tuple[str, ...] = option(
        (), "subjects, with or without the prefix sub-", metavar="LABEL", result=False
    )
    session_label: tuple[str, ...] = option(
        (),
        "sessions, with or without the prefix ses-",
        aliases=("session-id",),
        metavar="LABEL",
        result=False,
    )
    task_id: tuple[str, ...] = option((), "tasks", aliases=("t",), metavar="LABEL", result=False)
    run_id: tuple[str, ...] = option((), "run numbers", metavar="LABEL", result=False)
    space: str = option(
        "auto",
        f"space of the images; auto prefers {' to '.join(_PREFERRED)}, and both to any other",
        metavar="SPACE",
        result=False,
    )
    res: str = option(
        "auto",
        "resolution of volumes (2), or density of greyordinates (91k)",
        metavar="LABEL",
        result=False,
    )
    input_type: str = option(
        "auto",
        "input: images of fMRIPrep, or regional series (xcp_d, timeseries)",
        choices=INPUT_TYPES,
        result=False,
    )
    file_format: str = option(
        "auto",
        "format of the images; auto follows the atlas",
        choices=FILE_FORMATS,
        result=False,
    )
    repetition_time: float | None = option(
        None,
        "TR in seconds, for regional series whose sidecars do not state it",
        metavar="SECONDS",
    )
    derivatives: tuple[str, ...] = option(
        (),
        "derivative datasets to read instead of those in bids_dir",
        aliases=("d",),
        metavar="NAME=PATH",
        result=False,
    )
    skip_bids_validation: bool = option(
        False, "no effect (the input is not validated)", result=False
    )
    bids_database_dir: str = option(
        "",
        "no effect (indexing 1000 subjects takes a second or two)",
        metavar="DIR",
        result=False,
    )
    bids_filter_file: str = option(
        "", "JSON file with entity filters under the key bold", metavar="FILE", result=False
    )

    def __post_init__(self) -> None:
        problems = list(option_problems(self))
        if self.repetition_time is not None and (problem := period_problem(self.repetition_time)):
            problems.append(f"--repetition-time {problem}")
        if problems:
            raise SettingsError(" ".join(problems))
        _ = self.datasets

    @property
    def datasets(self) -> dict[str, Path]:
        """Datasets of derivatives by name, from ``-d NAME=PATH``."""
        named = {}
        for item in self.derivatives:
            name, equals, path = item.partition("=")
            if not equals or not name.isalnum():
                raise SettingsError(
                    f"-d {item}: expected NAME=PATH, the name in letters and digits."
                )
            named[name] = Path(path).expanduser()
        return named


class HasEntities(Protocol):
    """An object with the entities of a file name."""

    @property
    def entities(self) -> dict[str, str]:
        """Entities by their short names."""


_Run = TypeVar("_Run", bound=HasEntities)


def read_filters(query: QuerySettings) -> dict[str, object]:
    """Read the filter file: ``{"bold": {"task": "rest", "run": [1, 2], "acq": null}}``.

    Names may be long (session) or short (ses); null or ``Query.NONE`` means absent, ``Query.ANY``
    present.

    Raises
    ------
    SettingsError
        The file is missing, is not JSON, or does not contain an object of filters.
    """
    if not query.bids_filter_file:
        return {}
    path = Path(query.bids_filter_file)
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text, object_pairs_hook=_once_each)
    except RecursionError as error:
        raise SettingsError(f"--bids-filter-file <{path}> is nested too deeply.") from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"--bids-filter-file <{path}> cannot be read: {error}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("bold", {}), dict):
        raise SettingsError(
            f'--bids-filter-file <{path}> must hold an object such as {{"bold": {{"task": '
            '"rest"}}}}.'
        )
    special = {None: _NONE, "Query.NONE": _NONE, "Query.ANY": _ANY, "*": _ANY}
    filters: dict[str, object] = {}
    for name, value in content.get("bold", {}).items():
        if name in ("datatype", "suffix", "desc", "extension"):
            continue
        simple = not isinstance(value, list | dict)
        filters[_LONG_NAMES.get(name, name)] = special.get(value, value) if simple else value
    return filters


def keep_matching(
    runs: Sequence[_Run], query: QuerySettings, filters: dict[str, object]
) -> list[_Run]:
    """Return the runs that match the options and the filter file.

    Raises
    ------
    InputDataError
        No run matches an option; the message lists the available labels.
    """
    matches = [run for run in runs if run.entities.get("part", "mag") == "mag"]
    if not matches:
        raise InputDataError(
            f"No magnitude images among {count_noun(len(runs), 'run')}; expected names without "
            "part, or with part-mag."
        )
    requested = {
        "ses": ("--session-label", [label.removeprefix("ses-") for label in query.session_label]),
        "task": ("--task-id", [label.removeprefix("task-") for label in query.task_id]),
        "run": ("--run-id", [label.removeprefix("run-") for label in query.run_id]),
    }
    for entity, (flag, labels) in requested.items():
        if labels:
            matches = _filter(matches, entity, labels, f"{flag} {' '.join(labels)}")
    for entity, value in filters.items():
        option_text = f"--bids-filter-file, {entity} = {_filter_text(value)}"
        matches = _filter(matches, entity, value, option_text)
    return matches


def may_contain_runs(folder: HasEntities, query: QuerySettings) -> bool:
    """Tell whether a folder that cannot be read may contain runs that match the options."""
    labels = [label.removeprefix("ses-") for label in query.session_label]
    session = folder.entities.get("ses")
    return not labels or session is None or session in labels


def _filter_text(value: object) -> str:
    """Return the value of a filter as it is written in the file."""
    special = {id(_NONE): "null", id(_ANY): "any label"}
    return special.get(id(value)) or json.dumps(value, ensure_ascii=False)


def choose_space(runs: Sequence[_Run], query: QuerySettings) -> list[_Run]:
    """Return the runs in one space and one resolution, so that no run is used twice.

    Raises
    ------
    InputDataError
        No run is in that space, or the resolution is ambiguous.
    """
    spaces = {run.entities.get("space", "") for run in runs}
    if query.space != "auto":
        if query.space not in spaces:
            present = ", ".join(sorted(filter(None, spaces))) or "none (native space only)"
            raise InputDataError(
                f"--space {query.space}: no run is in that space; found {present}."
            )
        space = query.space
    else:
        space = _best_space(runs)
    chosen = [run for run in runs if run.entities.get("space", "") == space]
    _warn_of_unavailable(runs, chosen, space)
    chosen = _without_single_echoes(chosen)
    entity = "den" if any("den" in run.entities for run in chosen) else "res"
    resolutions = sorted({run.entities.get(entity, "") for run in chosen})
    if query.res != "auto":
        return _filter(chosen, entity, [query.res], f"--res {query.res}")
    if len(resolutions) > 1 and len({_key(run) for run in chosen}) < len(chosen):
        listed = ", ".join(resolution or "(none)" for resolution in resolutions)
        raise InputDataError(
            f"Runs in space {space} come in several resolutions: {listed}; choose with --res."
        )
    return chosen


def _warn_of_unavailable(runs: Sequence[_Run], chosen: Sequence[_Run], space: str) -> None:
    """Warn of runs that are not available in the chosen space."""
    available = {_key(run) for run in chosen}
    unavailable = {_key(run): run for run in runs if _key(run) not in available}
    if unavailable:
        names = [
            "_".join(f"{key}-{value}" for key, value in run.entities.items() if key != "space")
            for run in unavailable.values()
        ]
        _logger.warning(
            "Not available in space %s and left out: %s (%s); choose another with --space",
            space or "(native)", count_noun(len(unavailable), "run"), join_items(names, most=5),
        )  # fmt: skip


def _best_space(runs: Sequence[_Run]) -> str:
    """Return the preferred space among those in which most runs are available."""
    runs_in: dict[str, set[Any]] = {}
    for run in runs:
        runs_in.setdefault(run.entities.get("space", ""), set()).add(_key(run))

    def rank(space: str) -> tuple[int, int, int, str]:
        preference = _PREFERRED.index(space) if space in _PREFERRED else len(_PREFERRED)
        return -len(runs_in[space]), preference, not space.startswith("MNI"), space

    return min(runs_in, key=rank)


def _without_single_echoes(runs: list[_Run]) -> list[_Run]:
    """Leave out single echoes of runs whose optimal combination is also available."""
    combined = {_key(run) for run in runs if "echo" not in run.entities}
    return [run for run in runs if "echo" not in run.entities or _key(run) not in combined]


def _key(run: HasEntities) -> frozenset[tuple[str, str]]:
    left_out = ("space", "res", "den", "echo", "part")
    return frozenset((k, v) for k, v in run.entities.items() if k not in left_out)


def _filter(runs: Sequence[_Run], entity: str, value: object, option_text: str) -> list[_Run]:
    matches = [run for run in runs if _matches(run.entities.get(entity), value)]
    if not matches:
        labels = sorted({run.entities.get(entity, "(none)") for run in runs})
        raise InputDataError(
            f"{option_text}: no run matches; found {entity}: {', '.join(labels)}."
        )
    return matches


def _matches(label: str | None, requested: object) -> bool:
    if requested is _NONE or requested is _ANY:
        return (label is None) == (requested is _NONE)
    options = requested if isinstance(requested, list) else [requested]
    return label is not None and any(_is_same_label(label, str(option_)) for option_ in options)


def _is_same_label(label: str, other: str) -> bool:
    """Compare two labels; ``run-01`` and ``run-1`` are the same run."""
    return label == other or (label.isdecimal() and other.isdecimal() and int(label) == int(other))


def complete_run(run: BoldRun, listings: Listings, tr: float | None = None) -> BoldRun:
    """Add the files beside a run, its sampling period, and any problem with it.

    Parameters
    ----------
    run
        The run, as parsed from its name.
    listings
        Names in the folders read so far; extended in place.
    tr
        Sampling period (s) set by the user for tables without a sidecar.
    """
    if run.problem:
        return run
    try:
        return _complete(run, listings, tr)
    except NPIError as error:  # concerns this run only
        return replace(run, problem=str(error))
    except (OSError, ValueError, RecursionError) as error:
        return replace(run, problem=f"The files beside <{run.path}> cannot be read: {error}.")


def _complete(run: BoldRun, listings: Listings, tr: float | None) -> BoldRun:
    with_files = _with_files(run, list_names(run.path.parent, listings))
    stated = _repetition_time(run, listings)
    if stated is None and run.input_format == TIMESERIES:
        stated = tr
    return replace(
        with_files,
        tr=stated if _is_seconds(stated) else None,
        problem=_files_problem(with_files) or _problem(with_files, stated),
    )


def _with_files(run: BoldRun, names: list[str]) -> BoldRun:
    """Add the mask, the confounds and the right hemisphere, as the input format requires."""
    if run.input_format == TIMESERIES:
        return replace(
            run,
            mask=_find(run, names, "outliers", (None,), without=_SPATIAL),
            confounds=_find(run, names, "motion", (None,), without=_SPATIAL),
        )
    confounds = _find(run, names, "timeseries", ("confounds",), without=_SPATIAL) or _find(
        run, names, "regressors", ("confounds",), without=_SPATIAL
    )
    mask = right = None
    if run.input_format == NIFTI:
        mask = _find(run, names, "mask", ("brain",), without=("desc", "label"))
    if run.input_format == GIFTI:
        other = run.path.name.replace("_hemi-L_", "_hemi-R_")
        right = run.path.with_name(other) if other in names else None
    return replace(run, mask=mask, confounds=confounds, right=right)


def _find(
    run: BoldRun,
    names: list[str],
    suffix: str,
    marks: tuple[str | None, ...],
    *,
    without: tuple[str, ...],
) -> Path | None:
    """Return the file beside a run with the same entities, except some, and this suffix."""
    shared = {key: value for key, value in run.entities.items() if key not in without}
    for name in names:
        if not name.endswith((".nii.gz", ".nii", ".tsv")) or suffix not in modern_name(name):
            continue
        other = read_name(name)
        entities = dict(other.entities)
        mark = entities.pop("desc", None) or entities.pop("label", None)
        if other.suffix == suffix and mark in marks and entities == shared:
            return run.path.with_name(name)
    return None


def _repetition_time(run: BoldRun, listings: Listings) -> object:
    """Return the value in the sidecars; for a table of series, also those of images beside it."""
    metadata = inherited_metadata(run.path, run.dataset, listings)
    if "RepetitionTime" in metadata or run.input_format != TIMESERIES:
        return metadata.get("RepetitionTime")
    rate = metadata.get("SamplingFrequency")
    if isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0:
        return 1 / rate
    shared = {key: value for key, value in run.entities.items() if key not in _SPATIAL}
    for name in list_names(run.path.parent, listings):
        other = read_name(name)
        if (
            other.suffix == "bold"
            and name.endswith(".json")
            and shared.items() <= other.entities.items()
        ):
            image = run.path.with_name(name).with_suffix(".nii.gz")
            return inherited_metadata(image, run.dataset, listings).get("RepetitionTime")
    return None


def _is_seconds(tr: object) -> TypeGuard[float]:
    return tr is not None and not period_problem(tr)


def _files_problem(run: BoldRun) -> str:
    """Return why a file of a run cannot be read, as far as can be told without reading it."""
    for path in run.files:
        if not path.exists():
            return (
                f"<{path}> is a link to a file that is not here; run `datalad get {path}` first."
            )
        if path.is_dir():
            return f"<{path}> is a folder; expected a file of that name. Rename or remove it."
        if not os.access(path, os.R_OK):
            return f"<{path}> cannot be read: permission denied. Change its permissions."
    return ""


def _problem(run: BoldRun, tr: object) -> str:
    if tr is not None and not _is_seconds(tr):
        return (
            f"The sidecar of <{run.path}> says RepetitionTime {tr!r}. It {period_problem(tr)} "
            "Correct the JSON."
        )
    if tr is None and run.input_format == TIMESERIES:
        return (
            f"The sampling period of <{run.path}> is unknown: no sidecar has a RepetitionTime or "
            "SamplingFrequency for it. Add one, or give --repetition-time SECONDS."
        )
    if run.input_format == GIFTI and run.right is None:
        return (
            f"<{run.path}> has no right hemisphere beside it; expected "
            f"{run.path.name.replace('_hemi-L_', '_hemi-R_')}."
        )
    return ""


def refuse_duplicates(runs: Sequence[BoldRun]) -> list[BoldRun]:
    """Mark every run whose results would overwrite those of another run as unusable.

    This concerns duplicates of a run, from two datasets, in two formats or with two spellings of
    its number, and subjects or runs whose names differ only in upper and lower case, which many
    file systems do not distinguish.

    Parameters
    ----------
    runs
        Runs of all subjects, in one space.

    Raises
    ------
    InputDataError
        Every run exists in several datasets: the choice of datasets is wrong.
    """
    same: dict[frozenset[tuple[str, str]], list[BoldRun]] = {}
    spellings: dict[str, set[str]] = {}
    for run in runs:
        same.setdefault(_identity(run), []).append(run)
        spellings.setdefault(run.entities["sub"].casefold(), set()).add(run.entities["sub"])
    duplicates = [members for members in same.values() if len(members) > 1]
    if duplicates and all(len({run.dataset for run in members}) > 1 for members in same.values()):
        raise InputDataError(_same_run(duplicates[0]))
    checked = []
    for run in runs:
        members, labels = same[_identity(run)], spellings[run.entities["sub"].casefold()]
        problem = _same_subject(labels) if len(labels) > 1 else ""
        if not problem and len(members) > 1:
            problem = _same_run(members)
        checked.append(replace(run, problem=run.problem or problem))
    return checked


def _identity(run: BoldRun) -> frozenset[tuple[str, str]]:
    """Return the identity of a run, ignoring case and the spelling of numbers."""
    return frozenset(
        (key, str(int(label)) if key in _NUMBERS and label.isdecimal() else label.casefold())
        for key, label in (run.entities | run.regions).items()
    )


def _same_run(runs: Sequence[BoldRun]) -> str:
    named = " and ".join(f"<{printable(run.path)}>" for run in runs)
    return (
        f"{named} are the same run, or differ only in upper and lower case; their results would "
        "overwrite each other. Remove or rename one of the files, or name one dataset with -d."
    )


def _same_subject(labels: set[str]) -> str:
    named = " and ".join(f"sub-{label}" for label in sorted(labels))
    return (
        f"{named} differ only in upper and lower case, so that their results would overwrite each "
        "other on macOS and Windows. Rename one of them."
    )


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of derivatives: its root, its name in links, and its description."""

    root: Path
    link: str
    description: dict[str, object] = field(default_factory=dict)

    @property
    def generators(self) -> list[dict[str, object]]:
        """Entries of ``GeneratedBy``, beginning with the program that wrote the dataset.

        Entries that are not objects with a name, as the standard requires, are ignored.
        """
        entries = self.description.get("GeneratedBy")
        entries = entries if isinstance(entries, list) else []
        return [entry for entry in entries if isinstance(entry, dict) and "Name" in entry]

    @property
    def makers(self) -> list[object]:
        """Names of the programs that processed the dataset, the last one first."""
        return [entry["Name"] for entry in self.generators]


def find_datasets(
    bids_dir: Path, derivatives: dict[str, Path], input_type: str = "auto"
) -> list[Dataset]:
    """Return the datasets of derivatives to search.

    These are the datasets named with ``-d NAME=PATH``, if any; otherwise ``bids_dir`` itself if it
    is a derivative, or the dataset below its ``derivatives`` that matches the type of input (such
    as ``fmriprep*``).

    Raises
    ------
    InputDataError
        There is no dataset of derivatives.
    """
    if derivatives:
        return [_dataset(root, name) for name, root in derivatives.items()]
    if not bids_dir.is_dir():
        raise InputDataError(f"The dataset <{bids_dir}> does not exist.")
    dataset = _dataset(bids_dir, "preprocessed")
    if dataset.description.get("DatasetType") == "derivative" or _has_runs(bids_dir):
        return [dataset]
    for pattern in DERIVATIVE_FOLDERS[input_type]:
        below = sorted((bids_dir / "derivatives").glob(pattern))
        roots = [path for path in below if _has_runs(path) and not _is_output(path)]
        if len(roots) > 1:
            raise InputDataError(
                f"<{bids_dir / 'derivatives'}> holds several datasets: "
                f"{', '.join(path.name for path in roots)}; choose with -d NAME=PATH."
            )
        if roots:
            return [_dataset(roots[0], "preprocessed")]
    raise InputDataError(
        f"<{bids_dir}> is not a dataset of fMRIPrep derivatives: it holds no "
        "*_desc-preproc_bold.nii.gz, *_bold.dtseries.nii, *_bold.func.gii or regional "
        "*_timeseries.tsv, its dataset_description.json does not say "
        f'"DatasetType": "derivative", and <{bids_dir / "derivatives"}> holds no '
        f"{' or '.join(DERIVATIVE_FOLDERS[input_type])} folder with any. Run fMRIPrep first, or "
        "name its output with -d fmriprep=PATH."
    )


def find_runs(
    datasets: list[Dataset], query: QuerySettings, *, surface: str = ""
) -> list[BoldRun]:
    """Find the runs that match a query, in one format and one space.

    Parameters
    ----------
    datasets
        Datasets to search.
    query
        Criteria of selection.
    surface
        Format that matches an atlas on the cortical surface; decides where the query does not.

    Returns
    -------
    list of BoldRun
        Sorted by name. A run that cannot be used states the reason in ``problem`` and does not
        affect the others; a folder that cannot be read represents its runs.

    Raises
    ------
    InputDataError
        No run matches, a requested label does not exist (the message lists the available ones),
        or all runs are duplicates.
    """
    filters = read_filters(query)
    requested = {label.removeprefix("sub-") for label in query.participant_label}
    all_runs = [run for dataset in datasets for run in _walk(dataset, requested)]
    _check_participants(datasets, requested)
    if not all_runs:
        raise InputDataError(
            f"No *_desc-preproc_bold.nii[.gz], *_bold.dtseries.nii, *_bold.func.gii or regional "
            f"*_timeseries.tsv in {_roots(datasets)}"
            + (f" for sub-{', sub-'.join(sorted(requested))}." if requested else ".")
        )
    folders = [
        run for run in all_runs if run.input_format == FOLDER and may_contain_runs(run, query)
    ]
    files = [run for run in all_runs if run.input_format != FOLDER]
    if files:
        chosen_format = choose_input_format(
            [run.input_format for run in _sound(files)],
            input_type=query.input_type,
            file_format=query.file_format,
            surface=surface,
        )
        files = keep_matching(
            [run for run in files if run.input_format == chosen_format], query, filters
        )
    chosen = choose_space(_sound(files), query) if files else []
    damaged = [run for run in files if run.problem and run not in chosen]
    listings: Listings = {}
    usable = [complete_run(run, listings, query.repetition_time) for run in chosen]
    runs = [*refuse_duplicates(usable), *_fitting(damaged, chosen, query.res), *folders]
    return sorted(map(_named, runs), key=lambda run: run.path.name)


def _sound(runs: Sequence[BoldRun]) -> list[BoldRun]:
    """Return the runs with valid names, on which choices for all runs are based; all if none has.

    An invalid name must not determine which files of other runs are used.
    """
    return [run for run in runs if not run.problem] or list(runs)


def _fitting(
    damaged: Sequence[BoldRun], chosen: Sequence[BoldRun], resolution: str
) -> list[BoldRun]:
    """Return the damaged runs that would be chosen, or may be because their space is damaged."""
    spaces = {run.entities.get("space", "") for run in chosen}
    fitting = []
    for run in damaged:
        space, *resolutions = (run.entities.get(key, "") for key in ("space", "res", "den"))
        written = {key.casefold(): label for key, label in run.entities.items()}
        unknown = "space" in written and not (space and is_label(space))
        if unknown or (space in spaces and (resolution == "auto" or resolution in resolutions)):
            fitting.append(run)
    return fitting


def _named(run: BoldRun) -> BoldRun:
    """Return a run with only the valid entities of its name."""
    if not run.misnamed:
        return run
    entities = {
        key: run.entities[key]
        for key in ENTITY_ORDER
        if key in run.entities and (key == "sub" or is_label(run.entities[key]))
    }
    return replace(run, entities=entities)


def list_subjects(root: Path) -> list[str]:
    """Return the labels of all subjects in a dataset, sorted.

    Raises
    ------
    InputDataError
        The folder cannot be read.
    """
    try:
        with os.scandir(root) as entries:
            return sorted(
                entry.name.removeprefix("sub-")
                for entry in entries
                if entry.name.startswith("sub-") and _is_subject(entry)
            )
    except OSError as error:
        raise InputDataError(f"The dataset <{root}> cannot be read: {error.strerror}.") from error


def _is_subject(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is the folder of a subject, or a broken link to one."""
    try:
        if entry.is_dir():
            return True
    except OSError:  # such as a link to itself; reading it says why
        return True
    missing = entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110
    return missing and is_label(entry.name.removeprefix("sub-"))  # reports can be links too


def _walk(dataset: Dataset, subjects: set[str]) -> Iterator[BoldRun]:
    """Yield every file that may be a run, and the folders that cannot be read."""
    for subject in list_subjects(dataset.root):
        if subjects and subject not in subjects:
            continue
        top = dataset.root / f"sub-{subject}"
        try:
            sessions = [name for name in sorted(os.listdir(top)) if name.startswith("ses-")]
        except OSError as error:
            yield _unreadable(dataset, top, {"sub": subject}, error)
            continue
        yield from _runs_in(dataset, top / "func", {"sub": subject})
        for session in sessions:
            labels = {"sub": subject, "ses": session.removeprefix("ses-")}
            yield from _runs_in(dataset, top / session / "func", labels)


def _runs_in(dataset: Dataset, func: Path, labels: dict[str, str]) -> Iterator[BoldRun]:
    try:
        names = sorted(os.listdir(func))
    except (FileNotFoundError, NotADirectoryError) as error:
        # A missing folder is harmless; a file of that name, or a broken link, is not.
        missing = func.parent.is_symlink() and not func.parent.exists()
        if missing or os.path.lexists(func):
            yield _unreadable(dataset, func, labels, error)
        return
    except OSError as error:
        yield _unreadable(dataset, func, labels, error)
        return
    for name in names:
        if input_format := detect_input_format(name):
            yield _parse_run(dataset, input_format, func / name, labels)


def _parse_run(dataset: Dataset, input_format: str, path: Path, labels: dict[str, str]) -> BoldRun:
    entities, regions = split_entities(path, input_format)
    run = BoldRun(
        path, entities, dataset.root, dataset.link, input_format=input_format, regions=regions
    )
    problem = name_problem(path, input_format, labels)
    if not problem:
        return run
    # It is assigned to the subject and session of its folder.
    remaining = {key: label for key, label in entities.items() if key not in ("sub", "ses")}
    return replace(
        run, entities={**_printable_labels(labels), **remaining}, problem=problem, misnamed=True
    )


def _unreadable(dataset: Dataset, folder: Path, labels: dict[str, str], error: OSError) -> BoldRun:
    """Return a run that represents all runs in a folder that cannot be read."""
    missing = isinstance(error, FileNotFoundError)
    problem = (
        f"The folder <{printable(folder)}> is a link to a folder that is not here; run `datalad "
        "get` first."
        if missing
        else f"The folder <{printable(folder)}> cannot be read: {error.strerror}. Check its "
        "permissions."
    )
    root, link = dataset.root, dataset.link
    return BoldRun(
        folder, _printable_labels(labels), root, link, input_format=FOLDER, problem=problem
    )


def _printable_labels(labels: dict[str, str]) -> dict[str, str]:
    return {key: printable(label) for key, label in labels.items()}


def _has_runs(root: Path) -> bool:
    if not root.is_dir():
        return False
    runs = _walk(Dataset(root, ""), set())
    return next((run for run in runs if run.input_format != FOLDER), None) is not None


def _is_output(root: Path) -> bool:
    """Tell whether a dataset was written by npi-bids, whose series are never used by default."""
    try:
        return _dataset(root, "").makers[:1] == ["npi-bids"]
    except InputDataError:  # reported where the dataset is used
        return False


def _dataset(root: Path, link: str) -> Dataset:
    if not root.is_dir():
        raise InputDataError(f"The dataset <{root}> ({link}) does not exist.")
    path = root / "dataset_description.json"
    description = read_sidecar(path) if path.is_file() else {}
    return Dataset(root.resolve(), link, description)


def _roots(datasets: Sequence[Dataset]) -> str:
    return " or ".join(f"<{dataset.root}>" for dataset in datasets)


def _check_participants(datasets: Sequence[Dataset], requested: set[str]) -> None:
    available = sorted({label for dataset in datasets for label in list_subjects(dataset.root)})
    if missing := sorted(requested - set(available)):
        listed = ", ".join(available[:20]) + (" ..." if len(available) > 20 else "")
        raise InputDataError(
            f"--participant-label {' '.join(missing)}: no such subject in {_roots(datasets)}, "
            f"which has {len(available)}: {listed}."
        )
