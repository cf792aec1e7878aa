r"""Regression dynamic causal modelling (rDCM) of resting-state signals, the reference for DCM.

rDCM (Frässle et al. 2017, doi:10.1016/j.neuroimage.2017.02.090) turns a linear DCM ``dx/dt = A x``
into Bayesian linear regressions, one per target, in the frequency domain. The derivative is that
of the toolbox (tapas, ``tapas_rdcm_create_regressors``), a forward difference, whose factor at the
discrete frequency k of N is ``(exp(2 pi i k / N) - 1) / TR``:

    (exp(2 pi i k / N) - 1) / TR * y_k = A y_k + noise_k.

Without inputs, all frequencies are used (Frässle et al. 2021, doi:10.1002/hbm.25357). The
haemodynamic response enters the regression through the inputs alone: a response that is fixed and
the same in all regions multiplies both sides at each frequency, and cancels.

A normalised discrete Fourier transform is unitary, so that this regression has the same moments,
and therefore the same posterior, as that of ``(y[t + 1] - y[t]) / TR`` on ``y[t]``. It is computed
in this form (as by the successor of the toolbox, RegressionDynamicCausalModeling.jl), from pairs
of consecutive uncensored samples: moments of runs and of stretches between censored samples add
up, and no pair spans a gap. Three things differ from the first toolbox. The step from the last
sample of a run to its first, which a circular transform takes for an observation, is left out.
The zero frequency is left out too: derivatives and signals have their mean removed. And the noise
precision is updated with the number of observations, not with the number of frequencies over the
square of the ratio of TR and input step (256), which shrinks maps far more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
from scipy.special import gammaln, psi

from npi_bids.errors import SurrogateError
from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings
from npi_bids.surrogates.var import VAR
from npi_bids.surrogates.windows import reverse_time
from npi_bids.wording import count_noun

# Priors of the toolbox (tapas_rdcm_get_prior, from spm_dcm_fmri_priors), for signals in seconds
# and standard deviations: self-connections of -0.5 Hz with variance 1 / (8 N), connections between
# regions of 0 with variance 8 / N, and the noise precision as a gamma distribution.
_SELF_CONNECTION = -0.5
_NOISE_SHAPE, _NOISE_RATE = 2.0, 1.0
_TOLERANCE = 1e-5  # of the free energy, as in the toolbox
_MAX_ITERATIONS = 500
# Precision of a prior that hardly matters, relative to that of the toolbox.
_WEAK_PRIOR = 0.01
_MIN_WINDOWS = 3


class RDCMFields(TypedDict):
    """Fields that loading an :class:`RDCM` requires besides the tensors."""

    form: Literal["rdcm"]
    tr: float


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """Moments of the regression of derivatives on signals, summed over observations.

    Attributes
    ----------
    signals
        Shape (n_regions, n_regions); products of signals with signals.
    cross
        Shape (source, target); products of the signals of sources with derivatives of targets.
    derivatives
        Shape (n_regions,); squared derivatives.
    n_observations
        Number of pairs of samples but one, for the mean.
    """

    signals: Array
    cross: Array
    derivatives: Array
    n_observations: int


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Approximate posterior of all regressions, one per target.

    Attributes
    ----------
    drift
        Shape (n_regions, n_regions), indexed ``[source, target]``: mean of the transposed matrix A
        of a DCM, in Hz.
    drift_error
        Standard deviation of each entry of ``drift``.
    noise_shape, noise_rate
        Shape and, for each target, rate of the gamma distribution of the noise precision.
    free_energy
        Shape (n_iterations, n_regions); negative free energy of each target after each iteration.
    """

    drift: Array
    drift_error: Array
    noise_shape: float
    noise_rate: Array
    free_energy: Array

    @property
    def noise_precision(self) -> Array:
        """Mean precision of the noise of the derivative, shape (n_regions,)."""
        precision: Array = self.noise_shape / self.noise_rate
        return precision


def regression_moments(past: Array, future: Array, tr: float) -> Regression:
    """Return the moments of the regression of forward differences on signals, without means.

    Parameters
    ----------
    past, future
        Shape (n_pairs, n_regions); samples and those that follow them.
    tr
        Sampling period (s).
    """
    past, future = past - past.mean(axis=0), future - future.mean(axis=0)
    derivative = (future - past) / tr
    return Regression(
        past.T @ past, past.T @ derivative, (derivative**2).sum(axis=0), len(derivative) - 1
    )


def infer_posterior(regression: Regression, prior_weight: float = 1.0) -> Posterior:
    r"""Infer all connections by variational updates (Frässle et al. 2017).

    For each target with signals X, derivatives Y and prior ``N(m0, inv(L0))`` of its connections,

        S = inv(E[tau] X'X + L0),    m = S (E[tau] X'Y + L0 m0),
        b = b0 + (|Y - X m|^2 + tr(X'X S)) / 2,    E[tau] = (a0 + n / 2) / b,

    until the negative free energy changes by less than 1e-5. The prior precision differs from a
    multiple of the identity by one entry, that of the self-connection, so that one eigenvalue
    decomposition of X'X and the formula of Sherman and Morrison give S for all targets.

    Parameters
    ----------
    regression
        Moments of z-scored signals.
    prior_weight
        Factor of the precision of the prior of the connections.

    Examples
    --------
    One region that returns to its mean at 0.2 Hz, ten times over:

    >>> past = np.repeat([[1.0], [-1.0]], 5000, axis=0)
    >>> moments = regression_moments(past, 0.8 * past, tr=1.0)
    >>> infer_posterior(moments).drift.round(2)
    array([[-0.2]])
    """
    n_regions = len(regression.signals)
    updates = _Updates(regression, prior_weight)
    precision = np.full(n_regions, _NOISE_SHAPE / _NOISE_RATE)
    free_energy: list[Array] = []
    for _ in range(_MAX_ITERATIONS):
        updates.update_connections(precision)
        precision = updates.update_noise()
        free_energy.append(updates.free_energy(precision))
        if len(free_energy) > 1 and np.all(abs(free_energy[-1] - free_energy[-2]) < _TOLERANCE):
            break
    return Posterior(
        drift=updates.basis @ updates.mean,
        drift_error=updates.standard_deviations(),
        noise_shape=updates.noise_shape,
        noise_rate=updates.noise_rate,
        free_energy=np.array(free_energy),
    )


class _Updates:
    """Variational updates of all targets, in the eigenbasis of the moments of the signals.

    Columns are targets. ``own`` holds the axis of each target's own region in the eigenbasis.
    """

    def __init__(self, regression: Regression, prior_weight: float) -> None:
        n_regions = len(regression.signals)
        self.n_observations = regression.n_observations
        self.between_precision = prior_weight * n_regions / 8
        self.self_precision = prior_weight * n_regions * 8
        eigenvalues, self.basis = np.linalg.eigh(regression.signals)
        self.energy = np.maximum(eigenvalues, 0.0)[:, None]
        self.cross = self.basis.T @ regression.cross
        self.derivatives = regression.derivatives
        self.own: Array = self.basis.T.copy()
        self.noise_shape = _NOISE_SHAPE + regression.n_observations / 2
        self.noise_rate = np.full(n_regions, _NOISE_RATE)
        self.mean = _SELF_CONNECTION * self.own

    def update_connections(self, precision: Array) -> None:
        """Update mean and covariance of the connections, given the mean noise precision."""
        # The covariance of a target is diag(variance) - gain * spread spread'.
        self.precision = precision
        self.variance = 1 / (precision * self.energy + self.between_precision)
        self.spread = self.variance * self.own
        added = self.self_precision - self.between_precision
        self.shrinkage = 1 + added * (self.own * self.spread).sum(axis=0)
        self.gain = added / self.shrinkage
        evidence = precision * self.cross + self.self_precision * _SELF_CONNECTION * self.own
        correction = self.gain * (self.spread * evidence).sum(axis=0)
        self.mean = self.variance * evidence - correction * self.spread

    def update_noise(self) -> Array:
        """Update the rate of the noise precision; return its mean."""
        fitted = (self.mean * (2 * self.cross - self.energy * self.mean)).sum(axis=0)
        self.residual = (self.derivatives - fitted + self._uncertain_energy()) / 2
        self.noise_rate = _NOISE_RATE + self.residual
        precision: Array = self.noise_shape / self.noise_rate
        return precision

    def _uncertain_energy(self) -> Array:
        """Return tr(X'X S) of each target."""
        energy = (self.energy * self.variance).sum(axis=0)
        energy -= self.gain * (self.energy * self.spread**2).sum(axis=0)
        trace: Array = energy
        return trace

    def free_energy(self, precision: Array) -> Array:
        """Return the negative free energy of each target."""
        n_regions, a0, b0 = len(self.mean), _NOISE_SHAPE, _NOISE_RATE
        log_precision = psi(self.noise_shape) - np.log(self.noise_rate)
        likelihood = self.n_observations / 2 * (log_precision - np.log(2 * np.pi))
        likelihood = likelihood - self.residual * precision
        deviation = self.mean - _SELF_CONNECTION * self.own
        distance = self.between_precision * (deviation**2).sum(axis=0)
        own_distance = (deviation * self.own).sum(axis=0) ** 2
        distance += (self.self_precision - self.between_precision) * own_distance
        # tr(L0 S) = N - E[tau] tr(X'X S), with the precision that S was computed from.
        distance += n_regions - self.precision * self._uncertain_energy()
        log_prior = (n_regions - 1) * np.log(self.between_precision) + np.log(self.self_precision)
        connections = (log_prior - distance) / 2
        connections += (np.log(self.variance).sum(axis=0) - np.log(self.shrinkage) + n_regions) / 2
        noise = a0 * np.log(b0) - gammaln(a0) + (a0 - 1) * log_precision - b0 * precision
        shape = self.noise_shape
        noise += shape - np.log(self.noise_rate) + gammaln(shape) + (1 - shape) * psi(shape)
        total: Array = likelihood + connections + noise
        return total

    def standard_deviations(self) -> Array:
        """Return the posterior standard deviations, shape (source, target)."""
        variance = self.basis**2 @ self.variance
        variance = variance - self.gain * (self.basis @ self.spread) ** 2
        deviations: Array = np.sqrt(variance)
        return deviations


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
    noise_precision
        Shape (n_regions,); mean precision of the noise of the derivatives of z-scored signals.
    scale
        Shape (n_regions,); standard deviation of each region.
    tr
        Sampling period (s).
    """

    drift: Array
    drift_error: Array
    noise_precision: Array
    scale: Array
    tr: float

    @property
    def free_lags(self) -> int:
        """Number of lags with fitted weights between regions."""
        return 1

    def tensors(self) -> dict[str, Array]:
        """Return weights, posterior and scale by name."""
        return {
            "weights": self.weights,
            "offset": self.offset,
            "drift": self.drift,
            "drift_error": self.drift_error,
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

    def without_prior(self, windows: Windows, *, reverse: bool = False) -> RDCM:
        """Return the model fitted with a hundredth of the precision of the prior."""
        return fit_model(reverse_time(windows) if reverse else windows, _WEAK_PRIOR)[0]


def load_rdcm(tensors: Mapping[str, Array], fields: RDCMFields) -> RDCM:
    """Restore a model fitted by :func:`fit_rdcm`."""
    return RDCM(
        tensors["weights"],
        tensors["offset"],
        tensors["drift"],
        tensors["drift_error"],
        tensors["noise_precision"],
        tensors["scale"],
        float(fields["tr"]),
    )


def fit_rdcm(
    train: Windows,
    valid: Windows,
    settings: TrainSettings,  # noqa: ARG001 (nothing is chosen)
    like: Surrogate | None = None,  # noqa: ARG001
) -> tuple[Surrogate, TrainLog]:
    """Fit a linear DCM by regression; of each window only the last two samples are used.

    Parameters
    ----------
    train, valid
        Training windows, and held-out windows (may be empty), which only enter the log.
    settings, like
        Not used: everything is determined by data and prior.

    Returns
    -------
    RDCM
        The fit, with as many lags as the windows.
    TrainLog
        Errors, the negative free energy (summed over regions) and the number of iterations.
    """
    model, posterior = fit_model(train)
    details = (
        ("free_energy", float(posterior.free_energy[-1].sum())),
        ("n_iterations", float(len(posterior.free_energy))),
    )
    return model, TrainLog((model.mse(train),), (model.mse(valid),), details)


def fit_model(windows: Windows, prior_weight: float = 1.0) -> tuple[RDCM, Posterior]:
    """Fit a linear DCM to windows; the signals of each region are z-scored.

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
    posterior = infer_posterior(regression, prior_weight)
    weights = np.zeros((windows.n_lags, len(scale), len(scale)))
    step = np.eye(len(scale)) + windows.tr * posterior.drift
    weights[-1] = step * scale[None, :] / scale[:, None]
    offset: Array = future.mean(axis=0) - past.mean(axis=0) @ weights[-1]
    model = RDCM(
        weights,
        offset,
        posterior.drift,
        posterior.drift_error,
        posterior.noise_precision,
        scale,
        windows.tr,
    )
    return model, posterior
