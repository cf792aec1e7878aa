"""Data-driven choice of the observation model: common gain, noise, precisions and delays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from npi_bids.errors import SettingsError
from npi_bids.records import Array, Observation, RegionSeries
from npi_bids.surrogates.cross_spectra import (
    Complex,
    CrossSpectra,
    adjoint,
    choose_n_bins,
    cross_spectra,
    pool_spectra,
    split_runs,
)
from npi_bids.surrogates.delay_map import DelayMap, weigh_delay_map
from npi_bids.surrogates.measurement_noise import estimate_noise
from npi_bids.surrogates.ou import innovation_slope, mean_exponential
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.response_width import (
    change_widths,
    estimate_widths,
    is_clear,
    width_ratio,
)
from npi_bids.surrogates.ridge import fit_ridge
from npi_bids.surrogates.selection_criteria import (
    DELAY_EVIDENCE,
    MOST_REGIONS,
    NOISE_EVIDENCE,
)
from npi_bids.surrogates.spectral import (
    SpectralFit,
    SpectralPrior,
    SpectralProblem,
    whittle_log_likelihood,
)
from npi_bids.wording import count_noun

_RATE = 0.7  # per second; median of the prior of the mean rate
_WIDE_DELAY_SD = 1.5  # s; SD of the delays in the fits that choose the model
_START_PRECISIONS = (30.0, 30.0)  # precisions of the first fits
_START_AUTOREGRESSIONS = (0.35, 0.6, 0.8)  # initial values of the fits with a free gain
_ITERATIONS = (60, 40, 100)  # of the first fits, of those that choose precisions, and of the last
# Rounds of the fixed-point iteration for the precisions at most, and the relative change that ends
# it; a part of the drift that is all noise takes the most.
_MAX_ROUNDS, _PRECISION_TOLERANCE = 8, 0.02
MIN_OBSERVATION_REGIONS = 10  # with fewer, delays absorb the direction of connections
# Share of the information on the delays that is used, since their errors are 1.3 to 2 times
# what all of it would imply.
_INFORMATION_SHARE = 0.25
# A map that was fixed before is not fitted, so that less evidence shows that it holds: over no
# delays, and over delays that are estimated without it.
_MAP_GATE = 3.0
_WIDTH_GATE = 30.0  # evidence (nats) that responses of different widths need
_MIN_BINS = 4  # frequency bins that a passband must hold
# Regions above which what delays and connections share is kept in single precision, and how many
# rows of it are worked on at a time: it has as many numbers as there are regions, to the third.
_LARGE_ATLAS, _BLOCK = 400, 16
_FOLDS = 4  # consecutive parts of the runs, each held out once
_MAX_PRECISION = 1e5


@dataclass(frozen=True, slots=True)
class ObservationParts:
    """Parts of an observation model: imposed (True), ruled out (False), or by the data (None).

    Attributes
    ----------
    delays
        A delay of each region; never with fewer than ten regions.
    gain
        A gain over frequency that all regions share.
    noise
        White measurement noise, where there is a gain.
    delay_map
        What is known of the delays beforehand.
    """

    delays: bool | None = None
    gain: bool | None = None
    noise: bool | None = None
    delay_map: DelayMap | None = None

    @property
    def is_imposed(self) -> bool:
        """Whether any part is imposed."""
        return True in (self.delays, self.gain, self.noise)


@dataclass(frozen=True, slots=True, eq=False)
class ObservationModel:
    """A fitted process with its observation model.

    Attributes
    ----------
    choice
        What the data chose.
    fit
        The fitted process.
    model
        The fit with the spectra that it expects.
    delay_errors
        Shape (n_regions,); standard error of each delay, in samples; NaN without delays.
    transition_errors
        Shape (n_regions, n_regions); standard errors of the transition, including the
        uncertainty of the delays.
    delay_share
        Shape (n_regions, n_regions); share of their squares that is due to the delays; NaN without
        delays.
    """

    choice: Observation
    fit: SpectralFit
    model: FittedModel
    delay_errors: Array
    transition_errors: Array
    delay_share: Array


def choose_observation(
    runs: Sequence[RegionSeries],
    tr: float,
    parts: ObservationParts | None = None,
    *,
    passband: tuple[float, float] | None = None,
) -> ObservationModel:
    """Choose and fit the observation model.

    Delays are included if their evidence is above a threshold and if they help to predict the
    spectra of held-out stretches of time; white measurement noise, if there is a common gain and
    the evidence for noise is above a threshold.

    Parameters
    ----------
    runs
        Series of the same regions, all of them covered.
    tr
        Sampling period (s).
    parts
        Parts that are imposed or ruled out; if None, the data choose all of them.
    passband
        Frequencies that are used, lowest and highest (Hz); if None, those that have power.

    Raises
    ------
    SettingsError
        If the passband holds too few frequencies.
    """
    chooser, choice, start = _choose(runs, tr, parts, passband)
    return chooser.refit(choice, start)


def choose_unless_plain(
    runs: Sequence[RegionSeries], tr: float, parts: ObservationParts | None = None
) -> ObservationModel | None:
    """Choose and fit the observation model; None, without a fit, if it has no delays and no gain.

    Parameters
    ----------
    runs, tr, parts
        As in :func:`choose_observation`.
    """
    chooser, choice, start = _choose(runs, tr, parts, None)
    return None if choice.is_plain else chooser.refit(choice, start)


def _choose(
    runs: Sequence[RegionSeries],
    tr: float,
    parts: ObservationParts | None,
    passband: tuple[float, float] | None,
) -> tuple[_Chooser, Observation, SpectralFit]:
    """Return the chosen observation model, what fits it, and from where."""
    n_regions = runs[0].data.shape[1]
    enough = n_regions >= MIN_OBSERVATION_REGIONS
    band = None if passband is None else _band_in_radians(passband, tr)
    parts = parts or ObservationParts()
    chooser = _Chooser(runs, tr, delays=parts.delays is not False and enough, band=band)
    chooser.delay_map = parts.delay_map
    if passband is not None:
        _check_bins(passband, tr, len(chooser.spectra.frequency), chooser.n_bins)
    return chooser, *chooser.choose(parts)


def _band_in_radians(passband: tuple[float, float], tr: float) -> tuple[float, float]:
    return 2 * math.pi * passband[0] * tr, min(2 * math.pi * passband[1] * tr, math.pi)


def check_passband(runs: Sequence[RegionSeries], tr: float, passband: tuple[float, float]) -> None:
    """Refuse a passband that holds too few frequencies of the signals.

    Parameters
    ----------
    runs
        Series of the same regions, all of them covered.
    tr
        Sampling period (s).
    passband
        Lowest and highest frequency (Hz).

    Raises
    ------
    SettingsError
        If it holds fewer than four frequency bins.
    """
    spectra = cross_spectra(runs)
    n_inside = len(spectra.within(_band_in_radians(passband, tr)).frequency)
    _check_bins(passband, tr, n_inside, len(spectra.frequency))


def check_passband_before(
    passband: tuple[float, float], tr: float, n_samples: int, n_regions: int
) -> None:
    """Refuse a passband that will hold too few frequencies, before any signal is read.

    A passband that passes may still be refused once censored samples are known.

    Parameters
    ----------
    passband
        Lowest and highest frequency (Hz).
    tr
        Sampling period (s).
    n_samples, n_regions
        Number of samples at most, and of regions.

    Raises
    ------
    SettingsError
        If it holds fewer than four frequency bins.
    """
    n_bins = choose_n_bins(n_samples, min(n_regions, MOST_REGIONS))
    nyquist = 0.5 / tr
    width = min(passband[1], nyquist) - passband[0]
    most_inside = 0 if width < 0 else int(width / nyquist * n_bins) + 1
    _check_bins(passband, tr, most_inside, n_bins)


def _check_bins(passband: tuple[float, float], tr: float, n_inside: int, n_bins: int) -> None:
    if n_inside < _MIN_BINS:
        raise SettingsError(
            f"--passband {passband[0]:g} {passband[1]:g} is too narrow for TR {tr:g} s: it holds "
            f"{n_inside} of the {n_bins} frequency bins up to {0.5 / tr:.3g} Hz, and at least "
            f"{_MIN_BINS} are needed. Widen it, or leave it at auto."
        )


def name_passband(passband: tuple[float, float]) -> str:
    """Return the option that named a passband (Hz), as it was given."""
    return f"--passband {passband[0]:g} {passband[1]:g}"


def describe_few_regions(options: str, n_regions: int) -> str:
    """Return why options of the observation model are not used with so few regions."""
    verb = "are" if " and " in options else "is"
    return (
        f"{options} {verb} not used: the model has {count_noun(n_regions, 'region')}, and with "
        f"fewer than {MIN_OBSERVATION_REGIONS} neither gain nor delays can be told from "
        "connections. All frequencies are fitted."
    )


def refit_observation(
    runs: Sequence[RegionSeries], tr: float, choice: Observation, start: SpectralFit | None = None
) -> ObservationModel:
    """Fit other stretches of the same subject with an observation model chosen before.

    Parameters
    ----------
    runs
        Series of the same regions, all of them covered.
    tr
        Sampling period (s).
    choice
        The observation model to keep.
    start
        Initial fit; if None, uncoupled regions.
    """
    if len(choice.log_widths) not in (0, runs[0].data.shape[1]):  # those of a subset of regions
        equal = replace(choice, log_widths=())
        chooser = _Chooser(runs, tr, delays=choice.delay_sd > 0, choice=equal)
        return chooser.refit(chooser.estimate_all_widths(choice), start)
    chooser = _Chooser(runs, tr, delays=choice.delay_sd > 0, choice=choice)
    return chooser.refit(choice, start)


def refit_with_delays(
    runs: Sequence[RegionSeries],
    tr: float,
    choice: Observation,
    start: SpectralFit,
    *,
    reverse: bool = False,
) -> ObservationModel:
    """Fit with an observation model chosen before, and with the delays of the start held fixed.

    Parameters
    ----------
    runs
        Series of the same regions, all of them covered.
    tr
        Sampling period (s).
    choice
        The observation model to keep.
    start
        Initial process, and the delays.
    reverse
        Whether time is reversed in the runs, which reverses the phase of the responses.
    """
    chooser = _Chooser(runs, tr, delays=False, choice=choice, reverse=reverse)
    return chooser.refit_with_delays(choice, start)


def describe_fit(
    runs: Sequence[RegionSeries],
    tr: float,
    choice: Observation,
    fit: SpectralFit,
    delay_errors: Array,
) -> ObservationModel:
    """Return the model of a fit that was made elsewhere, with delays that are known.

    Parameters
    ----------
    runs
        Series of the same regions, all of them covered.
    tr
        Sampling period (s).
    choice
        The observation model.
    fit
        The process, in the units of the series, and the delays.
    delay_errors
        Shape (n_regions,); standard errors of the delays, in samples; NaN where a delay is not
        known.
    """
    chooser = _Chooser(runs, tr, delays=False, choice=choice)
    model = chooser.build_model(fit, replace(chooser.prior, gain=choice.gain))
    covariance = np.diag(np.where(np.isnan(delay_errors), 0.0, np.square(delay_errors)))
    errors = transition_errors(model, choice.precision, covariance)
    fixed_delays = transition_errors(model, choice.precision, 0 * covariance)
    delay_share = 1 - (fixed_delays / errors) ** 2
    return ObservationModel(choice, fit, model, delay_errors, errors, delay_share)


def choose_pooled_observation(
    folds: Sequence[CrossSpectra], tr: float, *, gain: bool | None = None
) -> Observation:
    """Choose the observation model that the subjects of a group share.

    Parameters
    ----------
    folds
        Spectra of each part of the group, of all frequencies and the same regions; each part is
        held out once.
    tr
        Sampling period (s).
    gain
        As in :func:`choose_observation`.
    """
    return _PooledChooser(folds, tr).choose(ObservationParts(gain=gain))[0]


def refit_pooled_observation(
    folds: Sequence[CrossSpectra], tr: float, choice: Observation
) -> ObservationModel:
    """Fit an observation model chosen for some regions of a group to all of them.

    Parameters
    ----------
    folds, tr
        As in :func:`choose_pooled_observation`.
    choice
        Its result.
    """
    if len(choice.log_widths) in (0, folds[0].n_regions):
        return _PooledChooser(folds, tr, choice).refit(choice, None)
    chooser = _PooledChooser(folds, tr, replace(choice, log_widths=()))
    return chooser.refit(chooser.estimate_all_widths(choice), None)


class _Chooser:
    """Fits candidate observation models to runs, or to their spectra."""

    def __init__(
        self,
        data: Sequence[RegionSeries] | CrossSpectra,
        tr: float,
        *,
        delays: bool,
        choice: Observation | None = None,
        band: tuple[float, float] | None = None,
        reverse: bool = False,
    ) -> None:
        self.runs: Sequence[RegionSeries] = () if isinstance(data, CrossSpectra) else data
        spectra = data if isinstance(data, CrossSpectra) else cross_spectra(data)
        self.tr, self.delays, self.reverse = tr, delays, reverse
        self.delay_map: DelayMap | None = None
        self.band = choice.band if choice else band or spectra.band()
        self.measured, self.n_bins = spectra.within(self.band), len(spectra.frequency)
        self.noise = choice.noise if choice else 0.0
        self.log_widths = np.array(choice.log_widths if choice else ())
        self.spectra = self._undo_noise_and_widths(self.measured)
        self.n_samples = spectra.n_samples
        self.prior = SpectralPrior(
            precision=_START_PRECISIONS,
            delay_sd=_WIDE_DELAY_SD / tr if delays else 0.0,
            gain=False,
            rate=_RATE * tr,
        )
        self.autoregression = choice.own if choice else _START_AUTOREGRESSIONS[1]

    def _undo_noise_and_widths(self, spectra: CrossSpectra) -> CrossSpectra:
        """Return spectra without the measurement noise and the widths that were found."""
        usable = spectra.without_noise(self.noise)
        if not self.log_widths.size:
            return usable
        log_ratio = self._log_ratio(spectra)[np.isin(spectra.frequency, usable.frequency)]
        return change_widths(usable, -log_ratio)

    def _log_ratio(self, measured: CrossSpectra) -> Complex:
        """Return the spectra of the responses relative to the common one, as logarithms.

        0 in bins of noise: what is left there is not the response, but noise that regions share.
        """
        log_ratio, _ = width_ratio(self.log_widths, measured.frequency / self.tr)
        log_ratio = log_ratio * is_clear(measured.signal_share(self.noise))[:, None]
        return log_ratio.conj() if self.reverse else log_ratio

    def choose(self, parts: ObservationParts) -> tuple[Observation, SpectralFit]:
        """Return the chosen observation model, and a fit from which to continue."""
        # Noise is part of the model only beside a gain.
        gain = True if parts.noise and parts.gain is None else parts.gain
        plain = self._fit(self.prior, None, _ITERATIONS[0])
        free = self._fit_free_gain(plain) if gain is not False else None
        gain_evidence = -math.inf
        if free is not None:
            cost = self.n_bins / 2 * math.log(self.n_samples)
            gain_evidence = free.log_likelihood - plain.log_likelihood - cost
        has_gain = gain_evidence > 0 if gain is None else gain
        fit = free if has_gain and free is not None else plain
        prior = replace(self.prior, gain=has_gain)
        noise_evidence = math.nan
        if has_gain and parts.noise is not False:
            noise_evidence = self._find_noise(imposed=bool(parts.noise))
        prior, fit, model = self._choose_precisions(prior, fit)
        width_evidence = self._find_widths(prior, fit) if has_gain else math.nan
        if self.log_widths.size:
            fit = self._fit(prior, fit, _ITERATIONS[0])
            prior, fit, model = self._choose_precisions(prior, fit)
        choice = Observation(
            has_gain,
            gain_evidence,
            0.0,
            math.nan,
            prior.precision,
            self.band,
            self.autoregression,
            noise=self.noise,
            noise_evidence=noise_evidence,
            log_widths=tuple(self.log_widths.tolist()),
            width_evidence=width_evidence,
        )
        if not self.delays:
            return choice, fit
        return self._choose_delays(choice, prior, (fit, model), imposed=bool(parts.delays))

    def _choose_precisions(
        self, prior: SpectralPrior, fit: SpectralFit
    ) -> tuple[SpectralPrior, SpectralFit, FittedModel]:
        """Iterate the precisions of highest evidence with the fit; also return the last model."""
        model = self.build_model(fit, prior)
        for _ in range(_MAX_ROUNDS):
            previous, precision = prior.precision, evidence_precision(model, prior.precision)
            prior = replace(prior, precision=precision)
            change = np.abs(np.log(precision) - np.log(previous)).max()
            if change < _PRECISION_TOLERANCE:
                break
            fit = self._fit(prior, fit, _ITERATIONS[1])
            model = self.build_model(fit, prior)
        return prior, fit, model

    def _find_noise(self, *, imposed: bool) -> float:
        """Subtract measurement noise from the spectra if there is any; return its evidence."""
        estimate = estimate_noise(
            self.measured,
            self.prior,
            full_band=self.band is None,
            start_autoregression=self.autoregression,
        )
        if imposed or estimate.evidence > NOISE_EVIDENCE:
            self.noise = estimate.share
            self.spectra = self._undo_noise_and_widths(self.measured)
        return estimate.evidence

    def _find_widths(
        self, prior: SpectralPrior, fit: SpectralFit, gate: float = _WIDTH_GATE
    ) -> float:
        """Take widths of the responses out of the spectra if they differ; return the evidence."""
        usable = np.isin(self.measured.frequency, self.spectra.frequency)
        estimate = estimate_widths(
            self.spectra,
            prior,
            fit,
            self.tr,
            signal_share=self.spectra.n_ordinates / self.measured.n_ordinates[usable],
            start_autoregression=self.autoregression,
        )
        if estimate is None:
            return math.nan
        if estimate.evidence > gate:
            self.log_widths = estimate.log_widths
            self.spectra = self._undo_noise_and_widths(self.measured)
        return estimate.evidence

    def estimate_all_widths(self, choice: Observation) -> Observation:
        """Return a choice made on a subset of the regions with the widths of all of them."""
        prior = self._prior_of(choice)
        self._find_widths(prior, self._fit(prior, None, _ITERATIONS[0]), -math.inf)
        return replace(choice, log_widths=tuple(self.log_widths.tolist()))

    def _choose_delays(
        self,
        choice: Observation,
        prior: SpectralPrior,
        fitted: tuple[SpectralFit, FittedModel],
        *,
        imposed: bool,
    ) -> tuple[Observation, SpectralFit]:
        """Add delays to the choice if the evidence and the held-out stretches ask for them."""
        fit, model = fitted
        information = _INFORMATION_SHARE * delay_information(model, prior.precision)
        delay_sd, shrunk, evidence = shrink_delays(fit.delays, information)
        choice = replace(choice, delay_evidence=evidence)
        candidates = []
        if imposed or evidence >= DELAY_EVIDENCE:
            delayed = replace(choice, delay_sd=delay_sd)
            candidates.append((delayed, replace(fit, delays=shrunk)))
        if self.delay_map is not None:
            # Delays that differ from the map must not pass a lower gate because there is one.
            mapped = self._follow_map(choice, prior, fit, information, max(evidence, 0.0))
            candidates = [*mapped, *candidates]
        for candidate, start in candidates:
            over_plain, over_var = self._delay_benefit(start, self._prior_of(candidate))
            choice = replace(choice, delay_benefit=over_plain, delay_over_var=over_var)
            if imposed or over_plain > 0:
                return replace(candidate, delay_benefit=over_plain, delay_over_var=over_var), start
        return choice, replace(fit, delays=np.zeros_like(shrunk))

    def _follow_map(
        self,
        choice: Observation,
        prior: SpectralPrior,
        fit: SpectralFit,
        information: Array,
        least: float,
    ) -> list[tuple[Observation, SpectralFit]]:
        """Return the choice and the start of a fit with the map of delays, if it agrees.

        Precisions are chosen anew, since delays from a map leave more of the direction.
        """
        if self.delay_map is None:
            return []
        weighed = weigh_delay_map(self.delay_map, fit.delays, information, self.tr)
        if weighed.evidence < least + _MAP_GATE:
            return []
        delays = self.delay_map.apply(weighed, self.tr)
        prior = replace(prior, delay_sd=delays.spread, delays=delays)
        start = self._fit(prior, replace(fit, delays=np.array(delays.mean)), _ITERATIONS[0])
        prior, start, _ = self._choose_precisions(prior, start)
        mapped = replace(
            choice,
            precision=prior.precision,
            delay_sd=delays.spread,
            delay_evidence=weighed.evidence,
            delays=delays,
            map_spread=weighed.spread,
            map_coefficients=weighed.coefficients,
        )
        return [(mapped, start)]

    def _prior_of(self, choice: Observation) -> SpectralPrior:
        """Return the prior of the fits with an observation model."""
        return replace(
            self.prior,
            gain=choice.gain,
            precision=choice.precision,
            delay_sd=choice.delay_sd,
            delays=choice.delays,
        )

    def refit(self, choice: Observation, start: SpectralFit | None) -> ObservationModel:
        """Fit a chosen observation model, with standard errors."""
        prior = self._prior_of(choice)
        fit = self._fit(prior, start, _ITERATIONS[2])
        model = self.build_model(fit, prior)
        delay_covariance: Array = np.zeros((self.spectra.n_regions, self.spectra.n_regions))
        delay_errors = np.full(self.spectra.n_regions, np.nan)
        if choice.delay_sd:
            information = _INFORMATION_SHARE * delay_information(model, prior.precision)
            delay_sd = choice.delay_sd if choice.delays is None else np.array(choice.delays.sd)
            information += np.eye(len(information)) / np.square(delay_sd)
            delay_covariance = np.linalg.inv(information).astype(np.float64)
            delay_errors = np.sqrt(np.diag(delay_covariance))
        errors = transition_errors(model, prior.precision, delay_covariance)
        delay_share = np.full_like(errors, np.nan)
        if choice.delay_sd:
            fixed_delays = transition_errors(model, prior.precision, 0 * delay_covariance)
            delay_share = 1 - (fixed_delays / errors) ** 2
        return ObservationModel(choice, fit, model, delay_errors, errors, delay_share)

    def refit_with_delays(self, choice: Observation, start: SpectralFit) -> ObservationModel:
        """Fit drift and diffusion with fixed delays, which have no errors."""
        prior = replace(self.prior, gain=choice.gain, precision=choice.precision)
        aligned = self.spectra.without_delays(start.delays)
        fit = self._problem(prior, spectra=aligned).fit(start, _ITERATIONS[2])
        fit = replace(fit, delays=start.delays)
        model = self.build_model(fit, prior)
        errors = transition_errors(model, prior.precision, np.zeros_like(fit.drift))
        unknown = np.full_like(errors, np.nan)
        return ObservationModel(choice, fit, model, unknown[0], errors, unknown)

    def _delay_benefit(self, delayed: SpectralFit, prior: SpectralPrior) -> tuple[float, float]:
        """Return the log likelihood of held-out stretches that delays add.

        Returns
        -------
        over_plain
            Over the same process without delays.
        over_var
            Over a VAR of one lag, whose dynamics are discrete; NaN where the gain is free.
        """
        plain, undelayed = (
            replace(prior, delay_sd=0.0, delays=None),
            replace(delayed, delays=0 * delayed.delays),
        )
        over_plain, over_var = 0.0, math.nan if prior.gain else 0.0
        for part in self._held_out_parts():
            training_spectra, test_spectra = (
                self._undo_noise_and_widths(side.within(self.band))
                for side in (part.training, part.test)
            )
            likelihoods = []
            for fold_prior, start in ((prior, delayed), (plain, undelayed)):
                fit = self._problem(fold_prior, spectra=training_spectra).fit(
                    start, _ITERATIONS[1]
                )
                likelihoods.append(
                    self._problem(fold_prior, spectra=test_spectra).log_likelihood(fit)
                )
            over_plain += likelihoods[0] - likelihoods[1]
            over_var += likelihoods[0] - whittle_log_likelihood(
                test_spectra, part.var_weights, part.var_innovation
            )
        return over_plain, over_var

    def _held_out_parts(self) -> Iterator[_HeldOutPart]:
        """Yield each part of the runs with the spectra of the others and a VAR of them."""
        parts = [
            part for part in split_runs(self.runs, _FOLDS) if any(run.keep.any() for run in part)
        ]
        for part in parts:
            training = [run for other in parts if other is not part for run in other]
            weights, innovation = _fit_var(training)
            yield _HeldOutPart(
                cross_spectra(training, self.n_bins),
                cross_spectra(part, self.n_bins),
                weights,
                innovation,
            )

    def _problem(
        self,
        prior: SpectralPrior,
        autoregression: float | None = None,
        spectra: CrossSpectra | None = None,
    ) -> SpectralProblem:
        return SpectralProblem(
            spectra or self.spectra,
            prior,
            full_band=self.band is None,
            start_autoregression=autoregression or self.autoregression,
        )

    def _fit(
        self, prior: SpectralPrior, start: SpectralFit | None, iterations: int
    ) -> SpectralFit:
        return self._problem(prior).fit(start, iterations)

    def _fit_free_gain(self, plain: SpectralFit) -> SpectralFit:
        """Fit with a free gain from several starts, as there are several optima."""
        prior = replace(self.prior, gain=True)
        starts: list[tuple[float, SpectralFit | None]] = [(0.5, plain)]
        starts += [(autoregression, None) for autoregression in _START_AUTOREGRESSIONS]
        fits = [
            self._problem(prior, autoregression).fit(start, _ITERATIONS[0])
            for autoregression, start in starts
        ]
        best = min(range(len(fits)), key=lambda index: fits[index].objective)
        self.autoregression = starts[best][0]
        return fits[best]

    def build_model(self, fit: SpectralFit, prior: SpectralPrior) -> FittedModel:
        """Return a fit with the spectra that it expects."""
        log_ratio = self._log_ratio(self.measured) if self.log_widths.size else None
        return FittedModel(self._problem(prior), fit, self.measured, self.noise, log_ratio)


def _fit_var(training: Sequence[RegionSeries]) -> tuple[Array, Array]:
    """Return weights and covariance of the innovations of a ridge VAR of one lag."""
    consecutive = [np.flatnonzero(run.keep[:-1] & run.keep[1:]) for run in training]
    past, future = (
        np.concatenate(
            [run.data[rows + lag] for run, rows in zip(training, consecutive, strict=True)]
        )
        for lag in (0, 1)
    )
    fitted = fit_ridge(past, future)
    return fitted.weights, fitted.residual.T @ fitted.residual / len(past)


@dataclass(frozen=True, slots=True, eq=False)
class _HeldOutPart:
    """Spectra of a held-out part of the data and of the others, and a VAR of the others."""

    training: CrossSpectra
    test: CrossSpectra
    var_weights: Array
    var_innovation: Array


class _PooledChooser(_Chooser):
    """Fits candidate observation models to the spectra of a group."""

    def __init__(
        self, folds: Sequence[CrossSpectra], tr: float, choice: Observation | None = None
    ) -> None:
        super().__init__(pool_spectra(folds), tr, delays=True, choice=choice)
        self.folds = folds

    def _held_out_parts(self) -> Iterator[_HeldOutPart]:
        for fold in self.folds:
            training = pool_spectra([other for other in self.folds if other is not fold])
            past, cross = training.lagged_moments()
            weights: Array = np.linalg.solve(past, cross).astype(np.float64)
            yield _HeldOutPart(training, fold, weights, past - weights.T @ cross)


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
    """

    def __init__(
        self,
        problem: SpectralProblem,
        fit: SpectralFit,
        measured: CrossSpectra,
        noise: float = 0.0,
        log_ratio: Complex | None = None,
    ) -> None:
        self.drift, self.diffusion, self.delays = fit.drift, fit.diffusion, fit.delays
        self.frequency, self.share = problem.frequency, problem.share
        self.n_samples = problem.n_samples
        process = OU(fit.drift, fit.diffusion)
        self.transition, self.innovation = process.transition, process.innovation
        self.stationary: Array = solve_discrete_lyapunov(self.transition.T, self.innovation)
        self.filter, self.inverse, self.power = self._state_spectra(self.frequency)
        self.measured, self.noise, self.log_ratio = measured, noise, log_ratio
        self._gain = problem.estimate_gain(fit)

    def _state_spectra(self, frequency: Array) -> tuple[Complex, Complex, Complex]:
        """Return ``e^(iw) I - W``, its inverse, and the cross-spectra of the state."""
        phase = np.exp(1j * frequency)[:, None, None]
        filters: Complex = phase * np.eye(len(self.drift)) - self.transition
        inverse = np.linalg.inv(filters).astype(np.complex128)
        power: Complex = adjoint(inverse) @ self.innovation @ inverse
        return filters, inverse, power

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


def evidence_precision(model: FittedModel, previous: tuple[float, float]) -> tuple[float, float]:
    """Return the precisions of highest evidence, by one step of MacKay's fixed-point iteration.

    The number of well-determined entries of a part over their energy (MacKay 1992,
    doi:10.1162/neco.1992.4.3.415), with the information on each pair of entries in closed form.
    """
    n = len(model.drift)
    root = np.sqrt(-np.diag(model.drift))
    relative = model.drift / np.outer(root, root)
    self_weights = np.exp(np.diag(model.drift))
    slope = (self_weights[:, None] + self_weights) / 2 * np.outer(root, root)
    information = (
        model.n_samples
        * slope**2
        / np.outer(model.conditional_precision, np.diag(model.innovation))
    )
    upper = np.triu_indices(n, 1)
    pair_information = (information + information.T)[upper]
    precisions = []
    for part, precision in zip(
        (relative + relative.T, relative - relative.T), previous, strict=True
    ):
        energy = float(2 * ((part[upper] / 2) ** 2).sum())
        n_determined = float((pair_information / (pair_information + 2 * precision)).sum())
        precisions.append(float(np.clip(n_determined / max(energy, 1e-12), 1.0, _MAX_PRECISION)))
    return precisions[0], precisions[1]


def delay_information(model: FittedModel, precision: tuple[float, float]) -> Array:
    """Return the expected information on the delays, with the drift profiled out.

    Shape (n_regions, n_regions), per squared sample: the Schur complement of the expected
    information on W under the prior, in the eigenbases of covariance and innovations.
    """
    n, w, u = len(model.drift), model.frequency, model.share
    whitened = model.filter @ np.linalg.inv(model.innovation) @ adjoint(model.filter)
    by_delays = np.einsum("k,kij,kji->ij", u * w**2, model.power, whitened).real
    by_delays = by_delays - float((u * w**2).sum()) * np.eye(n)
    mixed, by_transition, _ = _mixed_information(model, precision)
    for rows in _blocks(n):
        block = mixed[:, rows].reshape(n, -1)
        by_delays = by_delays - (block / by_transition[rows].ravel()) @ block.T
    curvature = by_delays * model.n_samples
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    information: Array = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return information


def _blocks(n: int) -> list[slice]:
    """Return slices over ``n`` rows, few enough at a time to fit into memory."""
    return [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]


def _mixed_information(
    model: FittedModel, precision: tuple[float, float]
) -> tuple[Array, Array, tuple[Array, Array]]:
    """Return the information between delays and W, and on W, in the eigenbases of W's sides.

    Returns
    -------
    mixed
        Shape (n_regions, n_regions, n_regions): delay, and both sides of W; per sample.
    by_transition
        Shape (n_regions, n_regions); information on W under the prior, per sample.
    bases
        Eigenbases of the sources and of the targets.
    """
    w, u = model.frequency, model.share
    crossed = np.conj(model.filter) @ np.linalg.inv(model.innovation)
    covariance = np.einsum("k,kij->ij", u, model.power.real)
    variances, to_source = np.linalg.eigh(covariance)
    noise_variances, to_target = np.linalg.eigh(model.innovation)
    # Both factors go into the eigenbases before their product, which has many more entries.
    source = ((1j * w * u)[:, None, None] * model.power) @ to_source
    target = crossed @ to_target
    self_delay = np.einsum("k,kba->ab", 1j * w * u, model.inverse).real @ to_target
    n = len(to_source)
    mixed = np.empty((n, n, n), dtype=np.float64 if n <= _LARGE_ATLAS else np.float32)
    for i in range(n):
        source_factor = np.concatenate([source[:, i].real, -source[:, i].imag])
        target_factor = np.concatenate([target[:, i].real, target[:, i].imag])
        mixed[i] = source_factor.T @ target_factor - np.outer(to_source[i], self_delay[i])
    rate = -float(np.diag(model.drift).mean())
    prior = math.sqrt(precision[0] * precision[1]) / model.n_samples
    prior = prior / math.exp(-2 * rate) / rate**2
    by_transition: Array = variances[:, None] / noise_variances + prior
    return mixed, by_transition, (to_source, to_target)


def transition_errors(
    model: FittedModel, precision: tuple[float, float], delay_covariance: Array
) -> Array:
    """Return the standard errors of the transition.

    Laplace's approximation: lagged products and innovations inform each pair of entries, the prior
    adds its precision (as for the process without an observation model), and the uncertainty of
    the delays is added: to first order W changes with the delays by ``-H_WW^-1 H_Wd``.

    Parameters
    ----------
    model
        The fit.
    precision
        Precisions of the symmetric and the antisymmetric part of the relative drift.
    delay_covariance
        Shape (n_regions, n_regions); posterior covariance of the delays, in squared samples.
    """
    self_connections = np.diag(model.drift)
    noise_variances = np.diag(model.innovation)
    slope = mean_exponential(self_connections[:, None], self_connections[None, :])
    lagged = model.n_samples * slope**2 / np.outer(model.conditional_precision, noise_variances)
    scale = np.outer(-self_connections, -self_connections)
    even, odd = precision
    shared_slope = (
        innovation_slope(self_connections[:, None] + self_connections[None, :])
        * model.diffusion[:, None]
    )
    shared = model.n_samples / np.outer(noise_variances, noise_variances)
    information = lagged + shared * shared_slope**2 + (even + odd) / 2 / scale
    crossed = shared * shared_slope * shared_slope.T + (even - odd) / 2 / scale
    variance = slope**2 * information.T / (information * information.T - crossed**2)
    if delay_covariance.any():
        mixed, by_transition, (to_source, to_target) = _mixed_information(model, precision)
        values, vectors = np.linalg.eigh(delay_covariance)
        components = (vectors * np.sqrt(np.maximum(values, 0))).astype(mixed.dtype)
        for columns in _blocks(len(components)):
            shifts = np.tensordot(components[:, columns].T, mixed, axes=1) / by_transition
            variance = variance + ((to_source @ shifts @ to_target.T) ** 2).sum(axis=0)
    errors: Array = np.sqrt(variance)
    return errors


def shrink_delays(delays: Array, information: Array) -> tuple[float, Array, float]:
    """Return the delay spread of highest evidence, the shrunken delays, and the evidence gained.

    The estimated delays are modelled as samples of ``N(0, sd^2 I + information^-1)``.

    Returns
    -------
    sd
        Standard deviation of the delays, in samples.
    shrunk
        Shape (n_regions,); the shrunken delays, in samples.
    gain
        Log evidence over that of no delays (nats).
    """
    values, vectors = np.linalg.eigh(information)
    determined = values > 1e-6 * values.max()
    values, vectors = values[determined], vectors[:, determined]
    projected = vectors.T @ delays

    def evidence(sd: float) -> float:
        variance = sd**2 + 1 / values
        return float(-0.5 * (np.log(variance) + projected**2 / variance).sum())

    negligible = 1e-3
    sd = max([negligible, *np.geomspace(0.02, 5, 60).tolist()], key=evidence)
    shrunk: Array = vectors @ (projected * sd**2 / (sd**2 + 1 / values))
    return float(sd), shrunk, evidence(sd) - evidence(negligible)
