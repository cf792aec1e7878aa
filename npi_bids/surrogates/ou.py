"""Multivariate Ornstein-Uhlenbeck process: linear dynamics in continuous time, seen once per TR.

The innovations of a process with independent noise tell of its connections too, because one
region's noise has reached the others before the next sample is taken; a VAR throws that away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypedDict

import numpy as np

from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings
from npi_bids.surrogates.ou_model_selection import Choices, ChoicesFields, choose, pairs
from npi_bids.surrogates.ou_process import OU, fit_ou, second_moments
from npi_bids.surrogates.var import VAR

_TINY = 1e-6


class MOUFields(TypedDict):
    """What loading an :class:`MOU` needs beside the tensors."""

    form: Literal["mou"]
    penalty: float
    choices: ChoicesFields


@dataclass(frozen=True, slots=True, eq=False)
class MOU(VAR):
    """A VAR whose weights come from an Ornstein-Uhlenbeck process.

    Attributes
    ----------
    process
        In z-scored units.
    choices
        Made from the data.
    scale
        Shape (n_regions,); standard deviation of each region.
    """

    process: OU
    choices: Choices
    scale: Array

    def tensors(self) -> dict[str, Array]:
        """Return weights, drift and diffusion by name."""
        return {
            "weights": self.weights,
            "offset": self.offset,
            "drift": self.process.drift,
            "diffusion": self.process.diffusion,
            "scale": self.scale,
        }

    def facts(self) -> dict[str, object]:
        """Return penalty and choices."""
        return {"form": "mou", "penalty": self.penalty, "choices": asdict(self.choices)}

    @property
    def free_lags(self) -> int:
        """Lags whose weights between regions are fitted."""
        return 1

    def noise_covariance(self) -> Array:
        """Return the covariance of the innovations, shape (n_regions, n_regions)."""
        covariance: Array = self.process.innovation * np.outer(self.scale, self.scale)
        return (covariance + covariance.T) / 2

    def weight_errors(self, windows: Windows) -> Array:
        """Return the standard errors of the most recent weights, shape (source, target).

        Posterior standard deviations: lagged products and innovations inform each pair of entries
        of the drift, the prior adds its precision; regions other than the pair are taken as known
        for the innovations, which is right for weak coupling.
        """
        scaled = _scaled(windows, windows.target.mean(axis=0), self.scale)
        past, future = pairs(scaled, self.choices)
        moments = second_moments(past, future)
        own = np.diag(self.process.drift)
        spread = np.linalg.inv(moments.past + _TINY * np.eye(len(own)))
        left = np.mean((future - past @ self.process.transition) ** 2, axis=0)
        slope = mean_exponential(own[:, None], own[None, :])
        lagged = len(windows) * slope**2 / np.outer(np.diag(spread), left)
        together = innovation_slope(own[:, None] + own[None, :]) * self.process.diffusion[:, None]
        shared = len(windows) / np.outer(left, left)
        even, odd = self.choices.precision
        there = lagged + shared * together**2 + (even + odd) / 2
        crossed = shared * together * together.T + (even - odd) / 2
        variance = there.T / (there * there.T - crossed**2)
        errors: Array = slope * np.sqrt(variance) * self.scale[None, :] / self.scale[:, None]
        return errors


def load_mou(tensors: Mapping[str, Array], facts: MOUFields) -> MOU:
    """Return what :func:`fit_mou` made."""
    return MOU(
        tensors["weights"],
        tensors["offset"],
        OU(tensors["drift"], tensors["diffusion"]),
        Choices.from_facts(facts["choices"]),
        tensors["scale"],
        penalty=float(facts["penalty"]),
    )


def fit_mou(
    train: Windows, valid: Windows, settings: TrainSettings, like: Surrogate | None = None
) -> tuple[Surrogate, TrainLog]:
    """Fit by maximum a posteriori, with all choices made by held-out stretches of ``train``.

    The prior is Gaussian with two precisions. Their *ratio* is that of the lagged evidence for the
    two parts (:func:`~npi_bids.surrogates.lagged_evidence.lagged_evidence`), whose null does not
    depend on the residuals being white; their *size* is the one of least held-out error. Where
    neither part has any lagged evidence, what regions share is instantaneous at this sampling
    rate; then the smooth autoregression common to all regions (haemodynamics) is taken out first
    (``--whitening``). Elsewhere regions may remember their own earlier samples, if held-out data
    gain by it.

    Parameters
    ----------
    train, valid
        Windows to learn from, and held-out windows (may be empty) for the log alone.
    settings
        ``n_lags - 1`` earlier samples are there for whitening or memory; ``whitening``.
    like
        A fit of the same subject whose choices to keep; with more windows, a place to start.

    Returns
    -------
    MOU
        With ``n_lags`` lags.
    TrainLog
        Errors, and what was chosen.
    """
    known = like if isinstance(like, MOU) else None
    model, details = fit_process(train, settings.whitening, known)
    return model, TrainLog((model.mse(train),), (model.mse(valid),), details)


def fit_process(
    windows: Windows, whitening: str, like: MOU | None = None
) -> tuple[MOU, tuple[tuple[str, float], ...]]:
    """Fit the process; return it with what was chosen, by name.

    Parameters
    ----------
    windows
        To fit.
    whitening
        auto, on or off.
    like
        A fit whose choices to keep; on more windows than it had they are made anew.
    """
    mean, scale = windows.target.mean(axis=0), windows.target.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    scaled = _scaled(windows, mean, scale)
    known = like is not None and len(windows) <= like.choices.n_windows
    choices = like.choices if like and known else choose(scaled, whitening)
    past, future = pairs(scaled, choices)
    # Parts of the data start afresh: where they say nothing the fit stays where it starts, and
    # parts that start from the whole would agree for no reason.
    start = like.process if like and not known else None
    process = fit_ou(second_moments(past, future), choices.precision, start)
    weights = unroll(process.transition, choices, windows.n_lags)
    weights = weights * scale[None, None, :] / scale[None, :, None]
    offset: Array = mean - np.einsum("s,lst->t", mean, weights)
    model = MOU(weights, offset, process, choices, scale)
    details = (
        ("precision_symmetric", choices.precision[0]),
        ("precision_antisymmetric", choices.precision[1]),
        ("evidence_symmetric", choices.evidence.symmetric),
        ("evidence_antisymmetric", choices.evidence.antisymmetric),
        ("whitening_order", float(len(choices.whitening))),
        ("memory_order", float(len(choices.memory))),
    )
    return model, details


def _scaled(windows: Windows, mean: Array, scale: Array) -> Windows:
    return Windows(
        (windows.history - mean) / scale, (windows.target - mean) / scale, windows.position
    )


def unroll(transition: Array, choices: Choices, n_lags: int) -> Array:
    """Return the weights of all lags, shape (n_lags, source, target), most recent last."""
    n_regions = len(transition)
    weights = np.zeros((n_lags, n_regions, n_regions))
    weights[-1] = transition
    for lag, weight in enumerate(choices.whitening, start=1):
        weights[-lag] += weight * np.eye(n_regions)
        weights[-lag - 1] -= weight * transition
    for lag, weight in enumerate(choices.memory, start=2):
        weights[-lag] += weight * np.eye(n_regions)
    return weights


def mean_exponential(one: Array, other: Array) -> Array:
    """Return ``(e^a - e^b) / (a - b)``: how the transition follows an entry of the drift."""
    half = (one - other) / 2
    ratio = np.where(np.abs(half) > 1e-6, np.sinh(half) / np.where(half == 0, 1, half), 1.0)
    slope: Array = np.exp((one + other) / 2) * ratio
    return slope


def innovation_slope(rate: Array) -> Array:
    """Return ``int_0^1 s e^(rate s) ds``: how the innovations follow an entry of the drift."""
    slope: Array = (np.exp(rate) * (rate - 1) + 1) / rate**2
    return slope
