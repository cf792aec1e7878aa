"""Priors of a fixed precision per window, by which the maps of all subjects are shrunk alike.

The share of a map that a prior takes is ``P / (P + T h)``, with its precision P, the number of
windows T, and the information h of a window: where P is in proportion to T it is the same for long
and short scans, and groups that differ in length do not differ for that reason. Imports are light,
because the command line reads the interface of surrogates.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPrecision:
    """A prior of a fixed precision per window.

    Attributes
    ----------
    drift
        Precision per window of both parts of the drift of z-scored signals, in
        (drift per sample)^-2.
    penalty
        Penalty per window of a ridge regression, relative to the mean variance of the regions.
    """

    drift: float
    penalty: float

    def of_drift(self, n_windows: int) -> tuple[float, float]:
        """Return the precisions of the symmetric and the antisymmetric part of the drift.

        >>> WEAK.of_drift(500)
        (10.0, 10.0)
        """
        return self.drift * n_windows, self.drift * n_windows


# Hardly matters: it takes some 4 % of every map (a precision of 10 whatever the number of windows
# took 20 % at 100 windows, and 5 % at 500). For tests of a mean, which must not be biased to 0.
WEAK = FixedPrecision(drift=0.02, penalty=0.01)
# For tests of differences, which a bias to 0 that all subjects share does not make, and which gain
# from less noise. Subjects of 12 to 100 regions and 150 to 1200 windows choose 0.4 per window for
# the symmetric part and 1 for the antisymmetric part (geometric means); from 0.1 to 0.4 power is
# the same, and neighbours of connections that differ are called less often the weaker the prior
# is and the less its parts differ.
PROPORTIONAL = FixedPrecision(drift=0.2, penalty=0.1)
