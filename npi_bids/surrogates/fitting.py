"""Fit the surrogate that the settings name."""

from __future__ import annotations

from npi_bids.records import Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings, resolve
from npi_bids.surrogates.families import family, imported
from npi_bids.surrogates.group_prior import GroupPrior, fit_shrunk


def fit_surrogate(
    train: Windows,
    valid: Windows,
    settings: TrainSettings,
    like: Surrogate | None = None,
    prior: GroupPrior | None = None,
) -> tuple[Surrogate, TrainLog]:
    """Fit the surrogate that the settings name.

    With the choices of ``like`` where it is given, and towards a group where a ``prior`` is.

    Raises
    ------
    SettingsError
        There is no such surrogate, or it cannot be shrunk towards a group.
    """
    if prior is not None:
        return fit_shrunk(train, valid, resolve(settings), prior, like)
    fit = imported(family(settings.surrogate).fit)
    fitted: tuple[Surrogate, TrainLog] = fit(train, valid, resolve(settings), like)
    return fitted
