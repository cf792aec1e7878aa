"""Fitted and pre-trained surrogates on disk: safetensors for the numbers, JSON for the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict, cast

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from npi_bids.errors import InputDataError
from npi_bids.io.files import replacing
from npi_bids.io.json_records import Record, entry, flat
from npi_bids.records import Array
from npi_bids.surrogates.base import Surrogate, TrainSettings
from npi_bids.surrogates.families import WHOLE_BRAIN, families, imported
from npi_bids.surrogates.group_prior import GroupPrior, Tensors, Total
from npi_bids.surrogates.ou_model_selection import Choices
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.pretraining import Pretrained

KIND = "npi-bids pre-trained surrogate"
_ABOUT = "npi_bids"  # field of the safetensors' own metadata
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class PretrainedKind(Record):
    """What a JSON beside a safetensors file says that it is."""

    kind: str = entry("What the file holds, to tell it from other surrogates.", default="")
    description: str = entry("The same in a sentence.", default="")


@dataclass(frozen=True, kw_only=True)
class PretrainedLinks(Record):
    """What a pre-trained surrogate comes from."""

    atlas: Mapping[str, str] = entry("Entities of the atlas.", factory=dict)
    node_files: tuple[str, ...] = entry("BIDS URI of the table of regions.", default=())
    sources: tuple[str, ...] = entry("BIDS URIs of the regional signals.", default=())


@dataclass(frozen=True, kw_only=True)
class PretrainedSidecar(Record):
    """JSON beside a pre-trained surrogate."""

    kind: PretrainedKind = flat()
    links: PretrainedLinks = flat()
    labels: tuple[str, ...] = entry("Names of the regions, in order.")
    repetition_time: float = entry("Sampling period (s).")
    surrogate: str = entry("Family of the surrogate.")
    training: Mapping[str, Any] = entry("Settings of the training.", block=True)
    subjects: Mapping[str, int] = entry("Fold of each subject.")
    number_of_subjects: int = entry("Subjects that it was trained on.")
    folds: int = entry("Parts of the group that are left out in turn.")
    choices: Choices = entry("What the data of the group chose.")
    penalty: float = entry("Ridge penalty of the linear model.")
    linear_is_var: bool = entry("Whether the linear part is a VAR.")
    networks: tuple[str, ...] = entry("Names of the networks.")
    held_out_errors: Mapping[str, float] = entry("Mean squared errors on held-out samples.")


class Stored(Protocol):
    """A fitted model whose numbers can be stored."""

    def tensors(self) -> dict[str, Array]:
        """Return the fitted numbers by name."""

    def facts(self) -> dict[str, object]:
        """Return what loading needs beside the tensors."""


class _Metadata(TypedDict, total=False):
    """What a file says of its surrogate."""

    format: int
    family: str
    labels: list[str]
    tr: float
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class StoredSurrogate:
    """A surrogate that was loaded, and what it is of.

    Attributes
    ----------
    surrogate
        The fitted model.
    family
        Its name, as ``--surrogate`` takes it.
    labels
        Names of the regions of the model, in its order.
    tr
        Sampling period (s).
    """

    surrogate: Surrogate
    family: str
    labels: tuple[str, ...]
    tr: float


def save_surrogate(
    surrogate: Stored, path: Path, *, family: str, labels: Sequence[str], tr: float
) -> None:
    """Write a fitted surrogate into one file that :func:`load_surrogate` reads.

    Parameters
    ----------
    surrogate
        The fitted model.
    path
        ``*.safetensors``; what else is said of the model stands in the metadata of the file.
    family
        Name of its family.
    labels
        Names of the regions of the model, in its order.
    tr
        Sampling period (s).
    """
    about = {
        "format": _FORMAT,
        "family": family,
        "labels": list(labels),
        "tr": tr,
        "facts": surrogate.facts(),
    }
    write_tensors(surrogate.tensors(), path, {_ABOUT: json.dumps(about)})


def load_surrogate(path: str | Path) -> Surrogate:
    """Load a surrogate that a run saved; it predicts what it predicted then, to the last bit.

    Parameters
    ----------
    path
        ``*_surrogate.safetensors`` below ``derivatives/surrogates`` of an output dataset.

    Returns
    -------
    Surrogate
        ``surrogate.step(history)`` predicts the next sample from histories of the shape
        (n_windows, n_lags, n_regions), in the units of the cleaned series that it was fitted to.
        :func:`read_surrogate` tells the names of its regions too.

    Raises
    ------
    InputDataError
        The file is none, is damaged, or holds a model that predicts no next sample.
    """
    return read_surrogate(path).surrogate


def read_surrogate(path: str | Path) -> StoredSurrogate:
    """Load a surrogate with the names of its regions; as :func:`load_surrogate`."""
    path = Path(path)
    about = _read_about(path)
    name = str(about.get("family"))
    if name == WHOLE_BRAIN:
        raise InputDataError(
            f"<{path}> holds the parameters of a whole-brain model, which predicts no next sample "
            "and cannot be perturbed as a surrogate; use the map that the run wrote."
        )
    if name not in families():
        raise InputDataError(
            f"<{path}> holds a surrogate of the family {name}, which is not installed; known are "
            f"{', '.join(families())}. Install the package that brings it."
        )
    try:
        surrogate: Surrogate = imported(families()[name].load)(read_tensors(path), about["facts"])
        found = StoredSurrogate(surrogate, name, tuple(about["labels"]), float(about["tr"]))
        _check_regions(found)
        return found
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputDataError(
            f"<{path}> is damaged: what it says of its {name} surrogate does not fit its numbers "
            f"({type(error).__name__}: {error}). Run the participant again."
        ) from error


def _check_regions(found: StoredSurrogate) -> None:
    if len(found.labels) != found.surrogate.n_regions:
        raise ValueError(
            f"{len(found.labels)} names of regions for {found.surrogate.n_regions} regions"
        )


def _read_about(path: Path) -> _Metadata:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        about = json.loads(metadata[_ABOUT])
    except (SafetensorError, OSError) as error:
        raise InputDataError(f"<{path}> cannot be read as safetensors: {error}") from error
    except (KeyError, ValueError) as error:
        raise InputDataError(
            f"<{path}> does not say which surrogate its numbers are; expected a "
            "*_surrogate.safetensors that npi-bids wrote, 0.1 or later. A pre-trained surrogate "
            "of a group is taken by --pretrained alone."
        ) from error
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        raise InputDataError(
            f"<{path}> was written by another version of npi-bids, in a format that this one does "
            "not know; use the version that wrote it, or run the participant again."
        )
    return cast("_Metadata", about)


def write_tensors(
    tensors: dict[str, Array], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write arrays by name as safetensors, and words of metadata with them."""
    with replacing(path) as temporary:
        save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            temporary,
            metadata=metadata,
        )


def read_tensors(path: Path) -> dict[str, Array]:
    """Read arrays written by :func:`write_tensors`.

    Raises
    ------
    InputDataError
        The file is not a safetensors file.
    """
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise InputDataError(f"<{path}> cannot be read as safetensors: {error}") from error


def write_pretrained(
    found: Pretrained,
    path: Path,
    *,
    labels: Sequence[str],
    tr: float,
    settings: TrainSettings,
    links: PretrainedLinks,
) -> None:
    """Write a pre-trained surrogate: ``path`` and its JSON.

    Parameters
    ----------
    found
        What came out of the group.
    path
        ``*.safetensors``.
    labels
        Names of the regions.
    tr
        Sampling period (s).
    settings
        How it was trained, resolved.
    links
        What it comes from.
    """
    prior = found.prior
    PretrainedSidecar(
        kind=PretrainedKind(
            kind=KIND,
            description="Surrogate of a group: the mean of the prior of each subject's surrogate.",
        ),
        links=links,
        labels=tuple(labels),
        repetition_time=tr,
        surrogate=settings.surrogate,
        training=asdict(settings),
        subjects=found.members,
        number_of_subjects=len(found.members),
        folds=len(found.folds),
        choices=prior.choices,
        penalty=prior.penalty,
        linear_is_var=prior.linear_is_var,
        networks=tuple(sorted(found.networks)),
        held_out_errors=found.errors,
    ).write(path.with_suffix(".json"))
    tensors: dict[str, Array] = {
        "drift": prior.process.drift,
        "diffusion": prior.process.diffusion,
        "weights": prior.weights,
        "sums": np.stack([fold.sums for fold in found.folds]),
        "counts": np.stack([fold.counts for fold in found.folds]),
    }
    for name, weights in found.networks.items():
        tensors |= {f"networks.{name}.{key}": value for key, value in weights.items()}
    write_tensors(tensors, path)


def read_facts(path: Path) -> PretrainedSidecar:
    """Return the JSON of a pre-trained surrogate.

    Raises
    ------
    InputDataError
        There is none, or it is that of something else.
    """
    sidecar = path.with_suffix(".json")
    if path.suffix != ".safetensors" or not path.is_file() or not sidecar.is_file():
        raise InputDataError(
            f"--pretrained <{path}>: expected a .safetensors file with its .json beside it, as "
            "'npi-bids ... pretrain' writes them into derivatives/pretrained."
        )
    stated = PretrainedKind.read(sidecar)
    if stated.kind != KIND:
        raise InputDataError(
            f"--pretrained <{path}> is no pre-trained surrogate of a group ({sidecar.name} says "
            f"{stated.kind or stated.description or 'nothing of it'}); make one with "
            "'npi-bids ... pretrain'."
        )
    try:
        return PretrainedSidecar.read(sidecar)
    except InputDataError as error:
        raise InputDataError(
            f"--pretrained <{path}> is damaged ({error}); pre-train again."
        ) from error


def read_pretrained(path: Path, labels: Sequence[str], tr: float, surrogate: str) -> Pretrained:
    """Read a pre-trained surrogate for the series of some subject.

    Parameters
    ----------
    path
        ``*.safetensors``.
    labels, tr
        Regions and sampling period of the series.
    surrogate
        That is wanted.

    Raises
    ------
    InputDataError
        The file is damaged, is none, or is that of other regions, another sampling period or
        another surrogate.
    """
    facts = read_facts(path)
    check_fits(path, facts, labels, tr, surrogate)
    tensors = read_tensors(path)
    try:
        prior = GroupPrior(
            process=OU(tensors["drift"], tensors["diffusion"]),
            choices=facts.choices,
            weights=tensors["weights"],
            penalty=facts.penalty,
            linear_is_var=facts.linear_is_var,
        )
        folds = tuple(map(Total, tensors["sums"], tensors["counts"]))
        networks: dict[str, Tensors] = {
            name: {
                key.removeprefix(f"networks.{name}."): value
                for key, value in tensors.items()
                if key.startswith(f"networks.{name}.")
            }
            for name in facts.networks
        }
        errors = dict(facts.held_out_errors)
        return Pretrained(prior, folds, dict(facts.subjects), networks, errors)
    except (KeyError, TypeError, ValueError) as error:
        raise InputDataError(
            f"--pretrained <{path}> is damaged ({type(error).__name__}: {error}); pre-train again."
        ) from error


def origin(path: Path, *, subject: str, left_out: bool) -> dict[str, object]:
    """Return what a sidecar says of the pre-trained surrogate behind a result, by field.

    Parameters
    ----------
    path
        The surrogate.
    subject
        Label of the subject of the result.
    left_out
        Whether its own part of the group was taken out.
    """
    facts = read_facts(path)
    return {
        "file": path.name,
        "digest": digest(path),
        "number_of_subjects": facts.number_of_subjects,
        "subject_included": subject in facts.subjects,
        "subject_left_out": left_out,
        "folds": facts.folds,
        "precision_symmetric": facts.choices.precision[0],
        "precision_antisymmetric": facts.choices.precision[1],
        "note": "The map is shrunk towards that of the group; halves are compared by their "
        "deviations from it. The precision, two numbers, was chosen on subjects of the group.",
    }


def digest(path: Path) -> str:
    """Return a short hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def check_fits(
    path: Path, facts: PretrainedSidecar, labels: Sequence[str], tr: float, surrogate: str
) -> None:
    """Raise an InputDataError where a pre-trained surrogate is not for these series."""
    known = list(facts.labels)
    if known != list(labels):
        unlike = sorted(set(known) ^ set(labels))[:4]
        raise InputDataError(
            f"--pretrained <{path}> has {len(known)} regions, these series have {len(labels)}: it "
            f"was made with another atlas (first differing: {unlike or 'their order'}). Use the "
            "same --atlas."
        )
    if not abs(facts.repetition_time - tr) <= 1e-3:
        raise InputDataError(
            f"--pretrained <{path}> has a sampling period of {facts.repetition_time} s, "
            f"these runs {tr:g} s; pre-train on runs of the same."
        )
    if facts.surrogate != surrogate:
        raise InputDataError(
            f"--pretrained <{path}> holds the surrogate {facts.surrogate}, --surrogate "
            f"{surrogate} is asked for; use the same."
        )
