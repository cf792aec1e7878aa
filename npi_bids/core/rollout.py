"""Let a surrogate run freely."""

from __future__ import annotations

import numpy as np

from npi_bids.core.measures import correlation
from npi_bids.core.records import Array
from npi_bids.core.surrogate import Surrogate
from npi_bids.errors import SurrogateError


def free_run(
    surrogate: Surrogate, n_samples: int, rng: np.random.Generator, noise: float = 0.1
) -> Array:
    """Run a surrogate on its own output, from zeros, with fresh noise on its input at each step.

    As released by Luo et al. (2025): 1200 samples, noise of SD 0.1 on the whole history.

    Parameters
    ----------
    surrogate
        Fitted model.
    n_samples
        Length of the run.
    rng
        Source of the noise.
    noise
        Its standard deviation, in the unit of the signals.

    Returns
    -------
    Array
        Shape (n_samples, n_regions).

    Raises
    ------
    SurrogateError
        The run left every bound.
    """
    shape = (surrogate.n_lags, surrogate.n_regions)
    path = np.zeros((surrogate.n_lags + n_samples, surrogate.n_regions))
    for now in range(surrogate.n_lags, len(path)):
        history = path[now - surrogate.n_lags : now] + noise * rng.standard_normal(shape)
        path[now] = surrogate.step(history[None])[0]
        if not np.abs(path[now]).max() < 1e6:
            raise SurrogateError(
                f"The free-running surrogate left every bound after {now - shape[0] + 1} samples."
            )
    return path[surrogate.n_lags :]


def model_fc(
    surrogate: Surrogate, rng: np.random.Generator, n_samples: int = 1200
) -> Array | None:
    """Return the functional connectivity of the free-running surrogate, or None if it diverges.

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
    try:
        return correlation(free_run(surrogate, n_samples, rng))
    except SurrogateError:
        return None
