"""Models in an output dataset, and the status of every unit."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import unquote

import numpy as np

from npi_bids.bids.outputs import (
    CATALOGUE,
    MEASURES,
    STATISTICS,
    SURROGATES,
    TEST,
    UNITS,
    func_folder,
    join_entities,
    output_path,
    output_pattern,
    parse_name,
    unit_name,
)
from npi_bids.bids.sidecars import FittedModel, Links, ModelSidecar, RunSidecar, SeriesSidecar
from npi_bids.bids.uris import regions_file, resolve_uri
from npi_bids.errors import InputDataError
from npi_bids.io.files import read_json
from npi_bids.records import Array
from npi_bids.surrogates.choices import FitChoices, read_choices
from npi_bids.surrogates.families import name_kind

DONE, EXCLUDED, FAILED = "done", "excluded", "failed"
ABSENT = "absent"  # requested, but not in the input or not in the selection


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """Status of one unit and atlas.

    ``entities`` are those of the model's files, atlas included; ``reason`` states why a unit was
    excluded or failed; ``error`` is the class of the error, ``crash`` its file; ``files`` are the
    sizes of the written files, by path relative to the output dataset; ``source`` is the input
    because of which the unit was refused (a folder ends in ``/``);
    ``inputs`` is a digest of the files because of which it failed.
    """

    entities: dict[str, str]
    desc: str
    status: str
    configuration: str
    reason: str = ""
    error: str = ""
    crash: str = ""
    files: dict[str, int] = field(default_factory=dict)
    source: str = ""
    inputs: str = ""

    def __post_init__(self) -> None:
        texts = (
            self.desc,
            self.status,
            self.reason,
            self.error,
            self.crash,
            self.source,
            self.inputs,
        )
        entities = self.entities if isinstance(self.entities, dict) else {}
        if "sub" not in entities or not all(
            isinstance(text, str) for text in (*texts, *entities, *entities.values())
        ):
            raise TypeError("a field is not a text, or the subject is missing")
        if not isinstance(self.files, dict):
            raise TypeError("'files' is not an object")

    @property
    def is_outdated(self) -> bool:
        """Whether the input that led to the refusal has been removed or has become readable."""
        if not self.source:
            return False
        readable = self.source.endswith("/") and os.access(self.source, os.R_OK | os.X_OK)
        return readable or not os.path.lexists(self.source)

    def is_complete(self, root: Path) -> bool:
        """Tell whether all files exist, and none of them is truncated."""
        try:
            return all(
                (root / name).stat().st_size == n_bytes for name, n_bytes in self.files.items()
            )
        except OSError:
            return False

    @property
    def name(self) -> str:
        """Name of the unit: its entities, joined."""
        return unit_name({**self.entities, "desc": self.desc})

    @property
    def path(self) -> Path:
        """Path of the status file, relative to the output dataset."""
        return Path(UNITS) / f"{self.name}.json"


@dataclass(frozen=True, slots=True)
class Model:
    """One fitted model in an output dataset.

    Attributes
    ----------
    root
        Root of the output dataset.
    entities, desc
        Entities of its files, and their ``desc``.
    sidecar
        Sidecar of its map.
    """

    root: Path
    entities: dict[str, str]
    desc: str
    sidecar: ModelSidecar = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the model, which is that of its unit."""
        return join_entities({**self.entities, "desc": self.desc})

    def path(self, output_name: str) -> Path:
        """Return the path of an output of this model, such as a measure or the weights."""
        return self.root / output_path(output_name, self.entities, self.desc)

    @property
    def fit(self) -> FittedModel:
        """Description of the fitted model."""
        return self.sidecar.fit

    @property
    def configuration(self) -> str:
        """Hash of all settings that shape the result."""
        return self.sidecar.links.configuration_hash

    @property
    def kind(self) -> str:
        """Kind of fit in a few words."""
        return name_kind(self.fit.surrogate, self.fit.training)

    @property
    def kind_decided_by(self) -> str:
        """Who decided the kind: ``subject`` or ``dataset``."""
        return self.fit.kind_decision.decided_by if self.fit.kind_decision else "subject"

    @property
    def own_kind(self) -> str:
        """Kind of fit that the data of the subject chose, whatever was decided later."""
        decision = self.fit.kind_decision
        return decision.own_kind if decision else self.kind

    @property
    def own_choices(self) -> FitChoices:
        """What the data of the subject chose."""
        decision = self.fit.kind_decision
        return decision.own_choices if decision else read_choices(
            self.fit.surrogate, self.fit.training
        )  # fmt: skip

    def runs(self) -> list[tuple[Path, RunSidecar]]:
        """Return the timeseries file and its sidecar for each run that the model was fitted to.

        Raises
        ------
        InputDataError
            The sidecar does not name them, or names files outside the dataset.
        """
        sources = self.sidecar.links.sources
        if not sources:
            raise InputDataError(
                f"The sidecar of <{self.path(MEASURES[0])}> has no list of Sources. "
                "Delete it and run the participant level again."
            )
        paths = [resolve_uri(uri, self.root) for uri in sources]
        return [(path, RunSidecar.read(path.with_suffix(".json"))) for path in paths]

    @property
    def regions_file(self) -> Path:
        """Table of the regions.

        Raises
        ------
        InputDataError
            The sidecar does not name it, or names a file outside the dataset.
        """
        return regions_file(self.sidecar.links.node_files, self.root)


def find_training_series(path: Path) -> list[Path]:
    """Return the denoised series that a saved surrogate was fitted to, from its sidecar.

    Raises
    ------
    InputDataError
        The surrogate is not part of an output dataset, or its series are missing.
    """
    absolute = path.absolute()
    below = PurePosixPath(SURROGATES)
    roots = [p for p in absolute.parents if absolute.is_relative_to(p / below)]
    sidecar = absolute.with_suffix(".json")
    if not roots or not sidecar.is_file():
        raise InputDataError(
            f"<{path}> is not part of an output dataset: expected it below {SURROGATES}, with its "
            f"sidecar {sidecar.name} beside it."
        )
    series_files = [resolve_uri(uri, roots[0]) for uri in Links.read(sidecar).sources]
    missing = [path for path in series_files if not path.is_file()]
    if missing or not series_files:
        named = f"<{missing[0]}>, which does not exist" if missing else "no series"
        raise InputDataError(f"The sidecar <{sidecar}> names {named}.")
    return series_files


def find_models(root: Path, *subjects: str, skip_damaged: bool = False) -> Iterator[Model]:
    """Yield the models of an output dataset, sorted by name.

    Parameters
    ----------
    root
        Root of the output dataset.
    *subjects
        Labels of the subjects whose models are read; all subjects if there are none.
    skip_damaged
        Whether to skip models with a damaged sidecar.

    Raises
    ------
    InputDataError
        A sidecar is damaged.
    """
    for path in find_map_sidecars(root, *subjects):
        entities = dict(parse_name(path.name).entities)
        desc = entities.pop("desc")
        entities.pop("meas")
        try:
            sidecar = ModelSidecar.read(path)
        except InputDataError as error:
            if skip_damaged:
                continue
            raise InputDataError(
                f"{error} The result is damaged; delete it and run the participant level again."
            ) from error
        model = Model(root, entities, desc, sidecar)
        if model.path(MEASURES[0]).is_file():
            yield model


def _list_folders(root: Path) -> list[str]:
    """Return the labels of the subjects who have a folder in a dataset, sorted."""
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.name[:4] == "sub-" and entry.is_dir()]
    return sorted(name.removeprefix("sub-") for name in names)


def find_map_sidecars(root: Path, *subjects: str) -> Iterator[Path]:
    """Yield the sidecars of the maps of subjects, or of all, sorted.

    The folder of a subject is read when it is their turn.
    """
    for subject in sorted(set(subjects)) or _list_folders(root):
        pattern = output_pattern(MEASURES[0], subject=glob.escape(subject), extension=".json")
        yield from sorted(root.glob(pattern))


def find_group_maps(root: Path) -> list[Path]:
    """Return the mean maps of all groups of an output dataset, sorted by name."""
    return sorted(root.glob(output_pattern("groupmean")))


def find_tests(root: Path, group_map: Path | None = None) -> list[Path]:
    """Return the files of the statistic of all tests in a dataset, or in the group of a map."""
    if group_map is None:
        return sorted(root.glob(output_pattern("modelstatistic")))
    start = _name_start(group_map)
    matches = group_map.parent.glob(PurePath(output_pattern("modelstatistic")).name)
    return sorted(path for path in matches if path.name.startswith(f"{start}{TEST}"))


def list_group_files(root: Path, group_map: Path) -> list[Path]:
    """Return all matrices and long tables of the group of a mean map, its tests included."""
    below = root / STATISTICS / group_map.parent.relative_to(root)
    pattern = f"{glob.escape(_name_start(group_map))}*.tsv"
    return [*sorted(group_map.parent.glob(pattern)), *sorted(below.glob(pattern))]


def _name_start(group_map: Path) -> str:
    output = CATALOGUE["groupmean"]
    return group_map.name.removesuffix(f"{output.variant}_{output.suffix}{output.extension}")


@dataclass(frozen=True, slots=True)
class RunCleaning:
    """How the series of a run were acquired and cleaned, as far as files beside them say so.

    Attributes
    ----------
    tr
        Sampling period (s); None where it is not known.
    high_pass, low_pass
        Cut-offs of the filters (Hz); None where there was none.
    design
        Table of the confounds that were regressed out; None where there is none.
    """

    tr: float | None = None
    high_pass: float | None = None
    low_pass: float | None = None
    design: Path | None = None

    def read_regressors(self, n_samples: int) -> Array:
        """Return the confounds, shape (n_samples, n_regressors), without the constant.

        Raises
        ------
        InputDataError
            The table has another number of samples.
        """
        from npi_bids.io.tables import read_numbers

        if self.design is None:
            return np.zeros((n_samples, 0))
        table = read_numbers(self.design)
        if len(table) != n_samples:
            raise InputDataError(
                f"<{self.design}> has {len(table)} rows; expected {n_samples}, one for each "
                "sample of the series."
            )
        regressors: Array = table.drop(columns="constant", errors="ignore").to_numpy(np.float64)
        return regressors


def read_cleaning(path: Path) -> RunCleaning:
    """Return how series were cleaned, from the sidecar and the design matrix beside them.

    Parameters
    ----------
    path
        Series of an output dataset, or any other, of which only the sampling period may be known.
    """
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        return RunCleaning()
    try:
        run = RunSidecar.read(sidecar)
    except InputDataError:  # the sidecar of another program
        return RunCleaning(tr=SeriesSidecar.read(sidecar).repetition_time)
    design = sibling(path, "timeseries", "design")
    return RunCleaning(
        run.repetition_time, run.high_pass, run.low_pass, design if design.is_file() else None
    )


def sibling(path: Path, output_name: str, other: str, measure: str = "") -> Path:
    """Return the path of another output of the same run, model, group or test.

    Parameters
    ----------
    path
        A file of an output dataset.
    output_name, other
        Names of its output and of the other output.
    measure
        Measure of the other matrix of a group, if it differs.
    """
    entities = dict(parse_name(path.name).entities)
    desc = entities.pop("desc").removesuffix(CATALOGUE[output_name].variant)
    if CATALOGUE[output_name].measure:
        del entities["meas"]
    entities |= {"meas": measure} if measure else {}
    target = output_path(other, entities, desc)
    if not CATALOGUE[other].below:
        return path.parent / target.name
    return path.parents[len(func_folder(entities).parts)] / target


def list_units(root: Path) -> list[str]:
    """Return the names of the status files of an output dataset, sorted."""
    folder = root / UNITS
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(name for name in names if name.startswith("sub-") and name.endswith(".json"))


def list_subjects_of_units(root: Path) -> list[str]:
    """Return the labels of all subjects with a unit in an output dataset, sorted."""
    encoded = {name.partition("_")[0].removeprefix("sub-") for name in list_units(root)}
    return sorted(unquote(label, errors="surrogatepass") for label in encoded)


def find_statuses(root: Path, *subjects: str, skip_damaged: bool = False) -> list[UnitStatus]:
    """Return the status of every unit of an output dataset, sorted by name.

    Parameters
    ----------
    root
        Root of the output dataset.
    *subjects
        Labels of the subjects whose units are read; all subjects if there are none.
    skip_damaged
        Whether to skip damaged files.

    Raises
    ------
    InputDataError
        A file is damaged.
    """
    statuses = []
    names = {entry.name for entry in fields(UnitStatus)}
    starts = {unit_name({"sub": subject}) for subject in subjects}
    for file_name in list_units(root):
        if starts and file_name.partition("_")[0] not in starts:
            continue
        path = root / UNITS / file_name
        try:
            content = read_json(path)
            # A later version may add fields.
            statuses.append(UnitStatus(**{k: v for k, v in content.items() if k in names}))
        except (InputDataError, TypeError) as error:
            if not skip_damaged:
                raise InputDataError(f"<{path}> is damaged ({error}); delete it.") from error
    return statuses
