"""The default: a linear surrogate plus a small network for what it leaves, where there is any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypedDict, cast

import numpy as np

from npi_bids.errors import (
    NoUsableDataError,
)
from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings, mean_log
from npi_bids.surrogates.cross_spectra import cross_spectra
from npi_bids.surrogates.networks import (
    MLP,
    NetworkFields,
    NetworkSurrogate,
    fit_network,
    load_network,
)
from npi_bids.surrogates.observed import (
    ObservedFields,
    ObservedOU,
    find_observation,
    fit_observed,
    load_observed,
    observation_details,
    series_of,
)
from npi_bids.surrogates.ou import MOU, MOUFields, fit_process, load_mou
from npi_bids.surrogates.ou_model_selection import find_memory
from npi_bids.surrogates.selection_criteria import (
    ABSENT_EVIDENCE,
    FIRST_NETWORK_GAIN,
    NETWORKS_GAIN,
    TRAIN_FRACTION,
    VAR_GAIN,
)
from npi_bids.surrogates.spectral_selection import FEWEST_REGIONS
from npi_bids.surrogates.var import VAR, VARFields, load_var, ridge_var
from npi_bids.surrogates.windows import split_windows

_RESIDUAL = "residual."  # begins the names of the networks' tensors


LinearFields = MOUFields | VARFields | ObservedFields


class HybridFields(TypedDict):
    """What loading a :class:`Hybrid` needs beside the tensors."""

    form: Literal["hybrid"]
    linear: LinearFields
    residual: NetworkFields


@dataclass(frozen=True, slots=True, eq=False)
class Hybrid(Surrogate):
    """A linear surrogate and the mean of some networks, added.

    Attributes
    ----------
    linear
        An Ornstein-Uhlenbeck process or a VAR.
    residual
        Networks that read the most recent sample alone.
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
        """Lags whose weights between regions are fitted."""
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

    def facts(self) -> dict[str, object]:
        """Return those of both parts."""
        parts = {"linear": self.linear.facts(), "residual": self.residual.facts()}
        return {"form": "hybrid", **parts}

    def perturbed_change(self, history: Array, strength: float) -> Array:
        """Return the mean change of the prediction, shape (source, target); exact."""
        change: Array = self.linear.perturbed_change(history, strength)
        return change + self.residual.perturbed_change(history[:, -1:], strength)

    def mean_jacobian(self, history: Array) -> Array:
        """Return the mean derivative by the most recent sample, shape (source, target)."""
        jacobian: Array = self.linear.mean_jacobian(history)
        return jacobian + self.residual.mean_jacobian(history[:, -1:])


def load_hybrid(tensors: Mapping[str, Array], facts: HybridFields | LinearFields) -> Surrogate:
    """Return what :func:`fit_hybrid` made, with networks or without."""
    if facts["form"] != "hybrid":
        loaders: dict[str, Callable[..., Surrogate]]
        loaders = {"mou": load_mou, "var": load_var, "observed": load_observed}
        return loaders[facts["form"]](tensors, facts)
    linear = load_hybrid(tensors, facts["linear"])
    start = len(_RESIDUAL)
    networks = {name[start:]: value for name, value in tensors.items() if
                name.startswith(_RESIDUAL)}  # fmt: skip
    return Hybrid(cast("VAR", linear), load_network(networks, facts["residual"]))


def fit_hybrid(
    train: Windows, valid: Windows, settings: TrainSettings, like: Surrogate | None = None
) -> tuple[Surrogate, TrainLog]:
    """Fit the linear part that predicts better, then networks to what it leaves.

    The networks start from zero, so that training can only add to the linear part, and are kept
    if they lower the held-out error by more than ``NETWORKS_GAIN``. Without held-out windows the
    last fifth of ``train`` serves.

    Parameters
    ----------
    train, valid
        Windows to learn from, and held-out windows (may be empty).
    settings
        ``n_seeds`` networks, stopped early by ``patience``; ``n_lags`` is read by the linear part.
    like
        A fit whose choices to keep: which linear part, its choices, and the networks' epochs.

    Returns
    -------
    Hybrid, MOU, VAR or ObservedOU
        The linear surrogate itself where networks do not pay; ``n_lags`` lags. The process with
        its observation model where the data show delays of the regions or a gain that they share.
    TrainLog
        Errors of the networks where some were trained, of the linear part else; what was chosen.
    """
    if isinstance(like, Hybrid | VAR):
        return _refit(train, valid, settings, like)
    if not len(valid):
        try:
            learn, check = split_windows(train, TRAIN_FRACTION)
        except NoUsableDataError:  # too few to hold any out, so nothing can show that networks pay
            linear, details = _fit_linear(train, settings)
            return linear, TrainLog((linear.mse(train),), (linear.mse(valid),), details)
        checked, checked_log = fit_hybrid(learn, check, settings)
        refitted, _ = fit_hybrid(train, valid, settings, checked)
        return refitted, checked_log
    linear, details = _fit_linear(train, settings)
    if isinstance(linear, ObservedOU):  # networks know nothing of the state behind the signals
        return linear, TrainLog((linear.mse(train),), (linear.mse(valid),), details)
    residual, curve, gain = _fit_residual(linear, train, valid, settings)
    log = curve or TrainLog((linear.mse(train),), (linear.mse(valid),))
    n_networks = float(len(residual.networks) if residual else 0)
    details = (*details, ("residual_gain", gain), ("residual_networks", n_networks))
    model: Surrogate = Hybrid(linear, residual) if residual else linear
    return model, replace(log, details=details)


def _fit_linear(
    train: Windows, settings: TrainSettings
) -> tuple[VAR, tuple[tuple[str, float], ...]]:
    """Return the process, or the VAR where that predicts better on held-out stretches.

    The process is the better founded one, and wins where the two are alike; the VAR wins where
    dynamics are discrete, with influences that take one whole sample.
    """
    process, details = fit_process(train, settings.whitening)
    choices = process.choices
    seen = _observed(train, settings, process)
    if seen is not None:
        return seen, (*observation_details(seen.observation, train.tr), *details)
    better = choices.var_error < (1 - VAR_GAIN) * choices.error
    details = (("linear_is_var", float(better)), *details)
    if not better:
        return process, details
    other, other_details = _one_lag_var(train, len(choices.memory))
    return other, (*details, *other_details)


def _observed(train: Windows, settings: TrainSettings, process: MOU) -> ObservedOU | None:
    """Return the process with its observation model where the data ask for one.

    A common gain is looked for where a filter has left frequencies without power, or where lagged
    samples of other regions say something: elsewhere it would be taken for what regions share at
    once. Few regions tell neither gain nor delays from connections.
    """
    choices = process.choices
    present = max(choices.evidence.symmetric, choices.evidence.antisymmetric) >= ABSENT_EVIDENCE
    enough = process.n_regions >= FEWEST_REGIONS
    delays = settings.delays == "auto" and enough
    gain = settings.gain == "auto" and enough and (present or _is_filtered(train))
    if not (delays or gain):
        return None
    best = min(choices.error, choices.var_error)
    return find_observation(train, delays=delays, gain=gain, best=best)


def _is_filtered(train: Windows) -> bool:
    """Whether a filter has left frequencies without power."""
    return cross_spectra(series_of(train)).band() is not None


def _one_lag_var(train: Windows, n_remembered: int) -> tuple[VAR, tuple[tuple[str, float], ...]]:
    """Fit a VAR of one lag between regions; each remembers earlier samples of its own."""
    memory = find_memory([train], n_remembered)
    target = train.target - sum(
        weight * train.history[:, -lag] for lag, weight in enumerate(memory, start=2)
    )
    narrow, details = ridge_var(replace(_last(train), target=target))
    weights = np.zeros((train.n_lags, *narrow.weights.shape[1:]))
    weights[-1] = narrow.weights[0]
    for lag, weight in enumerate(memory, start=2):
        weights[-lag] = weight * np.eye(len(weights[0]))
    return VAR(weights, narrow.offset, penalty=narrow.penalty), details


def _refit(
    train: Windows, valid: Windows, settings: TrainSettings, like: Hybrid | VAR
) -> tuple[Surrogate, TrainLog]:
    before = like.linear if isinstance(like, Hybrid) else like
    linear: VAR
    if isinstance(before, ObservedOU):
        linear = fit_observed(train, like=before)
        details = observation_details(linear.observation, train.tr)
        return linear, TrainLog((linear.mse(train),), (linear.mse(valid),), details)
    if isinstance(before, MOU):
        linear, details = fit_process(train, settings.whitening, before)
    else:
        linear, details = _one_lag_var(train, int(np.any(before.weights[:-1], axis=(1, 2)).sum()))
    if not isinstance(like, Hybrid):
        return linear, TrainLog((linear.mse(train),), (linear.mse(valid),), details)
    left, left_valid = (left_over(linear, windows) for windows in (train, valid))
    settings = replace(settings, n_seeds=len(like.residual.networks))
    residual, log = fit_network(zero_mlp, left, left_valid, settings, like.residual)
    return Hybrid(linear, residual), replace(log, details=details)


def _fit_residual(
    linear: VAR, train: Windows, valid: Windows, settings: TrainSettings
) -> tuple[NetworkSurrogate | None, TrainLog | None, float]:
    """Train one network; where it helps at all, the others; keep them where they help enough.

    Returns the share by which the held-out error falls too.
    """
    left, left_valid = (left_over(linear, windows) for windows in (train, valid))
    plain = float(np.mean(left_valid.target**2))
    n_seeds = settings.n_seeds or 1
    networks, log = fit_network(zero_mlp, left, left_valid, replace(settings, n_seeds=1))
    gain = 1 - min(log.valid) / plain
    if gain > FIRST_NETWORK_GAIN and n_seeds > 1:
        rest = replace(settings, n_seeds=n_seeds - 1, seed=settings.seed + 1)
        others, others_log = fit_network(zero_mlp, left, left_valid, rest)
        networks, log = networks.joined(others), mean_log([log] + [others_log] * (n_seeds - 1))
        error = np.mean((networks.step(left_valid.history) - left_valid.target) ** 2)
        gain = 1 - float(error) / plain
    return (networks, log, gain) if gain > NETWORKS_GAIN else (None, None, gain)


def zero_mlp(n_lags: int, n_regions: int, hidden: int | None) -> MLP:
    """Make two hidden layers of twice the regions each, and an output that starts at zero."""
    width = hidden or 2 * n_regions
    return MLP(n_lags, n_regions, width, second=width, zero=True)


def _last(windows: Windows) -> Windows:
    """Return windows with the most recent sample alone."""
    return replace(windows, history=windows.history[:, -1:])


def left_over(linear: VAR, windows: Windows) -> Windows:
    """Return windows whose target is what the linear part leaves."""
    target = windows.target - (linear.step(windows.history) if len(windows) else 0)
    return replace(_last(windows), target=target)
