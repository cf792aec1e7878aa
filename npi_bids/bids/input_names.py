"""Names of input files: format, entities, spelling by old versions of fMRIPrep, and defects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePath

from npi_bids.bids.entities import ENTITY_ORDER, find_key
from npi_bids.bids.outputs import CATALOGUE, RUN, BIDSName, is_label, parse_name, printable
from npi_bids.bids.runs import CIFTI, GIFTI, NIFTI, TIMESERIES
from npi_bids.wording import suggest_word

# Entities that identify the regions in the columns of a table of series.
ATLAS_ENTITIES = ("atlas", "seg", "scale", "desc")
ENDINGS = {
    "_bold.nii.gz": NIFTI,
    "_bold.nii": NIFTI,
    "_bold.dtseries.nii": CIFTI,
    "_bold.func.gii": GIFTI,
    "_timeseries.tsv": TIMESERIES,
}
PREPROCESSED = "preproc"  # the description of the images that are used by default
# Tables over time whose columns are not regions.
_NO_SERIES = re.compile(r"confounds|.*(Outliers|Design|Coverage)$")
# All of those that npi-bids writes itself; signals before denoising are for visual inspection.
_OWN_TABLES = tuple(
    output.variant
    for output in CATALOGUE.values()
    if output.level == RUN and output.suffix == "timeseries" and output.variant
)
# fMRIPrep 1.0 and 1.1 wrote `sub-01_task-rest_bold_space-MNI_preproc.nii.gz`.
_OLD = re.compile(
    r"(?P<run>sub-.*)_bold_space-(?P<space>[A-Za-z0-9]+)_(?P<kind>[a-z]+)(?P<ext>\..*)"
)
_OLD_KINDS = {
    "preproc": f"_desc-{PREPROCESSED}_bold",
    "brainmask": "_desc-brain_mask",
}
# Names are parsed again and again while the runs of a folder are completed, and not afterwards.
_CACHED_NAMES = 1024
_OLD_ENDINGS = ("_preproc.nii.gz", "_preproc.nii")


@lru_cache(maxsize=_CACHED_NAMES)
def modern_name(name: str) -> str:
    """Return the name that a later fMRIPrep would give to a file of version 1.0 or 1.1.

    >>> modern_name("sub-01_task-rest_bold_space-T1w_preproc.nii.gz")
    'sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz'
    >>> modern_name("sub-01_task-rest_bold_confounds.tsv")
    'sub-01_task-rest_desc-confounds_regressors.tsv'
    """
    if "_bold_" not in name:
        return name
    if name.endswith("_bold_confounds.tsv"):
        return name.replace("_bold_confounds.tsv", "_desc-confounds_regressors.tsv")
    old = _OLD.fullmatch(name)
    if old is None or old["kind"] not in _OLD_KINDS:
        return name
    return f"{old['run']}_space-{old['space']}{_OLD_KINDS[old['kind']]}{old['ext']}"


@lru_cache(maxsize=_CACHED_NAMES)
def read_name(name: str) -> BIDSName:
    """Parse a file name, including names written by old versions of fMRIPrep."""
    return parse_name(modern_name(name))


def find_format(name: str, *, own: bool = False) -> str | None:
    """Return the format of a file that may be an input, according to its name, or None.

    Parameters
    ----------
    name
        Name of the file. Any description is accepted, because filters can ask for any.
    own
        Whether npi-bids wrote the dataset, whose tables of other signals are no input.

    >>> find_format("sub-1_task-rest_desc-smoothAROMAnonaggr_bold.nii.gz")
    'nifti'
    >>> find_format("sub-1_task-rest_desc-simpleRaw_timeseries.tsv", own=True)
    """
    if not name.startswith("sub-") or not name.endswith((*ENDINGS, *_OLD_ENDINGS)):
        return None
    modern = modern_name(name)
    input_format = next((named for ending, named in ENDINGS.items() if modern.endswith(ending)),
                        None)  # fmt: skip
    if input_format == GIFTI:  # a pair of hemispheres is represented by the left one
        return GIFTI if "_hemi-L_" in modern else None
    if input_format == TIMESERIES:
        desc = dict(split_name(name)).get("desc", "")
        other = _NO_SERIES.fullmatch(desc) or (own and desc.endswith(_OWN_TABLES))
        return None if other else TIMESERIES
    return input_format


def detect_input_format(name: str) -> str | None:
    """Return the input format of a file that is used by default, or None if it is not.

    A pair of hemispheres is represented by the left one.

    >>> detect_input_format("sub-1_task-rest_space-fsLR_den-91k_bold.dtseries.nii")
    'cifti'
    >>> detect_input_format("sub-1_task-rest_desc-confounds_timeseries.tsv")
    """
    input_format = find_format(name)
    if input_format is None:
        return None
    desc = dict(split_name(name)).get("desc", "")
    return input_format if is_default(input_format, desc) else None


def is_default(input_format: str, desc: str) -> bool:
    """Tell whether files of a format and a description (or none) are used by default."""
    if input_format == TIMESERIES:
        return True
    return desc == PREPROCESSED or (not desc and input_format != NIFTI)


@lru_cache(maxsize=_CACHED_NAMES)
def split_name(name: str) -> list[tuple[str, str]]:
    """Return the entity and the label of each part of the name of an input, as written.

    The entity is empty for a part without a key. The extension is recognized by the known endings,
    so that a label with a dot is kept intact.
    """
    name = modern_name(name)
    end = max((len(ending) for ending in ENDINGS if name.endswith(ending)), default=0)
    parts = name[: len(name) - end].split("_") if end else name.partition(".")[0].split("_")[:-1]
    return [(key, label) if dash else ("", part) for part in parts
            for key, dash, label in [part.partition("-")]]  # fmt: skip


def name_problem(path: PurePath, input_format: str, folders: Mapping[str, str]) -> str:
    """Return why the name of an input cannot be used, or an empty text.

    Parameters
    ----------
    path
        Path of the input.
    input_format
        Format of the input, from :func:`detect_input_format`.
    folders
        Labels of the folders that contain it, by entity: ``sub`` and, if present, ``ses``.
    """
    pairs = split_name(path.name)
    keys = [key for key, _ in pairs]
    entities = dict(pairs)
    for key, label in pairs:
        problem = _part_problem(key, label, input_format) or (
            f"has the entity {printable(key)} twice" if keys.count(key) > 1 else ""
        )
        if problem:
            stop = "" if problem.endswith("?") else "."
            return f"The name of <{printable(path)}> {problem}{stop} Rename the file."
    for key in ("sub", "ses"):
        if entities.get(key) != folders.get(key):
            in_name, in_folder = (
                f"{key}-{printable(labels[key])}" if key in labels else f"no {key} entity"
                for labels in (entities, folders)
            )
            in_folder = in_folder if key in folders else f"a folder without {key}-<label>"
            return (
                f"The file <{printable(path)}> has {in_name} in its name but lies in {in_folder}; "
                "expected the same label in both. Move or rename the file."
            )
    return ""


def _part_problem(key: str, label: str, input_format: str) -> str:
    """Return what is wrong with one entity of a name, or an empty text."""
    if not key:
        return (
            f"has the part '{printable(label)}'; expected pairs of entity and label, such as "
            "task-rest"
        )
    if key not in ENTITY_ORDER:
        # XCP-D writes stat-mean; the outputs leave it out.
        if input_format == TIMESERIES and find_key(key) and is_label(label):
            return ""
        hint = suggest_word(key, ENTITY_ORDER)
        return f"has the unknown entity '{printable(key)}', which BIDS does not define{hint}"
    loose = input_format == TIMESERIES and key in ATLAS_ENTITIES and "." not in label
    if is_label(label) or (loose and label):
        return ""
    return (
        f"has {key}-{printable(label)}, which is no BIDS label; expected letters (A-Z, a-z) and "
        "digits only"
    )


def split_entities(path: PurePath, input_format: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the entities of a run, and those that identify the regions in its columns.

    The latter are empty for an image, whose ``desc`` and ``hemi`` are dropped. Entities that the
    outputs cannot have (``stat-mean`` of XCP-D) are dropped from those of a table.
    """
    entities = dict(split_name(path.name))
    if input_format != TIMESERIES:
        return {key: v for key, v in entities.items() if key not in ("desc", "hemi")}, {}
    regions = {key: entities[key] for key in ATLAS_ENTITIES if key in entities}
    if "atlas" not in regions:  # XCP-D names its atlases by `seg` alone
        regions["atlas"] = regions.pop("seg", "custom")
    run_entities = {
        key: label
        for key, label in entities.items()
        if key in ENTITY_ORDER and key not in ATLAS_ENTITIES
    }
    return run_entities, regions
