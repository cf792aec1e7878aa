"""One preprocessed run, and the files that lie beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

from npi_bids.bids.inputs import FOLDER, GIFTI, NIFTI, TIMESERIES, modern_name, read_name
from npi_bids.bids.metadata import Listings, inherited_metadata, list_names
from npi_bids.bids.names import printable
from npi_bids.core.options import period_problem
from npi_bids.errors import NPIError

# Confounds belong to a run in all its spaces.
_SPATIAL = ("space", "res", "den", "desc", "label", "hemi")


@dataclass(frozen=True, slots=True)
class BoldRun:
    """One preprocessed run.

    Attributes
    ----------
    path
        The 4D image, the greyordinates, the left hemisphere, or the table of regional series;
        of a folder that cannot be read, the folder.
    entities
        Of its name, without ``desc``.
    dataset
        Root of the dataset it lies in, and ``link``, its name in ``DatasetLinks``.
    mask, confounds
        Beside it, or None. Beside a table of series, ``mask`` is the table of outliers and
        ``confounds`` that of motion.
    tr
        RepetitionTime of the sidecar in seconds, or None where it does not say.
    problem
        Why the run cannot be used, or empty.
    kind
        ``nifti``, ``cifti``, ``gifti``, ``timeseries``, or ``folder`` where a folder that cannot
        be read stands for the runs in it.
    right
        The right hemisphere where the run comes in two files.
    regions
        Entities that say which regions the columns of a table of series are.
    misnamed
        Whether the problem is the name, so that ``entities`` and ``regions`` hold what of it can
        be read.
    """

    path: Path
    entities: dict[str, str]
    dataset: Path
    link: str
    mask: Path | None = None
    confounds: Path | None = None
    tr: float | None = None
    problem: str = ""
    kind: str = NIFTI
    right: Path | None = None
    regions: dict[str, str] = field(default_factory=dict)
    misnamed: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is read of the run."""
        return tuple(path for path in (self.path, self.right, self.mask, self.confounds) if path)

    @property
    def source(self) -> str:
        """Path of what is read, for messages; that of a folder ends in ``/``."""
        return printable(self.path) + ("/" if self.kind == FOLDER else "")

    def uri(self, path: Path) -> str:
        """Return the BIDS URI of a file of the run's dataset."""
        return f"bids:{self.link}:{path.relative_to(self.dataset).as_posix()}"


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
