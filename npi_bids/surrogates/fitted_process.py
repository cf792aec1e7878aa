"""A process that was fitted to cross-spectra, with the spectra that it expects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from npi_bids.records import Array
from npi_bids.surrogates.cross_spectra import AutoSpectra, Complex, CrossSpectra, adjoint
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.response_width import change_widths
from npi_bids.surrogates.spectral import SpectralFit, SpectralProblem


class FittedModel:
    """A fit with the spectra that it expects, in the units of the signals.

    Attributes
    ----------
    drift, transition, innovation, stationary
        Matrices of the state, shape (n_regions, n_regions).
    frequency, share
        Shape (n_bins,); radians per sample, and shares of the ordinates.
    power
        Shape (n_bins, n_regions, n_regions); cross-spectra of the state.
    measured
        Spectra of the signals.
    noise
        Share of white noise in the mean power of each region.
    log_ratio
        Shape (n_bins of ``measured``, n_regions); logarithm of the spectra of the responses
        relative to the common one; None if they are equal.
    omitted
        What the signals contain at frequencies that are not fitted; None if all are.
    """

    def __init__(
        self,
        problem: SpectralProblem,
        fit: SpectralFit,
        measured: CrossSpectra,
        noise: float = 0.0,
        log_ratio: Complex | None = None,
        omitted: AutoSpectra | None = None,
    ) -> None:
        self.drift, self.diffusion, self.delays = fit.drift, fit.diffusion, fit.delays
        self.frequency, self.share = problem.frequency, problem.share
        self.n_samples = problem.n_samples
        process = OU(fit.drift, fit.diffusion)
        self.transition, self.innovation = process.transition, process.innovation
        self.stationary: Array = solve_discrete_lyapunov(self.transition.T, self.innovation)
        self.filter, self.inverse, self.power = self._state_spectra(self.frequency)
        self.measured, self.noise, self.log_ratio = measured, noise, log_ratio
        self.omitted = omitted
        self._gain = problem.estimate_gain(fit)

    def _state_spectra(self, frequency: Array) -> tuple[Complex, Complex, Complex]:
        """Return ``e^(iw) I - W``, its inverse, and the cross-spectra of the state."""
        phase = np.exp(1j * frequency)[:, None, None]
        filters: Complex = phase * np.eye(len(self.drift)) - self.transition
        inverse = np.linalg.inv(filters).astype(np.complex128)
        power: Complex = adjoint(inverse) @ self.innovation @ inverse
        return filters, inverse, power

    @property
    def n_informative(self) -> float:
        """Number of samples without noise or gaps that would inform the process as much.

        Bins count by the share s of the signal in the fit, while subtracting the noise adds
        variance in proportion to 1 / s^2: the errors are those of the mean share times as many.
        Between gaps there are fewer lagged products than the fit assumes.
        """
        used = np.isin(self.measured.frequency, self.frequency)
        n_without_gaps = self.n_samples**2 / self.measured.n_ordinates[used].sum()
        return float(n_without_gaps * self.measured.lagged_share)

    @property
    def gain(self) -> Array:
        """Power of the signals over that of the state in the measured bins, shape (n_bins,).

        1 where the gain is not free. In bins that are nearly all noise it is what the noise
        leaves of their power.
        """
        if len(self.frequency) == len(self.measured.frequency):
            return self._gain
        state = np.einsum("kii->ki", self._state_spectra(self.measured.frequency)[2]).real
        signal = np.einsum("kii->ki", self.measured.power).real - self.noise_power
        if self.log_ratio is not None:
            signal = signal / np.exp(2 * self.log_ratio.real)
        gain: Array = np.maximum((signal / state).mean(axis=1), 0.0)
        gain[np.isin(self.measured.frequency, self.frequency)] = self._gain
        return gain

    @property
    def noise_power(self) -> Array:
        """Variance of the measurement noise, shape (n_regions,)."""
        return self.measured.noise_power(self.noise)

    @property
    def conditional_precision(self) -> Array:
        """Diagonal of the inverse covariance of the state in the band, shape (n_regions,)."""
        past = np.einsum("k,kij->ij", self.share, self.power.real)
        ridge = 1e-6 * np.trace(past) / len(past) * np.eye(len(past))
        precision: Array = np.diag(np.linalg.inv(past + ridge))
        return precision

    @property
    def expected(self) -> CrossSpectra:
        """Spectra of the signals: those of the state, with delays, gain and noise."""
        phase = np.exp(1j * self.measured.frequency[:, None] * self.delays)
        power = self._state_spectra(self.measured.frequency)[2]
        power = power * phase[:, :, None] * phase.conj()[:, None, :] * self.gain[:, None, None]
        signal = replace(self.measured, power=power)
        if self.log_ratio is not None:
            signal = change_widths(signal, self.log_ratio)
        return replace(signal, power=signal.power + np.diag(self.noise_power))
