"""Inputs of a run: BOLD runs, atlases, and the models that follow from both."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from npi_bids.bids.atlases import DEFAULT_ATLAS, AtlasSpec, given_atlas, locate
from npi_bids.bids.layout import Dataset, find_datasets, find_runs
from npi_bids.bids.outputs import PRETRAINED, pretrained_path, stem
from npi_bids.bids.runs import CIFTI, FOLDER, GIFTI, TIMESERIES, BoldRun, Unit, group_runs
from npi_bids.cli.atlases import prepare_atlas, save_atlas, save_regions
from npi_bids.cli.parser import Request
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.io.tables import shared_regions_of_tables
from npi_bids.parcellation.denoising import DenoiseSettings
from npi_bids.surrogates.storage import digest, read_facts
from npi_bids.workflows.subject import PreparedAtlas, Task

_logger = logging.getLogger(__name__)
# What is seen of the images; beside it the rest of DenoiseSettings applies to images alone.
_APPLIES_TO_SERIES = ("min_time", "standardize")


class Inputs:
    """The datasets of a request, their runs as units, and the atlases.

    Attributes
    ----------
    request
        As the user gave it, but that cleaning options follow the kind of input.
    datasets
        Where runs were looked for.
    specs
        Atlases.
    """

    def __init__(self, request: Request) -> None:
        query = request.query
        chosen = request.atlases.atlas
        asked = [_wish(words) for words in chosen or (DEFAULT_ATLAS,)]
        self.datasets: list[Dataset] = find_datasets(
            request.bids_dir, query.datasets, query.input_type
        )
        self.runs = find_runs(self.datasets, query, surface=max(spec.surface for spec in asked))
        kinds = {run.kind for run in self.runs} - {FOLDER}
        self.given = TIMESERIES in kinds
        if self.given:
            self.request = replace(request, analysis=replace(
                request.analysis, denoise=_series_settings(request.analysis.denoise)
            ))  # fmt: skip
            self.specs = _given_specs(self.runs, asked if chosen else [])
        else:
            asked = [locate(words) for words in chosen or (DEFAULT_ATLAS,)]
            _check_kind(asked, kinds)
            self.request, self.specs = request, asked

    @property
    def cleaning(self) -> str:
        """How the signals were cleaned, in words."""
        denoise = self.request.analysis.denoise
        if self.given:
            return "regional series as they were found in the input"
        limit = denoise.fd_thresh
        most = f", framewise displacement up to {limit} mm" if limit else ""
        return f"signals cleaned with --denoise {denoise.denoise}{most}"

    def units(self, spec: AtlasSpec) -> list[Unit]:
        """Return what models of one atlas are fitted to."""
        runs: Sequence[BoldRun] = self.runs
        if self.given:
            runs = [run for run in runs if self._has_regions(run, spec)]
        return group_runs(runs, self.request.analysis.combine)

    def _has_regions(self, run: BoldRun, spec: AtlasSpec) -> bool:
        """Tell whether a run has the regions of an atlas, as far as its name can be read."""
        if run.kind == FOLDER:
            return True
        own = given_atlas(run.regions)
        return own == spec or (run.misnamed and own not in self.specs)

    def desc(self, spec: AtlasSpec) -> str:
        """Return the label of how the signals of one atlas were cleaned."""
        return spec.desc if self.given else self.request.analysis.denoise.label

    def prepare(self, spec: AtlasSpec, folder: Path) -> PreparedAtlas:
        """Load and check an atlas; raises where it is missing or damaged."""
        if not self.given:
            return prepare_atlas(spec, folder, offline=self.request.atlases.offline)
        runs = [run for unit in self.units(spec) for run in unit.runs if not run.problem]
        paths = [run.path for run in runs]
        regions = shared_regions_of_tables(paths, self._region_table(spec))
        labels, indices = regions.labels, regions.indices
        return PreparedAtlas(spec.entities, folder, "", len(labels), labels, indices)

    def save(self, spec: AtlasSpec, atlas: PreparedAtlas, *, space: str) -> PreparedAtlas:
        """Save table and, where there is one, image of an atlas into the output dataset."""
        out_dir = self.request.out_dir
        if self.given:
            return replace(atlas, node_file=save_regions(spec, atlas.labels, out_dir, space=space))
        return save_atlas(spec, atlas.folder, out_dir, space=space)

    def _region_table(self, spec: AtlasSpec) -> Path | None:
        """Return the table of an atlas's regions in the datasets, if there is one."""
        for dataset in self.datasets:
            for pattern in ("atlases/atlas-{0}/*_dseg.tsv", "*atlas-{0}_*dseg.tsv",
                            "tpl-*/anat/*_atlas-{0}_*dseg.tsv"):  # fmt: skip
                found = sorted(dataset.root.glob(pattern.format(spec.name)))
                if found:
                    return found[0]
        # Subjects that were mapped before, perhaps by another process, have set the order.
        pattern = f"tpl-*/anat/*_atlas-{spec.name}_*dseg.tsv"
        parts = [f"_{key}-{value}_" for key, value in spec.entities.items()]
        for path in sorted(self.request.out_dir.glob(pattern)):
            if all(part in path.name for part in parts):
                return path
        return None


def _wish(words: str) -> AtlasSpec:
    """Read an atlas that may be known to the program that extracted the series alone."""
    try:
        return locate(words)
    except SettingsError:
        name, *parts = words.removeprefix("atlas-").split(":")
        chosen = dict(part.partition("-")[::2] for part in parts)
        return AtlasSpec(words, name, chosen.get("seg", ""), chosen.get("scale", ""))


def _check_kind(specs: Sequence[AtlasSpec], kinds: Collection[str]) -> None:
    """Refuse an atlas that is drawn elsewhere than the runs are."""
    for spec, kind in product(specs, kinds):
        if bool(spec.surface) != (kind in (CIFTI, GIFTI)):
            lies = "lies on the surface" if spec.surface else "is a volume"
            raise InputDataError(
                f"--atlas {spec.asked} {lies}, but the runs are {kind}. Use "
                + (
                    "--file-format cifti or gifti, or a volume of the atlas."
                    if spec.surface
                    else "a .dlabel.nii or a pair of .label.gii, or --file-format nifti."
                )
            )


def _series_settings(asked: DenoiseSettings) -> DenoiseSettings:
    """Return the settings for series that were cleaned before; refuse to clean them again."""
    default = DenoiseSettings()
    refused = [
        f"--{name.replace('_', '-')}"
        for name in ("gsr", "high_pass", "low_pass", "smoothing", "fd_thresh", "dummy_scans")
        if getattr(asked, name) != getattr(default, name)
    ]
    if asked.denoise not in (default.denoise, "none"):
        refused.insert(0, f"--denoise {asked.denoise}")
    if refused:
        raise SettingsError(
            f"{', '.join(refused)}: regional series come as another program cleaned them; these "
            "options are for images. Leave them out, or start from fMRIPrep's images "
            "(--input-type fmriprep)."
        )
    kept = {name: getattr(asked, name) for name in _APPLIES_TO_SERIES}
    return DenoiseSettings(denoise="none", **kept)


def _given_specs(runs: Sequence[BoldRun], asked: Sequence[AtlasSpec]) -> list[AtlasSpec]:
    """Return the atlases of given series: those that were asked for, or the only one.

    Raises
    ------
    InputDataError
        None or several are there; says which.
    """
    named = [run for run in runs if run.kind != FOLDER]
    sound = [run for run in named if not run.misnamed] or named
    there = list(dict.fromkeys(given_atlas(run.regions) for run in sound))
    names = ", ".join(sorted(stem({**spec.entities, "desc": spec.desc}) for spec in there))
    if not asked:
        if len(there) > 1:
            raise InputDataError(
                f"The regional series come in {len(there)} parcellations: {names}. Choose with "
                "--atlas NAME (or several)."
            )
        return there
    chosen = [spec for spec in there if any(_fits(spec, wish) for wish in asked)]
    if not chosen:
        raise InputDataError(
            f"--atlas {' '.join(wish.asked for wish in asked)}: no series of that parcellation; "
            f"found {names}."
        )
    return chosen


def _fits(spec: AtlasSpec, wish: AtlasSpec) -> bool:
    said = {key for key in ("seg", "scale") if f":{key}-" in wish.asked}
    same = all(spec.entities.get(key) == wish.entities.get(key) for key in said)
    return spec.name.lower() == wish.name.lower() and same


def warn_of_spaces(spec: AtlasSpec, spaces: set[str]) -> None:
    """Say where an atlas is drawn in another space than the images."""
    name, drawn_in = spec.name, spec.space
    for space in sorted(spaces - {drawn_in}):
        if drawn_in == "unknown":
            _logger.warning(
                "Atlas %s does not say which template it is drawn in; it is taken to be %s, the "
                "space of the images", name, space,
            )  # fmt: skip
        else:
            _logger.warning(
                "Atlas %s is drawn in %s but the images are in %s; regions will be off by some "
                "millimetres, or meaningless where the images are in an individual's space",
                name, drawn_in, space,
            )  # fmt: skip


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
    n_regions, atlas = len(facts.labels), facts.links.atlas
    if atlas != task.atlas.entities or n_regions != task.atlas.n_regions:
        raise InputDataError(
            f"--pretrained <{path}> was made with the atlas {_words(atlas)} of "
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


def _words(entities: Mapping[str, str]) -> str:
    return " ".join(f"{key}-{value}" for key, value in entities.items()) or "(unknown)"
