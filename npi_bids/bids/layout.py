"""Selection of runs: the runs of datasets of derivatives that the options ask for.

Only ``sub-*/[ses-*/]func`` is read, and indexed with pybids (:mod:`npi_bids.bids.indexing`), so
that a thousand subjects take seconds; an index of whole datasets would take minutes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.bids.accounting import Absence, Account
from npi_bids.bids.companions import complete_run
from npi_bids.bids.datasets import Dataset, find_datasets, list_subjects, walk
from npi_bids.bids.entities import ENTITY_ORDER, NUMBERS, find_key, is_same_number
from npi_bids.bids.filters import (
    ANY,
    BOLD,
    NONE,
    OPTIONAL,
    SERIES,
    Filters,
    Special,
    format_filters,
    matches_metadata,
    read_filters,
)
from npi_bids.bids.input_names import (
    ENDINGS,
    PREPROCESSED,
    detect_input_format,
    is_default,
    modern_name,
    split_entities,
    split_name,
)
from npi_bids.bids.metadata import Listings, inherited_metadata
from npi_bids.bids.outputs import is_label, printable
from npi_bids.bids.runs import CIFTI, FOLDER, GIFTI, NIFTI, TIMESERIES, BoldRun
from npi_bids.bids.spaces import PREFERRED, choose_space, find_unavailable
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.settings import option, option_problems, period_problem
from npi_bids.wording import count_noun, join_items

if TYPE_CHECKING:
    from bids.layout import BIDSLayout

__all__ = [
    "Dataset",
    "QuerySettings",
    "Selection",
    "detect_input_format",
    "find_datasets",
    "find_runs",
    "list_subjects",
    "modern_name",
    "select_runs",
    "split_entities",
]

INPUT_TYPES = ("auto", "fmriprep", "xcp_d", "timeseries")
FILE_FORMATS = ("auto", NIFTI, CIFTI, GIFTI)
_PATTERNS = (
    "*_desc-preproc_bold.nii[.gz], *_bold.dtseries.nii, *_bold.func.gii or regional "
    "*_timeseries.tsv"
)
# Options that name labels, by the key of their entity.
_FLAGS = {"ses": "--session-label", "task": "--task-id", "run": "--run-id"}
_logger = logging.getLogger(__name__)


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
        f"space of the images; auto prefers {' to '.join(PREFERRED)}, and both to any other",
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
    bids_database_dir: str = option(
        "",
        "folder with the pybids database of the runs, made if there is none; one of fMRIPrep, "
        "XCP-D or pybids layout can be used if it was made for the same dataset",
        metavar="DIR",
        result=False,
    )
    reset_database: bool = option(
        False, "make the database in --bids-database-dir anew", result=False
    )
    bids_filter_file: str = option(
        "",
        "JSON file of pybids filters, under the keys bold (images) and timeseries (series)",
        metavar="FILE",
        result=False,
    )

    def __post_init__(self) -> None:
        problems = list(option_problems(self))
        if self.repetition_time is not None and (problem := period_problem(self.repetition_time)):
            problems.append(f"--repetition-time {problem}")
        if self.reset_database and not self.bids_database_dir:
            problems.append("--reset-database requires --bids-database-dir.")
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

    @property
    def database(self) -> Path | None:
        """Folder of the database of runs, or None for an index in memory."""
        return Path(self.bids_database_dir).expanduser() if self.bids_database_dir else None

    def labels(self, key: str) -> tuple[str, ...]:
        """Return the requested labels of an entity (sub, ses, task, run), without its prefix."""
        labels = {
            "sub": self.participant_label, "ses": self.session_label,
            "task": self.task_id, "run": self.run_id,
        }[key]  # fmt: skip
        return tuple(dict.fromkeys(label.removeprefix(f"{key}-") for label in labels))


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs to analyse, and what was requested but is not among them.

    Attributes
    ----------
    runs
        Sorted by name. A run that cannot be used states the reason in ``problem`` and does not
        affect the others; a folder that cannot be read represents its runs.
    absences
        Participants without any run, requested sessions, tasks and runs that a participant lacks,
        and runs that are not available in the chosen space.
    descs
        Descriptions of the images that are not preprocessed by default, such as
        ``smoothAROMAnonaggr``.
    """

    runs: list[BoldRun]
    absences: list[Absence]
    descs: tuple[str, ...] = ()


def find_runs(
    datasets: Sequence[Dataset], query: QuerySettings, *, surface: str = ""
) -> list[BoldRun]:
    """Find the runs that match a query; see :func:`select_runs`."""
    return select_runs(datasets, query, surface=surface).runs


def select_runs(
    datasets: Sequence[Dataset], query: QuerySettings, *, surface: str = ""
) -> Selection:
    """Select the runs that match a query, in one format and one space.

    Parameters
    ----------
    datasets
        Datasets to search.
    query
        Criteria of selection.
    surface
        Format that matches an atlas on the cortical surface; decides where the query does not.

    Raises
    ------
    InputDataError
        No run matches, a requested label does not exist (the message lists the available ones),
        all runs are duplicates, or the database is not that of the dataset.
    SettingsError
        The filter file cannot be used.
    """
    return _Selector(datasets, query).select(surface)


class _Selector:
    """The steps of the selection, each of which records in the account what it leaves out."""

    def __init__(self, datasets: Sequence[Dataset], query: QuerySettings) -> None:
        self.datasets, self.query = datasets, query
        self.filters = read_filters(query.bids_filter_file)
        self.listings: Listings = {}
        self.indices: dict[Path, BIDSLayout] = {}
        self.account = Account(
            query.labels("sub") or _all_subjects(datasets),
            {key: labels for key in _FLAGS if (labels := query.labels(key))},
        )

    def select(self, surface: str) -> Selection:
        """Return the selected runs, completed by the files beside them."""
        subjects = self.query.labels("sub")
        found = [list(walk(dataset, subjects, self.listings)) for dataset in self.datasets]
        runs = [run for of_dataset in found for run in of_dataset]
        _check_participants(self.datasets, subjects)
        folders = [run for run in runs if run.input_format == FOLDER and self._may_match(run)]
        files = [run for run in runs if run.input_format != FOLDER and self._is_candidate(run)]
        self._check_found([*files, *folders])
        self._open_indices(found)
        chosen, damaged = self._choose_runs(files, folders, surface) if files else ([], [])
        self.account.warn()
        usable = [complete_run(run, self.listings, self.query.repetition_time) for run in chosen]
        fitting = _fitting(damaged, chosen, self.query.res)
        selected = map(_named, [*refuse_duplicates(usable), *fitting, *folders])
        return Selection(
            sorted(selected, key=lambda run: run.path.name),
            self.account.absences,
            _other_descs(chosen),
        )

    def _choose_runs(
        self, files: list[BoldRun], folders: list[BoldRun], surface: str
    ) -> tuple[list[BoldRun], list[BoldRun]]:
        """Return the runs to use, and the runs with a damaged name that might be among them.

        An invalid name must not determine which files of other runs are used, unless there is no
        valid name.
        """
        sound = [run for run in files if not run.problem]
        matching = self._match_filters(sound)
        kept = choose_input_format(
            [run.input_format for run in matching or sound or files],
            input_type=self.query.input_type,
            file_format=self.query.file_format,
            surface=surface,
        )
        damaged = [run for run in files if run.problem and run.input_format == kept]
        damaged = [run for run in damaged if self._may_match(run)]
        uncertain = [*damaged, *folders]
        sound = [run for run in sound if run.input_format == kept]
        self.account.keep([*sound, *uncertain], f"no run in the format {kept}")
        if not sound:
            runs = choose_space(damaged, self.query.space, self.query.res) if damaged else []
            return runs, []
        sound = self._match_options(sound)
        self.account.keep([*sound, *uncertain], f"no run matches {self._options()}")
        sound = self._keep_matching(sound, matching, self.filters[_kind(kept)])
        self.account.keep([*sound, *uncertain], f"no run matches {self._filter_source()}")
        chosen = choose_space(sound, self.query.space, self.query.res)
        space = chosen[0].entities.get("space", "(native)")
        for run in find_unavailable(sound, chosen):
            self.account.lose(run.entities, f"not available in space {space}")
        self.account.keep([*chosen, *uncertain], f"no run in space {space}")
        return chosen, damaged

    def _is_candidate(self, run: BoldRun) -> bool:
        """Tell whether a file is used by default, or may be asked for by the filters."""
        filters = self.filters[_kind(run.input_format)]
        return is_default(run.input_format, run.desc) or filters.has("desc")

    def _may_match(self, run: BoldRun) -> bool:
        """Tell whether a run or folder whose labels are not certain may match the options."""
        filters = self.filters[_kind(run.input_format)]
        conditions = {key: list[object](self.query.labels(key)) for key in _FLAGS}
        if run.input_format == FOLDER:
            conditions = {"ses": conditions["ses"]} if "ses" in run.entities else {}
            return all(_may_have(run.entities[key], conditions[key]) for key in conditions)
        if not filters.regex:
            conditions |= {find_key(key) or key: labels for key, labels in filters.entities.items()
                           if labels and find_key(key)}  # fmt: skip
        entities = dict(split_name(run.path.name)) | run.entities
        return all(
            _may_have(entities.get(key), labels) for key, labels in conditions.items() if labels
        )

    def _check_found(self, runs: Sequence[BoldRun]) -> None:
        """Record the participants without runs; refuse if they were requested by their label."""
        self.account.keep(runs, "no preprocessed run")
        requested = self.query.labels("sub")
        if not runs:
            raise InputDataError(
                f"No {_PATTERNS} in {_roots(self.datasets)}"
                + (f" for sub-{', sub-'.join(sorted(requested))}." if requested else ".")
            )
        lacking = [absence.entities["sub"] for absence in self.account.absences
                   if list(absence.entities) == ["sub"]]  # fmt: skip
        if requested and lacking:
            raise InputDataError(
                f"--participant-label {' '.join(lacking)}: no {_PATTERNS} of "
                f"{count_noun(len(lacking), 'participant')} in {_roots(self.datasets)}. Omit "
                f"{'it' if len(lacking) == 1 else 'them'}, or preprocess first."
            )

    def _open_indices(self, found: Sequence[list[BoldRun]]) -> None:
        """Index the runs of each dataset with pybids, or open its database."""
        from npi_bids.bids.indexing import open_index

        query = self.query
        for dataset, runs in zip(self.datasets, found, strict=True):
            folder = query.database
            if folder is not None and len(self.datasets) > 1:
                folder /= dataset.link
            self.indices[dataset.root] = open_index(
                dataset, runs, folder, reset=query.reset_database, subjects=query.labels("sub"),
            )  # fmt: skip

    def _find_paths(
        self, kind: str, filters: Filters, labels: Mapping[str, list[object]]
    ) -> set[str]:
        """Return the paths of the files of one kind that match, of all datasets."""
        from npi_bids.bids.indexing import find_files

        return {
            f"{root}/{name}"
            for root, index in self.indices.items()
            for name in find_files(index, kind, filters, labels)
        }

    def _match_filters(self, runs: list[BoldRun]) -> list[BoldRun]:
        """Return the runs of all formats that match the filter file."""
        matching = []
        for kind, filters in self.filters.items():
            of_kind = [run for run in runs if _kind(run.input_format) == kind]
            if of_kind and filters:
                paths = self._find_paths(kind, filters, {})
                of_kind = [run for run in of_kind if str(run.path) in paths]
                of_kind = self._match_metadata(of_kind, filters)
            matching += of_kind
        return matching

    def _match_metadata(self, runs: list[BoldRun], filters: Filters) -> list[BoldRun]:
        """Return the runs whose sidecars have the permitted values; pybids would read them all."""
        if not filters.metadata or not runs:
            return runs
        fields = [inherited_metadata(run.path, run.dataset, self.listings) for run in runs]
        for name in filters.metadata:
            if not any(name in field for field in fields):
                raise SettingsError(
                    f"{filters.source}: no sidecar has the field {name!r}; found "
                    f"{join_items(sorted(set().union(*fields)), most=10) or 'none'}."
                )
        return [
            run
            for run, field in zip(runs, fields, strict=True)
            if all(
                matches_metadata(field.get(name), permitted, regex=filters.regex)
                for name, permitted in filters.metadata.items()
            )
        ]

    def _match_options(self, runs: list[BoldRun]) -> list[BoldRun]:
        """Return the runs that match the options; each requested label has to exist.

        Raises
        ------
        InputDataError
            No run has one of the labels; the message lists the available ones.
        """
        requested = {key: list(self.query.labels(key)) for key in _FLAGS}
        problems = [
            f"{flag} {' '.join(missing)}: no run matches; found {key}: {_labels_of(runs, key)}."
            for key, flag in _FLAGS.items()
            if (missing := _find_missing(runs, key, requested[key]))
        ]
        if problems:
            raise InputDataError(" ".join(problems))
        labels = {key: list[object](values) for key, values in requested.items() if values}
        if subjects := self.query.labels("sub"):
            labels["sub"] = list(subjects)
        paths = self._find_paths(_kind(runs[0].input_format), Filters(), labels)
        matching = [run for run in runs if str(run.path) in paths]
        if not matching:
            raise InputDataError(
                f"No run matches {self._options()} together; found "
                + "; ".join(f"{key}: {_labels_of(runs, key)}" for key in labels) + "."
            )  # fmt: skip
        return matching

    def _keep_matching(
        self, runs: list[BoldRun], matching: list[BoldRun], filters: Filters
    ) -> list[BoldRun]:
        """Return the runs that match the filters, and name what matches nothing."""
        _warn_of_labels(runs, filters)
        paths = {str(run.path) for run in matching}
        kept = [run for run in runs if str(run.path) in paths]
        if not kept:
            keys = [find_key(key) or key for key in filters.entities]
            present = "; ".join(f"{key}: {_labels_of(runs, key)}" for key in keys)
            raise InputDataError(
                f"{filters.source}: no run matches {format_filters(filters)}; found "
                f"{present or count_noun(len(runs), 'run')}."
            )
        return kept if filters.has("part") else _keep_magnitude(kept)

    def _options(self) -> str:
        used = [f"{flag} {' '.join(labels)}" for key, flag in _FLAGS.items()
                if (labels := self.query.labels(key))]  # fmt: skip
        return " ".join(used) or "the options"

    def _filter_source(self) -> str:
        return f"--bids-filter-file <{self.query.bids_filter_file}>"


def _kind(input_format: str) -> str:
    return SERIES if input_format == TIMESERIES else BOLD


def _all_subjects(datasets: Sequence[Dataset]) -> list[str]:
    return sorted({label for dataset in datasets for label in list_subjects(dataset.root)})


def _label_of(run: BoldRun, key: str) -> str | None:
    return run.entities.get(key) or dict(split_name(run.path.name)).get(key)


def _labels_of(runs: Iterable[BoldRun], key: str) -> str:
    """Return the labels of an entity as text."""
    labels = sorted({_label_of(run, key) or "(none)" for run in runs})
    return join_items(labels, most=20)


def _same_label(key: str, label: str | None, other: str) -> bool:
    if label is None:
        return False
    return is_same_number(label, other) if key in NUMBERS else label == other


def _find_missing(runs: Iterable[BoldRun], key: str, requested: Sequence[str]) -> list[str]:
    """Return the requested labels that no run has."""
    if not requested:
        return []
    present = {_label_of(run, key) for run in runs}
    return [
        label
        for label in requested
        if not any(_same_label(key, other, label) for other in present)
    ]


def _warn_of_labels(runs: Sequence[BoldRun], filters: Filters) -> None:
    """Warn of the labels in a filter file that no run has."""
    for name, labels in {} if filters.regex else filters.entities.items():
        key = find_key(name)
        plain = [str(label) for label in labels if not isinstance(label, Special)]
        missing = _find_missing(runs, key, plain) if key else []
        if missing and len(missing) < len(labels):
            _logger.warning("%s: no run has %s %s; found %s", filters.source, name,
                            join_items(missing), _labels_of(runs, key or name))  # fmt: skip


def _may_have(label: str | None, permitted: Sequence[object]) -> bool:
    """Tell whether an entity may have one of the permitted labels, if its own can be read."""
    specials = {item.name for item in permitted if isinstance(item, Special)}
    if label is None:
        return not permitted or bool(specials & {NONE, OPTIONAL})
    if not permitted or not is_label(label) or specials & {ANY, OPTIONAL}:
        return True
    return any(is_same_number(label, str(item)) for item in permitted)


def _keep_magnitude(runs: Sequence[BoldRun]) -> list[BoldRun]:
    magnitude = [run for run in runs if run.entities.get("part", "mag") == "mag"]
    if not magnitude:
        raise InputDataError(
            f"No magnitude images among {count_noun(len(runs), 'run')}; expected names without "
            "part, or with part-mag."
        )
    return magnitude


def _other_descs(runs: Iterable[BoldRun]) -> tuple[str, ...]:
    """Return the descriptions of images other than those that are used by default."""
    images = {run.desc for run in runs if run.input_format != TIMESERIES}
    return tuple(sorted(images - {"", PREPROCESSED}))


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
        patterns = [f"*{ending}" for ending, named in ENDINGS.items() if named == chosen]
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
        (key, str(int(label)) if key in NUMBERS and label.isdecimal() else label.casefold())
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


def _roots(datasets: Sequence[Dataset]) -> str:
    return " or ".join(f"<{dataset.root}>" for dataset in datasets)


def _check_participants(datasets: Sequence[Dataset], requested: Sequence[str]) -> None:
    available = _all_subjects(datasets) if requested else []
    if missing := sorted(set(requested) - set(available)):
        listed = ", ".join(available[:20]) + (" ..." if len(available) > 20 else "")
        raise InputDataError(
            f"--participant-label {' '.join(missing)}: no such subject in {_roots(datasets)}, "
            f"which has {len(available)}: {listed}."
        )
