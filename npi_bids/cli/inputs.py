"""Inputs of a run: datasets, BOLD runs and atlases."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

from npi_bids.analysis import PreparedAtlas, Task
from npi_bids.bids.accounting import Absence
from npi_bids.bids.atlases import (
    DEFAULT_ATLAS,
    AtlasSpec,
    find_templates,
    infer_atlas,
    match_space,
    parse_atlas,
    split_datasets,
)
from npi_bids.bids.layout import Dataset, find_datasets, select_runs
from npi_bids.bids.outputs import PRETRAINED, join_entities, pretrained_path
from npi_bids.bids.runs import CIFTI, FOLDER, GIFTI, TIMESERIES, BoldRun, Unit, group_runs
from npi_bids.cli.atlases import prepare_atlas, save_atlas, save_regions
from npi_bids.cli.parser import Request
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.io.files import digest
from npi_bids.io.tables import shared_regions_of_tables
from npi_bids.parcellation.denoising import DenoiseSettings
from npi_bids.parcellation.template_archive import INSTALL_COMMAND
from npi_bids.wording import suggest_word

_logger = logging.getLogger(__name__)
# Fields of DenoiseSettings that apply to series, too; all others apply to images alone.
_SERIES_FIELDS = ("min_time", "standardize")


class Inputs:
    """The datasets of a request, their runs as units, and the atlases.

    Attributes
    ----------
    request
        As the user gave it, with cleaning options that suit the type of input.
    datasets
        Datasets that were searched for runs.
    absences
        What was requested but has no runs to analyse.
    specs
        Atlases.
    has_series
        Whether the input consists of regional series instead of images.
    """

    def __init__(self, request: Request) -> None:
        query = request.query
        chosen = request.atlases.atlas
        named, roots = split_datasets(query.datasets, request.bids_dir)
        parse = partial(parse_atlas, roots=roots, surface=query.file_format in (CIFTI, GIFTI))
        requested = [_parse_requested_atlas(text, parse) for text in chosen or (DEFAULT_ATLAS,)]
        self.datasets: list[Dataset] = find_datasets(request.bids_dir, named, query.input_type)
        selection = select_runs(
            self.datasets, query, surface=max(spec.surface for spec in requested)
        )
        self.runs: list[BoldRun] = selection.runs
        self.absences: list[Absence] = selection.absences
        formats = {run.input_format for run in self.runs} - {FOLDER}
        self.has_series = TIMESERIES in formats
        if self.has_series:
            self.request = replace(request, analysis=replace(
                request.analysis, denoise=_restrict_settings(request.analysis.denoise)
            ))  # fmt: skip
            self.specs = _choose_series_atlases(self.runs, requested if chosen else [])
        else:
            requested = [parse(text) for text in chosen or (DEFAULT_ATLAS,)]
            _check_formats(requested, formats)
            spaces = {
                run.entities.get("space", "individual")
                for run in self.runs
                if run.input_format != FOLDER
            }
            offline = request.atlases.offline
            self.request = request
            self.specs = [match_space(spec, spaces, offline=offline) for spec in requested]
        if selection.descs:
            analysis = replace(self.request.analysis, image_desc=" ".join(selection.descs))
            self.request = replace(self.request, analysis=analysis)

    @property
    def cleaning(self) -> str:
        """How the signals were cleaned, in words."""
        denoise = self.request.analysis.denoise
        if self.has_series:
            return "regional series as they were found in the input"
        limit = denoise.fd_thresh
        censoring = f", framewise displacement up to {limit} mm" if limit else ""
        return f"signals cleaned with --denoise {denoise.denoise}{censoring}"

    def units(self, spec: AtlasSpec) -> list[Unit]:
        """Return the units that models of one atlas are fitted to."""
        runs: Sequence[BoldRun] = self.runs
        if self.has_series:
            runs = [run for run in runs if self._has_regions(run, spec)]
        return group_runs(runs, self.request.analysis.combine)

    def _has_regions(self, run: BoldRun, spec: AtlasSpec) -> bool:
        """Tell whether a run has the regions of an atlas, as far as its file name says."""
        if run.input_format == FOLDER:
            return True
        series_atlas = infer_atlas(run.regions)
        return series_atlas == spec or (run.misnamed and series_atlas not in self.specs)

    def desc(self, spec: AtlasSpec) -> str:
        """Return the label of the cleaning of the signals of one atlas."""
        return spec.desc if self.has_series else self.request.analysis.denoise.label

    def prepare(self, spec: AtlasSpec, folder: Path) -> PreparedAtlas:
        """Load and check an atlas; raises where it is missing or damaged."""
        if not self.has_series:
            return prepare_atlas(spec, folder, offline=self.request.atlases.offline)
        runs = [run for unit in self.units(spec) for run in unit.runs if not run.problem]
        paths = [run.path for run in runs]
        regions = shared_regions_of_tables(paths, self._region_table(spec))
        labels, indices = regions.labels, regions.indices
        return PreparedAtlas(spec.entities, folder, "", len(labels), labels, indices)

    def save(self, spec: AtlasSpec, atlas: PreparedAtlas, *, space: str) -> PreparedAtlas:
        """Save table and, where there is one, image of an atlas into the output dataset."""
        out_dir = self.request.out_dir
        if self.has_series:
            return replace(atlas, node_file=save_regions(spec, atlas.labels, out_dir, space=space))
        return save_atlas(spec, atlas, out_dir, space=space)

    def _region_table(self, spec: AtlasSpec) -> Path | None:
        """Return the table of an atlas's regions in the datasets, if there is one."""
        for dataset in self.datasets:
            for pattern in ("atlases/atlas-{0}/*_dseg.tsv", "*atlas-{0}_*dseg.tsv",
                            "tpl-*/anat/*_atlas-{0}_*dseg.tsv"):  # fmt: skip
                tables = sorted(dataset.root.glob(pattern.format(spec.name)))
                if tables:
                    return tables[0]
        # Subjects mapped earlier, perhaps by another process, have fixed the order of the regions.
        pattern = f"tpl-*/anat/*_atlas-{spec.name}_*dseg.tsv"
        entity_parts = [f"_{key}-{value}_" for key, value in spec.entities.items()]
        for path in sorted(self.request.out_dir.glob(pattern)):
            if all(part in path.name for part in entity_parts):
                return path
        return None


def _parse_requested_atlas(text: str, parse: Callable[[str], AtlasSpec]) -> AtlasSpec:
    """Parse an atlas that only the program that extracted the series may know."""
    try:
        return parse(text)
    except SettingsError:
        name, *parts = text.removeprefix("atlas-").split(":")
        chosen = dict(part.partition("-")[::2] for part in parts)
        return AtlasSpec(text, name, chosen.get("seg", ""), chosen.get("scale", ""))


def _check_formats(specs: Sequence[AtlasSpec], formats: Collection[str]) -> None:
    """Refuse volumetric atlases for runs on the surface, and the reverse."""
    for spec, run_format in product(specs, formats):
        if bool(spec.surface) != (run_format in (CIFTI, GIFTI)):
            geometry = "lies on the surface" if spec.surface else "is a volume"
            raise InputDataError(
                f"--atlas {spec.request} {geometry}, but the runs are {run_format}. Use "
                + (
                    "--file-format cifti or gifti, or a volume of the atlas."
                    if spec.surface
                    else "a .dlabel.nii or a pair of .label.gii, or --file-format nifti."
                )
            )


def _restrict_settings(settings: DenoiseSettings) -> DenoiseSettings:
    """Return the settings for series that are already cleaned; refuse to clean them again."""
    default = DenoiseSettings()
    refused = [
        f"--{name.replace('_', '-')}"
        for name in ("gsr", "high_pass", "low_pass", "smoothing", "fd_thresh", "dummy_scans")
        if getattr(settings, name) != getattr(default, name)
    ]
    if settings.denoise not in (default.denoise, "none"):
        refused.insert(0, f"--denoise {settings.denoise}")
    if refused:
        raise SettingsError(
            f"{', '.join(refused)}: regional series come as another program cleaned them; these "
            "options apply to images. Omit them, or start from fMRIPrep's images "
            "(--input-type fmriprep)."
        )
    applicable = {name: getattr(settings, name) for name in _SERIES_FIELDS}
    return DenoiseSettings(denoise="none", **applicable)


def _choose_series_atlases(
    runs: Sequence[BoldRun], requested: Sequence[AtlasSpec]
) -> list[AtlasSpec]:
    """Return the atlases of the regional series: those requested, or the only one.

    Raises
    ------
    InputDataError
        None of the requested is available, or several are and none is requested.
    """
    named = [run for run in runs if run.input_format != FOLDER]
    sound = [run for run in named if not run.misnamed] or named
    available = list(dict.fromkeys(infer_atlas(run.regions) for run in sound))
    names = ", ".join(
        sorted(join_entities({**spec.entities, "desc": spec.desc}) for spec in available)
    )
    if not requested:
        if len(available) > 1:
            raise InputDataError(
                f"The regional series come in {len(available)} parcellations: {names}. Choose "
                "with --atlas NAME (or several)."
            )
        return available
    chosen = [
        spec
        for spec in available
        if any(_matches_request(spec, requested_spec) for requested_spec in requested)
    ]
    if not chosen:
        requests = " ".join(requested_spec.request for requested_spec in requested)
        candidates = [spec.name for spec in available]
        hint = next(filter(None, (suggest_word(spec.name, candidates) for spec in requested)), ".")
        raise InputDataError(
            f"--atlas {requests}: no series of that parcellation; found {names}{hint}"
        )
    return chosen


def _matches_request(spec: AtlasSpec, requested_spec: AtlasSpec) -> bool:
    specified = {key for key in ("seg", "scale") if f":{key}-" in requested_spec.request}
    same = all(spec.entities.get(key) == requested_spec.entities.get(key) for key in specified)
    return spec.name.lower() == requested_spec.name.lower() and same


def warn_of_spaces(spec: AtlasSpec, spaces: set[str]) -> None:
    """Warn where an atlas is in another space than the images; say where it comes from."""
    name, template = spec.name, spec.space
    for part in spec.parts or (spec,):
        if part.variants:  # requested by a name that the table of atlases may have as well
            _logger.info("Atlas %s is taken from <%s>", part.name, part.path)
        if part.transform:
            _logger.info(
                "Atlas %s is drawn in %s and is transformed to %s with <%s>",
                part.name, part.drawn_in, part.space, part.transform,
            )  # fmt: skip
    for space in sorted(spaces - {template}):
        if template == "unknown":
            _logger.warning(
                "Atlas %s does not state its template, which is taken to be %s, the space of the "
                "images", name, space,
            )  # fmt: skip
        else:
            _logger.warning(
                "Atlas %s is in %s but the images are in %s; regions will be displaced by several "
                "millimetres, or meaningless if the images are in an individual's space%s",
                name, template, space, _suggest_template(spec, space),
            )  # fmt: skip


def _suggest_template(spec: AtlasSpec, space: str) -> str:
    """Return how to get an atlas in the template of the images, or nothing if there is no way."""
    if spec.path or spec.parts or not space.startswith("MNI"):
        return ""
    if spec.template_requested:
        return f", as requested with :tpl-{spec.space}"
    if space in find_templates(spec):
        return (
            f". The atlas exists in {space}: on a computer with network access run "
            f"`{INSTALL_COMMAND}` and `npi-bids-fetch {spec.request}:tpl-{space}`; for another "
            "computer, copy the folder and point TEMPLATEFLOW_HOME to it"
        )
    return (
        f". `npi-bids-fetch {spec.name}:tpl-{space}` downloads the transform, if TemplateFlow "
        "has one"
    )


def find_pretrained(path: Path, task: Task) -> Path:
    """Return the pre-trained surrogate for a task: the named file, or that of its group.

    Raises
    ------
    InputDataError
        There is none, it is not a pre-trained surrogate, or it is one of another atlas.
    """
    from npi_bids.surrogates.storage import read_pretrained_sidecar

    path = path.expanduser()
    if path.is_dir():
        expected = path / pretrained_path(task.entities, task.desc)
        if not expected.is_file():
            names = sorted(file.name for file in (path / PRETRAINED).glob("*.safetensors"))
            raise InputDataError(
                f"--pretrained <{path}> holds no {expected.name} in {PRETRAINED}; found "
                f"{', '.join(names) or 'nothing'}. Run 'npi-bids ... pretrain' with the same "
                "task, space, atlas and denoising, or name the file."
            )
        path = expected
    sidecar = read_pretrained_sidecar(path)
    n_regions, atlas = len(sidecar.labels), sidecar.links.atlas
    if atlas != task.atlas.entities or n_regions != task.atlas.n_regions:
        raise InputDataError(
            f"--pretrained <{path}> was made with the atlas {_format_entities(atlas)} of "
            f"{n_regions} regions; --atlas is {_format_entities(task.atlas.entities)} of "
            f"{task.atlas.n_regions}. Use the same."
        )
    return path


def add_prior_digest(request: Request) -> Request:
    """Return the request with a digest of the pre-trained surrogates and the map that it names."""
    prior, digests = request.analysis.prior, ""
    for flag, name in (("--pretrained", prior.pretrained), ("--delay-map", prior.delay_map)):
        path = Path(name).expanduser()
        if not name:
            continue
        if not path.exists():
            raise InputDataError(f"{flag} <{path}> does not exist.")
        files = sorted((path / PRETRAINED).glob("*.safetensors")) if path.is_dir() else [path]
        digests += "".join(map(digest, files))
    if not digests:
        return request
    prior_digest = hashlib.sha256(digests.encode()).hexdigest()[:12]
    return replace(request, analysis=replace(request.analysis, prior_digest=prior_digest))


def _format_entities(entities: Mapping[str, str]) -> str:
    return " ".join(f"{key}-{value}" for key, value in entities.items()) or "(unknown)"
