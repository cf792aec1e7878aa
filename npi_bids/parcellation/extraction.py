"""Extract the regional series of one run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from npi_bids.errors import InputDataError
from npi_bids.parcellation.cifti import GreyScan
from npi_bids.parcellation.confounds import Confounds, global_signal_problem, load_confounds
from npi_bids.parcellation.damaged_volumes import MOST_DAMAGED, Survey, far_samples
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.mean_volume import MeanVolume
from npi_bids.parcellation.parcellation import Parcellation
from npi_bids.parcellation.region_sums import RegionSignals
from npi_bids.parcellation.run_files import RunFiles
from npi_bids.parcellation.volumes import VolumeScan
from npi_bids.records import Array, Mask, RegionSeries

_logger = logging.getLogger(__name__)
_COVERAGE = ("index", "name", "n_voxels", "coverage", "covered")


@dataclass(frozen=True, slots=True, eq=False)
class ExtractedRun:
    """The regional series of one run, and how they were extracted.

    Attributes
    ----------
    series
        All regions of the atlas in atlas order; n/a rows and columns are NaN.
    coverage
        One row per region: index, name, n_voxels (on the image grid), coverage, covered.
    confounds
        Regressors, and the samples that are retained.
    raw
        Means of the regions before they were cleaned, in SD, shape of the series; all samples.
    damaged
        Shape (n_samples,); samples left out because the image is damaged there (constant, not
        finite, far from those around them), and for no other reason.
    excluded
        Why no sample of the run can be used, or empty.
    hazards
        Problems that may have spoilt the series.
    mean
        Mean volume at a low resolution; None for greyordinates.
    """

    series: RegionSeries
    coverage: pd.DataFrame
    confounds: Confounds
    raw: Array
    damaged: Mask
    excluded: str = ""
    hazards: tuple[str, ...] = ()
    mean: MeanVolume | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RegionReading:
    """What was read of the regions of one atlas, before denoising.

    Attributes
    ----------
    coverage
        One row per region: index, name, n_voxels (on the image grid), coverage, covered.
    means
        Shape (n_samples, n_covered); mean signal of the covered regions, as stored in the image.
    damaged
        Shape (n_samples,); samples in which the image is damaged.
    brain_mean
        Shape (n_samples,); mean within the brain mask, NaN without one.
    tr
        Sampling period (s).
    mean
        Mean volume at a low resolution; None for greyordinates.
    """

    coverage: pd.DataFrame
    means: Array
    damaged: Mask
    brain_mean: Array
    tr: float
    mean: MeanVolume | None = None


def extract_run(
    run: RunFiles,
    parcellation: Parcellation,
    denoise: DenoiseSettings,
    coverage: CoverageSettings,
) -> ExtractedRun:
    """Extract and denoise the regional series of one run for one atlas.

    Parameters
    ----------
    run
        Files of the run.
    parcellation
        The atlas, on any grid; it is resampled to the run's.
    denoise, coverage
        How to denoise the signals, and which regions count as covered.

    Raises
    ------
    InputDataError
        A file cannot be read, or files do not fit together.
    """
    (reading,) = read_regions(run, [parcellation], denoise, coverage)
    if isinstance(reading, InputDataError):
        raise reading
    return denoise_run(reading, run, parcellation, denoise)


def read_regions(
    run: RunFiles,
    parcellations: Sequence[Parcellation],
    denoise: DenoiseSettings,
    coverage: CoverageSettings,
) -> list[RegionReading | InputDataError]:
    """Read the mean signals of the regions of several atlases, in one pass over a run.

    Samples that turn out to be damaged are not counted when voxels are judged. Where they are
    known from the regional means alone, the run is read a second time.

    Parameters
    ----------
    run
        Files of the run.
    parcellations
        The atlases, on any grid.
    denoise, coverage
        Which samples are censored and how the image is smoothed, and which regions count as
        covered.

    Returns
    -------
    list
        What was read for each atlas, or why it cannot be used with this run; the others can.

    Raises
    ------
    InputDataError
        A file cannot be read, or files do not fit together, whatever the atlas.
    """
    readings: dict[int, RegionReading | InputDataError] = {}
    for grey in (False, True):
        positions = [k for k, atlas in enumerate(parcellations) if atlas.grey is grey]
        if positions:
            atlases = [parcellations[k] for k in positions]
            read = _read_with_scan(run, atlases, denoise, coverage.min_coverage)
            readings.update(zip(positions, read, strict=True))
    return [_check_damage(readings[k], run) for k in range(len(parcellations))]


def _read_with_scan(
    run: RunFiles,
    parcellations: Sequence[Parcellation],
    denoise: DenoiseSettings,
    min_coverage: float,
) -> list[RegionReading | InputDataError]:
    """Read the regions of atlases that are all of volumes, or all of greyordinates."""
    scan = _open_scan(run, parcellations, denoise.smoothing)
    keep = _load_confounds(run, scan.n_samples, scan.tr, denoise).keep
    problems = scan.problems if isinstance(scan, GreyScan) else {}
    survey, signals = scan.read(keep)
    assess = partial(_assess_regions, run, min_coverage=min_coverage)
    readings: list[RegionReading | InputDataError] = [
        problems.get(k) or assess(atlas, signals[k], survey, scan.tr)
        for k, atlas in enumerate(parcellations)
    ]
    again: dict[bytes, list[int]] = {}
    for k, reading in enumerate(readings):
        if isinstance(reading, RegionReading):
            far = far_samples(reading.means, keep & ~survey.damaged)
            if far.any():
                again.setdefault(far.tobytes(), []).append(k)
    for content, positions in again.items():
        damaged = survey.damaged | np.frombuffer(content, dtype=bool)
        _, signals = scan.read(keep & ~damaged)
        for k in positions:
            judged = replace(survey, damaged=damaged)
            readings[k] = assess(parcellations[k], signals[k], judged, scan.tr)
    if isinstance(scan, GreyScan):
        return readings
    mean = scan.mean.finish()
    return [replace(reading, mean=mean) if isinstance(reading, RegionReading) else reading
            for reading in readings]  # fmt: skip


def save_reading(reading: RegionReading | InputDataError, path: Path) -> None:
    """Write what was read of the regions of an atlas, or why nothing was, as ``.npz``."""
    if isinstance(reading, InputDataError):
        np.savez(path, problem=np.array(str(reading)))
        return
    columns: dict[str, Any] = {
        f"coverage_{name}": reading.coverage[name].to_numpy() for name in _COVERAGE
    }
    columns["coverage_name"] = np.array(reading.coverage["name"].tolist())
    if reading.mean is not None:
        columns |= {"mean_data": reading.mean.data, "mean_affine": reading.mean.affine}
    np.savez(
        path,
        means=reading.means,
        damaged=reading.damaged,
        brain_mean=reading.brain_mean,
        tr=np.array(reading.tr),
        **columns,
    )


def load_reading(path: Path) -> RegionReading:
    """Read back what :func:`save_reading` wrote.

    Raises
    ------
    InputDataError
        The atlas cannot be used with the run; the message is that of the reading.
    """
    with np.load(path, allow_pickle=False) as arrays:
        if "problem" in arrays:
            raise InputDataError(str(arrays["problem"]))
        coverage = pd.DataFrame({name: arrays[f"coverage_{name}"] for name in _COVERAGE})
        mean = None
        if "mean_data" in arrays:
            mean = MeanVolume(arrays["mean_data"], arrays["mean_affine"])
        return RegionReading(
            coverage, arrays["means"], arrays["damaged"], arrays["brain_mean"],
            float(arrays["tr"]), mean,
        )  # fmt: skip


def denoise_run(
    reading: RegionReading, run: RunFiles, parcellation: Parcellation, denoise: DenoiseSettings
) -> ExtractedRun:
    """Denoise the regional series of one run.

    Parameters
    ----------
    reading
        What was read of its regions.
    run
        Files of the run; the image itself is not read.
    parcellation
        The atlas.
    denoise
        How to denoise the signals.

    Raises
    ------
    InputDataError
        The confounds cannot be read or do not fit, or too many samples are damaged.
    """
    table, means, tr = reading.coverage, reading.means, reading.tr
    n_samples = len(reading.damaged)
    confounds = _load_confounds(run, n_samples, tr, denoise)
    damaged = reading.damaged & confounds.keep
    covered = table["covered"].to_numpy(dtype=bool)
    if damaged.any():
        confounds = replace(confounds, keep=confounds.keep & ~damaged)
    hazard = global_signal_problem(confounds, reading.brain_mean)
    excluded = _describe_lack_of_freedom(confounds, denoise, tr)
    for problem in filter(None, (hazard, excluded and f"left out: {excluded}")):
        _logger.warning("%s: %s", run.bold.name, problem)
    if excluded:
        confounds = replace(confounds, keep=np.zeros_like(confounds.keep))
    data, raw = (np.full((n_samples, len(table)), np.nan) for _ in range(2))
    if confounds.keep.any():
        data[np.ix_(confounds.keep, covered)] = _clean_signals(means, confounds, denoise, tr)
        raw[:, covered] = _scale_to_sd(means, ~reading.damaged)
    _logger.info(
        "%s: %d of %d samples kept, %d of %d regions covered",
        run.bold.name, confounds.keep.sum(), n_samples, covered.sum(), covered.size,
    )  # fmt: skip
    series = RegionSeries(data, parcellation.labels, tr, confounds.keep)
    hazards = (hazard,) if hazard else ()
    return ExtractedRun(series, table, confounds, raw, damaged, excluded, hazards, reading.mean)


def _open_scan(
    run: RunFiles, parcellations: Sequence[Parcellation], smoothing: float
) -> VolumeScan | GreyScan:
    if not parcellations[0].grey:
        return VolumeScan(run, parcellations, smoothing)
    if smoothing:
        raise InputDataError(
            "--smoothing is for volumes; smooth greyordinates along the surface beforehand "
            "(wb_command -cifti-smoothing), or leave it out."
        )
    return GreyScan(run, parcellations)


def _load_confounds(
    run: RunFiles, n_samples: int, tr: float, denoise: DenoiseSettings
) -> Confounds:
    return load_confounds(
        run.confounds,
        n_samples=n_samples,
        tr=tr,
        strategy=denoise.strategy,
        dummy_scans=denoise.dummy_scans,
    )


def _assess_regions(
    run: RunFiles,
    parcellation: Parcellation,
    signals: RegionSignals,
    survey: Survey,
    tr: float,
    *,
    min_coverage: float,
) -> RegionReading | InputDataError:
    """Return the means of the covered regions, or the error if there is none."""
    table = _measure_coverage(signals, parcellation, min_coverage)
    covered = table["covered"].to_numpy(dtype=bool)
    if not covered.any():
        return InputDataError(_describe_lack_of_signal(run, parcellation, table, min_coverage))
    return RegionReading(table, signals.signals(covered), survey.damaged, survey.brain_mean, tr)


def _check_damage(
    reading: RegionReading | InputDataError, run: RunFiles
) -> RegionReading | InputDataError:
    """Warn of damaged samples; return an error where they are too many."""
    if isinstance(reading, InputDataError) or not reading.damaged.any():
        return reading
    numbers, n_samples = np.flatnonzero(reading.damaged), len(reading.damaged)
    listed = ", ".join(map(str, numbers[:8])) + (" ..." if len(numbers) > 8 else "")
    description = (
        f"{len(numbers)} of {n_samples} samples are constant, not finite, or far from those "
        f"around them (counted from 0: {listed})"
    )
    if len(numbers) > MOST_DAMAGED * n_samples:
        return InputDataError(
            f"<{run.bold}> is damaged: {description}; expected at most a third. Was it copied or "
            "converted completely? Leave the run out with --bids-filter-file."
        )
    _logger.warning("%s: %s; they are censored", run.bold.name, description)
    return reading


def _describe_lack_of_signal(
    run: RunFiles, parcellation: Parcellation, table: pd.DataFrame, min_coverage: float
) -> str:
    return (
        f"<{run.bold}> holds signal in no region of the atlas {parcellation.name}: at most "
        f"{table['coverage'].max():.0%} of a region; expected at least "
        f"{min_coverage:.0%}. Is the image empty, or in another space than the atlas? "
        "Leave the run out with --bids-filter-file."
    )


def _scale_to_sd(means: Array, sound: Mask) -> Array:
    """Scale regional means to SD over the undamaged samples; damaged samples become NaN."""
    centre, spread = means[sound].mean(axis=0), means[sound].std(axis=0)
    scaled: Array = (means - centre) / np.where(spread > 0, spread, np.nan)
    scaled[~sound] = np.nan
    return scaled


def _measure_coverage(
    signals: RegionSignals, parcellation: Parcellation, threshold: float
) -> pd.DataFrame:
    n_voxels, n_with_signal = signals.n_voxels, signals.n_with_signal
    share = np.divide(
        n_with_signal, n_voxels, out=np.zeros_like(n_with_signal), where=n_voxels > 0
    )
    table = parcellation.table()[["index", "name"]]
    return table.assign(
        n_voxels=n_voxels if parcellation.probabilistic else n_voxels.astype(int),
        coverage=share,
        covered=(share >= threshold) & (n_with_signal > 0),
    )


def _clean_signals(
    means: Array, confounds: Confounds, denoise: DenoiseSettings, tr: float
) -> Array:
    """Clean regional means as nilearn's maskers do, and return the retained samples."""
    from nilearn.signal import clean

    options: dict[str, Any] = {}
    if denoise.low_pass:
        options = {"high_pass": denoise.high_pass, "low_pass": denoise.low_pass}
    elif denoise.high_pass:
        options = {"high_pass": denoise.high_pass, "filter": "cosine"}
    used = confounds.regressors.to_numpy(dtype=np.float64)
    signals: Array = clean(
        means,
        confounds=used if used.shape[1] else None,
        sample_mask=np.flatnonzero(confounds.keep),
        standardize="zscore_sample" if denoise.standardize == "zscore" else None,
        standardize_confounds=True,
        detrend=False,
        t_r=tr,
        **options,
    )
    return signals


def _describe_lack_of_freedom(confounds: Confounds, denoise: DenoiseSettings, tr: float) -> str:
    """Describe why the regression would leave no signal; empty if it would leave some."""
    n_retained = int(confounds.keep.sum())
    n_used = confounds.regressors.shape[1] + 1
    if denoise.high_pass:
        n_used += int(2 * len(confounds.keep) * tr * denoise.high_pass)
    if n_retained > n_used + 1:
        return ""
    return (
        f"{n_retained} of {len(confounds.keep)} samples are kept but {n_used} regressors are to "
        "be removed, which would leave no signal; use a leaner --denoise strategy or a higher "
        "--fd-thresh"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """How one run was processed, in plain values, for sidecars and reports.

    ``regions_lost`` are not covered at all, ``regions_uncovered`` less than the threshold (lost
    ones included). Framewise displacements are in mm, NaN where the confounds lack them.
    ``n_damaged`` of the censored samples are censored because the image is damaged there.
    ``lowest_coverage`` is that of a covered region, NaN where coverage is not known.
    """

    tr: float
    n_samples: int
    n_kept: int
    n_dummy: int
    n_censored: int
    n_damaged: int
    mean_fd: float
    max_fd: float
    strategy: str
    strategy_description: str
    regressors: tuple[str, ...]
    regions_lost: tuple[str, ...]
    regions_uncovered: tuple[str, ...]
    atlas_space: str
    excluded: str
    hazards: tuple[str, ...]
    lowest_coverage: float = float("nan")


def summarise_external(
    series: RegionSeries,
    displacement: Array,
    strategy: str,
    space: str,
    *,
    matched_by: str = "name",
) -> RunSummary:
    """Summarise a run whose regional series were supplied by the user.

    ``matched_by`` says how columns were assigned to regions: by name, index or position.
    """
    finite_fd = displacement[np.isfinite(displacement)]
    lost = ~np.asarray(np.isfinite(series.data).any(axis=0))
    names = tuple(label for label, is_lost in zip(series.labels, lost, strict=True) if is_lost)
    return RunSummary(
        tr=series.tr,
        n_samples=len(series.keep),
        n_kept=int(series.keep.sum()),
        n_dummy=0,
        n_censored=int((~series.keep).sum()),
        n_damaged=0,
        mean_fd=float(finite_fd.mean()) if finite_fd.size else float("nan"),
        max_fd=float(finite_fd.max()) if finite_fd.size else float("nan"),
        strategy=strategy,
        strategy_description="regional series as provided; nothing further was regressed out"
        + (
            ""
            if matched_by == "name"
            else f". Columns are only numbered and were assigned to the regions by {matched_by}"
        ),
        regressors=(),
        regions_lost=names,
        regions_uncovered=names,
        atlas_space=space,
        excluded="",
        hazards=(),
    )


def summarise_run(
    extracted: ExtractedRun, parcellation: Parcellation, denoise: DenoiseSettings
) -> RunSummary:
    """Summarise how a run was processed."""
    confounds, table = extracted.confounds, extracted.coverage
    displacement = confounds.framewise_displacement
    finite_fd = displacement[np.isfinite(displacement)]
    strategy = denoise.strategy
    n_retained = int(confounds.keep.sum())
    return RunSummary(
        tr=extracted.series.tr,
        n_samples=len(confounds.keep),
        n_kept=n_retained,
        n_dummy=confounds.n_dummy,
        n_censored=len(confounds.keep) - n_retained - confounds.n_dummy,
        n_damaged=int(extracted.damaged.sum()),
        mean_fd=float(finite_fd.mean()) if finite_fd.size else float("nan"),
        max_fd=float(finite_fd.max()) if finite_fd.size else float("nan"),
        strategy=strategy.name,
        strategy_description=strategy.description,
        regressors=tuple(map(str, confounds.regressors.columns)),
        regions_lost=tuple(table["name"][table["coverage"] == 0]),
        regions_uncovered=tuple(table["name"][~table["covered"]]),
        atlas_space=parcellation.space,
        excluded=extracted.excluded,
        hazards=extracted.hazards,
        lowest_coverage=float(table["coverage"][table["covered"]].min()),
    )
