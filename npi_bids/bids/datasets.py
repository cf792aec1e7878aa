"""Datasets of derivatives, and the files and folders in them that may be runs."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from npi_bids.bids.input_names import (
    detect_input_format,
    find_format,
    name_problem,
    split_entities,
    split_name,
)
from npi_bids.bids.metadata import Listings, list_names, read_sidecar
from npi_bids.bids.outputs import is_label, printable
from npi_bids.bids.runs import FOLDER, TIMESERIES, BoldRun
from npi_bids.errors import InputDataError

# Folders below `derivatives/` of a raw dataset that each type of input is looked for in.
DERIVATIVE_FOLDERS = {
    "auto": ("fmriprep*",),
    "fmriprep": ("fmriprep*",),
    "xcp_d": ("xcp*",),
    "timeseries": ("giga_connectome*", "xcp*", "*"),
}
DATABASE = "layout_index.sqlite"  # the name that pybids gives to its database
_OWN_NAME = "npi-bids"


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

    @property
    def is_own(self) -> bool:
        """Whether it was written by npi-bids."""
        return self.makers[:1] == [_OWN_NAME]


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


def walk(
    dataset: Dataset, subjects: Collection[str] = (), listings: Listings | None = None
) -> Iterator[BoldRun]:
    """Yield every file that may be a run, and the folders that cannot be read.

    Parameters
    ----------
    dataset
        The dataset. Only ``sub-*/[ses-*/]func`` is read.
    subjects
        Labels of the subjects to search for; all if empty.
    listings
        Names in the folders read so far; extended in place.
    """
    for subject in list_subjects(dataset.root):
        if subjects and subject not in subjects:
            continue
        top = dataset.root / f"sub-{subject}"
        try:
            sessions = [name for name in sorted(os.listdir(top)) if name.startswith("ses-")]
        except OSError as error:
            yield _unreadable(dataset, top, {"sub": subject}, error)
            continue
        yield from _runs_in(dataset, top / "func", {"sub": subject}, listings)
        for session in sessions:
            labels = {"sub": subject, "ses": session.removeprefix("ses-")}
            yield from _runs_in(dataset, top / session / "func", labels, listings)


def _runs_in(
    dataset: Dataset, func: Path, labels: dict[str, str], listings: Listings | None
) -> Iterator[BoldRun]:
    try:
        names = list_names(func, {} if listings is None else listings)
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
        if input_format := find_format(name, own=dataset.is_own):
            yield _parse_run(dataset, input_format, func / name, labels)


def _parse_run(dataset: Dataset, input_format: str, path: Path, labels: dict[str, str]) -> BoldRun:
    entities, regions = split_entities(path, input_format)
    run = BoldRun(
        path, entities, dataset.root, dataset.link, input_format=input_format, regions=regions,
        desc=dict(split_name(path.name)).get("desc", ""),
    )  # fmt: skip
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
    runs = walk(Dataset(root, ""))
    return any(detect_input_format(run.path.name) for run in runs if run.input_format != FOLDER)


def _is_output(root: Path) -> bool:
    """Tell whether a dataset was written by npi-bids, whose series are never used by default."""
    try:
        return _dataset(root, "").is_own
    except InputDataError:  # reported where the dataset is used
        return False


def find_series(path: Path) -> dict[str, list[Path]]:
    """Return the tables of cleaned regional series of each participant, sorted.

    Parameters
    ----------
    path
        Root of a dataset of derivatives, such as an output dataset, or the folder of one
        participant in it.

    Raises
    ------
    InputDataError
        There are none.
    """
    folder = path.resolve()
    is_participant = folder.name.startswith("sub-")
    root = folder.parent if is_participant else folder
    own = _is_output(root)
    participants = [folder] if is_participant else sorted(root.glob("sub-*/"))
    found = {
        participant.name: [
            table
            for table in sorted(participant.glob("**/func/*_timeseries.tsv"))
            if find_format(table.name, own=own) == TIMESERIES
        ]
        for participant in participants
    }
    found = {name: tables for name, tables in found.items() if tables}
    if not found:
        raise InputDataError(
            "There are no tables of regional series (sub-*/**/func/*_timeseries.tsv) in "
            f"<{path}>; name a table, the folder of a participant, or an output dataset of "
            "npi-bids or XCP-D."
        )
    return found


def _dataset(root: Path, link: str) -> Dataset:
    if not root.is_dir():
        raise InputDataError(f"The dataset <{root}> ({link}) does not exist.")
    path = root / "dataset_description.json"
    description = read_sidecar(path) if path.is_file() else {}
    return Dataset(root.resolve(), link, description)
