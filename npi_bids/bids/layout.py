"""Datasets of derivatives: their runs, what lies beside each, metadata, and which runs are used.

A walk over ``sub-*/[ses-*/]func`` reads only the folders that can hold runs, so that a thousand
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
from npi_bids.wording import count_noun, join_words

INPUT_TYPES = ("auto", "fmriprep", "xcp_d", "timeseries")
# Folders below `derivatives/` of a raw dataset that each type of input is looked for in.
DERIVATIVE_FOLDERS = {
    "auto": ("fmriprep*",),
    "fmriprep": ("fmriprep*",),
    "xcp_d": ("xcp*",),
    "timeseries": ("giga_connectome*", "xcp*", "*"),
}
# Entities that say which regions the columns of a table of series are.
ATLAS_ENTITIES = ("atlas", "seg", "scale", "desc")
# Tables over time whose columns are no regions.
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
# Spaces in the order in which `--space auto` takes them; an atlas is drawn in the first.
_PREFERRED = ("MNI152NLin6Asym", "MNI152NLin2009cAsym")
_LONG_NAMES = {
    "subject": "sub", "session": "ses", "acquisition": "acq", "ceagent": "ce",
    "reconstruction": "rec", "direction": "dir", "resolution": "res", "density": "den",
}  # fmt: skip
# Confounds belong to a run in all its spaces.
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
    """Return the name that a later fMRIPrep would give a file of version 1.0 or 1.1.

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
    """Read a file name, also that of an old version."""
    return parse_name(modern_name(PurePath(path).name))


def kind_of(name: str) -> str | None:
    """Return which kind of input a file is, by its name, or None.

    Single hemispheres count by their left one.

    >>> kind_of("sub-1_task-rest_space-fsLR_den-91k_bold.dtseries.nii")
    'cifti'
    >>> kind_of("sub-1_task-rest_desc-confounds_timeseries.tsv")
    """
    modern = modern_name(name)
    kind = next((kind for ending, kind in _ENDINGS.items() if modern.endswith(ending)), None)
    if kind is None or not modern.startswith("sub-"):
        return None
    entities = dict(_pairs(name))
    desc = entities.get("desc")
    usable = {
        NIFTI: desc == "preproc",
        CIFTI: desc in (None, "preproc"),
        GIFTI: desc in (None, "preproc") and entities.get("hemi") == "L",
        TIMESERIES: not _NO_SERIES.fullmatch(desc or ""),
    }
    return kind if usable[kind] else None


def _pairs(name: str) -> list[tuple[str, str]]:
    """Return entity and label of each part of the name of an input, as they are written.

    A part without a key has an empty one. The extension is told by the known endings, so that a
    label with a dot is read whole.
    """
    name = modern_name(name)
    end = max((len(ending) for ending in _ENDINGS if name.endswith(ending)), default=0)
    parts = name[: len(name) - end].split("_") if end else name.partition(".")[0].split("_")[:-1]
    return [(key, label) if dash else ("", part) for part in parts
            for key, dash, label in [part.partition("-")]]  # fmt: skip


def name_problem(path: PurePath, kind: str, folders: Mapping[str, str]) -> str:
    """Return why the name of an input cannot be used, or nothing.

    Parameters
    ----------
    path
        Of the input.
    kind
        As :func:`kind_of` says.
    folders
        Labels of the folders it lies in, by entity: ``sub`` and, where there is one, ``ses``.
    """
    shown, pairs = printable(path), _pairs(path.name)
    keys = [key for key, _ in pairs]
    entities = dict(pairs)
    for key, label in pairs:
        problem = _part_problem(key, label, kind) or (
            f"has the entity {printable(key)} twice" if keys.count(key) > 1 else ""
        )
        if problem:
            return f"The name of <{shown}> {problem}. Rename the file."
    for key in ("sub", "ses"):
        if entities.get(key) != folders.get(key):
            named, lies = (
                f"{key}-{printable(found[key])}" if key in found else f"no {key} entity"
                for found in (entities, folders)
            )
            lies = lies if key in folders else f"a folder without {key}-<label>"
            return (
                f"The file <{shown}> has {named} in its name but lies in {lies}; expected the "
                "same label in both. Move or rename the file."
            )
    return ""


def _part_problem(key: str, label: str, kind: str) -> str:
    """Return what is wrong with one entity of a name, or nothing."""
    if not key:
        return (
            f"has the part '{printable(label)}'; expected pairs of entity and label, such as "
            "task-rest"
        )
    if key not in ENTITY_ORDER:
        # XCP-D writes stat-mean; the outputs leave it out.
        return "" if kind == TIMESERIES and is_label(label) else (
            f"has the unknown entity '{printable(key)}'; expected some of "
            f"{', '.join(ENTITY_ORDER)}"
        )  # fmt: skip
    loose = kind == TIMESERIES and key in ATLAS_ENTITIES and "." not in label
    if is_label(label) or (loose and label):
        return ""
    return (
        f"has {key}-{printable(label)}, which is no BIDS label; expected letters (A-Z, a-z) and "
        "digits only"
    )


def choose_kind(there: Collection[str], *, input_type: str, file_format: str, surface: str) -> str:
    """Return the kind of input to read.

    Parameters
    ----------
    there
        Kind of each file that was found.
    input_type, file_format
        What the user asked for, or ``auto``.
    surface
        The kind that the atlas fits if it lies on the cortical surface, else empty.

    Raises
    ------
    InputDataError
        There is no file of the kind that was asked for; says what there is.
    """
    counts = Counter(there)
    if input_type in ("xcp_d", "timeseries"):
        kind = TIMESERIES
    elif file_format != "auto":
        kind = file_format
    elif surface:
        other = GIFTI if surface == CIFTI else CIFTI
        kind = surface if counts[surface] or not counts[other] else other
    elif input_type == "auto" and counts[TIMESERIES] and set(counts) == {TIMESERIES}:
        kind = TIMESERIES
    else:
        kind = NIFTI
    if not counts[kind]:
        patterns = [f"*{ending}" for ending, known in _ENDINGS.items() if known == kind]
        found = ", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "nothing else"
        hints = {
            CIFTI: "--file-format cifti with a dlabel atlas",
            GIFTI: "--file-format gifti with a surface atlas",
            TIMESERIES: "--input-type timeseries",
        }
        ways = " or ".join(hint for name, hint in hints.items() if counts[name] and name != kind)
        raise InputDataError(
            f"There is no preprocessed run of the kind {kind} ({', '.join(patterns)}); found "
            f"{found}." + (f" Use {ways}." if ways else "")
        )
    return kind


def split_entities(path: PurePath, kind: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the entities of a run, and those that say which regions its columns are.

    An image has no such; of its name ``desc`` and ``hemi`` are left out. Entities that the outputs
    cannot have (``stat-mean`` of XCP-D) are left out of a table's name.
    """
    entities = dict(_pairs(path.name))
    if kind != TIMESERIES:
        return {key: v for key, v in entities.items() if key not in ("desc", "hemi")}, {}
    regions = {key: entities[key] for key in ATLAS_ENTITIES if key in entities}
    if "atlas" not in regions:  # XCP-D names its atlases by `seg` alone
        regions["atlas"] = regions.pop("seg", "custom")
    known = {key: v for key, v in entities.items() if key in ENTITY_ORDER}
    return {key: v for key, v in known.items() if key not in ATLAS_ENTITIES}, regions


Listings = dict[Path, list[str]]


def list_names(folder: Path, listings: Listings) -> list[str]:
    """Return the sorted names in a folder, which is read once and kept in ``listings``."""
    if folder not in listings:
        listings[folder] = sorted(os.listdir(folder))
    return listings[folder]


def inherited_metadata(path: Path, root: Path, listings: Listings) -> dict[str, object]:
    """Return the metadata of a file: every JSON from its root down that applies, nearest last.

    A JSON applies where it has the file's suffix and no entity that the file has not.

    Parameters
    ----------
    path
        The file.
    root
        Of its dataset.
    listings
        Names in the folders seen so far; grows.

    Raises
    ------
    InputDataError
        A JSON that applies cannot be read.
    """
    name = parse_name(path.name)
    folders = [path.parent]
    while folders[-1] != root and folders[-1] != folders[-1].parent:
        folders.append(folders[-1].parent)
    found: dict[str, object] = {}
    for folder in reversed(folders):
        candidates = []
        for sidecar in _sidecars(folder, listings):
            other = parse_name(sidecar)
            if other.suffix == name.suffix and other.entities.items() <= name.entities.items():
                candidates.append((len(other.entities), folder / sidecar))
        for _, sidecar_path in sorted(candidates):
            found.update(read_sidecar(sidecar_path))
    return found


def _sidecars(folder: Path, listings: Listings) -> list[str]:
    """Return the names of the JSON files in a folder; a root holds thousands of other names."""
    key = folder / "*.json"
    if key not in listings:
        names = list_names(folder, listings)
        listings[key] = [name for name in names if name.endswith(".json")]
    return listings[key]


def read_sidecar(path: Path) -> dict[str, object]:
    """Read a JSON file that holds an object, such as a sidecar; a BOM is passed over.

    Raises
    ------
    InputDataError
        It cannot be read, or holds no JSON object.
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
    """Return a JSON object, of which each field may be there once: it is not said which counts."""
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"it holds the field {twice!r} {counts[twice]} times; keep one of them")
    return content


_ANY, _NONE = object(), object()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySettings:
    """Which runs to take."""

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
        f"space of the images; auto prefers {' to '.join(_PREFERRED)}, and these to all others",
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
    """Anything with the entities of a file name."""

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
        The file is missing, is not JSON, or has no filters for ``bold``.
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
    """Keep the runs that the options and the filter file ask for.

    Raises
    ------
    InputDataError
        An option leaves nothing; names what there is instead.
    """
    kept = [run for run in runs if run.entities.get("part", "mag") == "mag"]
    if not kept:
        raise InputDataError(
            f"No magnitude images among {count_noun(len(runs), 'run')}; expected names without "
            "part, or with part-mag."
        )
    wanted = {
        "ses": ("--session-label", [label.removeprefix("ses-") for label in query.session_label]),
        "task": ("--task-id", [label.removeprefix("task-") for label in query.task_id]),
        "run": ("--run-id", [label.removeprefix("run-") for label in query.run_id]),
    }
    for entity, (flag, labels) in wanted.items():
        if labels:
            kept = _filter(kept, entity, labels, f"{flag} {' '.join(labels)}")
    for entity, value in filters.items():
        kept = _filter(kept, entity, value, f"--bids-filter-file, {entity} = {_words(value)}")
    return kept


def may_hold(folder: HasEntities, query: QuerySettings) -> bool:
    """Tell whether a folder that cannot be read may hold runs that the options ask for."""
    labels = [label.removeprefix("ses-") for label in query.session_label]
    session = folder.entities.get("ses")
    return not labels or session is None or session in labels


def _words(value: object) -> str:
    """Write the value of a filter as the file has it."""
    special = {id(_NONE): "null", id(_ANY): "any label"}
    return special.get(id(value)) or json.dumps(value, ensure_ascii=False)


def choose_space(runs: Sequence[_Run], query: QuerySettings) -> list[_Run]:
    """Keep one space and one resolution, so that no run is used twice.

    Raises
    ------
    InputDataError
        The space is not there, or the choice of the resolution is not clear.
    """
    spaces = {run.entities.get("space", "") for run in runs}
    if query.space != "auto":
        if query.space not in spaces:
            found = ", ".join(sorted(filter(None, spaces))) or "none (native space only)"
            raise InputDataError(f"--space {query.space}: no run is in that space; found {found}.")
        space = query.space
    else:
        space = _best_space(runs)
    chosen = [run for run in runs if run.entities.get("space", "") == space]
    _warn_of_others(runs, chosen, space)
    chosen = _without_single_echoes(chosen)
    entity = "den" if any("den" in run.entities for run in chosen) else "res"
    resolutions = sorted({run.entities.get(entity, "") for run in chosen})
    if query.res != "auto":
        return _filter(chosen, entity, [query.res], f"--res {query.res}")
    if len(resolutions) > 1 and len({_key(run) for run in chosen}) < len(chosen):
        found = ", ".join(resolution or "(none)" for resolution in resolutions)
        raise InputDataError(
            f"Runs in space {space} come in several resolutions: {found}; choose with --res."
        )
    return chosen


def _warn_of_others(runs: Sequence[_Run], chosen: Sequence[_Run], space: str) -> None:
    """Say which runs are not there in the space that was chosen."""
    have = {_key(run) for run in chosen}
    others = {_key(run): run for run in runs if _key(run) not in have}
    if others:
        names = [
            "_".join(f"{key}-{value}" for key, value in run.entities.items() if key != "space")
            for run in others.values()
        ]
        _logger.warning(
            "Not available in space %s and left out: %s (%s); choose another with --space",
            space or "(native)", count_noun(len(others), "run"), join_words(names, most=5),
        )  # fmt: skip


def _best_space(runs: Sequence[_Run]) -> str:
    """Return the preferred space among those that the most runs have."""
    have: dict[str, set[Any]] = {}
    for run in runs:
        have.setdefault(run.entities.get("space", ""), set()).add(_key(run))

    def rank(space: str) -> tuple[int, int, int, str]:
        place = _PREFERRED.index(space) if space in _PREFERRED else len(_PREFERRED)
        return -len(have[space]), place, not space.startswith("MNI"), space

    return min(have, key=rank)


def _without_single_echoes(runs: list[_Run]) -> list[_Run]:
    """Leave out single echoes of runs whose optimal combination is there too."""
    combined = {_key(run) for run in runs if "echo" not in run.entities}
    return [run for run in runs if "echo" not in run.entities or _key(run) not in combined]


def _key(run: HasEntities) -> frozenset[tuple[str, str]]:
    left_out = ("space", "res", "den", "echo", "part")
    return frozenset((k, v) for k, v in run.entities.items() if k not in left_out)


def _filter(runs: Sequence[_Run], entity: str, value: object, asked: str) -> list[_Run]:
    kept = [run for run in runs if _matches(run.entities.get(entity), value)]
    if not kept:
        there = sorted({run.entities.get(entity, "(none)") for run in runs})
        raise InputDataError(f"{asked}: no run matches; found {entity}: {', '.join(there)}.")
    return kept


def _matches(have: str | None, wanted: object) -> bool:
    if wanted is _NONE or wanted is _ANY:
        return (have is None) == (wanted is _NONE)
    options = wanted if isinstance(wanted, list) else [wanted]
    return have is not None and any(_same(have, str(option_)) for option_ in options)


def _same(have: str, wanted: str) -> bool:
    """Compare two labels; ``run-01`` and ``run-1`` are the same run."""
    return have == wanted or (have.isdecimal() and wanted.isdecimal() and int(have) == int(wanted))


def complete(run: BoldRun, listings: Listings, tr: float | None = None) -> BoldRun:
    """Add what lies beside a run, and its sampling period, and say what is wrong with it.

    Parameters
    ----------
    run
        As its name says it.
    listings
        Names in the folders seen so far; grows.
    tr
        Sampling period (s) that the user gave for tables without a sidecar.
    """
    if run.problem:
        return run
    try:
        return _complete(run, listings, tr)
    except NPIError as error:  # of this run; the others go on
        return replace(run, problem=str(error))
    except (OSError, ValueError, RecursionError) as error:
        return replace(run, problem=f"What lies beside <{run.path}> cannot be read: {error}.")


def _complete(run: BoldRun, listings: Listings, tr: float | None) -> BoldRun:
    found = _with_files(run, list_names(run.path.parent, listings))
    stated = _repetition_time(run, listings)
    if stated is None and run.kind == TIMESERIES:
        stated = tr
    return replace(
        found,
        tr=stated if _is_seconds(stated) else None,
        problem=_files_problem(found) or _problem(found, stated),
    )


def _with_files(run: BoldRun, names: list[str]) -> BoldRun:
    """Add mask, confounds and right hemisphere, whichever the kind has."""
    if run.kind == TIMESERIES:
        return replace(
            run,
            mask=_find(run, names, "outliers", (None,), without=_SPATIAL),
            confounds=_find(run, names, "motion", (None,), without=_SPATIAL),
        )
    confounds = _find(run, names, "timeseries", ("confounds",), without=_SPATIAL) or _find(
        run, names, "regressors", ("confounds",), without=_SPATIAL
    )
    mask = right = None
    if run.kind == NIFTI:
        mask = _find(run, names, "mask", ("brain",), without=("desc", "label"))
    if run.kind == GIFTI:
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
    """Return the file beside a run that has its entities (less some) and this suffix."""
    own = {key: value for key, value in run.entities.items() if key not in without}
    for name in names:
        if not name.endswith((".nii.gz", ".nii", ".tsv")) or suffix not in modern_name(name):
            continue
        other = read_name(name)
        entities = dict(other.entities)
        mark = entities.pop("desc", None) or entities.pop("label", None)
        if other.suffix == suffix and mark in marks and entities == own:
            return run.path.with_name(name)
    return None


def _repetition_time(run: BoldRun, listings: Listings) -> object:
    """Return what the sidecars say; a table of series may leave it to the images beside it."""
    said = inherited_metadata(run.path, run.dataset, listings)
    if "RepetitionTime" in said or run.kind != TIMESERIES:
        return said.get("RepetitionTime")
    rate = said.get("SamplingFrequency")
    if isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0:
        return 1 / rate
    own = {key: value for key, value in run.entities.items() if key not in _SPATIAL}
    for name in list_names(run.path.parent, listings):
        other = read_name(name)
        if (
            other.suffix == "bold"
            and name.endswith(".json")
            and own.items() <= (other.entities.items())
        ):
            image = run.path.with_name(name).with_suffix(".nii.gz")
            return inherited_metadata(image, run.dataset, listings).get("RepetitionTime")
    return None


def _is_seconds(tr: object) -> TypeGuard[float]:
    return tr is not None and not period_problem(tr)


def _files_problem(run: BoldRun) -> str:
    """Return what keeps a file of a run from being read, as far as that shows without reading."""
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
    if tr is None and run.kind == TIMESERIES:
        return (
            f"The sampling period of <{run.path}> is unknown: no sidecar has a RepetitionTime or "
            "SamplingFrequency for it. Add one, or give --repetition-time SECONDS."
        )
    if run.kind == GIFTI and run.right is None:
        return (
            f"<{run.path}> has no right hemisphere beside it; expected "
            f"{run.path.name.replace('_hemi-L_', '_hemi-R_')}."
        )
    return ""


def refuse_doubles(runs: Sequence[BoldRun]) -> list[BoldRun]:
    """Say of each run whose results would overwrite those of another that it cannot be used.

    That is the same run twice, from two datasets, in two formats or with two spellings of its
    number; and subjects or runs whose names differ in nothing but upper and lower case, which
    many file systems do not tell apart.

    Parameters
    ----------
    runs
        Of all subjects, in one space.

    Raises
    ------
    InputDataError
        Every run is there twice, in several datasets: the choice of datasets is wrong.
    """
    same: dict[frozenset[tuple[str, str]], list[BoldRun]] = {}
    spellings: dict[str, set[str]] = {}
    for run in runs:
        same.setdefault(_identity(run), []).append(run)
        spellings.setdefault(run.entities["sub"].casefold(), set()).add(run.entities["sub"])
    doubles = [members for members in same.values() if len(members) > 1]
    if doubles and all(len({run.dataset for run in members}) > 1 for members in same.values()):
        raise InputDataError(_same_run(doubles[0]))
    found = []
    for run in runs:
        members, labels = same[_identity(run)], spellings[run.entities["sub"].casefold()]
        problem = _same_subject(labels) if len(labels) > 1 else ""
        if not problem and len(members) > 1:
            problem = _same_run(members)
        found.append(replace(run, problem=run.problem or problem))
    return found


def _identity(run: BoldRun) -> frozenset[tuple[str, str]]:
    """Return what tells a run from all others, whatever the case and the spelling of numbers."""
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
    """A dataset of derivatives: where it lies, its name as a link, what it says of itself."""

    root: Path
    link: str
    description: dict[str, object] = field(default_factory=dict)

    @property
    def generators(self) -> list[dict[str, object]]:
        """Entries of ``GeneratedBy``, the program that made the dataset first.

        What is no list of objects with a name, as the standard asks for, counts as nothing.
        """
        entries = self.description.get("GeneratedBy")
        entries = entries if isinstance(entries, list) else []
        return [entry for entry in entries if isinstance(entry, dict) and "Name" in entry]

    @property
    def makers(self) -> list[object]:
        """Names of the programs that made the dataset, the last one first."""
        return [entry["Name"] for entry in self.generators]


def find_datasets(
    bids_dir: Path, derivatives: dict[str, Path], input_type: str = "auto"
) -> list[Dataset]:
    """Return the datasets of derivatives to search.

    Named ones (``-d NAME=PATH``) are taken where given. Otherwise ``bids_dir`` itself where it is
    a derivative, or what lies below its ``derivatives`` (``fmriprep*``, or what the type of input
    is called).

    Raises
    ------
    InputDataError
        There is no dataset of derivatives.
    """
    if derivatives:
        return [_dataset(root, name) for name, root in derivatives.items()]
    if not bids_dir.is_dir():
        raise InputDataError(f"The dataset <{bids_dir}> does not exist.")
    own = _dataset(bids_dir, "preprocessed")
    if own.description.get("DatasetType") == "derivative" or _has_runs(bids_dir):
        return [own]
    for pattern in DERIVATIVE_FOLDERS[input_type]:
        below = sorted((bids_dir / "derivatives").glob(pattern))
        found = [path for path in below if _has_runs(path) and not _is_output(path)]
        if len(found) > 1:
            raise InputDataError(
                f"<{bids_dir / 'derivatives'}> holds several datasets: "
                f"{', '.join(path.name for path in found)}; choose with -d NAME=PATH."
            )
        if found:
            return [_dataset(found[0], "preprocessed")]
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
    """Find the runs that a query asks for, of one kind and in one space.

    Parameters
    ----------
    datasets
        Where to look.
    query
        What to keep.
    surface
        The kind of file that the atlas fits if it lies on the cortical surface; tells which to
        take where the query does not.

    Returns
    -------
    list of BoldRun
        Sorted by name. A run that cannot be used says so in ``problem``, and harms no other; a
        folder that cannot be read stands in the place of its runs.

    Raises
    ------
    InputDataError
        Nothing matches, a label that was asked for does not exist (says what there is), or all
        runs are there twice.
    """
    filters = read_filters(query)
    requested = {label.removeprefix("sub-") for label in query.participant_label}
    found = [run for dataset in datasets for run in _walk(dataset, requested)]
    _check_participants(datasets, requested)
    if not found:
        raise InputDataError(
            f"No *_desc-preproc_bold.nii[.gz], *_bold.dtseries.nii, *_bold.func.gii or regional "
            f"*_timeseries.tsv in {_roots(datasets)}"
            + (f" for sub-{', sub-'.join(sorted(requested))}." if requested else ".")
        )
    folders = [run for run in found if run.kind == FOLDER and may_hold(run, query)]
    files = [run for run in found if run.kind != FOLDER]
    if files:
        kind = choose_kind(
            [run.kind for run in _sound(files)],
            input_type=query.input_type,
            file_format=query.file_format,
            surface=surface,
        )
        files = keep_matching([run for run in files if run.kind == kind], query, filters)
    chosen = choose_space(_sound(files), query) if files else []
    damaged = [run for run in files if run.problem and run not in chosen]
    listings: Listings = {}
    usable = [complete(run, listings, query.repetition_time) for run in chosen]
    runs = [*refuse_doubles(usable), *_fitting(damaged, chosen, query.res), *folders]
    return sorted(map(_named, runs), key=lambda run: run.path.name)


def _sound(runs: Sequence[BoldRun]) -> list[BoldRun]:
    """Return the runs whose names can be read, which choices for all follow; all if there is none.

    A damaged name must not decide about the files of others.
    """
    return [run for run in runs if not run.problem] or list(runs)


def _fitting(
    damaged: Sequence[BoldRun], chosen: Sequence[BoldRun], resolution: str
) -> list[BoldRun]:
    """Keep the damaged runs that would be taken too, or may be: their own space is damaged."""
    spaces = {run.entities.get("space", "") for run in chosen}
    kept = []
    for run in damaged:
        space, *others = (run.entities.get(key, "") for key in ("space", "res", "den"))
        written = {key.casefold(): label for key, label in run.entities.items()}
        unknown = "space" in written and not (space and is_label(space))
        if unknown or (space in spaces and (resolution == "auto" or resolution in others)):
            kept.append(run)
    return kept


def _named(run: BoldRun) -> BoldRun:
    """Return a run with the entities of its name that can be used."""
    if not run.misnamed:
        return run
    entities = {
        key: run.entities[key]
        for key in ENTITY_ORDER
        if key in run.entities and (key == "sub" or is_label(run.entities[key]))
    }
    return replace(run, entities=entities)


def subjects_of(root: Path) -> list[str]:
    """Return the labels of the subjects of a dataset, sorted.

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
    """Tell whether an entry is the folder of a subject, or a link to one that is not here."""
    try:
        if entry.is_dir():
            return True
    except OSError:  # such as a link to itself; reading it says why
        return True
    missing = entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110
    return missing and is_label(entry.name.removeprefix("sub-"))  # reports can be links too


def _walk(dataset: Dataset, subjects: set[str]) -> Iterator[BoldRun]:
    """Yield every file that can be a run, and the folders that cannot be read."""
    for subject in subjects_of(dataset.root):
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
        # No such folder is no harm, but one that is a file, or a link to what is not here, is.
        missing = func.parent.is_symlink() and not func.parent.exists()
        if missing or os.path.lexists(func):
            yield _unreadable(dataset, func, labels, error)
        return
    except OSError as error:
        yield _unreadable(dataset, func, labels, error)
        return
    for name in names:
        if kind := kind_of(name):
            yield _run_of(dataset, kind, func / name, labels)


def _run_of(dataset: Dataset, kind: str, path: Path, labels: dict[str, str]) -> BoldRun:
    entities, regions = split_entities(path, kind)
    run = BoldRun(path, entities, dataset.root, dataset.link, kind=kind, regions=regions)
    problem = name_problem(path, kind, labels)
    if not problem:
        return run
    # It counts for the subject and session in whose folder it lies.
    own = {key: label for key, label in entities.items() if key not in ("sub", "ses")}
    return replace(run, entities={**_shown(labels), **own}, problem=problem, misnamed=True)


def _unreadable(dataset: Dataset, folder: Path, labels: dict[str, str], error: OSError) -> BoldRun:
    """Return what stands for the runs of a folder that cannot be read."""
    missing = isinstance(error, FileNotFoundError)
    problem = (
        f"The folder <{printable(folder)}> is a link to a folder that is not here; run `datalad "
        "get` first."
        if missing
        else f"The folder <{printable(folder)}> cannot be read: {error.strerror}. Check its "
        "permissions."
    )
    root, link = dataset.root, dataset.link
    return BoldRun(folder, _shown(labels), root, link, kind=FOLDER, problem=problem)


def _shown(labels: dict[str, str]) -> dict[str, str]:
    return {key: printable(label) for key, label in labels.items()}


def _has_runs(root: Path) -> bool:
    if not root.is_dir():
        return False
    runs = _walk(Dataset(root, ""), set())
    return next((run for run in runs if run.kind != FOLDER), None) is not None


def _is_output(root: Path) -> bool:
    """Tell whether a dataset was made by npi-bids; its series are never taken by themselves."""
    try:
        return _dataset(root, "").makers[:1] == ["npi-bids"]
    except InputDataError:  # which is said where the dataset is taken
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
    there = sorted({label for dataset in datasets for label in subjects_of(dataset.root)})
    if missing := sorted(requested - set(there)):
        shown = ", ".join(there[:20]) + (" ..." if len(there) > 20 else "")
        raise InputDataError(
            f"--participant-label {' '.join(missing)}: no such subject in {_roots(datasets)}, "
            f"which has {len(there)}: {shown}."
        )
