"""An Ornstein-Uhlenbeck process observed through regional delays and a gain shared by all regions.

The state ``x`` follows ``x_(t+1) = x_t W + e`` with ``W = e^F`` and ``cov e = Q(F, D)``; region i
is observed as ``x_i(t - d_i)`` through an unknown gain ``h(w) > 0`` that is the same for all
regions (the common haemodynamic response, any filter, preprocessing). With cross-spectra
``P_ij(w)`` in bins with shares ``u_k`` of the ordinates, ``P~_ij = P_ij e^(iw (d_j - d_i))``,
``B = e^(iw) I - W`` and ``A = Q^-1``, the negative log likelihood per sample (Whittle 1953,
doi:10.1007/BF02590998) is

    1/2 log|Q| + 1/2 sum_k u_k [N log h_k - log|det B_k|^2 + t_k / h_k],
    t_k = <Re P~_k, A + W A W'> - 2 <Re(P~_k e^(iw_k)), W A>,

of which the gain can be profiled out, ``h_k = t_k / N``. Without gain, delays and filter it is the
likelihood of :mod:`~npi_bids.surrogates.ou_process`. A phase that all regions share cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import expm
from scipy.optimize import OptimizeResult, minimize

from npi_bids.records import Array, DelayPrior
from npi_bids.surrogates.cross_spectra import Complex, CrossSpectra
from npi_bids.surrogates.devices import array_module, objective_on_device
from npi_bids.surrogates.ou_gradient import Transition, invert_covariance, transition

_RIDGE = 1e-3  # share of each region's power that is added to it
_RATE_SD = 1.0  # SD of the log of the mean rate of the regions
_TIE_GAIN, _TIE = 0.2, 0.5  # SD of log rates of regions about their mean, with and without gain
INFEASIBLE = 1e10
_MAX_LOG_NOISE = 30.0  # bound on the log noise of a region; keeps the line search from overflowing


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralPrior:
    """Prior of the spectral fit.

    Attributes
    ----------
    precision
        Precisions of the symmetric and the antisymmetric part of ``F_ij / sqrt(F_ii F_jj)``.
    delay_sd
        Standard deviation of the delays, in samples; 0 for none.
    gain
        Whether the common gain is free.
    rate
        Median of the mean rate of the regions, per sample.
    delays
        Mean and standard deviation of the delay of each region, in samples; if None, 0 and
        ``delay_sd``, which is their spread.
    """

    precision: tuple[float, float]
    delay_sd: float
    gain: bool
    rate: float
    delays: DelayPrior | None = None

    @property
    def tie(self) -> float:
        """Standard deviation of the log rates of the regions about their mean."""
        return _TIE_GAIN if self.gain else _TIE


@dataclass(frozen=True, slots=True, eq=False)
class SpectralFit:
    """A fitted process, in the units of the signals.

    Attributes
    ----------
    drift, diffusion
        As in :class:`~npi_bids.surrogates.ou_process.OU`, for the state; with a free gain in units
        in which the state has about the variance of the band.
    delays
        Shape (n_regions,), in samples; their mean is arbitrary, as a common phase cancels.
    objective
        Negative log posterior per sample, comparable between fits of the same spectra.
    log_likelihood
        Log likelihood of all samples, comparable in the same way.
    """

    drift: Array
    diffusion: Array
    delays: Array
    objective: float
    log_likelihood: float

    @property
    def transition(self) -> Array:
        """``e^drift``, indexed ``[source, target]``."""
        matrix: Array = expm(self.drift)
        return matrix


class _Race:
    """Ends a fit that will not come below another one.

    Every ten iterations the fit is given up if five times the progress of the last ten would
    not suffice; what follows them was at most three times as much in systems that were tried.
    """

    _EVERY, _PROGRESS = 10, 5.0

    def __init__(self, rival: float) -> None:
        self.rival, self.n_iterations, self.last = rival, 0, math.inf

    def __call__(self, intermediate_result: OptimizeResult) -> None:
        self.n_iterations += 1
        if self.n_iterations % self._EVERY:
            return
        value = float(intermediate_result.fun)
        if self.n_iterations > self._EVERY:
            reachable = value - self._PROGRESS * (self.last - value)
            if reachable > self.rival:
                raise StopIteration
        self.last = value


class SpectralProblem:
    """The objective over drift, diffusion and delays, in nearly isotropic coordinates.

    Parameters
    ----------
    spectra
        Spectra of the band that is used.
    prior
        Prior of the fit.
    full_band
        Whether the band is all of (0, pi); the log determinant of B then averages to 0.
    start_autoregression
        Where the gain is free: weight of a region's own past in the process to whose spectrum the
        mean spectrum is reshaped at the start of the fit.
    """

    ARRAYS = (
        *("power", "share", "frequency", "advance", "to_source", "to_target", "drift_scale"),
        *("delay_scale", "delay_mean", "delay_spread"),
    )

    def __init__(
        self,
        spectra: CrossSpectra,
        prior: SpectralPrior,
        *,
        full_band: bool,
        start_autoregression: float = 0.5,
    ) -> None:
        self.prior, self.full_band = prior, full_band
        known = prior.delays
        self.delay_mean = None if known is None else np.array(known.mean)
        self.delay_spread: Array | None = None if known is None else np.array(known.sd)
        self.n, self.frequency = spectra.n_regions, spectra.frequency
        self.n_samples = spectra.n_samples
        self.share = spectra.n_ordinates / self.n_samples
        self.advance = np.exp(1j * self.frequency)[:, None, None]
        power = spectra.power
        scale = np.sqrt(np.einsum("k,kii->i", self.share, power).real)
        power = power / scale[:, None] / scale
        self.constant = float(np.log(scale).sum())
        if prior.gain:
            power, scale = self._divide_by_gain(power, scale, start_autoregression)
        self.scale = scale
        self.power: Complex = power * self.share[:, None, None]
        regions = np.arange(self.n)
        self.power[:, regions, regions] *= 1 + _RIDGE
        self._choose_coordinates()

    def _divide_by_gain(
        self, power: Complex, scale: Array, autoregression: float
    ) -> tuple[Complex, Array]:
        """Divide out a gain that brings the mean spectrum to that of a process."""
        mean = np.einsum("kii->k", power).real / self.n
        process_power = (1 - autoregression**2) / np.abs(
            1 - autoregression / self.advance[:, 0, 0]
        ) ** 2
        gain = mean / process_power
        self.start_gain = gain
        power = power / gain[:, None, None]
        rescaling = np.sqrt(np.einsum("k,kii->i", self.share, power).real)
        self.constant += float(self.n / 2 * (self.share @ np.log(gain)) + np.log(rescaling).sum())
        self.constant += self.n / 2
        return power / rescaling[:, None] / rescaling, scale * rescaling

    def _choose_coordinates(self) -> None:
        """Choose bases and scales as for the process without an observation model."""
        past = self.power.real.sum(axis=0)
        cross = (self.power * self.advance).real.sum(axis=0)
        identity = np.eye(self.n)
        self.autoregression = np.clip(np.diag(cross) / np.diag(past), 0.02, 0.98)
        self.innovation_variance = np.maximum(np.diag(past) * (1 - self.autoregression**2), 1e-3)
        rate = 1 - math.log(float(self.autoregression.min()))
        self.n_halvings = max(1, math.ceil(math.log2(rate / 0.5))) + 1
        weights = np.linalg.solve(past + 0.01 * identity, cross)
        residual = past - weights.T @ cross
        noise_variances, self.to_target = np.linalg.eigh(
            (residual + residual.T) / 2 + 0.01 * identity
        )
        variances, self.to_source = np.linalg.eigh(past)
        curvature = (
            np.exp(2 * np.mean(np.log(self.autoregression))) * np.maximum(variances, 1e-3)[:, None]
        )
        curvature = curvature / np.maximum(noise_variances, 1e-3)
        even, odd = self.prior.precision
        self.drift_scale = 1 / np.sqrt(curvature + math.sqrt(even * odd) / self.n_samples)
        self.delay_scale: Array = np.ones(self.n)
        if self.prior.delay_sd:
            unique = np.diag(past) * np.diag(np.linalg.inv(past + 0.02 * identity)) - 1
            information = np.mean(self.frequency**2) * np.maximum(unique, 0.02)
            prior = 1 / self.prior.delay_sd**2 / self.n_samples
            self.delay_scale = 1 / np.sqrt(information + prior)

    def fit(
        self,
        start: SpectralFit | None = None,
        max_iterations: int = 100,
        rival: float = math.inf,
    ) -> SpectralFit:
        """Minimise by L-BFGS from a start, or from uncoupled regions without delays.

        Parameters
        ----------
        start
            Initial process and delays.
        max_iterations
            Number of iterations at most.
        rival
            Objective of another fit; where it is out of reach, the fit ends early.
        """
        packed_start = self._pack(*(self._standardise(start) if start else self._uncoupled()))
        optimum = minimize(
            objective_on_device(self, self.ARRAYS, self.n),
            packed_start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iterations, "maxcor": 20, "ftol": 1e-8, "gtol": 1e-6},
            callback=_Race(rival - self.constant) if math.isfinite(rival) else None,
        )
        drift, diffusion, delays = self._unpack(optimum.x)
        value, *_ = self._likelihood(drift, diffusion, delays)
        likelihood = -self.n_samples * (value + self.constant)
        return SpectralFit(
            drift * self.scale / self.scale[:, None],
            diffusion * self.scale**2,
            delays,
            float(optimum.fun) + self.constant,
            likelihood,
        )

    def log_likelihood(self, fit: SpectralFit) -> float:
        """Return the log likelihood of all samples under a fit, which may be of other samples."""
        value, *_ = self._likelihood(*self._standardise(fit))
        return -self.n_samples * (value + self.constant)

    def estimate_gain(self, fit: SpectralFit) -> Array:
        """Return the common gain of a fit in each bin; 1 if the gain is not free."""
        if not self.prior.gain:
            return np.ones(len(self.frequency))
        drift, diffusion, delays = self._standardise(fit)
        step = transition(drift, diffusion, self.n_halvings)
        inverse: Array = np.linalg.inv(step.innovation).astype(np.float64)
        residual_power = self._residual_power(step.matrix, inverse, delays)[0]
        gain: Array = residual_power / self.share / self.n * self.start_gain
        return gain

    def _standardise(self, start: SpectralFit) -> tuple[Array, Array, Array]:
        drift = start.drift * self.scale[:, None] / self.scale
        return drift, start.diffusion / self.scale**2, start.delays

    def _uncoupled(self) -> tuple[Array, Array, Array]:
        rate = -2 * np.log(self.autoregression)
        noise = self.innovation_variance * rate / (1 - self.autoregression**2)
        return np.diag(np.log(self.autoregression)), noise, np.zeros(self.n)

    def _pack(self, drift: Array, diffusion: Array, delays: Array) -> Array:
        coordinates = self.to_source.T @ drift @ self.to_target / self.drift_scale
        parts = [coordinates.ravel(), np.log(diffusion)]
        if self.prior.delay_sd:
            parts.append(delays / self.delay_scale)
        return np.concatenate(parts)

    def _unpack(self, packed: Array) -> tuple[Array, Array, Array]:
        n, xp = self.n, array_module(packed)
        coordinates = packed[: n * n].reshape(n, n)
        drift = self.to_source @ (coordinates * self.drift_scale) @ self.to_target.T
        diffusion = xp.exp(xp.clip(packed[n * n : n * n + n], -_MAX_LOG_NOISE, _MAX_LOG_NOISE))
        if not self.prior.delay_sd:
            return drift, diffusion, xp.zeros_like(diffusion)
        return drift, diffusion, packed[n * n + n :] * self.delay_scale

    def value_and_gradient(self, packed: Array) -> tuple[float, Array]:
        """Return the negative log posterior per sample and its gradient."""
        xp = array_module(packed)
        drift, diffusion, delays = self._unpack(packed)
        if not -xp.diag(drift).max() > 1e-4:
            return INFEASIBLE, xp.zeros_like(packed)
        value, step, by_w, by_q, by_delay = self._likelihood(drift, diffusion, delays)
        if step is None:
            return INFEASIBLE, xp.zeros_like(packed)
        by_drift, by_diffusion = step.gradient(by_w, by_q)
        prior, *by_parts = self._penalty(drift, diffusion, delays)
        by_drift, by_diffusion = by_drift + by_parts[0], by_diffusion * diffusion + by_parts[1]
        parts = [
            ((self.to_source.T @ by_drift @ self.to_target) * self.drift_scale).ravel(),
            by_diffusion,
        ]
        if self.prior.delay_sd:
            parts.append((by_delay + by_parts[2]) * self.delay_scale)
        gradient = xp.concatenate(parts)
        if not (math.isfinite(value) and xp.isfinite(gradient).all()):
            return INFEASIBLE, xp.zeros_like(packed)
        return value + prior, gradient

    def _likelihood(
        self, drift: Array, diffusion: Array, delays: Array
    ) -> tuple[float, Transition | None, Array, Array, Array]:
        """Return the negative log likelihood per sample, and its gradient by W, Q and delays."""
        step = transition(drift, diffusion, self.n_halvings)
        w = step.matrix
        inverted = invert_covariance(step.innovation)
        if inverted is None:
            return INFEASIBLE, None, w, w, delays
        half_log_determinant, inverse = inverted
        residual_power, power, factors = self._residual_power(w, inverse, delays)
        if self.prior.gain and not residual_power.min() > 0:  # possible with a masked spectrum
            return INFEASIBLE, None, w, w, delays
        fit, weight = self._weigh_bins(residual_power)
        value = half_log_determinant + fit
        past, cross = self._sum_bins(weight, power).real
        predicted = past @ w
        half = w.T @ (predicted - 2 * cross)
        residual = past + (half + half.T) / 2
        by_w = 2 * (predicted - cross) @ inverse
        by_q = inverse / 2 - inverse @ residual @ inverse
        if self.prior.gain or not self.full_band:
            determinant, by_determinant = self._log_determinant(w)
            value -= determinant / 2
            by_w = by_w - by_determinant / 2
        by_delay = self._differentiate_by_observation(weight, power, factors)
        return value, step, by_w, by_q, by_delay

    def _sum_bins(self, weight: Array, power: Complex) -> Complex:
        """Return the weighted sums of the spectra, and of those one sample ahead."""
        rows = array_module(weight).stack([weight + 0j, weight * self.advance[:, 0, 0]])
        sums: Complex = (rows @ power.reshape(len(power), -1)).reshape(2, self.n, self.n)
        return sums

    def _differentiate_by_observation(
        self, weight: Array, power: Complex, factors: tuple[Array, Array]
    ) -> Array:
        """Return the gradient by the delays of regions; 0 where there are none."""
        xp = array_module(weight)
        plain, crossed = factors
        by_delay: Array = xp.zeros_like(plain[0])
        if self.prior.delay_sd:
            power_slope, ahead_slope = self._sum_bins(weight * self.frequency, power).imag
            pull = power_slope * plain - 2 * ahead_slope * crossed
            by_delay = pull.sum(1) - pull.sum(0)
        return by_delay

    def _residual_power(
        self, w: Array, inverse: Array, delays: Array
    ) -> tuple[Array, Complex, tuple[Array, Array]]:
        """Return the whitened residual power of each bin, and what its gradient needs."""
        power, xp = self._undo_delays(delays), array_module(w)
        crossed = w @ inverse
        plain = inverse + crossed @ w.T
        columns = xp.stack([plain.ravel(), crossed.ravel()]).T + 0j
        of_plain, of_crossed = (power.reshape(len(power), -1) @ columns).T
        residual_power = of_plain.real - 2 * (self.advance[:, 0, 0] * of_crossed).real
        return residual_power, power, (plain, crossed)

    def _weigh_bins(self, residual_power: Array) -> tuple[float, Array]:
        """Return the term of the residual power in the likelihood, and its slope by each bin."""
        if not self.prior.gain:
            halves: Array = array_module(residual_power).full_like(residual_power, 0.5)
            return float(residual_power.sum()) / 2, halves
        gain = residual_power / self.share / self.n
        value = self.n / 2 * float(self.share @ array_module(gain).log(gain))
        return value, self.n / 2 * self.share / residual_power

    def _undo_delays(self, delays: Array) -> Complex:
        """Return the cross-spectra that the regions would have without their delays."""
        if not delays.any():
            return self.power
        phase = array_module(delays).exp(1j * self.frequency[:, None] * delays)
        aligned: Complex = phase.conj()[:, :, None] * phase[:, None, :]
        aligned *= self.power
        return aligned

    def _log_determinant(self, w: Array) -> tuple[float, Array]:
        """Return ``sum_k u_k log|det(I - W e^(-iw_k))|^2`` and its gradient by W."""
        back = self.advance[:, 0, 0].conj()
        if not isinstance(w, np.ndarray):
            return self._factor_bins(w, back)
        values, vectors = np.linalg.eig(w)
        factors = 1 - values * back[:, None]
        total = float(self.share @ np.log(np.abs(factors) ** 2).sum(axis=1))
        slopes = -(self.share[:, None] * back[:, None] / factors).sum(axis=0)
        gradient: Array = 2 * ((vectors * slopes) @ np.linalg.inv(vectors)).real.T
        return total, gradient

    def _factor_bins(self, w: Array, back: Complex) -> tuple[float, Array]:
        """Return the same from an inverse in each bin, of torch.

        A GPU factors all bins at once; eigenvalues of a matrix without symmetry take it longer.
        """
        xp: Any = array_module(w)
        complex_w = xp.complex(w, xp.zeros_like(w))
        filters = xp.diag(xp.ones_like(complex_w[0])) - back[:, None, None] * complex_w
        total = float(2 * self.share @ xp.linalg.slogdet(filters).logabsdet)
        slopes = (self.share * back)[:, None, None] * xp.linalg.inv_ex(filters).inverse
        return total, -2 * slopes.sum(0).real.T

    def _deviate(self, delays: Array) -> tuple[Array, Array | float]:
        """Return the deviations of delays from their prior means, and their prior SD."""
        if self.delay_mean is None or self.delay_spread is None:
            return delays, self.prior.delay_sd
        return delays - self.delay_mean, self.delay_spread

    def _penalty(
        self, drift: Array, diffusion: Array, delays: Array
    ) -> tuple[float, Array, Array, Array]:
        """Return the penalty per sample and its gradient by drift, log diffusion and delays."""
        xp = array_module(drift)
        rates = -xp.diag(drift)
        root = xp.sqrt(rates)
        relative = drift / xp.outer(root, root)
        relative = relative - xp.diag(xp.diag(relative))
        even, odd = (relative + relative.T) / 2, (relative - relative.T) / 2
        slope = 2 * (self.prior.precision[0] * even + self.prior.precision[1] * odd)
        total = self.prior.precision[0] * float((even**2).sum())
        total += self.prior.precision[1] * float((odd**2).sum())
        log_rate = xp.log(rates)
        mean_log_rate = float(log_rate.mean())
        log_ratio, log_shift = log_rate - mean_log_rate, mean_log_rate - math.log(self.prior.rate)
        total += float((log_ratio**2).sum()) / self.prior.tie**2 + log_shift**2 / _RATE_SD**2
        by_log_rate = 2 * log_ratio / self.prior.tie**2 + 2 * log_shift / self.n / _RATE_SD**2
        weighted_slope = slope * relative
        by_diagonal = (
            by_log_rate - (weighted_slope.sum(axis=0) + weighted_slope.sum(axis=1)) / 2
        ) / rates
        by_drift = slope / xp.outer(root, root)
        by_drift = by_drift - xp.diag(xp.diag(by_drift)) - xp.diag(by_diagonal)
        by_noise = xp.zeros_like(diffusion)
        if self.prior.gain:  # only the product of noise and gain is determined
            log_noise = float(xp.log(diffusion).mean())
            total += log_noise**2
            by_noise += 2 * log_noise / self.n
        by_delay = xp.zeros_like(delays)
        if self.prior.delay_sd:
            deviation, sd = self._deviate(delays)
            total += float(((deviation / sd) ** 2).sum())
            by_delay = 2 * deviation / sd**2
        half = 2 * self.n_samples
        return total / half, by_drift / half, by_noise / half, by_delay / half


def whittle_log_likelihood(spectra: CrossSpectra, weights: Array, innovation: Array) -> float:
    """Return the log likelihood of spectra under a VAR of one lag, without delays and gain.

    Comparable with :meth:`SpectralProblem.log_likelihood`, whose ridge it shares.

    Parameters
    ----------
    spectra
        Spectra of all frequencies.
    weights, innovation
        Shape (n_regions, n_regions), in the units of the signals.
    """
    regions = np.arange(spectra.n_regions)
    variance = np.einsum("k,kii->i", spectra.n_ordinates, spectra.power).real / spectra.n_samples
    power = spectra.power.copy()
    power[:, regions, regions] += _RIDGE * power[:, regions, regions].real
    filters = np.exp(1j * spectra.frequency)[:, None, None] * np.eye(len(regions)) - weights
    precision = np.linalg.inv(innovation + 1e-9 * np.diag(variance))
    misfit = np.einsum("kij,kij->k", power, filters.conj() @ precision @ filters.swapaxes(1, 2))
    log_determinant = np.linalg.slogdet(innovation)[1] - 2 * np.linalg.slogdet(filters)[1]
    return float(-0.5 * spectra.n_ordinates @ (log_determinant + misfit.real))
