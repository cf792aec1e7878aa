"""An Ornstein-Uhlenbeck process seen through delays of regions and a gain that all regions share.

The state ``x`` follows ``x_(t+1) = x_t W + e`` with ``W = e^F`` and ``cov e = Q(F, D)``; region i
shows ``x_i(t - d_i)`` through an unknown gain ``h(w) > 0`` that is the same for all regions (the
common haemodynamic response, any filter, preprocessing). With cross-spectra ``P_ij(w)`` in bins
with shares ``u_k`` of the ordinates, ``P~_ij = P_ij e^(iw (d_j - d_i))``, ``B = e^(iw) I - W`` and
``A = Q^-1``, the negative log likelihood per sample (Whittle 1953, doi:10.1007/BF02590998) is

    1/2 log|Q| + 1/2 sum_k u_k [N log h_k - log|det B_k|^2 + t_k / h_k],
    t_k = <Re P~_k, A + W A W'> - 2 <Re(P~_k e^(iw_k)), W A>,

of which the gain can be profiled out, ``h_k = t_k / N``. Without gain, delays and filter it is the
likelihood of :mod:`~npi_bids.surrogates.ou_process`. A phase that all regions share cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm, lapack
from scipy.optimize import minimize

from npi_bids.records import Array
from npi_bids.surrogates.cross_spectra import Complex, CrossSpectra
from npi_bids.surrogates.ou_gradient import Transition, transition

_RIDGE = 1e-3  # share of its power that is added to each region's
_RATE_SD = 1.0  # of the log of that rate
_TIE_GAIN, _TIE = (
    0.2,
    0.5,
)  # SD of the log rates of regions about their mean, with gain and without
_IMPOSSIBLE = 1e10
_MOST_LOG = 30.0  # of the size of a region's noise, which keeps a line search from overflowing


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralPrior:
    """What is believed before the fit.

    Attributes
    ----------
    precision
        Of the symmetric and the antisymmetric part of ``F_ij / sqrt(F_ii F_jj)``.
    delay_sd
        Standard deviation of the delays, in samples; 0 for none.
    gain
        Whether the common gain is free.
    rate
        Median of the mean rate of the regions, per sample.
    """

    precision: tuple[float, float]
    delay_sd: float
    gain: bool
    rate: float

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
        As of :class:`~npi_bids.surrogates.ou_process.OU`, of the state; with a free gain in units
        in which the state has about the variance that the band holds.
    delays
        Shape (n_regions,), in samples; their mean means nothing, as a common phase cancels.
    objective
        Negative log posterior per sample, comparable between fits of the same spectra.
    log_likelihood
        Of all samples, comparable likewise.
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


class SpectralProblem:
    """The objective over drift, diffusion and delays, in coordinates in which it is nearly round.

    Parameters
    ----------
    spectra
        In the band that is used.
    prior
        What is believed.
    whole_band
        Whether the band is all of (0, pi): the determinant of B is 0 on the mean then.
    own
        Where the gain is free: weight of a region's own past in the process whose spectrum the
        mean spectrum is brought to, which is where the fit starts.
    """

    def __init__(
        self,
        spectra: CrossSpectra,
        prior: SpectralPrior,
        *,
        whole_band: bool,
        own: float = 0.5,
    ) -> None:
        self.prior, self.whole_band = prior, whole_band
        self.n, self.frequency = spectra.n_regions, spectra.frequency
        self.n_samples = spectra.n_samples
        self.share = spectra.n_ordinates / self.n_samples
        self.turn = np.exp(1j * self.frequency)[:, None, None]
        power = spectra.power
        scale = np.sqrt(np.einsum("k,kii->i", self.share, power).real)
        power = power / scale[:, None] / scale
        self.constant = float(np.log(scale).sum())
        if prior.gain:
            power, scale = self._reshaped(power, scale, own)
        self.scale = scale
        self.power: Complex = power * self.share[:, None, None]
        regions = np.arange(self.n)
        self.power[:, regions, regions] *= 1 + _RIDGE
        self._find_coordinates()

    def _reshaped(self, power: Complex, scale: Array, own: float) -> tuple[Complex, Array]:
        """Bring the mean spectrum to that of a process; what is taken out belongs to the gain."""
        mean = np.einsum("kii->k", power).real / self.n
        shape = (1 - own**2) / np.abs(1 - own / self.turn[:, 0, 0]) ** 2
        gain = mean / shape
        self.taken_out = gain
        power = power / gain[:, None, None]
        size = np.sqrt(np.einsum("k,kii->i", self.share, power).real)
        self.constant += float(self.n / 2 * (self.share @ np.log(gain)) + np.log(size).sum())
        self.constant += self.n / 2
        return power / size[:, None] / size, scale * size

    def _find_coordinates(self) -> None:
        """Find bases and scales as for the process without an observation model."""
        past = self.power.real.sum(axis=0)
        cross = (self.power * self.turn).real.sum(axis=0)
        identity = np.eye(self.n)
        self.own = np.clip(np.diag(cross) / np.diag(past), 0.02, 0.98)
        self.own_noise = np.maximum(np.diag(past) * (1 - self.own**2), 1e-3)
        rate = 1 - math.log(float(self.own.min()))
        self.n_halvings = max(1, math.ceil(math.log2(rate / 0.5))) + 1
        weights = np.linalg.solve(past + 0.01 * identity, cross)
        residual = past - weights.T @ cross
        noise, self.to_target = np.linalg.eigh((residual + residual.T) / 2 + 0.01 * identity)
        spread, self.to_source = np.linalg.eigh(past)
        curvature = np.exp(2 * np.mean(np.log(self.own))) * np.maximum(spread, 1e-3)[:, None]
        curvature = curvature / np.maximum(noise, 1e-3)
        even, odd = self.prior.precision
        self.size = 1 / np.sqrt(curvature + math.sqrt(even * odd) / self.n_samples)
        if self.prior.delay_sd:
            alone = np.diag(past) * np.diag(np.linalg.inv(past + 0.02 * identity)) - 1
            information = np.mean(self.frequency**2) * np.maximum(alone, 0.02)
            prior = 1 / self.prior.delay_sd**2 / self.n_samples
            self.delay_size = 1 / np.sqrt(information + prior)

    def fit(self, start: SpectralFit | None = None, max_iterations: int = 100) -> SpectralFit:
        """Minimise by L-BFGS from a start, or from uncoupled regions without delays."""
        first = self._pack(*(self._in_own_units(start) if start else self._uncoupled()))
        found = minimize(
            self.value_and_gradient,
            first,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iterations, "maxcor": 20, "ftol": 1e-8, "gtol": 1e-6},
        )
        drift, diffusion, delays = self._unpack(found.x)
        value, *_ = self._likelihood(drift, diffusion, delays)
        likelihood = -self.n_samples * (value + self.constant)
        return SpectralFit(
            drift * self.scale / self.scale[:, None],
            diffusion * self.scale**2,
            delays,
            float(found.fun) + self.constant,
            likelihood,
        )

    def log_likelihood(self, fit: SpectralFit) -> float:
        """Return the log likelihood of all samples under a fit, which may be that of others."""
        value, *_ = self._likelihood(*self._in_own_units(fit))
        return -self.n_samples * (value + self.constant)

    def gain_of(self, fit: SpectralFit) -> Array:
        """Return the common gain of a fit in each bin, 1 where it is not free."""
        if not self.prior.gain:
            return np.ones(len(self.frequency))
        drift, diffusion, delays = self._in_own_units(fit)
        moved = transition(drift, diffusion, self.n_halvings)
        inverse: Array = np.linalg.inv(moved.innovation).astype(np.float64)
        each = self._residual_power(moved.matrix, inverse, delays)[0]
        gain: Array = each / self.share / self.n * self.taken_out
        return gain

    def _in_own_units(self, start: SpectralFit) -> tuple[Array, Array, Array]:
        drift = start.drift * self.scale[:, None] / self.scale
        return drift, start.diffusion / self.scale**2, start.delays

    def _uncoupled(self) -> tuple[Array, Array, Array]:
        rate = -2 * np.log(self.own)
        noise = self.own_noise * rate / (1 - self.own**2)
        return np.diag(np.log(self.own)), noise, np.zeros(self.n)

    def _pack(self, drift: Array, diffusion: Array, delays: Array) -> Array:
        turned = self.to_source.T @ drift @ self.to_target / self.size
        parts = [turned.ravel(), np.log(diffusion)]
        if self.prior.delay_sd:
            parts.append(delays / self.delay_size)
        return np.concatenate(parts)

    def _unpack(self, packed: Array) -> tuple[Array, Array, Array]:
        n = self.n
        turned = packed[: n * n].reshape(n, n)
        drift = self.to_source @ (turned * self.size) @ self.to_target.T
        diffusion = np.exp(np.clip(packed[n * n : n * n + n], -_MOST_LOG, _MOST_LOG))
        delays = packed[n * n + n :] * self.delay_size if self.prior.delay_sd else np.zeros(n)
        return drift, diffusion, delays

    def value_and_gradient(self, packed: Array) -> tuple[float, Array]:
        """Return the negative log posterior per sample and its gradient."""
        drift, diffusion, delays = self._unpack(packed)
        if not -np.diag(drift).max() > 1e-4:
            return _IMPOSSIBLE, np.zeros_like(packed)
        value, moved, by_w, by_q, by_delay = self._likelihood(drift, diffusion, delays)
        if moved is None:
            return _IMPOSSIBLE, np.zeros_like(packed)
        by_drift, by_diffusion = moved.gradient(by_w, by_q)
        prior, *by = self._prior(drift, diffusion, delays)
        by_drift, by_diffusion = by_drift + by[0], by_diffusion * diffusion + by[1]
        parts = [
            ((self.to_source.T @ by_drift @ self.to_target) * self.size).ravel(),
            by_diffusion,
        ]
        if self.prior.delay_sd:
            parts.append((by_delay + by[2]) * self.delay_size)
        gradient = np.concatenate(parts)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return _IMPOSSIBLE, np.zeros_like(packed)
        return value + prior, gradient

    def _likelihood(
        self, drift: Array, diffusion: Array, delays: Array
    ) -> tuple[float, Transition | None, Array, Array, Array]:
        """Return the negative log likelihood per sample, and its gradient by W, Q and delays."""
        moved = transition(drift, diffusion, self.n_halvings)
        w = moved.matrix
        factor, failed = lapack.dpotrf(moved.innovation, lower=1, clean=1)
        if failed:
            return _IMPOSSIBLE, None, w, w, delays
        inverse, _ = lapack.dpotri(factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        each, power, turned, (plain, crossed) = self._residual_power(w, inverse, delays)
        if self.prior.gain and not each.min() > 0:  # a masked spectrum may be of no process
            return _IMPOSSIBLE, None, w, w, delays
        fit, weight = self._weighted(each)
        value = float(np.log(np.diag(factor)).sum()) + fit
        past = np.einsum("k,kij->ij", weight, power.real)
        cross = np.einsum("k,kij->ij", weight, turned.real)
        residual = past - w.T @ cross - cross.T @ w + w.T @ past @ w
        by_w = 2 * (past @ w - cross) @ inverse
        by_q = inverse / 2 - inverse @ residual @ inverse
        if self.prior.gain or not self.whole_band:
            determinant, by_determinant = self._log_determinant(w)
            value -= determinant / 2
            by_w = by_w - by_determinant / 2
        by_delay = np.zeros(self.n)
        if self.prior.delay_sd:
            slope = weight * self.frequency
            pull = np.einsum("k,kij->ij", slope, power.imag) * plain
            pull -= 2 * np.einsum("k,kij->ij", slope, turned.imag) * crossed
            by_delay = pull.sum(axis=1) - pull.sum(axis=0)
        return value, moved, by_w, by_q, by_delay

    def _residual_power(
        self, w: Array, inverse: Array, delays: Array
    ) -> tuple[Array, Complex, Complex, tuple[Array, Array]]:
        """Return the whitened power that each bin leaves, and what its gradient needs."""
        power = self._aligned(delays)
        turned = power * self.turn
        crossed = w @ inverse
        plain = inverse + crossed @ w.T
        each = np.einsum("kij,ij->k", power.real, plain)
        each = each - 2 * np.einsum("kij,ij->k", turned.real, crossed)
        return each, power, turned, (plain, crossed)

    def _weighted(self, each: Array) -> tuple[float, Array]:
        """Return what the bins' residual power adds to the likelihood, and its slope by each."""
        if not self.prior.gain:
            return float(each.sum()) / 2, np.full_like(each, 0.5)
        gain = each / self.share / self.n
        return self.n / 2 * float(self.share @ np.log(gain)), self.n / 2 * self.share / each

    def _aligned(self, delays: Array) -> Complex:
        """Return the cross-spectra that the regions would have without their delays."""
        if not delays.any():
            return self.power
        phase = np.exp(1j * self.frequency[:, None] * delays)
        aligned: Complex = self.power * phase.conj()[:, :, None] * phase[:, None, :]
        return aligned

    def _log_determinant(self, w: Array) -> tuple[float, Array]:
        """Return ``sum_k u_k log|det(I - W e^(-iw_k))|^2`` and its gradient by W."""
        values, vectors = np.linalg.eig(w)
        back = self.turn[:, 0, 0].conj()
        factors = 1 - values * back[:, None]
        total = float(self.share @ np.log(np.abs(factors) ** 2).sum(axis=1))
        slopes = -(self.share[:, None] * back[:, None] / factors).sum(axis=0)
        gradient: Array = 2 * ((vectors * slopes) @ np.linalg.inv(vectors)).real.T
        return total, gradient

    def _prior(
        self, drift: Array, diffusion: Array, delays: Array
    ) -> tuple[float, Array, Array, Array]:
        """Return the penalty per sample and its gradient by drift, log diffusion and delays."""
        own = -np.diag(drift)
        root = np.sqrt(own)
        relative = drift / np.outer(root, root)
        np.fill_diagonal(relative, 0.0)
        even, odd = (relative + relative.T) / 2, (relative - relative.T) / 2
        push = 2 * (self.prior.precision[0] * even + self.prior.precision[1] * odd)
        total = self.prior.precision[0] * float((even**2).sum())
        total += self.prior.precision[1] * float((odd**2).sum())
        log_rate = np.log(own)
        middle = float(log_rate.mean())
        apart, away = log_rate - middle, middle - math.log(self.prior.rate)
        total += float((apart**2).sum()) / self.prior.tie**2 + away**2 / _RATE_SD**2
        by_rate = 2 * apart / self.prior.tie**2 + 2 * away / self.n / _RATE_SD**2
        drawn = push * relative
        by_own = (by_rate - (drawn.sum(axis=0) + drawn.sum(axis=1)) / 2) / own
        by_drift = push / np.outer(root, root)
        np.fill_diagonal(by_drift, -by_own)
        by_noise = np.zeros(self.n)
        if self.prior.gain:  # the size of the noise and that of the gain are one number
            size = float(np.log(diffusion).mean())
            total += size**2
            by_noise += 2 * size / self.n
        by_delay = np.zeros(self.n)
        if self.prior.delay_sd:
            total += float(delays @ delays) / self.prior.delay_sd**2
            by_delay = 2 * delays / self.prior.delay_sd**2
        half = 2 * self.n_samples
        return total / half, by_drift / half, by_noise / half, by_delay / half
