"""The table of named atlases, ``data/atlases.json``: what they are and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import TypedDict


class NilearnSource(TypedDict, total=False):
    """An atlas that a function of nilearn provides.

    ``fetcher`` is its name in ``nilearn.datasets`` and ``options`` are its arguments, in which
    ``{scale}``, ``{seg}`` and ``{n_networks}`` are filled in. ``prefix`` is removed from the names
    of the regions; ``network_part`` is the part of a name, between underscores and counted from 0,
    that names the network of the region.
    """

    fetcher: str
    options: Mapping[str, str | int]
    prefix: str
    network_part: int


class TemplateFlowSource(TypedDict, total=False):
    """An atlas that TemplateFlow holds in the ``templates`` listed.

    ``atlas`` and ``desc`` are entities of its files; ``prefix`` and ``network_part`` are as for
    :class:`NilearnSource`.
    """

    templates: list[str]
    atlas: str
    desc: str
    resolution: str
    prefix: str
    network_part: int


class DownloadSource(TypedDict, total=False):
    """An atlas in one file on a server, which is stored in the cache of nilearn as ``file``.

    ``notice`` is shown before the file is downloaded.
    """

    file: str
    url: str
    sha256: str
    notice: str


class DatasetSource(TypedDict):
    """An atlas in a BIDS-atlas dataset: its ``atlas`` entity, and where the dataset comes from."""

    atlas: str
    origin: str


class AtlasEntry(TypedDict, total=False):
    """Entry of an atlas in ``data/atlases.json``.

    Exactly one of ``nilearn``, ``download``, ``dataset`` and ``spheres`` says where the atlas
    comes from in its own template, ``space``; ``templateflow`` says in which others it exists.
    """

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
    nilearn: NilearnSource
    templateflow: TemplateFlowSource
    download: DownloadSource
    dataset: DatasetSource
    spheres: bool


def name_archive_files(source: TemplateFlowSource, desc: str) -> tuple[str, str]:
    """Return the names of image and table of an atlas within a template of TemplateFlow.

    >>> name_archive_files({"atlas": "A", "resolution": "01"}, "10Parcels")
    ('res-01_atlas-A_desc-10Parcels_dseg.nii.gz', 'atlas-A_desc-10Parcels_dseg.tsv')
    """
    stem = f"atlas-{source['atlas']}_desc-{desc}_dseg"
    return f"res-{source['resolution']}_{stem}.nii.gz", f"{stem}.tsv"


def is_described(field: str) -> bool:
    """Tell whether a field of an entry is part of the BIDS description: in CamelCase.

    >>> is_described("License"), is_described("bibtex")
    (True, False)
    """
    return field[:1].isupper()


def read_atlas_table() -> dict[str, AtlasEntry]:
    """Return the entries of all named atlases, by name."""
    table: dict[str, AtlasEntry] = json.loads(
        (files("npi_bids.data") / "atlases.json").read_text(encoding="utf-8")
    )
    return table


def find_entry(name: str) -> AtlasEntry | None:
    """Return the entry of an atlas by the value of its ``atlas`` entity, or None.

    >>> find_entry("4S156Parcels")["space"]
    'MNI152NLin6Asym'
    """
    table = read_atlas_table()
    key = name if name in table else dataset_atlases().get(name, ("",))[0]
    return table.get(key)


def dataset_atlases() -> dict[str, tuple[str, str]]:
    """Return the atlases that come in BIDS-atlas datasets: the row and the scale of each.

    >>> dataset_atlases()["4S456Parcels"]
    ('4S', '456')
    """
    return {
        entry["dataset"]["atlas"].format(scale=scale): (name, str(scale))
        for name, entry in read_atlas_table().items()
        if "dataset" in entry
        for scale in entry.get("scales", ())
    }
