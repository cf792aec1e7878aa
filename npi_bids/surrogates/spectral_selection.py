"""Data-driven choice of the observation model: common gain, noise, precisions and delays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import block_diag

from npi_bids.errors import SettingsError
from npi_bids.records import Array, Observation, RegionSeries
from npi_bids.surrogates.cross_spectra import (
    Complex,
    CrossSpectra,
    choose_n_bins,
    cross_spectra,
    pool_spectra,
    split_runs,
)
from npi_bids.surrogates.delay_map import DelayMap, weigh_delay_map
from npi_bids.surrogates.fitted_process import FittedModel
from npi_bids.surrogates.measurement_noise import estimate_noise
from npi_bids.surrogates.observation_errors import (
    delay_slopes,
    response_information,
    transition_errors,
)
from npi_bids.surrogates.response_width import (
    WIDTH_SD,
    change_widths,
    estimate_widths,
    is_clear,
    width_ratio,
)
from npi_bids.surrogates.ridge import fit_ridge
from npi_bids.surrogates.selection_criteria import (
    DELAY_EVIDENCE,
    MIN_OBSERVATION_REGIONS,
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
_N_SPREADS = 61  # standard deviations of delays over which their spread is averaged
_TELLING_DELAY_SD = 0.5  # s; SD of delays whose expected evidence tells what data can show
_START_PRECISIONS = (30.0, 30.0)  # precisions of the first fits
# Initial values of the fits with a free gain that start from uncoupled regions. Those that led
# furthest most often come first, after the start from the fit without a gain, so that others can
# be given up early.
_START_AUTOREGRESSIONS = (0.8, 0.6, 0.35)
_ITERATIONS = (60, 40, 100)  # of the first fits, of those that choose precisions, and of the last
# Rounds of the fixed-point iteration for the precisions at most, and the relative change that ends
# it; a part of the drift that is all noise takes the most.
_MAX_ROUNDS, _PRECISION_TOLERANCE = 8, 0.02
# Share of the information on the delays that is used, since their errors are 1.3 to 2 times
# what all of it would imply.
_INFORMATION_SHARE = 0.25
# A map that was fixed before is not fitted, so that less evidence shows that it holds: over no
# delays, and over delays that are estimated without it.
_MAP_GATE = 3.0
_WIDTH_GATE = 30.0  # evidence (nats) that responses of different widths need
_MIN_BINS = 4  # frequency bins that a passband must hold
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
    counts_possible_delays
        Whether delays that are ruled out are estimated nevertheless, so that the errors count
        those that the data do not exclude.
    """

    delays: bool | None = None
    gain: bool | None = None
    noise: bool | None = None
    delay_map: DelayMap | None = None
    counts_possible_delays: bool = False

    @property
    def estimates_delays(self) -> bool:
        """Whether delays are estimated, if only for the errors."""
        return self.delays is not False or self.counts_possible_delays

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
        uncertainty of the delays and of the widths of the responses.
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
) -> tuple[Observation, ObservationModel | None]:
    """Choose and fit the observation model; no fit is made if it has no delays and no gain.

    Parameters
    ----------
    runs, tr, parts
        As in :func:`choose_observation`.
    """
    chooser, choice, start = _choose(runs, tr, parts, None)
    return choice, None if choice.is_plain else chooser.refit(choice, start)


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
    chooser = _Chooser(runs, tr, delays=parts.estimates_delays and enough, band=band)
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
    fixed_delays, slopes, of_widths = chooser.known_delay_errors(model, choice)
    of_delays = np.diag(np.where(np.isnan(delay_errors), 0.0, np.square(delay_errors)))
    slopes = np.concatenate([delay_slopes(model), slopes])
    covariance = block_diag(of_delays, of_widths)
    errors = transition_errors(model, choice.precision, slopes, covariance)
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
        self.omitted = spectra.outside(self.band) if self.band else None
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
        return self._choose_delays(choice, prior, (fit, model), parts.delays)

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
        allowed: bool | None,
    ) -> tuple[Observation, SpectralFit]:
        """Add delays to the choice if the evidence and the held-out stretches ask for them.

        They are imposed, ruled out, or decided by the data, as in :class:`ObservationParts`.
        Delays that are ruled out are weighed all the same: what they would bring is told, and the
        errors allow for them.
        """
        fit, model = fitted
        information = _INFORMATION_SHARE * response_information(
            model, prior.precision, delay_slopes(model)
        )
        delay_sd, shrunk, evidence = shrink_delays(fit.delays, information)
        choice = replace(
            choice,
            delay_evidence=evidence,
            expected_delay_evidence=expect_delay_evidence(
                information, _TELLING_DELAY_SD / self.tr
            ),
        )
        candidates = []
        if allowed or evidence >= DELAY_EVIDENCE:
            delayed = replace(choice, delay_sd=delay_sd)
            candidates.append((delayed, replace(fit, delays=shrunk)))
        if self.delay_map is not None and allowed is not False:
            # Delays that differ from the map must not pass a lower gate because there is one.
            mapped = self._follow_map(choice, prior, fit, information, max(evidence, 0.0))
            candidates = [*mapped, *candidates]
        for candidate, start in candidates:
            over_plain, over_var = self._delay_benefit(start, self._prior_of(candidate))
            choice = replace(choice, delay_benefit=over_plain, delay_over_var=over_var)
            if allowed or (allowed is None and over_plain > 0):
                return replace(candidate, delay_benefit=over_plain, delay_over_var=over_var), start
        doubt = expected_spread(fit.delays, information, _WIDE_DELAY_SD / self.tr)
        choice = replace(choice, delay_doubt=doubt)
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
        fixed_delays, slopes, widths = self.known_delay_errors(model, choice)
        n = self.spectra.n_regions
        if not choice.delay_sd:
            unknown = np.full_like(fixed_delays, np.nan)
            errors = fixed_delays
            if choice.delay_doubt:  # the map was made as if there were none, whatever they are
                doubted = np.concatenate([delay_slopes(model), slopes])
                covariance = block_diag(choice.delay_doubt**2 * np.eye(n), widths)
                errors = transition_errors(model, choice.precision, doubted, covariance)
            return ObservationModel(choice, fit, model, unknown[0], errors, unknown)
        delay_sd = choice.delay_sd if choice.delays is None else np.array(choice.delays.sd)
        slopes = np.concatenate([delay_slopes(model), slopes])
        covariance = self._posterior_covariance(
            model, choice, slopes, [np.broadcast_to(delay_sd, n), *self._width_spreads()]
        )
        delay_errors = np.sqrt(np.diag(covariance)[:n])
        errors = transition_errors(model, choice.precision, slopes, covariance)
        delay_share = 1 - (fixed_delays / errors) ** 2
        return ObservationModel(choice, fit, model, delay_errors, errors, delay_share)

    def known_delay_errors(
        self, model: FittedModel, choice: Observation
    ) -> tuple[Array, Complex, Array]:
        """Return what is uncertain where the delays are known.

        Returns
        -------
        errors
            Shape (n_regions, n_regions); standard errors of the transition.
        slopes
            Shape (n_kinds, n_bins, n_regions); of the log responses by the log widths, of no
            kinds where they are equal.
        covariance
            Shape (n_kinds * n_regions, n_kinds * n_regions); posterior covariance of the log
            widths.
        """
        slopes = self._width_slopes(model)
        covariance = self._posterior_covariance(model, choice, slopes, self._width_spreads())
        return transition_errors(model, choice.precision, slopes, covariance), slopes, covariance

    def _posterior_covariance(
        self, model: FittedModel, choice: Observation, slopes: Complex, spreads: Sequence[Array]
    ) -> Array:
        """Return the posterior covariance of parameters of the responses with given priors."""
        if not len(slopes):
            return np.zeros((0, 0))
        information = _INFORMATION_SHARE * response_information(model, choice.precision, slopes)
        information += np.diag(1 / np.square(np.concatenate(spreads)))
        covariance: Array = np.linalg.inv(information).astype(np.float64)
        return covariance

    def _width_spreads(self) -> list[Array]:
        """Return the prior SD of the log widths, where the responses differ."""
        return [np.full(self.log_widths.size, WIDTH_SD)] if self.log_widths.size else []

    def _width_slopes(self, model: FittedModel) -> Complex:
        """Return the slopes of the log responses by the log widths, of 1 or no kinds."""
        n_bins, n = len(model.frequency), self.spectra.n_regions
        if not self.log_widths.size:
            return np.zeros((0, n_bins, n), dtype=np.complex128)
        _, slope = width_ratio(self.log_widths, model.frequency / self.tr)
        used = np.isin(self.measured.frequency, model.frequency)
        clear = is_clear(self.measured.signal_share(self.noise)[used])
        slope = slope * clear[:, None]
        # A row of the cross-spectra is multiplied by the conjugate of the response.
        return (slope if self.reverse else slope.conj())[None]

    def refit_with_delays(self, choice: Observation, start: SpectralFit) -> ObservationModel:
        """Fit drift and diffusion with fixed delays, which have no errors."""
        prior = replace(self.prior, gain=choice.gain, precision=choice.precision)
        aligned = self.spectra.without_delays(start.delays)
        fit = self._problem(prior, spectra=aligned).fit(start, _ITERATIONS[2])
        fit = replace(fit, delays=start.delays)
        model = self.build_model(fit, prior)
        errors, *_ = self.known_delay_errors(model, choice)
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
        best, self.autoregression = self._problem(prior, 0.5).fit(plain, _ITERATIONS[0]), 0.5
        for autoregression in _START_AUTOREGRESSIONS:
            problem = self._problem(prior, autoregression)
            fit = problem.fit(None, _ITERATIONS[0], best.objective)
            if fit.objective < best.objective:
                best, self.autoregression = fit, autoregression
        return best

    def build_model(self, fit: SpectralFit, prior: SpectralPrior) -> FittedModel:
        """Return a fit with the spectra that it expects."""
        log_ratio = self._log_ratio(self.measured) if self.log_widths.size else None
        problem = self._problem(prior)
        return FittedModel(problem, fit, self.measured, self.noise, log_ratio, self.omitted)


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
    projected, variances, vectors = _project_delays(delays, information)

    def evidence(sd: float) -> float:
        return _spread_evidence(sd, projected, variances)

    negligible = 1e-3
    sd = max([negligible, *np.geomspace(0.02, 5, 60).tolist()], key=evidence)
    shrunk: Array = vectors @ (projected * sd**2 / (sd**2 + variances))
    return float(sd), shrunk, evidence(sd) - evidence(negligible)


def expected_spread(delays: Array, information: Array, largest: float) -> float:
    """Return the root mean square of the delays that these estimates leave possible.

    Parameters
    ----------
    delays, information
        Estimated delays, and their information, as in :func:`shrink_delays`.
    largest
        The spread is as likely at any value up to this one beforehand; in the unit of the delays.
    """
    projected, variances, _ = _project_delays(delays, information)
    spreads = np.linspace(0, largest, _N_SPREADS)
    evidence = np.array([_spread_evidence(sd, projected, variances) for sd in spreads])
    weights = np.exp(evidence - evidence.max())
    return float(np.sqrt(np.average(spreads**2, weights=weights)))


def _project_delays(delays: Array, information: Array) -> tuple[Array, Array, Array]:
    """Return the delays in the eigenbasis of their information, their variances, and the basis."""
    values, vectors = np.linalg.eigh(information)
    determined = values > 1e-6 * values.max()
    values, vectors = values[determined], vectors[:, determined]
    return vectors.T @ delays, 1 / values, vectors


def _spread_evidence(sd: float, projected: Array, variances: Array) -> float:
    """Return the log evidence of delays of this standard deviation, but for a constant."""
    variance = sd**2 + variances
    return float(-0.5 * (np.log(variance) + projected**2 / variance).sum())


def expect_delay_evidence(information: Array, sd: float) -> float:
    """Return the log evidence that delays of a given spread would be expected to have (nats).

    The mean, over delays drawn from ``N(0, sd^2 I)`` and their errors, of the log density of the
    estimated delays with that spread over the one without delays: 0 if the data tell nothing of
    delays.

    Parameters
    ----------
    information
        Shape (n_regions, n_regions); information on the delays, per squared sample.
    sd
        Spread of the delays, in samples.

    Examples
    --------
    >>> round(expect_delay_evidence(np.eye(2), 1.0), 3)  # 1 - log(2)
    0.307
    """
    ratios = sd**2 * np.maximum(np.linalg.eigvalsh(information), 0.0)
    return float(0.5 * (ratios - np.log1p(ratios)).sum())
