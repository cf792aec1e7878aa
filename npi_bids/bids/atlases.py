"""Atlases by name: requests of the user, their entities, and their descriptions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TypedDict, cast

from npi_bids.bids.outputs import parse_name
from npi_bids.bids.runs import CIFTI, GIFTI
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.settings import option
from npi_bids.wording import join_items, suggest_word

_IMAGE = re.compile(r"\.nii(\.gz)?$|\.label\.gii$")
_SURFACE = re.compile(r"\.dlabel\.nii$|\.label\.gii$")
DEFAULT_ATLAS = "Schaefer2018:scale-100"
_SIDE = re.compile(r"[._-]?([lr]h|[LR]|left|right)$")
_FSAVERAGE = re.compile(r"fsaverage\d?")
# Volumes of the MMP have many names, and most are distributed without a table of regions.
_MMP = re.compile(r"glasser|mmp", re.IGNORECASE)
# Fields of the atlas table that are not part of its BIDS description.
_OURS = ("space", "segs", "scales", "about", "source", "cite", "bibtex")


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasSettings:
    """Which atlases to use."""

    atlas: tuple[str, ...] = option(
        (),
        "NAME[:seg-X][:scale-N] (see --list-atlases), an image with a table of region names "
        f"beside it, or several joined by + (default: {DEFAULT_ATLAS}, or the parcellation of "
        "regional series)",
        metavar="ATLAS",
        result=False,
    )
    offline: bool = option(
        False, "do not download anything; report missing atlases instead", result=False
    )


@dataclass(frozen=True, slots=True)
class AtlasSpec:
    """An atlas as requested by the user.

    Attributes
    ----------
    request
        The argument on the command line.
    name, seg, scale
        Values of the entities ``atlas``, ``seg``, ``scale``; the last two may be empty.
    path
        File supplied by the user, or empty.
    space
        Template space of the atlas; ``unknown`` where the file of a user does not state it.
    desc
        Label of the denoising of supplied series.
    parts
        The atlases that are combined (``A+B``); empty for a single one.
    """

    request: str
    name: str
    seg: str = ""
    scale: str = ""
    path: str = ""
    space: str = "unknown"
    desc: str = ""
    parts: tuple[AtlasSpec, ...] = ()

    @property
    def surface(self) -> str:
        """Format of the runs that match an atlas on the cortical surface; empty for a volume."""
        if not _SURFACE.search(self.path):
            return ""
        return GIFTI if self.path.endswith(".gii") else CIFTI

    @property
    def entities(self) -> dict[str, str]:
        """Entities that name the atlas in outputs."""
        pairs = {"atlas": self.name, "seg": self.seg, "scale": self.scale}
        return {key: value for key, value in pairs.items() if value}


def parse_atlas(request: str) -> AtlasSpec:
    """Parse an atlas request: ``NAME[:seg-X][:scale-N]`` or the path of an image.

    >>> parse_atlas("Schaefer2018:scale-200").entities
    {'atlas': 'Schaefer2018', 'seg': '7Networks', 'scale': '200'}

    Raises
    ------
    SettingsError
        There is no such atlas, or it does not come in that scale.
    InputDataError
        The file does not exist.
    """
    if "+" in request and not Path(request).expanduser().is_file():
        return _combined(request)
    if _IMAGE.search(request) or "/" in request:
        return _parse_file(request)
    name, *parts = request.split(":")
    table = read_atlas_table()
    match = {entry.lower(): entry for entry in table}.get(name.lower())
    if match is None:
        hint = suggest_word(name, table).replace(";", ",") or "."
        raise SettingsError(
            f"--atlas {request}: there is no atlas of that name{hint} Known atlases are "
            f"{join_items(table)} (see --list-atlases); a path of an image is accepted too."
        )
    chosen = dict(part.partition("-")[::2] for part in parts)
    entry = table[match]
    if unknown := sorted(set(chosen) - {"seg", "scale"}):
        raise SettingsError(
            f"--atlas {request}: unknown {join_items(unknown)}; use :seg-X and :scale-N."
        )
    seg = _choice(request, "seg", chosen.get("seg"), entry.get("segs", []))
    scale = _choice(
        request, "scale", chosen.get("scale"), [str(n) for n in entry.get("scales", [])]
    )
    return AtlasSpec(request, match, seg, scale, space=entry["space"])


def infer_atlas(regions: Mapping[str, str]) -> AtlasSpec:
    """Return the atlas that the entities of a table of regional series name."""
    chosen = {key: re.sub(r"[^A-Za-z0-9]", "", value) for key, value in regions.items()}
    return AtlasSpec(
        request=chosen["atlas"],
        name=chosen["atlas"],
        seg=chosen.get("seg", ""),
        scale=chosen.get("scale", ""),
        space=read_atlas_table().get(chosen["atlas"], {}).get("space", "unknown"),
        desc=chosen.get("desc", "series"),
    )


class AtlasEntry(TypedDict, total=False):
    """Entry of an atlas in ``data/atlases.json``."""

    Name: str
    License: str
    Authors: list[str]
    Species: str
    SampleSize: int
    ReferencesAndLinks: list[str]
    space: str
    segs: list[str]
    scales: list[int]
    about: str
    source: str
    cite: str
    bibtex: list[str]


def read_atlas_table() -> dict[str, AtlasEntry]:
    """Return the entries of all named atlases, by name."""
    table: dict[str, AtlasEntry] = json.loads(
        (files("npi_bids.data") / "atlases.json").read_text(encoding="utf-8")
    )
    return table


def atlas_description(spec: AtlasSpec) -> dict[str, object]:
    """Return the content of ``atlas-<name>_description.json``."""
    if spec.parts:
        return _description_of_parts(spec)
    entry = read_atlas_table().get(spec.name)
    if entry is None or spec.path:
        entry = entry or {
            "Name": spec.name,
            "License": "not stated; the atlas is a file supplied by the user",
            "Species": "Human",
            "ReferencesAndLinks": ["not stated"],
        }
    return {
        **{key: value for key, value in entry.items() if key not in _OURS},
        "TemplateDrawnIn": spec.space,
    }


def _description_of_parts(spec: AtlasSpec) -> dict[str, object]:
    """Join the descriptions of several atlases, each with its name."""
    descriptions = [atlas_description(part) for part in spec.parts]
    return {
        "Name": " and ".join(str(part["Name"]) for part in descriptions),
        "License": "; ".join(f"{part['Name']}: {part['License']}" for part in descriptions),
        "Species": "Human",
        "ReferencesAndLinks": [
            link for part in descriptions for link in cast("list[str]", part["ReferencesAndLinks"])
        ],
        "TemplateDrawnIn": spec.space,
    }


def _combined(request: str) -> AtlasSpec:
    parts = tuple(parse_atlas(part) for part in request.split("+") if part)
    spaces = [part.space for part in parts if part.space != "unknown"]
    return replace(
        parts[0],
        request=request,
        name="".join(part.name for part in parts),
        path="",
        space=(spaces or ["unknown"])[0],
        parts=parts,
    )


def _parse_file(request: str) -> AtlasSpec:
    path = Path(request).expanduser()
    if not _IMAGE.search(path.name):
        raise SettingsError(
            f"--atlas {request}: expected an image of labels (.nii, .nii.gz, .dlabel.nii or "
            ".label.gii)."
        )
    if not path.is_file():
        raise InputDataError(f"--atlas: the file <{path}> does not exist.")
    entities = parse_name(path.name).entities
    stem = _IMAGE.sub("", _SURFACE.sub("", path.name))
    surface = bool(_SURFACE.search(path.name))
    is_mmp = _MMP.search(stem) and "atlas" not in entities
    if is_mmp and not surface:
        space = read_atlas_table()["MMP"]["space"]
        return AtlasSpec(request, "MMP", path=str(path.resolve()), space=space)
    if surface and "hemi" not in entities:
        stem = _SIDE.sub("", stem)
    name = "MMP" if is_mmp else entities.get("atlas") or re.sub(r"[^A-Za-z0-9]", "", stem)
    return AtlasSpec(
        request,
        name,
        entities.get("seg", ""),
        entities.get("scale", ""),
        path=str(path.resolve()),
        space=entities.get(
            "tpl", entities.get("space", _guess_surface(path) if surface else "unknown")
        ),
    )


def _guess_surface(path: Path) -> str:
    """Return the most likely surface of a file without a space entity in its name."""
    match = _FSAVERAGE.search(path.name)
    return match[0] if match else "fsLR"


def _choice(request: str, part: str, chosen: str | None, options: list[str]) -> str:
    if not options:
        if chosen is not None:
            raise SettingsError(f"--atlas {request}: this atlas comes in one {part} only.")
        return ""
    if chosen is None:
        return options[0]
    if chosen not in options:
        raise SettingsError(
            f"--atlas {request}: {part} {chosen!r}; choose from {', '.join(options)}."
        )
    return chosen
