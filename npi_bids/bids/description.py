"""Files that describe the output dataset as a whole."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from npi_bids import __version__
from npi_bids.bids.atlases import AtlasSpec, atlas_description
from npi_bids.bids.derivatives import find_tests
from npi_bids.bids.layout import Dataset
from npi_bids.bids.outputs import (
    BIDSIGNORE,
    CATALOGUE,
    CONTRAST,
    CONTRAST_OUTPUTS,
    MEASURES,
    RUN_TABLES,
    TEST,
    output_pattern,
    parse_name,
)
from npi_bids.bids.sidecars import ContrastSidecar
from npi_bids.errors import InputDataError

_logger = logging.getLogger(__name__)

BIDS_VERSION = "1.11.1"
_CODE_URL = "https://github.com/npi-bids/npi-bids"
_DESC = re.compile(r"_desc-([A-Za-z0-9]+)_")
_README = """# Effective connectivity by npi-bids

Directed, signed effective connectivity (EC) of the whole brain, estimated by npi-bids {version}
from preprocessed fMRI. Start with `sub-<label>.html` and `group.html`; `logs/CITATION.md` contains
the methods text.

- `{map}`: EC, one row per source, one column per target.
- `sub-*/func/*_timeseries.tsv`: regional signals, `*Outliers*` what was censored, `*Design*` what
  was regressed out, `*Coverage_dseg.tsv` how much of each region the run covers.
- `tpl-*/anat`: the atlases used. `tpl-*/func`: the group.
- `derivatives/surrogates`: the fitted surrogates. `derivatives/statistics`: long tables of the
  group. `logs`: settings, quality and errors.

`n/a` in a matrix means that the region was not covered. Missing values are never imputed.
"""


def dataset_files(
    out_dir: Path,
    datasets: Sequence[Dataset],
    strategies: Mapping[str, str],
    roots: Sequence[Path] = (),
    requested: Collection[str] = (),
) -> dict[str, str]:
    """Return the text of the files at the root of the output dataset.

    Parameters
    ----------
    out_dir
        Root of the output dataset, which may already contain results.
    datasets
        The inputs.
    strategies
        Description of each denoising strategy, by its ``desc`` label.
    roots
        Folders whose ``participants.tsv`` is copied, the first that has one; by default those of
        the inputs.
    requested
        Labels of the participants whose files are looked at, or none for all; what the existing
        table says of the others stays.
    """
    planned = (*RUN_TABLES, "strength")
    return {
        "dataset_description.json": _json(dataset_description(datasets)),
        "README.md": _README.format(
            version=__version__, map=output_pattern(MEASURES[0]).replace("/**", "")
        ),
        ".bidsignore": "\n".join(BIDSIGNORE) + "\n",
        "descriptions.tsv": descriptions(out_dir, strategies, planned, requested),
        "descriptions.json": _json(
            {
                "Description": "What the values of the desc entity mean.",
                "desc_id": {"Description": "Value of the desc entity, with its key."},
                "description": {"Description": "Content of files with this value."},
            }
        ),
        **_participants(roots or [dataset.root for dataset in datasets]),
    }


def dataset_description(datasets: Sequence[Dataset]) -> dict[str, object]:
    """Return the content of ``dataset_description.json``."""
    program: dict[str, object] = {"Name": "npi-bids", "Version": __version__, "CodeURL": _CODE_URL}
    if container := os.environ.get("NPI_BIDS_CONTAINER"):
        program["Container"] = {"Type": container.partition("://")[0], "Tag": container}
    for dataset in datasets:
        if dataset.description.get("GeneratedBy", []) != dataset.generators:
            _logger.warning(
                "GeneratedBy in the dataset_description.json of <%s> is not a list of objects "
                "with a Name; invalid entries are omitted from the description of the results",
                dataset.root,
            )  # fmt: skip
    inherited = [entry for dataset in datasets for entry in dataset.generators]
    license_ = _first(datasets, "License")
    sources = [{"URL": dataset.root.as_uri()} for dataset in datasets]
    content: dict[str, object] = {
        "Name": "Effective connectivity by npi-bids",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        **({"License": license_} if isinstance(license_, str) else {}),
        "GeneratedBy": [program, *inherited],
        "SourceDatasets": sources,
        "DatasetLinks": {dataset.link: dataset.root.as_uri() for dataset in datasets},
    }
    content["Authors"] = _authors(_first(datasets, "Authors"), inherited)
    return content


def _authors(stated: object, inherited: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the authors of the input; where it states less than two, also the programs.

    No author may be invented, and the validator warns of fewer than two.
    """
    names = [str(name) for name in stated] if isinstance(stated, list) else []
    if len(names) > 1:
        return names
    programs = [f"npi-bids {__version__} (software)"]
    if not names:
        programs += [
            f"{entry['Name']} {entry.get('Version', '')}".strip() + " (software)"
            for entry in inherited
            if "Name" in entry
        ]
    return list(dict.fromkeys([*names, *programs]))


def input_programs(out_dir: Path) -> list[str]:
    """Return the name and version of the programs that generated the input of a dataset."""
    entries = _read(out_dir / "dataset_description.json").get("GeneratedBy", [])[1:]
    return [f"{entry.get('Name')} {entry.get('Version', '')}".strip() for entry in entries]


def atlas_files(spec: AtlasSpec) -> dict[str, str]:
    """Return the description of an atlas at the root of the dataset."""
    return {f"atlas-{spec.name}_description.json": _json(atlas_description(spec))}


def descriptions(
    out_dir: Path,
    strategies: Mapping[str, str] | None = None,
    planned: Sequence[str] = (),
    requested: Collection[str] = (),
) -> str:
    """Return the table that explains each value of ``desc`` in an output dataset.

    Parameters
    ----------
    out_dir
        Root of the output dataset.
    strategies
        Descriptions of the denoising strategies, by label; those in the existing table where None.
    planned
        Names of the outputs that will be written, in addition to existing files.
    requested
        As in :func:`dataset_files`.
    """
    described = {**_stated_strategies(out_dir), **(strategies or {})}
    used = _used_labels(out_dir, requested)
    used |= {
        strategy + CATALOGUE[name].variant for strategy in strategies or () for name in planned
    }
    tests = _tested(out_dir)
    rows = []
    for strategy, description in described.items():
        denoising = description[:1].upper() + description[1:].removesuffix(".") + "."
        labels = {f"{strategy}{end}": f"{what}. {denoising}" for end, what in _variants().items()}
        for test, contrast in tests.items():
            labels |= {
                f"{test}{CATALOGUE[name].variant}": f"{CATALOGUE[name].what}. Tested: {contrast}."
                for name in CONTRAST_OUTPUTS
                if test.startswith(strategy)
            }
        labels = {strategy: denoising} | labels
        rows += [f"desc-{label}\t{text}" for label, text in labels.items()
                 if label in used or label in (strategies or ())]  # fmt: skip
    return "\n".join(["desc_id\tdescription", *rows]) + "\n"


def _variants() -> dict[str, str]:
    """Return the endings added to the label of a strategy, with their meaning, except tests."""
    return {
        output.variant: output.what
        for output in CATALOGUE.values()
        if output.variant and output.level != CONTRAST
    }


def _used_labels(out_dir: Path, requested: Collection[str]) -> set[str]:
    """Return all values of ``desc`` in the file names of a dataset.

    With requested participants, all labels of the existing table are kept.
    """
    used = set(_stated_rows(out_dir)) if requested else set()
    for _, folders, names in os.walk(out_dir):
        folders[:] = [name for name in folders if not is_other_subject(name, requested)]
        used |= {match[1] for name in names if (match := _DESC.search(name))}
    return used


def is_other_subject(name: str, subjects: Collection[str]) -> bool:
    """Tell whether a folder is that of a subject who is not among some; no subjects mean all.

    >>> is_other_subject("sub-02", ["01"]), is_other_subject("func", ["01"])
    (True, False)
    >>> is_other_subject("sub-02", [])
    False
    """
    return bool(subjects) and name[:4] == "sub-" and name[4:] not in subjects


def _stated_rows(out_dir: Path) -> dict[str, str]:
    """Return the text of each label in the table of a dataset."""
    path = out_dir / "descriptions.tsv"
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.is_file() else []
    return dict(line.removeprefix("desc-").partition("\t")[::2] for line in lines)


def _stated_strategies(out_dir: Path) -> dict[str, str]:
    """Return the strategies that the table of a dataset describes."""
    rows = _stated_rows(out_dir)
    variants = _variants()

    def is_variant(label: str) -> bool:
        ends = (label.removeprefix(other) for other in rows if other and label != other)
        return any(end != label and (end in variants or end.startswith(TEST)) for end in ends)

    return {label: text for label, text in rows.items() if label and not is_variant(label)}


def _tested(out_dir: Path) -> dict[str, str]:
    """Return the contrast of each test in a dataset, by the beginning of its labels."""
    variant = CATALOGUE["modelstatistic"].variant
    return {
        parse_name(path.name).entities["desc"].removesuffix(variant): ContrastSidecar.read(
            path.with_suffix(".json")
        ).test.contrast
        for path in find_tests(out_dir)
    }


def _participants(roots: Iterable[Path]) -> dict[str, str]:
    """Copy ``participants.tsv`` of the input, and describe the columns that lack a description."""
    for root in roots:
        path = root / "participants.tsv"
        if not path.is_file():
            continue
        title = "Participants, copied from the input dataset."
        text, sidecar = _copied_table(path, title)
        return {"participants.tsv": text, "participants.json": sidecar}
    return {}


def sessions_file(subject: str) -> str:
    """Return the path of the table of the sessions of a subject in a dataset.

    >>> sessions_file("01")
    'sub-01/sub-01_sessions.tsv'
    """
    return f"sub-{subject}/sub-{subject}_sessions.tsv"


def session_files(roots: Sequence[Path], subjects: Iterable[str]) -> dict[str, str]:
    """Return the tables of the sessions of subjects, copied from the first input that has them.

    Raises
    ------
    InputDataError
        A table cannot be read.
    """
    files: dict[str, str] = {}
    for name in map(sessions_file, sorted(subjects)):
        for root in roots:
            if (root / name).is_file():
                title = "Sessions of the participant, copied from the input dataset."
                text, sidecar = _copied_table(root / name, title)
                files |= {name: text, name.replace(".tsv", ".json"): sidecar}
                break
    return files


def _copied_table(path: Path, title: str) -> tuple[str, str]:
    """Return a table of the input and its sidecar, which describes every column."""
    text = _read_text(path)
    columns = text.splitlines()[0].split("\t") if text else []
    described = _read(path.with_suffix(".json"))
    content = {
        column: described.get(column) or {"Description": "As in the input dataset."}
        for column in columns
    }
    return text, _json({"Description": title, **content})


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputDataError(
            f"<{path}> cannot be read: {error}. Save it as UTF-8, as BIDS requires."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _first(datasets: Sequence[Dataset], field: str) -> object:
    return next((d.description[field] for d in datasets if d.description.get(field)), None)


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
