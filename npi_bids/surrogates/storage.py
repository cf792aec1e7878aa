"""Storage of fitted and pre-trained surrogates: safetensors for numbers, JSON for metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict, cast

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from npi_bids.errors import InputDataError
from npi_bids.io.files import digest, replacing
from npi_bids.io.json_records import Record, entry, flat
from npi_bids.io.tables import write_rows
from npi_bids.records import Array
from npi_bids.surrogates.base import Surrogate, TrainSettings
from npi_bids.surrogates.families import WHOLE_BRAIN, families, import_function
from npi_bids.surrogates.group_prior import GroupPrior, SummedMoments, Tensors
from npi_bids.surrogates.ou_model_selection import Choices
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.pretraining import Pretrained
from npi_bids.surrogates.prior_variance import Variances
from npi_bids.surrogates.shared_delays import SharedDelays

PRETRAINED_TYPE = "npi-bids pre-trained surrogate"
_SCHEME = "towards all subjects, by the variance between them"
_METADATA_FIELD = "npi_bids"  # field in the metadata of the safetensors file
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class PretrainedKind(Record):
    """Type of a safetensors file, as stated in the JSON beside it."""

    kind: str = entry(
        "Type of the file, which distinguishes it from other surrogates.", default=""
    )
    description: str = entry("Description of the type in a sentence.", default="")
    scheme: str = entry("How subjects are shrunk towards the group.", default="")


@dataclass(frozen=True, kw_only=True)
class PretrainedLinks(Record):
    """Sources of a pre-trained surrogate."""

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
    choices: Choices = entry("Choices made on the data of the group.")
    penalty: float = entry("Ridge penalty of the linear model.")
    linear_is_var: bool = entry("Whether the linear part is a VAR.")
    networks: tuple[str, ...] = entry("Names of the networks.")
    held_out_errors: Mapping[str, float] = entry("Mean squared errors on held-out samples.")
    variance_between_subjects: Mapping[str, float] = entry(
        "Variance between subjects of an entry of the drift and of a weight of a VAR, from halves "
        "of the scans of so many subjects, and mean squared error of the VAR."
    )
    shared_delays: Mapping[str, float] = entry(
        "Delays of regions that the subjects share (in the table of delays beside this file): "
        "spread (samples), log evidence, and log likelihood of subjects that were held out, over "
        "no delays and over a VAR (nats); empty without delays.",
        factory=dict,
    )


class Stored(Protocol):
    """A fitted model whose numbers can be stored."""

    def tensors(self) -> dict[str, Array]:
        """Return the fitted numbers by name."""

    def fields(self) -> dict[str, object]:
        """Return what loading requires besides the tensors."""


class _Metadata(TypedDict, total=False):
    """Metadata of a stored surrogate."""

    format: int
    family: str
    labels: list[str]
    tr: float
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class StoredSurrogate:
    """A loaded surrogate with its metadata.

    Attributes
    ----------
    surrogate
        The fitted model.
    family
        Name of its family, as for ``--surrogate``.
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
    """Write a fitted surrogate to one file for :func:`load_surrogate`.

    Parameters
    ----------
    surrogate
        The fitted model.
    path
        ``*.safetensors``; the metadata of the file hold the other fields.
    family
        Name of its family.
    labels
        Names of the regions of the model, in its order.
    tr
        Sampling period (s).
    """
    metadata = {
        "format": _FORMAT,
        "family": family,
        "labels": list(labels),
        "tr": tr,
        "facts": surrogate.fields(),
    }
    write_tensors(surrogate.tensors(), path, {_METADATA_FIELD: json.dumps(metadata)})


def load_surrogate(path: str | Path) -> Surrogate:
    """Load a surrogate that a run saved; its predictions are bitwise identical.

    Parameters
    ----------
    path
        ``*_surrogate.safetensors`` below ``derivatives/surrogates`` of an output dataset.

    Returns
    -------
    Surrogate
        ``surrogate.step(history)`` predicts the next sample from histories of the shape
        (n_windows, n_lags, n_regions), in the units of the cleaned series that it was fitted to.
        :func:`read_surrogate` also returns the names of its regions.

    Raises
    ------
    InputDataError
        If the file is not a surrogate, is damaged, or contains a model that is not a predictor.
    """
    return read_surrogate(path).surrogate


def read_surrogate(path: str | Path) -> StoredSurrogate:
    """Load a surrogate as :func:`load_surrogate` does, with the names of its regions."""
    path = Path(path)
    metadata = _read_metadata(path)
    name = str(metadata.get("family"))
    if name == WHOLE_BRAIN:
        raise InputDataError(
            f"<{path}> holds the parameters of a whole-brain model, which is not a one-step "
            "predictor and cannot be perturbed as a surrogate; use the map that the run wrote."
        )
    if name not in families():
        raise InputDataError(
            f"<{path}> holds a surrogate of the family {name}, which is not installed; "
            f"available are {', '.join(families())}. Install the package that provides it."
        )
    try:
        surrogate: Surrogate = import_function(families()[name].load)(
            read_tensors(path), metadata["facts"]
        )
        stored = StoredSurrogate(surrogate, name, tuple(metadata["labels"]), float(metadata["tr"]))
        _check_regions(stored)
        return stored
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputDataError(
            f"<{path}> is damaged: the metadata of its {name} surrogate do not match its tensors "
            f"({type(error).__name__}: {error}). Run the participant again."
        ) from error


def _check_regions(stored: StoredSurrogate) -> None:
    if len(stored.labels) != stored.surrogate.n_regions:
        raise ValueError(
            f"{len(stored.labels)} names of regions for {stored.surrogate.n_regions} regions"
        )


def _read_metadata(path: Path) -> _Metadata:
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
        metadata = json.loads(header[_METADATA_FIELD])
    except (SafetensorError, OSError) as error:
        raise InputDataError(f"<{path}> cannot be read as safetensors: {error}") from error
    except (KeyError, ValueError) as error:
        raise InputDataError(
            f"<{path}> does not state which surrogate it contains; expected a "
            "*_surrogate.safetensors file written by npi-bids 0.1 or later. A pre-trained "
            "surrogate of a group can only be used with --pretrained."
        ) from error
    if not isinstance(metadata, dict) or metadata.get("format") != _FORMAT:
        raise InputDataError(
            f"<{path}> was written by another version of npi-bids, in a format that this one does "
            "not know; use the version that wrote it, or run the participant again."
        )
    return cast("_Metadata", metadata)


def write_tensors(
    tensors: dict[str, Array], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write arrays by name as safetensors, with metadata."""
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
        If the file is not a safetensors file.
    """
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise InputDataError(f"<{path}> cannot be read as safetensors: {error}") from error


def write_pretrained(
    pretrained: Pretrained,
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
    pretrained
        The pre-trained surrogate.
    path
        ``*.safetensors``.
    labels
        Names of the regions.
    tr
        Sampling period (s).
    settings
        Resolved training settings.
    links
        Its sources.
    """
    prior = pretrained.prior
    PretrainedSidecar(
        kind=PretrainedKind(
            kind=PRETRAINED_TYPE,
            description="Surrogate of a group: the mean of the prior of each subject's surrogate.",
            scheme=_SCHEME,
        ),
        links=links,
        labels=tuple(labels),
        repetition_time=tr,
        surrogate=settings.surrogate,
        training=asdict(settings),
        subjects=pretrained.members,
        number_of_subjects=len(pretrained.members),
        folds=len(pretrained.folds),
        choices=prior.choices,
        penalty=prior.penalty,
        linear_is_var=prior.linear_is_var,
        networks=tuple(sorted(pretrained.networks)),
        held_out_errors=pretrained.errors,
        variance_between_subjects=_variance_fields(pretrained.variances),
        shared_delays=_delay_fields(prior.delays),
    ).write(path.with_suffix(".json"))
    tensors: dict[str, Array] = {
        "drift": prior.process.drift,
        "diffusion": prior.process.diffusion,
        "weights": prior.weights,
        "sums": np.stack([fold.sums for fold in pretrained.folds]),
        "counts": np.stack([fold.counts for fold in pretrained.folds]),
    }
    if prior.delays is not None:
        tensors |= {"delays": prior.delays.mean, "delay_errors": prior.delays.error}
        _write_delays(prior.delays, delay_table_path(path), labels, tr)
    for name, weights in pretrained.networks.items():
        tensors |= {f"networks.{name}.{key}": value for key, value in weights.items()}
    write_tensors(tensors, path)


def delay_table_path(path: Path) -> Path:
    """Return the path of the table of delays beside a pre-trained surrogate.

    >>> delay_table_path(Path("task-rest_desc-gsr_surrogate.safetensors")).name
    'task-rest_desc-gsr_delays.tsv'
    """
    return path.with_name(path.name.removesuffix("_surrogate.safetensors") + "_delays.tsv")


def _write_delays(delays: SharedDelays, path: Path, labels: Sequence[str], tr: float) -> None:
    """Write the delays in seconds as a table that --delay-map reads."""
    rows = [
        {"name": label, "delay": tr * mean, "delay_sd": tr * error}
        for label, mean, error in zip(labels, delays.mean, delays.error, strict=True)
        if np.isfinite(error)
    ]
    write_rows(rows, path)


def _delay_fields(delays: SharedDelays | None) -> dict[str, float]:
    if delays is None:
        return {}
    return {
        "sd": delays.sd,
        "evidence": delays.evidence,
        "benefit": delays.benefit,
        "over_var": delays.over_var,
    }


def _read_delays(tensors: Mapping[str, Array], fields: Mapping[str, float]) -> SharedDelays | None:
    if not fields:
        return None
    return SharedDelays(tensors["delays"], tensors["delay_errors"], **fields)


def _variance_fields(variances: Variances) -> dict[str, float]:
    return {
        "drift": variances.drift,
        "weights": variances.weights,
        "error": variances.error,
        "subjects": variances.n_subjects,
    }


def _read_variances(fields: Mapping[str, float]) -> Variances:
    return Variances(fields["drift"], fields["weights"], fields["error"], int(fields["subjects"]))


def read_pretrained_sidecar(path: Path) -> PretrainedSidecar:
    """Read the sidecar of a pre-trained surrogate.

    Raises
    ------
    InputDataError
        If it is missing or describes something else.
    """
    json_path = path.with_suffix(".json")
    if path.suffix != ".safetensors" or not path.is_file() or not json_path.is_file():
        raise InputDataError(
            f"--pretrained <{path}>: expected a .safetensors file with its .json beside it, as "
            "'npi-bids ... pretrain' writes them into derivatives/pretrained."
        )
    header = PretrainedKind.read(json_path)
    if header.kind != PRETRAINED_TYPE:
        raise InputDataError(
            f"--pretrained <{path}> is not a pre-trained surrogate of a group ({json_path.name} "
            f"states {header.kind or header.description or 'no type'}); create one with "
            "'npi-bids ... pretrain'."
        )
    if header.scheme != _SCHEME:
        raise InputDataError(
            f"--pretrained <{path}> was made by an earlier version of npi-bids, which shrank each "
            "subject towards a mean of the others, by an amount chosen by prediction; that can "
            "reverse the differences between subjects. Maps are now shrunk towards the mean of "
            "all subjects, by the variance between them; run 'npi-bids ... pretrain' again."
        )
    try:
        return PretrainedSidecar.read(json_path)
    except InputDataError as error:
        raise InputDataError(
            f"--pretrained <{path}> is damaged ({error}); pre-train again."
        ) from error


def read_pretrained(path: Path, labels: Sequence[str], tr: float, surrogate: str) -> Pretrained:
    """Read a pre-trained surrogate for the series of a subject.

    Parameters
    ----------
    path
        ``*.safetensors``.
    labels, tr
        Regions and sampling period of the series.
    surrogate
        Expected family of surrogates.

    Raises
    ------
    InputDataError
        If the file is missing or damaged, or has other regions, another sampling period or another
        surrogate.
    """
    sidecar = read_pretrained_sidecar(path)
    check_compatibility(path, sidecar, labels, tr, surrogate)
    tensors = read_tensors(path)
    try:
        prior = GroupPrior(
            process=OU(tensors["drift"], tensors["diffusion"]),
            choices=sidecar.choices,
            weights=tensors["weights"],
            penalty=sidecar.penalty,
            linear_is_var=sidecar.linear_is_var,
            delays=_read_delays(tensors, sidecar.shared_delays),
        )
        folds = tuple(map(SummedMoments, tensors["sums"], tensors["counts"]))
        networks: dict[str, Tensors] = {
            name: {
                key.removeprefix(f"networks.{name}."): value
                for key, value in tensors.items()
                if key.startswith(f"networks.{name}.")
            }
            for name in sidecar.networks
        }
        return Pretrained(
            prior,
            folds,
            dict(sidecar.subjects),
            networks,
            dict(sidecar.held_out_errors),
            _read_variances(sidecar.variance_between_subjects),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputDataError(
            f"--pretrained <{path}> is damaged ({type(error).__name__}: {error}); pre-train again."
        ) from error


def describe_origin(path: Path, *, subject: str) -> dict[str, object]:
    """Return the sidecar fields that describe the pre-trained surrogate of a result.

    Parameters
    ----------
    path
        The pre-trained surrogate.
    subject
        Label of the subject of the result.
    """
    sidecar = read_pretrained_sidecar(path)
    return {
        "file": path.name,
        "digest": digest(path),
        "number_of_subjects": sidecar.number_of_subjects,
        "subject_included": subject in sidecar.subjects,
        "subject_left_out": False,
        "folds": sidecar.folds,
        "precision_symmetric": sidecar.choices.precision[0],
        "precision_antisymmetric": sidecar.choices.precision[1],
        "note": "The map is shrunk towards that of the group with everybody in it, and is not an "
        "independent observation for a test over subjects. Prediction and the agreement of "
        "halves, by their deviations from the map of the group, are measured without the "
        "subject's own part of the group.",
    }


def check_compatibility(
    path: Path, sidecar: PretrainedSidecar, labels: Sequence[str], tr: float, surrogate: str
) -> None:
    """Raise an InputDataError if a pre-trained surrogate does not match the series."""
    expected = list(sidecar.labels)
    if expected != list(labels):
        differing = sorted(set(expected) ^ set(labels))[:4]
        raise InputDataError(
            f"--pretrained <{path}> has {len(expected)} regions, these series have {len(labels)}: "
            f"it was made with another atlas (first differing: {differing or 'their order'}). Use "
            "the same --atlas."
        )
    if not abs(sidecar.repetition_time - tr) <= 1e-3:
        raise InputDataError(
            f"--pretrained <{path}> has a sampling period of {sidecar.repetition_time} s, "
            f"these runs {tr:g} s; pre-train on runs with the same sampling period."
        )
    if sidecar.surrogate != surrogate:
        raise InputDataError(
            f"--pretrained <{path}> holds the surrogate {sidecar.surrogate}, but --surrogate is "
            f"{surrogate}; use the same."
        )
