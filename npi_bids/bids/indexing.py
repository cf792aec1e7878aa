"""pybids: the index of the runs of a dataset, its database, and queries.

This module imports pybids, which takes half a second; import it inside functions.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

from npi_bids.bids.datasets import DATABASE, Dataset, walk
from npi_bids.bids.entities import NUMBERS, find_key, is_same_number
from npi_bids.bids.filters import BOLD, SERIES, Filters, Special
from npi_bids.bids.input_names import find_format, modern_name, read_name
from npi_bids.bids.pybids import BIDSFile, BIDSLayout, BIDSLayoutIndexer, Query, Tag
from npi_bids.bids.runs import FOLDER, BoldRun
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.wording import count_noun, join_items

_OWN_CONFIG = "npi-bids"  # the name in data/pybids.json
_RUNS_AT_ONCE = 2000  # which bounds the memory for their rows
# Folders of an output dataset whose files have no entities to search for.
_NOT_INDEXED = tuple(
    re.compile(pattern) for pattern in (r"/figures(/|$)", r"^/logs(/|$)", r"\.html$")
)
_KEY = re.compile(r"([A-Za-z]+)-\(")
_ADVICE = re.compile(r"\s*If you're sure.*")
_RUN = re.compile(r"sub-(?P<subject>[^/]+)/(ses-[^/]+/)?func/(?P<name>[^/]+)")
_DEFAULTS: dict[str, dict[str, list[object]]] = {
    BOLD: {
        "suffix": ["bold"], "datatype": ["func"],
        "extension": [".nii.gz", ".nii", ".dtseries.nii", ".func.gii"],
    },
    SERIES: {"suffix": ["timeseries"], "datatype": ["func"], "extension": [".tsv"]},
}  # fmt: skip


def pybids_config() -> list[str]:
    """Return the configuration with which pybids understands outputs of npi-bids.

    It adds the entities ``measure``, ``statistic``, ``template``, ``cohort`` and ``scale`` to
    those of pybids: ``BIDSLayout(out_dir, validate=False, config=pybids_config())``.
    """
    return ["bids", "derivatives", str(files("npi_bids.data") / "pybids.json")]


def layout(root: Path | str, *, metadata: bool = False) -> BIDSLayout:
    """Open an output dataset of npi-bids with pybids.

    Parameters
    ----------
    root
        Root of the dataset.
    metadata
        Whether to read the sidecars as well, so that their fields can be searched for.

    Returns
    -------
    bids.BIDSLayout
        ``layout(out_dir).get(suffix="relmat", measure="npi", extension=".tsv")`` are the maps of
        effective connectivity of all subjects, and of groups.
    """
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=metadata, ignore=_NOT_INDEXED)
    return BIDSLayout(
        root, validate=False, is_derivative=True, config=pybids_config(), indexer=indexer
    )


class RunIndexer(BIDSLayoutIndexer):
    """Index the runs of a dataset, without reading any other folder.

    The indexer of pybids visits all files of a dataset and matches each with a pattern per
    entity, which takes minutes for a thousand subjects. This one reads ``sub-*/[ses-*/]func``,
    splits names, and writes files and tags at once. Names of fMRIPrep 1.0 are indexed as if a
    later version had written them.

    Parameters
    ----------
    runs
        The runs; those with a problem are left out.
    """

    def __init__(self, runs: Iterable[BoldRun]) -> None:
        super().__init__(validate=False, index_metadata=False)
        self._runs = [run for run in runs if not run.problem]

    def __call__(self, index: BIDSLayout) -> None:
        """Fill the tables of a layout."""
        self._layout = index
        known = _entities_by_key(index)
        for start in range(0, len(self._runs), _RUNS_AT_ONCE):
            self._index(self._runs[start : start + _RUNS_AT_ONCE], known)
        self.session.commit()

    def _index(self, runs: Sequence[BoldRun], known: Mapping[str, tuple[str, str]]) -> None:
        """Write the files and tags of some runs."""
        rows: list[tuple[object, ...]] = []
        tags: list[tuple[object, ...]] = []
        for run in runs:
            path, name = str(run.path), read_name(run.path.name)
            kind = "data_file" if name.extension == ".tsv" else "image_file"
            rows.append((path, run.path.name, path.rpartition("/")[0], False, kind))
            labels = [(*known[key], label) for key, label in name.entities.items() if key in known]
            parts = (("suffix", name.suffix), ("extension", name.extension), ("datatype", "func"))
            labels += [(entity, "str", value) for entity, value in parts]
            tags += [(path, entity, label, dtype, False) for entity, dtype, label in labels]
        self._insert(BIDSFile, ("path", "filename", "dirname", "is_dir", "class_"), rows)
        columns = ("file_path", "entity_name", "_value", "_dtype", "is_metadata")
        self._insert(Tag, columns, tags)

    def _insert(self, record: Any, columns: Sequence[str], rows: list[tuple[object, ...]]) -> None:
        """Insert rows at once; SQLAlchemy needs several times as long for a record each."""
        marks = ", ".join("?" * len(columns))
        table = record.__tablename__
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
        self.session.connection().exec_driver_sql(statement, rows)


def _entities_by_key(index: BIDSLayout) -> dict[str, tuple[str, str]]:
    """Return the name and the type of each entity of a layout, by its key in file names."""
    known: dict[str, tuple[str, str]] = {}
    for config in index.config.values():
        for entity in config.entities.values():
            if match := _KEY.search(entity.pattern or ""):
                known.setdefault(match[1], (entity.name, entity._dtype))
    return known


def open_index(
    dataset: Dataset,
    runs: Iterable[BoldRun],
    database: Path | None = None,
    *,
    reset: bool = False,
    subjects: Collection[str] = (),
) -> BIDSLayout:
    """Return a layout of the runs of a dataset, in memory or from a database.

    Parameters
    ----------
    dataset
        The dataset.
    runs
        Its runs, as they are on the disk now.
    database
        Folder of the database; None for an index in memory. A database that does not exist is
        made, for all subjects of the dataset.
    reset
        Whether to make the database anew.
    subjects
        The subjects that were searched for runs; all if empty.

    Raises
    ------
    InputDataError
        The database was made for another dataset, does not hold the runs that are there now, or
        cannot be read.
    """
    if database is None:
        index = _make_layout(dataset, RunIndexer(runs))
        index.is_derivative = True  # for the scope of queries, whatever the description says
        return index
    folder = None if reset else _find_database(dataset, database)
    if folder is None:
        folder = database
        _write_database(dataset, database)
    index = BIDSLayout(dataset.root, validate=False, database_path=folder)
    index.is_derivative = True
    _check_current(index, dataset, runs, folder / DATABASE, set(subjects))
    return index


def _make_layout(
    dataset: Dataset, indexer: RunIndexer, database: Path | None = None
) -> BIDSLayout:
    try:
        return BIDSLayout(dataset.root, validate=False, config=pybids_config(),
                          database_path=database, indexer=indexer)  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # pybids reads the name of the program from the description, whatever is there.
        raise InputDataError(
            f"pybids cannot read <{dataset.root / 'dataset_description.json'}>: "
            f"{type(error).__name__}: {error}. GeneratedBy must be a list of objects that have "
            "a Name; correct it."
        ) from error


def _write_database(dataset: Dataset, folder: Path) -> None:
    """Write the database of all runs of a dataset; other processes see none or all of it."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".partial_"))
    try:
        index = _make_layout(dataset, RunIndexer(walk(dataset)), scratch)
        index.session.close()
        index.connection_manager.engine.dispose()
        os.replace(scratch / DATABASE, folder / DATABASE)  # noqa: PTH105
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _find_database(dataset: Dataset, folder: Path) -> Path | None:
    """Return the folder with the database of a dataset, or None if there is no database.

    pybids puts the databases of derivatives into folders below that of the raw dataset.
    """
    present = [
        path for path in (folder, *sorted(folder.glob("*/"))) if (path / DATABASE).is_file()
    ]
    roots = {path: _read_root(path / DATABASE) for path in present}
    for path, root in roots.items():
        if root.resolve() == dataset.root:
            return path
    if folder in roots:
        raise InputDataError(
            f"--bids-database-dir <{folder}> is for <{roots[folder]}>, not <{dataset.root}>. "
            "Name another folder, or make it anew with --reset-database."
        )
    return None


def _read_root(path: Path) -> Path:
    """Return the root of the dataset that a database was made for."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute("SELECT root, _derivatives FROM layout_info").fetchone()
    except sqlite3.Error as error:
        raise InputDataError(
            f"<{path}> is no database of pybids ({error}). Name another folder, or make it anew "
            "with --reset-database."
        ) from error
    root, derivatives = row or ("/", "null")
    if json.loads(derivatives or "null"):
        raise InputDataError(
            f"The database <{path}> was made with derivatives of <{root}>, which pybids would "
            "index again whenever it is opened. Name another folder, or make it without."
        )
    return Path(re.sub(r"^file:(//)?", "", str(root)))


def _check_current(
    index: BIDSLayout, dataset: Dataset, runs: Iterable[BoldRun], path: Path, subjects: set[str]
) -> None:
    """Refuse a database that lacks runs of the dataset, or has runs that are not there any more.

    pybids never compares a database with the files.
    """
    runs = [run for run in runs if run.input_format != FOLDER]
    present = {relative_path(str(run.path), dataset.root): run for run in runs}
    sound = {name for name, run in present.items() if not run.problem}
    indexed = _indexed_runs(index, dataset, subjects)
    problems = []
    for verb, names in (("lacks", sound - indexed), ("still has", indexed - set(present))):
        if names:
            listed = join_items(sorted(names), most=3)
            problems.append(f"{verb} {count_noun(len(names), 'run')} ({listed})")
    old = [name for name in sound if modern_name(Path(name).name) != Path(name).name]
    if old and _OWN_CONFIG not in index.config:
        problems.append(f"does not understand names of fMRIPrep 1.0 ({min(old)})")
    if problems:
        raise InputDataError(
            f"The database <{path}> does not describe <{dataset.root}> as it is now: it "
            f"{' and '.join(problems)}. Make it anew with --reset-database."
        )


def _indexed_runs(index: BIDSLayout, dataset: Dataset, subjects: set[str]) -> set[str]:
    """Return the files of a database that may be runs, relative to the root of its dataset."""
    query = index.session.query(BIDSFile.path).filter(
        BIDSFile.filename.like("sub-%") & ~BIDSFile.filename.like("%.json")
    )
    names = (relative_path(path, index.root) for (path,) in query)
    if _OWN_CONFIG in index.config and not subjects:  # it holds nothing else
        return set(names)
    matches = ((name, _RUN.fullmatch(name)) for name in names)
    return {
        name
        for name, match in matches
        if match and (not subjects or match["subject"] in subjects)
        and find_format(match["name"], own=dataset.is_own)
    }  # fmt: skip


def relative_path(path: str, root: Path | str) -> str:
    """Return the path of a file below a root, which is much faster than ``os.path.relpath``."""
    return path[len(str(root)) + 1 :]


def find_files(
    index: BIDSLayout, kind: str, filters: Filters, labels: Mapping[str, list[object]]
) -> set[str]:
    """Return the files that match filters, relative to the root of the dataset.

    Parameters
    ----------
    index
        The layout of the dataset.
    kind
        ``bold`` or ``timeseries``.
    filters
        Filters of the user; those of suffix, datatype and extension replace the defaults.
    labels
        The permitted labels of more entities.

    Raises
    ------
    SettingsError
        A filter is not about an entity; the message suggests one.
    """
    defaults = _DEFAULTS[kind]
    if _OWN_CONFIG in index.config:  # nothing else is indexed, and each condition takes time
        defaults = {"suffix": defaults["suffix"]}
    query: dict[str, Any] = {**defaults, **labels, **filters.entities}
    conditions = dict(_condition(index, entity, values) for entity, values in query.items())
    try:
        paths = index.get(return_type="file", **filters.arguments, **conditions)
    except ValueError as error:
        reason = _ADVICE.sub("", str(error))
        raise SettingsError(f"{filters.source}: {reason}") from error
    return {relative_path(path, index.root) for path in paths}


def _condition(index: BIDSLayout, spelling: str, values: list[object]) -> tuple[str, list[object]]:
    """Return the name of an entity in a layout, and its permitted values as pybids reads them."""
    known = _entities_by_key(index)
    key = find_key(spelling)
    name, kind = (spelling, "str") if key is None else known.get(key, (spelling, "str"))
    conditions: list[object] = []
    for value in values:
        if isinstance(value, Special):
            conditions.append(Query[value.name])
        elif key in NUMBERS and kind != "int":  # pybids takes echo-1 and echo-01 for two echoes
            conditions += _equal_numbers(index, name, str(value))
        else:
            conditions.append(value)
    return name, conditions


def _equal_numbers(index: BIDSLayout, entity: str, number: str) -> list[str]:
    """Return the labels of an entity that are the same number."""
    query = index.session.query(Tag._value).filter_by(entity_name=entity).distinct()
    labels = [label for (label,) in query if is_same_number(label, number)]
    return labels or [number]
