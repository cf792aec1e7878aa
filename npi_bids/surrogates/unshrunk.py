"""Fits of a subject with a prior that hardly matters, which tests over subjects read."""

from __future__ import annotations

from npi_bids.records import Windows
from npi_bids.surrogates.base import Surrogate
from npi_bids.surrogates.hybrid import Hybrid


def fit_unshrunk(
    surrogate: Surrogate, windows: Windows, *, reverse: bool = False
) -> Surrogate | None:
    """Fit the linear part of a surrogate with a prior that hardly matters, all choices kept.

    Parameters
    ----------
    surrogate
        Fit of the same subject, which may be shrunk towards a group.
    windows
        All windows of the subject.
    reverse
        Fit the signals with time reversed.

    Returns
    -------
    Surrogate or None
        Without networks, which have no such fit; None if the family cannot be fitted so.

    Raises
    ------
    SurrogateError
        If no stable process fits the signals.
    """
    linear: Surrogate = surrogate.linear if isinstance(surrogate, Hybrid) else surrogate
    return linear.without_prior(windows, reverse=reverse)
