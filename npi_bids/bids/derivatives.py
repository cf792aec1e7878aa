"""Read an output dataset back: which models it holds, and what became of every unit."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePath, PurePosixPath

from npi_bids.bids.outputs import (
    CATALOGUE,
    MEASURES,
    STATISTICS,
    SURROGATES,
    TEST,
    UNITS,
    folder,
    output_path,
    parse_name,
    pattern_of,
    stem,
    unit_name,
)
from npi_bids.bids.sidecars import FittedModel, Links, ModelSidecar, RunSidecar
from npi_bids.bids.uris import path_of, regions_file
from npi_bids.errors import InputDataError
from npi_bids.io.files import read_json

DONE, EXCLUDED, FAILED = "done", "excluded", "failed"


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """What became of one unit and atlas.

    ``entities`` are those of the model's files, atlas included; ``reason`` says in words why a
    unit is excluded or failed; ``error`` is the class of the error, ``crash`` its file; ``files``
    are the sizes of what was written, by path relative to the output dataset; ``source`` is the
    input because of which the unit was refused (a folder ends in ``/``).
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

    def __post_init__(self) -> None:
        texts = (self.desc, self.status, self.reason, self.error, self.crash, self.source)
        entities = self.entities if isinstance(self.entities, dict) else {}
        if "sub" not in entities or not all(
            isinstance(text, str) for text in (*texts, *entities, *entities.values())
        ):
            raise TypeError("a field is no text, or there is no subject")
        if not isinstance(self.files, dict):
            raise TypeError("'files' is no object")

    @property
    def is_outdated(self) -> bool:
        """Whether the input because of which the unit was refused is gone, or can be read now."""
        if not self.source:
            return False
        readable = self.source.endswith("/") and os.access(self.source, os.R_OK | os.X_OK)
        return readable or not os.path.lexists(self.source)

    def is_whole(self, root: Path) -> bool:
        """Tell whether all files are there, none of them cut off."""
        try:
            return all((root / name).stat().st_size == size for name, size in self.files.items())
        except OSError:
            return False

    @property
    def name(self) -> str:
        """Name of the unit: its entities, joined."""
        return unit_name({**self.entities, "desc": self.desc})

    @property
    def path(self) -> Path:
        """Where the status lies, relative to the output dataset."""
        return Path(UNITS) / f"{self.name}.json"


@dataclass(frozen=True, slots=True)
class Model:
    """One fitted model in an output dataset.

    Attributes
    ----------
    root
        Of the output dataset.
    entities, desc
        Of its files.
    sidecar
        Of its map.
    """

    root: Path
    entities: dict[str, str]
    desc: str
    sidecar: ModelSidecar = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the model: the same as that of its unit."""
        return stem({**self.entities, "desc": self.desc})

    def path(self, kind: str) -> Path:
        """Return the file of a measure (or of weights, training) of this model."""
        return self.root / output_path(kind, self.entities, self.desc)

    @property
    def fit(self) -> FittedModel:
        """What the model says of itself."""
        return self.sidecar.fit

    @property
    def configuration(self) -> str:
        """Hash of all settings that shape the result."""
        return self.sidecar.links.configuration_hash

    def runs(self) -> list[tuple[Path, RunSidecar]]:
        """Return timeseries file and sidecar of each run behind the model.

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
        paths = [path_of(uri, self.root) for uri in sources]
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


def series_of_surrogate(path: Path) -> list[Path]:
    """Return the cleaned series that a saved surrogate was fitted to, by the sidecar beside it.

    Raises
    ------
    InputDataError
        The surrogate lies in no output dataset, or its series are not there.
    """
    whole = path.absolute()
    below = PurePosixPath(SURROGATES)
    roots = [p for p in whole.parents if whole.is_relative_to(p / below)]
    sidecar = whole.with_suffix(".json")
    if not roots or not sidecar.is_file():
        raise InputDataError(
            f"<{path}> lies in no output dataset: expected it below {SURROGATES}, with its "
            f"sidecar {sidecar.name} beside it."
        )
    found = [path_of(uri, roots[0]) for uri in Links.read(sidecar).sources]
    missing = [series for series in found if not series.is_file()]
    if missing or not found:
        what = f"<{missing[0]}>, which is not there" if missing else "no series"
        raise InputDataError(f"The sidecar <{sidecar}> names {what}.")
    return found


def find_models(root: Path, subject: str = "*", *, whole: bool = False) -> Iterator[Model]:
    """Yield the models of an output dataset, sorted by name.

    Parameters
    ----------
    root
        Of the output dataset.
    subject
        Label of one subject.
    whole
        Whether to pass over a model whose sidecar is damaged.

    Raises
    ------
    InputDataError
        A sidecar is damaged.
    """
    subject = subject if subject == "*" else glob.escape(subject)
    for path in sorted(root.glob(pattern_of(MEASURES[0], subject=subject, extension=".json"))):
        entities = dict(parse_name(path.name).entities)
        desc = entities.pop("desc")
        entities.pop("meas")
        try:
            sidecar = ModelSidecar.read(path)
        except InputDataError as error:
            if whole:
                continue
            raise InputDataError(
                f"{error} The result is damaged; delete it and run the participant level again."
            ) from error
        model = Model(root, entities, desc, sidecar)
        if model.path(MEASURES[0]).is_file():
            yield model


def find_group_maps(root: Path) -> list[Path]:
    """Return the mean maps of all groups of an output dataset, sorted by name."""
    return sorted(root.glob(pattern_of("groupmean")))


def find_tests(root: Path, group_map: Path | None = None) -> list[Path]:
    """Return the statistic of every test of a dataset, or of the group of one mean map, sorted."""
    if group_map is None:
        return sorted(root.glob(pattern_of("modelstatistic")))
    start = _start_of(group_map)
    found = group_map.parent.glob(PurePath(pattern_of("modelstatistic")).name)
    return sorted(path for path in found if path.name.startswith(f"{start}{TEST}"))


def files_of_group(root: Path, group_map: Path) -> list[Path]:
    """Return all matrices and long tables of the group of a mean map, its tests included."""
    below = root / STATISTICS / group_map.parent.relative_to(root)
    pattern = f"{glob.escape(_start_of(group_map))}*.tsv"
    return [*sorted(group_map.parent.glob(pattern)), *sorted(below.glob(pattern))]


def _start_of(group_map: Path) -> str:
    known = CATALOGUE["groupmean"]
    return group_map.name.removesuffix(f"{known.variant}_{known.suffix}{known.extension}")


def sibling(path: Path, kind: str, other: str, measure: str = "") -> Path:
    """Return another output of the same run, model, group or test.

    Parameters
    ----------
    path
        A file of an output dataset.
    kind, other
        What it is, and what is looked for.
    measure
        What the matrix of a group that is looked for is, where it is another.
    """
    entities = dict(parse_name(path.name).entities)
    desc = entities.pop("desc").removesuffix(CATALOGUE[kind].variant)
    if CATALOGUE[kind].measure:
        del entities["meas"]
    entities |= {"meas": measure} if measure else {}
    target = output_path(other, entities, desc)
    if not CATALOGUE[other].below:
        return path.parent / target.name
    return path.parents[len(folder(entities).parts)] / target


def find_statuses(root: Path, subject: str = "*", *, whole: bool = False) -> list[UnitStatus]:
    """Return what became of every unit of an output dataset, sorted by name.

    ``whole`` passes over those that are damaged, which are an InputDataError otherwise.
    """
    found = []
    known = {entry.name for entry in fields(UnitStatus)}
    for path in sorted((root / UNITS).glob(f"sub-{subject}_*.json")):
        try:
            content = read_json(path)
            # A later version may say more.
            found.append(UnitStatus(**{k: v for k, v in content.items() if k in known}))
        except (InputDataError, TypeError) as error:
            if not whole:
                raise InputDataError(f"<{path}> is damaged ({error}); delete it.") from error
    return found
