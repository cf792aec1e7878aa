"""Take the sites out of maps: ComBat with empirical Bayes.

Johnson, Li and Rabinovic 2007 (doi:10.1093/biostatistics/kxj037), for brain measures Fortin et al.
2018 (doi:10.1016/j.neuroimage.2017.11.024). Location and scale of each site are shrunk towards
what the site's edges share; what covariates explain is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npi_bids.errors import NoUsableDataError
from npi_bids.group.map_stack import blocks_of
from npi_bids.group.permutation import varying_edges
from npi_bids.records import Array, Mask

_CONVERGED = 1e-10  # so tight that it does not matter which edges are taken together
_MAX_ROUNDS = 1000
# Mean and variance of the locations, and shape and rate of the scales, of a site.
_Prior = tuple[float, float, float, float]


def harmonise(maps: Array, sites: Sequence[str], covariates: Array, out: Array) -> None:
    """Write maps without their sites' location and scale into ``out``.

    Edges that some subject lacks, and edges that do not vary, are copied as they are.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_edges), may lie on disk.
    sites
        Site of each subject.
    covariates
        Shape (n_subjects, n_covariates), without a constant; what they explain is kept.
    out
        Shape of ``maps``; may lie on disk.

    Raises
    ------
    NoUsableDataError
        There is one site alone, or a site with a single subject.
    """
    check_sites(sites)
    members = [np.array([site == name for site in sites]) for name in sorted(set(sites))]
    design = np.column_stack([*members, covariates]).astype(float)
    usable = varying_edges(maps)
    priors = _priors(maps, usable, design, members)
    for edges in blocks_of(len(maps), maps.shape[1]):
        block = np.asarray(maps[:, edges], dtype=np.float64).copy()
        some = usable[edges]
        if some.any():
            block[:, some] = _adjust(block[:, some], design, members, priors)
        out[:, edges] = block


def check_sites(sites: Sequence[str]) -> None:
    """Raise a NoUsableDataError unless there are two sites at least, each of two subjects."""
    counts = {name: list(sites).count(name) for name in sorted(set(sites))}
    if len(counts) < 2 or min(counts.values()) < 2:
        raise NoUsableDataError(
            f"Sites have {counts} subjects; to take sites out, two sites of two subjects each are "
            "needed at least."
        )


def _standardise(block: Array, design: Array, n_sites: int) -> tuple[Array, Array, Array]:
    """Return z, what it was centred on, and its scale: mean and covariates out, noise 1."""
    share = design[:, :n_sites].mean(axis=0)
    coefficients = np.linalg.lstsq(design, block, rcond=None)[0]
    noise = ((block - design @ coefficients) ** 2).mean(axis=0)
    kept = share @ coefficients[:n_sites] + design[:, n_sites:] @ coefficients[n_sites:]
    scale = np.sqrt(noise)
    return (block - kept) / scale, kept, scale


def _priors(maps: Array, usable: Mask, design: Array, members: list[Mask]) -> list[_Prior]:
    """Return what the edges of each site share, by the method of moments."""
    locations: list[list[Array]] = [[] for _ in members]
    scales: list[list[Array]] = [[] for _ in members]
    for edges in blocks_of(len(maps), maps.shape[1]):
        some = usable[edges]
        if not some.any():
            continue
        block = np.asarray(maps[:, edges], dtype=np.float64)[:, some]
        z, _, _ = _standardise(block, design, len(members))
        for site, rows in enumerate(members):
            locations[site].append(z[rows].mean(axis=0))
            scales[site].append(z[rows].var(axis=0, ddof=1))
    found = []
    for location, scale in zip(locations, scales, strict=True):
        where, size = np.concatenate(location), np.concatenate(scale)
        mean, spread = float(size.mean()), float(size.var(ddof=1))
        shape = (2 * spread + mean**2) / spread
        rate = (mean * spread + mean**3) / spread
        found.append((float(where.mean()), float(where.var(ddof=1)), shape, rate))
    return found


def _adjust(block: Array, design: Array, members: list[Mask], priors: list[_Prior]) -> Array:
    z, kept, scale = _standardise(block, design, len(members))
    for rows, prior in zip(members, priors, strict=True):
        location, size = _shrink(z[rows], prior)
        z[rows] = (z[rows] - location) / np.sqrt(size)
    adjusted: Array = z * scale + kept
    return adjusted


def _shrink(z: Array, prior: _Prior) -> tuple[Array, Array]:
    """Return location and scale of one site's edges, each given the other until both rest."""
    mean, spread, shape, rate = prior
    n = len(z)
    own = z.mean(axis=0)
    location, size = own, z.var(axis=0, ddof=1)
    for _ in range(_MAX_ROUNDS):
        moved = (n * spread * own + size * mean) / (n * spread + size)
        apart = ((z - moved) ** 2).sum(axis=0)
        resized = (0.5 * apart + rate) / (n / 2 + shape - 1)
        change = max(
            float(np.max(np.abs(moved - location) / np.maximum(np.abs(location), 1e-300))),
            float(np.max(np.abs(resized - size) / size)),
        )
        location, size = moved, resized
        if change < _CONVERGED:
            break
    return location, size
