"""Fitting of the surrogate named by the settings."""

from __future__ import annotations

from npi_bids.records import Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings, resolve
from npi_bids.surrogates.families import family, import_function
from npi_bids.surrogates.group_prior import GroupPrior, fit_shrunk


def fit_surrogate(
    train: Windows,
    valid: Windows,
    settings: TrainSettings,
    like: Surrogate | None = None,
    prior: GroupPrior | None = None,
) -> tuple[Surrogate, TrainLog]:
    """Fit the surrogate that the settings name.

    The choices of ``like``, if any, are kept; with a ``prior``, the fit is shrunk towards a group.

    Raises
    ------
    SettingsError
        If there is no such surrogate, or it cannot be shrunk towards a group.
    """
    if prior is not None:
        return fit_shrunk(train, valid, resolve(settings), prior, like)
    fit = import_function(family(settings.surrogate).fit)
    fitted: tuple[Surrogate, TrainLog] = fit(train, valid, resolve(settings), like)
    return fitted
