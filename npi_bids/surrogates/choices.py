"""What surrogates chose from the data, and the settings that impose the most frequent choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from npi_bids.surrogates.kinds import named_passband


@dataclass(frozen=True, slots=True)
class FitChoices:
    """What was chosen in one fit.

    Attributes
    ----------
    linear
        Linear part of a hybrid, or the family itself.
    whitened
        Whether an autoregression that all regions share was removed first.
    delays, gain
        Whether regions have delays, and whether they share a gain over frequency.
    networks, correction
        Whether networks, or a linear correction, were kept.
    named_passband
        Whether the user named the frequencies from which delays and gain are estimated.
    """

    linear: str
    whitened: bool = False
    delays: bool = False
    gain: bool = False
    networks: bool = False
    correction: bool = False
    named_passband: bool = False


def read_choices(surrogate: str, training: Mapping[str, object]) -> FitChoices:
    """Return the choices of a fit.

    Parameters
    ----------
    surrogate
        Family.
    training
        Settings and quantities determined by the fit, as in the training log or the sidecar.

    >>> read_choices("hybrid", {"linear_is_var": 1.0, "residual_networks": 4.0}).linear
    'VAR'
    >>> read_choices("mou", {"whitening_order": 2.0}).whitened
    True
    """
    quantities = {
        name: float(value) for name, value in training.items() if isinstance(value, float | int)
    }

    def is_chosen(name: str) -> bool:
        return quantities.get(name, 0.0) > 0

    linear = surrogate
    if surrogate == "hybrid":
        linear = "VAR" if is_chosen("linear_is_var") else "process"
    return FitChoices(
        linear,
        whitened=is_chosen("whitening_order") and linear != "VAR",
        delays=is_chosen("delay_sd"),
        gain=is_chosen("common_gain"),
        networks=is_chosen("residual_networks"),
        correction=is_chosen("linear_correction"),
        named_passband=named_passband(training) is not None,
    )


def majority_settings(kinds: Sequence[FitChoices]) -> dict[str, str]:
    """Return the training settings that impose the most frequent choices on every subject.

    Each choice is decided by itself; in a tie it is the simpler one. Delays, a gain, networks and
    a correction that most subjects have stay a choice of each subject (``auto``), because the
    data of a subject must support them; those that most do not have are ruled out.

    Parameters
    ----------
    kinds
        Choices of the fits of one family.

    Returns
    -------
    dict
        Values by the name of the field of the training settings; empty for families without
        choices.

    >>> fits = [FitChoices("process"), FitChoices("process", whitened=True), FitChoices("VAR")]
    >>> settings = majority_settings(fits)
    >>> settings["linear_part"], settings["whitening"], settings["residual"]
    ('process', 'off', 'none')
    """

    def most(chosen: Sequence[bool]) -> bool:
        return 2 * sum(chosen) > len(chosen)

    linear_parts = {kind.linear for kind in kinds}
    settings = {}
    has_passband = any(kind.named_passband for kind in kinds)  # it imposes the observation model
    if linear_parts <= {"process", "VAR"} and kinds and not has_passband:
        settings = {
            "linear_part": "var" if most([kind.linear == "VAR" for kind in kinds]) else "process",
            "delays": "auto" if most([kind.delays for kind in kinds]) else "none",
            "gain": "auto" if most([kind.gain for kind in kinds]) else "none",
            "residual": "auto"
            if most([kind.networks or kind.correction for kind in kinds])
            else "none",
        }
    processes = [kind for kind in kinds if kind.linear in ("process", "mou")]
    if processes:
        settings["whitening"] = "on" if most([kind.whitened for kind in processes]) else "off"
    return settings
