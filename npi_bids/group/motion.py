"""Effects of head motion on the maps of a group (Ciric et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr
from scipy.stats import t as student

from npi_bids.assessment.uncertainty import fdr_q_values
from npi_bids.bids.sidecars import MotionSummary
from npi_bids.group.map_stack import blocks_of
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
        Over edges.
    share_significant
        Of the edges, with q < 0.05.
    distance_r
        Spearman's correlation of r with the distance of the regions; NaN where centres are not
        known.
    n_subjects
        With known motion.
    """

    r: Array
    p: Array
    median_absolute_r: float
    share_significant: float
    distance_r: float
    n_subjects: int

    @property
    def summary(self) -> MotionSummary:
        """What a sidecar says of it."""
        return MotionSummary(
            subjects=self.n_subjects,
            median_absolute_r=self.median_absolute_r,
            share_significant=self.share_significant,
            spearman_with_distance=self.distance_r,
        )


def motion_effect(maps: Array, displacement: Array, centres: Array | None) -> MotionEffect | None:
    """Correlate every edge with mean framewise displacement; None below four subjects.

    Doi 10.1016/j.neuroimage.2017.03.020 for functional connectivity.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_edges), may lie on disk.
    displacement
        Shape (n_subjects,) in mm; NaN where it is not known, or all alike: None.
    centres
        Shape (n_regions, 3) in mm, or None.
    """
    rows = np.flatnonzero(np.isfinite(displacement))
    moved = displacement[rows]
    if rows.size < _FEWEST or np.ptp(moved) == 0:
        return None
    moved = (moved - moved.mean()) / np.linalg.norm(moved - moved.mean())
    r = np.full(maps.shape[1], np.nan)
    for edges in blocks_of(*maps.shape):
        block = np.asarray(maps[:, edges], dtype=np.float64)[rows]
        centred = block - block.mean(axis=0)
        length = np.linalg.norm(centred, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            varies = length > 1e-12 * np.abs(block).max(axis=0, initial=0)
            r[edges] = np.where(varies, moved @ centred / length, np.nan)
    r = np.clip(r, -1, 1)
    free = rows.size - 2
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * student.sf(np.abs(r) * np.sqrt(free / (1 - r**2)), free)
    known = np.isfinite(r)
    nothing = float("nan")
    return MotionEffect(
        r,
        p,
        float(np.median(np.abs(r[known]))) if known.any() else nothing,
        float(np.mean(fdr_q_values(p)[known] < 0.05)) if known.any() else nothing,
        _distance_dependence(r, centres),
        int(rows.size),
    )


def distances(centres: Array) -> Array:
    """Return the distance of every pair of regions in mm, shape (n_regions, n_regions)."""
    apart: Array = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    return apart


def _distance_dependence(r: Array, centres: Array | None) -> float:
    if centres is None:
        return float("nan")
    apart = distances(centres).ravel()
    both = np.isfinite(r) & np.isfinite(apart)
    return float(spearmanr(r[both], apart[both]).statistic) if both.sum() > 2 else float("nan")
