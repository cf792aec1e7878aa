"""Find the preprocessed runs of a dataset.

A walk over ``sub-*/[ses-*/]func`` reads only the folders that can hold runs, so that a thousand
subjects take seconds; an index of the whole dataset would take minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from npi_bids.bids.doubles import refuse_doubles
from npi_bids.bids.inputs import (
    DERIVATIVE_FOLDERS,
    FOLDER,
    choose_kind,
    kind_of,
    name_problem,
    split_entities,
)
from npi_bids.bids.metadata import Listings, read_sidecar
from npi_bids.bids.names import ENTITY_ORDER, is_label, printable
from npi_bids.bids.query import (
    QuerySettings,
    choose_space,
    keep_matching,
    may_hold,
    read_filters,
)
from npi_bids.bids.runs import BoldRun, complete
from npi_bids.errors import InputDataError


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of derivatives: where it lies, its name as a link, what it says of itself."""

    root: Path
    link: str
    description: dict[str, Any] = field(default_factory=dict)

    @property
    def generators(self) -> list[dict[str, Any]]:
        """Entries of ``GeneratedBy``, the program that made the dataset first.

        What is no list of objects with a name, as the standard asks for, counts as nothing.
        """
        entries = self.description.get("GeneratedBy")
        entries = entries if isinstance(entries, list) else []
        return [entry for entry in entries if isinstance(entry, dict) and "Name" in entry]


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
        unknown = bool(space) and not is_label(space)
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
        made_by = [entry["Name"] for entry in _dataset(root, "").generators]
    except InputDataError:  # which is said where the dataset is taken
        return False
    return made_by[:1] == ["npi-bids"]


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
