"""What surrogates chose from the data, and the settings that impose one choice on all subjects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from fractions import Fraction

from npi_bids.surrogates.base import POSSIBLE
from npi_bids.surrogates.kinds import named_passband

_PROCESS, _VAR = "process", "VAR"  # linear parts of a hybrid


@dataclass(frozen=True, slots=True)
class FitChoices:
    """What was chosen in one fit.

    Attributes
    ----------
    linear
        Linear part of a hybrid, or the family itself.
    whitened
        Whether an autoregression that all regions share was removed first.
    delays, gain, noise
        Whether regions have delays, whether they share a gain over frequency, and whether there
        is measurement noise.
    networks, correction
        Whether networks, or a linear correction, were kept.
    named_passband
        Whether the fit is to the frequencies that the user named.
    """

    linear: str
    whitened: bool = False
    delays: bool = False
    gain: bool = False
    noise: bool = False
    networks: bool = False
    correction: bool = False
    named_passband: bool = False

    @property
    def simplicity(self) -> tuple[object, ...]:
        """Key that sorts choices from the simplest to the most complex, without ties."""
        n_parts = sum(part is True for part in astuple(self))
        return n_parts, self.linear == _VAR, astuple(self)


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
        linear = _VAR if is_chosen("linear_is_var") else _PROCESS
    is_observed = "common_gain" in training
    return FitChoices(
        linear,
        # Beside an observation model, whitening is not part of the model.
        whitened=is_chosen("whitening_order") and linear != _VAR and not is_observed,
        delays=is_chosen("delay_sd"),
        gain=is_chosen("common_gain"),
        noise=is_chosen("measurement_noise"),
        networks=is_chosen("residual_networks"),
        correction=is_chosen("linear_correction"),
        named_passband=is_observed and named_passband(training) is not None,
    )


def most_frequent(fits: Mapping[str, Sequence[FitChoices]]) -> FitChoices:
    """Return the choices that most subjects made; in a tie, the simplest of them.

    Parameters
    ----------
    fits
        Choices of all fits of each subject, at least one; a subject has one vote, which its fits
        share.

    >>> process, var = FitChoices("process"), FitChoices("VAR")
    >>> most_frequent({"01": [var], "02": [process], "03": [process]}).linear
    'process'
    >>> most_frequent({"01": [var], "02": [process]}).linear
    'process'
    """
    votes: Counter[FitChoices] = Counter()
    for choices in fits.values():
        for choice in choices:
            votes[choice] += Fraction(1, len(choices))  # type: ignore[assignment]  # exact shares
    return min(votes, key=lambda choice: (-votes[choice], choice.simplicity))


def imposing_settings(choices: FitChoices, *, excludes_delays: bool = False) -> dict[str, str]:
    """Return the training settings that impose choices on every subject.

    Parameters
    ----------
    choices
        Choices of the fit of one family.
    excludes_delays
        Whether the user excludes delays. If not, intervals of a process allow for possible ones:
        that most subjects have no delays does not exclude those of one.

    Returns
    -------
    dict
        Values by the name of the field of the training settings; empty for families without
        choices. A named passband stays a setting of its own.

    >>> settings = imposing_settings(FitChoices("process", delays=True))
    >>> settings["linear_part"], settings["delays"], settings["gain"], settings["residual"]
    ('process', 'on', 'none', 'none')
    """
    whitening = {"whitening": "on" if choices.whitened else "off"}
    if choices.linear == "mou":
        return whitening
    if choices.linear not in (_PROCESS, _VAR):
        return {}
    residual = "networks" if choices.networks else "correction" if choices.correction else "none"
    is_observable = choices.linear == _PROCESS and residual == "none"

    def allow(part: bool) -> str:
        return "on" if part else "none"

    delays = POSSIBLE if is_observable and not excludes_delays else "none"
    return {
        "linear_part": "process" if choices.linear == _PROCESS else "var",
        "delays": "on" if choices.delays else delays,
        "gain": allow(choices.gain),
        "noise": allow(choices.noise),
        "residual": residual,
        **whitening,
    }
