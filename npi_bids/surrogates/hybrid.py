"""Hybrid surrogate, the default: a linear model plus networks fitted to its residuals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypedDict, cast

import numpy as np

from npi_bids.errors import NoUsableDataError
from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import (
    KEPT_RESIDUALS,
    POSSIBLE,
    WITHOUT_DELAYS,
    Surrogate,
    TrainLog,
    TrainSettings,
    known_details,
    parse_passband,
)
from npi_bids.surrogates.corrected import (
    Corrected,
    CorrectedFields,
    fit_corrected,
    load_corrected,
)
from npi_bids.surrogates.cross_spectra import cross_spectra
from npi_bids.surrogates.delay_map import DelayMap
from npi_bids.surrogates.fixed_precision import FixedPrecision
from npi_bids.surrogates.networks import (
    NetworkFields,
    NetworkSurrogate,
    fit_network,
    load_network,
)
from npi_bids.surrogates.nonlinearity import measure_nonlinearity
from npi_bids.surrogates.observed import (
    ObservationFit,
    ObservedFields,
    ObservedOU,
    describe_delay_evidence,
    describe_delay_map,
    find_observation,
    fit_observed,
    load_observed,
    observation_details,
    restore_runs,
)
from npi_bids.surrogates.ou import (
    MOU,
    MOUFields,
    choose_process,
    describe_choices,
    fit_process,
    fit_with_choices,
    load_mou,
)
from npi_bids.surrogates.ou_model_selection import (
    Choices,
    least_held_out_error,
    subset_regions,
)
from npi_bids.surrogates.residual_networks import (
    ResidualFit,
    fit_residual,
    subtract_prediction,
    zero_mlp,
)
from npi_bids.surrogates.selection_criteria import (
    ABSENT_EVIDENCE,
    CLEAR_VAR_GAIN,
    CLEAR_VAR_LIKELIHOOD,
    MIN_AUTOCORRELATION,
    MIN_OBSERVATION_REGIONS,
    MOST_NONLINEARITY,
    MOST_TELLING_ERROR,
    TRAIN_FRACTION,
    VAR_GAIN,
)
from npi_bids.surrogates.spectral_selection import (
    ObservationParts,
    check_passband,
    describe_few_regions,
    name_passband,
)
from npi_bids.surrogates.var import VAR, VARFields, fit_narrow_var, load_var
from npi_bids.surrogates.windows import split_windows, standardise
from npi_bids.wording import join_items

_LOGGER = logging.getLogger(__name__)
_RESIDUAL = "residual."  # prefix of the names of the networks' tensors
# Whether a part of the observation model is used, by the value of its option; None: by the data.
_IS_ALLOWED = {"auto": None, "on": True, "none": False}

LinearFields = MOUFields | VARFields | ObservedFields


class HybridFields(TypedDict):
    """Fields that loading a :class:`Hybrid` requires besides the tensors."""

    form: Literal["hybrid"]
    linear: LinearFields
    residual: NetworkFields


@dataclass(frozen=True, slots=True, eq=False)
class Hybrid(Surrogate):
    """The sum of a linear surrogate and the mean of several networks.

    Attributes
    ----------
    linear
        An Ornstein-Uhlenbeck process or a VAR.
    residual
        Networks that read only the most recent sample.
    """

    linear: MOU | VAR
    residual: NetworkSurrogate

    @property
    def n_lags(self) -> int:
        """Number of past samples the model reads."""
        return self.linear.n_lags

    @property
    def n_regions(self) -> int:
        """Number of regions the model predicts."""
        return self.linear.n_regions

    @property
    def free_lags(self) -> int:
        """Number of lags with fitted weights between regions."""
        return self.linear.free_lags

    @property
    def members(self) -> tuple[Hybrid, ...]:
        """One surrogate per network, each with the whole linear part."""
        return tuple(Hybrid(self.linear, member) for member in self.residual.members)

    def step(self, history: Array) -> Array:
        """Predict the next sample."""
        predicted: Array = self.linear.step(history) + self.residual.step(history[:, -1:])
        return predicted

    def tensors(self) -> dict[str, Array]:
        """Return the numbers of both parts; those of the networks begin with ``residual``."""
        residual = {f"{_RESIDUAL}{name}": value for name, value in self.residual.tensors().items()}
        return self.linear.tensors() | residual

    def compute_on(self, device: str) -> None:
        """Move the networks to a device."""
        self.residual.compute_on(device)

    def fields(self) -> dict[str, object]:
        """Return the fields of both parts."""
        parts = {"linear": self.linear.fields(), "residual": self.residual.fields()}
        return {"form": "hybrid", **parts}

    def with_precision(
        self, windows: Windows, precision: FixedPrecision, *, reverse: bool = False
    ) -> Surrogate:
        """Return the linear part fitted with a fixed prior; networks have no such fit."""
        return self.linear.with_precision(windows, precision, reverse=reverse)

    def perturbed_change(self, history: Array, strength: float) -> Array:
        """Return the mean change of the prediction, shape (source, target); exact."""
        change: Array = self.linear.perturbed_change(history, strength)
        return change + self.residual.perturbed_change(history[:, -1:], strength)

    def mean_jacobian(self, history: Array) -> Array:
        """Return the mean derivative by the most recent sample, shape (source, target)."""
        jacobian: Array = self.linear.mean_jacobian(history)
        return jacobian + self.residual.mean_jacobian(history[:, -1:])


def load_hybrid(
    tensors: Mapping[str, Array], fields: HybridFields | CorrectedFields | LinearFields
) -> Surrogate:
    """Restore a surrogate fitted by :func:`fit_hybrid`, with or without networks."""
    if fields["form"] != "hybrid":
        loaders: dict[str, Callable[..., Surrogate]]
        if fields["form"] == "corrected":
            return load_corrected(tensors, fields, load_hybrid)
        loaders = {"mou": load_mou, "var": load_var, "observed": load_observed}
        return loaders[fields["form"]](tensors, fields)
    linear = load_hybrid(tensors, fields["linear"])
    start = len(_RESIDUAL)
    networks = {name[start:]: value for name, value in tensors.items() if
                name.startswith(_RESIDUAL)}  # fmt: skip
    return Hybrid(cast("VAR", linear), load_network(networks, fields["residual"]))


def fit_hybrid(
    train: Windows,
    valid: Windows,
    settings: TrainSettings,
    like: Surrogate | None = None,
    *,
    delay_map: DelayMap | None = None,
) -> tuple[Surrogate, TrainLog]:
    """Fit the linear part that predicts better, then networks to its residuals.

    The networks start from zero, so that training can only add to the linear part, and are kept
    if they pay for being nonlinear (:func:`~npi_bids.surrogates.residual_networks.fit_residual`).
    Without held-out windows, the last fifth of ``train`` is held out.

    Parameters
    ----------
    train, valid
        Training windows and held-out windows (may be empty).
    settings
        ``n_seeds`` networks, stopped early by ``patience``; ``n_lags`` is read by the linear part.
    like
        A fit whose choices are kept: the linear part, its choices, and the networks' epochs.
    delay_map
        What is known of the delays of regions.

    Returns
    -------
    Hybrid, MOU, VAR, Corrected or ObservedOU
        The linear surrogate alone, or with a linear correction, if networks do not improve it;
        ``n_lags`` lags. The process with its observation model if the data show regional delays or
        a gain shared by all regions.
    TrainLog
        Errors of the networks if any were trained, else of the linear part; and the choices.
    """
    if isinstance(like, Hybrid | VAR):
        return _refit(train, valid, settings, like)
    if not len(valid):
        try:
            subtrain, held_out = split_windows(train, TRAIN_FRACTION)
        except NoUsableDataError:  # no window can be held out to evaluate networks
            linear, details = _fit_linear(train, settings, delay_map)
            return linear, TrainLog((linear.mse(train),), (linear.mse(valid),), details)
        trial, trial_log = fit_hybrid(subtrain, held_out, settings, delay_map=delay_map)
        refit, _ = fit_hybrid(train, valid, settings, trial)
        return refit, trial_log
    linear, details = _fit_linear(train, settings, delay_map)
    # Networks cannot model the state underlying the signals.
    if isinstance(linear, ObservedOU) or settings.residual == "none":
        return linear, TrainLog((linear.mse(train),), (linear.mse(valid),), details)
    residual = fit_residual(
        linear, train, valid, settings, lambda windows: _refit_linear(windows, settings, linear)[0]
    )
    details = (*details, *_residual_details(residual))
    if residual.networks is None:
        if residual.twin_time is not None:
            linear = fit_corrected(linear, train, residual.twin_time)
        return linear, TrainLog((linear.mse(train),), (linear.mse(valid),), details)
    return Hybrid(linear, residual.networks), replace(residual.log, details=details)


def _residual_details(residual: ResidualFit) -> tuple[tuple[str, float], ...]:
    """Return what decided whether networks are kept, by name, for the training log."""
    gains = (("residual_gain", residual.gain), ("linear_twin_gain", residual.twin_gain))
    details = [(name, gain) for name, gain in gains if gain is not None]
    for name, benefit in (
        ("networks_benefit", residual.benefit),
        ("linear_twin_benefit", residual.twin_benefit),
    ):
        if benefit is not None:
            details += [(name, benefit.mean), (f"{name}_error", benefit.standard_error)]
    n_networks = len(residual.networks.networks) if residual.networks else 0
    details.append(("residual_networks", float(n_networks)))
    details.append(("linear_correction", float(residual.twin_time is not None)))
    return tuple(details)


def _fit_linear(
    train: Windows, settings: TrainSettings, delay_map: DelayMap | None
) -> tuple[VAR, tuple[tuple[str, float], ...]]:
    """Fit the process, or the VAR if it predicts held-out stretches better.

    The process has the better foundation and is preferred if the two are similar; the VAR is
    better for discrete dynamics, in which an influence takes one full sample. It is always taken
    for regions without memory, since a continuous process can have no influences then.
    """
    passband = parse_passband(settings.passband)
    if passband is not None and train.target.shape[1] >= MIN_OBSERVATION_REGIONS:
        check_passband(restore_runs(subset_regions(train)), train.tr, passband)
    choices = choose_process(train, settings.whitening)
    details = describe_choices(choices)
    observation, evidence = _try_observation(train, settings, choices, delay_map)
    details = (*evidence, *details)
    observed = observation.surrogate
    if delay_map is not None:
        details = (*describe_delay_map(observed, delay_map), *details)
    if passband is not None:
        details = (("passband_used", float(observed is not None)), *details)
    if observed is not None:
        return observed, (*observation_details(observed.observation, train.tr), *details)
    better = settings.linear_part == "var" or (
        settings.linear_part == "auto" and _is_var_better(train, choices)
    )
    details = (
        ("linear_is_var", float(better)),
        ("var_gain", choices.var_gain),
        *known_details(var_likelihood=choices.var_likelihood),
        *details,
    )
    if not better:
        choices = replace(choices, delay_doubt=observation.delay_doubt)
        return fit_with_choices(train, choices), (
            ("possible_delay_sd", choices.delay_doubt * train.tr),
            *details,
        )
    narrow, narrow_details = fit_narrow_var(train, len(choices.memory))
    return narrow, (*details, *narrow_details)


def _try_observation(
    train: Windows, settings: TrainSettings, choices: Choices, delay_map: DelayMap | None
) -> tuple[ObservationFit, tuple[tuple[str, float], ...]]:
    """Fit the observation model where it is asked for, or where dynamics are linear enough."""
    if settings.linear_part == "var" or settings.residual in KEPT_RESIDUALS:
        return ObservationFit(), ()
    nonlinearity = measure_nonlinearity(standardise(subset_regions(train)))
    details = known_details(nonlinearity=nonlinearity)
    if nonlinearity > MOST_NONLINEARITY and not _asks_for_observation(settings, delay_map):
        return ObservationFit(), details
    observed = _fit_observed(train, settings, choices, delay_map)
    if observed.surrogate is None and observed.choice is not None:
        details = (*describe_delay_evidence(observed.choice), *details)
    return observed, details


def _is_var_better(train: Windows, choices: Choices) -> bool:
    """Tell whether the VAR predicts better, clearly where little is, or regions have no memory."""
    gain = choices.var_gain
    is_clear = (
        choices.error <= MOST_TELLING_ERROR
        or gain > CLEAR_VAR_GAIN
        or choices.var_likelihood > CLEAR_VAR_LIKELIHOOD
    )
    return (gain > VAR_GAIN and is_clear) or (
        not choices.whitening and _mean_autocorrelation(train) < MIN_AUTOCORRELATION
    )


def _fit_observed(
    train: Windows, settings: TrainSettings, choices: Choices, delay_map: DelayMap | None
) -> ObservationFit:
    """Fit the process with its observation model if the data support one.

    A common gain is considered if a filter has left frequencies without power, or if past samples
    of other regions are informative; otherwise it cannot be distinguished from instantaneous
    covariance. With few regions, neither gain nor delays can be distinguished from connections.
    """
    n_regions = train.target.shape[1]
    present = max(choices.evidence.symmetric, choices.evidence.antisymmetric) >= ABSENT_EVIDENCE
    passband = parse_passband(settings.passband)
    if n_regions < MIN_OBSERVATION_REGIONS:
        requests = _observation_requests(settings, passband)
        if requests:
            _LOGGER.warning("%s", describe_few_regions(requests, n_regions))
        return ObservationFit()
    parts = ObservationParts(
        delays=False if settings.delays in WITHOUT_DELAYS else _IS_ALLOWED[settings.delays],
        gain=_IS_ALLOWED[settings.gain],
        noise=_IS_ALLOWED[settings.noise],
        delay_map=delay_map,
        counts_possible_delays=settings.delays == POSSIBLE,
    )
    gain_matters = present or passband is not None or parts.noise or _is_filtered(train)
    if parts.gain is None and not gain_matters:
        parts = replace(parts, gain=False)
    if parts.gain is False and not parts.estimates_delays:
        return ObservationFit()

    def least_error(windows: Windows) -> float:
        if windows.target.shape[1] == subset_regions(train).target.shape[1]:
            return min(choices.error, choices.var_error)
        return least_held_out_error(standardise(windows), choices)

    return find_observation(
        train, parts, least_error=least_error, lagged=present, passband=passband
    )


def _asks_for_observation(settings: TrainSettings, delay_map: DelayMap | None) -> bool:
    """Tell whether the user asks for delays, a gain, noise, a passband or a map of delays."""
    passband = parse_passband(settings.passband)
    return delay_map is not None or bool(_observation_requests(settings, passband))


def _observation_requests(settings: TrainSettings, passband: tuple[float, float] | None) -> str:
    """Return the options that ask for an observation model, as they were given."""
    imposed = [f"--{name} on" for name in ("delays", "gain", "noise")
               if getattr(settings, name) == "on"]  # fmt: skip
    return join_items([*imposed, *([name_passband(passband)] if passband else [])])


def _mean_autocorrelation(train: Windows) -> float:
    """Return the mean over regions of the correlation with the last sample."""
    last, target = (part - part.mean(axis=0) for part in (train.history[:, -1], train.target))
    power = np.sqrt((last**2).sum(axis=0) * (target**2).sum(axis=0))
    return float(np.mean((last * target).sum(axis=0) / np.where(power > 0, power, 1.0)))


def _is_filtered(train: Windows) -> bool:
    """Return whether a filter has left frequencies without power."""
    return cross_spectra(restore_runs(train)).band() is not None


def _refit(
    train: Windows, valid: Windows, settings: TrainSettings, like: Hybrid | VAR
) -> tuple[Surrogate, TrainLog]:
    previous = like.linear if isinstance(like, Hybrid) else like
    linear: VAR
    if isinstance(previous, ObservedOU):
        linear = fit_observed(train, like=previous)
        details = observation_details(linear.observation, train.tr)
        return linear, TrainLog((linear.mse(train),), (linear.mse(valid),), details)
    if isinstance(previous, Corrected):
        base, details = _refit_linear(train, settings, previous.base)
        linear = fit_corrected(base, train, previous.time)
        return linear, TrainLog((linear.mse(train),), (linear.mse(valid),), details)
    linear, details = _refit_linear(train, settings, previous)
    if not isinstance(like, Hybrid):
        return linear, TrainLog((linear.mse(train),), (linear.mse(valid),), details)
    residual_train, residual_valid = (
        subtract_prediction(linear, windows) for windows in (train, valid)
    )
    settings = replace(settings, n_seeds=len(like.residual.networks))
    residual, log = fit_network(zero_mlp, residual_train, residual_valid, settings, like.residual)
    return Hybrid(linear, residual), replace(log, details=details)


def _refit_linear(
    windows: Windows, settings: TrainSettings, previous: VAR
) -> tuple[VAR, tuple[tuple[str, float], ...]]:
    """Fit the linear part to other windows with its choices kept."""
    if isinstance(previous, MOU):
        return fit_process(windows, settings.whitening, previous)
    return fit_narrow_var(windows, previous.memory_order)
