"""Free runs of a surrogate."""

from __future__ import annotations

import logging

import numpy as np

from npi_bids.connectivity.settings import (
    DIVERGENCE_ADVICE,
    FREE_RUN_NOISE,
    FREE_RUN_SAMPLES,
)
from npi_bids.errors import SurrogateError
from npi_bids.matrices import correlation
from npi_bids.records import Array
from npi_bids.surrogates.base import Surrogate

_LOGGER = logging.getLogger(__name__)


def free_run(
    surrogate: Surrogate, n_samples: int, rng: np.random.Generator, noise: float = FREE_RUN_NOISE
) -> Array:
    """Run a surrogate on its own output, from zeros.

    As released by Luo et al. (2025), fresh noise is added to the entire history at each step. A
    surrogate that models its noise is driven by that noise instead, correlated between regions.

    Parameters
    ----------
    surrogate
        Fitted model.
    n_samples
        Length of the run.
    rng
        Source of the noise.
    noise
        Standard deviation of the noise, in the unit of the signals, if the surrogate models none.

    Returns
    -------
    Array
        Shape (n_samples, n_regions).

    Raises
    ------
    SurrogateError
        If the run diverges.
    """
    shape = (surrogate.n_lags, surrogate.n_regions)
    path = np.zeros((surrogate.n_lags + n_samples, surrogate.n_regions))
    noise_factor: Array = np.zeros((surrogate.n_regions, surrogate.n_regions))
    covariance = surrogate.noise_covariance()
    if covariance is not None:
        noise_factor[:], noise = np.linalg.cholesky(covariance), 0.0
    for index in range(surrogate.n_lags, len(path)):
        history = path[index - surrogate.n_lags : index]
        if noise:
            history = history + noise * rng.standard_normal(shape)
        path[index] = surrogate.step(history[None])[0]
        if not noise:
            path[index] += noise_factor @ rng.standard_normal(shape[1])
        if not np.abs(path[index]).max() < 1e6:
            raise SurrogateError(
                f"The free-running surrogate diverged after {index - shape[0] + 1} samples."
            )
    return path[surrogate.n_lags :]


def model_fc(
    surrogate: Surrogate, rng: np.random.Generator, n_samples: int = FREE_RUN_SAMPLES
) -> Array | None:
    """Return the functional connectivity of the free-running surrogate, or None if it diverges.

    Linear surrogates have it in closed form; others are run.

    Parameters
    ----------
    surrogate
        Fitted model.
    rng
        Source of the noise.
    n_samples
        Length of the free run.

    Returns
    -------
    Array or None
        Shape (n_regions, n_regions).
    """
    if (stationary := surrogate.stationary_correlation()) is not None:
        return stationary
    try:
        return correlation(free_run(surrogate, n_samples, rng))
    except SurrogateError as error:
        _LOGGER.warning("%s There is no model FC. %s.", error, DIVERGENCE_ADVICE)
        return None
