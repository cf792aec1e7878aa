"""Fitted and pre-trained surrogates on disk: safetensors for the numbers, JSON for the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from npi_bids.errors import InputDataError
from npi_bids.io.files import read_json, replacing, write_json
from npi_bids.records import Array
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.group_prior import GroupPrior, Tensors, Total
from npi_bids.surrogates.lagged_evidence import LaggedEvidence
from npi_bids.surrogates.ou_model_selection import Choices
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.pretraining import Pretrained

KIND = "npi-bids pre-trained surrogate"


def write_tensors(tensors: dict[str, Array], path: Path) -> None:
    """Write arrays by name as safetensors."""
    with replacing(path) as temporary:
        save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()}, temporary
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
    facts: Mapping[str, Any],
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
    facts
        Further fields of the JSON.
    """
    prior = found.prior
    content: dict[str, Any] = {
        "Kind": KIND,
        "Description": "Surrogate of a group: the mean of the prior of each subject's surrogate.",
        **facts,
        "Labels": list(labels),
        "RepetitionTime": tr,
        "Surrogate": settings.surrogate,
        "Training": asdict(settings),
        "Subjects": found.members,
        "NumberOfSubjects": len(found.members),
        "Folds": len(found.folds),
        "Choices": asdict(prior.choices),
        "Penalty": prior.penalty,
        "LinearIsVar": prior.linear_is_var,
        "Networks": sorted(found.networks),
        "HeldOutErrors": found.errors,
    }
    write_json(path.with_suffix(".json"), content)
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


def read_facts(path: Path) -> dict[str, Any]:
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
    facts = read_json(sidecar)
    if facts.get("Kind") != KIND:
        raise InputDataError(
            f"--pretrained <{path}> is no pre-trained surrogate of a group ({sidecar.name} says "
            f"{facts.get('Kind') or facts.get('Description') or 'nothing of it'}); make one with "
            "'npi-bids ... pretrain'."
        )
    return facts


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
            choices=_choices(facts["Choices"]),
            weights=tensors["weights"],
            penalty=float(facts["Penalty"]),
            linear_is_var=bool(facts["LinearIsVar"]),
        )
        folds = tuple(map(Total, tensors["sums"], tensors["counts"]))
        networks: dict[str, Tensors] = {
            name: {
                key.removeprefix(f"networks.{name}."): value
                for key, value in tensors.items()
                if key.startswith(f"networks.{name}.")
            }
            for name in facts["Networks"]
        }
        errors = {key: float(value) for key, value in facts["HeldOutErrors"].items()}
        return Pretrained(prior, folds, dict(facts["Subjects"]), networks, errors)
    except (KeyError, TypeError, ValueError) as error:
        raise InputDataError(
            f"--pretrained <{path}> is damaged ({type(error).__name__}: {error}); pre-train again."
        ) from error


def origin(path: Path, *, subject: str, left_out: bool) -> dict[str, Any]:
    """Return what a sidecar says of the pre-trained surrogate behind a result.

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
        "File": path.name,
        "Digest": digest(path),
        "NumberOfSubjects": facts["NumberOfSubjects"],
        "SubjectIncluded": subject in facts["Subjects"],
        "SubjectLeftOut": left_out,
        "Folds": facts["Folds"],
        "PrecisionSymmetric": facts["Choices"]["precision"][0],
        "PrecisionAntisymmetric": facts["Choices"]["precision"][1],
        "Note": "The map is shrunk towards that of the group; halves are compared by their "
        "deviations from it. The precision, two numbers, was chosen on subjects of the group.",
    }


def digest(path: Path) -> str:
    """Return a short hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def check_fits(
    path: Path, facts: Mapping[str, Any], labels: Sequence[str], tr: float, surrogate: str
) -> None:
    """Raise an InputDataError where a pre-trained surrogate is not for these series."""
    known = list(facts.get("Labels", ()))
    if known != list(labels):
        unlike = sorted(set(known) ^ set(labels))[:4]
        raise InputDataError(
            f"--pretrained <{path}> has {len(known)} regions, these series have {len(labels)}: it "
            f"was made with another atlas (first differing: {unlike or 'their order'}). Use the "
            "same --atlas."
        )
    if abs(float(facts.get("RepetitionTime", 0)) - tr) > 1e-3:
        raise InputDataError(
            f"--pretrained <{path}> has a sampling period of {facts.get('RepetitionTime')} s, "
            f"these runs {tr:g} s; pre-train on runs of the same."
        )
    if facts.get("Surrogate") != surrogate:
        raise InputDataError(
            f"--pretrained <{path}> holds the surrogate {facts.get('Surrogate')}, --surrogate "
            f"{surrogate} is asked for; use the same."
        )


def _choices(stored: Mapping[str, Any]) -> Choices:
    return Choices(
        whitening=tuple(stored["whitening"]),
        memory=tuple(stored["memory"]),
        precision=(float(stored["precision"][0]), float(stored["precision"][1])),
        evidence=LaggedEvidence(**{key: value if value is not None else float("nan")
                                   for key, value in stored["evidence"].items()}),
        n_windows=int(stored["n_windows"]),
        error=float(stored["error"]),
        var_error=_number(stored["var_error"]),
    )  # fmt: skip


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
