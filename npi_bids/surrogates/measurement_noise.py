"""White measurement noise of the signals, estimated together with the process and the gain.

The signals have the spectra ``S_k = h_k B_k^-H Q B_k^-1 + R`` in bin k: the process of
:mod:`~npi_bids.surrogates.spectral` through the common gain, plus white noise whose variance is
the same share of every region's power. With noise the gain can no longer be profiled out, and
each bin needs an inverse of its own; so the share is estimated on some of the regions, and then
subtracted from the spectra of all (:meth:`CrossSpectra.without_noise`), in which each bin counts
by the share of the process in its power.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from npi_bids.records import Array
from npi_bids.surrogates.cross_spectra import Complex, CrossSpectra, adjoint
from npi_bids.surrogates.ou_gradient import Transition, transition
from npi_bids.surrogates.spectral import INFEASIBLE, SpectralFit, SpectralPrior, SpectralProblem

_MAX_REGIONS = 14  # regions that the share is estimated on; its estimate does not depend on more
_START_SHARE = 0.5  # of the power of the weakest bin: median of the prior of the noise
_LOG_SD = 1.0  # SD of the prior of the log of the noise
_NEGLIGIBLE = 1e-7  # share of the weakest bin that stands for no noise
_ITERATIONS = (40, 60, 100)  # of the fits with profiled gain, with free gain, and with noise


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """White measurement noise of the signals.

    Attributes
    ----------
    share
        Variance of the noise over that of the signal in the band.
    evidence
        Log likelihood that the noise adds (nats).
    """

    share: float
    evidence: float


def estimate_noise(
    spectra: CrossSpectra, prior: SpectralPrior, *, full_band: bool, start_autoregression: float
) -> NoiseEstimate:
    """Estimate the share of white noise, on at most 14 regions spread over the atlas.

    Parameters
    ----------
    spectra
        Spectra of the signals in the band that is used.
    prior
        Prior of the fit; the gain is free.
    full_band, start_autoregression
        As in :class:`~npi_bids.surrogates.spectral.SpectralProblem`.
    """
    subset = spectra.of_regions(_MAX_REGIONS)
    problem = _NoisyProblem(
        subset,
        replace(prior, gain=True),
        full_band=full_band,
        start_autoregression=start_autoregression,
    )
    noiseless = problem.fit(None, _ITERATIONS[0])
    weakest = float(problem.relative_power.min())
    gain = problem.estimate_gain(noiseless) / problem.start_gain
    without = problem.fit_noise(noiseless, gain, _NEGLIGIBLE * weakest, fixed=True)
    share = _START_SHARE * weakest
    with_noise = problem.fit_noise(noiseless, gain, share, fixed=False)
    return NoiseEstimate(with_noise[0], with_noise[1] - without[1])


class _NoisyProblem(SpectralProblem):
    """The objective over drift, diffusion, delays, log gain of each bin, and log noise."""

    def __init__(
        self,
        spectra: CrossSpectra,
        prior: SpectralPrior,
        *,
        full_band: bool,
        start_autoregression: float,
    ) -> None:
        super().__init__(
            spectra, prior, full_band=full_band, start_autoregression=start_autoregression
        )
        region_power = np.einsum("kii->ki", spectra.power).real
        mean_power = self.share @ region_power
        self.relative_power: Array = (region_power / mean_power).mean(axis=1)
        # Noise of share 1 in the coordinates of the problem, shape (n_bins, n_regions).
        self.unit_noise: Array = mean_power / self.scale**2 / self.start_gain[:, None]

    def fit_noise(
        self, start: SpectralFit, gain: Array, share: float, *, fixed: bool
    ) -> tuple[float, float]:
        """Return the share of the noise and the log likelihood; ``fixed`` keeps the share."""
        self.prior_log_share, self.log_sd = float(np.log(share)), 1e-3 if fixed else _LOG_SD
        packed_start = np.concatenate([
            self._pack(*self._standardise(start)),
            np.log(np.maximum(gain, 1e-6)),
            [self.prior_log_share],
        ])  # fmt: skip
        optimum = minimize(
            self.joint_value_and_gradient,
            packed_start,
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": _ITERATIONS[1] if fixed else _ITERATIONS[2],
                "maxcor": 20,
                "ftol": 1e-9,
                "gtol": 1e-6,
            },
        )
        process, _, log_share = self._split(optimum.x)
        penalty, *_ = self._penalty(*self._unpack(process))
        deviation = (log_share - self.prior_log_share) / self.log_sd
        penalty += deviation**2 / (2 * self.n_samples)
        return float(np.exp(log_share)), -self.n_samples * (float(optimum.fun) - penalty)

    def _split(self, packed: Array) -> tuple[Array, Array, float]:
        n_bins = len(self.frequency)
        return packed[: -n_bins - 1], packed[-n_bins - 1 : -1], float(packed[-1])

    def joint_value_and_gradient(self, packed: Array) -> tuple[float, Array]:
        """Return the negative log posterior per sample and its gradient."""
        process, log_gain, log_share = self._split(packed)
        drift, diffusion, delays = self._unpack(process)
        infeasible = INFEASIBLE, np.zeros_like(packed)
        if not -np.diag(drift).max() > 1e-4:
            return infeasible
        step = transition(drift, diffusion, self.n_halvings)
        gain, noise = np.exp(log_gain), np.exp(log_share) * self.unit_noise
        try:
            expected = self._expect(step, gain, noise)
        except np.linalg.LinAlgError:
            return infeasible
        power = self._undo_delays(delays) / self.share[:, None, None]
        explained = expected.precision @ power
        misfit = np.einsum("kii->k", explained).real
        slope = expected.precision - explained @ expected.precision  # by the expected spectra
        penalty, *by_parts = self._penalty(drift, diffusion, delays)
        deviation = (log_share - self.prior_log_share) / self.log_sd
        value = 0.5 * float(self.share @ (expected.log_determinant + misfit)) + penalty
        value += deviation**2 / (2 * self.n_samples)
        by_drift, by_diffusion = step.gradient(*self._slopes(expected, slope, gain))
        by_drift = self.to_source.T @ (by_drift + by_parts[0]) @ self.to_target
        parts = [(by_drift * self.drift_scale).ravel(), by_diffusion * diffusion + by_parts[1]]
        if self.prior.delay_sd:
            by_phase = np.einsum("kmj,kjm->km", power, expected.precision).imag
            by_delay = (self.share * self.frequency) @ by_phase + by_parts[2]
            parts.append(by_delay * self.delay_scale)
        parts.append(self.share * gain * np.einsum("kij,kji->k", slope, expected.state).real / 2)
        by_noise = self.share @ np.einsum("kii,ki->k", slope, noise).real / 2
        parts.append(np.array([by_noise + deviation / self.log_sd / self.n_samples]))
        gradient = np.concatenate(parts)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return infeasible
        return value, gradient

    def _expect(self, step: Transition, gain: Array, noise: Array) -> _Expected:
        """Return the spectra of signals with a gain and noise in each bin."""
        inverse = np.linalg.inv(self.advance * np.eye(self.n) - step.matrix)
        state: Complex = adjoint(inverse) @ step.innovation @ inverse
        signals = gain[:, None, None] * state
        regions = np.arange(self.n)
        signals[:, regions, regions] += noise
        factor = np.diagonal(np.linalg.cholesky(signals), axis1=1, axis2=2).real
        precision = np.linalg.inv(signals).astype(np.complex128)
        return _Expected(inverse, state, precision, 2 * np.log(factor).sum(axis=1))

    def _slopes(self, expected: _Expected, slope: Complex, gain: Array) -> tuple[Array, Array]:
        """Return the gradient by W and Q from that by the expected spectra."""
        weight = (self.share * gain)[:, None, None]
        response = expected.inverse @ slope
        by_w: Array = np.sum(weight * (response @ expected.state), axis=0).real.T
        by_q = np.sum(weight * (response @ adjoint(expected.inverse)), axis=0).real / 2
        return by_w, (by_q + by_q.T) / 2


@dataclass(frozen=True, slots=True, eq=False)
class _Expected:
    """Expected spectra in bins: ``B^-1``, those of the state, and those of the signals."""

    inverse: Complex
    state: Complex
    precision: Complex
    log_determinant: Array
