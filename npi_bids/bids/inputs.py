"""Kinds of input files: how each is known by its name, and which is taken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import PurePath

from npi_bids.bids.names import ENTITY_ORDER, BIDSName, is_label, parse_name, printable
from npi_bids.errors import InputDataError

NIFTI, CIFTI, GIFTI, TIMESERIES = "nifti", "cifti", "gifti", "timeseries"
FOLDER = "folder"  # a folder that cannot be read, in the place of the runs that it may hold
INPUT_TYPES = ("auto", "fmriprep", "xcp_d", "timeseries")
FILE_FORMATS = ("auto", NIFTI, CIFTI, GIFTI)
# Folders below `derivatives/` of a raw dataset that each type of input is looked for in.
DERIVATIVE_FOLDERS = {
    "auto": ("fmriprep*",),
    "fmriprep": ("fmriprep*",),
    "xcp_d": ("xcp*",),
    "timeseries": ("giga_connectome*", "xcp*", "*"),
}
# Entities that say which regions the columns of a table of series are.
ATLAS_ENTITIES = ("atlas", "seg", "scale", "desc")

_ENDINGS = {
    "_bold.nii.gz": NIFTI,
    "_bold.nii": NIFTI,
    "_bold.dtseries.nii": CIFTI,
    "_bold.func.gii": GIFTI,
    "_timeseries.tsv": TIMESERIES,
}
# Tables over time whose columns are no regions.
_NO_SERIES = re.compile(r"confounds|.*(Outliers|Design|Coverage)$")
# fMRIPrep 1.0 and 1.1 wrote `sub-01_task-rest_bold_space-MNI_preproc.nii.gz`.
_OLD = re.compile(
    r"(?P<run>sub-.*)_bold_space-(?P<space>[A-Za-z0-9]+)_(?P<kind>[a-z]+)(?P<ext>\..*)"
)
_OLD_KINDS = {
    "preproc": "_desc-preproc_bold",
    "brainmask": "_desc-brain_mask",
}


def modern_name(name: str) -> str:
    """Return the name that a later fMRIPrep would give a file of version 1.0 or 1.1.

    >>> modern_name("sub-01_task-rest_bold_space-T1w_preproc.nii.gz")
    'sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz'
    >>> modern_name("sub-01_task-rest_bold_confounds.tsv")
    'sub-01_task-rest_desc-confounds_regressors.tsv'
    """
    if name.endswith("_bold_confounds.tsv"):
        return name.replace("_bold_confounds.tsv", "_desc-confounds_regressors.tsv")
    old = _OLD.fullmatch(name)
    if old is None or old["kind"] not in _OLD_KINDS:
        return name
    return f"{old['run']}_space-{old['space']}{_OLD_KINDS[old['kind']]}{old['ext']}"


def read_name(path: PurePath | str) -> BIDSName:
    """Read a file name, also that of an old version."""
    return parse_name(modern_name(PurePath(path).name))


def kind_of(name: str) -> str | None:
    """Return which kind of input a file is, by its name, or None.

    Single hemispheres count by their left one.

    >>> kind_of("sub-1_task-rest_space-fsLR_den-91k_bold.dtseries.nii")
    'cifti'
    >>> kind_of("sub-1_task-rest_desc-confounds_timeseries.tsv")
    """
    modern = modern_name(name)
    kind = next((kind for ending, kind in _ENDINGS.items() if modern.endswith(ending)), None)
    if kind is None or not modern.startswith("sub-"):
        return None
    entities = dict(_pairs(name))
    desc = entities.get("desc")
    usable = {
        NIFTI: desc == "preproc",
        CIFTI: desc in (None, "preproc"),
        GIFTI: desc in (None, "preproc") and entities.get("hemi") == "L",
        TIMESERIES: not _NO_SERIES.fullmatch(desc or ""),
    }
    return kind if usable[kind] else None


def _pairs(name: str) -> list[tuple[str, str]]:
    """Return entity and label of each part of the name of an input, as they are written.

    A part without a key has an empty one. The extension is told by the known endings, so that a
    label with a dot is read whole.
    """
    name = modern_name(name)
    end = max((len(ending) for ending in _ENDINGS if name.endswith(ending)), default=0)
    parts = name[: len(name) - end].split("_") if end else name.partition(".")[0].split("_")[:-1]
    return [(key, label) if dash else ("", part) for part in parts
            for key, dash, label in [part.partition("-")]]  # fmt: skip


def name_problem(path: PurePath, kind: str, folders: Mapping[str, str]) -> str:
    """Return why the name of an input cannot be used, or nothing.

    Parameters
    ----------
    path
        Of the input.
    kind
        As :func:`kind_of` says.
    folders
        Labels of the folders it lies in, by entity: ``sub`` and, where there is one, ``ses``.
    """
    shown, pairs = printable(path), _pairs(path.name)
    keys = [key for key, _ in pairs]
    entities = dict(pairs)
    for key, label in pairs:
        problem = _part_problem(key, label, kind) or (
            f"has the entity {printable(key)} twice" if keys.count(key) > 1 else ""
        )
        if problem:
            return f"The name of <{shown}> {problem}. Rename the file."
    for key in ("sub", "ses"):
        if entities.get(key) != folders.get(key):
            named, lies = (
                f"{key}-{printable(found[key])}" if key in found else f"no {key} entity"
                for found in (entities, folders)
            )
            lies = lies if key in folders else f"a folder without {key}-<label>"
            return (
                f"The file <{shown}> has {named} in its name but lies in {lies}; expected the "
                "same label in both. Move or rename the file."
            )
    return ""


def _part_problem(key: str, label: str, kind: str) -> str:
    """Return what is wrong with one entity of a name, or nothing."""
    if not key:
        return (
            f"has the part '{printable(label)}'; expected pairs of entity and label, such as "
            "task-rest"
        )
    if key not in ENTITY_ORDER:
        # XCP-D writes stat-mean; the outputs leave it out.
        return "" if kind == TIMESERIES and is_label(label) else (
            f"has the unknown entity '{printable(key)}'; expected some of "
            f"{', '.join(ENTITY_ORDER)}"
        )  # fmt: skip
    loose = kind == TIMESERIES and key in ATLAS_ENTITIES and "." not in label
    if is_label(label) or (loose and label):
        return ""
    return (
        f"has {key}-{printable(label)}, which is no BIDS label; expected letters (A-Z, a-z) and "
        "digits only"
    )


def choose_kind(there: Collection[str], *, input_type: str, file_format: str, surface: str) -> str:
    """Return the kind of input to read.

    Parameters
    ----------
    there
        Kind of each file that was found.
    input_type, file_format
        What the user asked for, or ``auto``.
    surface
        The kind that the atlas fits if it lies on the cortical surface, else empty.

    Raises
    ------
    InputDataError
        There is no file of the kind that was asked for; says what there is.
    """
    counts = Counter(there)
    if input_type in ("xcp_d", "timeseries"):
        kind = TIMESERIES
    elif file_format != "auto":
        kind = file_format
    elif surface:
        other = GIFTI if surface == CIFTI else CIFTI
        kind = surface if counts[surface] or not counts[other] else other
    elif input_type == "auto" and counts[TIMESERIES] and set(counts) == {TIMESERIES}:
        kind = TIMESERIES
    else:
        kind = NIFTI
    if not counts[kind]:
        patterns = [f"*{ending}" for ending, known in _ENDINGS.items() if known == kind]
        found = ", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "nothing else"
        hints = {
            CIFTI: "--file-format cifti with a dlabel atlas",
            GIFTI: "--file-format gifti with a surface atlas",
            TIMESERIES: "--input-type timeseries",
        }
        ways = " or ".join(hint for name, hint in hints.items() if counts[name] and name != kind)
        raise InputDataError(
            f"There is no preprocessed run of the kind {kind} ({', '.join(patterns)}); found "
            f"{found}." + (f" Use {ways}." if ways else "")
        )
    return kind


def split_entities(path: PurePath, kind: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the entities of a run, and those that say which regions its columns are.

    An image has no such; of its name ``desc`` and ``hemi`` are left out. Entities that the outputs
    cannot have (``stat-mean`` of XCP-D) are left out of a table's name.
    """
    entities = dict(_pairs(path.name))
    if kind != TIMESERIES:
        return {key: v for key, v in entities.items() if key not in ("desc", "hemi")}, {}
    regions = {key: entities[key] for key in ATLAS_ENTITIES if key in entities}
    if "atlas" not in regions:  # XCP-D names its atlases by `seg` alone
        regions["atlas"] = regions.pop("seg", "custom")
    known = {key: v for key, v in entities.items() if key in ENTITY_ORDER}
    return {key: v for key, v in known.items() if key not in ATLAS_ENTITIES}, regions
