"""Harmonisation of maps over sites: ComBat with empirical Bayes.

Johnson, Li and Rabinovic 2007 (doi:10.1093/biostatistics/kxj037), for brain measures Fortin et al.
2018 (doi:10.1016/j.neuroimage.2017.11.024). Location and scale of each site are shrunk towards
what the site's edges share; what covariates explain is preserved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npi_bids.errors import NoUsableDataError
from npi_bids.group.map_stack import split_edges
from npi_bids.group.permutation import varying_edges
from npi_bids.records import Array, Mask

_CONVERGED = 1e-10  # so tight that the blocks of edges do not matter
_MAX_ROUNDS = 1000
# Mean and variance of the locations, and shape and rate of the scales, of a site.
_Prior = tuple[float, float, float, float]


def harmonise(maps: Array, sites: Sequence[str], covariates: Array, out: Array) -> None:
    """Remove the location and scale of each site from maps, and write them into ``out``.

    Edges that some subject lacks, and edges that do not vary, are copied as they are.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_edges), may be memory-mapped.
    sites
        Site of each subject.
    covariates
        Shape (n_subjects, n_covariates), without a constant; what they explain is preserved.
    out
        Shape of ``maps``; may be memory-mapped.

    Raises
    ------
    NoUsableDataError
        There is only one site, or a site has a single subject.
    """
    check_sites(sites)
    members = [np.array([site == name for site in sites]) for name in sorted(set(sites))]
    design = np.column_stack([*members, covariates]).astype(float)
    usable = varying_edges(maps)
    priors = _priors(maps, usable, design, members)
    for edges in split_edges(len(maps), maps.shape[1]):
        block = np.asarray(maps[:, edges], dtype=np.float64).copy()
        usable_here = usable[edges]
        if usable_here.any():
            block[:, usable_here] = _adjust(block[:, usable_here], design, members, priors)
        out[:, edges] = block


def check_sites(sites: Sequence[str]) -> None:
    """Raise a NoUsableDataError unless there are two sites or more with two subjects or more."""
    counts = {name: list(sites).count(name) for name in sorted(set(sites))}
    if len(counts) < 2 or min(counts.values()) < 2:
        raise NoUsableDataError(
            f"Sites have {counts} subjects; harmonisation needs at least two sites, each with "
            "at least two subjects."
        )


def _standardise(block: Array, design: Array, n_sites: int) -> tuple[Array, Array, Array]:
    """Return z-scores, their centres (mean and covariates), and their scales (noise)."""
    share = design[:, :n_sites].mean(axis=0)
    coefficients = np.linalg.lstsq(design, block, rcond=None)[0]
    noise = ((block - design @ coefficients) ** 2).mean(axis=0)
    preserved = share @ coefficients[:n_sites] + design[:, n_sites:] @ coefficients[n_sites:]
    scale = np.sqrt(noise)
    return (block - preserved) / scale, preserved, scale


def _priors(maps: Array, usable: Mask, design: Array, members: list[Mask]) -> list[_Prior]:
    """Return the prior of each site over edges, by the method of moments."""
    locations: list[list[Array]] = [[] for _ in members]
    scales: list[list[Array]] = [[] for _ in members]
    for edges in split_edges(len(maps), maps.shape[1]):
        usable_here = usable[edges]
        if not usable_here.any():
            continue
        block = np.asarray(maps[:, edges], dtype=np.float64)[:, usable_here]
        z, _, _ = _standardise(block, design, len(members))
        for site, rows in enumerate(members):
            locations[site].append(z[rows].mean(axis=0))
            scales[site].append(z[rows].var(axis=0, ddof=1))
    priors = []
    for location, scale in zip(locations, scales, strict=True):
        site_means, site_variances = np.concatenate(location), np.concatenate(scale)
        mean, spread = float(site_variances.mean()), float(site_variances.var(ddof=1))
        shape = (2 * spread + mean**2) / spread
        rate = (mean * spread + mean**3) / spread
        priors.append((float(site_means.mean()), float(site_means.var(ddof=1)), shape, rate))
    return priors


def _adjust(block: Array, design: Array, members: list[Mask], priors: list[_Prior]) -> Array:
    z, preserved, scale = _standardise(block, design, len(members))
    for rows, prior in zip(members, priors, strict=True):
        location, variance = _shrink(z[rows], prior)
        z[rows] = (z[rows] - location) / np.sqrt(variance)
    adjusted: Array = z * scale + preserved
    return adjusted


def _shrink(z: Array, prior: _Prior) -> tuple[Array, Array]:
    """Return location and scale of one site's edges, updated in turn until both converge."""
    mean, spread, shape, rate = prior
    n = len(z)
    unshrunk = z.mean(axis=0)
    location, variance = unshrunk, z.var(axis=0, ddof=1)
    for _ in range(_MAX_ROUNDS):
        new_location = (n * spread * unshrunk + variance * mean) / (n * spread + variance)
        squares = ((z - new_location) ** 2).sum(axis=0)
        new_variance = (0.5 * squares + rate) / (n / 2 + shape - 1)
        change = max(
            float(np.max(np.abs(new_location - location) / np.maximum(np.abs(location), 1e-300))),
            float(np.max(np.abs(new_variance - variance) / variance)),
        )
        location, variance = new_location, new_variance
        if change < _CONVERGED:
            break
    return location, variance
