"""Posterior of regression dynamic causal modelling (rDCM) of resting-state signals.

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

from dataclasses import dataclass

import numpy as np
from scipy.special import entr, expit, gammaln, logit, psi, xlog1py, xlogy

from npi_bids.records import Array

# Priors of the toolbox (tapas_rdcm_get_prior, from spm_dcm_fmri_priors), for signals in seconds
# and standard deviations: self-connections of -0.5 Hz with variance 1 / (8 N), connections between
# regions of 0 with variance 8 / N, and the noise precision as a gamma distribution.
_SELF_CONNECTION = -0.5
_NOISE_SHAPE, _NOISE_RATE = 2.0, 1.0
_TOLERANCE = 1e-5  # of the free energy, as in the toolbox
_MAX_ITERATIONS = 500


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
    inclusion
        Probability that a connection exists, shape (n_regions, n_regions); 1 unless sparse.
    noise_shape, noise_rate
        Shape and, for each target, rate of the gamma distribution of the noise precision.
    free_energy
        Shape (n_iterations, n_regions); negative free energy of each target after each iteration.
    """

    drift: Array
    drift_error: Array
    inclusion: Array
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


def infer_posterior(regression: Regression, prior: tuple[float, float] | None = None) -> Posterior:
    """Infer all connections by variational updates (Frässle et al. 2017).

    For each target with signals X, derivatives Y and prior ``N(m0, inv(L0))`` of its connections::

        S = inv(E[tau] X'X + L0),    m = S (E[tau] X'Y + L0 m0),
        b = b0 + (|Y - X m|^2 + tr(X'X S)) / 2,    E[tau] = (a0 + n / 2) / b,

    until the negative free energy changes by less than 1e-5. The prior precision differs from a
    multiple of the identity by one entry, that of the self-connection, so that one eigenvalue
    decomposition of X'X and the formula of Sherman and Morrison give S for all targets.

    Parameters
    ----------
    regression
        Moments of z-scored signals.
    prior
        Precisions of the prior of connections and of self-connections; those of the toolbox if
        None.

    Examples
    --------
    One region that returns to its mean at 0.2 Hz, ten times over:

    >>> past = np.repeat([[1.0], [-1.0]], 5000, axis=0)
    >>> moments = regression_moments(past, 0.8 * past, tr=1.0)
    >>> infer_posterior(moments).drift.round(2)
    array([[-0.2]])
    """
    n_regions = len(regression.signals)
    updates = _Updates(regression, prior)
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
        inclusion=np.ones((n_regions, n_regions)),
        noise_shape=updates.noise_shape,
        noise_rate=updates.noise_rate,
        free_energy=np.array(free_energy),
    )


class _Updates:
    """Variational updates of all targets, in the eigenbasis of the moments of the signals.

    Columns are targets. ``self_axes`` holds the axis of each target's own region in the
    eigenbasis.
    """

    def __init__(self, regression: Regression, prior: tuple[float, float] | None) -> None:
        n_regions = len(regression.signals)
        self.n_observations = regression.n_observations
        self.between_precision, self.self_precision = prior or (n_regions / 8, n_regions * 8.0)
        eigenvalues, self.basis = np.linalg.eigh(regression.signals)
        self.energy = np.maximum(eigenvalues, 0.0)[:, None]
        self.cross = self.basis.T @ regression.cross
        self.derivatives = regression.derivatives
        self.self_axes: Array = self.basis.T.copy()
        self.noise_shape = _NOISE_SHAPE + regression.n_observations / 2
        self.noise_rate = np.full(n_regions, _NOISE_RATE)
        self.mean = _SELF_CONNECTION * self.self_axes

    def update_connections(self, precision: Array) -> None:
        """Update mean and covariance of the connections, given the mean noise precision."""
        # The covariance of a target is diag(variance) - gain * spread spread'.
        self.precision = precision
        self.variance = 1 / (precision * self.energy + self.between_precision)
        self.spread = self.variance * self.self_axes
        added = self.self_precision - self.between_precision
        self.shrinkage = 1 + added * (self.self_axes * self.spread).sum(axis=0)
        self.gain = added / self.shrinkage
        evidence = precision * self.cross + self.self_precision * _SELF_CONNECTION * self.self_axes
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
        deviation = self.mean - _SELF_CONNECTION * self.self_axes
        distance = self.between_precision * (deviation**2).sum(axis=0)
        self_distance = (deviation * self.self_axes).sum(axis=0) ** 2
        distance += (self.self_precision - self.between_precision) * self_distance
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


def infer_sparse_posterior(regression: Regression, density: float) -> Posterior:
    """Infer which connections exist, and their strengths (Frässle et al. 2018).

    Each connection is multiplied by an indicator, which is 1 with the probability ``density`` a
    priori (doi:10.1016/j.neuroimage.2018.05.058); self-connections always exist. Indicators are
    updated one after the other, in the order of the regions (the toolbox draws 100 random orders
    and a grid of densities). ``drift`` and ``drift_error`` are mean and standard deviation of the
    product of indicator and strength.

    Parameters
    ----------
    regression
        Moments of z-scored signals.
    density
        Between 0 and 1, both excluded.
    """
    n_regions = len(regression.signals)
    targets = [_SparseTarget(regression, target, density) for target in range(n_regions)]
    energies = [target.iterate() for target in targets]
    n_iterations = max(map(len, energies))
    padded = [np.pad(energy, (0, n_iterations - len(energy)), mode="edge") for energy in energies]
    mean, strength, inclusion = (
        np.stack([getattr(target, name) for target in targets], axis=1)
        for name in ("mean", "variance", "inclusion")
    )
    drift = inclusion * mean
    variance = inclusion * (strength + mean**2) - drift**2
    return Posterior(
        drift=drift,
        drift_error=np.sqrt(np.maximum(variance, 0.0)),
        inclusion=inclusion,
        noise_shape=targets[0].noise_shape,
        noise_rate=np.array([target.noise_rate for target in targets]),
        free_energy=np.stack(padded, axis=1),
    )


class _SparseTarget:
    """Variational updates of one target with indicators of its connections."""

    def __init__(self, regression: Regression, target: int, density: float) -> None:
        n_regions = len(regression.signals)
        self.target, self.density = target, density
        self.signals, self.cross = regression.signals, regression.cross[:, target]
        self.derivatives = float(regression.derivatives[target])
        self.n_observations = regression.n_observations
        self.prior = np.full(n_regions, n_regions / 8)
        self.prior[target] = 8 * n_regions
        self.prior_mean = np.zeros(n_regions)
        self.prior_mean[target] = _SELF_CONNECTION
        self.inclusion = np.full(n_regions, density)
        self.inclusion[target] = 1.0
        self.noise_shape = _NOISE_SHAPE + regression.n_observations / 2
        self.precision = _NOISE_SHAPE / _NOISE_RATE

    def iterate(self) -> Array:
        """Update until convergence; return the negative free energy after each iteration."""
        free_energy: list[float] = []
        for _ in range(_MAX_ITERATIONS):
            self._update_connections()
            self._update_inclusion()
            self._update_noise()
            free_energy.append(self._free_energy())
            if len(free_energy) > 1 and abs(free_energy[-1] - free_energy[-2]) < _TOLERANCE:
                break
        return np.array(free_energy)

    def _expected_signals(self) -> Array:
        """Return the products of the signals, over indicators."""
        expected = self.signals * np.outer(self.inclusion, self.inclusion)
        np.fill_diagonal(expected, self.inclusion * np.diag(self.signals))
        return expected

    def _update_connections(self) -> None:
        inverse = self.precision * self._expected_signals() + np.diag(self.prior)
        self.covariance = np.linalg.inv(inverse)
        evidence = self.precision * self.inclusion * self.cross + self.prior * self.prior_mean
        self.mean = self.covariance @ evidence
        self.variance: Array = np.diag(self.covariance).copy()

    def _update_inclusion(self) -> None:
        products = self.signals * (np.outer(self.mean, self.mean) + self.covariance)
        alone = self.mean * self.cross - np.diag(products) / 2
        others = products @ self.inclusion
        for region in range(len(self.mean)):
            if region == self.target:
                continue
            before = self.inclusion[region]
            shared = others[region] - products[region, region] * before
            odds = logit(self.density) + self.precision * (alone[region] - shared)
            self.inclusion[region] = expit(odds)
            others += products[:, region] * (self.inclusion[region] - before)

    def _update_noise(self) -> None:
        expected = self._expected_signals()
        fitted = 2 * self.mean @ (self.inclusion * self.cross) - self.mean @ expected @ self.mean
        uncertain = (expected * self.covariance).sum()
        self.residual = float(self.derivatives - fitted + uncertain) / 2
        self.noise_rate = _NOISE_RATE + self.residual
        self.precision = self.noise_shape / self.noise_rate

    def _free_energy(self) -> float:
        shape, a0, b0 = self.noise_shape, _NOISE_SHAPE, _NOISE_RATE
        log_precision = psi(shape) - np.log(self.noise_rate)
        total = self.n_observations / 2 * (log_precision - np.log(2 * np.pi))
        total -= self.residual * self.precision
        deviation = self.mean - self.prior_mean
        distance = (self.prior * (deviation**2 + self.variance)).sum()
        determinant = np.linalg.slogdet(self.covariance)[1]
        total += (np.log(self.prior).sum() - distance + determinant + len(self.mean)) / 2
        total += a0 * np.log(b0) - gammaln(a0) + (a0 - 1) * log_precision - b0 * self.precision
        total += shape - np.log(self.noise_rate) + gammaln(shape) + (1 - shape) * psi(shape)
        included = np.delete(self.inclusion, self.target)
        total += (xlogy(included, self.density) + xlog1py(1 - included, -self.density)).sum()
        return float(total + (entr(included) + entr(1 - included)).sum())
