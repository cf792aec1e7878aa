"""Widths of the haemodynamic responses of regions, estimated together with process and gain.

The response of region i is the common one, stretched in time by the factor ``s_i``: relative to
the others its spectrum is multiplied by ``H(s_i w) / H(w)``, where ``H`` is the transfer function
of the canonical double-gamma response (peak after 5 s, undershoot after 15 s),

    H(w) = (1 + iw)^-6 - (1 + iw)^-16 / 6.

The ratio changes little with the shape of ``H``, so that the common response itself stays free.
The widths are estimated by the Whittle likelihood of :mod:`~npi_bids.surrogates.spectral`, from
the frequencies in which the signal is well above the noise: elsewhere what is left of the noise
hides how steeply the spectrum of a region falls. They are then taken out of the spectra.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from npi_bids.records import Array, Mask
from npi_bids.surrogates.cross_spectra import Complex, CrossSpectra
from npi_bids.surrogates.spectral import INFEASIBLE, SpectralFit, SpectralPrior, SpectralProblem

WIDTH_SD = 0.15  # of the prior of the log width of a region
_MIN_SIGNAL_SHARE = 0.6  # share of the power of a bin that the signal must have
_MIN_BINS = 6
_ITERATIONS = 150
_MAX_LOG_WIDTH = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class WidthEstimate:
    """Widths of the responses of regions.

    Attributes
    ----------
    log_widths
        Shape (n_regions,); logarithm of the width relative to the canonical response.
    evidence
        Log posterior density that the widths add to that of equal responses (nats).
    """

    log_widths: Array
    evidence: float


def width_ratio(log_width: Array, frequency: Array) -> tuple[Complex, Complex]:
    """Return the spectra of stretched responses relative to the canonical one.

    Parameters
    ----------
    log_width
        Shape (n_regions,).
    frequency
        Shape (n_bins,); radians per second.

    Returns
    -------
    log_ratio, slope
        Shape (n_bins, n_regions); logarithm of the ratio of the transfer functions, without the
        factor that all frequencies share, and its derivative by the log width.
    """
    stretched = frequency[:, None] * np.exp(log_width)
    response, derivative = _canonical(stretched)
    reference, _ = _canonical(frequency)
    log_ratio: Complex = np.log(response / reference[:, None])
    slope: Complex = stretched * derivative / response
    return log_ratio, slope


def _canonical(frequency: Array) -> tuple[Complex, Complex]:
    """Return the transfer function of the canonical response, and its derivative."""
    base = 1 / (1 + 1j * frequency)
    return base**6 - base**16 / 6, -6j * base**7 + 16j / 6 * base**17


def is_clear(signal_share: Array) -> Mask:
    """Return in which bins the signal is well above the noise."""
    clear: Mask = signal_share > _MIN_SIGNAL_SHARE
    return clear


def change_widths(spectra: CrossSpectra, log_ratio: Complex) -> CrossSpectra:
    """Return the spectra of responses multiplied by the exponential of ``log_ratio``.

    Parameters
    ----------
    spectra
        Spectra of the signals.
    log_ratio
        Shape (n_bins, n_regions), from :func:`width_ratio`; negative to take widths out.
    """
    factor = np.exp(log_ratio)
    power: Complex = spectra.power * factor.conj()[:, :, None] * factor[:, None, :]
    return replace(spectra, power=power)


def estimate_widths(
    spectra: CrossSpectra,
    prior: SpectralPrior,
    start: SpectralFit,
    tr: float,
    *,
    signal_share: Array,
    start_autoregression: float,
) -> WidthEstimate | None:
    """Estimate the widths of the responses of all regions.

    Parameters
    ----------
    spectra
        Spectra of the band that is used, without noise.
    prior
        Prior of the fit; the gain is free.
    start
        Fit without widths.
    tr
        Sampling period (s).
    signal_share
        Shape (n_bins,); share of the signal in the power of each bin.
    start_autoregression
        As in :class:`~npi_bids.surrogates.spectral.SpectralProblem`.

    Returns
    -------
    WidthEstimate or None
        None if the signal is above the noise in too few bins.
    """
    clear = is_clear(signal_share)
    if clear.sum() < _MIN_BINS:
        return None
    inside = spectra.take_bins(clear)
    plain = SpectralProblem(
        inside, prior, full_band=False, start_autoregression=start_autoregression
    ).fit(start, _ITERATIONS)
    problem = _WidthProblem(inside, prior, start_autoregression, tr)
    objective, log_width = problem.fit_widths(plain)
    return WidthEstimate(log_width, (plain.objective - objective) * problem.n_samples)


class _WidthProblem(SpectralProblem):
    """The objective over drift, diffusion, delays and log widths."""

    def __init__(
        self, spectra: CrossSpectra, prior: SpectralPrior, start_autoregression: float, tr: float
    ) -> None:
        super().__init__(
            spectra, prior, full_band=False, start_autoregression=start_autoregression
        )
        self.seconds = self.frequency / tr
        self.widened = replace(spectra, power=self.power)
        self.residual_slope: Array = np.zeros(self.n)
        self.width_slope: Complex = np.zeros((len(self.frequency), self.n), dtype=np.complex128)

    def fit_widths(self, start: SpectralFit) -> tuple[float, Array]:
        """Return the negative log posterior per sample, and the log widths."""
        first = np.concatenate([self._pack(*self._standardise(start)), np.zeros(self.n)])
        optimum = minimize(
            self.value_and_gradient_of_widths,
            first,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _ITERATIONS, "maxcor": 20, "ftol": 1e-8, "gtol": 1e-6},
        )
        log_width: Array = WIDTH_SD * optimum.x[-self.n :]
        return float(optimum.fun) + self.constant, log_width

    def value_and_gradient_of_widths(self, packed: Array) -> tuple[float, Array]:
        """Return the negative log posterior per sample and its gradient."""
        scaled = packed[-self.n :]
        if np.abs(WIDTH_SD * scaled).max() > _MAX_LOG_WIDTH:
            return INFEASIBLE, np.zeros_like(packed)
        log_gain = self._undo_widths(WIDTH_SD * scaled)
        value, gradient = self.value_and_gradient(packed[: -self.n])
        if value >= INFEASIBLE:
            return INFEASIBLE, np.zeros_like(packed)
        value += log_gain + float(scaled @ scaled) / 2 / self.n_samples
        by_width = self.residual_slope + self.share @ self.width_slope.real
        by_scaled = WIDTH_SD * by_width + scaled / self.n_samples
        return value, np.concatenate([gradient, by_scaled])

    def _undo_widths(self, log_width: Array) -> float:
        """Set the spectra without the widths; return the log of the gain that this removes."""
        log_ratio, self.width_slope = width_ratio(log_width, self.seconds)
        self.power = change_widths(self.widened, -log_ratio).power
        return float(self.share @ log_ratio.real.sum(axis=1))

    def _differentiate_by_observation(
        self, weight: Array, power: Complex, factors: tuple[Array, Array]
    ) -> Array:
        plain, crossed = factors
        pull = weight[:, None, None] * (plain - 2 * self.advance * crossed)
        pull *= power
        by_source = self.width_slope.conj() * pull.sum(axis=2)
        by_target = self.width_slope * pull.sum(axis=1)
        self.residual_slope = -(by_source + by_target).real.sum(axis=0)
        return super()._differentiate_by_observation(weight, power, factors)
