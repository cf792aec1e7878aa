"""Effects of head motion on the maps of a group (Ciric et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr
from scipy.stats import t as student

from npi_bids.assessment.uncertainty import fdr_q_values
from npi_bids.bids.sidecars import MotionSummary
from npi_bids.group.map_stack import split_edges
from npi_bids.records import Array

_FEWEST = 4  # subjects


@dataclass(frozen=True, slots=True, eq=False)
class MotionEffect:
    """QC-EC: the correlation of every edge with motion over subjects.

    Attributes
    ----------
    r, p
        Shape (n_edges,).
    median_absolute_r
        Median of the absolute r over edges.
    share_significant
        Share of the edges with q < 0.05.
    distance_r
        Spearman's correlation of r with the distance of the regions; NaN where centres are not
        known.
    n_subjects
        Number of subjects with known motion.
    """

    r: Array
    p: Array
    median_absolute_r: float
    share_significant: float
    distance_r: float
    n_subjects: int

    @property
    def summary(self) -> MotionSummary:
        """Fields of a sidecar on the effects of motion."""
        return MotionSummary(
            subjects=self.n_subjects,
            median_absolute_r=self.median_absolute_r,
            share_significant=self.share_significant,
            spearman_with_distance=self.distance_r,
        )


def motion_effect(maps: Array, displacement: Array, centres: Array | None) -> MotionEffect | None:
    """Correlate every edge with mean framewise displacement.

    For functional connectivity see Ciric et al. 2017 (doi:10.1016/j.neuroimage.2017.03.020).
    None where fewer than four subjects have a displacement, or where it does not vary.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_edges), may be memory-mapped.
    displacement
        Shape (n_subjects,) in mm; NaN where it is not known.
    centres
        Shape (n_regions, 3) in mm, or None.
    """
    rows = np.flatnonzero(np.isfinite(displacement))
    mean_fd = displacement[rows]
    if rows.size < _FEWEST or np.ptp(mean_fd) == 0:
        return None
    mean_fd = (mean_fd - mean_fd.mean()) / np.linalg.norm(mean_fd - mean_fd.mean())
    r = np.full(maps.shape[1], np.nan)
    for edges in split_edges(*maps.shape):
        block = np.asarray(maps[:, edges], dtype=np.float64)[rows]
        centred = block - block.mean(axis=0)
        length = np.linalg.norm(centred, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            varies = length > 1e-12 * np.abs(block).max(axis=0, initial=0)
            r[edges] = np.where(varies, mean_fd @ centred / length, np.nan)
    r = np.clip(r, -1, 1)
    free = rows.size - 2
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * student.sf(np.abs(r) * np.sqrt(free / (1 - r**2)), free)
    finite = np.isfinite(r)
    undefined = float("nan")
    return MotionEffect(
        r,
        p,
        float(np.median(np.abs(r[finite]))) if finite.any() else undefined,
        float(np.mean(fdr_q_values(p)[finite] < 0.05)) if finite.any() else undefined,
        _distance_dependence(r, centres),
        int(rows.size),
    )


def distances(centres: Array) -> Array:
    """Return the distance of every pair of regions in mm, shape (n_regions, n_regions)."""
    distance: Array = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    return distance


def _distance_dependence(r: Array, centres: Array | None) -> float:
    if centres is None:
        return float("nan")
    distance = distances(centres).ravel()
    finite = np.isfinite(r) & np.isfinite(distance)
    return (
        float(spearmanr(r[finite], distance[finite]).statistic)
        if finite.sum() > 2
        else float("nan")
    )
