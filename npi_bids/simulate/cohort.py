"""A simulation as a dataset that looks like fMRIPrep's output, with the truth beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from npi_bids.core.options import check_options, option
from npi_bids.core.records import ECResult, RegionSeries
from npi_bids.errors import InputDataError
from npi_bids.images.parcellation import Parcellation
from npi_bids.io.files import read_json, remove_attempts, replacing_folder, write_json
from npi_bids.io.tables import write_matrix, write_series, write_table
from npi_bids.simulate.atlas import simulated_atlas
from npi_bids.simulate.dataset import SimulatedRun, write_description, write_run
from npi_bids.simulate.observe import Observed, ObserveSettings, observe
from npi_bids.simulate.systems import (
    Simulation,
    SystemSettings,
    sampling_period,
    simulate,
)

_TRUTH = "desc-truth_relmat.tsv"


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortSettings:
    """Who is simulated, for how long, and as what."""

    n_subjects: int = option(3, "subjects; they share the network", above=0, metavar="N")
    n_sessions: int = option(1, "sessions of each subject", above=0, metavar="N")
    n_runs: int = option(2, "runs of each session", above=0, metavar="N")
    minutes: float = option(10.0, "length of a run", above=0, metavar="X")
    series_only: bool = option(
        False, "write regional series as tables, without images and confounds"
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and how far the work is."""

    dataset: Path
    atlas: Path
    truth: Path
    n_done: int
    n_runs: int


def write_cohort(
    folder: Path,
    system: str,
    settings: SystemSettings,
    seen: ObserveSettings,
    cohort: CohortSettings,
) -> Iterator[Written]:
    """Simulate and write, yielding after the simulation and after each run.

    Parameters
    ----------
    folder
        Where to; gets ``dataset/``, an atlas image with its table, and ``desc-truth_relmat.tsv``
        with a sidecar that holds every setting.
    system
        One of the systems.
    settings, seen, cohort
        The system, what is recorded of it, and of whom.

    Raises
    ------
    InputDataError
        The folder holds something already.
    SettingsError
        The system cannot be had with these settings.
    """
    _check_empty(folder)
    made, observed = _simulate(system, settings, seen, cohort)
    n_seen = int(observed.seen.sum())
    own = tuple(np.array(made.labels)[observed.seen]) if settings.sc else ()
    atlas = simulated_atlas(n_seen, own)
    image = f"atlas-{atlas.name}_space-{atlas.space}_dseg.nii.gz"
    paths = folder / "dataset", folder / image, folder / _TRUTH
    with replacing_folder(folder, new=True) as partial:
        nib.save(atlas.image, partial / image)
        write_table(atlas.table(), partial / image.replace(".nii.gz", ".tsv"))
        truth = made.truth[np.ix_(observed.seen, observed.seen)]
        write_matrix(ECResult(truth, atlas.labels), partial / _TRUTH)
        _describe_truth(partial / _TRUTH, made, (system, settings, seen, cohort))
        write_description(partial / "dataset", f"npi-simulate {system}")
        for n_done in _write_runs(partial, atlas, observed, cohort, settings.seed):
            yield Written(*paths, n_done, observed.series.shape[0])


def find_cohort(
    folder: Path,
    system: str,
    settings: SystemSettings,
    seen: ObserveSettings,
    cohort: CohortSettings,
) -> Written | None:
    """Return the simulation that a folder holds already, None where it is another or not whole.

    Parameters
    ----------
    folder, system, settings, seen, cohort
        As :func:`write_cohort` takes them.
    """
    dataset, truth = folder / "dataset", folder / _TRUTH
    atlases = sorted(folder.glob("atlas-*_dseg.nii.gz"))
    n_runs = len(list(_entities(cohort)))
    names = "*_timeseries.tsv" if cohort.series_only else "*_bold.nii.gz"
    whole = len(atlases) == 1 and len(list(dataset.rglob(names))) == n_runs
    if not whole or not truth.is_file() or not truth.with_suffix(".json").is_file():
        return None
    there = read_json(truth.with_suffix(".json"))
    expected = json.loads(json.dumps(_settings_fields((system, settings, seen, cohort))))
    if any(there.get(key) != value for key, value in expected.items()):
        return None
    return Written(dataset, atlases[0], truth, n_runs, n_runs)


def _check_empty(folder: Path) -> None:
    """Refuse a folder that holds files, but for what a simulation that was killed left."""
    if folder.is_dir():
        remove_attempts(folder)
        if any(folder.iterdir()):
            raise InputDataError(
                f"<{folder}> is not empty; name another folder, or remove it first. A simulation "
                "is never written over another."
            )


def _write_runs(
    folder: Path, atlas: Parcellation, observed: Observed, cohort: CohortSettings, seed: int
) -> Iterator[int]:
    """Write the runs, and yield how many are written, from 0 on."""
    yield 0
    rng = np.random.default_rng([seed, 2])
    for number, entities in enumerate(_entities(cohort)):
        signals, keep = observed.series[number], observed.keep[number]
        if cohort.series_only:
            _write_table(folder, entities, RegionSeries(signals, atlas.labels, observed.tr, keep))
        else:
            run = SimulatedRun(entities, signals, observed.tr, ~keep)
            write_run(folder / "dataset", run, atlas, rng)
        yield number + 1


def _simulate(
    system: str, settings: SystemSettings, seen: ObserveSettings, cohort: CohortSettings
) -> tuple[Simulation, Observed]:
    n_samples = round(60 * cohort.minutes / sampling_period(system, settings))
    n_runs = cohort.n_subjects * cohort.n_sessions * cohort.n_runs
    made = simulate(system, settings, n_runs, n_samples)
    rng = np.random.default_rng([settings.seed, 1])
    return made, observe(made.series, made.tr, seen, rng)


def _entities(cohort: CohortSettings) -> Iterator[dict[str, str]]:
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
    made: Simulation,
    settings: tuple[str, SystemSettings, ObserveSettings, CohortSettings],
) -> None:
    content = {
        "Description": "True effective connectivity; rows are sources, columns are targets.",
        "Units": made.unit,
        "RepetitionTime": made.tr * settings[2].decimate,
        **_settings_fields(settings),
    }
    write_json(path.with_suffix(".json"), content)


def _settings_fields(
    settings: tuple[str, SystemSettings, ObserveSettings, CohortSettings],
) -> dict[str, Any]:
    """Return the fields of the truth's sidecar that say how it was made."""
    system, of_system, seen, cohort = settings
    return {
        "System": system,
        "SystemSettings": asdict(of_system),
        "ObserveSettings": asdict(seen),
        "CohortSettings": asdict(cohort),
    }
