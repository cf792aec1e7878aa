"""Fit the surrogate that the settings name."""

from __future__ import annotations

from npi_bids.records import Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings, resolve, surrogates
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
    """
    if prior is not None:
        return fit_shrunk(train, valid, resolve(settings), prior, like)
    return surrogates()[settings.surrogate](train, valid, resolve(settings), like)
