"""Fit a subject's surrogate towards that of its group."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from npi_bids.core.ou import OU, fit_ou, second_moments
from npi_bids.core.prior import GroupPrior, scaled_pairs
from npi_bids.core.records import Array, Windows
from npi_bids.core.ridge import fit_ridge
from npi_bids.core.surrogate import Surrogate, TrainLog, TrainSettings
from npi_bids.core.surrogates.cnn import CNN
from npi_bids.core.surrogates.hybrid import Hybrid, left_over, zero_mlp
from npi_bids.core.surrogates.mlp import MLP
from npi_bids.core.surrogates.mou import MOU, unroll
from npi_bids.core.surrogates.network import NetworkSurrogate, fit_network
from npi_bids.core.surrogates.rnn import RNN
from npi_bids.core.surrogates.var import VAR
from npi_bids.core.windows import split_windows
from npi_bids.errors import NoUsableDataError, SettingsError

LINEAR = ("hybrid", "mou", "var")
NETWORKS = {"mlp": MLP, "cnn": CNN, "rnn": RNN}
_GAIN = 0.005  # share by which networks must lower the held-out error
_CHECKED_SHARE = 0.8


def fit_shrunk(
    train: Windows,
    valid: Windows,
    settings: TrainSettings,
    prior: GroupPrior,
    like: Surrogate | None = None,
) -> tuple[Surrogate, TrainLog]:
    """Fit a subject's surrogate with its group as the prior.

    Parameters
    ----------
    train, valid
        Windows to learn from, and held-out windows (may be empty).
    settings
        Resolved.
    prior
        What the group knows, over the same regions.
    like
        A fit of the same subject whose epochs to keep.

    Raises
    ------
    SettingsError
        The surrogate was not the one that was pre-trained, or cannot be.
    """
    if settings.surrogate in NETWORKS:
        if not prior.networks:
            raise SettingsError(
                f"--pretrained holds no networks for --surrogate {settings.surrogate}; pre-train "
                "with the same --surrogate."
            )
        kind = NETWORKS[settings.surrogate]
        return fit_network(kind, train, valid, settings, like, start=prior.networks)
    if settings.var_fit == "adam" and settings.surrogate == "var":
        raise SettingsError("--pretrained goes with --var-fit ridge, not with adam.")
    linear = shrunk_linear(train, prior)
    details = (
        ("linear_is_var", float(prior.linear_is_var)),
        ("precision_symmetric", prior.choices.precision[0]),
        ("precision_antisymmetric", prior.choices.precision[1]),
        ("prior_penalty", prior.penalty),
        ("subject_left_out", float(prior.left_out)),
    )
    log = TrainLog((linear.mse(train),), (linear.mse(valid),), details)
    if settings.surrogate != "hybrid" or not prior.networks:
        return linear, log
    return _with_networks(linear, (train, valid), settings, prior, like, log)


def shrunk_linear(windows: Windows, prior: GroupPrior) -> VAR:
    """Fit the linear path of a subject; the mean of its prior is the group's."""
    past, future = scaled_pairs(windows, prior.choices)
    if prior.linear_is_var:
        found = fit_ridge(past, future - past @ prior.weights, prior.penalty)
        return _var(prior.weights + found.weights, windows, prior)
    process = fit_ou(
        second_moments(past, future),
        prior.choices.precision,
        prior.process,
        mean=prior.process.drift,
    )
    return _process(process, windows, prior)


def group_linear(windows: Windows, prior: GroupPrior) -> VAR:
    """Return the linear path of the group in the units of a subject."""
    if prior.linear_is_var:
        return _var(prior.weights, windows, prior)
    return _process(prior.process, windows, prior)


def group_surrogate(windows: Windows, settings: TrainSettings, prior: GroupPrior) -> Surrogate:
    """Return the group's surrogate in the units of a subject."""
    if settings.surrogate in NETWORKS:
        kind = NETWORKS[settings.surrogate]
        return fit_network(kind, windows, windows.take(slice(0, 0)), replace(settings, epochs=0),
                           start=prior.networks)[0]  # fmt: skip
    linear = group_linear(windows, prior)
    if settings.surrogate != "hybrid" or not prior.networks:
        return linear
    return Hybrid(linear, _given(windows, settings, prior))


def _with_networks(
    linear: VAR,
    sides: tuple[Windows, Windows],
    settings: TrainSettings,
    prior: GroupPrior,
    like: Surrogate | None,
    log: TrainLog,
) -> tuple[Surrogate, TrainLog]:
    """Fine-tune the group's networks on what the linear path leaves; keep them where they pay."""
    train, valid = sides
    settings = replace(settings, n_seeds=1)
    if like is not None:
        if not isinstance(like, Hybrid):
            return linear, log
        left = left_over(linear, train)
        tuned, curve = fit_network(
            zero_mlp, left, left_over(linear, valid), settings, like.residual,
            start=prior.networks,
        )  # fmt: skip
        return Hybrid(linear, tuned), replace(curve, details=log.details)
    if not len(valid):
        try:
            train, valid = split_windows(train, _CHECKED_SHARE)
        except NoUsableDataError:  # nothing can show that networks pay
            return linear, log
    left, left_valid = left_over(linear, train), left_over(linear, valid)
    tuned, curve = fit_network(zero_mlp, left, left_valid, settings, start=prior.networks)
    given = _given(train, settings, prior)
    plain = float(np.mean(left_valid.target**2))
    errors = [
        float(np.mean((network.step(left_valid.history) - left_valid.target) ** 2))
        for network in (tuned, given)
    ]
    gain = 1 - min(errors) / plain
    details = (*log.details, ("residual_gain", gain), ("residual_networks", float(gain > _GAIN)))
    if gain <= _GAIN:
        return linear, replace(log, details=details)
    best = tuned if errors[0] <= errors[1] else given
    return Hybrid(linear, best), replace(curve, details=details)


def _given(windows: Windows, settings: TrainSettings, prior: GroupPrior) -> NetworkSurrogate:
    """Return the group's networks as they are."""
    last = replace(windows, history=windows.history[:, -1:])
    nothing = last.take(slice(0, 0))
    settings = replace(settings, n_seeds=1, epochs=0)
    return fit_network(zero_mlp, last, nothing, settings, start=prior.networks)[0]


def _scale(windows: Windows) -> tuple[Array, Array]:
    mean, scale = windows.target.mean(axis=0), windows.target.std(axis=0)
    return mean, np.where(scale > 0, scale, 1.0)


def _process(process: OU, windows: Windows, prior: GroupPrior) -> MOU:
    mean, scale = _scale(windows)
    choices = replace(prior.choices, n_windows=len(windows))
    weights = unroll(process.transition, choices, windows.n_lags)
    weights = weights * scale[None, None, :] / scale[None, :, None]
    offset: Array = mean - np.einsum("s,lst->t", mean, weights)
    return MOU(weights, offset, process, choices, scale)


def _var(transition: Array, windows: Windows, prior: GroupPrior) -> VAR:
    mean, scale = _scale(windows)
    weights = unroll(transition, prior.choices, windows.n_lags)
    weights = weights * scale[None, None, :] / scale[None, :, None]
    offset: Array = mean - np.einsum("s,lst->t", mean, weights)
    return VAR(weights, offset, penalty=prior.penalty)
