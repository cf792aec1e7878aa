"""Simulated datasets in the format of fMRIPrep's output, with the true connectivity."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from npi_bids import __version__
from npi_bids.bids.outputs import CATALOGUE
from npi_bids.bids.sidecars import Column, TableSidecar
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.io.files import read_json, remove_attempts, replacing_folder, write_json
from npi_bids.io.tables import write_matrix, write_rows, write_series, write_table
from npi_bids.parcellation.atlases import load_spheres
from npi_bids.parcellation.parcellation import Parcellation, label_data, label_image
from npi_bids.parcellation.resampling import to_grid
from npi_bids.records import Array, ECResult, Mask, RegionSeries
from npi_bids.settings import check_options, option
from npi_bids.simulate.haemodynamics import Haemodynamics
from npi_bids.simulate.observation import Observation, ObserveSettings
from npi_bids.simulate.recording import record_system
from npi_bids.simulate.systems import Simulation, SystemSettings, sampling_period

_BASELINE, _SIGNAL, _NOISE = 1000.0, 20.0, 20.0  # image units; the signal is 2 % of the baseline
_COSINE_PERIOD = 128.0
_README = """# {name}

Simulated by npi-bids: signals of a system whose effective connectivity is known, written in
the format of fMRIPrep's output. No participant was scanned. The true connectivity is stored beside
this dataset.
"""
# The 4 mm grid of MNI152NLin6Asym.
_SHAPE = (46, 55, 46)
_AFFINE = np.array([[-4.0, 0, 0, 90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
_SPHERES = "Dosenbach2010"
_CENTRE, _RADII = np.array([0.0, -18.0, 8.0]), np.array([66.0, 86.0, 58.0])  # of a brain (mm)
_MOST_REGIONS = 2000
_TRUTH = "desc-truth_relmat.tsv"

_AXES = [f"{movement}_{axis}" for movement in ("trans", "rot") for axis in "xyz"]


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedRun:
    """One run to write.

    Attributes
    ----------
    entities
        ``sub``, ``task``, ``run`` and so on.
    signals
        Shape (n_samples, n_regions), in the order of the atlas.
    tr
        Sampling period (s).
    moving
        Shape (n_samples,); True where the head moves.
    """

    entities: Mapping[str, str]
    signals: Array
    tr: float
    moving: Mask


def write_description(root: Path, name: str) -> None:
    """Write ``dataset_description.json``, README and ``.bidsignore`` of a simulated dataset."""
    root.mkdir(parents=True, exist_ok=True)
    content = {
        "Name": name,
        "BIDSVersion": "1.11.1",
        "DatasetType": "derivative",
        "License": "CC0",
        "Authors": ["npi-bids", "simulation"],
        "Acknowledgements": "Simulated data; no participant was scanned.",
        "HowToAcknowledge": "Cite npi-bids.",
        "Funding": ["none"],
        "EthicsApprovals": ["not needed: simulated"],
        "ReferencesAndLinks": ["https://github.com/npi-bids/npi-bids"],
        "Keywords": ["simulation", "effective connectivity"],
        "GeneratedBy": [
            {
                "Name": "npi-bids simulation",
                "Version": __version__,
                "Description": "Not a scan.",
                "CodeURL": "https://github.com/npi-bids/npi-bids",
            }
        ],
    }
    write_json(root / "dataset_description.json", content)
    (root / "README.md").write_text(_README.format(name=name))
    # The table of regional series is a draft of the standard (BEP012).
    (root / ".bidsignore").write_text("*_timeseries.tsv\n*_timeseries.json\n")


def write_run(
    root: Path, run: SimulatedRun, atlas: Parcellation, rng: np.random.Generator
) -> Path:
    """Write image, mask, confounds and sidecar of one run.

    Every voxel of a region carries the region's signal plus independent noise; the remaining mask
    (a rim around the regions) holds noise only. Motion leaks slightly into all voxels.

    Parameters
    ----------
    root
        Root of the dataset.
    run
        The run to write.
    atlas
        Regions on the grid of the image.
    rng
        Source of noise and motion.

    Returns
    -------
    Path
        The image.
    """
    stem = "_".join(f"{key}-{value}" for key, value in run.entities.items())
    func = root / f"sub-{run.entities['sub']}"
    if "ses" in run.entities:
        func /= f"ses-{run.entities['ses']}"
    func /= "func"
    func.mkdir(parents=True, exist_ok=True)
    space = f"{stem}_space-{atlas.space}_res-4"
    motion = _simulate_motion(len(run.signals), run.moving, rng)
    regions = label_data(atlas.image, atlas.name)
    mask = _add_rim(regions > 0)
    data = _draw_image(run, atlas, (regions, mask), motion, rng)
    image = nib.Nifti1Image(data, atlas.image.affine)
    image.header.set_zooms((*image.header.get_zooms()[:3], run.tr))
    image.header.set_xyzt_units("mm", "sec")
    path = func / f"{space}_desc-preproc_bold.nii.gz"
    nib.save(image, path)
    brain = nib.Nifti1Image(mask.astype(np.uint8), atlas.image.affine)
    brain.header.set_xyzt_units("mm", "sec")
    nib.save(brain, func / f"{space}_desc-brain_mask.nii.gz")
    _describe_images(root, path, run, atlas.space)
    table = func / f"{stem}_desc-confounds_timeseries.tsv"
    confounds = _simulate_confounds(motion, run.tr, data[mask].mean(axis=0, dtype=np.float64), rng)
    confounds.to_csv(table, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    metadata = {"Description": "Simulated confounds.", "SamplingFrequency": 1 / run.tr}
    write_json(table.with_suffix(".json"), metadata | {"StartTime": 0, "Sources": []})
    return path


def _describe_images(root: Path, path: Path, run: SimulatedRun, space: str) -> None:
    """Write the sidecars of an image and of its mask."""
    grid_fields: dict[str, object] = {
        "SpatialReference": f"https://www.templateflow.org/browse/#tpl-{space}",
        "Resolution": "4 mm",
    }
    image: dict[str, object] = {
        "Description": "Simulated BOLD.",
        "RepetitionTime": run.tr,
        "TaskName": run.entities["task"],
        "SkullStripped": False,
        "Sources": [],
    }
    mask: dict[str, object] = {
        "Description": "Where there is signal.",
        "Type": "Brain",
        "Sources": [f"bids::{path.relative_to(root).as_posix()}"],
    }
    stem = path.name.removesuffix("_desc-preproc_bold.nii.gz")
    write_json(path.with_name(f"{stem}_desc-preproc_bold.json"), image | grid_fields)
    write_json(path.with_name(f"{stem}_desc-brain_mask.json"), mask | grid_fields)


def _draw_image(
    run: SimulatedRun,
    atlas: Parcellation,
    space: tuple[np.ndarray, np.ndarray],
    motion: Array,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the 4D image as 16-bit integers."""
    regions, mask = space
    n_samples = len(run.signals)
    scaled = (run.signals - run.signals.mean(axis=0)) / run.signals.std(axis=0)
    region_index = np.searchsorted(atlas.values, regions[mask])
    in_region = regions[mask] > 0
    voxels = _NOISE * rng.standard_normal((len(region_index), n_samples), dtype=np.float32)
    voxels[in_region] += _SIGNAL * scaled[:, region_index[in_region]].T
    voxels += _BASELINE + 10 * motion.sum(axis=1)
    image = np.zeros((*regions.shape, n_samples), dtype=np.int16)
    image[mask] = np.rint(voxels)
    return image


def _add_rim(inside: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    grown: np.ndarray = binary_dilation(inside, iterations=1)
    return grown


def _simulate_motion(n_samples: int, moving: Mask, rng: np.random.Generator) -> Array:
    """Return six motion parameters: a slow drift, and stretches of real movement."""
    drift = np.cumsum(0.01 * rng.standard_normal((n_samples, 6)), axis=0)
    drift[:, 3:] /= 50  # radians on a sphere of 50 mm
    drift[moving, :3] += 0.8 * rng.standard_normal((int(moving.sum()), 3))
    return drift


def _simulate_confounds(
    motion: Array, tr: float, global_signal: Array, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the columns of fMRIPrep that the common strategies need."""
    n_samples = len(motion)
    columns: dict[str, Array] = dict(zip(_AXES, motion.T, strict=True))
    for name in ("csf", "white_matter", "global_signal"):
        columns[name] = _BASELINE + np.convolve(
            rng.standard_normal(n_samples + 4), np.ones(5), "valid"
        )
    columns["global_signal"] = global_signal
    full: dict[str, Array] = {}
    for name, values in columns.items():
        slope = np.r_[np.nan, np.diff(values)]
        full |= {
            name: values,
            f"{name}_derivative1": slope,
            f"{name}_power2": values**2,
            f"{name}_derivative1_power2": slope**2,
        }
    step = np.abs(np.diff(motion, axis=0))
    displacement = step[:, :3].sum(axis=1) + 50 * step[:, 3:].sum(axis=1)
    full["framewise_displacement"] = np.r_[np.nan, displacement]
    full["std_dvars"] = np.r_[np.nan, 1 + displacement / 2]
    centre = np.arange(n_samples) + 0.5
    for order in range(1, int(2 * n_samples * tr / _COSINE_PERIOD) + 1):
        full[f"cosine{order - 1:02d}"] = np.cos(np.pi * order * centre / n_samples)
    return pd.DataFrame(full)


def simulated_atlas(n_regions: int, labels: tuple[str, ...] = ()) -> Parcellation:
    """Return an atlas of spheres of Dosenbach2010, or of patches if there are more regions.

    Parameters
    ----------
    n_regions
        Up to 160 regions are taken from the spheres, evenly over their list; for more, a
        brain-shaped ellipsoid is cut into patches of similar size.
    labels
        Names of the regions; if empty, those of the spheres, or numbers by hemisphere.

    Raises
    ------
    SettingsError
        The regions do not fit on the grid.
    """
    if n_regions > _MOST_REGIONS:
        raise SettingsError(
            f"{n_regions} regions do not fit on a 4 mm grid; at most {_MOST_REGIONS} do."
        )
    spheres = load_spheres(_SPHERES)
    if n_regions > len(spheres.values):
        data, names, networks = _cut_patches(n_regions)
        name, space = f"Patches{n_regions}", spheres.space
    else:
        data, chosen = _select_spheres(spheres, n_regions)
        names = tuple(spheres.labels[value - 1] for value in chosen)
        networks = tuple(spheres.networks[value - 1] for value in chosen)
        name, space = f"Dosenbach{n_regions}", spheres.space
    return Parcellation(
        name=name,
        labels=labels or names,
        values=tuple(range(1, n_regions + 1)),
        space=space,
        image=label_image(data, _AFFINE),
        networks=networks,
    )


def _select_spheres(spheres: Parcellation, n_regions: int) -> tuple[Array, Array]:
    grid = nib.Nifti1Image(np.zeros(_SHAPE, dtype=np.uint8), _AFFINE)
    data = label_data(to_grid(spheres, grid), spheres.name)
    values = np.asarray(spheres.values)
    selected = values[:: len(values) // n_regions][:n_regions]
    numbers = np.searchsorted(selected, data).clip(0, n_regions - 1)
    return np.where(np.isin(data, selected), numbers + 1, 0), selected


def _cut_patches(n_regions: int) -> tuple[Array, tuple[str, ...], tuple[str, ...]]:
    """Cut an ellipsoid into patches around evenly spread centres (Lloyd's algorithm)."""
    rng = np.random.default_rng(n_regions)
    voxels = np.argwhere(np.ones(_SHAPE, dtype=bool))
    coordinates = voxels @ _AFFINE[:3, :3].T + _AFFINE[:3, 3]
    inside = (((coordinates - _CENTRE) / _RADII) ** 2).sum(axis=1) < 1
    voxels, coordinates = voxels[inside], coordinates[inside]
    centres = coordinates[rng.choice(len(coordinates), n_regions, replace=False)]
    for _ in range(10):
        nearest = cKDTree(centres).query(coordinates)[1]
        sizes = np.maximum(np.bincount(nearest, minlength=n_regions), 1)
        sums = [np.bincount(nearest, coordinates[:, axis], n_regions) for axis in range(3)]
        centres = np.stack(sums, axis=1) / sizes[:, None]
    centres = centres[np.lexsort((centres[:, 1], centres[:, 0] > 0))]
    data = np.zeros(_SHAPE)
    data[tuple(voxels.T)] = cKDTree(centres).query(coordinates)[1] + 1
    sides = tuple("L" if x <= 0 else "R" for x in centres[:, 0])
    labels = tuple(f"{side}_{number:04d}" for number, side in enumerate(sides, start=1))
    return data, labels, sides


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortSettings:
    """How many subjects are simulated, for how long, and in which format."""

    n_subjects: int = option(3, "number of subjects (with the same network)", above=0, metavar="N")
    n_sessions: int = option(1, "sessions per subject", above=0, metavar="N")
    n_runs: int = option(2, "runs per session", above=0, metavar="N")
    minutes: float = option(10.0, "minutes per run", above=0, metavar="X")
    series_only: bool = option(
        False, "write tables of regional time series, without images and confounds"
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class WrittenCohort:
    """Paths of a simulated dataset, and how many of its runs are written.

    ``truth`` is the true connectivity, ``delays`` the table of true delays of the regions.
    """

    dataset: Path
    atlas: Path
    truth: Path
    delays: Path
    n_done: int
    n_runs: int


def write_cohort(
    folder: Path,
    system: str,
    settings: SystemSettings,
    observation: ObserveSettings,
    cohort: CohortSettings,
) -> Iterator[WrittenCohort]:
    """Simulate and write, yielding after the simulation and after each run.

    Parameters
    ----------
    folder
        New folder; receives ``dataset/``, an atlas image with its table,
        ``desc-truth_relmat.tsv`` with a sidecar that holds every setting, and
        ``desc-truthDelays_dseg.tsv`` with the delays of the regions and its sidecar.
    system
        Name of the system.
    settings, observation, cohort
        Settings of the system, of its observation, and of the subjects and runs.

    Raises
    ------
    InputDataError
        The folder is not empty.
    SettingsError
        The system cannot be simulated with these settings.
    """
    _check_empty(folder)
    simulation, observed = _simulate_and_observe(system, settings, observation, cohort)
    n_recorded = int(observed.recorded.sum())
    names = tuple(np.array(simulation.labels)[observed.recorded]) if settings.sc else ()
    atlas = simulated_atlas(n_recorded, names)
    image = f"atlas-{atlas.name}_space-{atlas.space}_dseg.nii.gz"
    paths = folder / "dataset", folder / image, folder / _TRUTH, delays_path(folder / _TRUTH)
    with replacing_folder(folder, new=True) as partial:
        nib.save(atlas.image, partial / image)
        write_table(atlas.table(), partial / image.replace(".nii.gz", ".tsv"))
        truth = simulation.truth[np.ix_(observed.recorded, observed.recorded)]
        write_matrix(ECResult(truth, atlas.labels), partial / _TRUTH)
        _describe_truth(partial / _TRUTH, simulation, (system, settings, observation, cohort))
        _write_delays(delays_path(partial / _TRUTH), observed.haemodynamics, atlas.labels)
        write_description(partial / "dataset", f"npi-simulate {system}")
        for n_done in _write_runs(partial, atlas, observed, cohort, settings.seed):
            yield WrittenCohort(*paths, n_done, observed.series.shape[0])


def delays_path(truth: Path) -> Path:
    """Return the path of the table of true delays that belongs to a true map.

    >>> delays_path(Path("desc-truth_relmat.tsv")).name
    'desc-truthDelays_dseg.tsv'
    """
    output = CATALOGUE["delays"]
    stem = truth.name.removesuffix(".tsv").removesuffix("_relmat")
    return truth.with_name(f"{stem}{output.variant}_{output.suffix}{output.extension}")


def find_cohort(
    folder: Path,
    system: str,
    settings: SystemSettings,
    observation: ObserveSettings,
    cohort: CohortSettings,
) -> WrittenCohort | None:
    """Return the simulation in a folder; None if it has other settings or is incomplete.

    Parameters
    ----------
    folder, system, settings, observation, cohort
        As :func:`write_cohort` takes them.
    """
    dataset, truth = folder / "dataset", folder / _TRUTH
    delays = delays_path(truth)
    atlases = sorted(folder.glob("atlas-*_dseg.nii.gz"))
    n_runs = len(list(_list_entities(cohort)))
    names = "*_timeseries.tsv" if cohort.series_only else "*_bold.nii.gz"
    complete = len(atlases) == 1 and len(list(dataset.rglob(names))) == n_runs
    tables = (truth, truth.with_suffix(".json"), delays, delays.with_suffix(".json"))
    if not complete or not all(path.is_file() for path in tables):
        return None
    stored = read_json(truth.with_suffix(".json"))
    expected = json.loads(json.dumps(_settings_fields((system, settings, observation, cohort))))
    if any(stored.get(key) != value for key, value in expected.items()):
        return None
    return WrittenCohort(dataset, atlases[0], truth, delays, n_runs, n_runs)


def _check_empty(folder: Path) -> None:
    """Refuse a folder that holds files, except remains of an interrupted simulation."""
    if folder.is_dir():
        remove_attempts(folder)
        if any(folder.iterdir()):
            raise InputDataError(
                f"<{folder}> is not empty; name another folder, or remove it first. A simulation "
                "is never written over another."
            )


def _write_runs(
    folder: Path, atlas: Parcellation, observed: Observation, cohort: CohortSettings, seed: int
) -> Iterator[int]:
    """Write the runs, and yield how many are written, from 0 on."""
    yield 0
    rng = np.random.default_rng([seed, 2])
    for number, entities in enumerate(_list_entities(cohort)):
        signals, keep = observed.series[number], observed.keep[number]
        if cohort.series_only:
            _write_table(folder, entities, RegionSeries(signals, atlas.labels, observed.tr, keep))
        else:
            run = SimulatedRun(entities, signals, observed.tr, ~keep)
            write_run(folder / "dataset", run, atlas, rng)
        yield number + 1


def _simulate_and_observe(
    system: str, settings: SystemSettings, observation: ObserveSettings, cohort: CohortSettings
) -> tuple[Simulation, Observation]:
    n_samples = round(60 * cohort.minutes / sampling_period(system, settings))
    n_runs = cohort.n_subjects * cohort.n_sessions * cohort.n_runs
    rng = np.random.default_rng([settings.seed, 1])
    return record_system(system, settings, observation, rng, n_runs=n_runs, n_samples=n_samples)


def _list_entities(cohort: CohortSettings) -> Iterator[dict[str, str]]:
    for subject in range(1, cohort.n_subjects + 1):
        for session in range(1, cohort.n_sessions + 1):
            for run in range(1, cohort.n_runs + 1):
                entities = {"sub": f"{subject:02d}"}
                if cohort.n_sessions > 1:
                    entities["ses"] = f"{session:02d}"
                entities["task"] = "rest"
                if cohort.n_runs > 1:
                    entities["run"] = str(run)
                yield entities


def _write_table(folder: Path, entities: dict[str, str], series: RegionSeries) -> None:
    func = folder / "dataset" / f"sub-{entities['sub']}"
    func = func / f"ses-{entities['ses']}" / "func" if "ses" in entities else func / "func"
    func.mkdir(parents=True, exist_ok=True)
    stem = "_".join(f"{key}-{value}" for key, value in entities.items())
    path = func / f"{stem}_desc-simulated_timeseries.tsv"
    data = series.data.copy()
    data[~series.keep] = np.nan
    write_series(RegionSeries(data, series.labels, series.tr, series.keep), path)
    sidecar = {
        "Description": "Simulated regional signals, one column per region.",
        "SamplingFrequency": 1 / series.tr,
        "StartTime": 0,
        "RepetitionTime": series.tr,
        "Sources": [],
    }
    write_json(path.with_suffix(".json"), sidecar)


def _describe_truth(
    path: Path,
    simulation: Simulation,
    settings: tuple[str, SystemSettings, ObserveSettings, CohortSettings],
) -> None:
    content = {
        "Description": "True effective connectivity; rows are sources, columns are targets.",
        "Units": simulation.unit,
        "RepetitionTime": simulation.tr * settings[2].decimate,
        **_settings_fields(settings),
    }
    write_json(path.with_suffix(".json"), content)


def _write_delays(path: Path, haemodynamics: Haemodynamics, labels: tuple[str, ...]) -> None:
    """Write the table of true delays and dispersions with its sidecar."""
    sidecar = TableSidecar(
        description="True haemodynamic delay of each region, as it was simulated.",
        columns={
            "delay": Column(
                "By how much the signal of the region lags behind that of a region without a "
                "delay of its own; negative where it leads.", "s",
            ),
            "dispersion": Column(
                "Dispersion of the response of the region, relative to that of SPM's canonical "
                "response; n/a: no response was simulated.",
            ),
        },
    )  # fmt: skip
    sidecar.write(path.with_suffix(".json"))
    rows = zip(labels, haemodynamics.delay, haemodynamics.dispersion, strict=True)
    write_rows(
        [
            {"index": index, "name": label, "delay": delay, "dispersion": dispersion}
            for index, (label, delay, dispersion) in enumerate(rows, start=1)
        ],
        path,
    )


def _settings_fields(
    settings: tuple[str, SystemSettings, ObserveSettings, CohortSettings],
) -> dict[str, object]:
    """Return the fields of the truth's sidecar that describe the simulation."""
    system, system_settings, observation, cohort = settings
    return {
        "System": system,
        "SystemSettings": asdict(system_settings),
        "ObserveSettings": asdict(observation),
        "CohortSettings": asdict(cohort),
    }
