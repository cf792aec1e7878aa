"""Atlases by name: what the user wrote, the entities that follow, and what to say about each."""

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
from npi_bids.wording import join_words, suggest_word

_IMAGE = re.compile(r"\.nii(\.gz)?$|\.label\.gii$")
_SURFACE = re.compile(r"\.dlabel\.nii$|\.label\.gii$")
DEFAULT_ATLAS = "Schaefer2018:scale-100"
_SIDE = re.compile(r"[._-]?([lr]h|[LR]|left|right)$")
_FSAVERAGE = re.compile(r"fsaverage\d?")
# Volumes of the MMP go by many names, and most lie about without a table of regions.
_MMP = re.compile(r"glasser|mmp", re.IGNORECASE)
# Fields of the atlas table that belong to us and not into its BIDS description.
_OURS = ("space", "segs", "scales", "about", "source", "cite")


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
    """An atlas as the user asked for it.

    Attributes
    ----------
    asked
        The words on the command line.
    name, seg, scale
        Values of the entities ``atlas``, ``seg``, ``scale``; the last two may be empty.
    path
        File of the user's, or empty.
    space
        Template that the atlas is drawn in; ``unknown`` where a file of the user's does not say.
    desc
        For series that were given, how they were cleaned; as a label.
    parts
        The atlases that are put together (``A+B``); empty for a single one.
    """

    asked: str
    name: str
    seg: str = ""
    scale: str = ""
    path: str = ""
    space: str = "unknown"
    desc: str = ""
    parts: tuple[AtlasSpec, ...] = ()

    @property
    def surface(self) -> str:
        """The kind of run that an atlas on the cortical surface fits; empty for a volume."""
        if not _SURFACE.search(self.path):
            return ""
        return GIFTI if self.path.endswith(".gii") else CIFTI

    @property
    def entities(self) -> dict[str, str]:
        """Entities that name the atlas in outputs."""
        pairs = {"atlas": self.name, "seg": self.seg, "scale": self.scale}
        return {key: value for key, value in pairs.items() if value}


def locate(asked: str) -> AtlasSpec:
    """Read what the user wrote: ``NAME[:seg-X][:scale-N]`` or the path of an image.

    >>> locate("Schaefer2018:scale-200").entities
    {'atlas': 'Schaefer2018', 'seg': '7Networks', 'scale': '200'}

    Raises
    ------
    SettingsError
        There is no such atlas, or it does not come in that scale.
    InputDataError
        The file does not exist.
    """
    if "+" in asked and not Path(asked).expanduser().is_file():
        return _combined(asked)
    if _IMAGE.search(asked) or "/" in asked:
        return _own_file(asked)
    name, *parts = asked.split(":")
    table = known_atlases()
    match = {known.lower(): known for known in table}.get(name.lower())
    if match is None:
        hint = suggest_word(name, table).replace(";", ",") or "."
        raise SettingsError(
            f"--atlas {asked}: there is no atlas of that name{hint} Known atlases are "
            f"{join_words(table)} (see --list-atlases); a path of an image is accepted too."
        )
    chosen = dict(part.partition("-")[::2] for part in parts)
    facts = table[match]
    if unknown := sorted(set(chosen) - {"seg", "scale"}):
        raise SettingsError(
            f"--atlas {asked}: unknown {join_words(unknown)}; use :seg-X and :scale-N."
        )
    seg = _choice(asked, "seg", chosen.get("seg"), facts.get("segs", []))
    scale = _choice(asked, "scale", chosen.get("scale"), [str(n) for n in facts.get("scales", [])])
    return AtlasSpec(asked, match, seg, scale, space=facts["space"])


def given_atlas(regions: Mapping[str, str]) -> AtlasSpec:
    """Return the atlas that the entities of a table of regional series speak of."""
    chosen = {key: re.sub(r"[^A-Za-z0-9]", "", value) for key, value in regions.items()}
    return AtlasSpec(
        asked=chosen["atlas"],
        name=chosen["atlas"],
        seg=chosen.get("seg", ""),
        scale=chosen.get("scale", ""),
        space=known_atlases().get(chosen["atlas"], {}).get("space", "unknown"),
        desc=chosen.get("desc", "series"),
    )


class AtlasEntry(TypedDict, total=False):
    """What ``data/atlases.json`` says of an atlas."""

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


def known_atlases() -> dict[str, AtlasEntry]:
    """Return the facts of the named atlases, by name."""
    table: dict[str, AtlasEntry] = json.loads(
        (files("npi_bids.data") / "atlases.json").read_text(encoding="utf-8")
    )
    return table


def atlas_description(spec: AtlasSpec) -> dict[str, object]:
    """Return the content of ``atlas-<name>_description.json``."""
    if spec.parts:
        return _description_of_parts(spec)
    facts = known_atlases().get(spec.name)
    if facts is None or spec.path:
        facts = facts or {
            "Name": spec.name,
            "License": "not stated; the atlas is a file of the user's",
            "Species": "Human",
            "ReferencesAndLinks": ["not stated"],
        }
    return {
        **{key: value for key, value in facts.items() if key not in _OURS},
        "TemplateDrawnIn": spec.space,
    }


def _description_of_parts(spec: AtlasSpec) -> dict[str, object]:
    """Put the descriptions of several atlases together, each under its name."""
    about = [atlas_description(part) for part in spec.parts]
    return {
        "Name": " and ".join(str(facts["Name"]) for facts in about),
        "License": "; ".join(f"{facts['Name']}: {facts['License']}" for facts in about),
        "Species": "Human",
        "ReferencesAndLinks": [
            link for facts in about for link in cast("list[str]", facts["ReferencesAndLinks"])
        ],
        "TemplateDrawnIn": spec.space,
    }


def _combined(asked: str) -> AtlasSpec:
    parts = tuple(locate(part) for part in asked.split("+") if part)
    spaces = [part.space for part in parts if part.space != "unknown"]
    return replace(
        parts[0],
        asked=asked,
        name="".join(part.name for part in parts),
        path="",
        space=(spaces or ["unknown"])[0],
        parts=parts,
    )


def _own_file(asked: str) -> AtlasSpec:
    path = Path(asked).expanduser()
    if not _IMAGE.search(path.name):
        raise SettingsError(
            f"--atlas {asked}: expected an image of labels (.nii, .nii.gz, .dlabel.nii or "
            ".label.gii)."
        )
    if not path.is_file():
        raise InputDataError(f"--atlas: the file <{path}> does not exist.")
    entities = parse_name(path.name).entities
    stem = _IMAGE.sub("", _SURFACE.sub("", path.name))
    surface = bool(_SURFACE.search(path.name))
    known = _MMP.search(stem) and "atlas" not in entities
    if known and not surface:
        space = known_atlases()["MMP"]["space"]
        return AtlasSpec(asked, "MMP", path=str(path.resolve()), space=space)
    if surface and "hemi" not in entities:
        stem = _SIDE.sub("", stem)
    name = "MMP" if known else entities.get("atlas") or re.sub(r"[^A-Za-z0-9]", "", stem)
    return AtlasSpec(
        asked,
        name,
        entities.get("seg", ""),
        entities.get("scale", ""),
        path=str(path.resolve()),
        space=entities.get(
            "tpl", entities.get("space", _surface_of(path) if surface else "unknown")
        ),
    )


def _surface_of(path: Path) -> str:
    """Return the surface that a file without a space in its name most likely lies on."""
    found = _FSAVERAGE.search(path.name)
    return found[0] if found else "fsLR"


def _choice(asked: str, part: str, chosen: str | None, options: list[str]) -> str:
    if not options:
        if chosen is not None:
            raise SettingsError(f"--atlas {asked}: this atlas comes in one {part} only.")
        return ""
    if chosen is None:
        return options[0]
    if chosen not in options:
        raise SettingsError(
            f"--atlas {asked}: {part} {chosen!r}; choose from {', '.join(options)}."
        )
    return chosen
