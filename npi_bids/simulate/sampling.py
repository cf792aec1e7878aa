"""How a continuous system is integrated and seen."""

from __future__ import annotations

from npi_bids.errors import SettingsError


def steps_per_sample(dt: float, tr: float) -> int:
    """Return the steps of the integration in one sampling period, both in seconds.

    >>> steps_per_sample(0.002, 0.72)
    360

    Raises
    ------
    SettingsError
        The step is not above 0, or above the sampling period.
    """
    if not 0 < dt <= tr:
        raise SettingsError(f"The step {dt} s must be above 0 and at most {tr} s.")
    return round(tr / dt)
