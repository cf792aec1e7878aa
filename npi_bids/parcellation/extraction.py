"""Extract the regional series of one run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from npi_bids.errors import InputDataError
from npi_bids.parcellation.cifti import GreyScan
from npi_bids.parcellation.confounds import Confounds, global_signal_problem, load_confounds
from npi_bids.parcellation.damaged_volumes import MOST_DAMAGED, far_samples
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.parcellation import Parcellation
from npi_bids.parcellation.run_files import RunFiles
from npi_bids.parcellation.volumes import VolumeScan
from npi_bids.records import Array, Mask, RegionSeries

_logger = logging.getLogger(__name__)


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
    """

    series: RegionSeries
    coverage: pd.DataFrame
    confounds: Confounds
    raw: Array
    damaged: Mask
    excluded: str = ""
    hazards: tuple[str, ...] = ()


def extract_run(
    run: RunFiles,
    parcellation: Parcellation,
    denoise: DenoiseSettings,
    coverage: CoverageSettings,
) -> ExtractedRun:
    """Extract and clean the regional series of one run, in one fit of nilearn.

    Parameters
    ----------
    run
        Files of the run.
    parcellation
        The atlas, on any grid; it is resampled to the run's.
    denoise, coverage
        How to clean the signals, and which regions count as covered.

    Raises
    ------
    InputDataError
        A file cannot be read, or files do not fit together.
    """
    scan = GreyScan(run, parcellation) if parcellation.grey else VolumeScan(run, parcellation)
    tr, n_samples = scan.tr, scan.n_samples
    confounds = load_confounds(
        run.confounds,
        n_samples=n_samples,
        tr=tr,
        strategy=denoise.strategy,
        dummy_scans=denoise.dummy_scans,
    )
    reading = _read_regions(scan, (run, parcellation), confounds.keep, denoise, coverage)
    table, means, damaged = reading.coverage, reading.means, reading.damaged & confounds.keep
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
    return ExtractedRun(series, table, confounds, raw, damaged, excluded, hazards)


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """Coverage, regional means (n_samples, n_covered), damaged samples, mean within the mask."""

    coverage: pd.DataFrame
    means: Array
    damaged: Mask
    brain_mean: Array


def _read_regions(
    scan: VolumeScan | GreyScan,
    run_and_atlas: tuple[RunFiles, Parcellation],
    keep: Mask,
    denoise: DenoiseSettings,
    coverage: CoverageSettings,
) -> _Reading:
    """Read the regional means of a run, a second time if samples turn out to be damaged."""
    run, parcellation = run_and_atlas
    survey = scan.survey(keep)
    damaged = survey.damaged
    for last in (False, True):
        table = _measure_coverage(scan.sizes(), parcellation, coverage.min_coverage)
        covered = table["covered"].to_numpy(dtype=bool)
        if not covered.any():
            raise InputDataError(_describe_lack_of_signal(run, parcellation, table, coverage))
        means = scan.signals(covered, denoise.smoothing)
        far = far_samples(means, keep & ~damaged)
        if last or not far.any():
            break
        damaged = damaged | far
        scan.survey(keep & ~damaged)
    _report_damage(damaged, run)
    return _Reading(table, means, damaged, survey.brain_mean)


def _report_damage(damaged: Mask, run: RunFiles) -> None:
    if not damaged.any():
        return
    numbers = np.flatnonzero(damaged)
    listed = ", ".join(map(str, numbers[:8])) + (" ..." if len(numbers) > 8 else "")
    description = (
        f"{len(numbers)} of {len(damaged)} samples are constant, not finite, or far from those "
        f"around them (counted from 0: {listed})"
    )
    if len(numbers) > MOST_DAMAGED * len(damaged):
        raise InputDataError(
            f"<{run.bold}> is damaged: {description}; expected at most a third. Was it copied or "
            "converted completely? Leave the run out with --bids-filter-file."
        )
    _logger.warning("%s: %s; they are censored", run.bold.name, description)


def _describe_lack_of_signal(
    run: RunFiles, parcellation: Parcellation, table: pd.DataFrame, coverage: CoverageSettings
) -> str:
    return (
        f"<{run.bold}> holds signal in no region of the atlas {parcellation.name}: at most "
        f"{table['coverage'].max():.0%} of a region; expected at least "
        f"{coverage.min_coverage:.0%}. Is the image empty, or in another space than the atlas? "
        "Leave the run out with --bids-filter-file."
    )


def _scale_to_sd(means: Array, sound: Mask) -> Array:
    """Scale regional means to SD over the undamaged samples; damaged samples become NaN."""
    centre, spread = means[sound].mean(axis=0), means[sound].std(axis=0)
    scaled: Array = (means - centre) / np.where(spread > 0, spread, np.nan)
    scaled[~sound] = np.nan
    return scaled


def _measure_coverage(
    sizes: tuple[Array, Array], parcellation: Parcellation, threshold: float
) -> pd.DataFrame:
    n_voxels, n_with_signal = sizes
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
