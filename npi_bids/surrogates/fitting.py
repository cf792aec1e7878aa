"""Fitting of the surrogate named by the settings."""

from __future__ import annotations

from npi_bids.records import Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings, resolve
from npi_bids.surrogates.delay_map import DelayMap, check_delay_map
from npi_bids.surrogates.families import family, import_function
from npi_bids.surrogates.group_prior import GroupPrior, fit_shrunk


def fit_surrogate(
    train: Windows,
    valid: Windows,
    settings: TrainSettings,
    like: Surrogate | None = None,
    prior: GroupPrior | DelayMap | None = None,
) -> tuple[Surrogate, TrainLog]:
    """Fit the surrogate that the settings name.

    The choices of ``like``, if any, are kept. With a ``prior`` from a group, the fit is shrunk
    towards it; with a map of delays, the delays of regions may be.

    Raises
    ------
    SettingsError
        If there is no such surrogate, or it cannot be shrunk towards a group.
    """
    if isinstance(prior, GroupPrior):
        return fit_shrunk(train, valid, resolve(settings), prior, like)
    known = {}
    if prior is not None:
        check_delay_map(settings)
        known["delay_map"] = prior
    fit = import_function(family(settings.surrogate).fit)
    fitted: tuple[Surrogate, TrainLog] = fit(train, valid, resolve(settings), like, **known)
    return fitted
