"""Regression dynamic causal modelling (rDCM) of resting-state signals, the reference for DCM.

See :mod:`~npi_bids.surrogates.rdcm_posterior` for the regression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np

from npi_bids.errors import SurrogateError
from npi_bids.matrices import off_diagonal
from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings
from npi_bids.surrogates.fixed_precision import FixedPrecision
from npi_bids.surrogates.rdcm_posterior import (
    Posterior,
    infer_posterior,
    infer_sparse_posterior,
    regression_moments,
)
from npi_bids.surrogates.var import VAR
from npi_bids.surrogates.windows import reverse_time
from npi_bids.wording import count_noun

_MIN_WINDOWS = 3


class RDCMFields(TypedDict):
    """Fields that loading an :class:`RDCM` requires besides the tensors."""

    form: Literal["rdcm"]
    tr: float


@dataclass(frozen=True, slots=True, eq=False)
class RDCM(VAR):
    """A linear DCM in discrete time, ``x[t + 1] = x[t] + TR * x[t] @ drift + noise``.

    This is the prediction that the forward difference of rDCM implies, so that the map is ``TR *
    drift`` off the diagonal. (The matrix exponential of ``TR * drift`` would be the transition of
    another model than the one that was fitted.)

    Attributes
    ----------
    drift, drift_error
        Shape (n_regions, n_regions), indexed ``[source, target]``: posterior mean and standard
        deviation of the connections of z-scored signals, in Hz.
    inclusion
        Shape (n_regions, n_regions); probability that a connection exists, 1 unless sparse.
    noise_precision
        Shape (n_regions,); mean precision of the noise of the derivatives of z-scored signals.
    scale
        Shape (n_regions,); standard deviation of each region.
    tr
        Sampling period (s).
    """

    drift: Array
    drift_error: Array
    inclusion: Array
    noise_precision: Array
    scale: Array
    tr: float

    def tensors(self) -> dict[str, Array]:
        """Return weights, posterior and scale by name."""
        return {
            "weights": self.weights,
            "offset": self.offset,
            "drift": self.drift,
            "drift_error": self.drift_error,
            "inclusion": self.inclusion,
            "noise_precision": self.noise_precision,
            "scale": self.scale,
        }

    def fields(self) -> dict[str, object]:
        """Return the sampling period."""
        return {"form": "rdcm", "tr": self.tr}

    def weight_errors(self, windows: Windows) -> Array:  # noqa: ARG002 (those of the fit)
        """Return the posterior standard deviations of the weights, shape (source, target)."""
        errors: Array = self.tr * self.drift_error * self.scale[None, :] / self.scale[:, None]
        return errors

    def noise_covariance(self) -> Array:
        """Return the covariance of the noise over one sample: independent between regions."""
        covariance: Array = np.diag(self.tr**2 / self.noise_precision * self.scale**2)
        return covariance

    def with_precision(
        self, windows: Windows, precision: FixedPrecision, *, reverse: bool = False
    ) -> RDCM:
        """Return the model with all connections and a prior of a fixed precision."""
        # As the penalty of a ridge regression, relative to the precision of the noise.
        prior = precision.penalty * len(windows) * float(np.mean(self.noise_precision))
        return fit_model(reverse_time(windows) if reverse else windows, (prior, prior))[0]


def load_rdcm(tensors: Mapping[str, Array], fields: RDCMFields) -> RDCM:
    """Restore a model fitted by :func:`fit_rdcm`."""
    return RDCM(
        tensors["weights"],
        tensors["offset"],
        tensors["drift"],
        tensors["drift_error"],
        tensors["inclusion"],
        tensors["noise_precision"],
        tensors["scale"],
        float(fields["tr"]),
    )


def fit_rdcm(
    train: Windows,
    valid: Windows,
    settings: TrainSettings,
    like: Surrogate | None = None,  # noqa: ARG001 (nothing is chosen)
) -> tuple[Surrogate, TrainLog]:
    """Fit a linear DCM by regression; of each window only the last two samples are used.

    Parameters
    ----------
    train, valid
        Training windows, and held-out windows (may be empty), which only enter the log.
    settings
        ``rdcm_density`` is the prior probability that a connection exists.
    like
        Not used: no choice depends on the data.

    Returns
    -------
    RDCM
        The fit, with as many lags as the windows.
    TrainLog
        Errors, the negative free energy (summed over regions), the number of iterations, and the
        expected share of connections that exist.
    """
    model, posterior = fit_model(train, density=settings.rdcm_density)
    details = (
        ("free_energy", float(posterior.free_energy[-1].sum())),
        ("n_iterations", float(len(posterior.free_energy))),
        ("inclusion", float(np.mean(off_diagonal(posterior.inclusion)))),
    )
    return model, TrainLog((model.mse(train),), (model.mse(valid),), details)


def fit_model(
    windows: Windows, prior: tuple[float, float] | None = None, density: float = 1.0
) -> tuple[RDCM, Posterior]:
    """Fit a linear DCM to windows; the signals of each region are z-scored.

    Parameters
    ----------
    windows
        Windows to fit.
    prior
        Precisions of the prior of connections and of self-connections, if every connection
        exists; those of the toolbox if None.
    density
        Prior probability that a connection exists.

    Raises
    ------
    SurrogateError
        If there are fewer than three windows, or the signals do not vary or are not finite.
    """
    scale = windows.target.std(axis=0)
    if len(windows) < _MIN_WINDOWS or not (scale > 0).any() or not np.isfinite(scale).all():
        raise SurrogateError(
            f"rDCM cannot be fitted to {count_noun(len(windows), 'window')} with a total variance "
            f"of {float(np.sum(scale**2)):g}; at least {_MIN_WINDOWS} pairs of consecutive "
            "uncensored samples of finite signals that vary are needed. Use longer scans, or "
            "loosen the censoring threshold."
        )
    scale = np.where(scale > 0, scale, 1.0)
    past, future = windows.history[:, -1], windows.target
    regression = regression_moments(past / scale, future / scale, windows.tr)
    posterior = (
        infer_posterior(regression, prior)
        if density == 1
        else infer_sparse_posterior(regression, density)
    )
    weights = np.zeros((windows.n_lags, len(scale), len(scale)))
    step = np.eye(len(scale)) + windows.tr * posterior.drift
    weights[-1] = step * scale[None, :] / scale[:, None]
    offset: Array = future.mean(axis=0) - past.mean(axis=0) @ weights[-1]
    model = RDCM(
        weights,
        offset,
        posterior.drift,
        posterior.drift_error,
        posterior.inclusion,
        posterior.noise_precision,
        scale,
        windows.tr,
    )
    return model, posterior
