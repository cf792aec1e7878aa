"""A surrogate of the state underlying the signals, observed through delays and a common gain.

The state is perturbed, so that effective connectivity is free of the gain (a filter, the
haemodynamic response) and of the delays. The signals are predicted as they were measured, by the
best linear predictor with a given number of lags that the fitted model implies.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Literal, TypedDict

import numpy as np
from numpy.linalg import LinAlgError
from scipy.linalg import solve, solve_continuous_lyapunov

from npi_bids.errors import SurrogateError
from npi_bids.matrices import scale_covariance
from npi_bids.records import Array, Observation, ObservationFields, RegionSeries, Windows
from npi_bids.surrogates.base import known_details
from npi_bids.surrogates.bold_response import peak_responses
from npi_bids.surrogates.cross_spectra import AutoSpectra, Complex, CrossSpectra
from npi_bids.surrogates.delay_map import DelayMap, WeighedMap
from npi_bids.surrogates.fixed_precision import FixedPrecision
from npi_bids.surrogates.ou_model_selection import (
    regions_of_subset,
    subset_regions,
    time_stretches,
)
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.selection_criteria import (
    CLEAR_DELAY_EVIDENCE,
    DELAY_TOLERANCE_PER_NAT,
    MAX_DELAY_TOLERANCE,
    MOST_OBSERVED_REGIONS,
)
from npi_bids.surrogates.spectral import SpectralFit
from npi_bids.surrogates.spectral_selection import (
    ObservationModel,
    ObservationParts,
    choose_observation,
    choose_unless_plain,
    describe_fit,
    refit_observation,
    refit_with_delays,
)
from npi_bids.surrogates.var import VAR
from npi_bids.surrogates.windows import join_windows, reverse_time

_LOGGER = logging.getLogger(__name__)
_RIDGE = 1e-5  # share of the variance that keeps the predictor of filtered signals bounded
_STRONGER = 4.0  # factor by which a prior is made stronger if no stable process fits


class ObservedFields(TypedDict):
    """Fields that loading an :class:`ObservedOU` requires besides the tensors."""

    form: Literal["observed"]
    observation: ObservationFields


@dataclass(frozen=True, slots=True, eq=False)
class ObservedOU(VAR):
    """An Ornstein-Uhlenbeck process observed through delays and a gain.

    ``weights`` and ``offset`` are those of the predictor of the signals.

    Attributes
    ----------
    process
        Process of the state, in units in which each region has the variance of its signal.
    delays
        Shape (n_regions,), in samples.
    delay_errors
        Shape (n_regions,), in samples; NaN without delays, and where a delay is not known.
    errors
        Shape (n_regions, n_regions); standard errors of the transition of the state.
    innovation
        Shape (n_regions, n_regions); covariance of the errors of the predictor.
    correlation
        Shape (n_regions, n_regions); correlations of the signals that the model implies.
    shares
        Shape (n_regions, n_regions); share of the variance of each entry of the transition that is
        due to the delays; NaN without delays.
    frequency, gain
        Shape (n_bins,); radians per sample, and power of the signals over that of the state.
    observation
        The chosen observation model.
    """

    process: OU
    delays: Array
    delay_errors: Array
    errors: Array
    innovation: Array
    correlation: Array
    shares: Array
    frequency: Array
    gain: Array
    observation: Observation

    @property
    def region_delays(self) -> tuple[Array, Array] | None:
        """Delays relative to their median, and their standard errors, in samples.

        NaN where subjects share delays and not all of them cover a region.
        """
        if self.observation.delay_sd == 0:
            return None
        known = np.isfinite(self.delay_errors)
        known |= not known.any()  # fixed delays have no errors
        lags: Array = np.where(known, self.delays - np.median(self.delays[known]), np.nan)
        return lags, self.delay_errors

    @property
    def delay_share(self) -> Array | None:
        """Share of the variance of each connection that is due to the delays."""
        return self.shares if self.observation.delay_sd > 0 else None

    @property
    def signal_peaks(self) -> Array:
        """Peak responses of the signals to a brief perturbation of the state."""
        return peak_responses(self.process, self.frequency, self.gain)

    def estimate_delays(self, windows: Windows) -> Array | None:
        """Return the delays that other windows show, without the map of delays."""
        if self.observation.delay_sd == 0:
            return None
        unmapped = replace(self, observation=replace(self.observation, delays=None))
        return fit_observed(windows, like=unmapped).delays

    def without_delays(self, windows: Windows) -> ObservedOU | None:
        """Return the process fitted without delays, with everything else kept."""
        if self.observation.delay_sd == 0:
            return None
        undelayed = replace(
            self,
            observation=replace(self.observation, delay_sd=0.0, delays=None),
            delays=np.zeros_like(self.delays),
        )
        return fit_observed(windows, like=undelayed)

    def with_precision(
        self, windows: Windows, precision: FixedPrecision, *, reverse: bool = False
    ) -> ObservedOU:
        """Return the process fitted with a fixed prior, and the same delays, gain and noise.

        The delays of the signals with time reversed are negative. A prior that is weaker than the
        chosen one is made stronger, up to that, as long as no stable process fits.
        """
        windows = reverse_time(windows) if reverse else windows
        chosen = self.observation.precision
        rate = float(np.mean(np.diag(self.process.drift)))
        fixed = even, odd = tuple(part * rate**2 for part in precision.of_drift(len(windows)))
        while True:
            try:
                surrogate = self._refit_stable(
                    windows, (even, odd), self._starts(reverse=reverse), reverse=reverse
                )
                if (even, odd) != fixed:
                    _LOGGER.warning(
                        "No stable process fits with the prior that maps for tests over subjects "
                        "share. This map is shrunk more than those of others: its precision is "
                        "%.3g (symmetric) and %.3g (antisymmetric part) instead of %.3g.",
                        even, odd, fixed[0],
                    )  # fmt: skip
                return surrogate
            except SurrogateError as error:
                if even >= chosen[0] and odd >= chosen[1]:
                    raise SurrogateError(
                        f"The process observed through delays and a gain cannot be fitted with "
                        f"a fixed prior: {error}"
                    ) from error
            even, odd = (
                max(part, min(_STRONGER * part, limit))
                for part, limit in zip((even, odd), chosen, strict=True)
            )

    def _starts(self, *, reverse: bool) -> tuple[SpectralFit, SpectralFit]:
        """Return regions without connections, and the fitted process, in the direction of time.

        The stationary process with drift B and covariance S has the drift ``inv(S) B' S`` in
        reversed time (Anderson, 1982, Stochastic Process Appl 12:313).
        """
        drift, diffusion = self.process.drift, self.process.diffusion
        if reverse:
            stationary = solve_continuous_lyapunov(drift.T, -np.diag(diffusion))
            drift = np.linalg.solve(stationary, drift.T @ stationary)
        delays = -self.delays if reverse else self.delays
        unconnected = np.diag(np.diag(self.process.drift))
        return (
            SpectralFit(unconnected, diffusion, delays, math.nan, math.nan),
            SpectralFit(drift, diffusion, delays, math.nan, math.nan),
        )

    def _refit_stable(
        self,
        windows: Windows,
        precision: tuple[float, float],
        starts: Sequence[SpectralFit],
        *,
        reverse: bool,
    ) -> ObservedOU:
        """Return the fit from the first start that leads to a stable process.

        Spectra do not tell a process that grows from one that decays, so that the fit from
        unconnected regions may end in one that grows; from the fitted process it seldom does.
        """
        choice = replace(self.observation, precision=precision)
        runs, failure = restore_runs(windows), ""
        for start in starts:
            try:
                fitted = refit_with_delays(runs, windows.tr, choice, start, reverse=reverse)
                return _build_surrogate(windows, fitted)
            except (SurrogateError, LinAlgError) as error:
                failure = str(error)
        raise SurrogateError(failure)

    @property
    def linear_weights(self) -> Array:
        """Transition of the state, shape (1, source, target)."""
        weights: Array = self.process.transition[None]
        return weights

    @property
    def free_lags(self) -> int:
        """Number of lags with fitted weights between regions."""
        return 1

    def tensors(self) -> dict[str, Array]:
        """Return all fitted numbers by name."""
        return {
            "weights": self.weights,
            "offset": self.offset,
            "drift": self.process.drift,
            "diffusion": self.process.diffusion,
            "delays": self.delays,
            "delay_errors": self.delay_errors,
            "errors": self.errors,
            "innovation": self.innovation,
            "correlation": self.correlation,
            "delay_share": self.shares,
            "frequency": self.frequency,
            "gain": self.gain,
        }

    def fields(self) -> dict[str, object]:
        """Return the fields that distinguish it from other surrogates of its family."""
        return {"form": "observed", "observation": asdict(self.observation)}

    def perturbed_change(self, history: Array, strength: float) -> Array:  # noqa: ARG002 (the same in every state)
        """Return the change of the state, shape (source, target)."""
        change: Array = strength * self.process.transition
        return change

    def mean_jacobian(self, history: Array) -> Array:  # noqa: ARG002 (the same in every state)
        """Return the transition of the state, shape (source, target)."""
        jacobian: Array = self.process.transition
        return jacobian

    def weight_errors(self, windows: Windows) -> Array:  # noqa: ARG002 (known from the fit)
        """Return the standard errors of the transition, shape (source, target)."""
        return self.errors

    def stationary_correlation(self) -> Array:
        """Return the correlations of the signals that the model implies."""
        return self.correlation

    def noise_covariance(self) -> Array:
        """Return the covariance of the prediction errors, shape (n_regions, n_regions)."""
        return self.innovation


def load_observed(tensors: Mapping[str, Array], fields: ObservedFields) -> ObservedOU:
    """Restore a surrogate fitted by :func:`fit_observed`."""
    return ObservedOU(
        tensors["weights"],
        tensors["offset"],
        OU(tensors["drift"], tensors["diffusion"]),
        tensors["delays"],
        tensors["delay_errors"],
        tensors["errors"],
        tensors["innovation"],
        tensors["correlation"],
        tensors["delay_share"],
        tensors["frequency"],
        tensors["gain"],
        Observation.from_fields(fields["observation"]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class ObservationFit:
    """What the data say about the observation model.

    Attributes
    ----------
    surrogate
        The process with its observation model; None if neither delays nor a gain is chosen, or if
        held-out stretches do not ask for them.
    choice
        What was chosen, also where held-out stretches did not ask for it; None if nothing could
        be fitted.
    """

    surrogate: ObservedOU | None = None
    choice: Observation | None = None

    @property
    def delay_doubt(self) -> float:
        """Root mean square of the delays of the regions, in samples, a plain process omits."""
        if self.choice is None:
            return 0.0
        return self.choice.delay_sd or self.choice.delay_doubt


def find_observation(
    windows: Windows,
    parts: ObservationParts,
    *,
    least_error: Callable[[Windows], float],
    lagged: bool = True,
    passband: tuple[float, float] | None = None,
) -> ObservationFit:
    """Fit the process with its observation model if held-out stretches ask for it.

    The one-step prediction must improve; where delays make the spectra of held-out stretches
    clearly more likely than both the same process without delays and a VAR, it must not get much
    worse, since in short data the one-step error does not show delays yet. With many regions, the
    observation model is chosen on a subset of them.

    Parameters
    ----------
    windows
        Windows of the signals.
    parts
        Parts of the observation model that are allowed, or imposed.
    least_error
        Returns the held-out one-step error of windows with some or all of the regions, relative
        to the variance, that the fit must undercut.
    lagged
        Whether past samples of other regions are informative; elsewhere nothing may be worse.
    passband
        Frequencies that are used, lowest and highest (Hz); if None, those that have power. With
        a passband, or an imposed part, the fit is returned whatever it predicts.
    """
    subset = subset_regions(windows, MOST_OBSERVED_REGIONS)
    # A named passband is a request: what the other frequencies would predict does not count.
    is_requested = passband is not None or parts.is_imposed
    delay_map = parts.delay_map
    if delay_map is not None:
        few = delay_map.take(regions_of_subset(windows.target.shape[1], MOST_OBSERVED_REGIONS))
        parts = replace(parts, delay_map=few)
    try:
        if is_requested:
            requested = fit_observed(subset, parts, passband=passband)
            fitted = ObservationFit(requested, requested.observation)
        else:
            fitted = _fit_supported(subset, parts, least_error, lagged=lagged)
        choice = fitted.choice
        if fitted.surrogate is None or choice is None or subset is windows:
            return fitted
        if delay_map is not None and choice.delays is not None:
            weighed = WeighedMap(choice.map_spread, choice.map_coefficients, choice.delay_evidence)
            choice = replace(choice, delays=delay_map.apply(weighed, windows.tr))
        model = refit_observation(restore_runs(windows), windows.tr, choice)
        return ObservationFit(_build_surrogate(windows, model), choice)
    except (SurrogateError, LinAlgError) as error:  # no such process exists
        if passband is not None:
            _LOGGER.warning(
                "--passband %g %g is not used, as no process fits these frequencies alone: %s",
                *passband, error,
            )  # fmt: skip
        elif is_requested:
            _LOGGER.warning(
                "The requested delays, gain or noise are not part of the model, as no process "
                "fits with them: %s", error,
            )  # fmt: skip
        return ObservationFit()


def _fit_supported(
    windows: Windows,
    parts: ObservationParts,
    least_error: Callable[[Windows], float],
    *,
    lagged: bool,
) -> ObservationFit:
    """Fit the process with its observation model if held-out stretches ask for it."""
    choice, model = choose_unless_plain(restore_runs(windows), windows.tr, parts)
    if model is None:
        return ObservationFit(choice=choice)
    candidate = _build_surrogate(windows, model)
    tolerance = _tolerance(model.choice, windows.target.size) if lagged else 0.0
    supported = held_out_error(windows, candidate) < (1 + tolerance) * least_error(windows)
    return ObservationFit(candidate if supported else None, choice)


def _tolerance(choice: Observation, n_values: int) -> float:
    """Return the fraction by which the one-step error may be higher where delays are clear."""
    support = (choice.delay_evidence + choice.delay_benefit) / n_values
    if not (choice.delay_sd > 0 and support > CLEAR_DELAY_EVIDENCE and choice.delay_over_var > 0):
        return 0.0
    return min(DELAY_TOLERANCE_PER_NAT * choice.delay_over_var / n_values, MAX_DELAY_TOLERANCE)


def fit_observed(
    windows: Windows,
    parts: ObservationParts | None = None,
    *,
    passband: tuple[float, float] | None = None,
    like: ObservedOU | None = None,
) -> ObservedOU:
    """Fit the process with its observation model.

    Parameters
    ----------
    windows
        Windows of the signals, from which the runs are restored.
    parts, passband
        As in :func:`~npi_bids.surrogates.spectral_selection.choose_observation`.
    like
        A fit of the same subject whose observation model is kept.

    Raises
    ------
    SurrogateError
        If no stable process fits with such an observation model.
    """
    runs = restore_runs(windows)
    try:
        if like is None:
            model = choose_observation(runs, windows.tr, parts, passband=passband)
        else:
            start = SpectralFit(
                like.process.drift, like.process.diffusion, like.delays, math.nan, math.nan
            )
            model = refit_observation(runs, windows.tr, like.observation, start)
        return _build_surrogate(windows, model)
    except LinAlgError as error:
        raise SurrogateError(
            f"The process observed through delays and a gain cannot be fitted: {error}. Use "
            "--delays none and --gain none."
        ) from error


def build_observed(
    windows: Windows, choice: Observation, fit: SpectralFit, delay_errors: Array
) -> ObservedOU:
    """Return the surrogate of a process that was fitted elsewhere, with delays that are known.

    Parameters
    ----------
    windows
        Windows of the signals.
    choice
        The observation model.
    fit
        The process in the units of the signals, and the delays.
    delay_errors
        Shape (n_regions,); standard errors of the delays, in samples; NaN where a delay is not
        known.
    """
    model = describe_fit(restore_runs(windows), windows.tr, choice, fit, delay_errors)
    return _build_surrogate(windows, model)


def _build_surrogate(windows: Windows, fitted: ObservationModel) -> ObservedOU:
    """Return the surrogate in units in which the state has the variance of the signals."""
    radius = float(np.abs(np.linalg.eigvals(fitted.model.transition)).max())
    if not radius < 1:
        raise SurrogateError(
            f"The process observed through delays and a gain is not stable (spectral radius "
            f"{radius:.3f}). Use --delays none and --gain none."
        )
    scale = windows.target.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0) / np.sqrt(np.diag(fitted.model.stationary))
    rescaling = scale / scale[:, None]
    try:
        covariances = observed_covariances(fitted, windows.n_lags)
        weights, innovation = predictor(covariances)
    except LinAlgError as error:
        raise SurrogateError(
            "The signals that the process implies cannot be predicted: their covariances are "
            "singular."
        ) from error
    mean = windows.target.mean(axis=0)
    offset: Array = mean - np.einsum("s,lst->t", mean, weights)
    return ObservedOU(
        weights,
        offset,
        OU(fitted.fit.drift * rescaling, fitted.fit.diffusion * scale**2),
        fitted.fit.delays,
        fitted.delay_errors,
        fitted.transition_errors * rescaling,
        innovation,
        scale_covariance(covariances[0]),
        fitted.delay_share,
        fitted.model.measured.frequency,
        fitted.model.gain,
        fitted.choice,
    )


def observation_details(choice: Observation, tr: float) -> tuple[tuple[str, float], ...]:
    """Return the chosen observation model by name, for the training log."""
    return (
        ("common_gain", float(choice.gain)),
        ("gain_evidence", choice.gain_evidence),
        ("delay_sd", choice.delay_sd * tr),
        ("possible_delay_sd", choice.delay_doubt * tr),
        ("delay_evidence", choice.delay_evidence),
        ("delay_benefit", choice.delay_benefit),
        ("expected_delay_evidence", choice.expected_delay_evidence),
        ("delay_over_var", choice.delay_over_var),
        ("measurement_noise", choice.noise),
        ("noise_evidence", choice.noise_evidence),
        ("response_width_sd", float(np.std(choice.log_widths)) if choice.log_widths else 0.0),
        ("response_width_evidence", choice.width_evidence),
        ("precision_symmetric_relative", choice.precision[0]),
        ("precision_antisymmetric_relative", choice.precision[1]),
    )


def describe_delay_evidence(choice: Observation) -> tuple[tuple[str, float], ...]:
    """Return what the data say of delays that are not part of the model, for the training log."""
    return known_details(
        delay_evidence=choice.delay_evidence,
        delay_benefit=choice.delay_benefit,
        expected_delay_evidence=choice.expected_delay_evidence,
    )


def describe_delay_map(
    fitted: ObservedOU | None, delay_map: DelayMap
) -> tuple[tuple[str, float], ...]:
    """Return whether delays follow a map, and how, by name, for the training log."""
    choice = fitted.observation if fitted else None
    if choice is None or choice.delays is None:
        return (("delay_map_used", 0.0),)
    coefficients = zip(delay_map.names, choice.map_coefficients, strict=True)
    return (
        ("delay_map_used", 1.0),
        ("delay_spread_about_map", choice.map_spread),
        *((f"delay_by_{name}", coefficient) for name, coefficient in coefficients),
    )


def held_out_error(windows: Windows, fitted: ObservedOU) -> float:
    """Return the one-step error on held-out stretches with the chosen observation model.

    Mean over regions of the mean squared error divided by the variance.
    """
    parts = [windows.take(rows) for rows in time_stretches(len(windows))]
    errors = []
    for fold in (0, 1):
        training, test = (join_windows(parts[offset::2]) for offset in (1 - fold, fold))
        residual = fit_observed(training, like=fitted).step(test.history) - test.target
        errors.append(np.mean(np.mean(residual**2, axis=0) / windows.target.var(axis=0)))
    return float(np.mean(errors))


def restore_runs(windows: Windows) -> list[RegionSeries]:
    """Restore the runs from which windows were cut; samples outside all windows are censored.

    A gap between targets that is as long as the history marks the beginning of another run; after
    a censored sample the gap is longer.
    """
    n_lags, n_regions = windows.n_lags, windows.target.shape[1]
    positions = windows.position
    first = int(positions[0]) - n_lags
    data = np.full((int(positions[-1]) - first + 1, n_regions), np.nan)
    for lag in range(n_lags, 0, -1):
        data[positions - first - lag] = windows.history[:, n_lags - lag]
    data[positions - first] = windows.target
    starts = np.flatnonzero(np.diff(positions) == n_lags + 1)
    bounds = [0, *(positions[starts + 1] - first - n_lags), len(data)]
    labels = tuple(f"R{region}" for region in range(n_regions))
    runs = []
    for a, b in pairwise(bounds):
        part = data[a:b]
        runs.append(RegionSeries(part, labels, 1.0, np.isfinite(part).all(axis=1)))
    return runs


def observed_covariances(fitted: ObservationModel, n_lags: int) -> Array:
    """Return the lagged covariances of the signals that a fitted model implies.

    Shape (n_lags + 1, n_regions, n_regions): mean of ``y_i(t) y_j(t + lag)``. Frequencies that are
    not fitted contribute what they have in each region, as if regions were independent there: a
    prediction that relied on their absence would magnify even a trace of white noise.
    """
    expected, omitted = fitted.model.expected, fitted.model.omitted

    def weights(spectra: CrossSpectra | AutoSpectra) -> Complex:
        lags = np.arange(n_lags + 1)[:, None]
        phase: Complex = np.exp(1j * spectra.frequency * lags)
        return phase * (spectra.n_ordinates / expected.n_samples)

    covariances: Array = np.einsum("lk,kij->lij", weights(expected), expected.power).real
    regions = np.arange(covariances.shape[1])
    if omitted is not None:
        alone = np.einsum("lk,ki->li", weights(omitted), omitted.power).real
        covariances[:, regions, regions] += alone
    covariances[0, regions, regions] *= 1 + _RIDGE
    return covariances


def predictor(covariances: Array) -> tuple[Array, Array]:
    """Return the best linear predictor of given lags, and the covariance of its errors.

    Solves the multichannel Yule-Walker equations.

    Parameters
    ----------
    covariances
        Shape (n_lags + 1, n_regions, n_regions): mean of ``y_i(t) y_j(t + lag)``.

    Returns
    -------
    weights
        Shape (n_lags, source, target), the most recent sample last.
    innovation
        Shape (n_regions, n_regions).
    """
    n_lags, n = len(covariances) - 1, covariances.shape[1]
    blocks = [
        [covariances[b - a] if b >= a else covariances[a - b].T for b in range(n_lags)]
        for a in range(n_lags)
    ]
    past = np.block(blocks)
    cross = np.concatenate([covariances[n_lags - lag] for lag in range(n_lags)])
    flat = solve(past, cross, assume_a="pos")
    innovation = covariances[0] - flat.T @ cross
    return flat.reshape(n_lags, n, n), (innovation + innovation.T) / 2
