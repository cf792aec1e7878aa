"""Find the pre-trained surrogate that a model starts from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from npi_bids.bids.names import PRETRAINED, pretrained_path
from npi_bids.cli.settings import Request
from npi_bids.errors import InputDataError
from npi_bids.io.pretrained import digest, read_facts
from npi_bids.workflows.subject import Task


def find_pretrained(path: Path, task: Task) -> Path:
    """Return the file for a task: the one that was given, or that of its group in a dataset.

    Raises
    ------
    InputDataError
        There is none, it is no pre-trained surrogate, or one of another atlas or sampling period.
    """
    path = path.expanduser()
    if path.is_dir():
        wanted = path / pretrained_path(task.entities, task.desc)
        if not wanted.is_file():
            there = sorted(found.name for found in (path / PRETRAINED).glob("*.safetensors"))
            raise InputDataError(
                f"--pretrained <{path}> holds no {wanted.name} in {PRETRAINED}; found "
                f"{', '.join(there) or 'nothing'}. Run 'npi-bids ... pretrain' with the same "
                "task, space, atlas and denoising, or name the file."
            )
        path = wanted
    facts = read_facts(path)
    n_regions = len(facts.get("Labels", ()))
    if facts.get("Atlas") != task.atlas.entities or n_regions != task.atlas.n_regions:
        raise InputDataError(
            f"--pretrained <{path}> was made with the atlas {_words(facts.get('Atlas'))} of "
            f"{n_regions} regions; --atlas is {_words(task.atlas.entities)} of "
            f"{task.atlas.n_regions}. Use the same."
        )
    return path


def with_digest(request: Request) -> Request:
    """Return the request with a digest of the pre-trained surrogates that it names."""
    path = Path(request.analysis.prior.pretrained).expanduser()
    if not request.analysis.prior.pretrained:
        return request
    if not path.exists():
        raise InputDataError(f"--pretrained <{path}> does not exist.")
    files = sorted((path / PRETRAINED).glob("*.safetensors")) if path.is_dir() else [path]
    whole = hashlib.sha256("".join(map(digest, files)).encode()).hexdigest()[:12]
    return replace(request, analysis=replace(request.analysis, prior_digest=whole))


def _words(entities: object) -> str:
    if not isinstance(entities, dict):
        return "(unknown)"
    return " ".join(f"{key}-{value}" for key, value in entities.items())
