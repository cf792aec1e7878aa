"""Prior variances of pairs of regions, of which a share follows their partial correlations.

Brains, and most graphs, are sparse: few pairs of regions are connected. With one variance for all
pairs, a prior that is weak enough for the connected ones leaves the others at the mercy of noise,
and of smooth haemodynamics, whose lagged products suggest influences between any two regions. The
partial correlation of a pair is read from samples of the same time alone, and in a process of
symmetric drift and equal noise it is 0 exactly where the drift is. So the prior variance of a pair
is

    v_ij = v [(1 - c) + c p_ij^2 / mean(p^2)],

as in adaptive ridge regression (Grandvalet 1998, doi:10.1007/978-1-4471-1599-1_27), with the
partial correlation p and the concentration c. Held-out data choose c, and 0 is the same
variance for all.
"""

from __future__ import annotations

import numpy as np

from npi_bids.matrices import off_diagonal, partial_correlations, scale_covariance
from npi_bids.records import Array


def pair_variances(covariance: Array, n_samples: int, concentration: float) -> Array | None:
    """Return the prior variance of each pair of regions relative to their mean.

    Parameters
    ----------
    covariance
        Shape (n_regions, n_regions); of samples of the same time.
    n_samples
        Number of samples.
    concentration
        Share of the prior variance that is in proportion to squared partial correlations, from 0
        to below 1, so that no pair is ruled out.

    Returns
    -------
    Array or None
        Shape (n_regions, n_regions), symmetric, with a mean of about 1 off the diagonal; None if
        all pairs have the same variance.

    Examples
    --------
    >>> chain = np.linalg.inv(np.array([[1.0, 0.4, 0.0], [0.4, 1.0, 0.4], [0.0, 0.4, 1.0]]))
    >>> pair_variances(chain, 10_000, 0.9)[0].round(1).tolist()
    [1.0, 1.4, 0.1]
    """
    if not concentration:
        return None
    squared = _partial_correlation(covariance, n_samples) ** 2
    mean = float(off_diagonal(squared).mean())
    if not mean > 0:
        return None
    variances: Array = (1 - concentration) + concentration * squared / mean
    np.fill_diagonal(variances, 1.0)
    return variances


def _partial_correlation(covariance: Array, n_samples: int) -> Array:
    """Return partial correlations from a covariance alone.

    The correlations are shrunk to 0 by the oracle approximating rule (Chen et al. 2010,
    doi:10.1109/TSP.2010.2053029), which, unlike that of Ledoit and Wolf, needs no samples.
    """
    correlation = scale_covariance(covariance)
    n = len(correlation)
    # A constant region has no correlations that could concentrate its prior.
    unknown = np.isnan(correlation)
    correlation[unknown] = np.eye(n)[unknown]
    energy = float(np.sum(correlation**2))
    noise = (1 - 2 / n) * energy + n**2
    spread = (n_samples + 1 - 2 / n) * (energy - n)
    share = min(1.0, noise / spread) if spread > 0 else 1.0
    precision = np.linalg.inv((1 - share) * correlation + share * np.eye(n))
    return partial_correlations(np.asarray(precision, dtype=np.float64))
