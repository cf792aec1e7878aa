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

from npi_bids.bids.metadata import Listings, inherited_metadata, list_names
from npi_bids.bids.names import parse_name
from npi_bids.bids.query import QuerySettings, choose_space, keep_matching, read_filters
from npi_bids.errors import InputDataError

_EXTENSIONS = (".nii", ".nii.gz")
# Confounds belong to a run in all its spaces.
_SPATIAL = ("space", "res", "den", "desc", "label")


@dataclass(frozen=True, slots=True)
class BoldRun:
    """One preprocessed run.

    Attributes
    ----------
    path
        The 4D image.
    entities
        Of its name, without ``desc``.
    dataset
        Root of the dataset it lies in, and ``link``, its name in ``DatasetLinks``.
    mask, confounds
        Beside it, or None.
    tr
        RepetitionTime of the sidecar in seconds, or None where it does not say.
    problem
        Why the run cannot be used, or empty.
    """

    path: Path
    entities: dict[str, str]
    dataset: Path
    link: str
    mask: Path | None = None
    confounds: Path | None = None
    tr: float | None = None
    problem: str = ""

    def uri(self, path: Path) -> str:
        """Return the BIDS URI of a file of the run's dataset."""
        return f"bids:{self.link}:{path.relative_to(self.dataset).as_posix()}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of derivatives: where it lies, its name as a link, what it says of itself."""

    root: Path
    link: str
    description: dict[str, Any] = field(default_factory=dict)


def find_datasets(bids_dir: Path, derivatives: dict[str, Path]) -> list[Dataset]:
    """Return the datasets of derivatives to search.

    Named ones (``-d NAME=PATH``) are taken where given. Otherwise ``bids_dir`` itself where it is
    a derivative, or what lies below its ``derivatives/fmriprep*``.

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
    if own.description.get("DatasetType") == "derivative" or _has_preprocessed(bids_dir):
        return [own]
    below = sorted((bids_dir / "derivatives").glob("fmriprep*"))
    found = [path for path in below if _has_preprocessed(path)]
    if len(found) > 1:
        raise InputDataError(
            f"<{bids_dir / 'derivatives'}> holds several datasets of fMRIPrep: "
            f"{[path.name for path in found]}; choose with -d fmriprep=PATH."
        )
    if found:
        return [_dataset(found[0], "preprocessed")]
    raise InputDataError(
        f"<{bids_dir}> is not a dataset of fMRIPrep derivatives: it holds no "
        "*_desc-preproc_bold.nii.gz, its dataset_description.json does not say "
        f'"DatasetType": "derivative", and <{bids_dir / "derivatives"}> holds no fmriprep '
        "folder with any. Run fMRIPrep first, or name its output with -d fmriprep=PATH."
    )


def find_runs(datasets: list[Dataset], query: QuerySettings) -> list[BoldRun]:
    """Find the runs that a query asks for, in one space.

    Parameters
    ----------
    datasets
        Where to look.
    query
        What to keep.

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
        BoldRun(path, _entities(path), dataset.root, dataset.link)
        for dataset in datasets
        for path in _walk(dataset.root, wanted)
    ]
    _check_participants(datasets, wanted)
    if not found:
        raise InputDataError(
            f"No *_desc-preproc_bold.nii[.gz] in {[str(d.root) for d in datasets]}"
            + (f" for sub-{', sub-'.join(sorted(wanted))}." if wanted else ".")
        )
    chosen = keep_matching(found, query, filters)
    chosen = choose_space(chosen, query)
    listings: Listings = {}
    _check_unique(chosen)
    runs = [_complete(run, listings) for run in chosen]
    return sorted(runs, key=lambda run: run.path.name)


def subjects_of(root: Path) -> list[str]:
    """Return the labels of the subjects of a dataset, sorted."""
    with os.scandir(root) as entries:
        return sorted(
            entry.name.removeprefix("sub-")
            for entry in entries
            if entry.name.startswith("sub-") and entry.is_dir()
        )


def _entities(path: Path) -> dict[str, str]:
    return {key: value for key, value in parse_name(path.name).entities.items() if key != "desc"}


def _walk(root: Path, subjects: set[str]) -> Iterator[Path]:
    for subject in subjects_of(root):
        if subjects and subject not in subjects:
            continue
        top = root / f"sub-{subject}"
        folders = [top, *sorted(path for path in top.glob("ses-*") if path.is_dir())]
        for folder in folders:
            func = folder / "func"
            if func.is_dir():
                yield from (func / name for name in sorted(os.listdir(func)) if _is_bold(name))


def _is_bold(name: str) -> bool:
    return name.startswith("sub-") and any(
        name.endswith(f"_desc-preproc_bold{extension}") for extension in _EXTENSIONS
    )


def _has_preprocessed(root: Path) -> bool:
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
        other = seen.setdefault(frozenset(run.entities.items()), run)
        if other is not run:
            raise InputDataError(
                f"<{run.path}> and <{other.path}> are the same run; its results would overwrite "
                "each other. Name one dataset with -d, or remove one of the files."
            )


def _complete(run: BoldRun, listings: Listings) -> BoldRun:
    """Add mask, confounds and sampling period, and say what is wrong with the run."""
    beside = list_names(run.path.parent, listings)
    tr = inherited_metadata(run.path, run.dataset, listings).get("RepetitionTime")
    mask = _beside(run, beside, "mask", ("brain",), without=("desc", "label"))
    confounds = _beside(run, beside, "timeseries", ("confounds",), without=_SPATIAL) or _beside(
        run, beside, "regressors", ("confounds",), without=_SPATIAL
    )
    dangling = [path for path in (run.path, mask, confounds) if path and not path.exists()]
    problem = ""
    if dangling:
        problem = (
            f"<{dangling[0]}> is a link to a file that is not here; run `datalad get "
            f"{dangling[0]}` first."
        )
    elif tr is not None and not (isinstance(tr, int | float) and 0 < tr <= 100):
        problem = (
            f"The sidecar of <{run.path}> says RepetitionTime {tr!r}; expected seconds, above 0 "
            "and not milliseconds. Correct the JSON."
        )
    return BoldRun(run.path, run.entities, run.dataset, run.link, mask, confounds, tr, problem)


def _beside(
    run: BoldRun,
    names: list[str],
    suffix: str,
    marks: tuple[str, ...],
    *,
    without: tuple[str, ...],
) -> Path | None:
    """Return the file beside a run that has its entities (less some) and this suffix."""
    own = {key: value for key, value in run.entities.items() if key not in without}
    for name in names:
        if not name.endswith((f"_{suffix}.nii.gz", f"_{suffix}.nii", f"_{suffix}.tsv")):
            continue
        entities = dict(parse_name(name).entities)
        mark = entities.pop("desc", None) or entities.pop("label", None)
        if mark in marks and entities == own:
            return run.path.with_name(name)
    return None
