"""Extract the regional series of one run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from npi_bids.core.records import Array, Mask, RegionSeries
from npi_bids.errors import InputDataError
from npi_bids.images.confounds import Confounds, load_confounds
from npi_bids.images.header import RunFiles, load_bold, sampling_period
from npi_bids.images.options import CoverageSettings, DenoiseSettings
from npi_bids.images.parcellation import Parcellation, label_data, label_image
from npi_bids.images.resample import region_sizes, to_grid

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """What came out of one run.

    Attributes
    ----------
    series
        All regions of the atlas in atlas order; n/a rows and columns are NaN.
    coverage
        One row per region: index, name, n_voxels (on the image grid), coverage, covered.
    confounds
        What was regressed, and which samples stayed.
    excluded
        Why no sample of the run can be used, or empty.
    """

    series: RegionSeries
    coverage: pd.DataFrame
    confounds: Confounds
    excluded: str = ""


def extract_run(
    run: RunFiles,
    parcellation: Parcellation,
    denoise: DenoiseSettings,
    coverage: CoverageSettings,
) -> Extracted:
    """Extract and clean the regional series of one run, in one fit of nilearn.

    Parameters
    ----------
    run
        Its files.
    parcellation
        The atlas, in any grid; it is resampled to the run's.
    denoise, coverage
        How to clean, and which regions count.

    Raises
    ------
    InputDataError
        A file cannot be read, or files do not fit together.
    """
    image = load_bold(run.bold)
    tr = sampling_period(image, run)
    n_samples = image.shape[3]
    confounds = load_confounds(
        run.confounds,
        n_samples=n_samples,
        tr=tr,
        strategy=denoise.strategy,
        dummy_scans=denoise.dummy_scans,
    )
    atlas = to_grid(parcellation, image)
    seen = _voxels_with_signal(image, run.mask)
    table = _measure_coverage(atlas, seen, parcellation, coverage.min_coverage)
    covered = table["covered"].to_numpy(dtype=bool)
    data = np.full((n_samples, len(table)), np.nan)
    excluded = _lack_of_freedom(confounds, denoise, tr)
    if excluded:
        _logger.warning("%s is left out: %s", run.bold.name, excluded)
        confounds = replace(confounds, keep=np.zeros_like(confounds.keep))
    if confounds.keep.any() and covered.any():
        inside = _restrict(atlas, seen, covered, parcellation)
        # Both maskers return the regions in increasing order of their values, as the table has
        # them, and _restrict left exactly the covered ones; any other number fails here.
        data[np.ix_(confounds.keep, covered)] = _clean_signals(
            image, inside, confounds, denoise, tr
        )
    _logger.info(
        "%s: %d of %d samples kept, %d of %d regions covered",
        run.bold.name, confounds.keep.sum(), n_samples, covered.sum(), covered.size,
    )  # fmt: skip
    series = RegionSeries(data, parcellation.labels, tr, confounds.keep)
    return Extracted(series, table, confounds, excluded)


def _voxels_with_signal(image: Any, mask: Path | None) -> Mask:
    data = np.asarray(image.dataobj)
    seen: Mask = np.isfinite(data).all(axis=3) & (data.min(axis=3) < data.max(axis=3))
    if mask is None:
        return seen
    brain: Any = nib.load(mask)
    if brain.shape[:3] != image.shape[:3] or not np.allclose(
        brain.affine, image.affine, atol=1e-3
    ):
        raise InputDataError(
            f"The mask <{mask}> has a grid of {brain.shape[:3]} that is not the grid of its run, "
            f"{image.shape[:3]}; expected the mask of the same space and resolution."
        )
    inside: Mask = np.asarray(brain.dataobj).reshape(image.shape[:3]) > 0
    return seen & inside


def _measure_coverage(
    atlas: Any, seen: Mask, parcellation: Parcellation, threshold: float
) -> pd.DataFrame:
    whole = region_sizes(atlas, parcellation)
    data = np.asarray(atlas.dataobj)
    held = data * (seen[..., None] if parcellation.probabilistic else seen)
    part = region_sizes(nib.Nifti1Image(held, atlas.affine), parcellation)
    share = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    table = parcellation.table()[["index", "name"]]
    return table.assign(
        n_voxels=whole if parcellation.probabilistic else whole.astype(int),
        coverage=share,
        covered=(share >= threshold) & (part > 0),
    )


def _restrict(atlas: Any, seen: Mask, covered: Mask, parcellation: Parcellation) -> Any:
    """Keep the covered regions, within the voxels that hold signal."""
    if parcellation.probabilistic:
        weights = np.asarray(atlas.dataobj)[..., covered] * seen[..., None]
        return nib.Nifti1Image(weights, atlas.affine)
    data = label_data(atlas, parcellation.name)
    kept = np.asarray(parcellation.values)[covered]
    return label_image(np.where(seen & np.isin(data, kept), data, 0), atlas.affine)


def _clean_signals(
    image: Any, regions: Any, confounds: Confounds, denoise: DenoiseSettings, tr: float
) -> Array:
    from nilearn.maskers import NiftiLabelsMasker, NiftiMapsMasker

    options: dict[str, Any] = {
        "standardize": "zscore_sample" if denoise.standardize == "zscore" else None,
        "standardize_confounds": True,
        "detrend": False,
        "smoothing_fwhm": denoise.smoothing or None,
        "t_r": tr,
        "resampling_target": None,
        "reports": False,
    }
    if denoise.low_pass:
        options |= {"high_pass": denoise.high_pass, "low_pass": denoise.low_pass}
    elif denoise.high_pass:
        options |= {"high_pass": denoise.high_pass, "clean_args": {"filter": "cosine"}}
    if len(regions.shape) == 4:
        masker = NiftiMapsMasker(regions, **options)
    else:
        masker = NiftiLabelsMasker(regions, **options)
    used = confounds.regressors.to_numpy(dtype=np.float64)
    signals: Array = masker.fit_transform(
        image,
        confounds=used if used.shape[1] else None,
        sample_mask=np.flatnonzero(confounds.keep),
    ).astype(np.float64)
    return signals


def _lack_of_freedom(confounds: Confounds, denoise: DenoiseSettings, tr: float) -> str:
    """Say why the fit would leave no signal, or return an empty text."""
    n_kept = int(confounds.keep.sum())
    n_used = confounds.regressors.shape[1] + 1
    if denoise.high_pass:
        n_used += int(2 * len(confounds.keep) * tr * denoise.high_pass)
    if n_kept > n_used + 1:
        return ""
    return (
        f"{n_kept} of {len(confounds.keep)} samples are kept but {n_used} regressors are to be "
        "removed, which would leave no signal; use a leaner --denoise strategy or a higher "
        "--fd-thresh"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What happened to one run, in plain values, for sidecars and reports.

    ``regions_lost`` are covered in no part of the grid, ``regions_uncovered`` below the threshold
    (lost ones included); framewise displacements in mm, NaN where the confounds do not say.
    """

    tr: float
    n_samples: int
    n_kept: int
    n_dummy: int
    n_censored: int
    mean_fd: float
    max_fd: float
    strategy: str
    strategy_description: str
    regressors: tuple[str, ...]
    regions_lost: tuple[str, ...]
    regions_uncovered: tuple[str, ...]
    atlas_space: str
    excluded: str


def summarise_given(
    series: RegionSeries, displacement: Array, strategy: str, space: str
) -> RunSummary:
    """Return what is known of a run whose regional series were given."""
    known = displacement[np.isfinite(displacement)]
    lost = ~np.asarray(np.isfinite(series.data).any(axis=0))
    names = tuple(label for label, gone in zip(series.labels, lost, strict=True) if gone)
    return RunSummary(
        tr=series.tr,
        n_samples=len(series.keep),
        n_kept=int(series.keep.sum()),
        n_dummy=0,
        n_censored=int((~series.keep).sum()),
        mean_fd=float(known.mean()) if known.size else float("nan"),
        max_fd=float(known.max()) if known.size else float("nan"),
        strategy=strategy,
        strategy_description="regional series as they were found; nothing was regressed here",
        regressors=(),
        regions_lost=names,
        regions_uncovered=names,
        atlas_space=space,
        excluded="",
    )


def summarise(
    extracted: Extracted, parcellation: Parcellation, denoise: DenoiseSettings
) -> RunSummary:
    """Return what happened to a run."""
    confounds, table = extracted.confounds, extracted.coverage
    displacement = confounds.framewise_displacement
    known = displacement[np.isfinite(displacement)]
    strategy = denoise.strategy
    kept = int(confounds.keep.sum())
    return RunSummary(
        tr=extracted.series.tr,
        n_samples=len(confounds.keep),
        n_kept=kept,
        n_dummy=confounds.n_dummy,
        n_censored=len(confounds.keep) - kept - confounds.n_dummy,
        mean_fd=float(known.mean()) if known.size else float("nan"),
        max_fd=float(known.max()) if known.size else float("nan"),
        strategy=strategy.name,
        strategy_description=strategy.description,
        regressors=tuple(map(str, confounds.regressors.columns)),
        regions_lost=tuple(table["name"][table["coverage"] == 0]),
        regions_uncovered=tuple(table["name"][~table["covered"]]),
        atlas_space=parcellation.space,
        excluded=extracted.excluded,
    )
