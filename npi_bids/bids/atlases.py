"""Atlases by name: requests of the user, their entities, and their descriptions."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from npi_bids.bids.outputs import parse_name
from npi_bids.bids.runs import CIFTI, GIFTI
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.parcellation.atlas_table import (
    AtlasEntry,
    dataset_atlases,
    find_entry,
    is_described,
    name_archive_files,
    read_atlas_table,
)
from npi_bids.parcellation.template_archive import (
    can_download,
    find_template_file,
    find_transform,
    template_home,
    transform_name,
)
from npi_bids.settings import option
from npi_bids.wording import join_items, suggest_word

_IMAGE = re.compile(r"\.nii(\.gz)?$|\.label\.gii$")
_SURFACE = re.compile(r"\.dlabel\.nii$|\.label\.gii$")
DEFAULT_ATLAS = "Schaefer2018:scale-100"
_SIDE = re.compile(r"[._-]?([lr]h|[LR]|left|right)$")
_FSAVERAGE = re.compile(r"fsaverage\d?")
# Volumes of the MMP have many names, and most are distributed without a table of regions.
_MMP = re.compile(r"glasser|mmp", re.IGNORECASE)
_UNKNOWN = "unknown"
# Where a BIDS-atlas dataset, AtlasPack or TemplateFlow has the images of atlases.
_DATASET_PATTERNS = ("*", "atlas-*/*", "tpl-*/*", "tpl-*/anat/*", "tpl-*/cohort-*/anat/*")
# Folders of an input dataset in which other programs leave the atlases that they used.
_ATLAS_FOLDERS = ("atlases", "sourcedata/atlases")


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasSettings:
    """Which atlases to use."""

    atlas: tuple[str, ...] = option(
        (),
        "NAME[:seg-X][:scale-N][:tpl-T] (see --list-atlases), the name of an atlas in a "
        "BIDS-atlas dataset given with -d atlases=PATH, an image with a table of region names "
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
        Template space in which the atlas is used; ``unknown`` where the file of a user does not
        state it.
    desc
        Label of the denoising of supplied series.
    parts
        The atlases that are combined (``A+B``); empty for a single one.
    variants
        Files of the same atlas in a BIDS-atlas dataset, one per template.
    transform, drawn_in
        File of the transform from the template that the atlas is drawn in to ``space``, and that
        template; empty where the atlas is not transformed.
    template_requested
        Whether the user chose the template (``:tpl-T``).
    """

    request: str
    name: str
    seg: str = ""
    scale: str = ""
    path: str = ""
    space: str = _UNKNOWN
    desc: str = ""
    parts: tuple[AtlasSpec, ...] = ()
    variants: tuple[str, ...] = ()
    transform: str = ""
    drawn_in: str = ""
    template_requested: bool = False

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


def parse_atlas(request: str, roots: Sequence[Path] = (), *, surface: bool = False) -> AtlasSpec:
    """Parse an atlas request: ``NAME[:seg-X][:scale-N][:tpl-T]`` or the path of an image.

    Parameters
    ----------
    request
        The argument of the user.
    roots
        BIDS-atlas datasets, whose atlases take precedence over the table's.
    surface
        Whether to prefer an atlas of greyordinates where a dataset has volumes, too.

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
        return _combined(request, roots)
    if _IMAGE.search(request) or "/" in request:
        return _parse_file(request)
    name, *parts = request.split(":")
    chosen = dict(part.partition("-")[::2] for part in parts)
    available = _find_in_datasets(roots)
    if files := available.get(name.lower()):
        return _parse_dataset_atlas(request, files, chosen, surface=surface)
    table = read_atlas_table()
    names = {entry.lower(): (entry, "") for entry in table}
    names |= {atlas.lower(): row for atlas, row in dataset_atlases().items()}
    if name.lower() not in names:
        candidates = [*table, *dataset_atlases(), *(paths[0][1] for paths in available.values())]
        hint = suggest_word(name, candidates).replace(";", ",") or "."
        in_datasets = sorted({paths[0][1] for paths in available.values()})
        found = f" The datasets given hold {join_items(in_datasets)}." if in_datasets else ""
        raise SettingsError(
            f"--atlas {request}: there is no atlas of that name{hint} Known atlases are "
            f"{join_items(table)} (see --list-atlases).{found} A path of an image is accepted too."
        )
    key, scale = names[name.lower()]
    if scale:
        chosen = {"scale": scale, **chosen}
    return _parse_named(request, key, table[key], chosen)


def _parse_named(
    request: str, name: str, entry: AtlasEntry, chosen: Mapping[str, str]
) -> AtlasSpec:
    """Return an atlas of the table in the variant that the user chose."""
    scales = [str(scale) for scale in entry.get("scales", ())]
    if unknown := sorted(set(chosen) - {"seg", "scale", "tpl"}):
        bare = next((part for part in unknown if part in scales), "")
        hint = f"; did you mean {name}:scale-{bare}?" if bare else "; use :seg-X and :scale-N."
        raise SettingsError(f"--atlas {request}: unknown {join_items(unknown)}{hint}")
    seg = _choice(request, "seg", chosen.get("seg"), entry.get("segs", []))
    scale = _choice(request, "scale", chosen.get("scale"), scales)
    if "dataset" in entry:
        return AtlasSpec(
            request, entry["dataset"]["atlas"].format(scale=scale), space=entry["space"]
        )
    spec = AtlasSpec(request, name, seg, scale, space=entry["space"])
    return _to_requested_template(spec, chosen["tpl"], entry) if "tpl" in chosen else spec


def _to_requested_template(spec: AtlasSpec, template: str, entry: AtlasEntry) -> AtlasSpec:
    """Return an atlas of the table in the template that the user chose.

    Raises
    ------
    InputDataError
        It does not exist there, and no transform is on this computer.
    """
    spec = replace(spec, template_requested=True)
    if template in (spec.space, *entry.get("templateflow", {}).get("templates", ())):
        return replace(spec, space=template)
    if (transform := find_transform(spec.space, template)) is None:
        raise InputDataError(
            f"--atlas {spec.request}: {spec.name} is drawn in {spec.space}, and TemplateFlow's "
            f"transform from there to {template} is not in <{template_home()}>; "
            f"`npi-bids-fetch {spec.request}` downloads it, if there is one."
        )
    return replace(spec, space=template, drawn_in=spec.space, transform=str(transform))


def find_templates(spec: AtlasSpec) -> list[str]:
    """Return the other templates in which TemplateFlow holds a named atlas.

    There are none where the user chose the template.
    """
    entry = (find_entry(spec.name) or {}) if not (spec.path or spec.parts) else {}
    templates = entry.get("templateflow", {}).get("templates", [])
    return [template for template in templates if template != spec.space
            and not spec.template_requested]  # fmt: skip


def wanted_transform(request: str) -> tuple[str, str] | None:
    """Return the template and the name of the transform that a request needs, or None.

    >>> wanted_transform("AAL:tpl-MNI152NLin6Asym")
    ('MNI152NLin6Asym', 'from-MNIColin27_mode-image_xfm.h5')
    >>> wanted_transform("Schaefer2018:tpl-MNI152NLin2009cAsym")  # it exists in that template
    """
    name, *parts = request.split(":")
    template = next((part.removeprefix("tpl-") for part in parts if part[:4] == "tpl-"), "")
    entry = {key.lower(): entry for key, entry in read_atlas_table().items()}.get(name.lower())
    if not template or entry is None:
        return None
    if template in (entry["space"], *entry.get("templateflow", {}).get("templates", ())):
        return None
    return template, transform_name(entry["space"])


def split_datasets(
    datasets: Mapping[str, Path], bids_dir: Path
) -> tuple[dict[str, Path], list[Path]]:
    """Separate the datasets named with ``-d`` into inputs and BIDS-atlas datasets.

    Parameters
    ----------
    datasets
        Folders by their names.
    bids_dir
        The input dataset, whose folders of atlases are searched as well.

    Returns
    -------
    inputs
        Datasets of derivatives, by name.
    roots
        BIDS-atlas datasets, those named first.
    """
    roots = {name: path for name, path in datasets.items() if _is_atlas_dataset(path)}
    inputs = {name: path for name, path in datasets.items() if name not in roots}
    inside = [base / folder for base in (*inputs.values(), bids_dir) for folder in _ATLAS_FOLDERS]
    return inputs, [*roots.values(), *(folder for folder in inside if folder.is_dir())]


def _is_atlas_dataset(root: Path) -> bool:
    """Tell whether a folder holds atlases and no participants."""
    description = _read_description(root / "dataset_description.json")
    if description.get("DatasetType") == "atlas":
        return True
    return not any(root.glob("sub-*")) and bool(_find_in_datasets([root]))


def _find_in_datasets(roots: Sequence[Path]) -> dict[str, list[tuple[Path, str]]]:
    """Return the images of all atlases of some datasets, with their names, by name in lower case.

    Only the first dataset that holds an atlas counts. Finer resolutions come first.
    """
    found: dict[str, list[tuple[Path, str]]] = {}
    for root in roots:
        files: dict[str, list[tuple[Path, str]]] = {}
        for path in sorted({path for glob in _DATASET_PATTERNS for path in root.glob(glob)}):
            name = parse_name(path.name)
            if name.suffix in ("dseg", "probseg") and _IMAGE.search(path.name):
                atlas = name.entities.get("atlas", "")
                files.setdefault(atlas.lower(), []).append((path, atlas))
        files.pop("", None)
        found = {**files, **found}
    return found


def _parse_dataset_atlas(
    request: str,
    files: Sequence[tuple[Path, str]],
    chosen: Mapping[str, str],
    *,
    surface: bool,
) -> AtlasSpec:
    """Return an atlas of a BIDS-atlas dataset, with all of its files.

    Raises
    ------
    SettingsError
        The dataset has no such variant, or several.
    """
    if len(descs := {parse_name(path.name).entities.get("desc", "") for path, _ in files}) > 1:
        raise SettingsError(
            f"--atlas {request}: the dataset has this atlas with the desc "
            f"{join_items(sorted(descs), most=5)}; give the path of one of its images."
        )
    specs = [_parse_file(str(path)) for path, _ in files]
    specs = [spec for spec in specs if bool(spec.surface) == surface] or specs
    for part, attribute in (("seg", "seg"), ("scale", "scale"), ("tpl", "space")):
        options = sorted({getattr(spec, attribute) for spec in specs})
        value = chosen.get(part)
        if value is None and part != "tpl" and len(options) > 1:
            raise SettingsError(
                f"--atlas {request}: the dataset has this atlas with the {part} "
                f"{join_items(options)}; choose with :{part}-X."
            )
        if value is not None and value not in options:
            raise SettingsError(
                f"--atlas {request}: {part} {value!r}; the dataset has {join_items(options)}."
            )
        if value is not None:
            specs = [spec for spec in specs if getattr(spec, attribute) == value]
    variants = {spec.space: spec.path for spec in reversed(specs)}
    return replace(
        specs[0],
        request=request,
        variants=tuple(variants.values()),
        template_requested="tpl" in chosen,
    )


def match_space(spec: AtlasSpec, spaces: Collection[str], *, offline: bool = False) -> AtlasSpec:
    """Return an atlas in the template of the images.

    It is taken in that template where it comes in several, if its files are on this computer or
    can be downloaded; an atlas of one template is transformed if TemplateFlow's transform between
    the two is on this computer. The atlases of a combination are matched together or not at all.

    Parameters
    ----------
    spec
        The atlas as requested.
    spaces
        Spaces of the images.
    offline
        True if nothing must be downloaded.

    Returns
    -------
    AtlasSpec
        The same atlas, unchanged if it is available only in another template.
    """
    if spec.surface or spec.template_requested or len(spaces) != 1:
        return spec
    (space,) = spaces
    if not spec.parts:
        return _match_single(spec, space, offline=offline)
    parts = tuple(_match_single(part, space, offline=offline) for part in spec.parts)
    together = {part.space for part in parts} - {_UNKNOWN} == {space}
    return replace(spec, parts=parts, space=space) if together else spec


def _match_single(spec: AtlasSpec, space: str, *, offline: bool) -> AtlasSpec:
    if space == spec.space:
        return spec
    for path in spec.variants:
        if _parse_file(path).space == space:
            return replace(spec, path=path, space=space)
    if space in find_templates(spec):
        available = (can_download() and not offline) or _is_in_archive(spec, space)
        return replace(spec, space=space) if available else spec
    transform = find_transform(spec.space, space)
    if transform is None:
        return spec
    return replace(spec, space=space, drawn_in=spec.space, transform=str(transform))


def _is_in_archive(spec: AtlasSpec, template: str) -> bool:
    """Tell whether TemplateFlow's files of an atlas in a template are on this computer."""
    source = read_atlas_table()[spec.name]["templateflow"]
    desc = source["desc"].format(scale=spec.scale, seg=spec.seg)
    names = name_archive_files(source, desc)
    return all(find_template_file(template, name) is not None for name in names)


def infer_atlas(regions: Mapping[str, str]) -> AtlasSpec:
    """Return the atlas that the entities of a table of regional series name."""
    chosen = {key: re.sub(r"[^A-Za-z0-9]", "", value) for key, value in regions.items()}
    return AtlasSpec(
        request=chosen["atlas"],
        name=chosen["atlas"],
        seg=chosen.get("seg", ""),
        scale=chosen.get("scale", ""),
        space=(find_entry(chosen["atlas"]) or {}).get("space", _UNKNOWN),
        desc=chosen.get("desc", "series"),
    )


def atlas_description(spec: AtlasSpec) -> dict[str, object]:
    """Return the content of ``atlas-<name>_description.json``."""
    if spec.parts:
        return _description_of_parts(spec)
    entry = find_entry(spec.name)
    described = _stated_description(spec) if entry is None or spec.path else {}
    described = {**(entry or {}), **described}
    described = {key: value for key, value in described.items() if is_described(key)}
    transformed = {"TransformedTo": spec.space} if spec.transform else {}
    return {
        "Name": spec.name, **described, "TemplateDrawnIn": spec.drawn_in or spec.space,
        **transformed,
    }  # fmt: skip


def _stated_description(spec: AtlasSpec) -> dict[str, object]:
    """Return the description that lies with the file of an atlas in its dataset, or nothing."""
    folder = Path(spec.path).parent
    for parent in (folder, *folder.parents[:2]):
        path = parent / f"atlas-{spec.name}_description.json"
        if path.is_file():
            return _read_description(path)
    return {}


def _read_description(path: Path) -> dict[str, object]:
    """Return the content of a JSON file that describes something; empty where it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _description_of_parts(spec: AtlasSpec) -> dict[str, object]:
    """Join the descriptions of several atlases, each with its name."""
    descriptions = [atlas_description(part) for part in spec.parts]
    license_ = "; ".join(
        f"{part['Name']}: {part['License']}" for part in descriptions if "License" in part
    )
    species = {str(part["Species"]) for part in descriptions if "Species" in part}
    links = [
        link
        for part in descriptions
        for link in cast("list[str]", part.get("ReferencesAndLinks", []))
    ]
    return {
        "Name": " and ".join(str(part["Name"]) for part in descriptions),
        **({"License": license_} if license_ else {}),
        **({"Species": species.pop()} if len(species) == 1 else {}),
        **({"ReferencesAndLinks": links} if links else {}),
        "TemplateDrawnIn": " and ".join(
            dict.fromkeys(str(part["TemplateDrawnIn"]) for part in descriptions)
        ),
        **({"TransformedTo": spec.space} if any(part.transform for part in spec.parts) else {}),
    }


def describe_template(out_dir: Path, name: str) -> str:
    """Return how an atlas came into the template of the images, for the methods text, or nothing.

    Parameters
    ----------
    out_dir
        Output dataset, which holds the description of the atlas.
    name
        Value of the entity ``atlas``.
    """
    description = _read_description(out_dir / f"atlas-{name}_description.json")
    drawn_in, target = description.get("TemplateDrawnIn"), description.get("TransformedTo")
    if target:
        return (
            f", transformed from {drawn_in} to {target} by nearest neighbour with the transform "
            "of TemplateFlow [@Ciric2022]"
        )
    entry = find_entry(name) or {}
    if "templateflow" in entry and drawn_in not in (None, entry["space"]):
        return f" in its version for {drawn_in} in TemplateFlow [@Ciric2022]"
    return ""


def _combined(request: str, roots: Sequence[Path]) -> AtlasSpec:
    parts = tuple(parse_atlas(part, roots) for part in request.split("+") if part)
    spaces = [part.space for part in parts if part.space != _UNKNOWN]
    return replace(
        parts[0],
        request=request,
        name="".join(part.name for part in parts),
        path="",
        space=(spaces or [_UNKNOWN])[0],
        parts=parts,
        variants=(),
        transform="",
        drawn_in="",
        template_requested=any(part.template_requested for part in parts),
    )


def _parse_file(request: str) -> AtlasSpec:
    path = Path(request).expanduser()
    if not _IMAGE.search(path.name):
        raise SettingsError(
            f"--atlas {request}: expected an image of labels (.nii, .nii.gz, .dlabel.nii or "
            ".label.gii)."
        )
    if not path.is_file():
        beside = [child.name for child in path.parent.glob("*") if _IMAGE.search(child.name)]
        hint = suggest_word(path.name, beside) or "."
        raise InputDataError(f"--atlas: the file <{path}> does not exist{hint}")
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
            "tpl", entities.get("space", _guess_surface(path) if surface else _UNKNOWN)
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
        hint = suggest_word(chosen, options) if part == "seg" else ""
        raise SettingsError(
            f"--atlas {request}: {part} {chosen!r}; choose from {', '.join(options)}{hint or '.'}"
        )
    return chosen
