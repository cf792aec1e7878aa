"""Kind of model that was fitted, in a sentence and in a few words.

A surrogate chooses between forms by the data, so that two subjects may have maps of different
kinds; the choices are those of the field ``Training`` of the sidecars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from npi_bids.wording import count_noun, join_items

# Field Training of the sidecar of one fit.
Training = Mapping[str, Any]
PROCESS = "an Ornstein-Uhlenbeck process"
NARROW_VAR = "a ridge VAR with one lag"
DELAYS = "a delay of each region"
GAIN = "a gain over frequency that all regions share"
NOISE = "white measurement noise"
WIDTHS = "haemodynamic responses whose width differs between regions"
NOT_NAMED = "n/a"  # stands for a passband that was not named, in sidecars


def named_passband(training: Training) -> tuple[float, float] | None:
    """Return the passband (Hz) that was named, or None.

    >>> named_passband({"passband": (0.01, 0.1)}), named_passband({"passband": "n/a"})
    ((0.01, 0.1), None)
    """
    band = training.get("passband", NOT_NAMED)
    return None if band == NOT_NAMED or band is None else (float(band[0]), float(band[1]))


def is_observed(training: Training) -> bool:
    """Return whether delays, a gain or noise are part of the model."""
    return "common_gain" in training


def describe_linear_kind(training: Training) -> str:
    """Return the linear model of a fit as a noun phrase.

    Examples
    --------
    >>> describe_linear_kind({"linear_is_var": 1.0, "memory_order": 1.0})
    'a ridge VAR with one lag, in which each region also remembers 1 earlier sample of its own'
    """
    if is_observed(training):
        parts = _observed_parts(training)
        return f"{PROCESS} observed through {join_items(parts)}" if parts else PROCESS
    is_var = bool(training.get("linear_is_var"))
    text = NARROW_VAR if is_var else PROCESS
    order, memory = (int(training.get(name) or 0) for name in ("whitening_order", "memory_order"))
    if order and not is_var:
        return (
            f"{text}, fitted after an autoregression of {count_noun(order, 'sample')} that all "
            "regions share was removed (whitening)"
        )
    if memory:
        text += (
            f", in which each region also remembers {count_noun(memory, 'earlier sample')} of its "
            "own"
        )
    return text


def _observed_parts(training: Training) -> list[str]:
    parts = []
    if training.get("delay_sd", 0) > 0:
        parts.append(f"{DELAYS} (SD {training['delay_sd']:.1f} s)")
    if training["common_gain"]:
        parts.append(GAIN)
    if training.get("measurement_noise", 0) > 0:
        parts.append(f"{NOISE} ({100 * training['measurement_noise']:.2g} % of the variance)")
    if training.get("response_width_sd", 0) > 0:
        parts.append(f"{WIDTHS} (SD {100 * training['response_width_sd']:.0f} %)")
    if (band := named_passband(training)) is not None:
        parts.append(f"frequencies from {band[0]:g} to {band[1]:g} Hz alone")
    return parts


def describe_process_kind(training: Training) -> str:
    """Return the sentence on a fit of the family ``mou``."""
    return f"The surrogate is {describe_linear_kind(training)}"


def describe_var_kind(training: Training) -> str:
    """Return the sentence on a fit of the family ``var``."""
    lags = count_noun(int(training.get("n_lags") or 1), "lag")
    how = "by Adam" if training.get("var_fit") == "adam" else "by ridge regression"
    return f"The surrogate is a VAR of {lags}, fitted {how}"


def describe_hybrid_kind(training: Training) -> str:
    """Return the sentence on a fit of the family ``hybrid``: its linear part, and networks."""
    text = f"The surrogate is {describe_linear_kind(training)}"
    if training.get("linear_correction"):
        text += ", plus an early-stopped linear correction"
    if n_networks := int(training.get("residual_networks") or 0):
        text += f", plus {count_noun(n_networks, 'network')}"
        return f"{text}, so that effects depend on the state"
    if is_observed(training):
        return f"{text}; it is linear, as networks are not combined with such a model"
    if "residual_gain" in training:
        return f"{text}; it is linear, as networks did not improve its prediction"
    return f"{text}; it is linear"


def name_hybrid_kind(training: Training) -> str:
    """Return the kind of a fit of ``hybrid`` or ``mou`` in a few words, without numbers.

    Kinds differ where :class:`~npi_bids.surrogates.choices.FitChoices` do. Widths of responses
    belong to the gain: they leave the scale of the map as it is, and cannot be imposed.

    Examples
    --------
    >>> name_hybrid_kind({"linear_is_var": 0.0, "whitening_order": 2.0, "residual_networks": 4.0})
    'process, whitened, networks'
    >>> name_hybrid_kind({"common_gain": 1.0, "delay_sd": 0.8, "measurement_noise": 0.0})
    'process, delays, gain'
    """
    choices: Sequence[tuple[object, str]]
    if is_observed(training):
        choices = (
            (training.get("delay_sd", 0) > 0, "delays"),
            (training["common_gain"], "gain"),
            (training.get("measurement_noise", 0) > 0, "noise"),
            (named_passband(training), "passband"),
        )
    else:
        whitened = training.get("whitening_order") and not training.get("linear_is_var")
        choices = ((whitened, "whitened"), (training.get("linear_correction"), "correction"))
    name = "VAR" if training.get("linear_is_var") and not is_observed(training) else "process"
    networks = (training.get("residual_networks"), "networks")
    return join_items([name, *(word for applies, word in (*choices, networks) if applies)])


def describe_network_kind(summary: str, training: Training) -> str:
    """Return the sentence on a fit of one of the published networks.

    Examples
    --------
    >>> describe_network_kind("multilayer perceptron", {"n_lags": 3, "n_seeds": 4})
    'The surrogate is the mean of 4 networks, each a multilayer perceptron that reads 3 samples'
    """
    reads = f"{summary} that reads {count_noun(int(training.get('n_lags') or 1), 'sample')}"
    n_seeds = int(training.get("n_seeds") or 1)
    if n_seeds > 1:
        return f"The surrogate is the mean of {n_seeds} networks, each a {reads}"
    return f"The surrogate is a {reads}"
