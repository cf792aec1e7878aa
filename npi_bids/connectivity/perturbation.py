"""Effective connectivity by perturbation of a surrogate."""

from __future__ import annotations

import numpy as np

from npi_bids.connectivity.responses import respond_each, respond_randomised
from npi_bids.connectivity.settings import SIGNS, PerturbSettings
from npi_bids.errors import (
    SurrogateError,
)
from npi_bids.records import Array
from npi_bids.surrogates.base import Surrogate

# Step of the central difference for surrogates without a derivative.
_DIFFERENCE_STEP = 1e-3


def infer_ec(
    surrogate: Surrogate, history: Array, settings: PerturbSettings, seed: int = 0
) -> Array:
    """Infer effective connectivity by perturbing the surrogate.

    The most recent sample of *source* is shifted by ``strength`` in every window; the mean change
    of the prediction is the connectivity from *source* to every *target* (Luo et al. 2025,
    doi:10.1038/s41592-025-02654-x, equation of the virtual perturbation). A negative
    perturbation is divided by its sign, so that a positive entry always means that source and
    target change in the same direction.

    Parameters
    ----------
    surrogate
        Fitted model.
    history
        Shape (n_windows, n_lags, n_regions); states to perturb. Left untouched.
    settings
        Strength, sign, duration and type of the perturbation.
    seed
        Seed of the random perturbations.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``, in the unit of the signals.
        The diagonal, a region's effect on itself, is kept.

    Raises
    ------
    SurrogateError
        If the perturbed predictions are not finite.

    Examples
    --------
    In a linear model the result is the weight times the strength:

    >>> from npi_bids.surrogates.var import VAR
    >>> model = VAR(weights=np.array([[[0.5, 0.2], [0.0, 0.5]]]), offset=np.zeros(2))
    >>> infer_ec(model, np.zeros((4, 1, 2)), PerturbSettings(strength=1.0))
    array([[0.5, 0.2],
           [0. , 0.5]])
    """
    changes = [
        sign * _perturb(surrogate, history, sign * settings.strength, settings, seed)
        for sign in SIGNS[settings.sign]
    ]
    matrix: Array = np.mean(changes, axis=0)
    if not np.isfinite(matrix).all():
        raise SurrogateError(
            "The perturbed predictions are not finite; the surrogate diverged. Lower "
            "--learning-rate or --strength, or check the scale of the signals."
        )
    return matrix


def mean_jacobian(surrogate: Surrogate, history: Array) -> Array:
    """Return the mean derivative of the prediction by the most recent sample.

    It is the limit of :func:`infer_ec` for small strength, per unit.

    Parameters
    ----------
    surrogate
        Fitted model.
    history
        Shape (n_windows, n_lags, n_regions).

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    """
    closed_form = surrogate.mean_jacobian(history)
    if closed_form is not None:
        return closed_form
    up, down = (
        perturb_each(surrogate, history, step) for step in (_DIFFERENCE_STEP, -_DIFFERENCE_STEP)
    )
    jacobian: Array = (up - down) / (2 * _DIFFERENCE_STEP)
    return jacobian


def perturb_each(surrogate: Surrogate, history: Array, strength: float) -> Array:
    """Return the mean change of the prediction by one plain pass per region.

    This is the definition; :func:`infer_ec` uses a faster method if the surrogate has one.

    Parameters
    ----------
    surrogate
        Fitted model.
    history
        Shape (n_windows, n_lags, n_regions). Left untouched.
    strength
        Signed size, in the unit of the signals.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    """
    baseline = surrogate.step(history)
    matrix = np.empty((surrogate.n_regions, surrogate.n_regions))
    for source in range(surrogate.n_regions):
        perturbed = history.copy()
        perturbed[:, -1, source] += strength
        matrix[source] = (surrogate.step(perturbed) - baseline).mean(axis=0)
    return matrix


def _perturb(
    surrogate: Surrogate, history: Array, strength: float, settings: PerturbSettings, seed: int
) -> Array:
    if settings.perturbation == "randomised":
        rng = np.random.default_rng(seed)
        return respond_randomised(surrogate, history, strength, n_draws=settings.n_draws, rng=rng)
    if settings.steps_ahead > 1:
        return respond_each(
            surrogate,
            history,
            strength,
            steps=settings.steps_ahead,
            sustained=settings.sustained,
        )
    fast = surrogate.perturbed_change(history, strength)
    return perturb_each(surrogate, history, strength) if fast is None else fast
