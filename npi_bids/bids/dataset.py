"""Find the preprocessed runs of a dataset.

A walk over ``sub-*/[ses-*/]func`` reads only the folders that can hold runs, so that a thousand
subjects take seconds; an index of the whole dataset would take minutes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npi_bids.bids.inputs import DERIVATIVE_FOLDERS, choose_kind, kind_of, split_entities
from npi_bids.bids.metadata import Listings
from npi_bids.bids.query import QuerySettings, choose_space, keep_matching, read_filters
from npi_bids.bids.runs import BoldRun, complete
from npi_bids.errors import InputDataError


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of derivatives: where it lies, its name as a link, what it says of itself."""

    root: Path
    link: str
    description: dict[str, Any] = field(default_factory=dict)


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
        found = [path for path in below if path.is_dir() and _has_runs(path)]
        if len(found) > 1:
            raise InputDataError(
                f"<{bids_dir / 'derivatives'}> holds several datasets: "
                f"{[path.name for path in found]}; choose with -d NAME=PATH."
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
        Sorted by name. A run that cannot be used says so in ``problem``.

    Raises
    ------
    InputDataError
        Nothing matches, a label that was asked for does not exist (says what there is), or the
        same run is there twice.
    """
    filters = read_filters(query)
    wanted = {label.removeprefix("sub-") for label in query.participant_label}
    found = [
        _run_of(dataset, kind, path)
        for dataset in datasets
        for kind, path in _walk(dataset.root, wanted)
    ]
    _check_participants(datasets, wanted)
    if not found:
        raise InputDataError(
            f"No *_desc-preproc_bold.nii[.gz], *_bold.dtseries.nii, *_bold.func.gii or regional "
            f"*_timeseries.tsv in {[str(d.root) for d in datasets]}"
            + (f" for sub-{', sub-'.join(sorted(wanted))}." if wanted else ".")
        )
    kind = choose_kind(
        [run.kind for run in found],
        input_type=query.input_type,
        file_format=query.file_format,
        surface=surface,
    )
    chosen = keep_matching([run for run in found if run.kind == kind], query, filters)
    chosen = choose_space(chosen, query)
    listings: Listings = {}
    _check_unique(chosen)
    runs = [complete(run, listings, query.repetition_time) for run in chosen]
    return sorted(runs, key=lambda run: run.path.name)


def subjects_of(root: Path) -> list[str]:
    """Return the labels of the subjects of a dataset, sorted."""
    with os.scandir(root) as entries:
        return sorted(
            entry.name.removeprefix("sub-")
            for entry in entries
            if entry.name.startswith("sub-") and entry.is_dir()
        )


def _run_of(dataset: Dataset, kind: str, path: Path) -> BoldRun:
    entities, regions = split_entities(path, kind)
    return BoldRun(path, entities, dataset.root, dataset.link, kind=kind, regions=regions)


def _walk(root: Path, subjects: set[str]) -> Iterator[tuple[str, Path]]:
    """Yield every file that can be a run, with its kind."""
    for subject in subjects_of(root):
        if subjects and subject not in subjects:
            continue
        top = root / f"sub-{subject}"
        folders = [top, *sorted(path for path in top.glob("ses-*") if path.is_dir())]
        for folder in folders:
            func = folder / "func"
            if func.is_dir():
                for name in sorted(os.listdir(func)):
                    if kind := kind_of(name):
                        yield kind, func / name


def _has_runs(root: Path) -> bool:
    return root.is_dir() and next(_walk(root, set()), None) is not None


def _dataset(root: Path, link: str) -> Dataset:
    if not root.is_dir():
        raise InputDataError(f"The dataset <{root}> ({link}) does not exist.")
    path = root / "dataset_description.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise InputDataError(f"<{path}> is not JSON: {error}.") from error
    return Dataset(root.resolve(), link, description)


def _check_participants(datasets: list[Dataset], wanted: set[str]) -> None:
    there = sorted({label for dataset in datasets for label in subjects_of(dataset.root)})
    if missing := sorted(wanted - set(there)):
        shown = ", ".join(there[:20]) + (" ..." if len(there) > 20 else "")
        raise InputDataError(
            f"--participant-label {' '.join(missing)}: no such subject in "
            f"{[str(d.root) for d in datasets]}, which has {len(there)}: {shown}."
        )


def _check_unique(runs: list[BoldRun]) -> None:
    """Refuse the same run twice, from two datasets or in two formats."""
    seen: dict[frozenset[tuple[str, str]], BoldRun] = {}
    for run in runs:
        other = seen.setdefault(frozenset((run.entities | run.regions).items()), run)
        if other is not run:
            raise InputDataError(
                f"<{run.path}> and <{other.path}> are the same run; its results would overwrite "
                "each other. Name one dataset with -d, or remove one of the files."
            )
