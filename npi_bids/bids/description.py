"""Files that describe the output dataset as a whole, as text by path."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npi_bids import __version__
from npi_bids.bids.atlases import AtlasSpec, atlas_description
from npi_bids.bids.layout import Dataset
from npi_bids.bids.outputs import BIDSIGNORE
from npi_bids.bids.sidecars import variant_words
from npi_bids.errors import InputDataError

_logger = logging.getLogger(__name__)

BIDS_VERSION = "1.11.1"
_CODE_URL = "https://github.com/npi-bids/npi-bids"
_NOT_STATED = "not stated by the input dataset"
_README = """# Effective connectivity by npi-bids

Directed, signed effective connectivity (EC) of the whole brain, made by npi-bids {version} from
preprocessed fMRI. Start with `sub-<label>.html` and `group.html`; `logs/CITATION.md` holds the
methods text.

- `sub-*/func/*_meas-npi_*_relmat.tsv`: EC, one row per source, one column per target.
- `sub-*/func/*_timeseries.tsv`: regional signals, `*Outliers*` what was censored, `*Design*` what
  was regressed out, `*Coverage_dseg.tsv` how much of each region the run covers.
- `tpl-*/anat`: the atlases used. `tpl-*/func`: the group.
- `derivatives/surrogates`: the fitted surrogates. `derivatives/statistics`: long tables of the
  group. `logs`: settings, quality and errors.

`n/a` in a matrix means that the region was not covered. Nothing is ever filled in.
"""


def dataset_files(datasets: Sequence[Dataset], strategies: Mapping[str, str]) -> dict[str, str]:
    """Return the text of the files at the root of the output dataset.

    Parameters
    ----------
    datasets
        The inputs.
    strategies
        Description of each denoising strategy, by its ``desc`` label.
    """
    return {
        "dataset_description.json": _json(dataset_description(datasets)),
        "README.md": _README.format(version=__version__),
        ".bidsignore": "\n".join(BIDSIGNORE) + "\n",
        "descriptions.tsv": _descriptions(strategies),
        "descriptions.json": _json(
            {
                "Description": "What the values of the desc entity mean.",
                "desc_id": {"Description": "Value of the desc entity, with its key."},
                "description": {"Description": "What files with this value hold."},
            }
        ),
        **_participants(datasets),
    }


def dataset_description(datasets: Sequence[Dataset]) -> dict[str, Any]:
    """Return the content of ``dataset_description.json``."""
    own: dict[str, Any] = {"Name": "npi-bids", "Version": __version__, "CodeURL": _CODE_URL}
    if container := os.environ.get("NPI_BIDS_CONTAINER"):
        own["Container"] = {"Type": container.partition("://")[0], "Tag": container}
    for dataset in datasets:
        if dataset.description.get("GeneratedBy", []) != dataset.generators:
            _logger.warning(
                "GeneratedBy in the dataset_description.json of <%s> is no list of objects with a "
                "Name; what is none is left out of that of the results", dataset.root,
            )  # fmt: skip
    inherited = [entry for dataset in datasets for entry in dataset.generators]
    license_ = _first(datasets, "License")
    sources = [{"URL": dataset.root.as_uri()} for dataset in datasets]
    content: dict[str, Any] = {
        "Name": "Effective connectivity by npi-bids",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": license_ if isinstance(license_, str) else _NOT_STATED,
        "GeneratedBy": [own, *inherited],
        "SourceDatasets": sources,
        "DatasetLinks": {dataset.link: dataset.root.as_uri() for dataset in datasets},
    }
    # The validator warns of fewer than two authors, and nobody is to be made up.
    authors = _first(datasets, "Authors")
    known = [str(name) for name in authors] if isinstance(authors, list) else [_NOT_STATED]
    content["Authors"] = (
        known if len(known) > 1 else [*known, f"npi-bids {__version__} (software)"]
    )
    return content


def input_programs(out_dir: Path) -> list[str]:
    """Return name and version of the programs that made the input of an output dataset."""
    made = _read(out_dir / "dataset_description.json").get("GeneratedBy", [])[1:]
    return [f"{entry.get('Name')} {entry.get('Version', '')}".strip() for entry in made]


def atlas_files(spec: AtlasSpec) -> dict[str, str]:
    """Return the description of an atlas at the root of the dataset."""
    return {f"atlas-{spec.name}_description.json": _json(atlas_description(spec))}


def _descriptions(strategies: Mapping[str, str]) -> str:
    variants = {
        "": "{}",
        "Coverage": "share of each region that the run covers",
        "Outliers": "samples left out of regional signals cleaned by: {}",
        "Raw": "regional signals before they were cleaned by: {}",
        "Design": "confounds regressed out: {}",
        "Strength": "what the map says of each region; signals cleaned by: {}",
        **{
            name: f"{what[0].lower()}{what[1:]}; signals cleaned by: {{}}"
            for name, what in variant_words().items()
            if name.startswith("Group")
        },
    }
    rows = [
        f"desc-{name}{variant}\t{text.format(about)}"
        for name, about in strategies.items()
        for variant, text in variants.items()
    ]
    return "\n".join(["desc_id\tdescription", *rows]) + "\n"


def descriptions_with(text: str, further: Mapping[str, str]) -> str:
    """Return the table of descriptions with further values, in the place of older ones."""
    lines = text.splitlines() or ["desc_id\tdescription"]
    kept = [line for line in lines if line.partition("\t")[0] not in further]
    return "\n".join([*kept, *(f"{key}\t{about}" for key, about in further.items())]) + "\n"


def model_descriptions(desc: str, contrast: str) -> dict[str, str]:
    """Return what the values of ``desc`` of a test over subjects mean.

    ``desc`` is that of the test's files without what they hold, such as ``simpleTestAge``.
    """
    return {
        f"desc-{desc}{name}": f"{what}; tested: {contrast}"
        for name, what in variant_words().items()
        if not name.startswith("Group")
    }


def _participants(datasets: Sequence[Dataset]) -> dict[str, str]:
    """Copy ``participants.tsv`` of the input, and describe its columns where nobody did."""
    for dataset in datasets:
        path = dataset.root / "participants.tsv"
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputDataError(
                f"<{path}> cannot be read: {error}. Save it as UTF-8, as BIDS asks for."
            ) from error
        columns = text.splitlines()[0].split("\t") if text else []
        sidecar = path.with_suffix(".json")
        known: dict[str, Any] = _read(sidecar)
        described = {
            column: known.get(column) or {"Description": "As in the input dataset."}
            for column in columns
        }
        about = {"Description": "Participants, copied from the input dataset."}
        return {"participants.tsv": text, "participants.json": _json({**about, **described})}
    return {}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _first(datasets: Sequence[Dataset], field: str) -> Any:
    return next((d.description[field] for d in datasets if d.description.get(field)), None)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
