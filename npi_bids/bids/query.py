"""Which runs of a dataset are wanted."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from npi_bids.bids.inputs import FILE_FORMATS, INPUT_TYPES
from npi_bids.core.options import option, option_problems, period_problem
from npi_bids.errors import InputDataError, SettingsError

_logger = logging.getLogger(__name__)

# Spaces in the order in which `--space auto` takes them; an atlas is drawn in the first.
_PREFERRED = ("MNI152NLin6Asym", "MNI152NLin2009cAsym")
_LONG_NAMES = {
    "subject": "sub", "session": "ses", "acquisition": "acq", "ceagent": "ce",
    "reconstruction": "rec", "direction": "dir", "resolution": "res", "density": "den",
}  # fmt: skip
_ANY, _NONE = object(), object()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySettings:
    """Which runs to take."""

    participant_label: tuple[str, ...] = option(
        (), "subjects, with or without sub-", metavar="LABEL", result=False
    )
    session_label: tuple[str, ...] = option(
        (),
        "sessions, with or without ses-",
        aliases=("session-id",),
        metavar="LABEL",
        result=False,
    )
    task_id: tuple[str, ...] = option((), "tasks", aliases=("t",), metavar="LABEL", result=False)
    run_id: tuple[str, ...] = option((), "runs, by number", metavar="LABEL", result=False)
    space: str = option(
        "auto",
        "space of the images; auto takes MNI152NLin6Asym, then MNI152NLin2009cAsym, then what "
        "there is",
        metavar="SPACE",
        result=False,
    )
    res: str = option(
        "auto",
        "resolution label of volumes, or density label of greyordinates (91k)",
        metavar="LABEL",
        result=False,
    )
    input_type: str = option(
        "auto",
        "what to start from: images of fMRIPrep, or regional series (xcp_d, timeseries)",
        choices=INPUT_TYPES,
        result=False,
    )
    file_format: str = option(
        "auto",
        "which images to take; auto takes what fits the atlas",
        choices=FILE_FORMATS,
        result=False,
    )
    repetition_time: float | None = option(
        None,
        "sampling period in seconds of regional series whose sidecars do not state it",
        metavar="SECONDS",
    )
    derivatives: tuple[str, ...] = option(
        (),
        "datasets of derivatives to read instead of what bids_dir holds",
        aliases=("d",),
        metavar="NAME=PATH",
        result=False,
    )
    skip_bids_validation: bool = option(
        False, "accepted as other BIDS Apps have it; the input is not validated", result=False
    )
    bids_database_dir: str = option(
        "",
        "accepted as other BIDS Apps have it; the input is walked through, which takes a second "
        "or two for 1000 subjects, and no database is kept",
        metavar="DIR",
        result=False,
    )
    bids_filter_file: str = option(
        "", "JSON with filters of entities, under the key 'bold'", metavar="FILE", result=False
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


def read_filters(query: QuerySettings) -> dict[str, Any]:
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
        content = json.loads(path.read_text(encoding="utf-8-sig"))
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
    filters: dict[str, Any] = {}
    for name, value in content.get("bold", {}).items():
        if name in ("datatype", "suffix", "desc", "extension"):
            continue
        simple = not isinstance(value, list | dict)
        filters[_LONG_NAMES.get(name, name)] = special.get(value, value) if simple else value
    return filters


def keep_matching(
    runs: Sequence[_Run], query: QuerySettings, filters: dict[str, Any]
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
            f"None of the {len(runs)} run(s) found holds magnitudes; expected names without part, "
            "or with part-mag."
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


def _words(value: Any) -> str:
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
            for run in list(others.values())[:5]
        ]
        _logger.warning(
            "%d run(s) are not there in space %s and are left out, first %s; choose another with "
            "--space", len(others), space or "(native)", ", ".join(names),
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


def _filter(runs: Sequence[_Run], entity: str, value: Any, asked: str) -> list[_Run]:
    kept = [run for run in runs if _matches(run.entities.get(entity), value)]
    if not kept:
        there = sorted({run.entities.get(entity, "(none)") for run in runs})
        raise InputDataError(f"{asked}: no run matches; found {entity}: {', '.join(there)}.")
    return kept


def _matches(have: str | None, wanted: Any) -> bool:
    if wanted is _NONE or wanted is _ANY:
        return (have is None) == (wanted is _NONE)
    options = wanted if isinstance(wanted, list) else [wanted]
    return have is not None and any(_same(have, str(option_)) for option_ in options)


def _same(have: str, wanted: str) -> bool:
    """Compare two labels; ``run-01`` and ``run-1`` are the same run."""
    return have == wanted or (have.isdecimal() and wanted.isdecimal() and int(have) == int(wanted))
