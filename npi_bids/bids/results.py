"""Read an output dataset back: which models it holds, and what became of every unit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npi_bids.bids.metadata import read_sidecar
from npi_bids.bids.names import MEASURES, UNITS, output_path, parse_name, stem
from npi_bids.errors import InputDataError

DONE, EXCLUDED, FAILED = "done", "excluded", "failed"


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """What became of one unit and atlas.

    ``entities`` are those of the model's files, atlas included; ``reason`` says in words why a
    unit is excluded or failed; ``error`` is the class of the error, ``crash`` its file; ``files``
    are the sizes of what was written, by path relative to the output dataset.
    """

    entities: dict[str, str]
    desc: str
    status: str
    configuration: str
    reason: str = ""
    error: str = ""
    crash: str = ""
    files: dict[str, int] = field(default_factory=dict)

    def is_whole(self, root: Path) -> bool:
        """Tell whether all files are there, none of them cut off."""
        try:
            return all((root / name).stat().st_size == size for name, size in self.files.items())
        except OSError:
            return False

    @property
    def name(self) -> str:
        """Name of the unit: its entities, joined."""
        return stem({**self.entities, "desc": self.desc})

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
        JSON of the EC matrix.
    """

    root: Path
    entities: dict[str, str]
    desc: str
    sidecar: dict[str, Any] = field(repr=False, default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the model: the same as that of its unit."""
        return stem({**self.entities, "desc": self.desc})

    def path(self, kind: str) -> Path:
        """Return the file of a measure (or of weights, training) of this model."""
        return self.root / output_path(kind, self.entities, self.desc)

    def runs(self) -> list[tuple[Path, dict[str, Any]]]:
        """Return timeseries file and sidecar of each run behind the model."""
        paths = [self.root / uri.removeprefix("bids::") for uri in self.sidecar["Sources"]]
        return [(path, read_sidecar(path.with_suffix(".json"))) for path in paths]


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
    pattern = f"sub-{subject}/**/func/*_meas-{MEASURES[0]}_*_relmat.json"
    for path in sorted(root.glob(pattern)):
        entities = dict(parse_name(path.name).entities)
        desc = entities.pop("desc")
        entities.pop("meas")
        try:
            sidecar = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            if whole:
                continue
            raise InputDataError(
                f"<{path}> is damaged ({error}); delete it and run the participant level again."
            ) from error
        model = Model(root, entities, desc, sidecar)
        if model.path(MEASURES[0]).is_file():
            yield model


def find_statuses(root: Path, subject: str = "*", *, whole: bool = False) -> list[UnitStatus]:
    """Return what became of every unit of an output dataset, sorted by name.

    ``whole`` passes over those that are damaged, which are an InputDataError otherwise.
    """
    found = []
    for path in sorted((root / UNITS).glob(f"sub-{subject}_*.json")):
        try:
            found.append(UnitStatus(**json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, TypeError) as error:
            if whole:
                continue
            raise InputDataError(f"<{path}> is damaged ({error}); delete it.") from error
    return found
