"""What the data choose for a process seen through delays and a gain: gain, precisions, delays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from npi_bids.records import Array, Observation, RegionSeries
from npi_bids.surrogates.cross_spectra import (
    Complex,
    CrossSpectra,
    cross_spectra,
    stretches,
)
from npi_bids.surrogates.ou import innovation_slope, mean_exponential
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.spectral import SpectralFit, SpectralPrior, SpectralProblem

_RATE = 0.7  # per second; median of the prior of the mean rate
_WIDE = 1.5  # s; SD of the delays in the fits that choose
_FIRST = (30.0, 30.0)  # precisions that the first fits have
_OWN = (0.35, 0.6, 0.8)  # own weights that fits with a free gain start from
_ITERATIONS = (60, 40, 100)  # of the first fits, while precisions are chosen, and of the last one
_ROUNDS = 2  # of the fixed point for the precisions
FEWEST_REGIONS = 10  # with fewer the delays take what is direction
# Share of the information on the delays that is believed, since their errors are 1.3 to 2 times
# what all of it would say, and the evidence (nats) that they must bring.
_BELIEVED, _GATE = 0.25, 12.0
_FOLDS = 4  # stretches of time, each held out once
_MOST_PRECISION = 1e5


@dataclass(frozen=True, slots=True, eq=False)
class ObservationModel:
    """A fitted process with how the regions show it.

    Attributes
    ----------
    choice
        What the data chose.
    fit
        The fitted process.
    model
        The fit with the spectra that it expects.
    delay_errors
        Shape (n_regions,); standard error of each delay, in samples; NaN where there are none.
    transition_errors
        Shape (n_regions, n_regions); standard errors of the transition, with what the delays leave
        unknown.
    """

    choice: Observation
    fit: SpectralFit
    model: FittedModel
    delay_errors: Array
    transition_errors: Array


def choose_observation(
    runs: Sequence[RegionSeries], tr: float, *, delays: bool = True, gain: bool | None = None
) -> ObservationModel:
    """Choose and fit the observation model.

    Delays are taken where their evidence is above a gate, and where they help to predict the
    spectra of held-out stretches of time.

    Parameters
    ----------
    runs
        Series of the same regions, all of them covered.
    tr
        Sampling period (s).
    delays
        Whether regions may have delays; never with fewer than ten regions.
    gain
        Whether there is a common gain; by likelihood where None.
    """
    n_regions = runs[0].data.shape[1]
    chooser = _Chooser(runs, tr, delays=delays and n_regions >= FEWEST_REGIONS)
    return chooser.fitted(*chooser.chosen(gain))


def refit_observation(
    runs: Sequence[RegionSeries], tr: float, choice: Observation, start: SpectralFit | None = None
) -> ObservationModel:
    """Fit other stretches of the same subject with what was chosen.

    Parameters
    ----------
    runs
        Series of the same regions, all of them covered.
    tr
        Sampling period (s).
    choice
        To keep.
    start
        Where the fit starts; from uncoupled regions where None.
    """
    chooser = _Chooser(runs, tr, delays=choice.delay_sd > 0, choice=choice)
    return chooser.fitted(choice, start)


class _Chooser:
    """Fits the series of one subject in one way after the other."""

    def __init__(
        self,
        runs: Sequence[RegionSeries],
        tr: float,
        *,
        delays: bool,
        choice: Observation | None = None,
    ) -> None:
        spectra = cross_spectra(runs)
        self.band = choice.band if choice else spectra.band()
        self.runs, self.tr, self.delays = runs, tr, delays
        self.spectra, self.n_all = spectra.within(self.band), len(spectra.frequency)
        self.n_samples = spectra.n_samples
        self.prior = SpectralPrior(
            precision=_FIRST, delay_sd=_WIDE / tr if delays else 0.0, gain=False, rate=_RATE * tr
        )
        self.own = choice.own if choice else _OWN[1]

    def chosen(self, gain: bool | None) -> tuple[Observation, SpectralFit]:
        """Return what the data choose, and a fit to go on from."""
        plain = self._fitted(self.prior, None, _ITERATIONS[0])
        free = self._fitted_free(plain) if gain is not False else None
        gained = -math.inf
        if free is not None:
            cost = self.n_all / 2 * math.log(self.n_samples)
            gained = free.log_likelihood - plain.log_likelihood - cost
        taken = gained > 0 if gain is None else gain
        fit = free if taken and free is not None else plain
        prior = replace(self.prior, gain=taken)
        for _ in range(_ROUNDS):
            precision = evidence_precision(self._model(fit, prior), prior.precision)
            prior = replace(prior, precision=precision)
            fit = self._fitted(prior, fit, _ITERATIONS[1])
        model = self._model(fit, prior)
        prior = replace(prior, precision=evidence_precision(model, prior.precision))
        sd, evidence = 0.0, math.nan
        if self.delays:
            information = _BELIEVED * delay_information(model, prior.precision)
            sd, shrunk, evidence = evidence_of_delays(fit.delays, information)
            late = replace(fit, delays=shrunk)
            if evidence < _GATE or self._held_out(late, replace(prior, delay_sd=sd)) <= 0:
                sd, late = 0.0, replace(fit, delays=np.zeros_like(shrunk))
            fit = late
        found = Observation(taken, gained, sd, evidence, prior.precision, self.band, self.own)
        return found, fit

    def fitted(self, choice: Observation, start: SpectralFit | None) -> ObservationModel:
        """Return the fit with what was chosen, and how sure it is."""
        prior = replace(
            self.prior, gain=choice.gain, precision=choice.precision, delay_sd=choice.delay_sd
        )
        fit = self._fitted(prior, start, _ITERATIONS[2])
        model = self._model(fit, prior)
        unsure: Array = np.zeros((self.spectra.n_regions, self.spectra.n_regions))
        delay_errors = np.full(self.spectra.n_regions, np.nan)
        if choice.delay_sd:
            information = _BELIEVED * delay_information(model, prior.precision)
            information += np.eye(len(information)) / choice.delay_sd**2
            unsure = np.linalg.inv(information).astype(np.float64)
            delay_errors = np.sqrt(np.diag(unsure))
        errors = transition_errors(model, prior.precision, unsure)
        return ObservationModel(choice, fit, model, delay_errors, errors)

    def _held_out(self, late: SpectralFit, prior: SpectralPrior) -> float:
        """Return by how much delays raise the log likelihood of held-out stretches of time."""
        parts = [
            part for part in stretches(self.runs, _FOLDS) if any(run.keep.any() for run in part)
        ]
        plain, prompt = replace(prior, delay_sd=0.0), replace(late, delays=0 * late.delays)
        gained = 0.0
        for part in parts:
            rest = [run for other in parts if other is not part for run in other]
            learn, check = (
                cross_spectra(side, self.n_all).within(self.band) for side in (rest, part)
            )
            for sign, believed, start in ((1, prior, late), (-1, plain, prompt)):
                fit = self._problem(believed, spectra=learn).fit(start, _ITERATIONS[1])
                gained += sign * self._problem(believed, spectra=check).log_likelihood(fit)
        return gained

    def _problem(
        self,
        prior: SpectralPrior,
        own: float | None = None,
        spectra: CrossSpectra | None = None,
    ) -> SpectralProblem:
        return SpectralProblem(
            spectra or self.spectra, prior, whole_band=self.band is None, own=own or self.own
        )

    def _fitted(
        self, prior: SpectralPrior, start: SpectralFit | None, iterations: int
    ) -> SpectralFit:
        return self._problem(prior).fit(start, iterations)

    def _fitted_free(self, plain: SpectralFit) -> SpectralFit:
        """Fit with a free gain from several starts, as there are several optima."""
        prior = replace(self.prior, gain=True)
        starts: list[tuple[float, SpectralFit | None]] = [(0.5, plain)]
        starts += [(own, None) for own in _OWN]
        found = [self._problem(prior, own).fit(start, _ITERATIONS[0]) for own, start in starts]
        best = min(range(len(found)), key=lambda place: found[place].objective)
        self.own = starts[best][0]
        return found[best]

    def _model(self, fit: SpectralFit, prior: SpectralPrior) -> FittedModel:
        return FittedModel(self._problem(prior), fit)


class FittedModel:
    """A fit with the spectra that it expects, in the units of the signals.

    Attributes
    ----------
    drift, transition, innovation, stationary
        Of the state, shape (n_regions, n_regions).
    frequency, share
        Shape (n_bins,); radians per sample, and shares of the ordinates.
    power
        Shape (n_bins, n_regions, n_regions); of the state.
    gain
        Shape (n_bins,); of the signals over that of the state, 1 where it is not free.
    """

    def __init__(self, problem: SpectralProblem, fit: SpectralFit) -> None:
        self.drift, self.diffusion, self.delays = fit.drift, fit.diffusion, fit.delays
        self.frequency, self.share = problem.frequency, problem.share
        self.n_samples = problem.n_samples
        process = OU(fit.drift, fit.diffusion)
        self.transition, self.innovation = process.transition, process.innovation
        self.stationary: Array = solve_discrete_lyapunov(self.transition.T, self.innovation)
        identity = np.eye(len(self.drift))
        self.filter: Complex = problem.turn * identity - self.transition
        self.inverse: Complex = np.linalg.inv(self.filter)
        self.power: Complex = _adjoint(self.inverse) @ self.innovation @ self.inverse
        self.gain = problem.gain_of(fit)

    @property
    def conditional_precision(self) -> Array:
        """Diagonal of the inverse covariance of the state in the band, shape (n_regions,)."""
        past = np.einsum("k,kij->ij", self.share, self.power.real)
        ridge = 1e-6 * np.trace(past) / len(past) * np.eye(len(past))
        precision: Array = np.diag(np.linalg.inv(past + ridge))
        return precision

    @property
    def observed_power(self) -> Complex:
        """Cross-spectra of the signals: of the state, with delays and gain."""
        phase = np.exp(1j * self.frequency[:, None] * self.delays)
        power: Complex = self.power * phase[:, :, None] * phase.conj()[:, None, :]
        return power * self.gain[:, None, None]


def _adjoint(matrices: Complex) -> Complex:
    return np.conj(np.swapaxes(matrices, 1, 2))


def evidence_precision(model: FittedModel, before: tuple[float, float]) -> tuple[float, float]:
    """Return the precisions of highest evidence: one round of MacKay's fixed point.

    The number of well-determined entries of a part over their energy (MacKay 1992,
    doi:10.1162/neco.1992.4.3.415), with the information on each pair of entries in closed form.
    """
    n = len(model.drift)
    root = np.sqrt(-np.diag(model.drift))
    relative = model.drift / np.outer(root, root)
    own = np.exp(np.diag(model.drift))
    slope = (own[:, None] + own) / 2 * np.outer(root, root)
    information = (
        model.n_samples
        * slope**2
        / np.outer(model.conditional_precision, np.diag(model.innovation))
    )
    upper = np.triu_indices(n, 1)
    both = (information + information.T)[upper]
    found = []
    for part, precision in zip(
        (relative + relative.T, relative - relative.T), before, strict=True
    ):
        energy = float(2 * ((part[upper] / 2) ** 2).sum())
        known = float((both / (both + 2 * precision)).sum())
        found.append(float(np.clip(known / max(energy, 1e-12), 1.0, _MOST_PRECISION)))
    return found[0], found[1]


def delay_information(model: FittedModel, precision: tuple[float, float]) -> Array:
    """Return the expected information on the delays, with the drift profiled out.

    Shape (n_regions, n_regions), per squared sample: the Schur complement of the expected
    information on W under the prior, in the eigenbases of covariance and innovations.
    """
    n, w, u = len(model.drift), model.frequency, model.share
    whitened = model.filter @ np.linalg.inv(model.innovation) @ _adjoint(model.filter)
    by_delays = np.einsum("k,kij,kji->ij", u * w**2, model.power, whitened).real
    by_delays = by_delays - float((u * w**2).sum()) * np.eye(n)
    mixed, known, _ = _mixed_information(model, precision)
    weighted = (mixed / known).reshape(n, -1)
    found = (by_delays - weighted @ mixed.reshape(n, -1).T) * model.n_samples
    values, vectors = np.linalg.eigh((found + found.T) / 2)
    information: Array = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return information


def _mixed_information(
    model: FittedModel, precision: tuple[float, float]
) -> tuple[Array, Array, tuple[Array, Array]]:
    """Return the information between delays and W, and on W, in the eigenbases of W's sides.

    Returns
    -------
    mixed
        Shape (n_regions, n_regions, n_regions): delay, and both sides of W; per sample.
    known
        Shape (n_regions, n_regions); on W under the prior, per sample.
    bases
        Of the sources and of the targets.
    """
    n, w, u = len(model.drift), model.frequency, model.share
    crossed = np.conj(model.filter) @ np.linalg.inv(model.innovation)
    turned = (1j * w * u)[:, None, None] * model.power
    mixed = np.stack([
        np.einsum("kp,kq->pq", turned[:, i, :], crossed[:, i, :], optimize=True).real
        for i in range(n)
    ])  # fmt: skip
    own = np.einsum("k,kba->ab", 1j * w * u, model.inverse).real
    mixed[np.arange(n), np.arange(n), :] -= own
    covariance = np.einsum("k,kij->ij", u, model.power.real)
    spread, to_source = np.linalg.eigh(covariance)
    noise, to_target = np.linalg.eigh(model.innovation)
    rate = -float(np.diag(model.drift).mean())
    prior = math.sqrt(precision[0] * precision[1]) / model.n_samples
    prior = prior / math.exp(-2 * rate) / rate**2
    known: Array = spread[:, None] / noise + prior
    return to_source.T @ mixed @ to_target, known, (to_source, to_target)


def transition_errors(
    model: FittedModel, precision: tuple[float, float], unsure_delays: Array
) -> Array:
    """Return the standard errors of the transition.

    Laplace's approximation: lagged products and innovations inform each pair of entries, the prior
    adds its precision (as for the process without an observation model), and what the delays leave
    unknown comes on top: to first order W follows the delays by ``-H_WW^-1 H_Wd``.

    Parameters
    ----------
    model
        The fit.
    precision
        Of the symmetric and the antisymmetric part of the relative drift.
    unsure_delays
        Shape (n_regions, n_regions); posterior covariance of the delays, in squared samples.
    """
    own = np.diag(model.drift)
    left = np.diag(model.innovation)
    slope = mean_exponential(own[:, None], own[None, :])
    lagged = model.n_samples * slope**2 / np.outer(model.conditional_precision, left)
    size = np.outer(-own, -own)
    even, odd = precision
    together = innovation_slope(own[:, None] + own[None, :]) * model.diffusion[:, None]
    shared = model.n_samples / np.outer(left, left)
    there = lagged + shared * together**2 + (even + odd) / 2 / size
    crossed = shared * together * together.T + (even - odd) / 2 / size
    variance = slope**2 * there.T / (there * there.T - crossed**2)
    if unsure_delays.any():
        mixed, known, (to_source, to_target) = _mixed_information(model, precision)
        follows = to_source @ (mixed / known) @ to_target.T
        values, vectors = np.linalg.eigh(unsure_delays)
        moved = np.einsum("de,dpq->epq", vectors * np.sqrt(np.maximum(values, 0)), follows)
        variance = variance + (moved**2).sum(axis=0)
    errors: Array = np.sqrt(variance)
    return errors


def evidence_of_delays(delays: Array, information: Array) -> tuple[float, Array, float]:
    """Return the spread of delays of highest evidence, the delays shrunk with it, and its gain.

    The found delays are taken as drawn from ``N(0, sd^2 I + information^-1)``.

    Returns
    -------
    sd
        In samples.
    delays
        Shape (n_regions,).
    gain
        Log evidence over that of no delays (nats).
    """
    values, vectors = np.linalg.eigh(information)
    known = values > 1e-6 * values.max()
    values, vectors = values[known], vectors[:, known]
    turned = vectors.T @ delays

    def evidence(sd: float) -> float:
        variance = sd**2 + 1 / values
        return float(-0.5 * (np.log(variance) + turned**2 / variance).sum())

    none = 1e-3
    sd = max([none, *np.geomspace(0.02, 5, 60).tolist()], key=evidence)
    shrunk: Array = vectors @ (turned * sd**2 / (sd**2 + 1 / values))
    return float(sd), shrunk, evidence(sd) - evidence(none)
